"""The build worker with the real builder: what it makes, what it says on the way, what it refuses, how it stops."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import phases_of
from tests.workers.onnx.conftest import TinyOnnx
from tests.workers.onnx.runs import ROOT, Run, run_cases
from tests.workers.tensorrt_rtx.conftest import SMALL, Built
from workbench.core.messages import Error, Log, Message, Progress, StepSpec, parse_message
from workbench.core.tensorrt_rtx.layers import read_layers
from workbench.workers.tensorrt_rtx.libraries import gpu_capabilities

pytestmark = pytest.mark.slow


def test_an_engine_is_whole_and_described(engine: Built, tiny_llama_onnx: TinyOnnx) -> None:
    notes = json.loads((engine.out / "engine.json").read_text())
    assert notes["toolchain"] == "tensorrt_rtx" and notes["targets"] == ["8.9"] and notes["precision"] == "fp16"
    assert notes["engine_bytes"] == (engine.out / "engine.trt").stat().st_size > 100_000
    assert [one["name"] for one in notes["profiles"]] == ["prefill", "decode"]
    assert notes["profiles"][0]["shapes"]["input_ids"] == {"min": [1, 1], "opt": [1, 64], "max": [1, 512]}
    assert notes["profiles"][1]["shapes"]["past_key_values.0.key"]["max"][2] == 511
    assert notes["limits"] == {"max_seq_len": 512, "max_batch_size": 1}
    assert notes["kv_bytes_per_token"] == 2 * notes["layers"] * notes["kv_heads"] * notes["head_size"] * 2
    assert engine.result == {**engine.result, **{name: notes[name] for name in notes if name != "schema_version"}}
    assert (engine.out / "model.onnx").read_bytes() == (tiny_llama_onnx.fp16 / "model.onnx").read_bytes()
    assert not list(engine.out.glob("*.partial"))


def test_its_layers_are_read_from_the_log(engine: Built) -> None:
    table = read_layers(engine.out)
    assert len(table.layers) == engine.result["engine_layers"] > 20
    assert {layer.profile for layer in table.layers} == {0, 1}
    products = [layer for layer in table.layers if layer.type == "gemm"]
    assert {layer.precision for layer in products} == {"fp16"}
    assert any("/mlp/down_proj/MatMul" in origin for layer in table.layers for origin in layer.origin)
    assert {one.name for one in table.bindings if one.mode == "output"} >= {"logits", "present.1.value"}
    assert table.profiles[1].shapes["attention_mask"].max == (1, 512)


_LOAD_CONTEXT = """
import sys, onnx, onnxruntime
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model)
node, = model.graph.node
found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
assert (node.domain, node.op_type) == ("com.microsoft", "EPContext"), node.op_type
assert found["ep_cache_context"] == b"engine.trt" and found["embed_mode"] == 0, found
assert found["hardware_architecture"] == b"89" and found["source"] == b"NvTensorRTRTXExecutionProvider", found
whole = onnx.load(sys.argv[2], load_external_data=False)
assert list(model.graph.input) == list(whole.graph.input) and list(model.graph.output) == list(whole.graph.output)
try:
    onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
except Exception as error:
    # The graph is taken; only a kernel for it is not on this machine.
    assert "Failed to find kernel for com.microsoft.EPContext" in str(error), error
