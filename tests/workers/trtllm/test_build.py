"""The build worker against the stand-in's trtllm-build, which reads the checkpoint for real."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import trtllm
from tests.fakes.trtllm_checkpoints import Family, Precision, save, write_checkpoint, write_config
from tests.workers.conftest import RunWorker, error_of, phases_of, result_of
from workbench.core.messages import Log, Message, Progress, StepSpec
from workbench.core.trtllm.log import PHASES
from workbench.workers.trtllm.build import work as _  # noqa: F401  (importable without the toolchain)
from workbench.workers.trtllm.common import EngineConfig, read_engine_config

ROOT = Path(__file__).parents[3]
SMALL = {"max_batch_size": 8, "max_seq_len": 256, "max_num_tokens": 512}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "llama")


def build(
    run_worker: RunWorker,
    checkpoint: Path,
    out: Path,
    flags: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **options: object,
) -> list[Message]:
    given = {"argv_flags": SMALL if flags is None else flags, **(settings or {})}
    spec = {"inputs": {"checkpoint": str(checkpoint)}, "settings": given, "output": str(out)}
    return run_worker("trtllm.build", spec, timeout_s=60, env=trtllm.environment(**options))


def logs_of(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.level, message.text) for message in messages if isinstance(message, Log)]


@pytest.mark.parametrize(
    ("family", "precision", "tp", "pp"),
    [
        ("llama", "fp16", 1, 1),
        ("llama", "fp8", 2, 1),
        ("llama", "int4_awq", 1, 2),
        ("qwen2", "fp16", 1, 2),
        ("qwen2", "fp8", 1, 1),
        ("qwen2", "int4_awq", 2, 1),
    ],
)
def test_builds_every_rank(
    run_worker: RunWorker, tmp_path: Path, family: Family, precision: Precision, tp: int, pp: int
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", family, precision, tp, pp)
    messages = build(run_worker, checkpoint, tmp_path / "engine")
    result = result_of(messages)
    engines = sorted(path.name for path in (tmp_path / "engine").glob("*.engine"))
    assert engines == [f"rank{rank}.engine" for rank in range(tp * pp)]
    config = read_engine_config(tmp_path / "engine")
    assert (config.version, config.ranks) == ("1.2.1", tp * pp)
    assert result["limits"] == {"max_input_len": 256, "max_beam_width": 1, **SMALL}
    assert result["ranks"] == tp * pp
    assert result["quant_algo"] == {"fp16": None, "fp8": "FP8", "int4_awq": "W4A16_AWQ"}[precision]
    assert result["gpu"] == {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0"}
    # 2 (key and value) x layers x KV heads x head size x bytes, on one GPU.
    assert result["kv_bytes_per_token"] == 2 * (2 // pp) * (2 // tp) * 32 * (1 if precision == "fp8" else 2)
    assert (tmp_path / "engine" / "tokenizer.json").is_file()
    assert json.loads((tmp_path / "engine" / "engine.json").read_text())["versions"]["tensorrt_llm"] == "1.2.1"
    assert (tmp_path / "engine" / "rank0.engine").read_bytes().startswith(trtllm.MARK)


@pytest.mark.slow
def test_phases_progress_and_warnings_follow_the_log(run_worker: RunWorker, checkpoint: Path, tmp_path: Path) -> None:
    messages = build(run_worker, checkpoint, tmp_path / "engine", seconds=1.5)
    result = result_of(messages)
    phases = phases_of(messages)
    titles = [phase.title for phase in PHASES]
    assert phases == sorted(phases, key=titles.index) and len(set(phases)) == len(phases)
    assert {"Compile the engine", "Write the engine"} <= set(phases)
    shares = [message.done for message in messages if isinstance(message, Progress)]
    assert shares == sorted(shares) and shares[-1] == 100
    assert len([share for share in shares if 30 < share < 90]) >= 3, "the compile phase moves"
    assert result["memory_gib"]["gpu_scratch"] == pytest.approx(67141632 / 2**30, abs=1e-3)
    assert result["resolved_flags"]["gpt_attention_plugin"] == "auto"
    assert "opt_num_tokens is not set" in result["harmless_warnings"]
    assert not [text for level, text in logs_of(messages) if level == "warning" and "opt_num_tokens" in text]


def test_the_scratch_folder_goes_and_the_engine_has_no_timing_cache(
    run_worker: RunWorker, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    result_of(build(run_worker, checkpoint, tmp_path / "engine"))
    assert list(scratch.iterdir()) == []
    assert not list((tmp_path / "engine").glob("*.cache")) and not (ROOT / "model.cache").exists()


@pytest.mark.slow
def test_timings_are_kept_by_gpu_and_version(run_worker: RunWorker, checkpoint: Path, tmp_path: Path) -> None:
    kept = {"timing_cache": str(tmp_path / "timings")}
    first = result_of(build(run_worker, checkpoint, tmp_path / "a", settings=kept))["timing_cache"]
    assert first["reused"] is False and Path(first["file"]).parent == tmp_path / "timings"
    second = result_of(build(run_worker, checkpoint, tmp_path / "b", settings=kept))["timing_cache"]
    assert second == {"file": first["file"], "reused": True}
    assert json.loads(Path(first["file"]).read_text().splitlines()[1])["builds"] == 2
    # The stand-in refuses a cache of another GPU.
    other = result_of(build(run_worker, checkpoint, tmp_path / "c", settings=kept, sm=89, gpu="NVIDIA L40S"))
    assert other["timing_cache"]["reused"] is False and other["timing_cache"]["file"] != first["file"]
    failed = build(run_worker, checkpoint, tmp_path / "d", settings=kept, fail="gpu-out-of-memory")
    error_of(failed)
    assert len(list((tmp_path / "timings").iterdir())) == 2


def test_flags_reach_the_program(run_worker: RunWorker, checkpoint: Path, tmp_path: Path) -> None:
    flags = {
        **SMALL, "--gemm_plugin": "auto", "use_fused_mlp": "disable", "strip_plan": True, "weight_streaming": False,
        "opt_num_tokens": None, "tokens_per_block": 64, "lora_target_modules": ["attn_q", "attn_v"],
    }  # fmt: skip
    result = result_of(build(run_worker, checkpoint, tmp_path / "engine", flags))
    made = read_engine_config(tmp_path / "engine")
    assert made.plugins["gemm_plugin"] == "float16" and made.plugins["use_fused_mlp"] is False
    assert made.build["use_strip_plan"] is True and made.build["weight_streaming"] is False
    assert made.build["lora_config"]["lora_target_modules"] == ["attn_q", "attn_v"]
    assert result["kv_block_tokens"] == 64
    assert "--opt_num_tokens" not in result["argv"]


@pytest.mark.slow
def test_workers_build_ranks_side_by_side(run_worker: RunWorker, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tp=2, pp=2)
    messages = build(run_worker, checkpoint, tmp_path / "engine", settings={"workers": 4}, seconds=1.0)
    assert result_of(messages)["ranks"] == 4
    ended = [path.stat().st_mtime for path in (tmp_path / "engine").glob("*.engine")]
    assert max(ended) - min(ended) < 2.9, "one after the other, four ranks of a second each end three seconds apart"
    ranks = {json.loads(p.read_bytes().splitlines()[1])["rank"] for p in (tmp_path / "engine").glob("*.engine")}
    assert ranks == {0, 1, 2, 3}
    assert ("info", "4 of 4 engine files written") in logs_of(messages)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"argv_flags": {"output_dir": "/tmp/x"}}, "bad-setting", "output_dir"),
        ({"argv_flags": {"dry_run": True}}, "bad-setting", "dry_run"),
        ({"argv_flags": ["--max_batch_size"]}, "bad-setting", "argv_flags"),
        ({"workers": 0, "argv_flags": {"workers": -1}}, "bad-setting", "workers"),
        ({"program": "trtllm-build-of-another-age"}, "no-trtllm-build", "trtllm-build-of-another-age"),
        ({"argv_flags": {"use_inflight_batching": True}}, "bad-flags", "use_inflight_batching"),
    ],
)
def test_settings_that_cannot_be_are_told(
    run_worker: RunWorker, checkpoint: Path, tmp_path: Path, settings: dict[str, Any], code: str, words: str
) -> None:
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine", settings=settings))
    assert error.code == code
    assert words in f"{error.message} {error.cause}"


# Checkpoints that are not whole


def test_a_missing_rank_is_told_before_the_program_starts(run_worker: RunWorker, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tp=2)
    (checkpoint / "rank1.safetensors").unlink()
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine"))
    assert error.code == "bad-checkpoint" and "rank1.safetensors" in error.cause
    assert not list((tmp_path / "engine").iterdir())


@pytest.mark.parametrize("damage", ["absent", "not JSON", "a Hugging Face folder"])
def test_a_folder_that_is_no_checkpoint_is_told(
    run_worker: RunWorker, checkpoint: Path, tmp_path: Path, damage: str
) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    config = broken / "config.json"
    if damage == "absent":
        config.unlink()
    else:
        config.write_text("{" if damage == "not JSON" else '{"architectures": ["LlamaForCausalLM"]}')
    error = error_of(build(run_worker, broken, tmp_path / "engine"))
    assert error.code == "bad-checkpoint" and error.hint


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "words"),
    [
        ("transformer.layers.1.mlp.gate.weight", "F16", None, "Required but not provided tensors"),
        ("transformer.layers.0.attention.qkv.weight", "F16", (255, 128), "not the same shape"),
        ("transformer.ln_f.weight", "F32", (128,), "initialized as F16"),
        ("transformer.layers.0.attention.qkv.bias", "F16", (256,), "not required"),
    ],
)
def test_a_tensor_that_does_not_fit_is_told(
    run_worker: RunWorker, tmp_path: Path, name: str, dtype: str, shape: tuple[int, ...] | None, words: str
) -> None:
    import numpy as np

    from tests.fakes import trtllm_checkpoints

    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    tensors = trtllm_checkpoints.rank_tensors(np.random.default_rng(0), "llama", "fp16", 1, 1, 0)
    tensors.pop(name, None)
    if shape is not None:
        tensors[name] = (dtype, np.ones(shape, np.float16 if dtype == "F16" else np.float32))
    save(checkpoint / "rank0.safetensors", tensors)
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine"))
    assert name in error.cause or name in error.message
    assert words in f"{error.cause} {error.message}"


@pytest.mark.slow
def test_a_nan_scale_and_a_cut_file_are_refused(run_worker: RunWorker, tmp_path: Path) -> None:
    import numpy as np

    from tests.fakes import trtllm_checkpoints

    checkpoint = write_checkpoint(tmp_path / "checkpoint", "llama", "fp8")
    tensors = trtllm_checkpoints.rank_tensors(np.random.default_rng(0), "llama", "fp8", 1, 1, 0)
    scale = "transformer.layers.0.mlp.fc.weights_scaling_factor"
    tensors[scale] = ("F32", np.array([np.nan], np.float32))
    save(checkpoint / "rank0.safetensors", tensors)
    error = error_of(build(run_worker, checkpoint, tmp_path / "a"))
    assert scale in f"{error.message} {error.cause}"
    whole = (checkpoint / "rank0.safetensors").read_bytes()
    (checkpoint / "rank0.safetensors").write_bytes(whole[:-100])
    error = error_of(build(run_worker, checkpoint, tmp_path / "b"))
    assert "deserializing" in f"{error.message} {error.cause}"


def test_the_stand_in_knows_what_each_gpu_refuses(run_worker: RunWorker, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "llama", "int4_awq")
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine", sm=100))
    assert error.code == "refused-on-this-gpu"


# Every documented way to fail

BUILD_FAILURES = (
    "gpu-out-of-memory", "host-out-of-memory", "no-supported-format", "engine-build-failed", "unsupported-architecture",
    "refused-on-this-gpu", "torch-lacks-gpu", "no-fused-attention", "checkpoint-mismatch", "plugin-not-loaded",
    "torch-mismatch", "cuda-13-missing", "no-mpi", "mpi-pmi", "mpi-worker-died", "no-tensorrt", "no-driver",
    "driver-too-old", "wrong-transformers", "no-gpu", "gpu-lost",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("failure", BUILD_FAILURES)
def test_a_failure_is_explained(run_worker: RunWorker, checkpoint: Path, tmp_path: Path, failure: str) -> None:
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine", fail=failure))
    assert error.code == failure
    assert error.message and error.cause and error.hint
    assert not list((tmp_path / "engine").glob("*.engine"))


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["mpi-start-hangs", "import-hangs"])
def test_a_start_that_hangs_is_ended_and_explained(
    run_worker: RunWorker, checkpoint: Path, tmp_path: Path, failure: str
) -> None:
    settings = {"hang_seconds": 2}
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine", settings=settings, fail=failure))
    assert error.code == "mpi-start-hangs" and "mpi4py 4" in error.hint
    assert "Initializing MPI" in error.cause or failure == "import-hangs"


@pytest.mark.slow
def test_a_silent_compilation_is_no_hang(run_worker: RunWorker, checkpoint: Path, tmp_path: Path) -> None:
    result_of(build(run_worker, checkpoint, tmp_path / "engine", settings={"hang_seconds": 0.3}, seconds=12))


def test_a_newer_version_is_refused_with_its_reason(run_worker: RunWorker, checkpoint: Path, tmp_path: Path) -> None:
    site = shutil.copytree(trtllm.SITE, tmp_path / "site")
    metadata = (site / "tensorrt_llm-1.2.1.dist-info").rename(site / "tensorrt_llm-1.3.0rc1.dist-info") / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2.1", "1.3.0rc1"))
    spec = {"inputs": {"checkpoint": str(checkpoint)}, "output": str(tmp_path / "engine")}
    error = error_of(run_worker("trtllm.build", spec, timeout_s=60, env={"PYTHONPATH": str(site)}))
    assert error.code == "no-engine-runtime" and "1.3.0rc1" in error.message and "1.2 is the last line" in error.message


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"architecture": "Llama4ForConditionalGeneration"}, "unsupported-architecture", "Llama4"),
        ({"quantization": {"quant_algo": "FP8", "kv_cache_quant_mode": 1}}, "failed", "kv_cache_quant_mode"),
        ({"quantization": {"quant_algo": "W2A16"}}, "failed", "W2A16"),
        ({"mapping": {"world_size": 4, "tp_size": 1, "pp_size": 1}}, "failed", "world_size"),
        ({"num_hidden_layers": 3}, "checkpoint-mismatch", "layers.2"),
        ({"num_key_value_heads": 4}, "failed", "not the same shape"),
    ],
)
def test_a_config_that_does_not_fit_the_tensors_or_this_version_is_told(
    run_worker: RunWorker, tmp_path: Path, changes: dict[str, Any], code: str, words: str
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    write_config(checkpoint, "llama", "fp16", 1, 1, **changes)
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine"))
    assert error.code == code and words in f"{error.message} {error.cause}"
    assert not list((tmp_path / "engine").glob("*.engine"))


def test_a_wrong_shape_on_the_last_rank_alone_is_told(run_worker: RunWorker, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tp=2)
    other = write_checkpoint(tmp_path / "other", tp=1)
    shutil.copyfile(other / "rank0.safetensors", checkpoint / "rank1.safetensors")
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine"))
    assert "not the same shape" in f"{error.message} {error.cause}"


def test_a_tactic_that_did_not_fit_fails_nothing(run_worker: RunWorker, checkpoint: Path, tmp_path: Path) -> None:
    result_of(build(run_worker, checkpoint, tmp_path / "engine", fail="tactic-skipped"))


@pytest.mark.slow
def test_one_rank_that_fails_among_workers_fails_the_build(run_worker: RunWorker, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tp=2)
    error = error_of(
        build(run_worker, checkpoint, tmp_path / "engine", settings={"workers": 2}, fail="gpu-out-of-memory")
    )
    assert error.code == "gpu-out-of-memory"


# Success is all of it


def liar(folder: Path, script: str) -> str:
    """A program that claims to be trtllm-build: a shell script that runs `script` with $out set."""
    path = folder / "liar"
    path.write_text(
        '#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = --output_dir ] && out=$2; shift; done\n'
        "closing='[11/20/2026-10:00:00] [TRT-LLM] [I] Total time of building all engines: 00:00:01'\n" + script
    )
    path.chmod(0o755)
    return str(path)


CONFIG = """echo '{"version": "1.2.1", "pretrained_config": {}, "build_config": {}}' > $out/config.json\n"""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "closing line"),
        (f"{CONFIG}echo engine > $out/rank0.engine", "closing line"),
        (f"{CONFIG}echo $closing", "rank0.engine"),
        (f"{CONFIG}: > $out/rank0.engine; echo $closing", "rank0.engine"),
        ("echo engine > $out/rank0.engine; echo $closing", "config.json"),
        (f"{CONFIG}echo engine > $out/rank0.engine; echo '[I] Total time of building Unnamed Network 0: 00:00:01'",
         "closing line"),
    ],
)  # fmt: skip
def test_exit_0_alone_is_no_success(
    run_worker: RunWorker, checkpoint: Path, tmp_path: Path, script: str, words: str
) -> None:
    settings = {"program": liar(tmp_path, script)}
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine", settings=settings))
    assert error.code == "incomplete-build" and words in error.cause


def test_an_exit_code_alone_is_no_success_either(run_worker: RunWorker, checkpoint: Path, tmp_path: Path) -> None:
    script = f"{CONFIG}echo engine > $out/rank0.engine; echo $closing; exit 1"
    settings = {"program": ["/usr/bin/env", liar(tmp_path, script)]}
    error = error_of(build(run_worker, checkpoint, tmp_path / "engine", settings=settings))
    assert "exit code 1" in f"{error.message} {error.cause}"


@pytest.mark.slow
def test_a_child_that_keeps_the_pipe_open_holds_up_nothing(
    run_worker: RunWorker, checkpoint: Path, tmp_path: Path
) -> None:
    script = f"{CONFIG}echo engine > $out/rank0.engine; echo $closing; sleep 600 & echo $! > $out/pid"
    began = time.monotonic()
    result_of(build(run_worker, checkpoint, tmp_path / "engine", settings={"program": liar(tmp_path, script)}))
    assert time.monotonic() - began < 20
    assert not psutil.pid_exists(int((tmp_path / "engine" / "pid").read_text()))


# Cancel


@contextlib.contextmanager
def building(checkpoint: Path, out: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    out.mkdir()
    spec = StepSpec(
        worker="trtllm.build",
        inputs={"checkpoint": str(checkpoint)},
        settings={"argv_flags": SMALL, "workers": 2},
        output=str(out),
    )
    with subprocess.Popen(
        [sys.executable, "-m", "workbench.workers.trtllm.build"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True,
        env={**os.environ, **trtllm.environment(**options)},
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(spec.model_dump_json().encode() + b"\n")
        process.stdin.flush()
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["SIGTERM to the group", "SIGKILL to the worker", "end of file"])
def test_cancel_leaves_no_process(tmp_path: Path, way: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tp=2)
    with building(checkpoint, tmp_path / "engine", seconds=120) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in process.stdout:
            if b"Compile the engine" in line:
                break
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 3, "trtllm-build and its two workers"
        if way == "SIGTERM to the group":
            os.killpg(process.pid, signal.SIGTERM)
        elif way == "SIGKILL to the worker":
            process.kill()
        else:
            process.stdin.close()
        gone, alive = psutil.wait_procs(family, timeout=5)
        if way == "SIGKILL to the worker":
            # The pool's own processes are not tied to it; the supervisor ends the group after the worker.
            alive = [one for one in alive if "multiprocessing" not in " ".join(one.cmdline())]
        assert not alive and gone


def test_engine_config_of_other_shapes_says_what_is_missing(tmp_path: Path) -> None:
    write_config(tmp_path, "llama", "fp16", 1, 1)
    with pytest.raises(Exception, match="not an engine's"):
        read_engine_config(tmp_path)
    config = EngineConfig(None, {"num_attention_heads": 8}, {})
    assert (config.ranks, config.limits, config.tokens_per_block, config.kv_bytes_per_token) == (1, {}, None, None)
