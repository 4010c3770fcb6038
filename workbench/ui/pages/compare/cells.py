"""A table's cell of two lines: a figure, and below it its interval or why there is none; the variant's marker first."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QStyleOptionViewItem

from workbench.ui.theme import theme
from workbench.ui.widgets.marker import draw_marker
from workbench.ui.widgets.table_parts import Index, paint_ground


@dataclass(frozen=True)
class CellLine:
    """`token` names its colour."""

    text: str
    font: QFont
    token: str


def paint_cell(
    painter: QPainter, option: QStyleOptionViewItem, index: Index, slot: int | None, upper: CellLine, lower: CellLine
) -> None:
    """`slot`: the variant whose marker stands before it, if any. Without a lower line the upper has all the room."""
    painter.save()
    rect = paint_ground(painter, option, index)
    inner = QRectF(rect.adjusted(8, 7, -6, -7))
    if slot is not None:
        draw_marker(painter, slot, inner.left() + 14, inner.center().y())
        inner.setLeft(inner.left() + 32)
    height = inner.height() / 2 if lower.text else inner.height()
    for line, top in ((upper, 0.0), (lower, height)):
        painter.setFont(line.font)
        painter.setPen(theme().colour(line.token))
        said = QFontMetrics(line.font).elidedText(line.text, Qt.TextElideMode.ElideRight, int(inner.width()))
        place = QRectF(inner.left(), inner.top() + top, inner.width(), height)
        painter.drawText(place, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), said)
    painter.restore()
