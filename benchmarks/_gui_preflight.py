"""The preflight part of benchmarks/gui.py: a process of its own, which prints one line of JSON.

Types a digit into a field of the Build page and waits for the answer to be shown, again and again, for a 70B model
whose folder holds a config alone, planned for eight GPUs of the catalogue.
"""

from __future__ import annotations

import json
import sys
import time

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QLineEdit

from benchmarks._gui_parts import Ticks, open_window, until
from tests.toolchains.gallery_models import gallery_folder
from workbench.ui.pages.builder.page import BuildPage

PRESET = "llama-3.3-70b-fp8-8xh200"


def press(edit: QLineEdit, key: Qt.Key, text: str) -> None:
    for kind in (QKeyEvent.Type.KeyPress, QKeyEvent.Type.KeyRelease):
        QApplication.sendEvent(edit, QKeyEvent(kind, key, Qt.KeyboardModifier.NoModifier, text))


def measure(keys: int) -> dict[str, list[float] | float]:
    """Milliseconds from each key to its answer on the card, and the longest that the window's loop stood still."""
    window, home = open_window("build")
    folder = gallery_folder(home.root, PRESET)
    window.start()
    window.show_page("build")
    page = window.page("build")
    assert isinstance(page, BuildPage)
    until(lambda: page.form is not None)
    page.build_with(PRESET, str(folder))
    until(lambda: page.form is not None and page.form.base.id == PRESET)
    until(lambda: page.answer is not None and page.answer.report is not None)
    assert page.form is not None
    edit = page.form.rows["limits", "max_batch_size"].editor.focusProxy()
    assert isinstance(edit, QLineEdit)
    ticks = Ticks()
    ticks.start()
    times = []
    for number in range(keys):
        edit.setText(str(10 + number))
        before = page.answer
        begin = time.perf_counter()
        press(edit, Qt.Key(ord(str(number % 10))), str(number % 10))
        until(lambda before=before: page.answer is not None and page.answer is not before)
        QApplication.sendPostedEvents()
        page.card.repaint()
        times.append(1000 * (time.perf_counter() - begin))
        wanted = int(f"{10 + number}{number % 10}")
        assert page.answer is not None and page.answer.question.preset.limits.max_batch_size == wanted
    ticks.stop()
    window.close()
    return {"milliseconds": times, "longest_gap_ms": 1000 * max(ticks.gaps)}


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[2]))), flush=True)
