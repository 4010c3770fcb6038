"""The marker of a variant: its shape and colour are the same on every page and in every report."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QIcon, QPainter, QPaintEvent, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from workbench.core.report.marks import is_filled, outline, shape_of, tone_of
from workbench.ui.theme import SMALL, text_font, theme

SIZE = 9


def variant_colour(slot: int) -> QColor:
    """The colour of the variant in this place; 0 is the baseline."""
    return theme().colour(tone_of(slot))


def draw_marker(painter: QPainter, slot: int, x: float, y: float, size: float = SIZE) -> None:
    """Draw a variant's marker around (x, y)."""
    colour = variant_colour(slot)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(colour, 1.5) if not is_filled(slot) else Qt.PenStyle.NoPen)
    painter.setBrush(colour if is_filled(slot) else Qt.BrushStyle.NoBrush)
    corners = outline(shape_of(slot), x, y, size)
    if corners:
        painter.drawPolygon(QPolygonF([QPointF(*corner) for corner in corners]))
    else:
        painter.drawEllipse(QPointF(x, y), size / 2, size / 2)
    painter.restore()


def marker_icon(slot: int, size: int = 14, gap: int = 0) -> QIcon:
    """The marker as an icon, for buttons and lists; `gap` px right of it stay empty."""
    found = QIcon()
    for scale in (1, 2):
        drawn = QPixmap((size + gap) * scale, size * scale)
        drawn.fill(Qt.GlobalColor.transparent)
        painter = QPainter(drawn)
        draw_marker(painter, slot, size * scale / 2, size * scale / 2, SIZE * scale)
        painter.end()
        drawn.setDevicePixelRatio(scale)
        found.addPixmap(drawn)
    return found


def short_heading(name: str, width: int = 120) -> str:
    """A variant's name for a heading of a table, with its middle left out where it is wider than `width` px."""
    return QFontMetrics(text_font(SMALL, bold=True)).elidedText(name, Qt.TextElideMode.ElideMiddle, width)


class Marker(QWidget):
    """A marker beside a name; it says nothing that the name does not."""

    def __init__(self, slot: int = 0) -> None:
        super().__init__()
        self.slot = slot
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(14, 14)

    def set_slot(self, slot: int) -> None:
        self.slot = slot
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        draw_marker(painter, self.slot, self.width() / 2, self.height() / 2)
        painter.end()
