"""One variant's answer: how far it is the baseline's, where it differs, its text, its choice there and its figures."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QGuiApplication, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QSizePolicy, QVBoxLayout, QWidget

from workbench.core.measure.answer_diff import AnswerDiff, Choice, Span
from workbench.core.measure.comparison import AnswerOf
from workbench.core.report.words import share as share_words
from workbench.ui.models.comparison_view import Variant, detail_words
from workbench.ui.pages.compare.prompts.answer_text import AnswerText
from workbench.ui.pages.playground.talk.figures import Figure, FiguresLine, figures_of
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.basics import figure, icon_button, label, row, rule, surface
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.marker import Marker, variant_colour

LEAST_WIDTH = 270
_STRIP = 9
_MOST_CELLS = 2000


class _Strip(QWidget):
    """A tick a token: those that differ in the variant's colour."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: tuple[bool, ...] = ()
        self._slot = 0
        self.setFixedHeight(_STRIP)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_marks(self, marks: tuple[bool, ...], slot: int) -> None:
        self._marks, self._slot = marks[:_MOST_CELLS], slot
        self.setToolTip("Where the answer differs from the baseline's, a tick a token" if any(marks) else "")
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(120, _STRIP)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter, look = QPainter(self), theme()
        count = len(self._marks)
        if count:
            step = self.width() / count
            wide = max(1.0, step - 1) if step > 2 else step
            same, other = look.colour("track"), variant_colour(self._slot)
            for number, differs in enumerate(self._marks):
                painter.fillRect(
                    QRectF(number * step, 0, max(wide, 1.5) if differs else wide, _STRIP), other if differs else same
                )
        else:
            painter.fillRect(self.rect(), look.colour("track"))
        painter.end()


class _Bar(QWidget):
    """A probability."""

    def __init__(self) -> None:
        super().__init__()
        self.share, self.slot = 0.0, 0
        self.setFixedSize(34, 6)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme().colour("track"))
        painter.fillRect(QRectF(0, 0, self.width() * self.share, self.height()), variant_colour(self.slot))
        painter.end()