"""


def test_onnx_runtime_takes_the_context_model(engine: Built, onnx_python: str) -> None:
    files = [str(engine.out / name) for name in ("model_ctx.onnx", "model.onnx")]
    done = subprocess.run([onnx_python, "-c", _LOAD_CONTEXT, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_progress_is_the_whole_steps_and_never_goes_back(engine: Built) -> None:
    assert phases_of(engine.messages) == ["files", "parse", "build", "serialize", "describe"]
    told = [one for one in engine.messages if isinstance(one, Progress) and one.unit == "%"]
    shares = [one.done for one in told]
    assert shares == sorted(shares) and shares[-1] == 100 and len(set(shares)) >= 5
    left = [one.left_s for one in told if one.left_s is not None]
    assert left and min(left) >= 0
    logs = [one.text for one in engine.messages if isinstance(one, Log)]
    assert any("prefill (1 of 2): the builder says nothing" in text for text in logs)
    assert engine.result["monitor"]["steps"] > 100


@pytest.fixture(scope="module")
def refused(tiny_llama_onnx: TinyOnnx, onnx_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Builds that cannot be, and one for several GPUs, one after the other in one process."""
    root = tmp_path_factory.mktemp("rtx-cases")
    spoil = [onnx_python, str(Path(__file__).with_name("spoil.py"))]
    subprocess.run(
        [*spoil, str(tiny_llama_onnx.fp16), str(root / "in"), "operator", "plugin", "fixed", "data"], check=True
    )
    cases: dict[str, tuple[Path, dict[str, Any]]] = {
        name: (root / "in" / name, {}) for name in ("operator", "plugin", "fixed", "data")
    }
    cases |= {
        "several": (tiny_llama_onnx.fp16, {"targets": ["12.0", "8.6", "8.9"], "profiles": "one"}),
        "turing": (tiny_llama_onnx.fp16, {"targets": ["7.5"]}),
        "fp32 on turing": (tiny_llama_onnx.fp32, {"targets": ["7.5"]}),
        "hopper": (tiny_llama_onnx.fp16, {"targets": ["9.0"]}),
        "current": (tiny_llama_onnx.fp16, {"targets": ["current"]}),
        "stripped": (tiny_llama_onnx.fp16, {"strip_weights": True}),
        "positions": (tiny_llama_onnx.fp16, {"max_seq_len": 100_000}),
        "prompt": (tiny_llama_onnx.fp16, {"max_seq_len": 32}),
        "workspace": (tiny_llama_onnx.fp16, {"workspace_gib": 1e-6}),
        "setting": (tiny_llama_onnx.fp16, {"timing_cache": "here"}),
    }
    specs = {
        name: {
            "worker": "tensorrt_rtx.build",
            "inputs": {"checkpoint": str(folder)},
            "settings": {**SMALL, **changes},
            "output": str(root / "out" / name),
        }
        for name, (folder, changes) in cases.items()
    }
    return run_cases(specs, root)


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("operator", "missing-operator", ("NoSuchOperator", "ai.onnx", "/model/", "1 more node")),
        ("plugin", "missing-operator", ("plugin FancyAttention", "com.example", "/model/")),
        ("fixed", "profile-refused", ("input_ids", "always 4")),
        ("data", "missing-onnx-data", ("model.onnx.data",)),
        ("turing", "target-refused", ("Turing", "FP32 GEMM", "/model/rotary_emb/MatMul")),
        ("fp32 on turing", "target-refused", ("FP32 needs compute capability 8.0", "7.5 (Turing) has FP16")),
        ("hopper", "bad-gpu-target", ("9.0 (Hopper)", "8.9")),
        ("current", "no-gpu", ("this machine's GPU",)),
        ("stripped", "no-gpu", ("strip_weights",)),
        ("positions", "profile-too-long", ("100000 tokens", "512 positions")),
        ("prompt", "profile-refused", ("opt_prompt = 64", "max_seq_len = 32")),
        ("workspace", "workspace-too-small", ("workspace",)),
        ("setting", "bad-setting", ("timing_cache",)),
    ],
)
def test_what_cannot_be_built_is_said(refused: dict[str, Run], case: str, code: str, words: tuple[str, ...]) -> None:
    if case in ("current", "stripped") and gpu_capabilities():
        pytest.skip("there is a GPU here")
    run = refused[case]
    assert run.error["code"] == code, run.error
    said = " ".join(run.error.values())
    assert all(word in said for word in words), said
    assert not (run.out / "engine.json").exists() and not list(run.out.glob("engine.trt*"))


def test_one_engine_for_several_gpus(refused: dict[str, Run]) -> None:
    run = refused["several"]
    assert run.result["targets"] == ["8.6", "8.9", "12.0"]
    assert [one["name"] for one in json.loads((run.out / "engine.json").read_text())["profiles"]] == ["one"]
    assert {layer.profile for layer in read_layers(run.out).layers} == {0}


