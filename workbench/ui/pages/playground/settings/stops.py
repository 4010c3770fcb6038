"""Stop strings: each a small button that takes it away, and a field for the next."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtWidgets import QLayout, QLayoutItem, QLineEdit, QPushButton, QWidget

from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import button

MOST = 16
_SHOWN = 14
_ESCAPES = (("\\n", "\n"), ("\\t", "\t"))


def shown(text: str) -> str:
    """A stop string in one line: a line's end is written \\n."""
    for written, meant in _ESCAPES:
        text = text.replace(meant, written)
    return text


def meant(text: str) -> str:
    for written, real in _ESCAPES:
        text = text.replace(written, real)
    return text


class Flow(QLayout):
    """Widgets from left to right, in as many lines as they need."""

    def __init__(self, gap: int = 4) -> None:
        super().__init__()
        self._items: list[QLayoutItem] = []
        self._gap = gap
        self.setContentsMargins(0, 0, 0, 0)

    def addItem(self, item: QLayoutItem) -> None:
        self._items.append(item)

    def count(self) -> int:
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:  # type: ignore[override]
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:  # type: ignore[override]
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._place(QRect(0, 0, width, 0), only_measure=True)

    def setGeometry(self, rect: QRect) -> None:
        super().setGeometry(rect)
        self._place(rect, only_measure=False)

    def sizeHint(self) -> QSize:
        return self.minimumSize()

    def minimumSize(self) -> QSize:
        found = QSize()
        for item in self._items:
            found = found.expandedTo(item.minimumSize())
        return found

    def _place(self, rect: QRect, *, only_measure: bool) -> int:
        x, y, high = rect.x(), rect.y(), 0
        for item in self._items:
            size = item.sizeHint()
            if x > rect.x() and x + size.width() > rect.right() + 1:
                x, y, high = rect.x(), y + high + self._gap, 0
            if not only_measure:
                item.setGeometry(QRect(x, y, size.width(), size.height()))
            x += size.width() + self._gap
            high = max(high, size.height())
        return y + high - rect.y()


class StopStrings(QWidget):
    """`changed` when one was added or taken away."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._values: list[str] = []
        self._buttons: list[QPushButton] = []
        self.edit = QLineEdit()
        self.edit.setFont(mono_font(SMALL))
        self.edit.setPlaceholderText("add")
        self.edit.setFixedWidth(64)
        self.edit.setAccessibleName("Add a stop string")
        self.edit.setToolTip("Text that ends the answer; Enter adds it. \\n is a line's end.")
        self.edit.returnPressed.connect(self._add)
        self.edit.editingFinished.connect(self._add)
        self._flow = Flow()
        self.setLayout(self._flow)
        self._flow.addWidget(self.edit)

    def values(self) -> tuple[str, ...]:
        return tuple(self._values)

    def set_values(self, values: tuple[str, ...]) -> None:
        self._values = [value for value in dict.fromkeys(values) if value][:MOST]
        self._show()

    def _add(self) -> None:
        text = meant(self.edit.text())
        self.edit.clear()
        if text and text not in self._values and len(self._values) < MOST:
            self._values.append(text)
            self._show()
            self.changed.emit()

    def _remove(self, text: str) -> None:
        self._values.remove(text)
        self._show()
        self.edit.setFocus(Qt.FocusReason.OtherFocusReason)
        self.changed.emit()

    def _show(self) -> None:
        for made in self._buttons:
            self._flow.removeWidget(made)
            made.deleteLater()
        self._flow.removeWidget(self.edit)
        self._buttons = []
        for text in self._values:
            words = shown(text)
            short = words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…"
            made = button(short, icon_name="close", small=True, name=f"Take away the stop string {words}", tip=words)
            made.setFont(mono_font(SMALL))
            made.clicked.connect(lambda _=False, own=text: self._remove(own))
            self._buttons.append(made)
            self._flow.addWidget(made)
        self._flow.addWidget(self.edit)
        self.setTabOrder(self._buttons[-1], self.edit) if self._buttons else None
        self.updateGeometry()
