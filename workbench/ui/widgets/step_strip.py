"""Five bars in a row, one a step: what is done, reused, not needed, running, failed or still to come.

A job of several precisions has one strip too: the bar of a step is then split, a part for each.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from workbench.ui.icons import pixmap
from workbench.ui.models.jobs import STRIP, JobRow, StepRow, percent
from workbench.ui.theme import SMALL, text_font, theme

BAR = 4
HEIGHT = 32
_GAP = 6
_WEIGHTS = {"check": 52, "convert": 78, "quantize": 100, "build": 50, "verify": 54}
"""Widths in proportion to the longest words that stand under a bar."""
_ICON = 12
_RANK = (
    "failed", "interrupted", "cancelled", "running", "waiting", "pending", "done", "reused", "none",
)  # fmt: skip


def state_of(cells: Sequence[StepRow]) -> str:
    """What one column as a whole is; without a step it is "none"."""
    states = {cell.status for cell in cells}
    if states and states <= {"done", "reused", "none"} and "done" in states:
        return "done"
    return next((rank for rank in _RANK if rank in states), "none")


def words_of(title: str, cells: Sequence[StepRow]) -> list[str]:
    """The words under a bar, the longest first; the first that fits is painted."""
    state = state_of(cells)
    over = sum(cell.status in ("done", "reused", "none") for cell in cells)
    count = [f"{title} {over} of {len(cells)}"] if len(cells) > 1 and 0 < over < len(cells) else []
    if state == "running":
        step = next(cell for cell in cells if cell.status == "running")
        share = [f"{title} {percent(step.fraction)}"] if step.fraction is not None else []
        named = [f"{title} {step.variant} {percent(step.fraction or 0)}"] if len(cells) > 1 and share else []
        return [*named, *share, *count, title]
    if state == "none":
        return [f"{title}: none", title]
    if state == "reused":
        return [f"{title} reused", title]
    if state in ("cancelled", "interrupted"):
        return [f"{title} {state}", title]
    if state == "waiting":
        return [f"{title} waits", title]
    return [*count, title]


def summary(row: JobRow) -> str:
    """The strip in words, for those who cannot see it."""
    return ", ".join(words_of(title, row.cells(kind))[0] + _said(state_of(row.cells(kind))) for kind, title in STRIP)


def _said(state: str) -> str:
    return {"done": " done", "failed": " failed", "pending": " to come"}.get(state, "")


def columns(rect: QRect) -> list[QRect]:
    """The five parts of a strip's place; the same for every row of a width, so that strips line up."""
    total, room = sum(_WEIGHTS.values()), rect.width() - _GAP * (len(STRIP) - 1)
    found, x, weight = [], float(rect.left()), 0
    for kind, _ in STRIP:
        weight = _WEIGHTS[kind]
        size = room * weight / total
        found.append(QRect(round(x), rect.top(), round(size), rect.height()))
        x += size + _GAP
    return found


def paint_strip(painter: QPainter, rect: QRect, row: JobRow, variant: str = "", scale: float = 1.0) -> None:
    """Draw a job's strip (of one variant, when it is given) into `rect`: a bar, and words under it."""
    font = text_font(SMALL)
    metrics = QFontMetrics(font)
    painter.setFont(font)
    for (kind, title), place in zip(STRIP, columns(rect), strict=True):
        cells = row.cells(kind, variant)
        _paint_bars(painter, QRect(place.left(), place.top(), place.width(), BAR), cells)
        _paint_words(painter, place, metrics, title, cells, scale)


def _paint_bars(painter: QPainter, rect: QRect, cells: Sequence[StepRow]) -> None:
    colours = theme()
    if state_of(cells) == "none":
        painter.setPen(QPen(colours.colour("line2"), 1, Qt.PenStyle.DashLine))
        painter.drawLine(rect.left(), rect.center().y(), rect.right(), rect.center().y())
        return
    gap = 2 if len(cells) > 1 else 0
    each = (rect.width() - gap * (len(cells) - 1)) / len(cells)
    for number, cell in enumerate(cells):
        left = rect.left() + round(number * (each + gap))
        right = rect.left() + round(number * (each + gap) + each)
        _paint_bar(painter, QRect(left, rect.top(), max(right - left, 1), BAR), cell)


def _paint_bar(painter: QPainter, rect: QRect, cell: StepRow) -> None:
    colours = theme()
    painter.fillRect(rect, colours.colour("track"))
    if cell.status in ("done", "none"):
        painter.fillRect(rect, colours.colour("text3" if cell.status == "done" else "line2"))
    elif cell.status == "reused":
        _dashes(painter, rect, "text3")
    elif cell.status == "failed":
        painter.fillRect(rect, colours.colour("err"))
    elif cell.status in ("cancelled", "interrupted"):
        _dashes(painter, rect, "warn")
    elif cell.status == "running" and cell.fraction is None:
        _dashes(painter, rect, "accent")
    elif cell.status == "running":
        width = max(round(rect.width() * (cell.fraction or 0)), 2)
        painter.fillRect(QRect(rect.left(), rect.top(), width, BAR), colours.colour("accent"))


def _dashes(painter: QPainter, rect: QRect, token: str) -> None:
    colour, under = theme().colour(token), theme().colour("panel")
    painter.fillRect(rect, under)
    for left in range(rect.left(), rect.right() + 1, 6):
        painter.fillRect(QRect(left, rect.top(), min(4, rect.right() + 1 - left), BAR), colour)


def _paint_words(
    painter: QPainter, place: QRect, metrics: QFontMetrics, title: str, cells: Sequence[StepRow], scale: float
) -> None:
    state = state_of(cells)
    icon, icon_colour = {
        "done": ("check", "text2"),
        "reused": ("check", "text2"),
        "failed": ("close", "err"),
        "cancelled": ("stop", "warn"),
        "interrupted": ("warn", "warn"),
    }.get(state, ("", ""))
    x, y = place.left(), place.top() + BAR + 4
    if icon:
        painter.drawPixmap(x, y + 2, pixmap(icon, icon_colour, _ICON, scale))
        x += _ICON + 3
    room = place.right() + 1 - x
    token = {"running": "text", "failed": "err", "done": "text2", "reused": "text2"}.get(state, "text3")
    words = words_of(title, cells)
    text = next((text for text in words if metrics.horizontalAdvance(text) <= room), words[-1])
    painter.setPen(theme().colour(token))
    painter.drawText(QRect(x, y, room, 16), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)


class StepStrip(QWidget):
    """The strip of one job, or of one variant of it, as a widget."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._row: JobRow | None = None
        self._variant = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Steps")

    def sizeHint(self) -> QSize:
        return QSize(360, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(300, HEIGHT)

    def show_job(self, row: JobRow, variant: str = "") -> None:
        self._row, self._variant = row, variant
        self.setAccessibleName(f"Steps of {variant or row.title}")
        self.setAccessibleDescription(summary(row))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._row is not None:
            painter = QPainter(self)
            paint_strip(painter, self.rect(), self._row, self._variant, self.devicePixelRatioF())
