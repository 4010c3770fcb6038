"""Fields of a form: a label, an editor, and below it what is wrong with what was typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QLineEdit, QPushButton, QWidget

from workbench.core.errors import BadInputError
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, label, restyle, row, segments
from workbench.ui.widgets.switch import Switch

_LABEL, _NUMBER, _WIDE = 148, 96, 248


class Field(QObject):
    """A line of text that is read by `read`, which raises BadInputError or ValueError with words for people."""

    changed = Signal()

    def __init__(
        self,
        name: str,
        read: Callable[[str], Any],
        *,
        unit: str = "",
        hint: str = "",
        tip: str = "",
        empty: str | None = None,
        wide: bool = False,
        extra: Sequence[QWidget] = (),
    ) -> None:
        """`empty`: what stands in the empty field, and that it may be empty (its value is None then)."""
        super().__init__()
        self.name, self._read, self._empty = name, read, empty
        self.label = label(name, "text2")
        self.label.setMinimumWidth(_LABEL)
        self.label.setToolTip(tip)
        self.edit = QLineEdit()
        self.edit.setFont(mono_font())
        self.edit.setFixedWidth(_WIDE if wide else _NUMBER)
        if not wide:
            self.edit.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.edit.setPlaceholderText(empty or "")
        self.edit.setAccessibleName(f"{name}, {unit}" if unit else name)
        self.edit.setAccessibleDescription(tip or hint)
        self.edit.setToolTip(tip)
        self.edit.textEdited.connect(lambda _: self.changed.emit())
        self.label.setBuddy(self.edit)
        self.unit = label(unit, "hint")
        self.hint = label(hint, "hint")
        self.problem = label("", "error", wrap=True)
        self.problem.hide()
        self.parts: list[QWidget | int | None] = [self.edit, *extra]
        self.parts += [self.unit] if unit else []
        self.parts += [self.hint, None] if hint else [None]
        self.line = row(*self.parts, gap=GAP)

    def text(self) -> str:
        return self.edit.text().strip()

    def set_text(self, text: str) -> None:
        """Show a text without `changed`."""
        if text != self.edit.text():
            self.edit.setText(text)

    def value(self) -> Any:
        """What it means; None when it is empty and may be. Raises ValueError with words for people."""
        text = self.text()
        if not text:
            if self._empty is not None:
                return None
            raise ValueError(f"{self.name} is missing.")
        try:
            return self._read(text)
        except BadInputError as error:
            raise ValueError(f"{self.name}: {error.failure.fix or error.failure.what}") from error

    def check(self) -> str:
        """What is wrong with it, in words, shown below it; empty: nothing."""
        words = ""
        if self.edit.isEnabled() and not self.line.isHidden():
            try:
                self.value()
            except ValueError as error:
                words = str(error)
        self.problem.setText(words)
        self.problem.setVisible(bool(words))
        restyle(self.edit, "wrong", bool(words))
        return words

    def set_shown(self, shown: bool) -> None:
        for part in (self.label, self.line):
            part.setVisible(shown)
        if not shown:
            self.problem.hide()


class SwitchField(QObject):
    """On or off, with what it means beside it."""

    changed = Signal()

    def __init__(self, name: str, hint: str, *, on: bool) -> None:
        super().__init__()
        self.name = name
        self.label = label(name, "text2")
        self.label.setMinimumWidth(_LABEL)
        self.switch = Switch(name)
        self.switch.setChecked(on)
        self.switch.setAccessibleDescription(hint)
        self.switch.clicked.connect(lambda: self.changed.emit())
        self.label.setBuddy(self.switch)
        self.problem = label("", "error")
        self.problem.hide()
        self.hint = label(hint, "hint", wrap=True)
        self.line = row(self.switch, self.hint)
        self.line.layout().setStretch(1, 1)

    @property
    def on(self) -> bool:
        return self.switch.isChecked()

    def set_shown(self, shown: bool) -> None:
        for part in (self.label, self.line):
            part.setVisible(shown)


class Segments(QObject):
    """A choice of a few, side by side."""

    changed = Signal(str)

    def __init__(self, name: str, choices: Sequence[tuple[str, str, str]]) -> None:
        """`choices`: value, words, tool tip."""
        super().__init__()
        self._group = QButtonGroup(self)
        self._values = [value for value, _, _ in choices]
        buttons = []
        for place, (_, words, tip) in enumerate(choices):
            made = QPushButton(words)
            made.setAccessibleName(f"{name}: {words}")
            made.setToolTip(tip)
            made.setAutoDefault(False)
            self._group.addButton(made, place)
            buttons.append(made)
        self.buttons = buttons
        self.widget = segments(buttons)
        self.label = label(name, "text2")
        self.label.setMinimumWidth(_LABEL)
        self.line = row(self.widget, None)
        self.problem = label("", "error")
        self.problem.hide()
        buttons[0].setChecked(True)
        self._group.idClicked.connect(lambda place: self.changed.emit(self._values[place]))

    @property
    def value(self) -> str:
        return self._values[max(self._group.checkedId(), 0)]

    def choose(self, value: str) -> None:
        """Choose without `changed`; a value that is no choice changes nothing."""
        if value in self._values:
            self._group.button(self._values.index(value)).setChecked(True)

    def set_able(self, value: str, able: bool, why_not: str = "") -> None:
        made = self._group.button(self._values.index(value))
        made.setEnabled(able)
        made.setToolTip(why_not)

    def set_shown(self, shown: bool) -> None:
        for part in (self.label, self.line):
            part.setVisible(shown)


def grid_of(*fields: Field | SwitchField | Segments) -> QWidget:
    """Labels at the left, editors at the right, what is wrong below."""
    made = QWidget()
    grid = QGridLayout(made)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(GAP)
    grid.setVerticalSpacing(6)
    grid.setColumnStretch(1, 1)
    for place, field in enumerate(fields):
        grid.addWidget(field.label, 2 * place, 0)
        grid.addWidget(field.line, 2 * place, 1)
        grid.addWidget(field.problem, 2 * place + 1, 1)
    return made


def whole(low: int = 0, high: int = 10**9) -> Callable[[str], int]:
    """Reads a whole number within limits."""

    def read(text: str) -> int:
        try:
            number = int(_plain(text))
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number.") from None
        if not low <= number <= high:
            raise ValueError(f"{number:,} is not from {low:,} to {high:,}.")
        return number

    return read


def number(low: float = 0.0, high: float = 1e9, *, open_low: bool = False) -> Callable[[str], float]:
    """Reads a number within limits."""

    def read(text: str) -> float:
        try:
            found = float(_plain(text))
        except ValueError:
            raise ValueError(f"{text!r} is not a number.") from None
        if not (low < found if open_low else low <= found) or not found <= high:
            raise ValueError(f"{found:g} is not {'above' if open_low else 'from'} {low:g} and up to {high:g}.")
        return found

    return read


def _plain(text: str) -> str:
    return text.replace("\u202f", "").replace(" ", "").replace("_", "")
