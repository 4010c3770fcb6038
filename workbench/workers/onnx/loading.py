"""The source model for the exporter: checked from its headers first, then loaded once, with live progress."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from workbench.core.intake.safetensors_header import read_header
from workbench.core.intake.weights import weight_files
from workbench.workers.common import explain_import, first_line
from workbench.workers.modelopt.common import in_words
from workbench.workers.modelopt.load import readable_config
from workbench.workers.protocol import Channel, WorkerError

TASK = "text-generation-with-past"
TORCH_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_WIDTH = {"fp32": 4, "fp16": 2, "bf16": 2}


def expected_bytes(folder: Path, dtype: str) -> int:
    """Bytes of the folder's weights once they are loaded in `dtype`, from the headers of its files.

    Raises WorkerError for weights that are missing, cut short or of another format (`bad-model`, `no-weights`).
    """
    with in_words():
        files = weight_files(folder, [path.name for path in folder.iterdir() if path.is_file()])
        tensors = [tensor for name in files for tensor in read_header(folder / name).values()]
    if not tensors:
        raise WorkerError(
            "the model folder holds no weights",
            code="no-weights",
            cause=f"no safetensors file in {folder}",
            hint="Download the repository again without leaving files out.",
        )
    return sum(tensor.elements for tensor in tensors) * _WIDTH[dtype]


def read_config(folder: Path, trust_remote_code: bool) -> Any:
    """The model's configuration, once the exporter is known to support its architecture.

    Raises WorkerError `unsupported-architecture`, `needs-remote-code`, `export-failed`, `import-failed`.
    """
    try:
        # The recipes must be imported before the manager knows of them.
        import optimum.exporters.onnx.model_configs  # noqa: F401
        from optimum.exporters.tasks import TasksManager
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    try:
        config = readable_config(folder, trust_remote_code)
    except Exception as error:
        raise explained(error) from error
    kind = str(config.model_type)
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(kind, "onnx", library_name="transformers")
    except KeyError:
        tasks = {}
    if TASK not in tasks:
        raise WorkerError(
            f"the exporter does not support the architecture {kind} for text generation",
            code="unsupported-architecture",
            cause=f"optimum-onnx knows for it: {', '.join(sorted(tasks)) or 'nothing'}",
            hint="Choose a toolchain that runs the model from its own folder, such as PyTorch.",
        )
    return config


def load_model(folder: Path, dtype: str, trust_remote_code: bool, channel: Channel) -> Any:
    """The model folder on the CPU in `dtype`, in evaluation mode: its weights once in memory.

    Tells the bytes loaded on `channel`. Raises WorkerError as `read_config` and `expected_bytes` do.
    """
    total = expected_bytes(folder, dtype)
    config = read_config(folder, trust_remote_code)
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    watch = _MemoryWatch(channel, total)
    watch.start()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=config,
            dtype=getattr(torch, TORCH_DTYPES[dtype]),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            # torch's own attention is written with a test for NaN, which makes all that follows it FP32.
            attn_implementation="eager",
        )
    except Exception as error:
        raise explained(error) from error
    finally:
        watch.stop()
    channel.progress(total, total, "bytes")
    return model.eval()


def explained(error: Exception) -> Exception:
    """What to raise for an error of transformers, optimum or torch: in words unless it is the system's own."""
    text = str(error)
    if isinstance(error, MemoryError | WorkerError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return error  # transformers says OSError for whatever it does not like about a folder; a real one has a number
    if "trust_remote_code" in text:
        return WorkerError(
            "the model needs Python code from its own folder",
            code="needs-remote-code",
            cause=first_line(error),
            hint="If you trust that code, set convert.trust_remote_code = true in the preset.",
        )
    if "does not recognize this architecture" in text:
        return WorkerError(
            "this version of transformers does not know the model's architecture",
            code="unsupported-architecture",
            cause=first_line(error),
            hint="Choose a toolchain with a newer transformers, or a model of an architecture that is older.",
        )
    if isinstance(error, ImportError):
        return explain_import(error)
    return WorkerError(
        "the model could not be exported to ONNX",
        code="export-failed",
        cause=f"{type(error).__name__}: {first_line(error)}",
        hint="Run `workbench check` on the folder: it finds most of what is wrong with one. The job's log has the "
        "full text.",
    )


class _MemoryWatch(threading.Thread):
    """Tells how much of the weights is in memory while transformers loads them: it has no callbacks.

    What is measured is the growth of this process's own memory, mapped files left out. Nothing is told where the
    system does not report it.
    """

    def __init__(self, channel: Channel, total: int) -> None:
        super().__init__(daemon=True)
        self._channel, self._total = channel, total
        self._done = threading.Event()
        self._start = _own_bytes()
        self._told = 0

    def run(self) -> None:
        while self._start is not None and not self._done.wait(0.2):
            now = _own_bytes()
            if now is not None and (grown := min(now - self._start, self._total - 1)) > self._told:
                self._told = grown
                self._channel.progress(grown, self._total, "bytes")

    def stop(self) -> None:
        self._done.set()
        self.join()


def _own_bytes() -> int | None:
    """Resident memory of this process that is not of mapped files, in bytes; None: not reported."""
    import os

    try:
        words = Path("/proc/self/statm").read_text(encoding="ascii").split()
        return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
