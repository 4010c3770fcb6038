"""Worker `probe`: which versions an environment holds, whether they import, and which devices they see.

Without `import` it reads metadata alone and answers at once; with it, it also finds what metadata cannot show, such
as a torchvision that does not match torch and with which every import of transformers' model classes fails.
TensorRT-LLM is imported by a process of its own: it can hang on MPI, or end the process that imports it.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.core.trtllm.log import explain_failure, split_lines
from workbench.workers.common import explain_import, first_line, quiet_environment
from workbench.workers.protocol import Channel, StepSpec, WorkerError, die_with_me, run_worker, versions_of
from workbench.workers.tensorrt_rtx.libraries import load_tensorrt
from workbench.workers.trtllm.common import mpi_launcher, refuse_newer, visible_gpus, without_source_lines

DEFAULT_PACKAGES = (
    "openvino",
    "openvino-genai",
    "openvino-tokenizers",
    "optimum-intel",
    "nncf",
    "transformers",
    "torch",
    "torchvision",
    "gguf",
)
MODULES = {
    "optimum-intel": ("optimum.intel.openvino",),
    "transformers": ("transformers", "transformers.models.llama.modeling_llama"),
    "nvidia-modelopt": ("modelopt",),
    "optimum-onnx": ("optimum.exporters.onnx",),
    "onnxruntime-gpu": ("onnxruntime",),
    "onnxruntime-genai-cuda": ("onnxruntime_genai",),
    "onnxruntime-ep-nv-tensorrt-rtx-cu13": ("onnxruntime_ep_nv_tensorrt_rtx",),
}
"""Modules to import for a distribution whose name does not give its module; the second for transformers is where a
wrong torchvision shows."""

OF_TENSORRT_RTX = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings", "nvidia-cuda-runtime")
"""Libraries of one program, that are loaded in their order and not imported each by itself."""
APART = ("tensorrt-llm",)
"""Imported by a process of its own."""
IMPORT_SECONDS = 240.0
_PROGRAM = "import tensorrt_llm; from tensorrt_llm._tensorrt_engine import LLM; import tensorrt_llm.commands.build"
_ERROR = re.compile(r"^\w[\w.]*(?:Error|Exception|Exit)\b")


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Versions by distribution name; absent ones are left out.

    Settings: `packages` (distribution names), `import` (default false), `import_seconds` (default 240: how long the
    import of TensorRT-LLM may take), `paths` (folders that must be there). Result: `versions`, `unseen` (those of
    `paths` that are not there); with `import` also `imports` (name -> "" or the error in one line), `causes` (name ->
    {code, what}, where the cause is known), `fixes` (name -> what to do), `devices` (OpenVINO's, name -> full name),
    `gpus` (NVIDIA's, as CUDA_VISIBLE_DEVICES lets them through), `mpi` (version of mpi4py, path of the launcher).
    """
    packages = tuple(str(name) for name in spec.settings.get("packages") or DEFAULT_PACKAGES)
    versions = versions_of(*packages)
    result: dict[str, Any] = {
        "versions": versions,
        "unseen": [path for path in map(str, spec.settings.get("paths") or ()) if not Path(path).exists()],
        "imports": {},
        "causes": {},
        "fixes": {},
        "devices": {},
        "gpus": [],
        "mpi": {},
        "machine": {"system": platform.system(), "arch": platform.machine(), "cpus": os.cpu_count()},
    }
    if not spec.settings.get("import", False):
        return result
    quiet_environment()
    tried = [name for name in packages if name in versions]
    for done, name in enumerate(tried, 1):
        result["imports"][name] = ""
        if name in APART:
            _import_apart(name, float(spec.settings.get("import_seconds", IMPORT_SECONDS)), result)
        elif name in OF_TENSORRT_RTX:
            _load_tensorrt_rtx(name, result)
        elif (error := _import_error(name)) is not None:
            result["imports"][name] = f"{type(error).__name__}: {first_line(error)}"
            _note(name, [result["imports"][name]], "", explain_import(error).hint, result)
        channel.progress(done, len(tried), "packages")
    if result["imports"].get("openvino") == "":
        result["devices"] = _openvino_devices()
    if "tensorrt-llm" in versions:
        result["gpus"] = [asdict(gpu) for gpu in visible_gpus()]
        result["mpi"] = {"mpi4py": versions_of("mpi4py").get("mpi4py", ""), "launcher": mpi_launcher()}
    return result


def _import_apart(name: str, seconds: float, result: dict[str, Any]) -> None:
    """Import in a process of its own, as far as running engines needs it; the result's fields for `name`."""
    try:
        refuse_newer("has no engines")
    except WorkerError as error:
        result["imports"][name] = error.message
        result["causes"][name] = {"code": error.code, "what": error.message}
        result["fixes"][name] = error.hint
        return
    with tempfile.TemporaryFile() as raw:
        try:
            ended = subprocess.run(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.DEVNULL,
                stdout=raw,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                preexec_fn=die_with_me(),
            ).returncode
            outcome = "" if ended == 0 else f"signal {-ended}" if ended < 0 else f"exit code {ended}"
        except subprocess.TimeoutExpired:
            outcome = f"no output for {seconds:g} s"
        raw.seek(0)
        lines = without_source_lines(split_lines(raw.read().decode("utf-8", "replace")))
    if outcome:
        errors = [line for line in lines if _ERROR.match(line)] or lines[-1:]
        result["imports"][name] = errors[-1] if errors and "no output" not in outcome else outcome
        _note(name, [*lines, "import tensorrt_llm"], outcome, "Run the import by hand to see all of it.", result)


def _load_tensorrt_rtx(name: str, result: dict[str, Any]) -> None:
    """Load TensorRT-RTX, which needs no GPU; every one of its distributions answers for all."""
    try:
        load_tensorrt()
    except WorkerError as error:
        result["imports"][name] = error.cause or error.message
        result["causes"][name] = {"code": error.code, "what": error.message}
        result["fixes"][name] = "`workbench toolchain install tensorrt_rtx` makes an environment that has all three."


def _note(name: str, lines: list[str], outcome: str, otherwise: str, result: dict[str, Any]) -> None:
    """The known cause of a failed import and its fix."""
    failure = explain_failure(lines, outcome)
    known = failure.code != "failed"
    if known:
        result["causes"][name] = {"code": failure.code, "what": failure.what}
    result["fixes"][name] = failure.fix if known else otherwise


def _import_error(package: str) -> BaseException | None:
    try:
        for module in MODULES.get(package, (package.replace("-", "_"),)):
            importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return error
    return None


def _openvino_devices() -> dict[str, str]:
    import openvino

    core = openvino.Core()
    return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}


if __name__ == "__main__":
    run_worker("probe", work)
