"""The command line's own promises: help with examples, clean stdout, dry runs that write nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.command import workbench
from tests.fakes.hub import running_hub
from tests.fakes.models import make_tiny_folder, make_weightless_folder
from tests.toolchains.gallery_models import gallery_folder
from workbench.core.home import Home
from workbench.core.measure.command import load_arguments
from workbench.core.measure.load import Limits, Load
from workbench.core.measure.workload import WORKLOADS, Lengths
from workbench.jobs.folder import JobFolder, job_ids

COMMANDS = [
    ["demo"],
    ["presets"],
    ["check"],
    ["flags"],
    ["build"],
    ["prompt"],
    ["chat"],
    ["serve"],
    ["serve", "start"],
    ["serve", "list"],
    ["serve", "status"],
    ["serve", "stop"],
    ["serve", "remove"],
    ["monitor"],
    ["doctor"],
    ["docs"],
    ["engines"],
    ["engines", "list"],
    ["engines", "show"],
    ["engines", "layers"],
    ["engines", "rm"],
    ["jobs"],
    ["jobs", "list"],
    ["jobs", "log"],
    ["jobs", "cancel"],
    ["jobs", "retry"],
    ["bench"],
    ["compare"],
    ["results"],
    ["report"],
    ["endpoint", "add"],
    ["endpoint", "list"],
    ["endpoint", "test"],
    ["endpoint", "key"],
    ["endpoint", "remove"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_examples_and_json(command: list[str]) -> None:
    ran = workbench(*command, "--help")
    assert ran.code == 0
    assert f"workbench {' '.join(command[:1])}" in ran.out and "Example" in ran.out
    assert "--json" in ran.out


def _sections(text: str) -> dict[str, list[str]]:
    """Titles of a help text -> the names under each."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            found[line[:-1]] = []
        elif found and line.startswith("  ") and not line.startswith("   "):
            found[list(found)[-1]].append(line.split()[0].rstrip(","))
    return found


def test_all_commands_stand_in_groups() -> None:
    groups = _sections(workbench("--help", env={"COLUMNS": "80"}).out)
    assert list(groups) == ["Options", "Build", "Use", "Measure", "This machine"]
    assert groups["Measure"] == ["endpoint", "bench", "compare", "results", "report"]


def test_help_of_measuring_is_grouped_and_says_what_an_engine_is() -> None:
    for command in ("bench", "compare"):
        ran = workbench(command, "--help", env={"COLUMNS": "80"})
        groups = _sections(ran.out)
        assert groups["Other options"] == ["--json", "-h"], "every option of its own stands in a group"
        assert "--ttft-limit" in groups["Limits for goodput"]
        assert "-c" in groups["Load"]
        assert "keys as `workbench engines` lists" in ran.out, "what stands for ENGINES is said"


def test_a_command_that_repeats_a_measurement_is_understood_by_both() -> None:
    load = {name: 2 for name in ("requests", "warmup_s", "warmup_requests", "repeats", "timeout_s", "drain_s")}
    limits = Limits(ttft_ms=1, itl_ms=1, latency_ms=1)
    workload = WORKLOADS["demo"].model_copy(
        update={
            "input": Lengths(mean=7),
            "output": Lengths(mean=7),
            "shared_prefix_tokens": 3,
            "prefix_groups": 2,
            "prompts": 2,
            "temperature": 1.0,
            "fixed_output": False,
            "chat": False,
            "seed": 1,
        }
    )
    said: set[str] = set()
    for arrival in ("closed", "poisson", "trace"):
        full = Load(arrival=arrival, duration_s=1, cancel_share=0.5, stop_saturated=False, limits=limits, **load)
        own = workload.model_copy(update={"kind": "trace", "file": "/t.jsonl"}) if arrival == "trace" else workload
        said |= {word for word in load_arguments(own, full) if word.startswith("--")}
    assert len(said) > 20
    for name in ("bench", "compare"):
        assert said <= set(re.findall(r"--[a-z][a-z-]*", workbench(name, "--help").out)), name


