"""Every page of the window, empty and full: names, Tab, nothing cut off, keys, palette, colours, scale factors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from tests.fakes.plans import ROOT
from tests.ui.conftest import OpenWindow
from tests.ui.homes import empty_out, fill
from tests.ui.sweep import cut_off, nameless, settle, sweep, unreached
from tests.ui.test_engines import make_engine
from tests.ui.test_theme import contrast
from workbench.core.home import Home
from workbench.ui.pages.all import PAGES
from workbench.ui.theme import SCHEMES, theme
from workbench.ui.window import Window

NAMES = [kind.name for kind in PAGES]
STATES = ("empty", "full")


@pytest.fixture(scope="module")
def full_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("full"))
    hold = fill(home, make_engine)
    yield home
    empty_out(home, hold)


OpenOver = Callable[..., Window]


@pytest.fixture
def open_over(
    open_window: OpenWindow, qtbot: QtBot, full_home: Home, app_home: Home, monkeypatch: pytest.MonkeyPatch
) -> OpenOver:
    """Makes the window over an empty or the full home."""

    def make(state: str, size: tuple[int, int] = (1280, 800)) -> Window:
        home = full_home if state == "full" else app_home
        monkeypatch.setenv("WORKBENCH_HOME", str(home.root))
        (home.root / "window.json").unlink(missing_ok=True)
        window = open_window(size=size, home=home)
        qtbot.waitUntil(window.isActiveWindow)
        return window

    return make


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("page", NAMES)
def test_every_control_has_a_name_and_nothing_is_cut_off(open_over: OpenOver, page: str, state: str) -> None:
    window = open_over(state)
    found = sweep(window, page, nameless, cut_off)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("page", NAMES)
def test_nothing_is_cut_off_in_the_smallest_window(open_over: OpenOver, page: str) -> None:
    window = open_over("full", (960, 600))
    window.show_page(page)
    if window.monitor.isVisible():
        window.toggle_monitor()
    found = sweep(window, page, cut_off)
    assert not found, "\n".join(found)
    assert (window.width(), window.height()) == (960, 600), "the page asks for more than the smallest window"


@pytest.mark.slow
def test_the_playground_is_whole_beside_the_monitor_in_the_smallest_window(open_over: OpenOver) -> None:
    window = open_over("full", (960, 600))
    window.show_page("playground")
    assert window.monitor.isVisible()
    found = sweep(window, "playground", cut_off)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("page", NAMES)
def test_tab_and_back_reach_every_control(open_over: OpenOver, page: str, state: str) -> None:
    window = open_over(state)
    window.show_page(page)
    settle(window)
    window.session.notices.say("error", "The disk is full.", "0 B free of 1 GiB.", "Open folder", lambda: None)
    QApplication.processEvents()
    found = unreached(window)
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_keys_go_to_every_page_and_to_the_monitor(open_over: OpenOver, qtbot: QtBot) -> None:
    window = open_over("full")
    control = Qt.KeyboardModifier.ControlModifier
    for number, name in enumerate(NAMES, 1):
        qtbot.keyClick(window, Qt.Key(Qt.Key.Key_0.value + number), control)
        assert window.stack.currentWidget().objectName() == f"page-{name}"
        settle(window)
        focused = QApplication.focusWidget()
        assert focused is not None and focused.isVisible(), f"nothing has the keyboard on {name}"
        shown = window.monitor.isVisible()
        qtbot.keyClick(window, Qt.Key.Key_M, control)
        assert window.monitor.isVisible() is not shown and window.header.monitor.isChecked() is not shown
        qtbot.keyClick(window, Qt.Key.Key_M, control)
        assert window.monitor.isVisible() is shown


@pytest.mark.slow
def test_the_palette_lists_every_action_and_does_it(open_over: OpenOver, qtbot: QtBot) -> None:
    window = open_over("full")
    for name in NAMES:
        window.show_page(name)
        settle(window)
    qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    for action in window.session.actions:
        if not action.isEnabled():
            continue
        window.open_palette()
        palette = window.palette_dialog
        assert palette is not None and palette.isVisible()
        items = [palette._list.item(n) for n in range(palette._list.count())]
        listed = {item.data(Qt.ItemDataRole.UserRole): item for item in items}
        assert set(listed) == {a.objectName() for a in window.session.actions if a.isEnabled()}
        # Only told, not done: quitting and dialogs are tested where they belong.
        told: list[bool] = []
        action.triggered.disconnect()
        action.triggered.connect(lambda on, told=told: told.append(on))
        palette._list.setCurrentItem(listed[action.objectName()])
        qtbot.keyClick(palette._field, Qt.Key.Key_Return)
        assert told == [False] and not palette.isVisible(), action.objectName()


@pytest.mark.slow
def test_the_palette_itself_is_whole(open_over: OpenOver, qtbot: QtBot) -> None:
    window = open_over("empty")
    window.open_palette()
    assert window.palette_dialog is not None
    assert not [*nameless(window.palette_dialog), *cut_off(window.palette_dialog)]
    width = window.palette_dialog._list.viewport().width()
    assert window.palette_dialog._list.sizeHintForColumn(0) <= width
    qtbot.keyClick(window.palette_dialog, Qt.Key.Key_Escape)
    assert not window.palette_dialog.isVisible()


def most_common(image: QImage) -> str:
    """The colour of most pixels: what letters stand on."""
    seen = Counter(image.pixel(x, y) for y in range(0, image.height(), 2) for x in range(0, image.width(), 2))
    return QColor(seen.most_common(1)[0][0]).name()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("page", NAMES)
def test_labels_are_readable_where_they_stand(open_over: OpenOver, page: str, scheme: str) -> None:
    """The text's colour against the one that is painted under it, as it comes out on the screen."""
    before = theme().mode
    try:
        theme().set_mode("dark" if scheme == "dark" else "light")
        window = open_over("full")
        window.show_page(page)
        settle(window)
        image = window.grab().toImage()
        scale = image.devicePixelRatio()
        weak = []
        for widget in window.findChildren(QWidget):
            if not isinstance(widget, QLabel | QLineEdit | QPushButton) or not widget.isVisible():
                continue
            if not widget.isEnabled() or not widget.text() or widget.visibleRegion().isEmpty():
                continue
            ground = most_common(image.copy(QRect(widget.mapTo(window, QPoint(0, 0)) * scale, widget.size() * scale)))
            ink = widget.palette().color(widget.foregroundRole()).name()
            if contrast(ink, ground) < 4.5:
                weak.append(f"{widget.text()[:40]!r}: {ink} on {ground}, {contrast(ink, ground):.1f}:1")
        assert not weak, "\n".join(weak)
    finally:
        theme().set_mode(before)


def sweep_at(home: Home, scale: float, size: str = "1280x800") -> dict[str, Any]:
    """All pages in a process of their own, since Qt reads its scale once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.ui.sweep", str(home.root), size],
        cwd=ROOT,
        env={**os.environ, "QT_SCALE_FACTOR": str(scale), "QT_QPA_PLATFORM": "offscreen", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    "scale", [pytest.param(1.25, marks=pytest.mark.nightly), 1.5, pytest.param(2.0, marks=pytest.mark.nightly)]
)  # all the other tests here are at 1
def test_nothing_is_cut_off_and_nothing_is_said_at_a_scale(full_home: Home, scale: float, tmp_path: Path) -> None:
    answer = sweep_at(full_home, scale)
    assert answer["scale"] == pytest.approx(scale) and answer["size"] == [1280, 800]
    assert not answer["found"], "\n".join(answer["found"])
    assert not answer["left"], "\n".join(answer["left"])
