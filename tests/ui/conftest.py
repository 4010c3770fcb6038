"""The real window, offscreen, over a home of its own. Qt's warnings, and what a test leaves behind, fail it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.ui.checks import Watch
from tests.ui.homes import end_jobs
from workbench.core.home import Home
from workbench.core.home_choice import home_from
from workbench.ui.actions import Actions
from workbench.ui.app import make_application, make_window
from workbench.ui.bridge import Tasks
from workbench.ui.notices import Notices
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.base import PageKind
from workbench.ui.session import STATE_FILE, Session, State
from workbench.ui.theme import Theme
from workbench.ui.window import Window


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # pytest-qt takes its handler of Qt's messages away before the fixtures end, and ours with it.
    for item in items:
        if "qapp" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.no_qt_log)


@pytest.fixture(scope="session")
def qapp(qapp_args: list[str]) -> QApplication:
    app = make_application(["engine-workbench"])
    if app.findChild(Theme) is None:
        Theme(app, "dark")
    return app


@pytest.fixture(autouse=True)
def nothing_left_behind(qapp: QApplication) -> Iterator[None]:
    """First set up, so last to end: qtbot and the other fixtures have closed what is theirs."""
    watch = Watch()
    yield
    found = watch.findings()
    watch.close()
    if found:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.fixture
def app_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    home = home_from(os.environ)
    home.root.mkdir(parents=True, exist_ok=True)
    return home


@pytest.fixture
def session(qapp: QApplication, app_home: Home) -> Iterator[Session]:
    made = Session(app_home, Tasks(), Notices(), Actions(), State(app_home.root / STATE_FILE))
    yield made
    assert made.tasks.close(), "a background task did not end"


class OpenWindow(Protocol):
    """Opens a window that is shown and at work: of these pages, or of all; over `app_home`, or over another home."""

    def __call__(self, *pages: PageKind, size: tuple[int, int] | None = None, home: Home | None = None) -> Window: ...


@pytest.fixture
def open_window(qtbot: QtBot, qapp: QApplication, app_home: Home) -> Iterator[OpenWindow]:
    """Its windows are closed at the end, and no job of `app_home` outlives the test."""
    made: list[Window] = []

    def open_one(*pages: PageKind, size: tuple[int, int] | None = None, home: Home | None = None) -> Window:
        window = make_window(qapp, (home or app_home).make(), pages or PAGES)
        made.append(window)
        qtbot.addWidget(window)
        if size is not None:
            window.resize(*size)
        window.show()
        window.start()
        qtbot.waitExposed(window)
        return window

    yield open_one
    for window in made:
        window.close()
    end_jobs(app_home)
