"""The checks that every test of the window stands under do fail: each is given an offender."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QTimer, qWarning
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from tests.fakes.plans import ROOT
from tests.ui.checks import Watch
from tests.ui.sweep import cut_off, nameless, unreached
from workbench.ui.widgets.basics import button, icon_button, label


def test_what_stays_behind_is_found(qapp: QApplication) -> None:
    watch = Watch()
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="stray", daemon=True)
    window = QWidget()
    window.setObjectName("left")
    closed = QWidget()
    closed.setObjectName("closed")
    forgotten = QTimer(closed)
    lone = QTimer()
    try:
        thread.start()
        window.show()
        closed.show()
        forgotten.start(1000)
        lone.start(1000)
        closed.close()
        closed.deleteLater()
        qWarning("something is wrong")
        qWarning("This plugin does not support propagateSizeHints()")
        found = watch.findings(grace_s=0.1)
    finally:
        go.set()
        watch.close()
    assert sorted(found) == [
        "Qt says: something is wrong",
        "a thread still runs: stray",
        "a timer still runs: QTimer",
        "a timer still runs: QTimer in QWidget 'closed'",
        "a window is left open: QWidget 'left'",
    ]
    assert not window.isVisible()
    thread.join()


def test_what_was_there_before_and_what_ended_is_not_held_against_a_test(qapp: QApplication) -> None:
    owner = QObject()
    before = QTimer(owner)
    before.start(1000)
    watch = Watch()
    window = QWidget()
    ended = QTimer(window)
    ended.start(1000)
    window.show()
    ended.stop()
    window.close()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    found = watch.findings()
    watch.close()
    before.stop()
    assert found == []


@pytest.mark.slow
def test_the_fixture_fails_the_test_that_left_something(tmp_path: Path) -> None:
    (tmp_path / "test_offenders.py").write_text(
        "from PySide6.QtCore import QObject, QTimer, qWarning\n"
        "from PySide6.QtWidgets import QWidget\n"
        "kept = []\n"
        "def test_says(): qWarning('planted')\n"
        "def test_timer(): kept.append(QTimer()); kept[-1].start(500)\n"
        "def test_window(): kept.append(QWidget()); kept[-1].show()\n"
        "def test_clean(qtbot): w = QWidget(); qtbot.addWidget(w); w.show(); t = QTimer(w); t.start(5); t.stop()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.ui.conftest", "-p", "no:cacheprovider", "--rootdir",
         str(tmp_path), "--confcutdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    for words in ("4 passed, 3 errors", "Qt says: planted", "a timer still runs", "a window is left open"):
        assert words in done.stdout, done.stdout


# -- the sweep of a page


def shown(qtbot: QtBot, *parts: QWidget, across: bool = False, width: int = 300) -> QWidget:
    window = QWidget()
    layout = QHBoxLayout(window) if across else QVBoxLayout(window)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
    window.setFixedWidth(width)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitUntil(window.isActiveWindow)
    return window


def test_a_control_without_a_name_is_found(qtbot: QtBot) -> None:
    named, bare = QLineEdit(), QLineEdit()
    named.setAccessibleName("A name")
    assert nameless(shown(qtbot, named, bare, button("Go"), icon_button("close", "Close"))) == [
        "no accessible name: QLineEdit"
    ]


def test_a_control_that_tab_passes_by_and_one_that_keeps_it_are_found(qtbot: QtBot) -> None:
    first, passed, last = button("First"), button("Passed by"), button("Last")
    passed.setFocusPolicy(passed.focusPolicy().ClickFocus)
    found = unreached(shown(qtbot, first, passed, last))
    assert found == ["Tab does not reach QPushButton 'Passed by'", "Shift+Tab does not reach QPushButton 'Passed by'"]
    trap = QPlainTextEdit()
    trap.setAccessibleName("Trap")
    window = shown(qtbot, button("First"), trap, button("Last"))
    found = unreached(window)
    assert any("Tab goes nowhere from QPlainTextEdit 'Trap'" in words for words in found)
    trap.setTabChangesFocus(True)
    assert unreached(window) == []


def test_words_that_do_not_fit_are_found(qtbot: QtBot) -> None:
    long = "words that go on and on and on and on and on and on"
    text, elided, told = QLabel(long), QLabel("words that…"), QLabel("words that…")
    told.setToolTip(long)
    field, choice = QLineEdit(), QComboBox()
    field.setPlaceholderText(long)
    choice.addItem(long)
    push = QPushButton(long)
    for widget in (text, push, choice):
        widget.setFixedWidth(120)
    found = cut_off(shown(qtbot, text, elided, told, field, choice, push, width=160))
    assert len(found) == 5 and sum("elided" in words for words in found) == 1
    assert cut_off(shown(qtbot, QLabel(long), button("Fits"), width=600)) == []


def test_what_is_pushed_out_of_sight_is_found_and_what_scrolls_is_not(qtbot: QtBot) -> None:
    outside = label("outside")
    inside = shown(qtbot, label("inside"), width=200)
    outside.setParent(inside)
    outside.move(190, 0)
    outside.show()
    assert [words.split(":")[0] for words in cut_off(inside)] == ["QLabel"]
    area, body = QScrollArea(), QWidget()
    rows = QVBoxLayout(body)
    for number in range(40):
        rows.addWidget(label(f"line {number}"))
    area.setWidget(body)
    area.setWidgetResizable(True)
    assert cut_off(shown(qtbot, area)) == []
