"""A home of recorded objects, for pictures on a machine that built nothing: real records of the demo model.

The jobs and engines were made with SmolLM2-135M-Instruct on a CPU, one job failed as it did then. Their records are
kept under resources/recorded; weights are not, so the large files are as long as they were and hold nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workbench.core.artifact import PROVENANCE_FILE, Provenance
from workbench.core.data import resource
from workbench.core.home import Home
from workbench.store.conversations import FOLDER

_HOME, _SHOWN_AS = "{home}", "~/engine-workbench"
_ROOMS: dict[str, Callable[[Home], Path]] = {
    "jobs": lambda home: home.jobs,
    "engines": lambda home: home.artifacts / "engines",
    "conversations": lambda home: home.root / FOLDER,
}
"""Where the folders of the records belong."""
_FOLLOWED = ("plan.json", "state.json")
"""Files whose paths lead somewhere; in the others they are only read."""


def has_engines(home: Home) -> bool:
    """Whether something was built in this home."""
    return any((home.artifacts / "engines").glob(f"*/{PROVENANCE_FILE}"))


def recorded_home(folder: Path) -> Home:
    """Write the recorded jobs and engines below `folder`, each named as recorded; the home they make."""
    home = Home(folder).make()
    source = resource("recorded")
    for path in sorted(source.rglob("*")):
        if not path.is_file():
            continue
        inside = path.relative_to(source)
        place = _ROOMS[inside.parts[0]](home).joinpath(*inside.parts[1:])
        place.parent.mkdir(parents=True, exist_ok=True)
        stands_for = str(folder) if path.name in _FOLLOWED else _SHOWN_AS
        place.write_text(path.read_text("utf-8").replace(_HOME, stands_for), "utf-8")
    for record in (home.artifacts / "engines").glob(f"*/{PROVENANCE_FILE}"):
        for entry in Provenance.model_validate_json(record.read_bytes()).files:
            file = record.parent / entry.path
            if not file.exists():
                with file.open("wb") as empty:
                    empty.truncate(entry.bytes)
    _model(home)
    return home


def _model(home: Home) -> None:
    """The source model's folder as its configuration alone, for the Build page."""
    config = next((home.artifacts / "engines").glob("*/config.json"))
    folder = home.artifacts / "models" / "SmolLM2-135M-Instruct"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(config.read_bytes())