def test_presets_are_listed_with_broken_ones_said(home: Home) -> None:
    home.presets.mkdir()
    (home.presets / "mine.toml").write_text("schema = 1\ntitel = 'x'\n")
    ran = workbench("presets", "--json")
    assert {"demo", "cpu-fp16", "cpu-int8", "cpu-int4"} <= {row["id"] for row in ran.json}
    assert "mine.toml" in ran.err and "titel" in ran.err


@pytest.mark.slow
def test_check_says_what_it_needs(home: Home, tmp_path: Path) -> None:
    folder = make_weightless_folder(tmp_path / "Llama-8B")
    ran = workbench("check", "cpu-int8", "--model", str(folder), "--set", "limits.max_seq_len=4096", "--json")
    assert ran.code in (0, 3), "an 8B convert does not fit into every machine's memory"
    report = ran.json
    engine = report["numbers"]["engines"][0]
    # Llama-3.1-8B: 2 x 32 layers x 8 KV heads x 128 x 2 B = 128 KiB a token, 512 MiB a sequence of 4,096.
    assert engine["kv_bytes_per_token"]["low"] == 128 * 1024
    assert engine["kv_bytes_per_sequence"]["low"] == 512 * 2**20
    assert {part["name"] for part in engine["parts"]} == {"weights", "KV pool", "activations", "runtime"}
    assert "128 KiB" in workbench("check", "cpu-int8", "--model", str(folder)).out


@pytest.mark.slow
def test_check_plans_for_gpus_and_weights_that_are_elsewhere(home: Home, tmp_path: Path) -> None:
    folder = gallery_folder(tmp_path, "llama-3.3-70b-fp8-8xh200")
    ran = workbench("check", "llama-3.3-70b-fp8-8xh200", "--model", str(folder))
    assert ran.code == 0, ran.err
    assert "planned for 8 x H200 (not present here)" in ran.out
    assert "on each GPU" in ran.out and "sequences of 16,384 tokens" in ran.out
    assert "planned from its config.json alone" in ran.out and ran.out.rstrip().endswith("Can be built there.")
    built = workbench("build", "llama-3.3-70b-fp8-8xh200", "--model", str(folder))
    assert built.code == 2 and "no weights" in built.err


@pytest.mark.slow
def test_flags_are_searched_and_gone_ones_answered(home: Home) -> None:
    ran = workbench("flags", "paged")
    assert ran.code == 0 and "--use_paged_context_fmha" in ran.out and "--gemm_plugin" not in ran.out
    assert workbench("flags", "gemm_plugin", "--json").json["name"] == "gemm_plugin"
    gone = workbench("flags", "use_inflight_batching")
    assert gone.code == 2 and "is not a flag of trtllm-build 1.2" in gone.err
    near = workbench("flags", "max_batch_sizes")
    assert near.code == 2 and "max_batch_size" in near.err
    none = workbench("flags", "zzz")
    assert none.code == 2 and "lists all" in none.err and "Take it out" not in none.err


@pytest.mark.slow
def test_a_dry_run_prints_steps_and_writes_nothing(home: Home, tmp_path: Path) -> None:
    folder = str(make_tiny_folder(tmp_path / "tiny"))
    arguments = ["build", "cpu-int8", "--model", folder, "--precision", "fp16,int8,int4", "--dry-run"]
    ran = workbench(*arguments, "--json")
    # The plan is shown all the same where the toolchain is missing; only the exit code says that it cannot run.
    assert ran.code == 0 or (ran.code == 3 and "No interpreter" in ran.err), ran.err
    steps = {step["id"]: step for step in ran.json["steps"]}
    assert list(steps)[:2] == ["check", "convert"]
    assert steps["quantize:fp16"]["none_reason"] and steps["quantize:fp16"]["cache"] == "none"
    assert {"quantize:int8", "build:int8", "verify:int8", "build:int4", "verify:fp16"} <= set(steps)
    assert all(step["argv"] and len(step["key"]) == 64 for step in steps.values() if step["worker"])
    assert not list(home.jobs.iterdir()) and not list(home.artifacts.rglob("*"))
    text = workbench(*arguments).out
    assert "workbench.workers.openvino.convert" in text and "to do" in text


