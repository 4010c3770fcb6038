"""One field of the form: its label, mark, editor and unit, and what the chosen preset says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout

from workbench.core.preset_check import KeyPath
from workbench.core.preset_fields import PresetField, choice_words
from workbench.ui.widgets.basics import label, restyle
from workbench.ui.widgets.editors import ChoiceEditor, Editor, TextEditor, make_editor, number_words

LABEL_WIDTH, _DOT_WIDTH = 132, 10


class FormRow:
    """A field's label, mark, editor, unit and what the chosen preset says."""

    def __init__(self, field: PresetField, grid: QGridLayout, at: int, edited: Callable[[KeyPath], None]) -> None:
        self.field = field
        self.name = label(field.title, "text2")
        self.name.setMinimumWidth(LABEL_WIDTH)
        self.name.setToolTip(f"{field.help}\n{'.'.join(field.path)}")
        self.mark = label("●", "mark")
        self.mark.setFixedWidth(_DOT_WIDTH)
        self.editor: Editor = make_editor(field)
        self.editor.setToolTip(field.help)
        self.name.setBuddy(self.editor)
        self.unit = label(field.unit if field.kind in ("whole", "number") else "", "hint")
        self.base = label("", "hint")
        self.base.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.problem = label("", "error", wrap=True)
        self.problem.hide()
        grid.addWidget(self.name, at, 0)
        grid.addWidget(self.mark, at, 1)
        wide = isinstance(self.editor, TextEditor) or (isinstance(self.editor, ChoiceEditor) and self.editor.combo)
        if wide or field.kind == "lines":
            grid.addWidget(self.editor, at, 2, 1, 2)
        else:
            grid.addWidget(self.editor, at, 2, Qt.AlignmentFlag.AlignLeft)
            if field.unit:
                grid.addWidget(self.unit, at, 3)
        grid.addWidget(self.base, at, 4)
        grid.addWidget(self.problem, at + 1, 2, 1, 3)
        self.editor.changed.connect(lambda: edited(field.path))

    def show_value(self, value: Any) -> None:
        self.editor.set_value(value)

    def show_state(self, value: Any, base: Any, words: str) -> None:
        """Mark it when it differs from the preset; `words` are what is wrong."""
        differs = value != base
        self.mark.setText("●" if differs else "")
        self.mark.setToolTip("Differs from the preset" if differs else "")
        self.base.setText(f"preset: {self._words(base)}" if differs else "")
        self.editor.show_problem(words)
        self.problem.setText(words)
        self.problem.setVisible(bool(words))

    def _words(self, value: Any) -> str:
        if value is None:
            return self.field.empty_words or "not set"
        if self.field.kind == "choice":
            return choice_words(self.field, value)
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, int | float):
            return number_words(value)
        return f"{len(value)} lines" if isinstance(value, list) else str(value)[:24]

    def set_used(self, used: bool, why_not: str) -> None:
        """Grey out a setting that does nothing here."""
        self.editor.setEnabled(used)
        whole = f"{self.field.help}\n{'.'.join(self.field.path)}"
        self.name.setToolTip(f"{why_not}\n{whole}" if why_not else whole)
        restyle(self.name, "role", "text2" if used else "off")
