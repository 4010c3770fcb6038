"""Editors of one value each, made from a field of the preset schema; `value` is None for an empty optional field."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from workbench.core.preset_check import wanted
from workbench.core.preset_fields import PresetField, choice_words
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, icon_button, restyle
from workbench.ui.widgets.search_box import Choice
from workbench.ui.widgets.switch import Switch

THIN_SPACE = "\u202f"
_MOST_SEGMENTS, _MOST_LETTERS = 4, 26
_BLANKS = re.compile(r"[\s_'\u2019\u202f\u00a0]")

_GROUPED = re.compile(r"\d{1,3}(,\d{3})+")
_COMMAS = re.compile(r"(?<=\d),(?=\d{3}\b)")


class Editor(QWidget):
    """Shows and takes one value. `changed` is sent when a person changed it, `problem` says what is wrong with it."""

    changed = Signal()

    def __init__(self, field: PresetField) -> None:
        super().__init__()
        self.field = field
        self.line = QHBoxLayout(self)
        self.line.setContentsMargins(0, 0, 0, 0)
        self.line.setSpacing(GAP)

    def value(self) -> Any:
        """The value, or None. Raises ValueError, whose text is for people, for what the field cannot take."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value without `changed`."""
        raise NotImplementedError

    def show_problem(self, words: str) -> None:
        """Mark the value as wrong and tell so to screen readers; "" takes the mark away."""
        if (proxy := self.focusProxy()) is not None:
            proxy.setAccessibleDescription(words or self.field.help)
            restyle(proxy, "wrong", bool(words))

    def _name(self, widget: QWidget) -> None:
        unit = f", {self.field.unit}" if self.field.unit else ""
        widget.setAccessibleName(f"{self.field.title}{unit}")
        widget.setAccessibleDescription(self.field.help)
        self.setFocusProxy(widget)


class TextEditor(Editor):
    """A line of text; files and folders have a button that looks for them."""

    def __init__(self, field: PresetField) -> None:
        super().__init__(field)
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(field.empty_words[:1].upper() + field.empty_words[1:])
        self.edit.textEdited.connect(lambda _: self.changed.emit())
        self._name(self.edit)
        self.line.addWidget(self.edit, 1)
        if field.kind == "path":
            self.line.addWidget(icon_button("folder", f"{field.title}: choose", self._choose, flat=False))

    def value(self) -> str | None:
        return self.edit.text().strip() or (None if self.field.optional else "")

    def set_value(self, value: Any) -> None:
        text = "" if value is None else str(value)
        if text != self.edit.text():
            self.edit.setText(text)

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, self.field.title, self.edit.text())
        if path:
            self.edit.setText(path)
            self.changed.emit()


class NumberEditor(Editor):
    """A whole or decimal number; Up and Down step through whole numbers."""

    def __init__(self, field: PresetField) -> None:
        super().__init__(field)
        self.edit = QLineEdit()
        self.edit.setFont(mono_font())
        self.edit.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.edit.setFixedWidth(96)
        if field.optional and field.empty_words:
            self.edit.setPlaceholderText("auto")
            self.edit.setToolTip(f"Empty: {field.empty_words}")
        self.edit.textEdited.connect(lambda _: self.changed.emit())
        self.edit.editingFinished.connect(self._tidy)
        self.edit.installEventFilter(self)
        self._name(self.edit)
        self.line.addWidget(self.edit)

    def value(self) -> Any:
        text = _BLANKS.sub("", self.edit.text())
        if "," in text and (self.field.kind == "number" or not _GROUPED.fullmatch(text)):
            raise ValueError(f"{self.field.title}: decimals are written with a point.")
        text = text.replace(",", "")
        if not text:
            if self.field.optional:
                return None
            raise ValueError(f"{self.field.title} must be {wanted(self.field.path)}.")
        try:
            number = int(text) if self.field.kind == "whole" else float(text)
        except ValueError:
            number = None
        f = self.field
        fits = number is not None and abs(number) < 1e18
        if fits and number is not None:
            above = f.low is None or (number > f.low if f.open_low else number >= f.low)
            fits = above and (f.high is None or number <= f.high)
        if not fits:
            raise ValueError(f"{f.title} must be {wanted(f.path)}.")
        return number

    def set_value(self, value: Any) -> None:
        text = number_words(value)
        if _BLANKS.sub("", text) != _BLANKS.sub("", self.edit.text()):
            self.edit.setText(text)

    def _tidy(self) -> None:
        with contextlib.suppress(ValueError):  # what is wrong stays as it was typed, and is marked
            self.edit.setText(number_words(self.value()))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and self.field.kind == "whole":
            step = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1}.get(Qt.Key(event.key()), 0)
            if step:
                try:
                    number = self.value()
                except ValueError:
                    return True
                low, high = self.field.low or 0, self.field.high or 10**9
                self.edit.setText(number_words(int(min(max((number or low) + step, low), high))))
                self.changed.emit()
                return True
        return super().eventFilter(watched, event)