@pytest.mark.slow
def test_keys_change_with_what_decides_the_output_and_only_with_that(home: Home, tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "tiny")

    def keys(*extra: str) -> dict[str, str]:
        ran = workbench("build", "cpu-int4", "--model", str(folder), "--dry-run", "--json", *extra)
        return {step["id"]: step["key"] for step in ran.json["steps"]}

    plain = keys()
    assert keys() == plain
    assert keys("--set", "runtime.kv_cache_gib=0.5", "--set", "limits.max_batch_size=2") == plain, "runtime settings"
    grouped = keys("--set", "precision.group_size=32")
    assert grouped["convert"] == plain["convert"]
    assert all(grouped[s] != plain[s] for s in ("quantize:int4", "build:int4", "verify:int4"))
    limits = keys("--set", "verify.min_agreement=0.1")
    assert limits["build:int4"] == plain["build:int4"] and limits["verify:int4"] != plain["verify:int4"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 12345.0}))
    assert keys()["convert"] != plain["convert"], "the model's own files"


@pytest.mark.slow
def test_doctor_reports_as_json_and_words(home: Home) -> None:
    report = workbench("doctor", "--json").json
    assert report["host"]["memory_total_bytes"] > 0 and report["toolchains"][0]["name"] == "openvino"
    assert "OpenVINO GenAI" in workbench("doctor").out


@pytest.mark.slow
def test_a_model_by_name_is_downloaded_by_a_job_of_its_own(home: Home, tmp_path: Path) -> None:
    with running_hub(tmp_path / "source") as hub:
        env = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        arguments = ["build", "cpu-int8", "--model", "org/tiny", "--dry-run"]
        refused = workbench(*arguments, env=env)
        assert refused.code == 2 and "downloads" in refused.err and not hub.requests
        offline = workbench("build", "cpu-int8", "--model", "org/tiny", env={**env, "HF_HUB_OFFLINE": "1"})
        assert offline.code == 4 and "HF_HUB_OFFLINE" in offline.err and not hub.requests
        absent = workbench("build", "cpu-int8", "--model", "org/none", "--until", "check", env=env)
        assert absent.code == 4 and "org/none" in absent.err
        ran = workbench("build", "cpu-int8", "--model", "org/tiny", "--until", "check", "--json", env=env)
    # Without a toolchain here the model still comes, and the check says what is missing.
    assert ran.code == 0 or (ran.code == 3 and "No interpreter" in ran.err), ran.err
    titles = [JobFolder(home.jobs / i).state().title for i in job_ids(home.jobs)]
    assert "org/tiny download" in titles
    assert list((tmp_path / "hf").rglob("model.safetensors")) and not list((tmp_path / "hf").rglob("*.bin"))


@pytest.mark.slow
def test_one_preset_serves_several_precisions(home: Home, tmp_path: Path) -> None:
    """Four bits without zero points made a small model answer nonsense, so INT4 must not inherit INT8's choice."""
    folder = str(make_tiny_folder(tmp_path / "tiny"))

    def symmetric(*extra: str) -> dict[str, bool]:
        ran = workbench(
            "build", "cpu-int8", "--model", folder, "--precision", "int8,int4", "--dry-run", "--json", *extra
        )
        return {s["variant"]: s["settings"]["symmetric"] for s in ran.json["steps"] if s["kind"] == "quantize"}

    assert symmetric() == {"int8": True, "int4": False}
    assert symmetric("--set", "precision.symmetric=true") == {"int8": True, "int4": True}
