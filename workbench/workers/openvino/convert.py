"""Worker `openvino.convert`: Hugging Face folder -> OpenVINO IR with its tokenizers, by optimum-intel's exporter.

The exporter can end without a model and without an error, so what it wrote is checked and read again here.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from workbench.workers.common import announce, explain_import, first_line, input_folder, quiet_environment
from workbench.workers.models.tokenizer_files import check_tokenizer_files
from workbench.workers.openvino.common import MODEL_BIN, MODEL_XML, PACKAGES, TOKENIZER_FILES, check_tokenizers, read_ir
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker

PHASES = ("load", "trace", "save", "tokenizer", "check")
DTYPES = ("fp16", "fp32")
STATEFUL_INPUTS = frozenset(["input_ids", "attention_mask", "beam_idx"])


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with the IR of `inputs.model`.

    Settings: `dtype` ("fp16" or "fp32") of the weights, `trust_remote_code` (default false).
    Raises WorkerError: `missing-input`, `bad-setting`, `import-failed`, `export-failed`, `bad-ir`, `no-tokenizer`.
    """
    model = input_folder(spec, "model")
    out = Path(spec.output)
    dtype = str(spec.settings.get("dtype", "fp16"))
    if dtype not in DTYPES:
        raise WorkerError(
            f"weights cannot be converted to {dtype}",
            code="bad-setting",
            cause=f"dtype = {dtype}",
            hint=f"Use one of: {', '.join(DTYPES)}.",
        )
    check_tokenizer_files(model)
    quiet_environment()
    started = time.monotonic()
    watcher = _Watcher(channel, out, _expected_bytes(model, dtype))
    watcher.start()
    try:
        _export(model, out, dtype, bool(spec.settings.get("trust_remote_code", False)))
    finally:
        watcher.stop()
    channel.phase("check", len(PHASES), len(PHASES))
    ir = read_ir(out)
    check_tokenizers(out)
    inputs = {name for port in ir.inputs for name in port.get_names()}
    if not inputs >= STATEFUL_INPUTS or not ir.get_sinks():
        raise WorkerError(
            "the exported model does not keep its KV cache as state, so the pipeline cannot run it",
            code="export-failed",
            cause=f"inputs: {', '.join(sorted(inputs))}",
            hint="This architecture is not supported by this version of optimum-intel for text generation.",
        )
    size = announce(channel, "checkpoint", out)
    return {
        "precision": dtype,
        "bytes": size,
        "weight_bytes": (out / MODEL_BIN).stat().st_size,
        "operations": len(ir.get_ops()),
        "seconds": round(time.monotonic() - started, 2),
    }


def _export(model: Path, out: Path, dtype: str, trust_remote_code: bool) -> None:
    try:
        from optimum.exporters.openvino import main_export
        from optimum.intel import OVConfig
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    try:
        main_export(
            str(model),
            str(out),
            task="text-generation-with-past",
            framework="pt",
            device="cpu",
            ov_config=OVConfig(dtype=dtype),
            stateful=True,
            convert_tokenizer=True,
            library_name="transformers",
            local_files_only=True,
            trust_remote_code=trust_remote_code,
        )
    except (MemoryError, OSError) as error:
        # transformers says OSError for whatever it does not like about a folder; a real one has a number.
        if isinstance(error, MemoryError) or error.errno is not None:
            raise
        raise _explain(error) from error
    except Exception as error:
        explained = explain_import(error) if isinstance(error, ImportError) else _explain(error)
        raise explained from error


def _explain(error: Exception) -> WorkerError:
    text = str(error)
    if "trust_remote_code" in text:
        return WorkerError(
            "the model needs Python code from its own folder",
            code="needs-remote-code",
            cause=first_line(error),
            hint="If you trust that code, set convert.trust_remote_code = true in the preset.",
        )
    return WorkerError(
        "optimum-intel could not export the model",
        code="export-failed",
        cause=f"{type(error).__name__}: {first_line(error)}",
        hint="Run `workbench check` on the folder: an unknown architecture, a cut-short weight file and a missing "
        "tokenizer all end here. The job's log has the full text.",
    )


def _expected_bytes(model: Path, dtype: str) -> int | None:
    """Bytes of openvino_model.bin to expect, for the progress bar; None when the folder does not tell."""
    total = 0
    for path in model.glob("*.safetensors"):
        total += path.stat().st_size
    return total * (2 if dtype == "fp32" else 1) or None


class _Watcher(threading.Thread):
    """Tells phases by the files that the exporter writes: it has no callbacks, and tracing is the longest part."""

    def __init__(self, channel: Channel, out: Path, expected_bytes: int | None) -> None:
        super().__init__(daemon=True)
        self._channel, self._out, self._expected = channel, out, expected_bytes
        self._done = threading.Event()
        self._phase = 0

    def run(self) -> None:
        self._enter(1)
        while not self._done.wait(0.1):
            self._look()

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _look(self) -> None:
        weights = self._out / MODEL_BIN
        if (self._out / TOKENIZER_FILES[0]).exists() or (
            self._phase >= 3 and (self._out / MODEL_XML).exists() and _settled(self._out / MODEL_XML)
        ):
            self._enter(4)
        elif weights.exists():
            self._enter(3)
            if self._expected:
                size = weights.stat().st_size
                self._channel.progress(min(size, self._expected), self._expected, "bytes")
        elif (self._out / "config.json").exists():
            self._enter(2)

    def _enter(self, phase: int) -> None:
        if phase > self._phase:
            self._phase = phase
            self._channel.phase(PHASES[phase - 1], phase, len(PHASES))


def _settled(path: Path) -> bool:
    stat = path.stat()
    return stat.st_size > 0 and time.time() - stat.st_mtime > 0.3


if __name__ == "__main__":
    run_worker("openvino.convert", work, packages=PACKAGES)
