"""What stands beside an exported repository: monitoring, launch script and load test."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from tests.fakes import trtllm
from tests.fakes.triton.exports import config, parameters, text
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.deploy.export import Export
from workbench.core.deploy.facts import EngineFacts, read_engine_facts
from workbench.core.deploy.triton.export import triton_export
from workbench.core.deploy.triton.options import Baseline, TritonOptions
from workbench.deploy.write import write_export


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    top = tmp_path_factory.mktemp("triton")
    return {tp: make_trtllm_engine(top / f"tp{tp}", tp=tp) for tp in (1, 2)}


@pytest.fixture
def facts(engines: dict[int, Path]) -> EngineFacts:
    return read_engine_facts(engines[1])


def rules(export: Export) -> dict[str, str]:
    groups = yaml.safe_load(text(export, "monitoring/alerts.yml"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in groups[0]["rules"]}


def test_alerts_compare_with_what_was_measured(facts: EngineFacts) -> None:
    base = Baseline("20261121-run", 1000.0, latency_p99_ms=2000.0)
    found = rules(triton_export(facts, TritonOptions(baseline=base)))
    assert set(found) == {
        "TritonDown",
        "TritonThroughputUnderBaseline",
        "TritonQueueGrowing",
        "TritonP99",
        "TritonErrors",
        "TritonKvCacheFull",
    }
    assert "< 800.0" in found["TritonThroughputUnderBaseline"] and "> 3.000" in found["TritonP99"]
    assert "TritonThroughputUnderBaseline" not in rules(triton_export(facts))
    python = rules(triton_export(facts, TritonOptions(form="llmapi", baseline=base)))
    assert not any("nv_trt_llm" in expression or "nv_llm" in expression for expression in python.values())


REPORTED = {
    *("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_pending_request_count"),
    *("nv_inference_request_summary_us", "nv_inference_queue_summary_us", "nv_gpu_memory_used_bytes"),
    *("nv_gpu_utilization", "nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics"),
    *("nv_trt_llm_inflight_batcher_metrics", "nv_llm_output_token_len_sum", "nv_llm_input_token_len_sum"),
}


@pytest.mark.parametrize("form", ["ensemble", "llmapi"])
def test_the_dashboard_asks_for_metrics_that_triton_reports(facts: EngineFacts, form: Any) -> None:
    export = triton_export(facts, TritonOptions(form=form, baseline=Baseline("run", 500.0, 900.0)))
    document = json.loads(text(export, "monitoring/grafana-dashboard.json"))
    asked = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    names = {name for expression in [*asked, *rules(export).values()] for name in re.findall(r"nv_\w+", expression)}
    assert names <= REPORTED and len(document["panels"]) >= 6
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]}) == len(
        document["panels"]
    )
    assert document["templating"]["list"][0]["type"] == "datasource"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("form", ["ensemble", "llmapi"])
def test_promtool_takes_the_configuration_and_the_rules(facts: EngineFacts, tmp_path: Path, form: Any) -> None:
    base = Baseline('run "x" {{ $y }}', 1234.5, 100.0)
    folder = write_export(triton_export(facts, TritonOptions(form=form, baseline=base, host="::1")), tmp_path / "out")
    done = subprocess.run(
        ["promtool", "check", "config", "monitoring/prometheus.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules(triton_export(facts, TritonOptions(form=form, baseline=base))))} rules" in done.stdout


SERIES = """
rule_files: [alerts.yml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: 'nv_llm_output_token_len_sum{{model="tensorrt_llm",response_metric_type="total_output_tokens"}}'
        values: '0+{tokens}x80'
      - series: 'nv_trt_llm_request_metrics{{model="tensorrt_llm",request_type="waiting"}}'
        values: '{waiting}'
      - series: 'nv_inference_request_success{{job="triton",model="ensemble"}}'
        values: '0+100x80'
      - series: 'nv_inference_request_failure{{job="triton",model="ensemble",reason="OTHER"}}'
        values: '0+{failed}x80'
      - series: 'nv_inference_request_failure{{job="triton",model="ensemble",reason="CANCELED"}}'
        values: '0+50x80'
      - series: 'nv_inference_request_success{{job="triton",model="postprocessing"}}'
        values: '0+5000x80'
    alert_rule_test:
"""


def ringing(names: list[str]) -> str:
    lines = []
    for name in ("TritonThroughputUnderBaseline", "TritonQueueGrowing", "TritonErrors"):
        lines += ["      - eval_time: 18m", f"        alertname: {name}"]
        if name in names:
            lines += ["        exp_alerts:", "          - exp_labels:"]
            lines += [f"              severity: {'critical' if name == 'TritonErrors' else 'warning'}"]
            lines += ["              model: ensemble"] * (name == "TritonErrors")
            lines += ["            exp_annotations: {}"]
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("tokens", "waiting", "failures", "rings"),
    [
        (1500, "0x80", 0, []),  # 100 tok/s and nobody waits: idle
        (1500, "2x80", 0, ["TritonThroughputUnderBaseline"]),
        (15000, "2x80", 0, []),  # 1000 tok/s
        (15000, "0+3x80", 0, ["TritonQueueGrowing"]),
        (15000, "0x80", 5, ["TritonErrors"]),
    ],
)
def test_the_rules_ring_when_they_should(
    facts: EngineFacts, tmp_path: Path, tokens: int, waiting: str, failures: int, rings: list[str]
) -> None:
    export = triton_export(facts, TritonOptions(baseline=Baseline("run", 1000.0, 2000.0)))
    bare = [line for line in text(export, "monitoring/alerts.yml").splitlines() if "summary:" not in line]
    bare = [line for line in bare if "description:" not in line and "annotations:" not in line]
    (tmp_path / "alerts.yml").write_text("\n".join(bare) + "\n")
    (tmp_path / "tests.yml").write_text(SERIES.format(tokens=tokens, waiting=waiting, failed=failures) + ringing(rings))
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def launch(folder: Path, tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """launch.sh as inside the container: its own root and a server there, the stand-in's package and nvidia-smi."""
    server = tmp_path / "tritonserver"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "GPUs ${CUDA_VISIBLE_DEVICES-all}"\n')
    server.chmod(0o755)
    script = folder / "launch.sh"
    backend = tmp_path / "backends" / "tensorrtllm" / "libtriton_tensorrtllm.so"
    backend.parent.mkdir(parents=True, exist_ok=True)
    backend.touch()
    words = script.read_text().replace("ROOT=/triton\n", f"ROOT={folder}\n")
    words = words.replace("backend=/opt/tritonserver/", f"backend={tmp_path}/")
    script.write_text(words.replace("server=/opt/tritonserver/bin/tritonserver", f"server={server}"))
    env = {**os.environ, **trtllm.environment(), **more}
    mpirun = tmp_path / "bin" / "mpirun"
    mpirun.parent.mkdir(exist_ok=True)
    mpirun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    mpirun.chmod(0o755)
    env["PATH"] = f"{mpirun.parent}:{trtllm.BIN}:{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run([str(script)], capture_output=True, text=True, env=env, check=False)


@pytest.fixture
def place(engines: dict[int, Path], tmp_path: Path) -> Path:
    return write_export(triton_export(read_engine_facts(engines[2])), tmp_path / "out")


def test_launch_checks_what_is_there_and_starts_a_server_a_rank(place: Path, tmp_path: Path) -> None:
    done = launch(place, tmp_path, CHECK_ONLY="1")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "checks passed: 2 rank(s), TensorRT-LLM 1.2.1" in done.stderr
    given = launch(place, tmp_path, HTTP_PORT="9000").stdout.splitlines()
    first, second = given[: given.index(":")], given[given.index(":") + 1 :]
    server = str(tmp_path / "tritonserver")
    for rank, argv in enumerate((first, second)):
        assert ["-n", "1", server] == argv[argv.index("-n") :][:3]
        assert {f"--model-repository={place}/model_repository", "--http-port=9000"} <= set(argv)
        assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(argv)
        assert f"--backend-config=python,shm-region-prefix-name=rank{rank}_" in argv
    assert "--load-model=tensorrt_llm" in second and "--load-model=tensorrt_llm" not in first


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"TRTLLM_STANDIN_GPUS": "1"}, "1 GPU(s) are here; the engine needs 2"),
        ({"TRTLLM_STANDIN_SM": "89", "TRTLLM_STANDIN_GPU": "NVIDIA L40S"}, "built on NVIDIA H100 80GB HBM3"),
        ({"TRTLLM_STANDIN_VERSION": "1.2.0"}, "the engine was built with 1.2.1"),
    ],
)
def test_launch_refuses_in_words(place: Path, tmp_path: Path, more: dict[str, str], words: str) -> None:
    if "TRTLLM_STANDIN_VERSION" in more:
        script = place / "launch.sh"
        script.write_text(script.read_text().replace("TENSORRT_LLM=1.2.1", "TENSORRT_LLM=1.2.0"))
        words = "TensorRT-LLM here is 1.2.1; the engine was built with 1.2.0"
    done = launch(place, tmp_path, CHECK_ONLY="1", **more)
    assert done.returncode == 1 and words in done.stderr and "fix:" in done.stderr


