"""The command palette: every action by name, on Ctrl+K."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import QDialog, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from workbench.ui.actions import Actions

_WIDTH, _ROWS = 560, 12


class Palette(QDialog):
    """A field and a list; typing narrows it, Enter does it, Escape closes."""

    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent)
        self._actions = actions
        self.setWindowTitle("Actions")
        self.setWindowFlag(Qt.WindowType.FramelessWindowHint)
        self.setModal(True)
        self.setFixedWidth(_WIDTH)
        self._field = QLineEdit()
        self._field.setPlaceholderText("What do you want to do?")
        self._field.setAccessibleName("Search actions")
        self._list = QListWidget()
        self._list.setAccessibleName("Actions found")
        self._list.setUniformItemSizes(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(self._field)
        layout.addWidget(self._list)
        self._field.textChanged.connect(self._narrow)
        self._field.installEventFilter(self)
        self._list.itemActivated.connect(lambda item: self._do(item))
        self._list.itemClicked.connect(lambda item: self._do(item))

    def open_fresh(self) -> None:
        """Empty the field, list all, and take the keyboard."""
        self._field.clear()
        self._narrow("")
        parent = self.parentWidget()
        if parent is not None:
            place = parent.mapToGlobal(parent.rect().topLeft())
            self.move(place.x() + (parent.width() - _WIDTH) // 2, place.y() + 64)
        self.show()
        self._field.setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Up, down and Enter in the field work on the list."""
        if watched is self._field and event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step is not None and self._list.count():
                self._list.setCurrentRow((self._list.currentRow() + step) % self._list.count())
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                if item := self._list.currentItem():
                    self._do(item)
                return True
        return super().eventFilter(watched, event)

    def _narrow(self, text: str) -> None:
        words = text.lower().split()
        self._list.clear()
        for action in self._actions:
            name = f"{action.property('group') or ''} {action.text().replace('&', '')}".strip()
            if action.isEnabled() and all(word in name.lower() for word in words):
                self._list.addItem(self._item(action, name))
        self._list.setCurrentRow(0)
        rows = min(max(self._list.count(), 1), _ROWS)
        self._list.setFixedHeight(rows * max(self._list.sizeHintForRow(0), 24) + 4)
        self.adjustSize()

    def _item(self, action: QAction, name: str) -> QListWidgetItem:
        key = action.shortcut().toString()
        item = QListWidgetItem(action.icon(), f"{name}    {key}" if key else name)
        item.setData(Qt.ItemDataRole.UserRole, action.objectName())
        return item

    def _do(self, item: QListWidgetItem) -> None:
        name = item.data(Qt.ItemDataRole.UserRole)
        self.hide()
        self._actions[name].trigger()
