"""Editors of settings, one a kind; `asked` carries what the setting is to be."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from workbench.core.settings import shown_setting
from workbench.ui.models.settings import Entry, SettingRow
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, button, icon_button, label, restyle, row
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.fields import Segments
from workbench.ui.widgets.switch import Switch

_BUTTON = 28
"""Width of a button that shows an icon alone, and height of its line."""
_MORE = {
    "presets": "Another folder or git+https:// address",
    "extra_package_indexes": "Another address",
    "prefix": "Another word of the command",
}
"""What can be added to a list, by the last part of its key; to all others a folder."""
_CHOICES = {"system": "Follow the system", "dark": "Dark", "light": "Light"}


class SettingEditor(QWidget):
    """Shows a row's value. `asked` is sent when a person wants another; it is not kept before it is saved."""

    asked = Signal(object)

    def __init__(self, row: SettingRow) -> None:
        super().__init__()
        self.field = row.field

    def show_row(self, row: SettingRow) -> None:
        """Show what holds now."""
        raise NotImplementedError


class SwitchEditor(SettingEditor):
    def __init__(self, row: SettingRow) -> None:
        super().__init__(row)
        self.switch = Switch(row.field.title)
        self.switch.setAccessibleDescription(row.field.text)
        self.switch.clicked.connect(lambda: self.asked.emit(self.switch.isChecked()))
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.switch)
        line.addStretch(1)
        self.setFocusProxy(self.switch)

    def show_row(self, row: SettingRow) -> None:
        self.switch.setChecked(bool(row.value))
        self.switch.setEnabled(row.can_edit)


class ChoiceEditor(SettingEditor):
    def __init__(self, row: SettingRow) -> None:
        super().__init__(row)
        self.segments = Segments(
            row.field.title, [(value, _CHOICES.get(value, value), "") for value in row.field.choices]
        )
        self.segments.changed.connect(lambda value: self.asked.emit(value))
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.segments.widget)
        line.addStretch(1)

    def show_row(self, row: SettingRow) -> None:
        self.segments.choose(str(row.value))
        for value in row.field.choices:
            self.segments.set_able(value, row.can_edit)


class TextEditor(SettingEditor):
    """A line of text; folders and files have a button that looks for them."""

    def __init__(self, row: SettingRow) -> None:
        super().__init__(row)
        self.edit = QLineEdit()
        self.edit.setFont(mono_font())
        self.edit.setPlaceholderText("not set")
        self.edit.setAccessibleName(row.field.title)
        self.edit.setAccessibleDescription(row.field.text)
        self.edit.editingFinished.connect(self._finished)
        self._shown = ""
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(GAP)
        line.addWidget(self.edit, 1)
        self.browse = icon_button("folder", f"{row.field.title}: choose", self._choose, flat=False)
        line.addWidget(self.browse)
        self.setFocusProxy(self.edit)

    def show_row(self, row: SettingRow) -> None:
        self._shown = str(row.value)
        if not row.can_edit:
            self.edit.setText(shown_setting(self._shown) if self._shown else "")
        elif self.edit.text() != self._shown and not self.edit.isModified():  # else somebody is typing
            self.edit.setText(self._shown)
        self.edit.setReadOnly(not row.can_edit)
        restyle(self.edit, "locked", not row.can_edit)
        self.browse.setVisible(row.can_edit and row.field.kind in ("folder", "file"))

    def _finished(self) -> None:
        text = self.edit.text().strip()
        self.edit.setModified(False)
        if text != self._shown and not self.edit.isReadOnly():
            self._shown = text
            self.asked.emit(text or None)

    def _choose(self) -> None:
        if self.field.kind == "folder":
            path = QFileDialog.getExistingDirectory(self, self.field.title, self.edit.text())
        else:
            path, _ = QFileDialog.getOpenFileName(self, self.field.title, self.edit.text())
        if path:
            self.edit.setText(path)
            self._finished()


