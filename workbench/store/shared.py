"""Which folders of a shared place are artefacts: found by looking, since no job of this home made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workbench.core.artifact import PARTIAL_SUFFIX, PROVENANCE_FILE
from workbench.core.galleries import subfolders


def artifacts_below(root: Path) -> Iterator[Path]:
    """Artefact folders of a shared root: itself, in it, or one further down as in a home's `engines/NAME`.

    Folders that may not be read are left out.
    """
    if _is_artifact(root):
        yield root
        return
    for folder in subfolders(root):
        if _is_artifact(folder):
            yield folder
        else:
            yield from (each for each in subfolders(folder) if _is_artifact(each))


def _is_artifact(folder: Path) -> bool:
    try:
        return not folder.name.endswith(PARTIAL_SUFFIX) and (folder / PROVENANCE_FILE).is_file()
    except OSError:
        return False
