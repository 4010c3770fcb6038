"""The line at the bottom: GPU and driver, memory as a thin bar, and what is running."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from workbench import __version__
from workbench.telemetry.memory import MemorySample
from workbench.ui.theme import SMALL, theme
from workbench.ui.widgets.basics import figure, label, rule

HEIGHT = 28
_GIB = 2**30


class ThinBar(QWidget):
    """A share of a whole, 4 px high."""

    def __init__(self) -> None:
        super().__init__()
        self._share = 0.0
        self.setFixedWidth(96)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(96, 6)

    def set_share(self, share: float) -> None:
        self._share = share
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme().colour("track"))
        painter.fillRect(QRectF(0, 0, self.width() * self._share, self.height()), theme().colour("s_unsplit"))


def _bar_rule() -> QFrame:
    made = rule(vertical=True)
    made.setFixedHeight(14)
    return made


class StatusLine(QFrame):
    """Told of samples and of what runs; shows them."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self.setFixedHeight(HEIGHT)
        self._gpu, self._kind, self._memory = label("", "small"), label("RAM", "hint"), figure("", SMALL)
        self._bar, self._running = ThinBar(), label("Idle", "small")
        # Words of any length take the room that is left, and no more.
        self._running.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 0, 16, 0)
        layout.setSpacing(8)
        for part in (self._gpu, _bar_rule(), self._kind, self._bar, self._memory, _bar_rule()):
            layout.addWidget(part)
        layout.addWidget(self._running, 1)
        layout.addWidget(label(f"Engine Workbench {__version__}", "hint"))

    def show_memory(self, sample: MemorySample) -> None:
        gpu = sample.gpus[0] if sample.gpus else None
        self._gpu.setText(f"{gpu.name}   driver {gpu.driver}" if gpu else "No NVIDIA GPU")
        self._gpu.setToolTip(sample.gpu_problem)
        total, used = (gpu.total_bytes, gpu.used_bytes) if gpu else (sample.host_total_bytes, sample.host_used_bytes)
        self._kind.setText("VRAM" if gpu else "RAM")
        if used is None:
            self._memory.setText("not reported")
            self._bar.set_share(0.0)
        else:
            self._memory.setText(f"{used / _GIB:.1f} / {total / _GIB:.1f} GiB")
            self._bar.set_share(used / total)

    def show_running(self, text: str) -> None:
        self._running.setText(text or "Idle")
        self._running.setToolTip(self._running.text())
