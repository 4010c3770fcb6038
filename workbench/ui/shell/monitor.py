"""The monitor dock: memory of the host and of each GPU over the last minutes, on every page."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPolygonF
from PySide6.QtWidgets import QButtonGroup, QDockWidget, QPushButton, QScrollArea, QVBoxLayout, QWidget

from workbench.telemetry.memory import MemorySample, Ring
from workbench.ui.session import Session
from workbench.ui.shell.header import HEIGHT
from workbench.ui.theme import SMALL, mono_font, text_font, theme
from workbench.ui.widgets.basics import column, figure, icon_button, label, row, rule, segments, surface

WIDTH = 360
SPANS = (1, 5, 15, 60)
"""Minutes that can be shown."""
_GUTTER, _PLOT, _PLOT_HEIGHT = 34, 186, 148
_GIB = 2**30


def _gib(size: float) -> str:
    """There is room for four figures beside the name."""
    return f"{size / _GIB:.1f}" if size < 100 * _GIB else f"{size / _GIB:.0f}"


class MemoryPlot(QWidget):
    """One stacked area over time, with its figures beside it: host (`gpu` None) or one GPU."""

    def __init__(self, ring: Ring, gpu: int | None) -> None:
        super().__init__()
        self._ring, self._gpu = ring, gpu
        self.minutes = 5
        self.total = figure("", SMALL, "text2")
        """`0.6 of 23.5 GiB`, for the panel's heading."""
        self.setFixedHeight(_PLOT_HEIGHT + 28)
        self.setAccessibleName("Host memory" if gpu is None else f"Memory of GPU {gpu}")

    def refresh(self) -> None:
        newest = self._ring.newest
        if newest is not None:
            parts, total = self._parts(newest)
            words = ", ".join(f"{name} {size / _GIB:.1f} GiB" for name, _, size in parts)
            self.setAccessibleDescription(f"{words} of {total / _GIB:.1f} GiB")
            self.total.setText(self._total_words(parts, total))
        self.update()

    @staticmethod
    def _total_words(parts: list[tuple[str, str, float]], total: float) -> str:
        used = sum(size for _, token, size in parts if token != "track")
        return f"{used / _GIB:.1f} of {total / _GIB:.1f} GiB" if parts else "not reported"

    def _parts(self, sample: MemorySample) -> tuple[list[tuple[str, str, float]], float]:
        """(name, token, bytes) from below, and the total. Parts that nobody splits are one part."""
        if self._gpu is None:
            own = min(sample.own_bytes, sample.host_used_bytes)
            parts: list[tuple[str, str, float]] = [
                ("Workbench", "s_unsplit", own),
                ("Other apps", "s_other", sample.host_used_bytes - own),
            ]
            free = sample.host_total_bytes - sample.host_used_bytes
            cache = min(sample.cache_bytes or 0, free)
            if sample.cache_bytes is not None:
                parts.append(("File cache", "track", cache))
            return [*parts, ("Free", "track", free - cache)], sample.host_total_bytes
        gpu = next((g for g in sample.gpus if g.index == self._gpu), None)
        if gpu is None or gpu.used_bytes is None:
            return [], float(gpu.total_bytes if gpu else 0)
        return [("In use", "s_unsplit", gpu.used_bytes), ("Free", "track", gpu.total_bytes - gpu.used_bytes)], float(
            gpu.total_bytes
        )

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, colours = QPainter(self), theme()
        plot = QRectF(_GUTTER, 8, _PLOT, _PLOT_HEIGHT)
        painter.fillRect(plot, colours.colour("sunken"))
        samples = list(self._ring)
        total = max((self._parts(sample)[1] for sample in samples), default=0.0)
        if not samples or not total:
            self._gap(painter, plot, "not reported")
            return
        painter.setPen(colours.colour("line"))
        for share in (0.5, 1.0):
            y = plot.bottom() - share * plot.height()
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
        self._areas(painter, plot, samples, total)
        painter.setFont(mono_font(SMALL))
        painter.setPen(colours.colour("text3"))
        for share in (0.0, 0.5, 1.0):
            y = plot.bottom() - share * plot.height()
            painter.drawText(
                QRectF(0, y - 8, _GUTTER - 4, 16), Qt.AlignmentFlag.AlignRight, f"{share * total / _GIB:.0f}"
            )
        for at, side in ((-self.minutes, Qt.AlignmentFlag.AlignLeft), (0, Qt.AlignmentFlag.AlignRight)):
            painter.drawText(QRectF(plot.left(), plot.bottom() + 3, _PLOT, 16), side, f"{at} min" if at else "now")
        painter.setPen(colours.colour("line2"))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        painter.drawLine(plot.topLeft(), plot.bottomLeft())
        self._figures(painter, plot, samples[-1])

    def _areas(self, painter: QPainter, plot: QRectF, samples: list[MemorySample], total: float) -> None:
        newest, span = samples[-1].at, self.minutes * 60.0
        shown = [sample for sample in samples if newest - sample.at <= span]
        below = [0.0] * len(shown)
        count = max((len(self._parts(sample)[0]) for sample in shown), default=0)
        painter.setPen(Qt.PenStyle.NoPen)
        for place in range(count):
            upper = []
            token = "track"
            for at, sample in enumerate(shown):
                parts = self._parts(sample)[0]
                if place < len(parts):
                    token = parts[place][1]
                    upper.append(below[at] + parts[place][2])
                else:
                    upper.append(below[at])
            points = [
                QPointF(plot.right() - (newest - s.at) / span * plot.width(), plot.bottom() - v / total * plot.height())
                for s, v in zip(shown, upper, strict=True)
            ]
            floor = [
                QPointF(plot.right() - (newest - s.at) / span * plot.width(), plot.bottom() - v / total * plot.height())
                for s, v in zip(shown, below, strict=True)
            ]
            if token != "track":
                painter.setBrush(theme().colour(token))
                painter.drawPolygon(QPolygonF([*points, *reversed(floor)]))
            below = upper

    def _figures(self, painter: QPainter, plot: QRectF, sample: MemorySample) -> None:
        colours = theme()
        left, y = plot.right() + 12, plot.top()
        for name, token, size in reversed(self._parts(sample)[0]):
            swatch = QRectF(left, y + 4, 8, 8)
            painter.fillRect(swatch, colours.colour(token))
            if token == "track":
                painter.setPen(colours.colour("ctl"))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRect(swatch)
            painter.setFont(text_font(SMALL))
            painter.setPen(colours.colour("text2"))
            painter.drawText(QRectF(left + 14, y, 70, 16), Qt.AlignmentFlag.AlignLeft, name)
            painter.setFont(mono_font(SMALL))
            painter.setPen(colours.colour("text"))
            painter.drawText(QRectF(left, y, self.width() - left, 16), Qt.AlignmentFlag.AlignRight, _gib(size))
            y += 22

    def _gap(self, painter: QPainter, plot: QRectF, words: str) -> None:
        brush = painter.brush()
        brush.setColor(theme().colour("line"))
        brush.setStyle(Qt.BrushStyle.BDiagPattern)
        painter.fillRect(plot, brush)
        painter.setPen(theme().colour("text2"))
        painter.setFont(text_font(SMALL))
        painter.drawText(plot, Qt.AlignmentFlag.AlignCenter, words)


