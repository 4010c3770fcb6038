"""Importing beforehand what pages and panels stand on, so that the first look at one need not wait for it.

What holds no Qt is imported in a thread; what holds Qt only on the GUI thread, a module at each turn of its loop. Qt's
classes are completed when a name is first used, and a thread that does so while the window paints ends the process with
a segmentation fault (seen with PySide6 6.11.3, in one of twenty starts on a busy machine).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial

from workbench.ui.bridge import Tasks

GROUND = (
    "numpy",
    "workbench.bench",
    "workbench.core.deploy.triton.export",
    "workbench.core.report.build",
    "workbench.core.report.importers",
    "workbench.deploy.launch",
    "workbench.jobs.burst",
    "workbench.measure.kept",
    "workbench.measure.running",
    "workbench.measure.targets",
    "workbench.serve.plans",
    "workbench.store.bursts",
    "workbench.store.report",
    "workbench.telemetry.export",
    "workbench.toolchains.install.manage",
    "workbench.toolchains.preset_sources",
)
"""Without Qt: they bring most of what the pages import besides."""


def import_ground(names: Iterable[str] = GROUND) -> None:
    """Import modules that hold no Qt; for a thread."""
    for name in names:
        importlib.import_module(name)


def import_in_turns(tasks: Tasks, names: Iterable[str], done: Callable[[], object]) -> None:
    """Import modules that hold Qt, one at a turn of the GUI thread's loop; then `done`."""
    tasks.run_here([*(partial(importlib.import_module, name) for name in names), done])
