"""On or off, drawn as a switch; a check box to the keyboard and to assistive programs."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QCheckBox, QSizePolicy

from workbench.ui.theme import theme

_WIDTH, _HEIGHT, _RING = 28, 16, 3


class Switch(QCheckBox):
    """A switch of 28 x 16 px with room for its focus ring."""

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(_WIDTH + 2 * _RING, _HEIGHT + 2 * _RING)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def hitButton(self, _pos: object) -> bool:
        return True

    def paintEvent(self, _event: QPaintEvent) -> None:
        colours, on, able = theme(), self.isChecked(), self.isEnabled()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        body = QRectF(_RING + 0.5, _RING + 0.5, _WIDTH - 1, _HEIGHT - 1)
        painter.setPen(QPen(colours.colour("accent" if on and able else "ctl" if able else "line2"), 1))
        painter.setBrush(colours.colour("accent" if on and able else "line2" if on else "sunken"))
        painter.drawRoundedRect(body, _HEIGHT / 2, _HEIGHT / 2)
        knob = 10.0
        left = body.right() - knob - 2.5 if on else body.left() + 2.5
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colours.colour("on_accent" if on and able else "text2" if able else "disabled"))
        painter.drawEllipse(QRectF(left, body.center().y() - knob / 2, knob, knob))
        if self.hasFocus():
            painter.setPen(QPen(colours.colour("text"), 1.5))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(body.adjusted(-2, -2, 2, 2), _HEIGHT / 2 + 2, _HEIGHT / 2 + 2)
