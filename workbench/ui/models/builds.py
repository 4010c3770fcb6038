"""Starting builds: what the Build page does off the GUI thread, in the steps that the command line takes."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError, CancelledError
from workbench.core.home import Home
from workbench.core.plan import Plan
from workbench.core.preset import Preset, save_preset
from workbench.core.settings import is_offline
from workbench.jobs import client
from workbench.jobs.folder import JobFolder
from workbench.store.store import Store
from workbench.store.upgrade import refuse_newer_store
from workbench.toolchains import get
from workbench.toolchains.environments import choose_environment
from workbench.toolchains.planner import Digests
from workbench.toolchains.sources import demo_plan, fetch_plan, ready_folder
from workbench.ui.models.preflight import Preflights, Question

PRESET_FILE = ".preset.toml"
"""How the name of an exported preset ends."""


@dataclass(frozen=True)
class Started:
    """A job that was started; `folder` instead where what it makes is there already."""

    job_id: str = ""
    folder: str = ""


def start_build(
    home: Home,
    preflights: Preflights,
    question: Question,
    progress: Callable[[int, int], None],
    stop: threading.Event,
    *,
    anyway: bool = False,
) -> Started:
    """Read the model's files where they are new, plan, and start the job.

    `progress` gets (bytes read, in all). Raises BadInputError, BlockedError, CancelledError once `stop` is set.
    """

    def read(done: int, total: int) -> None:
        if stop.is_set():
            raise CancelledError("Nothing was started.")
        progress(done, total)

    with Store.open(home.make()) as store:
        store.refuse_newer()
        store.sync()
        draft = replace(preflights.draft(question, config_only=False), paths_with_key=store.paths_with_key)
        digest = draft.digest(Digests(store.known_digest, store.remember_digest, read))
        plan = draft.plan(question.precisions, digest, until=question.until, anyway=anyway)
    if stop.is_set():
        raise CancelledError("Nothing was started.")
    return _start(home, plan)


def start_demo_fetch(home: Home) -> Started:
    """Begin to fetch the demo model, or say where it is. Raises BlockedError."""
    environment = choose_environment(get("openvino"), home, os.environ)
    plan = demo_plan(home.make(), environment, os.environ)
    folder = ready_folder(plan)
    return Started(folder=str(folder)) if folder is not None else _start(home, plan)


def start_download(home: Home, repository: str, revision: str | None) -> Started:
    """Begin to download a repository by its name."""
    return _start(home.make(), fetch_plan(repository, revision, offline=is_offline(home)))


def fetched_folder(job: Path) -> str:
    """The model folder that a finished fetch made; "" when it says none."""
    state = JobFolder(job).state()
    result = state.steps[-1].result if state.steps else None
    return state.artifacts[-1] if state.artifacts else str((result or {}).get("path", ""))


def _start(home: Home, plan: Plan) -> Started:
    refuse_newer_store(home)
    return Started(job_id=client.start(home, plan).id)


def save_own_preset(home: Home, preset: Preset, name: str) -> Preset:
    """Write a preset into the person's own folder. Raises BadInputError."""
    if Path(name).name != name:
        raise BadInputError(f"{name} is not a name for a preset.", fix="Leave out slashes.", code="bad-preset-name")
    try:
        home.presets.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"{home.presets} cannot be made.", evidence=str(error), fix="Check its owner and mode.", code="not-written"
        ) from error
    return save_preset(_for_folder(preset, home.presets), home.presets / f"{name}.toml")


def export_preset(preset: Preset, path: Path) -> Path:
    """Write a preset to a file of its own, anywhere; the ending by which desktops know presets is put on where none
    is. Returns the path. Raises BadInputError."""
    if path.suffix != ".toml":
        path = path.with_name(path.name + PRESET_FILE)
    save_preset(_for_folder(preset, path.parent), path)
    return path


def _for_folder(preset: Preset, folder: Path) -> Preset:
    """The preset as a file of that folder says it: files that it names from its own folder are named in full."""
    if preset.source is None or preset.source.parent == folder:
        return preset
    changed: dict[str, Any] = {}
    if (file := preset.calibration_path) is not None:
        changed["calibration"] = preset.calibration.model_copy(update={"file": str(file)})
    if (draft := preset.draft_path) is not None:
        changed["speculative"] = preset.speculative.model_copy(update={"draft": str(draft)})
    return preset.model_copy(update=changed) if changed else preset


def script_text(argv: tuple[str, ...], home: Home) -> str:
    """A shell script that runs the command for the same home."""
    return (
        "#!/bin/sh\n# Written by Engine Workbench; builds what its window showed.\nset -eu\n"
        f"export WORKBENCH_HOME={shlex.quote(str(home.root))}\n{shlex.join(argv)}\n"
    )


def save_script(path: Path, text: str) -> Path:
    """Write a script that its owner may run. Raises BadInputError."""
    try:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written.", evidence=str(error), fix="Choose another folder.", code="not-written"
        ) from error
    return path
