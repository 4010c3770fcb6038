"""Where the data files that ship with the program stand: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

from workbench.core.errors import BadInputError


def data_folder(name: str) -> Path:
    """`presets` or `resources`. Raises BadInputError when the installation lacks it."""
    package = Path(__file__).resolve().parent.parent
    # site-packages may hold anybody's folder of that name, so a checkout is told by its project file.
    checkout = package.parent / name
    if (package.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    installed = package / "_data" / name
    if installed.is_dir():
        return installed
    raise BadInputError(
        f"The program's own {name} are missing.",
        evidence=str(installed),
        fix="Install it again.",
        code="broken-install",
    )


def resource(name: str) -> Path:
    """A file under resources/."""
    return data_folder("resources") / name