class ListEditor(SettingEditor):
    """Entries below each other; one's own can be taken out, and more can be added."""

    def __init__(self, row_: SettingRow) -> None:
        super().__init__(row_)
        self._own: tuple[str, ...] = ()
        self._entries: tuple[Entry, ...] | None = None
        self._can_edit: bool | None = None
        self._box = QVBoxLayout()
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.setSpacing(2)
        what = _MORE.get(row_.field.key.rpartition(".")[2], "Another folder")
        self.edit = QLineEdit()
        self.edit.setFont(mono_font())
        self.edit.setPlaceholderText(what)
        self.edit.setAccessibleName(f"{row_.field.title}: {what.lower()}")
        self.edit.setAccessibleDescription(row_.field.text)
        self.edit.returnPressed.connect(self._add_typed)
        self.browse = icon_button("folder", f"{row_.field.title}: choose a folder", self._choose, flat=False)
        self.add = button("Add", self._add_typed, icon_name="plus", name=f"{row_.field.title}: add")
        self.adding = row(self.edit, self.browse, self.add)
        self.adding.layout().setStretch(0, 1)
        self.browse.setVisible(row_.field.kind == "folders")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(self._box)
        layout.addWidget(self.adding)
        self.setFocusProxy(self.edit)

    def show_row(self, row_: SettingRow) -> None:
        entries = row_.entries
        self._own = row_.own_value
        self.adding.setVisible(row_.can_edit)
        if (entries, row_.can_edit) == (self._entries, self._can_edit):
            return  # nothing is built anew under a person's focus
        self._entries, self._can_edit = entries, row_.can_edit
        while (item := self._box.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        for number, entry in enumerate(entries):
            self._box.addWidget(self._line(number, entry, row_.can_edit))
        if not entries and not row_.can_edit:
            self._box.addWidget(label("none", "text3"))

    def _line(self, number: int, entry: Entry, can_edit: bool) -> QWidget:
        text = ElidedLine()
        text.setFont(mono_font())
        shown = shown_setting(entry.text)
        text.say(shown)
        words = ", ".join(word for word in (entry.note, "" if entry.own else entry.origin) if word)
        note = ElidedLine("hint")
        note.say(words)
        end: QWidget = QWidget()
        if can_edit and entry.own:
            end = icon_button("close", f"Take out {shown}", lambda: self._take_out(number, entry.text))
        end.setFixedWidth(_BUTTON)
        made = row(text, note, end)
        made.setMinimumHeight(_BUTTON)
        made.layout().setStretch(0, 3)
        made.layout().setStretch(1, 2)
        return made

    def _take_out(self, number: int, text: str) -> None:
        own = self._own
        self.edit.setFocus()
        if self.field.adds_up:
            self._ask(tuple(one for one in own if one != text))
        elif own[number : number + 1] == (text,):  # a command may hold a word twice; no line is as it was meanwhile
            self._ask((*own[:number], *own[number + 1 :]))

    def _add_typed(self) -> None:
        if text := self.edit.text().strip():
            self.edit.clear()
            self._add(text)

    def _add(self, text: str) -> None:
        if text not in self._own or not self.field.adds_up:
            self._ask((*self._own, text))

    def _ask(self, own: tuple[str, ...]) -> None:
        """What is asked for next goes on from this, be it saved yet or not."""
        self._own = own
        self.asked.emit(own or None)

    def _choose(self) -> None:
        start = self.edit.text().strip() or (self._own[-1] if self._own else "")
        if folder := QFileDialog.getExistingDirectory(self, self.field.title, start):
            self._add(folder)


def editor_for(row_: SettingRow) -> SettingEditor:
    """The editor that fits a setting's kind."""
    kinds: dict[str, Any] = {"switch": SwitchEditor, "choice": ChoiceEditor, "folders": ListEditor, "lines": ListEditor}
    made: SettingEditor = kinds.get(row_.field.kind, TextEditor)(row_)
    made.show_row(row_)
    return made