class SwitchEditor(Editor):
    """On or off."""

    def __init__(self, field: PresetField) -> None:
        super().__init__(field)
        self.switch = Switch()
        self.switch.clicked.connect(lambda: self.changed.emit())
        self._name(self.switch)
        self.line.addWidget(self.switch)

    def value(self) -> bool:
        return self.switch.isChecked()

    def set_value(self, value: Any) -> None:
        self.switch.setChecked(bool(value))


class ChoiceEditor(Editor):
    """A few short choices side by side, else a list. A choice that cannot be taken is grey and says why."""

    def __init__(self, field: PresetField) -> None:
        super().__init__(field)
        words = [choice_words(field, choice) for choice in field.choices]
        short = len(words) <= _MOST_SEGMENTS and sum(map(len, words)) <= _MOST_LETTERS
        self.combo: QComboBox | None = None
        self._group = QButtonGroup(self)
        if short:
            self._make_segments(words)
        else:
            self.combo = Choice()
            for text in words:
                self.combo.addItem(text)
            self.combo.activated.connect(lambda _: self.changed.emit())
            self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            self.combo.setMinimumContentsLength(12)
            self._name(self.combo)
            self.line.addWidget(self.combo, 1)

    def _make_segments(self, words: list[str]) -> None:
        self.line.setSpacing(0)
        for at, text in enumerate(words):
            segment = QPushButton(text)
            segment.setCheckable(True)
            segment.setProperty("segment", True)
            segment.setAccessibleName(f"{self.field.title}: {text}")
            segment.setAccessibleDescription(self.field.help)
            self._group.addButton(segment, at)
            self.line.addWidget(segment)
        self.setFocusProxy(self._group.button(0))
        self._group.idClicked.connect(lambda _: self.changed.emit())

    def value(self) -> Any:
        at = self.combo.currentIndex() if self.combo is not None else self._group.checkedId()
        return self.field.choices[at] if at >= 0 else None

    def set_value(self, value: Any) -> None:
        # True is 1 to Python: choices are told apart by their type too.
        found = [
            i for i, c in enumerate(self.field.choices) if c == value and isinstance(c, bool) == isinstance(value, bool)
        ]
        at = found[0] if found else -1
        if self.combo is not None:
            self.combo.setCurrentIndex(at)
        elif at >= 0:
            self._group.button(at).setChecked(True)

    def set_reasons(self, why_not: Callable[[Any], str]) -> None:
        """Grey out choices for which `why_not` has words."""
        for at, choice in enumerate(self.field.choices):
            reason = why_not(choice)
            if self.combo is None:
                self._group.button(at).setEnabled(not reason or self._group.button(at).isChecked())
                self._group.button(at).setToolTip(reason)
                continue
            item = self.combo.model().item(at)  # type: ignore[attr-defined]
            item.setEnabled(not reason)
            item.setToolTip(reason)


class LinesEditor(Editor):
    """A list of texts, one a line."""

    def __init__(self, field: PresetField) -> None:
        super().__init__(field)
        self.edit = QPlainTextEdit()
        self.edit.setTabChangesFocus(True)
        self.edit.setFixedHeight(72)
        self.edit.setPlaceholderText(field.empty_words[:1].upper() + field.empty_words[1:] + "; else one a line")
        self._name(self.edit)
        self._showing = False
        self.edit.textChanged.connect(self._edited)
        self.line.addWidget(self.edit, 1)

    def _edited(self) -> None:
        if not self._showing:
            self.changed.emit()

    def value(self) -> list[str] | None:
        return [line for line in self.edit.toPlainText().split("\n") if line.strip()] or None

    def set_value(self, value: Any) -> None:
        text = "\n".join(value or ())
        if text != self.edit.toPlainText():
            self._showing = True
            self.edit.setPlainText(text)
            self._showing = False


def number_words(value: Any) -> str:
    """8192 as "8 192" (with narrow spaces), 0.9 as "0.9", None as ""."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,}".removesuffix(".0").replace(",", THIN_SPACE)  # exact: what is shown is read again
    return f"{value:,}".replace(",", THIN_SPACE)


def spaced(text: str) -> str:
    """The figures of a sentence as the window writes them: "8,192" as "8 192" with a narrow space."""
    return _COMMAS.sub(THIN_SPACE, text)


def make_editor(field: PresetField) -> Editor:
    """The editor for a field's kind."""
    kinds: dict[str, type[Editor]] = {
        "choice": ChoiceEditor,
        "switch": SwitchEditor,
        "whole": NumberEditor,
        "number": NumberEditor,
        "lines": LinesEditor,
    }
    return kinds.get(field.kind, TextEditor)(field)
