"""What the signs of the matrix mean."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from workbench.ui.theme import SMALL, text_font, theme

_PARTS = ("better than baseline", "worse", "baseline on the bar")
_SIGN, _GAP = 12, 14


class Legend(QWidget):
    """Filled dot, hollow dot, tick. Where there is little room it gives way."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Filled dot: better than the baseline; hollow: worse; tick: the baseline on the bar")
        self.setToolTip(self.accessibleName())

    def sizeHint(self) -> QSize:
        metrics = QFontMetrics(text_font(SMALL))
        return QSize(sum(metrics.horizontalAdvance(part) + _SIGN + _GAP for part in _PARTS), 20)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter, look = QPainter(self), theme()
        painter.setFont(text_font(SMALL))
        metrics, left, middle = painter.fontMetrics(), 0.0, self.height() / 2
        for number, part in enumerate(_PARTS):
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, number < 2)
            if number < 2:
                painter.setPen(QPen(look.colour("text3" if number else "text"), 1))
                painter.setBrush(Qt.BrushStyle.NoBrush if number else look.colour("text"))
                painter.drawEllipse(QPointF(left + 4, middle), 2.5, 2.5)
            else:
                painter.fillRect(QRectF(left + 4, middle - 5, 1, 10), look.colour("text"))
            painter.setPen(look.colour("text2"))
            painter.drawText(QPointF(left + _SIGN, middle + metrics.ascent() / 2 - 1), part)
            left += metrics.horizontalAdvance(part) + _SIGN + _GAP
        painter.end()
