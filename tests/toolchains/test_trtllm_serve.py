"""The argv and YAML of trtllm-serve, from an engine's facts and a preset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from workbench.core.deploy.facts import BuiltFor, EngineFacts, Speculative
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.preset import Preset, apply_overrides, preset_from_data
from workbench.toolchains.base import Environment
from workbench.toolchains.tensorrt_llm import serve
from workbench.toolchains.tensorrt_llm.serve import ServeProgram, check_gpus, serve_program, serve_start

FACTS = EngineFacts(
    path=Path("/engines/e"),
    name="tiny fp8",
    toolchain="tensorrt_llm",
    toolchain_version="1.2.1",
    precision="fp8",
    kv_cache="fp8",
    tp=2,
    pp=1,
    cp=1,
    world_size=2,
    ranks_present=(0, 1),
    ranks_missing=(),
    files=(),
    max_batch_size=8,
    max_seq_len=256,
    max_num_tokens=512,
    max_beam_width=1,
    paged_context_fmha=True,
    tokens_per_block=32,
    tokenizer=Path("/models/m"),
    gpu_built_for=BuiltFor("NVIDIA H100 80GB HBM3", "9.0"),
    on_gpu=True,
)


def preset(*overrides: str) -> Preset:
    tables = {"schema": 1, "title": "T", "goal": "throughput", "toolchain": "tensorrt_llm"}
    made = preset_from_data({**tables, "precision": {"weights": "fp8"}, "limits": {"max_batch_size": 8}})
    return apply_overrides(made, list(overrides))


def made(facts: EngineFacts = FACTS, *overrides: str, gpus: tuple[GpuSpec, ...] = ()) -> ServeProgram:
    engine, options = Path("/s/engine/mine"), Path("/s/llm-options.yaml")
    return serve_program(facts, preset(*overrides), engine=engine, options=options, port=4123, gpus=gpus)


def options_of(program: ServeProgram) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load(program.options)
    assert told == json.loads(program.options)
    return told


def test_the_whole_argv() -> None:
    assert " ".join(made().argv) == (
        "trtllm-serve serve /s/engine/mine --backend tensorrt --tokenizer /models/m --host 127.0.0.1 --port 4123 "
        "--log_level info --max_batch_size 8 --max_num_tokens 512 --max_seq_len 256 --max_beam_width 1 "
        "--kv_cache_free_gpu_memory_fraction 0.9 --extra_llm_api_options /s/llm-options.yaml --enable_chunked_prefill"
    )
    assert options_of(made()) == {
        "kv_cache_config": {"free_gpu_memory_fraction": 0.9, "enable_block_reuse": False},
        "return_perf_metrics": True,
    }


def test_every_flag_is_one_of_trtllm_serves() -> None:
    names = json.loads((Path(serve.__file__).parent / "api_names.json").read_bytes())["other_flags"]
    known = next(flags for source, flags in names.items() if "trtllm-serve" in source)
    trusting = replace(FACTS, trust_remote_code=True)
    used = [word[2:] for word in made(trusting).argv if word.startswith("--")]
    assert len(used) == len(set(used)) == 13 and set(used) <= set(known)


def test_settings_narrow_what_the_engine_was_built_for_and_never_widen_it() -> None:
    program = made(FACTS, "limits.max_batch_size=4", "limits.max_seq_len=4096", "runtime.max_num_batched_tokens=64")
    argv = program.argv
    assert argv[argv.index("--max_batch_size") + 1] == "4"
    assert argv[argv.index("--max_seq_len") + 1] == "256"
    assert argv[argv.index("--max_num_tokens") + 1] == "64"


def test_kv_settings_stand_in_flag_and_file() -> None:
    program = made(FACTS, "runtime.kv_fraction=0.5", "runtime.prefix_caching=true", "runtime.host_cache_gib=1")
    assert program.argv[program.argv.index("--kv_cache_free_gpu_memory_fraction") + 1] == "0.5"
    assert options_of(program)["kv_cache_config"] == {
        "free_gpu_memory_fraction": 0.5,
        "enable_block_reuse": True,
        "host_cache_size": 2**30,
    }
    assert options_of(made(FACTS, "runtime.kv_blocks=100"))["kv_cache_config"]["max_tokens"] == 3200
    assert options_of(made(FACTS, "runtime.kv_cache_gib=2"))["kv_cache_config"]["max_gpu_total_bytes"] == 2**31
    scheduler = options_of(made(FACTS, "runtime.scheduler_policy=max_utilization"))["scheduler_config"]
    assert scheduler == {"capacity_scheduler_policy": "MAX_UTILIZATION"}


def test_guesses_are_told_as_the_run_class_reads_them() -> None:
    lookahead = replace(FACTS, speculative=Speculative("lookahead_decoding", 15))
    overrides = ("speculative.mode=lookahead", "speculative.window_size=4", "speculative.ngram_size=3")
    told = options_of(made(lookahead, *overrides, "speculative.verification_set=4"))["speculative_config"]
    assert told == {
        "decoding_type": "Lookahead",
        "max_window_size": 4,
        "max_ngram_size": 3,
        "max_verification_set_size": 4,
    }
    with pytest.raises(BlockedError, match="built for 15 draft tokens a pass, and 29 are asked for"):
        made(lookahead, *overrides, "speculative.verification_set=11")
    eagle = replace(FACTS, speculative=Speculative("eagle", 63))
    assert options_of(made(eagle, "speculative.mode=eagle"))["speculative_config"] == {
        "decoding_type": "Eagle",
        "max_draft_len": 63,
        "speculative_model_dir": "/engines/e",
    }
    medusa = replace(FACTS, speculative=Speculative("medusa", 63))
    told = options_of(made(medusa, "speculative.mode=medusa", "speculative.heads=4"))["speculative_config"]
    assert told == {"decoding_type": "Medusa", "max_draft_len": 63, "num_medusa_heads": 4}
    assert "speculative_config" not in options_of(made())


def test_what_needs_paged_context_fmha_is_left_out_without_it() -> None:
    program = made(replace(FACTS, paged_context_fmha=False), "runtime.prefix_caching=true")
    assert "--enable_chunked_prefill" not in program.argv
    assert options_of(program)["kv_cache_config"]["enable_block_reuse"] is False


def test_a_gpu_with_a_screen_keeps_more_memory() -> None:
    shown = find_gpu("H100").model_copy(update={"drives_display": True})
    argv = made(FACTS, gpus=(shown,)).argv
    assert argv[argv.index("--kv_cache_free_gpu_memory_fraction") + 1] == "0.8"


def test_without_a_tokenizer_there_is_no_server() -> None:
    with pytest.raises(BadInputError, match="no tokenizer"):
        made(replace(FACTS, tokenizer=None))


def test_in_a_container_the_folders_are_seen_and_the_port_is_the_hosts() -> None:
    prefix = ("docker", "run", "-i", "--rm", "--gpus", "all", "image:1", "python3")
    start = serve_start(Environment("tensorrt_llm", prefix, "named"), made(), FACTS, Path("/s"))
    argv = start.argv
    assert argv[: argv.index("image:1")].count("--network") == 1
    assert argv[argv.index("--network") + 1] == "host"
    mounts = [argv[at + 1] for at, word in enumerate(argv) if word == "-v"]
    assert {"/engines/e:/engines/e", "/models/m:/models/m", "/s:/s"} <= set(mounts)
    assert argv[-3:] == ("python3", "-m", "workbench.workers.trtllm.serve")
    assert start.spec.settings["argv"] == list(made().argv)
    own = (*prefix[:4], "--network=none", *prefix[4:])
    told = serve_start(Environment("tensorrt_llm", own, "named"), made(), FACTS, Path("/s")).argv
    assert "host" not in told


def test_another_machine_is_refused_in_words() -> None:
    with pytest.raises(BlockedError, match="another machine"):
        serve_start(Environment("tensorrt_llm", ("ssh", "box", "python3"), "named"), made(), FACTS, Path("/s"))


def test_gpus_are_checked_where_they_are_known() -> None:
    h100, l40 = find_gpu("H100"), find_gpu("L40S")
    check_gpus(FACTS, ())
    check_gpus(FACTS, (h100, h100, l40))
    with pytest.raises(BlockedError, match="needs 2 GPUs"):
        check_gpus(FACTS, (h100,))
    with pytest.raises(BlockedError, match="another GPU"):
        check_gpus(FACTS, (h100, l40))
    check_gpus(replace(FACTS, gpu_built_for=None), (l40, l40))
