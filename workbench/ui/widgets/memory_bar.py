"""Memory drawn as a stacked bar against what the device has; what an estimate leaves open is hatched."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from workbench.core.engine_estimate import EngineEstimate
from workbench.core.units import format_bytes
from workbench.ui.theme import theme

PART_COLOURS = {
    "weights": "s_weights",
    "KV pool": "s_kvfree",
    "KV cache": "s_kvfree",
    "activations": "s_act",
    "runtime": "s_unsplit",
    "draft": "s_pre",
    "others": "s_other",
}
_HEIGHT = 18


@dataclass(frozen=True)
class Segment:
    """A piece of the bar, in bytes: from `start`, `sure` long, then up to `more` that an estimate leaves open."""

    name: str
    start: float
    sure: float
    more: float


def segments(engine: EngineEstimate) -> tuple[Segment, ...]:
    """The parts one after the other, each as long as its high end, so that what is promised to fit is what is drawn."""
    made, at = [], 0.0
    for part in engine.parts:
        made.append(Segment(part.name, at, part.bytes.low, part.bytes.high - part.bytes.low))
        at += part.bytes.high
    return tuple(made)


def free_bytes(engine: EngineEstimate) -> tuple[float, float]:
    """(least, most) that stays free; 0 where it does not fit."""
    return max(engine.memory_bytes - engine.total.high, 0.0), max(engine.memory_bytes - engine.total.low, 0.0)


class MemoryBar(QWidget):
    """The picture of one running engine on one device."""

    def __init__(self) -> None:
        super().__init__()
        self._engine: EngineEstimate | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Memory picture")

    def sizeHint(self) -> QSize:
        return QSize(200, _HEIGHT)

    def show_engine(self, engine: EngineEstimate) -> None:
        self._engine = engine
        words = ", ".join(f"{part.name} {part.bytes}" for part in engine.parts)
        self.setToolTip(f"{words}; of {format_bytes(engine.memory_bytes)}. Hatched: what the estimate leaves open.")
        self.setAccessibleDescription(f"{words}; of {format_bytes(engine.memory_bytes)}")
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        engine = self._engine
        if engine is None:
            return
        colours = theme()
        painter = QPainter(self)
        scale = self.width() / max(engine.memory_bytes, engine.total.high, 1)
        height = float(self.height())
        painter.fillRect(QRectF(0, 0, engine.memory_bytes * scale, height), colours.colour("track"))
        for one in segments(engine):
            colour = colours.colour(PART_COLOURS.get(one.name, "s_other"))
            sure = QRectF(one.start * scale, 0, one.sure * scale, height)
            more = QRectF(sure.right(), 0, one.more * scale, height)
            painter.fillRect(sure, colour)
            painter.fillRect(more, colours.colour("sunken"))
            painter.fillRect(more, QBrush(colour, Qt.BrushStyle.BDiagPattern))
            if one.name in ("KV pool", "KV cache"):
                painter.setPen(QPen(colours.colour("s_kv"), 1))
                painter.drawRect(sure.united(more).adjusted(0.5, 0.5, -0.5, -0.5))
        if engine.total.high > engine.memory_bytes:
            edge = engine.memory_bytes * scale
            painter.fillRect(QRectF(edge, 0, self.width() - edge, 3), colours.colour("err"))
            painter.fillRect(QRectF(edge - 1, 0, 2, height), colours.colour("err"))


class Swatch(QWidget):
    """A small square in a part's colour; "free" is an empty one."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part
        self.setFixedSize(10, 10)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        token = PART_COLOURS.get(self._part)
        if token:
            painter.fillRect(self.rect(), theme().colour(token))
        if self._part in ("KV pool", "KV cache") or not token:
            painter.setPen(theme().colour("s_kv" if token else "line2"))
            painter.drawRect(0, 0, 9, 9)