class _Figures(FiguresLine):
    """As high as its lines."""

    def set_figures(self, figures: tuple[Figure, ...]) -> None:
        super().set_figures(figures)
        self.setFixedHeight(self.fit(max(self.width(), 100)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.setFixedHeight(self.fit(event.size().width()))


class _Choices(QWidget):
    """What the baseline and the variant said at the first difference, and how sure they were."""

    def __init__(self) -> None:
        super().__init__()
        self.title = label("", "hint")
        self._lines: list[tuple[Marker, ElidedLine, object, _Bar]] = []
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        for number in range(2):
            marker, text, chance, bar = Marker(), ElidedLine(), figure("", SMALL), _Bar()
            text.setFont(mono_font(SMALL))
            for place, part in enumerate((marker, text, chance, bar)):
                grid.addWidget(part, number, place)
            self._lines.append((marker, text, chance, bar))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.title)
        layout.addLayout(grid)

    def show_diff(self, diff: AnswerDiff, slot: int) -> None:
        first = diff.first
        if first is None:
            self.title.setText("The same from the first to the last.")
        else:
            self.title.setText(f"At {diff.unit} {first + 1}: chosen, probability")
        choices = (diff.baseline_choice, diff.choice)
        for (marker, text, chance, bar), choice, its in zip(self._lines, choices, (0, slot), strict=True):
            marker.set_slot(its)
            text.say(_choice_words(choice))
            known = choice is not None and choice.probability is not None
            chance.setText(
                f"{choice.probability:.2f}"
                if known and choice is not None
                else "not reported"  # type: ignore[attr-defined]
                if choice is not None
                else ""
            )
            bar.share, bar.slot = (choice.probability or 0.0) if choice is not None else 0.0, its
            bar.update()
            for part in (marker, text, chance):
                part.setVisible(first is not None)  # type: ignore[attr-defined]
            bar.setVisible(first is not None and known)


def _choice_words(choice: Choice | None) -> str:
    if choice is None:
        return "had ended"
    return choice.text.strip() or repr(choice.text)


class AnswerColumn(QFrame):
    """A card."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self._answer_text = ""
        self.setProperty("surface", "card")
        self.setMinimumWidth(LEAST_WIDTH)
        self.name, self.detail = ElidedLine("name"), ElidedLine("hint")
        self.marker = Marker(variant.slot)
        self.copy = icon_button("copy", f"Copy the answer of {variant.subject.name}", self._copy)
        head = row(self.marker, self.name, self.detail, self.copy, margins=(12, 4, 6, 4))
        head.layout().setStretch(1, 3)
        head.layout().setStretch(2, 2)
        self.same, self.shared = ElidedLine("small"), label("", "hint")
        self.strip = _Strip()
        about = row(self.same, self.shared)
        about.layout().setStretch(0, 1)
        self.text = AnswerText()
        self.choices = _Choices()
        self.legend = _legend()
        self.figures = _Figures()
        self._over_choices, self._over_figures = rule(), rule()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(0)
        for part, margins, stretch in (
            (head, (0, 0, 0, 0), 0),
            (rule(), (0, 0, 0, 0), 0),
            (about, (12, 6, 12, 2), 0),
            (self.strip, (12, 2, 12, 8), 0),
            (rule(), (0, 0, 0, 0), 0),
            (self.text, (8, 6, 4, 4), 1),
            (self._over_choices, (0, 0, 0, 0), 0),
            (self.choices, (12, 6, 12, 6), 0),
            (self.legend, (12, 6, 12, 6), 0),
            (self._over_figures, (0, 0, 0, 0), 0),
            (self.figures, (12, 4, 12, 4), 0),
        ):
            if any(margins):
                box = QVBoxLayout()
                box.setContentsMargins(*margins)
                box.addWidget(part)
                layout.addLayout(box, stretch)
            else:
                layout.addWidget(part, stretch)
        self.show_variant(variant)

    def show_variant(self, variant: Variant) -> None:
        self.variant = variant
        self.marker.set_slot(variant.slot)
        self.name.say(variant.subject.name)
        self.detail.say(detail_words(variant.subject))
        self.text.setAccessibleName(f"Answer of {variant.subject.name}")

    def show_answer(self, answer: AnswerOf | None, diff: AnswerDiff | None, *, plain: bool) -> None:
        """`diff`: against the baseline's answer; None for the baseline's own and where it has none."""
        record = answer.record if answer is not None else None
        slot = self.variant.slot
        self._answer_text = record.text if record is not None else ""
        self.copy.setEnabled(bool(self._answer_text))
        self.figures.setVisible(record is not None)
        self._over_figures.setVisible(record is not None)
        if record is not None:
            self.figures.set_figures(figures_of(record))
        is_base = self.variant.is_baseline
        self.choices.setVisible(diff is not None)
        self.legend.setVisible(is_base)
        self._over_choices.setVisible(is_base or diff is not None)
        self.shared.setText("")
        if answer is not None and answer.failure is not None:
            self.same.say(f"No answer: {answer.failure.what}", answer.failure.evidence)
        elif record is None:
            self.same.say("Not asked yet")
        elif is_base:
            self.same.say("Baseline")
            count = record.output_tokens
            self.shared.setText(f"{count} tokens" if count is not None else "")
        elif diff is None:
            self.same.say("The baseline has no answer")
        else:
            self.same.say(same_words(diff))
            self.shared.setText(f"{share_words(diff.shared, 0)} shared")
            self.choices.show_diff(diff, slot)
        if diff is not None and not plain:
            self.text.show_spans(diff.spans, slot)
        else:
            self.text.show_spans((Span(self._answer_text),) if self._answer_text else (), slot)
        self.strip.show_marks(diff.marks if diff is not None else (), slot)

    def stream(self, text: str) -> None:
        self.same.say("Answering" if text else "Waiting")
        self.shared.setText("")
        self.strip.show_marks((), self.variant.slot)
        self.choices.hide()
        self.figures.hide()
        self._over_figures.hide()
        self._over_choices.setVisible(self.variant.is_baseline)
        self.text.stream(text)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._answer_text)


def same_words(diff: AnswerDiff) -> str:
    """`Same up to token 86 of 131`, or that all is the same."""
    if diff.identical:
        return f"The same, all {diff.total} {diff.unit}s"
    if diff.first == 0:
        return f"Differs from the first {diff.unit} of {diff.total}"
    return f"Same up to {diff.unit} {diff.first} of {diff.total}"


def _legend() -> QWidget:
    made = surface("card")
    made.setProperty("surface", "")
    layout = QVBoxLayout(made)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(2)
    layout.addWidget(label("How to read it", "hint"))
    layout.addWidget(label("Tinted: not in the baseline. Dotted line: left out.", "hint", wrap=True))
    layout.addWidget(label("Framed: the first that differs.", "hint", wrap=True))
    return made
