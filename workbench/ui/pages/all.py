"""The pages of this version, in the order of the rail.

Each is imported when it is first shown: what the pages stand on takes longer to import than a window to open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench.ui.pages.base import Page, PageKind
from workbench.ui.session import Session


@dataclass(frozen=True)
class LaterPage:
    """What the rail has to know of a page, and how it is made; name, title and icon are those of its class."""

    name: str
    title: str
    icon_name: str
    make: Callable[[Session], Page]
    with_monitor: bool = True

    def __call__(self, session: Session) -> Page:
        return self.make(session)


def _build(session: Session) -> Page:
    from workbench.ui.pages.builder.page import BuildPage

    return BuildPage(session)


def _jobs(session: Session) -> Page:
    from workbench.ui.pages.jobs import JobsPage

    return JobsPage(session)


def _engines(session: Session) -> Page:
    from workbench.ui.pages.engines import EnginesPage

    return EnginesPage(session)


def _playground(session: Session) -> Page:
    from workbench.ui.pages.playground.page import PlaygroundPage

    return PlaygroundPage(session)


def _compare(session: Session) -> Page:
    from workbench.ui.pages.compare.page import ComparePage

    return ComparePage(session)


def _benchmark(session: Session) -> Page:
    from workbench.ui.pages.benchmark import BenchmarkPage

    return BenchmarkPage(session)


def _deploy(session: Session) -> Page:
    from workbench.ui.pages.deploy import DeployPage

    return DeployPage(session)


def _doctor(session: Session) -> Page:
    from workbench.ui.pages.doctor import DoctorPage

    return DoctorPage(session)


def _settings(session: Session) -> Page:
    from workbench.ui.pages.settings import SettingsPage

    return SettingsPage(session)


PAGE_MODULES = tuple(
    f"workbench.ui.pages.{name}"
    for name in (
        *("jobs", "engines", "builder.page", "settings", "doctor", "benchmark", "deploy"),
        *("playground.talk.turn_row", "playground.page"),
        *("compare.matrix", "compare.curves", "compare.page"),
    )
)
"""What the pages need, in pieces that are imported in less than a tenth of a second each once their ground is there."""


PAGES: tuple[PageKind, ...] = (
    LaterPage("build", "Build", "build", _build),
    LaterPage("jobs", "Jobs", "jobs", _jobs),
    LaterPage("engines", "Engines", "engines", _engines),
    LaterPage("playground", "Playground", "playground", _playground),
    LaterPage("compare", "Compare", "compare", _compare, with_monitor=False),
    LaterPage("benchmark", "Benchmark", "benchmark", _benchmark, with_monitor=False),
    LaterPage("deploy", "Deploy", "deploy", _deploy, with_monitor=False),
    LaterPage("doctor", "Doctor", "doctor", _doctor),
    LaterPage("settings", "Settings", "settings", _settings, with_monitor=False),
)
