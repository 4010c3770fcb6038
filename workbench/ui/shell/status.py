"""The line at the bottom: GPU and driver, memory as a thin bar, toolchain and engine in use, and what is running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QWidget

from workbench import __version__
from workbench.ui.theme import SMALL, theme
from workbench.ui.widgets.basics import figure, label, row, rule

if TYPE_CHECKING:
    from workbench.telemetry.memory import MemoryPicture
    from workbench.telemetry.tracks import Snapshot

HEIGHT = 28
_GIB = 2**30
_NAME_WIDTH = 150
_TOKENS = {
    "weights": "s_weights", "activations": "s_act", "kv_used": "s_kv", "kv_free": "s_kvfree", "unsplit": "s_unsplit",
    "own": "s_other", "other": "s_other",
}  # fmt: skip
"""Colours of the parts of a memory picture; what is not here is free."""


class ThinBar(QWidget):
    """Shares of a whole, 6 px high."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: tuple[tuple[float, str], ...] = ()
        """(share, token) from the left."""
        self.setFixedWidth(96)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(96, 6)

    def set_shares(self, shares: tuple[tuple[float, str], ...]) -> None:
        if shares != self.shares:
            self.shares = shares
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, x = QPainter(self), 0.0
        painter.fillRect(self.rect(), theme().colour("track"))
        for share, token in self.shares:
            painter.fillRect(QRectF(x, 0, self.width() * share, self.height()), theme().colour(token))
            x += self.width() * share


def _bar_rule() -> QFrame:
    made = rule(vertical=True)
    made.setFixedHeight(14)
    return made


class _Named(QWidget):
    """A word, and a name that is elided where it is long; nothing while there is no name."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.name = label("", "small")
        inside = row(_bar_rule(), label(word, "hint"), self.name)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(inside)
        self.hide()

    def show_name(self, text: str) -> None:
        if text == self.name.property("whole"):
            return
        self.name.setProperty("whole", text)
        shown = self.name.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, _NAME_WIDTH)
        self.name.setText(shown)
        self.name.setToolTip(text if shown != text else "")
        self.setVisible(bool(text))


class StatusLine(QFrame):
    """Told of readings and of what runs; shows them."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self.setFixedHeight(HEIGHT)
        self._jobs = self._doing = self._serving = ""
        self._gpu, self._kind, self._memory = label("", "small"), label("RAM", "hint"), figure("", SMALL)
        self._bar, self._running = ThinBar(), label("Idle", "small")
        self._toolchain, self._engine = _Named("Toolchain"), _Named("Engine")
        # Words of any length take the room that is left, and no more.
        self._running.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 0, 16, 0)
        layout.setSpacing(8)
        for part in (
            self._gpu, _bar_rule(), self._kind, self._bar, self._memory, self._toolchain, self._engine, _bar_rule(),
        ):  # fmt: skip
            layout.addWidget(part)
        layout.addWidget(self._running, 1)
        layout.addWidget(label(f"Engine Workbench {__version__}", "hint"))

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """The newest readings. Several GPUs are added up."""
        gpus = snapshot.gpus
        if gpus:
            names = sorted({gpu.name for gpu in gpus})
            count = f"{len(gpus)} × " if len(gpus) > 1 else ""  # noqa: RUF001
            _set(self._gpu, f"{count}{' and '.join(names)}   driver {gpus[0].driver}")
            self._show_memory("VRAM", [g.total_bytes for g in gpus], [g.taken_bytes for g in gpus])
        else:
            _set(self._gpu, "No NVIDIA GPU")
            host = snapshot.host
            self._show_memory("RAM", [host.total_bytes if host else None], [host.used_bytes if host else None])
        pictures = snapshot.gpu_pictures if gpus else (snapshot.host_picture,)
        self._bar.set_shares(_shares(pictures))
        self._gpu.setToolTip(snapshot.gpu_problem)
        engines = snapshot.engines
        self._toolchain.show_name(", ".join(dict.fromkeys(e.toolchain for e in engines if e.toolchain)))
        self._engine.show_name(", ".join(engine.name for engine in engines))

    def _show_memory(self, kind: str, totals: Sequence[int | None], used: Sequence[int | None]) -> None:
        _set(self._kind, kind)
        known = [(total, taken) for total, taken in zip(totals, used, strict=True) if total and taken is not None]
        if not known or len(known) < len(totals):
            _set(self._memory, "not reported")
            return
        total, taken = sum(total for total, _ in known), sum(taken for _, taken in known)
        _set(self._memory, f"{taken / _GIB:.1f} / {total / _GIB:.1f} GiB")

    def show_running(self, text: str) -> None:
        """What the jobs do; empty: nothing."""
        self._jobs = text
        self._show_words()

    def show_doing(self, text: str) -> None:
        """What goes on beside the jobs."""
        self._doing = text
        self._show_words()

    def show_serving(self, text: str) -> None:
        """What servers do."""
        self._serving = text
        self._show_words()

    def _show_words(self) -> None:
        _set(self._running, "   ".join(filter(None, (self._doing, self._jobs, self._serving))) or "Idle")
        self._running.setToolTip(self._running.text())


def _set(where: QLabel, text: str) -> None:
    if where.text() != text:
        where.setText(text)


def _shares(pictures: Sequence[MemoryPicture | None]) -> tuple[tuple[float, str], ...]:
    """Parts of all devices, each as its share of all memory, in thousandths."""
    known = [picture for picture in pictures if picture is not None]
    total = sum(picture.total_bytes for picture in known)
    if not total:
        return ()
    sizes = [(sum(picture.bytes(name) for picture in known), token) for name, token in _TOKENS.items()]
    return tuple((round(size / total, 3), token) for size, token in sizes if size)
