"""What the ONNX Runtime workers share: the files of an engine folder, and onnxruntime-genai with its errors in words.

Inside this package `import onnxruntime` is the library still: imports are absolute.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from workbench.workers.common import explain_import, first_line, read_json
from workbench.workers.onnx.common import FACTS_FILE, GENAI_FILE, MODEL_FILE
from workbench.workers.protocol import WorkerError

PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-genai",
    "onnxruntime-genai-cuda",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13",
    "tokenizers",
)
ENGINE_FILE = "engine.json"
ENGINE_SCHEMA = 1
CONTEXT_FILE = "model_ctx.onnx"
"""The model whose one operator is a compiled TensorRT-RTX engine, beside model.onnx."""
TOKENIZER_FILE = "tokenizer.json"
_NO_MEMORY = ("bad_alloc", "failed to allocate", "out of memory", "bfcarena", "outofmemory", "out_of_memory")
"""As ONNX Runtime, CUDA and TensorRT say it."""
_NO_PROVIDER = ("execution provider is not supported in this build", "unknown provider name")
"""Said where a provider's library is loaded and found no device that it takes."""
_NO_LIBRARY = ("cannot open shared object", "failed to load library", "failed to register execution provider library")


def genai() -> Any:
    """The module onnxruntime_genai. Raises WorkerError `import-failed`."""
    try:
        import onnxruntime_genai
    except (ImportError, RuntimeError, OSError) as error:
        raise explain_import(error) from error
    return onnxruntime_genai


def engine_facts(folder: Path) -> dict[str, Any]:
    """`engine.json`, else `onnx.json`, else nothing. Raises WorkerError `bad-engine`, `bad-json`."""
    absent = [name for name in (MODEL_FILE, GENAI_FILE) if not (folder / name).is_file()]
    if absent:
        raise WorkerError(
            "the folder holds no ONNX engine",
            code="bad-engine",
            cause=f"{', '.join(absent)} not in {folder}",
            hint="Build the engine again.",
        )
    for name in (ENGINE_FILE, FACTS_FILE):
        if (folder / name).is_file():
            return read_json(folder / name)
    return {}


def read_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer by the tokenizers library, so that it cuts text as the source model's does.

    Raises WorkerError `no-tokenizer`, `import-failed`.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise explain_import(error) from error
    path = folder / TOKENIZER_FILE
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise WorkerError(
            "the engine's tokenizer cannot be read",
            code="no-tokenizer",
            cause=f"{TOKENIZER_FILE}: {first_line(error)}",
            hint="The model folder needs tokenizer.json (a fast tokenizer) beside its weights; convert it again then.",
        ) from error


def cannot_load(error: BaseException, facts: dict[str, Any], device: str) -> WorkerError:
    """Words for a model that onnxruntime-genai would not load."""
    text = ort_words(error)
    if is_out_of_memory(str(error)):
        return WorkerError(
            "there is not enough memory to load the engine",
            code="out-of-memory",
            cause=text,
            hint="Close other programs or choose a smaller model or precision.",
        )
    if any(sign in str(error).lower() for sign in ("external data", "external initializer")):
        return WorkerError(
            "weights of the engine are missing",
            code="missing-onnx-data",
            cause=text,
            hint="Copy the data file that belongs to this model.onnx, or build the engine again.",
        )
    if any(sign in str(error).lower() for sign in _NO_LIBRARY):
        return WorkerError(
            f"a library that the engine needs on {device} cannot be loaded",
            code="engine-load-failed",
            cause=text,
            hint="See the Doctor page about the NVIDIA driver, and install the toolchain's environment again.",
        )
    if any(sign in str(error).lower() for sign in _NO_PROVIDER):
        return WorkerError(
            f"ONNX Runtime's execution provider offers no device for {device}",
            code="no-execution-provider",
            cause=text,
            hint="It takes GPUs that the driver shows to this process: see the Doctor page about the driver; in a "
            "container /sys and the GPU's devices must be there.",
        )
    precision = str(facts.get("precision") or "")
    return WorkerError(
        "ONNX Runtime cannot load the engine",
        code="engine-load-failed",
        cause=text,
        hint=f"See whether ONNX Runtime has {precision.upper()} on {device}; else build the engine again."
        if precision
        else "Build the engine again; a full disk or a broken copy leaves such files.",
    )


def ort_words(error: BaseException) -> str:
    """ONNX Runtime's sentence without the C++ signature of the function that threw, at most 500 characters."""
    text = first_line(error) if len(str(error)) < 500 else " ".join(str(error).split())
    found = re.search(r"\[ONNXRuntimeError\] : \d+ : \w+ : (?:\S+\.(?:cc|h):\d+ )?(.+)", text)
    return (found[1] if found else text)[:500]


def is_out_of_memory(text: str) -> bool:
    """Whether a library's words mean that memory ran out."""
    words = text.lower()
    return any(sign in words for sign in _NO_MEMORY)
