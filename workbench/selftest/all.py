"""All checks in their order: from the files up to an answer, so that the first failure is nearest to the cause."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.errors import BadInputError
from workbench.selftest import of_engine, of_files, of_state, of_window
from workbench.selftest.checks import Began, Check, Ended, run_checks
from workbench.selftest.report import Report
from workbench.selftest.room import Room


def all_checks(before: of_state.Marks) -> tuple[Check, ...]:
    """`before`: the marks of the program's folder (`of_state.program_marks`) at the beginning."""
    return (
        Check("program", "Program's files", 60, of_files.program_files),
        Check("python", "Python's libraries", 30, of_files.python_libraries),
        Check("data", "Data files", 10, of_files.data_files),
        Check("presets", "Presets", 20, of_files.presets),
        Check("settings", "Settings", 10, of_files.settings),
        Check("home", "Your folder", 20, of_state.home_folder),
        Check("store", "Store", 20, of_state.store),
        Check("worker", "Worker protocol", 30, of_state.worker),
        Check("jobs", "Jobs", 60, of_state.queue),
        Check("window", "Window", 90, of_window.window),
        Check("screen", "Libraries for a screen", 30, of_window.screen),
        Check("toolchains", "Toolchains", 60, of_engine.toolchains),
        Check("engine", "A tiny engine", 180, of_engine.engine, long=True),
        Check("server", "Server", 60, of_engine.server),
        Check("left", "Nothing left behind", 20, lambda room: of_state.nothing_left(room, before)),
    )


def chosen_checks(only: Sequence[str]) -> tuple[str, ...]:
    """Names of the checks to run: all for none, else those named, each item a comma-separated list.

    Raises BadInputError for one that there is not.
    """
    names = tuple(check.name for check in all_checks({}))
    wanted = [part.strip() for item in only for part in item.split(",") if part.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise BadInputError(
            f"There is no check {unknown[0]!r}.",
            evidence=f"checks: {', '.join(names)}",
            fix="Name some of these.",
            code="no-such-check",
        )
    return tuple(name for name in names if name in wanted or not wanted)


def self_test(
    *,
    quick: bool = False,
    patience: float = 1.0,
    began: Began = lambda check: None,
    ended: Ended = lambda finding: None,
    only: Sequence[str] = (),
) -> Report:
    """Test this installation in a home of its own; half a minute to a minute.

    Raises BadInputError when there is not even room for that, and for a name in `only` that is no check's. It changes
    this process's environment while it runs: give it a process of its own.
    """
    names = chosen_checks(only)
    before = of_state.program_marks()
    with Room(patience=patience) as room:
        checks = [check for check in all_checks(before) if check.name in names]
        return run_checks(checks, room, quick=quick, began=began, ended=ended)