def test_launch_refuses_a_triton_that_runs_no_engines(place: Path, tmp_path: Path) -> None:
    script = place / "launch.sh"
    script.write_text(script.read_text().replace("libtriton_tensorrtllm.so", "libtriton_other.so"))
    done = launch(place, tmp_path, CHECK_ONLY="1")
    assert done.returncode == 1 and "no backend that runs engines" in done.stderr and "older container" in done.stderr


def test_the_python_form_sees_the_gpus_that_were_chosen(engines: dict[int, Path], tmp_path: Path) -> None:
    export = triton_export(read_engine_facts(engines[2]), TritonOptions(form="llmapi", gpu_ids=(2, 3)))
    assert not parameters(export)  # LLM reads none: they would be said and not done
    folder = write_export(export, tmp_path / "out")
    done = launch(folder, tmp_path, TRTLLM_STANDIN_GPUS="4")
    assert done.stdout.splitlines()[-1] == "GPUs 2,3", done.stderr


def test_launch_refuses_a_missing_rank_and_a_changed_file(place: Path, tmp_path: Path) -> None:
    script = (place / "launch.sh").read_text()
    (place / "engine" / "rank1.engine").unlink()
    done = launch(place, tmp_path, CHECK_ONLY="1")
    assert "rank 1 of 2 is missing: engine/rank1.engine" in done.stderr and done.returncode == 1
    (place / "engine" / "rank1.engine").write_text("x")
    (place / "launch.sh").write_text(script)
    done = launch(place, tmp_path, CHECK_ONLY="1", CHECK_SUMS="1")
    assert done.returncode == 1 and "differs from SHA256SUMS" in done.stderr


@pytest.mark.parametrize("name", ["launch.sh", "aiperf.sh"])
def test_scripts_are_whole(place: Path, name: str) -> None:
    assert subprocess.run(["bash", "-n", str(place / name)], check=False).returncode == 0
    assert "#@SETTINGS@" not in (place / name).read_text()
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", str(place / name)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("form", ["ensemble", "llmapi"])
def test_aiperfs_payload_is_what_the_model_takes(facts: EngineFacts, form: Any) -> None:
    export = triton_export(facts, TritonOptions(form=form))
    assert "payload_template:$here/aiperf-payload.jinja" in text(export, "aiperf.sh")
    assert "pwd -P" in text(export, "aiperf.sh")  # a link in the path, and it is no file to AIPerf
    rendered = jinja2.Template(text(export, "aiperf-payload.jinja"), autoescape=False).render(
        text='a "b"', max_tokens=8
    )
    body = json.loads(rendered)
    model = "tensorrt_llm_bls" if form == "ensemble" else "tensorrt_llm"
    assert body["text_input"] == 'a "b"' and set(body) <= {one.name for one in config(export, model).input}
