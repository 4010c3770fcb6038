"""The thin line under an answer: what it took, each figure with its definition when it is hovered or walked to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, Qt
from PySide6.QtGui import (
    QFocusEvent,
    QFontMetrics,
    QFontMetricsF,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QToolTip, QWidget

from workbench.core import metrics
from workbench.core.answer import AnswerRecord, Piece
from workbench.core.conversation_text import DEFINITIONS, END_WORDS
from workbench.core.metrics import Chunk
from workbench.ui.models.jobs import grouped
from workbench.ui.theme import SMALL, mono_font, text_font, theme

LINE_HEIGHT = 24
_GAP, _INNER = 14, 4

TTFT, SPEED = (f"{name}: {DEFINITIONS[name]}" for name in ("TTFT", "speed"))
INPUT, OUTPUT = f"in: {DEFINITIONS['in']}", f"out: {DEFINITIONS['out']}"
STOPPED = "Why the answer ended there"
_WHY = {
    "stop": "the model ended its turn, or wrote one of the stop strings.",
    "length": "the limit of new tokens, or the engine's longest sequence, was reached.",
    "abort": "the request was aborted.",
    "error": "the request failed; what had come stays.",
}
NOT_REPORTED = "not reported"
_DASH = "\u2013"


@dataclass(frozen=True)
class Figure:
    """One figure: `value` in the mono face, `definition` on hover; `state` is `text`, `text3` or `accent`."""

    name: str
    value: str
    definition: str
    state: str = "text"


def digits(value: float) -> str:
    """A time in ms or a speed in tok/s with as many digits as all of the playground gives it: `5 210`, `244`, `9.8`."""
    return grouped(round(value)) if value >= 9.95 else f"{value:.1f}"


def _speed_text(tok_s: float) -> str:
    return f"{digits(tok_s)} tok/s"


def ttft_text(ttft_ms: float) -> str:
    return f"{digits(ttft_ms)} ms"


def _count(name: str, count: int | None, definition: str) -> Figure:
    if count is None:
        return Figure(name, NOT_REPORTED, definition, "text3")
    return Figure(name, grouped(count), definition)


def _ttft(ttft_ms: float | None) -> Figure:
    return Figure("TTFT", ttft_text(ttft_ms), TTFT) if ttft_ms is not None else _absent("TTFT", TTFT)


def _absent(name: str, definition: str, value: str = NOT_REPORTED) -> Figure:
    return Figure(name, value, definition, "text3")


def ends_of(pieces: Iterable[Piece]) -> tuple[Chunk, ...]:
    """First and last response with tokens, the last with all tokens after the first: all that TTFT, ITL and n need."""
    first: Chunk | None = None
    last, tokens = 0.0, 0
    for piece in pieces:
        if piece.tokens > 0:
            if first is None:
                first = Chunk(piece.t_s, piece.tokens)
            else:
                last = piece.t_s
                tokens += piece.tokens
    if first is None:
        return ()
    return (first, Chunk(last, tokens)) if tokens else (first,)


def figures_of(record: AnswerRecord | None) -> tuple[Figure, ...]:
    """The figures of a finished answer; what is missing is said to be."""
    if record is None:
        return tuple(
            _absent(name, definition)
            for name, definition in (("TTFT", TTFT), ("speed", SPEED), ("in", INPUT), ("out", OUTPUT))
        )
    ends = ends_of(record.pieces)
    speed = metrics.output_tok_s(ends)
    label, words = END_WORDS[record.reason]
    source = f"{OUTPUT} Counted by: {record.count_source}."
    return (
        _ttft(metrics.ttft_ms(record.t0_s, ends)),
        Figure("speed", _speed_text(speed), SPEED)
        if speed is not None
        else _absent("speed", SPEED, _DASH if ends else NOT_REPORTED),
        _count("in", record.input_tokens, INPUT),
        _count("out", metrics.output_tokens(ends) if ends else record.output_tokens, source),
        Figure(label, words, f"{STOPPED}: {_WHY[record.reason]}"),
    )


def live_figures(
    ttft_ms: float | None, tok_s: float | None, input_tokens: int | None, output_tokens: int, *, begun: bool, note: str
) -> tuple[Figure, ...]:
    """The figures of an answer that streams, as far as there are any; `begun`: some of it has come."""
    found = []
    if ttft_ms is not None:
        found.append(Figure("TTFT", ttft_text(ttft_ms), TTFT))
    if tok_s is not None:
        found.append(Figure("speed", _speed_text(tok_s), f"{SPEED} Up to now."))
    if input_tokens is not None:
        found.append(Figure("in", grouped(input_tokens), INPUT))
    if output_tokens:
        found.append(Figure("out", f"{grouped(output_tokens)} so far", f"{OUTPUT} Up to now."))
    state = "streaming" if begun else "waiting for the first token"
    words = f"{state}, {note}" if note else state
    found.append(Figure("", words, "The engine is at work on this answer.", "accent"))
    return tuple(found)


class FiguresLine(QWidget):
    """Figures side by side, on further lines where there is no room. Left and Right walk them, Ctrl+C copies all."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._figures: tuple[Figure, ...] = ()
        self._widths: list[float] = []
        self._places: list[QRect] = []
        self._current = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._text = QFontMetricsF(text_font(SMALL))
        self._mono = QFontMetricsF(mono_font(SMALL))
        metrics = QFontMetrics(mono_font(SMALL))
        self._base = (LINE_HEIGHT - metrics.height()) // 2 + metrics.ascent()

    @property
    def figures(self) -> tuple[Figure, ...]:
        return self._figures

    @property
    def words(self) -> str:
        """All figures as one line of text."""
        return ", ".join(f"{figure.name} {figure.value}".strip() for figure in self._figures)

    def set_figures(self, figures: tuple[Figure, ...]) -> None:
        if figures == self._figures:
            return
        self._figures = figures
        self._widths = [self._width(figure) for figure in figures]
        self._current = min(self._current, max(len(figures) - 1, 0))
        self._lay_out(self.width())
        self.setAccessibleName(self.words)
        self._describe()
        self.update()

    def natural_width(self) -> int:
        """Its width on one line, in px."""
        return round(sum(self._widths) + _GAP * len(self._widths)) - _GAP + 2

    @property
    def last_right(self) -> int:
        """Where the last line ends, in px."""
        last = self._places[-1] if self._places else QRect()
        return max((place.right() for place in self._places if place.top() == last.top()), default=0)

    def fit(self, width: int) -> int:
        """Lay the figures out in `width` px; the height that they take."""
        return self._lay_out(width)

    def figure_at(self, place: QPoint) -> int:
        """Number of the figure there; -1: none."""
        return next((n for n, rect in enumerate(self._places) if rect.contains(place)), -1)

    def _width(self, figure: Figure) -> float:
        inner = self._text.horizontalAdvance(figure.name) + _INNER if figure.name else 0
        if figure.state == "text":
            return inner + self._mono.horizontalAdvance("0") * len(figure.value)
        return inner + self._text.horizontalAdvance(figure.value)

    def _lay_out(self, width: int) -> int:
        x, y, self._places = 0.0, 0, []
        for wide in self._widths:
            if x and x + wide > width:
                x, y = 0.0, y + LINE_HEIGHT - 4
            self._places.append(QRect(round(x), y, round(wide) + 1, LINE_HEIGHT))
            x += wide + _GAP
        return y + LINE_HEIGHT

    def _describe(self) -> None:
        if self._figures:
            self.setAccessibleDescription(self._figures[self._current].definition)

    # -- Qt

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            number = self.figure_at(event.pos())  # type: ignore[attr-defined]
            if number >= 0:
                QToolTip.showText(event.globalPos(), self._tip(number), self)  # type: ignore[attr-defined]
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def _tip(self, number: int) -> str:
        # Wrapped by hand: a tip of plain text is one long line.
        words, lines = self._figures[number].definition.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) > 70:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        return "\n".join(lines)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if event.matches(QKeySequence.StandardKey.Copy):
            QGuiApplication.clipboard().setText(self.words)
        elif step is not None and self._figures:
            self._current = min(max(self._current + step, 0), len(self._figures) - 1)
            self._describe()
            place = self._places[self._current].bottomLeft()
            QToolTip.showText(self.mapToGlobal(place), self._tip(self._current), self)
            self.update()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        QToolTip.hideText()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        colours = theme()
        for number, (figure, place) in enumerate(zip(self._figures, self._places, strict=True)):
            x, y = float(place.left()), place.top() + self._base
            if figure.name:
                painter.setFont(text_font(SMALL))
                painter.setPen(colours.colour("text3"))
                painter.drawText(QPointF(x, y), figure.name)
                x += self._text.horizontalAdvance(figure.name) + _INNER
            painter.setFont(mono_font(SMALL) if figure.state == "text" else text_font(SMALL))
            painter.setPen(colours.colour(figure.state))
            painter.drawText(QPointF(x, y), figure.value)
            if self.hasFocus() and number == self._current:
                painter.setPen(QPen(colours.colour("accent"), 1))
                painter.drawLine(place.left(), y + 4, place.right(), y + 4)
