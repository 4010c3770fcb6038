"""What can be done with a turn: small buttons that keep their place and their turn in the Tab order, and are drawn only
while their row is hovered or has the focus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from PySide6.QtCore import QPoint
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

from workbench.ui.pages.playground.talk.figures import FiguresLine
from workbench.ui.widgets.basics import label, set_icon

BUTTON_H, LABEL_H = 24, 24
_ICON_W, _GAP, _SCALE_GAP = 28, 2, 10


@dataclass(frozen=True)
class Verbs:
    """What a row asks of the conversation; `again` asks to be laid out, the others are the view's signals."""

    again: Callable[[], None]
    edit: Callable[[str, str], None]
    regenerate: Callable[[str], None]
    choose: Callable[[str], None]
    stop: Callable[[], None]
    reload: Callable[[], None]
    explain: Callable[[str], None]
    """The user guide, at a failure's code."""
    follow_link: Callable[[str], None]
    drag_to: Callable[[QPoint], None]
    """A selection is drawn to that place on the screen: scroll if it is beyond what is in sight."""
    walk: Callable[[QWidget, int], None]
    busy: Callable[[], bool]
    """Whether an answer is under way: then nothing else is begun."""


class Hot(Protocol):
    """A row."""

    @property
    def hot(self) -> bool:
        """Hovered, or the focus is in it."""
        ...


class QuietButton(QPushButton):
    """A button of a row; `loud` ones are always drawn."""

    loud = False

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.loud or self.isChecked() or cast(Hot, self.parent()).hot:
            super().paintEvent(event)


class RowButtons:
    """The buttons of one row by name, from left to right, and the labels among them."""

    def __init__(self, row: QWidget) -> None:
        self._row = row
        self.by_name: dict[str, QuietButton] = {}
        self._branch: QLabel | None = None
        self._at = self._of = 0
        self.scale: QWidget | None = None
        """Stands left of the button `tokens`."""

    def add(self, key: str, icon_name: str, text: str, name: str, do: Callable[[], None]) -> QuietButton:
        """A button more; `name` is its accessible name and tool tip."""
        made = QuietButton(text, self._row)
        made.setProperty("small", True)
        made.setProperty("row_icon", not text)
        set_icon(made, icon_name, "text2")
        made.setAutoDefault(False)
        made.setAccessibleName(name)
        made.setToolTip(name)
        made.clicked.connect(lambda: do())
        self.by_name[key] = made
        return made

    def add_branch(self, siblings: Sequence[str], own: str, choose: Callable[[str], None]) -> None:
        """The switch between versions; none where there is one version."""
        if len(siblings) < 2 or own not in siblings:
            return
        self._at, self._of = siblings.index(own), len(siblings)
        at = self._at
        before = self.add("before", "chevron-left", "", "Version before", lambda: choose(siblings[max(at - 1, 0)]))
        self._branch = label(f"{at + 1}/{self._of}", "small")
        self._branch.setAccessibleName(f"Version {at + 1} of {self._of}")
        self._branch.setParent(self._row)
        last = self._of - 1
        after = self.add("after", "chevron-right", "", "Next version", lambda: choose(siblings[min(at + 1, last)]))
        before.loud = after.loud = True

    def set_busy(self, busy: bool) -> None:
        """Nothing else can be begun while an answer is under way."""
        for key in ("edit", "regenerate"):
            if key in self.by_name:
                self.by_name[key].setEnabled(not busy)
        if "before" in self.by_name:
            self.by_name["before"].setEnabled(self._at > 0 and not busy)
            self.by_name["after"].setEnabled(self._at + 1 < self._of and not busy)

    def clear(self) -> None:
        """Take all of them away, the scale too."""
        for widget in (*self.by_name.values(), self._branch, self.scale):
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.by_name = {}
        self._branch = self.scale = None
        self._of = 0

    def update(self) -> None:
        """Draw them as the row is now: hot or not."""
        for made in self.by_name.values():
            made.update()

    def all(self, *, scale: bool = True) -> list[QWidget]:
        """Buttons and labels, from left to right; `scale`: that one too."""
        out: list[QWidget] = []
        for key, made in self.by_name.items():
            if key == "tokens" and self.scale is not None and scale:
                out.append(self.scale)
            if key == "after" and self._branch is not None:
                out.append(self._branch)
            out.append(made)
        return out

    def width(self, *, scale: bool = True) -> int:
        """Of all side by side, in px."""
        shown = self.all(scale=scale)
        return sum(_width(widget) + _GAP for widget in shown) + (2 * _SCALE_GAP if self.scale in shown else 0)

    def place(self, right: int, y: int, *, scale: bool = True) -> None:
        """Put them side by side, the last one's edge at `right`."""
        x = right
        for widget in reversed(self.all(scale=scale)):
            wide = _width(widget)
            beside = _SCALE_GAP if widget is self.scale else 0
            x -= wide + beside
            widget.setGeometry(x, y, wide, BUTTON_H if isinstance(widget, QPushButton) else LABEL_H)
            x -= _GAP + beside

    def lay_foot(self, figures: FiguresLine, left: int, inner: int, y: int) -> int:
        """The figures and, right of them or where there is no room below, the buttons; returns the lower edge. A scale
        that has no room beside the buttons stands below them.
        """
        natural = figures.natural_width()
        scale = self.scale is None or self.width() <= inner
        if isinstance(self.scale, QLabel):
            self.scale.setWordWrap(False)
        width = self.width(scale=scale)
        beside = natural + width <= inner
        height = figures.fit(min(natural, inner - width) if beside else inner)
        figures.setGeometry(left, y, natural if beside else inner, height)
        if not beside and figures.last_right + width <= inner:
            y, height = y + height - LABEL_H, LABEL_H
        elif not beside and self.by_name:
            y, height = y + height, BUTTON_H
        self.place(left + inner, y, scale=scale)
        return y + height if scale else self._place_scale(left, inner, y + height)

    def _place_scale(self, left: int, inner: int, y: int) -> int:
        assert self.scale is not None
        wide, height = min(_width(self.scale), inner), LABEL_H
        if isinstance(self.scale, QLabel) and _width(self.scale) > inner:
            self.scale.setWordWrap(True)
            height = max(LABEL_H, self.scale.heightForWidth(inner))
        self.scale.setGeometry(left, y, wide, height)
        return y + height

    def lay_said(self, right: int, y: int, *, hidden: bool) -> int:
        """Of a message: below it where there are versions, else over the end of its first line, where few texts reach;
        returns the lower edge.
        """
        for widget in self.all():
            widget.setVisible(not hidden)
        below = self._of > 1 and not hidden
        self.place(right, y + 2 if below else 0)
        if not below:
            for made in self.by_name.values():
                made.raise_()
        return y + 2 + BUTTON_H if below else y


def _width(widget: QWidget) -> int:
    if isinstance(widget, QLabel):
        widget.ensurePolished()
        return widget.fontMetrics().horizontalAdvance(widget.text()) + 2
    if isinstance(widget, QPushButton):
        return max(widget.sizeHint().width(), _ICON_W) if widget.text() else _ICON_W
    return widget.minimumWidth() or widget.sizeHint().width()
