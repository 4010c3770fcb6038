"""A setting on the page: its title and help, its editor, where it comes from, and what was wrong with a change."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from workbench.core.errors import Failure
from workbench.ui.models.settings import SettingRow
from workbench.ui.pages.settings.editors import editor_for
from workbench.ui.widgets.basics import GAP, button, column, label, row, set_sign

_LABEL = 200


class SettingLine(QWidget):
    """`asked` carries the setting's key and what it is to be; None takes it back."""

    asked = Signal(str, object)

    def __init__(self, found: SettingRow) -> None:
        super().__init__()
        field = found.field
        self.row = found
        self.setObjectName(f"setting-{field.key}")
        self.title = label(field.title, "name", wrap=True)
        self.title.setToolTip(field.key)
        self.help = label(field.text, "hint", wrap=True)
        self.editor = editor_for(found)
        self.title.setBuddy(self.editor.focusProxy() or self.editor)
        self.sign = QLabel()
        set_sign(self.sign, "lock", "text3")
        self.origin = label("", "hint", wrap=True)
        self.back = button(
            "Reset", lambda: self.asked.emit(field.key, None), small=True, name=f"{field.title}: reset",
            tip="Forget your own: what the administrator set, or what was shipped, holds again",
        )  # fmt: skip
        self.problem = label("", "error", wrap=True)
        self.problem.hide()
        below = row(self.sign, self.origin, self.back)
        below.layout().setStretch(1, 1)
        left = column(self.title, self.help, None, gap=4)
        left.setMinimumWidth(_LABEL)
        right = column(self.editor, below, self.problem, None, gap=4)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(2 * GAP)
        line.addWidget(left, 2)
        line.addWidget(right, 3)
        self.editor.asked.connect(lambda value: self.asked.emit(field.key, value))
        self.show_row(found)

    def show_row(self, found: SettingRow) -> None:
        """Show what holds now; what was wrong with a change is done with."""
        self.row = found
        self.editor.show_row(found)
        self.origin.setText(found.origin_words)
        self.sign.setVisible(bool(found.locked_by))
        self.back.setVisible(found.can_edit and found.own)
        self.problem.hide()
        self.setAccessibleName(f"{found.field.title}, {found.origin_words}")

    def show_problem(self, failure: Failure) -> None:
        """Say why it was not saved; the editor shows again what holds."""
        self.editor.show_row(self.row)
        self.problem.setText("\n".join(failure.lines()))
        self.problem.show()