class Monitor(QDockWidget):
    """The dock. It shows a ring that somebody else fills, and is told when there is something new."""

    def __init__(self, session: Session, ring: Ring) -> None:
        super().__init__("Monitor")
        self.setObjectName("monitor")
        self._session, self._ring = session, ring
        self._plots: list[MemoryPlot] = []
        self._shown: tuple[int | None, ...] = ()
        self._spans = QButtonGroup(self)
        self._body = QVBoxLayout()
        self._body.setContentsMargins(16, 0, 16, 16)
        inside = surface("panel")
        inside.setLayout(self._body)
        scroll = QScrollArea()
        scroll.setAccessibleName("Panels of the monitor")
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        frame = surface("panel")
        layout = QVBoxLayout(frame)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.float_button = icon_button("open", "Take the monitor out of the window", self._float)
        head = row(
            label("Monitor", "name"), 12, segments(self._span_buttons()), 8, label("min", "hint"), None,
            self.float_button, margins=(16, 0, 12, 0), gap=0,
        )  # fmt: skip
        head.setFixedHeight(HEIGHT)
        layout.addWidget(head)
        layout.addWidget(rule())
        layout.addWidget(scroll, 1)
        self.setWidget(frame)
        self.setMinimumWidth(WIDTH)
        self.setTitleBarWidget(QWidget())
        self.topLevelChanged.connect(self._floats)

    def _float(self) -> None:
        self.setFloating(not self.isFloating())

    def _floats(self, floating: bool) -> None:
        """Out of the window it needs the system's title bar to be moved by."""
        self.setTitleBarWidget(None if floating else QWidget())  # type: ignore[arg-type]
        words = "Put the monitor back into the window" if floating else "Take the monitor out of the window"
        self.float_button.setToolTip(words)
        self.float_button.setAccessibleName(words)

    @property
    def minutes(self) -> int:
        return SPANS[self._spans.checkedId()]

    def set_minutes(self, minutes: int) -> None:
        if minutes in SPANS:
            self._spans.button(SPANS.index(minutes)).setChecked(True)
        for plot in self._plots:
            plot.minutes = self.minutes
            plot.refresh()

    def refresh(self) -> None:
        """A new sample is in the ring."""
        newest = self._ring.newest
        if newest is None:
            return
        wanted: tuple[int | None, ...] = (*(gpu.index for gpu in newest.gpus), None)
        if wanted != self._shown:
            self._rebuild(newest, wanted)
        for plot in self._plots:
            plot.refresh()

    def _span_buttons(self) -> list[QPushButton]:
        made = []
        for place, minutes in enumerate(SPANS):
            span = QPushButton(str(minutes))
            span.setProperty("small", True)
            span.setAccessibleName(f"Show {minutes} minutes")
            span.setFixedWidth(36)
            span.setCheckable(True)
            span.setChecked(minutes == 5)
            self._spans.addButton(span, place)
            span.clicked.connect(lambda _=False, m=minutes: self.set_minutes(m))
            made.append(span)
        return made

    def _rebuild(self, sample: MemorySample, wanted: tuple[int | None, ...]) -> None:
        while self._body.count():
            item = self._body.takeAt(0)
            if widget := item.widget():
                widget.deleteLater()
        self._plots, self._shown = [], wanted
        if not sample.gpus:
            self._body.addSpacing(8)
            note = label(f"No NVIDIA GPU found: this is the host. ({sample.gpu_problem})", "small", wrap=True)
            self._body.addWidget(note)
        for gpu in wanted:
            named = next((g for g in sample.gpus if g.index == gpu), None)
            title = "Host memory" if gpu is None else f"GPU {gpu} memory"
            plot = MemoryPlot(self._ring, gpu)
            plot.minutes = self.minutes
            self._plots.append(plot)
            plot.total.setToolTip(named.name if named else "")
            head = row(label(title, "name"), None, plot.total)
            self._body.addWidget(column(8, head, plot, gap=4))
        self._body.addStretch(1)
