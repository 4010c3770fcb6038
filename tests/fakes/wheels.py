"""Wheels with a few lines of Python in them, as pip takes them, under the names and versions of the real ones."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from workbench.core.wheels import Interpreter, read_pins, requirement_lines
from workbench.toolchains.install.recipes import recipe_of

_MODULES = {
    "nvidia-modelopt": ("modelopt",),
    "transformers": ("transformers", "transformers.models.llama.modeling_llama"),
}


def make_wheel(
    folder: Path, name: str, version: str, requires: Sequence[str] = (), modules: Sequence[str] = (), code: str = ""
) -> Path:
    """A wheel with one module, or those named, each holding `code`."""
    folder.mkdir(exist_ok=True, parents=True)
    plain = re.sub(r"[-.]+", "_", name)
    info = f"{plain}-{version}.dist-info"
    wants = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wants}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    for module in modules or (plain,):
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            files["/".join(parts[:end]) + "/__init__.py"] = code
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    path = folder / f"{plain}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(inside, text)
    return path


def make_wheels(folder: Path, toolchain: str, *, without: Sequence[str] = (), code: str = "") -> None:
    """All that the shipped list of a toolchain wants, in the pinned versions; `code` is in those that are imported."""
    (each,) = recipe_of(toolchain).lists
    assert each.lock is not None
    pins = read_pins(each.lock, Interpreter("3.11"))
    for line in requirement_lines(each.file):
        name = re.split(r"[<>=\[ ;]", line)[0]
        if name not in without:
            modules = _MODULES.get(name, (re.sub(r"[-.]+", "_", name),))
            own = code if name in recipe_of(toolchain).packages else ""
            # What the workers' files need is lent by a path, since a fake of it would break them.
            lent = name in ("pydantic", "psutil")
            make_wheel(folder, name, pins[name], modules=("lent_" + name,) if lent else modules, code=own)
