"""A message being edited in its place."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from workbench.ui.pages.playground.talk.markdown import visible
from workbench.ui.widgets.basics import GAP, button, label, row

_LEAST_H, _MOST_H = 56, 320
_BUTTONS_H = 28
_HINT_FROM = 460


class _Field(QPlainTextEdit):
    """Enter sends, Shift+Enter starts a line, Esc gives up."""

    def __init__(self, send: Callable[[], None], cancel: Callable[[], None], parent: QWidget) -> None:
        super().__init__(parent)
        self._send, self._cancel = send, cancel
        self.setTabChangesFocus(True)
        self.setAccessibleName("Your message, edited")

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and event.key() == Qt.Key.Key_Escape:  # type: ignore[attr-defined]
            event.accept()  # else the page's own Esc, which stops an answer, takes it
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        shift = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not shift:
            self._send()
        elif event.key() == Qt.Key.Key_Escape:
            self._cancel()
        else:
            super().keyPressEvent(event)


class TurnEditor(QWidget):
    """A field with Send and Cancel. A text that was not changed is sent as it was, with what cannot be typed."""

    def __init__(
        self,
        text: str,
        send: Callable[[str], None],
        cancel: Callable[[], None],
        grew: Callable[[], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._before, self._shown = text, visible(text)
        self._send, self._cancel, self._grew = send, cancel, grew
        self._lines = 0
        self.field = _Field(self._try_send, cancel, self)
        self.field.setPlainText(self._shown)
        self.send_button = button(
            "Send", self._try_send, icon_name="send", primary=True, name="Send the edited message"
        )
        self.cancel_button = button("Cancel", cancel, name="Cancel the edit")
        self._hint = label("The message before stays as another branch.", "hint")
        self._foot = row(self.send_button, self.cancel_button, self._hint, None, gap=GAP)
        self._foot.setParent(self)
        self.field.textChanged.connect(self._changed)
        self._changed()

    def focus(self) -> None:
        """To the field, the caret at the end."""
        self.field.moveCursor(self.field.textCursor().MoveOperation.End)
        self.field.setFocus(Qt.FocusReason.OtherFocusReason)

    def chain(self) -> list[QWidget]:
        return [self.field, self.send_button, self.cancel_button]

    @property
    def text(self) -> str:
        typed = self.field.toPlainText()
        return self._before if typed == self._shown else typed

    def fit(self, width: int) -> int:
        """Place what is inside at `width` px; the height that it takes."""
        self.field.resize(width, max(self.field.height(), _LEAST_H))
        lines = min(self.field.document().documentLayout().documentSize().height(), 40)
        high = min(max(int(lines) * self.field.fontMetrics().lineSpacing() + 20, _LEAST_H), _MOST_H)
        self.field.setGeometry(0, 0, width, high)
        self._hint.setVisible(width > _HINT_FROM)
        self._foot.setGeometry(0, high + 6, width, _BUTTONS_H)
        return high + 6 + _BUTTONS_H

    def _changed(self) -> None:
        self.send_button.setEnabled(bool(self.text.strip()))
        lines = self.field.document().blockCount()
        if lines != self._lines:
            self._lines = lines
            self._grew()

    def _try_send(self) -> None:
        if self.text.strip():
            self._send(self.text)
