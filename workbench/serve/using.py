"""Engines that running servers need: they are not removed meanwhile."""

from __future__ import annotations

import contextlib
from pathlib import Path

from workbench.core.artifact import read_provenance
from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.home import Home
from workbench.core.preset import preset_from_data
from workbench.core.serving import ServeSpec
from workbench.serve.folder import ServingFolder, serving_ids


def refuse_served(home: Home, engine: Path) -> None:
    """Raise BadInputError, with the servers and how to stop them, when running ones need the folder `engine`: as their
    engine, or as the draft of it.
    """
    wanted, found = engine.resolve(), []
    for each in serving_ids(home.serving):
        folder = ServingFolder(home.serving / each)
        with contextlib.suppress(BadInputError, OSError):
            if not folder.is_running():
                continue
            spec = folder.spec()
            if Path(spec.engine).resolve() == wanted:
                found.append((each, folder.raw_state().url))
            elif _draft(home, spec) == wanted:
                found.append((each, f"it guesses for {spec.name}"))
    if found:
        ids = [each for each, _ in found]
        raise BadInputError(
            f"{engine.name} is being served.",
            evidence="; ".join(f"server {each}" + (f", {seen}" if seen else "") for each, seen in found[:4]),
            fix=f"Stop the server first: {', '.join(f'workbench serve stop {each}' for each in ids[:4])}",
            code="in-use",
        )


def _draft(home: Home, spec: ServeSpec) -> Path | None:
    """The engine that guesses for a served one; None: none does, or it cannot be told any more."""
    from workbench.toolchains.running import runtime_preset  # heavy: the toolchains
    from workbench.toolchains.speculation import find_draft

    with contextlib.suppress(WorkbenchError):
        engine = Path(spec.engine)
        provenance = read_provenance(engine)
        preset = runtime_preset(preset_from_data(provenance.preset, name=spec.name), spec.overrides)
        draft = find_draft(home, engine, provenance, preset)
        return draft.resolve() if draft is not None else None
    return None