class Watched:
    """The worker as a program of its own, which can be stopped and confined."""

    def __init__(self, python: str, checkpoint: Path, out: Path, file_bytes: int | None = None) -> None:
        spec = StepSpec(
            worker="tensorrt_rtx.build", inputs={"checkpoint": str(checkpoint)}, settings=SMALL, output=str(out)
        )

        def confine() -> None:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        self.process = subprocess.Popen(
            [python, "-m", "workbench.workers.tensorrt_rtx.build"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=confine,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(spec.model_dump_json().encode() + b"\n")
        self.process.stdin.flush()
        self.seconds: float | None = None

    def follow(self, stop_at: str = "") -> list[Message]:
        """Everything it says; at the phase or log line that has `stop_at` in it, it is told to stop."""
        assert self.process.stdout is not None
        messages, asked = [], None
        for line in self.process.stdout:
            messages.append(parse_message(line))
            if stop_at and asked is None and stop_at in line.decode():
                asked = time.monotonic()
                os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        self.process.stdout.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        if asked is not None:
            self.seconds = time.monotonic() - asked
        return messages


@pytest.fixture(scope="module")
def deep(tiny_llama_onnx: TinyOnnx, onnx_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes seconds to build: a tiny one would be done before a signal reaches its builder."""
    root = tmp_path_factory.mktemp("deep")
    spoil = str(Path(__file__).with_name("spoil.py"))
    subprocess.run([onnx_python, spoil, str(tiny_llama_onnx.fp16), str(root), "deep"], check=True)
    return root / "deep"


@pytest.mark.parametrize("stop_at", ['"parse"', '"build"', "1 of 2", "2 of 2"])
def test_a_cancel_is_over_in_two_seconds_and_leaves_no_engine(
    onnx_python: str, deep: Path, tmp_path: Path, stop_at: str
) -> None:
    worker = Watched(onnx_python, deep, tmp_path)
    messages = worker.follow(stop_at)
    assert worker.process.returncode == -signal.SIGTERM, messages[-1]
    assert worker.seconds is not None and worker.seconds < 2
    assert not (tmp_path / "engine.json").exists() and not list(tmp_path.glob("engine.trt*"))


@pytest.mark.parametrize("disk", ["full", "limit"])
def test_a_disk_that_fills_up_while_the_engine_is_written(
    onnx_python: str, tiny_llama_onnx: TinyOnnx, tmp_path: Path, disk: str
) -> None:
    if disk == "full":
        (tmp_path / "engine.trt.partial").symlink_to("/dev/full")
    worker = Watched(onnx_python, tiny_llama_onnx.fp16, tmp_path, 1_500_000 if disk == "limit" else None)
    last = worker.follow()[-1]
    assert isinstance(last, Error) and last.code == "disk-full", last
    assert "1.4 MiB" in last.cause if disk == "limit" else "No space left" in last.cause
    assert not (tmp_path / "engine.json").exists() and not list(tmp_path.glob("engine.trt*"))


_HANGING = """
import sys, threading, time
from pathlib import Path
from workbench.workers.protocol import Channel
from workbench.workers.tensorrt_rtx.monitor import Cancel, run_beside

channel = Channel(sys.stdout.buffer, iter(()))
with Cancel(channel, Path(sys.argv[1]).unlink) as cancel:
    channel.log("begun")
    sys.stdout.buffer.flush()
    run_beside(lambda: time.sleep(60), cancel, sys.stdout.buffer.flush)
"""


@pytest.mark.slow
def test_a_builder_that_hears_nothing_is_ended(tmp_path: Path) -> None:
    partial = tmp_path / "engine.trt.partial"
    partial.touch()
    with subprocess.Popen(
        [sys.executable, "-c", _HANGING, str(partial)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None and b"begun" in process.stdout.readline()
        asked = time.monotonic()
        process.terminate()
        assert process.wait(5) == -signal.SIGTERM
    assert 1.4 < time.monotonic() - asked < 2
    assert not partial.exists()
