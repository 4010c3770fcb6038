"""The burst on the playground: how far it is, its figures, and its rows when it is unfolded."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from workbench.core.units import format_duration
from workbench.jobs.burst import BurstSummary
from workbench.ui.models.burst import BurstModel, BurstSnapshot
from workbench.ui.pages.playground.burst.table import BurstTable
from workbench.ui.pages.playground.talk.figures import digits
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import (
    GAP,
    GAP_LARGE,
    MARGIN,
    button,
    column,
    figure,
    icon_button,
    label,
    row,
    set_icon,
    surface,
)
from workbench.ui.widgets.editors import number_words
from workbench.ui.widgets.elided_line import ElidedLine

STATES = (
    ("done", "text2", "stopped at the end of turn or at max tokens"),
    ("active", "s_gen", "tokens are coming"),
    (
        "waiting",
        "s_pre",
        "sent, and no token has come yet: queued, or its prompt is being prefilled; the two look alike here",
    ),
    ("failed", "err", "refused by the engine, or the engine ended"),
    ("stopped", "s_other", "stopped before its end"),
)
"""State, colour and definition, in the order of the bar."""
_LIVE = ("active", "waiting")
_BAR = 8
_INNER = 6
_LINE = 20


def ms_words(value_ms: float | None) -> str:
    return "not reported" if value_ms is None else format_duration(value_ms / 1000)


def elapsed_words(seconds: float) -> str:
    """Seconds even below one: what runs on must not change its unit."""
    return f"{seconds:.1f} s" if seconds < 0.9995 else format_duration(seconds)


def about_words(snapshot: BurstSnapshot) -> str:
    """`prompts.jsonl, first 16 of 200, mean 6 400 tokens in, up to 256 out`."""
    summary = snapshot.summary
    parts = [snapshot.source] if snapshot.source else []
    if snapshot.given > summary.total:
        parts.append(f"first {number_words(summary.total)} of {number_words(snapshot.given)} prompts")
    elif 1 < snapshot.given < summary.total:
        parts.append(f"{number_words(snapshot.given)} prompts repeated")
    if summary.input_tokens is not None:
        parts.append(f"mean {number_words(round(summary.input_tokens / summary.input_rows))} tokens in")
    return ", ".join([*parts, f"up to {number_words(snapshot.max_tokens)} out"])


class _Bar(QWidget):
    """The rows by state, as one stacked bar."""

    def __init__(self) -> None:
        super().__init__()
        self._summary: BurstSummary | None = None
        self.setFixedHeight(_BAR)
        self.setAccessibleName("Burst by state")

    def show_summary(self, summary: BurstSummary) -> None:
        before = self._summary
        self._summary = summary
        if before is None or any(getattr(before, name) != getattr(summary, name) for name, _, _ in STATES):
            words = ", ".join(f"{getattr(summary, name)} {name}" for name, _, _ in STATES if getattr(summary, name))
            self.setAccessibleDescription(f"{words} of {summary.total}")
            self.setToolTip(f"{words} of {summary.total}")
            self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        summary, colours = self._summary, theme()
        painter.fillRect(self.rect(), colours.colour("track"))
        if summary is None or not summary.total:
            return
        before = 0
        for name, token, _ in STATES:
            count = getattr(summary, name)
            if count:
                left, right = (self.width() * n / summary.total for n in (before, before + count))
                gap = 1 if before + count < summary.total else 0
                painter.fillRect(QRectF(left, 0, max(1.0, right - left - gap), self.height()), colours.colour(token))
                before += count


class _Swatch(QWidget):
    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token
        self.setFixedSize(10, 10)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme().colour(self._token))
        painter.drawRoundedRect(self.rect(), 2, 2)


class _Sides(QWidget):
    """Two rows side by side where there is room, else one below the other."""

    def __init__(self, left: QWidget, right: QWidget) -> None:
        super().__init__()
        self._left, self._right = left, right
        self._widest = 0
        left.setParent(self)
        right.setParent(self)
        self.arrange()

    def minimumSizeHint(self) -> QSize:
        return QSize(max(self._left.sizeHint().width(), self._right.sizeHint().width()), self.height())

    def sizeHint(self) -> QSize:
        return self.minimumSizeHint()

    def arrange(self) -> None:
        one, two = self._left.sizeHint().width(), self._right.sizeHint().width()
        beside = one + GAP_LARGE + two <= self.width()
        self._left.setGeometry(QRect(0, 0, one, _LINE))
        self._right.setGeometry(QRect(self.width() - two if beside else 0, 0 if beside else _LINE, two, _LINE))
        height = _LINE if beside else 2 * _LINE
        if self.minimumHeight() != height:
            self.setFixedHeight(height)
        if max(one, two) != self._widest:
            self._widest = max(one, two)
            self.updateGeometry()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.arrange()


class BurstCard(QWidget):
    """Shows the model's burst, and nothing while there is none. `toggled` is sent when its rows are shown or hidden."""

    toggled = Signal(bool)

    def __init__(self, model: BurstModel) -> None:
        super().__init__()
        self._model = model
        self._shown: BurstSnapshot | None = None
        self.setAccessibleName("Burst")
        self.head = QToolButton()
        self.head.setCheckable(True)
        self.head.setProperty("flat", True)
        self.head.setProperty("heading", True)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.head.setToolTip("Show or hide the requests")
        self.head.toggled.connect(self._fold)
        self.about = ElidedLine("text3")
        self.elapsed = figure("", role="text2")
        self.stop = button("Stop burst", model.stop, icon_name="stop", small=True)
        self.export = button("Export\u2026", self._choose_export, icon_name="save", small=True, name="Export the burst")
        self.export.setToolTip("Write all answers with their raw timings as JSON")
        self.away = icon_button("close", "Put the burst away", model.clear)
        self.bar = _Bar()
        # Flat rows: their width is right at once, while nested layouts would follow some events later.
        self.counts: dict[str, QLabel] = {}
        self._legend: dict[str, tuple[QWidget, ...]] = {}
        for name, token, meaning in STATES:
            self.counts[name] = figure("")
            self.counts[name].setContentsMargins(0, 0, _INNER, 0)
            self._legend[name] = (_Swatch(token), label(name, "text2"), self.counts[name])
            for part in self._legend[name]:
                part.setToolTip(meaning)
        self.p50, self.p95, self.speed = figure(""), figure(""), figure("")
        figures: list[QWidget] = []
        for words, value, meaning in (
            ("TTFT p50", self.p50, "Time to first token: half of the requests had their first token by then"),
            ("p95", self.p95, "95 % of the requests had their first token by then"),
            ("all together", self.speed, "Output tokens of all requests, from the first one sent to the last token"),
        ):
            title = label(words, "text3")
            title.setContentsMargins(GAP_LARGE - _INNER if figures else 0, 0, 0, 0)
            for part in (title, value):
                part.setToolTip(meaning)
                figures.append(part)
        legend = [part for parts in self._legend.values() for part in parts]
        self._sides = _Sides(row(*legend, gap=_INNER), row(*figures, gap=_INNER))
        self.table = BurstTable()
        self.table.hide()
        card = surface("card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(4, 8, 12, 8)
        inside.setSpacing(GAP)
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.setSpacing(GAP)
        for part, stretch in ((self.head, 0), (self.about, 1), (self.elapsed, 0)):
            top.addWidget(part, stretch)
        for part in (self.export, self.stop, self.away):
            top.addWidget(part)
        inside.addLayout(top)
        # The heading's own padding stands left of what is below it.
        inside.addWidget(column(self.bar, self._sides, self.table, margins=(GAP, 0, 0, 0)))
        outside = QVBoxLayout(self)
        outside.setContentsMargins(MARGIN, 0, MARGIN, 12)
        outside.addWidget(card)
        self._fold(False)
        self.setVisible(False)
        model.changed.connect(self.show_burst)
        self.show_burst(model.snapshot)

    @property
    def is_open(self) -> bool:
        return self.head.isChecked()

    def set_open(self, is_open: bool) -> None:
        self.head.setChecked(is_open)

    def show_burst(self, snapshot: BurstSnapshot | None) -> None:
        """Show a burst as it is now; None: there is none any more."""
        self._shown = snapshot
        self.setVisible(snapshot is not None)
        if snapshot is None:
            self.table.show_rows("", ())
            return
        summary = snapshot.summary
        self.head.setText(snapshot.title)
        self.head.setAccessibleName(f"{snapshot.title}: show or hide the requests")
        kept = f"\nkept as {snapshot.kept}" if snapshot.kept is not None else ""
        self.about.say(about_words(snapshot), f"engine {snapshot.engine}{kept}")
        self.elapsed.setText(elapsed_words(summary.elapsed_s))
        self.stop.setVisible(snapshot.running)
        self.away.setVisible(not snapshot.running)
        self.export.setVisible(not snapshot.running or self.is_open)
        self.bar.show_summary(summary)
        for name, _, _ in STATES:
            count = getattr(summary, name)
            self.counts[name].setText(number_words(count))
            for part in self._legend[name]:
                part.setVisible(bool(count) or name == "done" or (snapshot.running and name in _LIVE))
        waits = not summary.ttft_rows and snapshot.running
        self.p50.setText("\u2013" if waits else ms_words(summary.ttft_p50_ms))
        self.p95.setText("\u2013" if waits else ms_words(summary.ttft_p95_ms))
        speed = summary.output_tok_s
        missing = "\u2013" if waits else "not reported"
        self.speed.setText(f"{digits(speed)} tok/s" if speed is not None else missing)
        self._sides.arrange()
        if self.is_open:
            self.table.show_rows(snapshot.id, snapshot.rows)

    def _fold(self, is_open: bool) -> None:
        set_icon(self.head, "chevron-down" if is_open else "chevron-right", "text2")
        self.table.setVisible(is_open)
        if is_open and self._shown is not None:
            self.table.show_rows(self._shown.id, self._shown.rows)
        if self._shown is not None:
            self.export.setVisible(not self._shown.running or is_open)
        self.toggled.emit(is_open)

    def _choose_export(self) -> None:
        if self._shown is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Export the burst", f"burst-{self._shown.id}.json", "JSON files (*.json)"
        )
        if path:
            self._model.export(Path(path))
