"""Worker `probe`: which versions an environment holds, whether they import, and which devices they see.

Without `import` it reads metadata alone and answers at once; with it, it also finds what metadata cannot show, such
as a torchvision that does not match torch and with which every import of transformers' model classes fails.
"""

from __future__ import annotations

import importlib
import os
import platform
from typing import Any

from workbench.workers.openvino_common import explain_import, first_line, quiet_environment
from workbench.workers.protocol import Channel, StepSpec, run_worker, versions_of

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
    "tensorrt-llm": ("tensorrt_llm",),
}
"""Modules to import for a distribution whose name does not give its module; the second for transformers is where a
wrong torchvision shows."""


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Versions by distribution name; absent ones are left out.

    Settings: `packages` (distribution names), `import` (default false). Result: `versions`, `imports` (name -> "" or
    the error in one line; only those that were tried), `fixes` (name -> what to do), `devices` (name -> full name).
    """
    packages = tuple(str(name) for name in spec.settings.get("packages") or DEFAULT_PACKAGES)
    versions = versions_of(*packages)
    result: dict[str, Any] = {
        "versions": versions,
        "imports": {},
        "fixes": {},
        "devices": {},
        "machine": {"system": platform.system(), "arch": platform.machine(), "cpus": os.cpu_count()},
    }
    if not spec.settings.get("import", False):
        return result
    quiet_environment()
    tried = [name for name in packages if name in versions]
    for done, name in enumerate(tried, 1):
        error = _import_error(name)
        result["imports"][name] = "" if error is None else f"{type(error).__name__}: {first_line(error)}"
        if error is not None:
            result["fixes"][name] = explain_import(error).hint
        channel.progress(done, len(tried), "packages")
    if result["imports"].get("openvino") == "":
        result["devices"] = _openvino_devices()
    return result


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
