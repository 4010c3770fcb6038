"""What every page must stand up to: names for all controls, Tab through all of them, and no text cut off.

Run as a program it checks all pages of a home at the scale of its own process, and prints what it found as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtCore import QEvent, QPoint, QRect, Qt
from PySide6.QtGui import QAccessible, QFont, QFontMetrics
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QScrollArea,
    QScrollBar,
    QStyle,
    QStyleOptionComboBox,
    QTableView,
    QTextEdit,
    QWidget,
)

from tests.ui.benchmark_faces import benchmark_faces
from tests.ui.checks import named
from tests.ui.compare_faces import compare_faces
from tests.ui.deploy_faces import deploy_faces
from tests.ui.playground_faces import playground_faces
from workbench.ui.widgets.fold import Fold
from workbench.ui.window import Window

CONTROLS = (
    QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit,
    QTextEdit,
)  # fmt: skip
_LEAST_S, _CALM_S, _MOST_S, _STEPS = 0.12, 0.09, 10.0, 300
"""A log that is read on is asked for every 120 ms: calm is less than that."""
_AGAIN_S = 0.4
_ROWS = 8
"""Rows of a list that are chosen one after the other."""


def settle(window: Window, least_s: float = _LEAST_S) -> None:
    """Until the background work is done and nothing new was asked for a moment."""
    began = calm = time.monotonic()
    while (now := time.monotonic()) < began + least_s or (now < began + _MOST_S and now - calm < _CALM_S):
        QApplication.processEvents()
        if window.session.tasks.busy:
            calm = time.monotonic()  # not `now`: a slow turn of events would count as calm
        time.sleep(0.005)
    for _ in range(4):  # of words that came last: a layout that grows asks the one around it
        QApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)


def _build(window: Window) -> Iterator[str]:
    """The form with its preflight, for a CPU and for eight GPUs, folded and open, and the gallery shown or hidden."""
    for model in (window.session.home.root / "models").glob("*"):
        for preset in ("cpu-int4-awq", "llama-3.3-70b-fp8-8xh200", "trtrtx-fp16-lab"):
            window.session.events.build_with.emit(preset, str(model))
            settle(window, 0.5)
            yield f"build {preset}"
            for fold in window.findChildren(Fold):
                fold.set_open(True)
            settle(window)
            yield f"build {preset}, all open"
        window.page("build").header_widgets()[0].click()  # type: ignore[attr-defined]
        settle(window)
        yield "build, presets shown or hidden"


MORE: dict[str, Callable[[Window], Iterator[str]]] = {
    "build": _build,
    "benchmark": lambda window: benchmark_faces(window, settle),
    "deploy": lambda window: deploy_faces(window, settle),
    "playground": lambda window: playground_faces(window, settle),
    "compare": lambda window: compare_faces(window, settle),
}
"""What a page shows beside its first face and the rows of its list."""


def faces(window: Window, page: str) -> Iterator[str]:
    """Show the page, and choose each row of its main list in turn; yields what is shown, once it is there."""
    window.show_page(page)
    settle(window)
    yield page
    yield from MORE.get(page, lambda _: iter(()))(window)
    views = [v for v in window.page(page).findChildren(QTableView) if v.isVisible() and v.model().rowCount() > 1]
    if views:
        view = max(views, key=lambda v: v.width() * v.height())
        for row in range(min(view.model().rowCount(), _ROWS)):
            if view.model().flags(view.model().index(row, 0)) & Qt.ItemFlag.ItemIsSelectable:
                view.selectRow(row)
                settle(window)
                yield f"{page}, row {row} of {view.accessibleName()}"


def sweep(window: Window, page: str, *checks: Callable[[QWidget], list[str]]) -> list[str]:
    """What the checks find on the faces of a page, each with the first face that shows it.

    What they find is looked at again after a moment: on a machine under load a layout may still be under way, and a
    control that is whole a tenth of a second later is not cut off.
    """
    found: dict[str, str] = {}
    for shown in faces(window, page):
        if not (seen := [words for check in checks for words in check(window)]):
            continue
        settle(window, _AGAIN_S)
        still = {words for check in checks for words in check(window)}
        for words in seen:
            if words in still:
                found.setdefault(words, shown)
    return [f"{shown}: {words}" for words, shown in found.items()]


def _inner(widget: QWidget) -> bool:
    """A part of a control that Qt made for itself."""
    parent = widget.parentWidget()
    return (
        widget.objectName().startswith("qt_")
        or isinstance(widget, QScrollBar | QHeaderView)
        or isinstance(parent, QComboBox | QAbstractSpinBox | QLineEdit | QHeaderView | QTableView)
        or widget.focusProxy() is not None
    )


def controls(window: QWidget) -> list[QWidget]:
    """All that a person can use: visible, enabled, and either a control or something that takes the focus."""
    return [
        widget
        for widget in window.findChildren(QWidget)
        if widget.isVisible()
        and widget.isEnabled()
        and widget.window() is window
        and not _inner(widget)
        and (isinstance(widget, CONTROLS) or widget.focusPolicy() & Qt.FocusPolicy.TabFocus)
    ]


def nameless(window: QWidget) -> list[str]:
    """Controls that a screen reader could not name."""
    found = []
    for widget in controls(window):
        spoken = QAccessible.queryAccessibleInterface(widget)
        if spoken is None or not spoken.text(QAccessible.Text.Name).strip():
            found.append(f"no accessible name: {named(widget)}")
    return found


# -- Tab


def _in_a_group(widget: QWidget, reached: set[QWidget]) -> bool:
    """Of buttons of which one is chosen Tab reaches that one; the arrow keys walk the others."""
    if not isinstance(widget, QAbstractButton) or widget.group() is None or not widget.group().exclusive():
        return False
    return any(other in reached for other in widget.group().buttons())


def tab_order(window: QWidget, *, back: bool = False) -> list[QWidget]:
    """Who gets the focus while Tab (or Shift+Tab) is pressed until it is round."""
    key = Qt.Key.Key_Backtab if back else Qt.Key.Key_Tab
    modifier = Qt.KeyboardModifier.ShiftModifier if back else Qt.KeyboardModifier.NoModifier
    order: list[QWidget] = []
    for _ in range(_STEPS):
        now = QApplication.focusWidget()
        QTest.keyClick(now or window, key, modifier)
        now = QApplication.focusWidget()
        if now is None or (order and now is order[0]):
            break
        if now in order:  # a loop that leaves the first ones out
            break
        order.append(now)
    return order


def unreached(window: QWidget) -> list[str]:
    """Controls that Tab or Shift+Tab does not come to, and those that hold the focus fast."""
    found = []
    for back in (False, True):
        order = tab_order(window, back=back)
        reached = set(order)
        way = "Shift+Tab" if back else "Tab"
        if len(order) < 2:
            found.append(f"{way} goes nowhere from {named(order[0]) if order else 'the window'}")
        for widget in controls(window):
            if widget not in reached and not _in_a_group(widget, reached):
                found.append(f"{way} does not reach {named(widget)}")
    return found


# -- nothing cut off


def _scrolls(widget: QWidget) -> tuple[QScrollArea | None, QWidget | None]:
    """The scroll area that a widget can be brought into view by, and what it scrolls."""
    at = widget.parentWidget()
    below: QWidget = widget
    while at is not None:
        if isinstance(at, QScrollArea) and at.widget() is not None and at.widget().isAncestorOf(widget):
            return at, at.widget()
        below, at = at, at.parentWidget()
    return None, below


def _hidden_part(widget: QWidget) -> str:
    """What of a widget cannot be seen, nor be scrolled to."""
    area, inside = _scrolls(widget)
    if area is not None and inside is not None:
        place = QRect(widget.mapTo(inside, QPoint(0, 0)), widget.size())
        room = inside.rect()
        if area.horizontalScrollBarPolicy() == Qt.ScrollBarPolicy.ScrollBarAlwaysOff:
            room.setWidth(min(room.width(), area.viewport().width()))
        return (
            "" if room.contains(place) else f"from {place.left()} to {place.right()} px of {room.width()} that scroll"
        )
    if isinstance(widget, QAbstractScrollArea):  # what it shows stands before it
        seen, at = widget.rect(), widget.parentWidget()
        while at is not None:
            seen &= QRect(at.mapTo(at.window(), QPoint(0, 0)) - widget.mapTo(at.window(), QPoint(0, 0)), at.size())
            at = at.parentWidget() if not at.isWindow() else None
    else:
        seen = widget.visibleRegion().boundingRect()
    return "" if seen.contains(widget.rect()) else f"seen {seen.size().toTuple()} of {widget.size().toTuple()}"


def _whole(tip: str, shown: str) -> bool:
    """Whether a tool tip gives what an elided text left out."""
    plain = "".join(tip.split())
    return bool(plain) and all("".join(part.split()) in plain for part in shown.split("…"))


def _cut_label(widget: QLabel) -> str:
    text = widget.text().replace("\u200b", "")
    if not text:
        return ""
    if "…" in text and " …" not in text:
        return "" if _whole(widget.toolTip(), text) else f"elided with no tool tip that gives the whole: {text!r}"
    if widget.wordWrap():
        need = widget.heightForWidth(widget.width())
        if need > widget.height() + 1:
            return f"needs {need} px of height and has {widget.height()}: {text[:60]!r}"
        words = max(text.split(), key=lambda w: widget.fontMetrics().horizontalAdvance(w))
        short = widget.fontMetrics().horizontalAdvance(words) - widget.contentsRect().width()
        if short > 1 and "\u200b" not in widget.text() and "/" not in words and "-" not in words:
            return f"a word is {short} px too wide: {words!r}"
        return ""
    need = widget.sizeHint()
    if need.width() > widget.width() + 1 and widget.toolTip() != text:
        return f"needs {need.width()} px and has {widget.width()}: {text[:60]!r}"
    return "" if need.height() <= widget.height() + 2 else f"needs {need.height()} px of height: {text[:60]!r}"


def _cut_button(widget: QAbstractButton) -> str:
    hint = widget.sizeHint()
    high = min(hint.height(), widget.maximumHeight())  # Qt adds 3 px to a tool button's, the style sheet bounds it
    if hint.width() > widget.width() + 1 or high > widget.height() + 1:
        return f"needs {hint.toTuple()} and has {widget.size().toTuple()}"
    return ""


def _cut_field(widget: QLineEdit) -> str:
    words = widget.placeholderText()
    margins = widget.textMargins()
    room = widget.width() - margins.left() - margins.right() - 2 * 8 - 2 * 2  # padding of the sheet, Qt's own margin
    need = QFontMetrics(widget.font()).horizontalAdvance(words)
    return f"the placeholder {words!r} needs {need} px of {room}" if words and need > room else ""


def _cut_choice(widget: QComboBox) -> str:
    if widget.isEditable():  # its text scrolls as a field's does
        return ""
    option = QStyleOptionComboBox()
    widget.initStyleOption(option)
    field = QStyle.SubControl.SC_ComboBoxEditField
    room = widget.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, field, widget).width()
    text = widget.currentText()
    need = QFontMetrics(widget.font()).horizontalAdvance(text)
    return "" if need <= room or text in widget.toolTip() else f"{text!r} needs {need} px of {room}"


def _cut_cells(view: QTableView) -> Iterator[str]:
    model, head = view.model(), view.horizontalHeader()
    bold = QFont(view.font())
    bold.setPixelSize(11)
    bold.setWeight(QFont.Weight.DemiBold)
    for column in range(model.columnCount()):
        width = view.columnWidth(column)
        if view.isColumnHidden(column):
            continue
        title = str(model.headerData(column, Qt.Orientation.Horizontal) or "")
        tip = str(model.headerData(column, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole))
        wide = head.isVisible() and QFontMetrics(bold).horizontalAdvance(title) > width - 8
        if wide and title not in tip:
            yield f"the heading {title!r} is wider than {width} px"
        for row in range(min(model.rowCount(), 50)):
            index = model.index(row, column)
            text = str(index.data() or "")
            font = index.data(Qt.ItemDataRole.FontRole) or view.font()
            if QFontMetrics(font).horizontalAdvance(text) > width - 6:
                tip = str(index.data(Qt.ItemDataRole.ToolTipRole) or "")
                if not tip.strip():
                    yield f"{text[:60]!r} is wider than {width} px, with no tool tip"
    taken = sum(view.columnWidth(c) for c in range(model.columnCount()) if not view.isColumnHidden(c))
    if taken > view.viewport().width() + 1 and (
        view.horizontalScrollBarPolicy() == Qt.ScrollBarPolicy.ScrollBarAlwaysOff
    ):
        yield f"its columns take {taken} px of {view.viewport().width()}"


def cut_off(window: QWidget) -> list[str]:
    """Words that do not fit where they stand, and controls that nobody can bring into view."""
    found = []
    kinds = (QLabel, QAbstractButton, QLineEdit, QComboBox, QAbstractScrollArea)
    for widget in window.findChildren(QWidget):
        if not widget.isVisible() or widget.window() is not window or not isinstance(widget, kinds) or _inner(widget):
            continue
        words: list[str] = []
        if isinstance(widget, QLabel):
            words.append(_cut_label(widget))
        elif isinstance(widget, QAbstractButton):
            words.append(_cut_button(widget))
        elif isinstance(widget, QLineEdit):
            words.append(_cut_field(widget))
        elif isinstance(widget, QComboBox):
            words.append(_cut_choice(widget))
        elif isinstance(widget, QTableView):
            words += _cut_cells(widget)
        if not (isinstance(widget, QLabel) and not widget.text()):
            words.append(_hidden_part(widget))
        found += [f"{named(widget)}: {word}" for word in words if word]
    return found


def main() -> int:
    """`python -m tests.ui.sweep HOME WIDTHxHEIGHT`: all pages of PAGES at this process's scale."""
    from tests.ui.checks import Watch
    from workbench.core.home_choice import home_from
    from workbench.ui.app import make_application, make_window
    from workbench.ui.pages.all import PAGES

    app = make_application(["engine-workbench"])
    watch = Watch()
    home = home_from({**os.environ, "WORKBENCH_HOME": sys.argv[1]})
    width, height = (int(part) for part in sys.argv[2].split("x"))
    window = make_window(app, home, PAGES)
    window.resize(width, height)
    window.show()
    window.start()
    found: list[str] = []
    scale = window.devicePixelRatioF()
    for kind in PAGES:
        found += sweep(window, kind.name, cut_off)
    size = window.size().toTuple()
    window.close()
    print(json.dumps({"scale": scale, "size": size, "found": found, "left": watch.findings()}))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(main())
