"""Saved prompts: find one and put it into the composer, keep the current message, rename, delete."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QPlainTextEdit, QSizePolicy, QVBoxLayout, QWidget

from workbench.core.errors import BadInputError, Failure
from workbench.core.home import Home
from workbench.store.prompts import SavedPrompt, read_prompts, remove_prompt, write_prompt
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, MARGIN, button, column, label, row, rule
from workbench.ui.widgets.list_table import ROW_ROLE, SEARCH_ROLE, SORT_ROLE, ListTable, RowFilter, SearchKeys
from workbench.ui.widgets.search_box import SearchBox

Index = QModelIndex | QPersistentModelIndex
_Asking = Literal["save", "replace", "rename", "delete"]
_SEARCHED = 20_000
"""Characters of a prompt that are searched and shown."""


class _Prompts(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self.prompts: tuple[SavedPrompt, ...] = ()

    def show(self, prompts: tuple[SavedPrompt, ...]) -> None:
        self.beginResetModel()
        self.prompts = prompts
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.prompts)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 1

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        prompt = self.prompts[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            return prompt.name
        if role == ROW_ROLE:
            return prompt
        if role == SORT_ROLE:
            return prompt.name.casefold()
        if role == SEARCH_ROLE:
            return f"{prompt.name} {prompt.text[:_SEARCHED]} {prompt.system[:_SEARCHED]}"
        return None


class PromptsDialog(QDialog):
    """`chosen` is sent with a prompt's text and system prompt (empty: it has none).

    Keys: letters search, arrows choose, Enter inserts, F2 renames, Del deletes.
    """

    chosen = Signal(str, str)

    def __init__(self, session: Session, text: str = "", system: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._text, self._system = text, system
        self._select = ""
        self._asking: _Asking = "save"
        self._about = ""
        """Name of the prompt that is to be renamed, replaced or deleted."""
        self._busy = False
        self.setWindowTitle("Saved prompts")
        self.setModal(True)
        self.resize(720, 460)
        self._model = _Prompts()
        self._filter = RowFilter(self)
        self._filter.setSourceModel(self._model)
        self.field = SearchBox("Search names and texts", "Search the saved prompts")
        self.table = ListTable(self._filter, "Saved prompts")
        self.table.horizontalHeader().hide()
        self.table.setSortingEnabled(False)  # the store's order, by name
        self._keys = SearchKeys(self.field, self.table)
        self.system = label("", "small", wrap=True)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        self.text.setAccessibleName("Text of the prompt")
        self.insert = button("Insert", self._insert, primary=True)
        self.rename = button("Rename", self._ask_rename, tip="F2")
        self.delete = button("Delete", self._ask_delete, icon_name="trash", tip="Del")
        self.question = label("", "text2")
        self.name = QLineEdit()
        self.name.setAccessibleName("Name of the prompt")
        self.name.setMaxLength(100)
        self.yes = button("Save", self._answer)
        self.no = button("Cancel", self._ask_save)
        for part in (self.yes, self.no):  # a question without a field makes them no wider
            part.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.said = label("", "text2", wrap=True)
        left = column(self.field, self.table, gap=GAP)
        right = column(self.system, self.text, row(None, self.delete, self.rename, self.insert), gap=GAP)
        parts = QHBoxLayout()
        parts.setSpacing(MARGIN)
        parts.addWidget(left, 2)
        parts.addWidget(right, 3)
        line = row(self.question, self.name, self.yes, self.no)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(GAP)
        layout.addLayout(parts, 1)
        layout.addWidget(rule())
        layout.addWidget(line)
        layout.addWidget(row(self.said, None, button("Close", self.reject)))
        self.insert.setAutoDefault(False)  # Return in a field means that field
        self.field.textChanged.connect(self._search)
        self.field.returnPressed.connect(self._insert)
        self.table.activated.connect(lambda _: self._insert())
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_chosen())
        self.name.returnPressed.connect(self._answer)
        self.name.textChanged.connect(self._name_changed)
        self._ask_save()
        self._show_chosen()
        self._run(partial(read_prompts, session.home))

    @property
    def prompt(self) -> SavedPrompt | None:
        """The one that is chosen."""
        found = self.table.chosen()
        return found if isinstance(found, SavedPrompt) else None

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.field.setFocus()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        in_list = self.table.hasFocus() or (self.field.hasFocus() and event.key() == Qt.Key.Key_F2)
        if event.key() == Qt.Key.Key_F2 and in_list:
            self._ask_rename()
        elif event.key() == Qt.Key.Key_Delete and in_list:
            self._ask_delete()
        elif event.key() == Qt.Key.Key_Escape and self._asking != "save":
            self._ask_save()
            self.table.setFocus()
        elif event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)

    # -- what is shown

    def _search(self, text: str) -> None:
        before = self.prompt
        self._filter.search(text)
        if before is None or not self.table.choose(lambda prompt: prompt == before):
            self.table.choose(lambda _: True)
        self._show_chosen()

    def _show_chosen(self) -> None:
        prompt = self.prompt
        for part in (self.insert, self.rename, self.delete):
            part.setEnabled(prompt is not None and not self._busy)
        self.system.setVisible(prompt is not None and bool(prompt.system))
        if prompt is None:
            self.text.clear()
            return
        self.system.setText(f"System prompt: {' '.join(prompt.system[:600].split())}")
        text = prompt.text[:_SEARCHED]
        if text != self.text.toPlainText():
            self.text.setPlainText(text)

    def _show(self, prompts: tuple[SavedPrompt, ...]) -> None:
        self._busy = False
        before = self._select or (self.prompt.name if self.prompt is not None else "")
        self._select = ""
        self._model.show(prompts)
        if not self.table.choose(lambda prompt: prompt.name == before):
            self.table.choose(lambda _: True)
        self._show_chosen()
        self._show_question()
        self.text.setPlaceholderText("" if prompts else "No prompt is saved yet: write a message, then save it here.")

    # -- verbs

    def _insert(self) -> None:
        if (prompt := self.prompt) is not None and not self._busy:
            self.chosen.emit(prompt.text, prompt.system)
            self.accept()

    def _ask_save(self) -> None:
        self._ask("save", "")
        self.name.clear()

    def _ask_rename(self) -> None:
        if (prompt := self.prompt) is not None:
            self._ask("rename", prompt.name)
            self.name.setText(prompt.name)
            self.name.selectAll()
            self.name.setFocus()

    def _ask_delete(self) -> None:
        if (prompt := self.prompt) is not None:
            self._ask("delete", prompt.name)
            self.yes.setFocus()

    def _ask(self, asking: _Asking, about: str) -> None:
        self._asking, self._about = asking, about
        self.said.clear()
        self._show_question()

    def _show_question(self) -> None:
        can_save = bool(self._text.strip() or self._system.strip())
        short = self._about if len(self._about) <= 40 else self._about[:39] + "\u2026"
        question, yes = {
            "save": ("Save the current message as", "Save"),
            "replace": (f"There is \u201c{short}\u201d already.", "Replace"),
            "rename": (f"New name of \u201c{short}\u201d", "Rename"),
            "delete": (f"Delete \u201c{short}\u201d?", "Delete"),
        }[self._asking]
        if self._asking == "save" and not can_save:
            question = "There is no current message to save."
        self.question.setText(question)
        self.question.setToolTip(question.replace(short, self._about) if short != self._about else "")
        self.name.setVisible(self._asking != "delete" and (self._asking != "save" or can_save))
        self.yes.setVisible(self._asking != "save" or can_save)
        self.yes.setText(yes)
        self.yes.setAccessibleName(yes)
        self.yes.setEnabled(not self._busy and (self._asking == "delete" or bool(_tidy(self.name.text()))))
        self.no.setText("Keep" if self._asking == "delete" else "Cancel")
        self.no.setVisible(self._asking != "save")

    def _name_changed(self) -> None:
        if self._asking == "replace":
            self._ask("save", "")
        else:
            self._show_question()

    def _answer(self) -> None:
        name = _tidy(self.name.text())
        if not self.yes.isEnabled() or not self.yes.isVisibleTo(self):
            return
        home = self._session.home
        taken = any(prompt.name == name for prompt in self._model.prompts)
        if self._asking == "delete":
            self._select = self._after(self._about)
            self._run(partial(remove_prompt, home, self._about), "Deleted.")
        elif self._asking == "rename":
            if name == self._about:
                self._ask_save()
            elif taken:
                self.said.setText("There is a prompt of that name already: choose another.")
            else:
                self._select = name
                self._run(partial(_renamed, home, self._about, name), "Renamed.")
        elif self._asking == "save" and taken:
            self._ask("replace", name)
        else:
            self._select = name
            prompt = SavedPrompt(name=name, text=self._text, system=self._system)
            self._run(partial(write_prompt, home, prompt), "Saved.")

    def _after(self, name: str) -> str:
        """The prompt that is chosen once this one is gone."""
        names = [self._filter.index(place, 0).data() for place in range(self._filter.rowCount())]
        place = names.index(name) if name in names else 0
        left = [one for one in names if one != name]
        return str(left[min(place, len(left) - 1)]) if left else ""

    def _run(self, do: partial[tuple[SavedPrompt, ...]], words: str = "") -> None:
        self._busy = True
        self._show_chosen()
        self._show_question()
        self._session.tasks.run(do, partial(self._done, words), self._fail)

    def _done(self, words: str, prompts: tuple[SavedPrompt, ...]) -> None:
        if words:
            self._ask_save()
            if self._select and not self.field.hasFocus():
                self.table.setFocus()
        self._show(prompts)
        self.said.setText(words)

    def _fail(self, failure: Failure) -> None:
        self._busy = False
        self._select = ""
        self._show_chosen()
        self._show_question()
        self.said.setText(" ".join(failure.lines()))


def _tidy(name: str) -> str:
    """A name as the store keeps it."""
    return " ".join(name.split())[:100]


def _renamed(home: Home, old: str, new: str) -> tuple[SavedPrompt, ...]:
    """The new name is written before the old one goes, so that nothing is lost in between."""
    prompt = next((kept for kept in read_prompts(home) if kept.name == old), None)
    if prompt is None:
        raise BadInputError(f"There is no prompt \u201c{old}\u201d any more.", code="no-such-prompt")
    write_prompt(home, prompt.model_copy(update={"name": new}))
    return remove_prompt(home, old)
