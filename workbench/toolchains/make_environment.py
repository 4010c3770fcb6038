"""Plans that make a toolchain an environment of its own, under the home, where the doctor finds it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.core.errors import BadInputError
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home
from workbench.core.plan import Plan, Step
from workbench.toolchains.code import package_root
from workbench.toolchains.gpus import detected_gpus

_HERE = Path(__file__).parent
REQUIREMENTS = {
    "openvino": _HERE / "openvino" / "requirements.txt",
    "modelopt": _HERE / "tensorrt_llm" / "requirements-modelopt.txt",
    "pytorch": _HERE / "pytorch" / "requirements.txt",
}
"""What is installed, by the name of the toolchain or part."""
WITH_GPU = {"pytorch": _HERE / "pytorch" / "requirements-gpu.txt"}
"""What is installed instead on a machine with a GPU."""
_TITLES = {"openvino": "OpenVINO GenAI", "modelopt": "NVIDIA ModelOpt", "pytorch": "PyTorch"}


def can_make(toolchain: str) -> bool:
    """Whether an environment for it can be made by the workbench."""
    return toolchain in REQUIREMENTS


def free_name(home: Home, toolchain: str) -> str:
    """A name that no environment of that toolchain has: `default`, `default-2`, ..."""
    number, name = 1, "default"
    while (home.environments / toolchain / name).exists():
        number += 1
        name = f"default-{number}"
    return name


def environment_plan(
    home: Home,
    toolchain: str,
    name: str,
    *,
    wheels: Path | None = None,
    requirements: Path | None = None,
    gpus: Callable[[], Sequence[GpuSpec]] = detected_gpus,
) -> Plan:
    """Make `home.environments/TOOLCHAIN/NAME`: from the package index, or from a folder of wheels alone.

    `requirements` replaces the shipped list. Asks the driver for `gpus` where they matter. Raises BadInputError.
    """
    if not can_make(toolchain):
        raise BadInputError(
            f"The workbench makes no environment for {toolchain!r}.",
            evidence=f"it makes them for: {', '.join(REQUIREMENTS)}",
            code="no-toolchain",
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name):
        raise BadInputError(
            "That is no name for an environment.",
            evidence=name,
            fix="Use letters, digits, dots and dashes.",
            code="bad-name",
        )
    if requirements is None:
        requirements = WITH_GPU[toolchain] if toolchain in WITH_GPU and gpus() else REQUIREMENTS[toolchain]
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise BadInputError(
            "There are no wheels in the folder.",
            evidence=str(wheels),
            fix=f"Fill it on a machine with a network: `pip download -r {requirements} -d FOLDER`.",
            code="no-wheels",
        )
    folder = home.environments / toolchain / name
    step = Step(
        id="environment",
        kind="fetch",
        title="Make environment",
        note="from a folder of wheels" if wheels else "from the package index",
        worker="environment",
        argv=(sys.executable, "-m", "workbench.workers.environment"),
        env={"PYTHONPATH": str(package_root())},
        settings={
            "folder": str(folder),
            "requirements": str(requirements),
            "wheels": str(wheels) if wheels else "",
        },
        lanes=(f"environment:{folder}",),
    )
    return Plan(title=f"{_TITLES.get(toolchain, toolchain)} environment {name!r}", toolchain="", steps=(step,))
