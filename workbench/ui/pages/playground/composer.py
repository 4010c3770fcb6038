"""Where a message is written: Enter sends it, and its length in tokens is said before it is sent."""

from __future__ import annotations

import re

from PySide6.QtCore import QMimeData, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy, QVBoxLayout, QWidget

from workbench.core.messages import Counted
from workbench.core.units import format_bytes
from workbench.ui.widgets.basics import GAP, button, figure, label, restyle, row, set_icon
from workbench.ui.widgets.editors import THIN_SPACE, number_words

ASK_MS = 250
"""A pause in typing after which the prompt is counted."""
LARGE_PASTE = 20_000
"""Characters; more than that stands beside the message instead of in it, since a text field lays out every line."""
_LINES = (2, 8)
_NUL = "\0"
_AGAIN, _EDIT = "Answer again (Ctrl+R)", "Edit your last message and send it again (Ctrl+E)"
_NO_ENGINE = "Load an engine first"
_WIDE = 760
"""Width in px from which all buttons have their words."""


class GrowingEdit(QPlainTextEdit):
    """As high as its text, from `lines[0]` to `lines[1]` lines; Tab leaves it."""

    def __init__(self, lines: tuple[int, int]) -> None:
        super().__init__()
        self._lines = lines
        self.document().setDocumentMargin(6)
        self.setTabChangesFocus(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().documentLayout().documentSizeChanged.connect(lambda _: self.updateGeometry())
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def sizeHint(self) -> QSize:
        lines = min(max(int(self.document().size().height()), self._lines[0]), self._lines[1])
        around = 2 * (self.frameWidth() + self.document().documentMargin()) + 2
        return QSize(120, int(lines * self.fontMetrics().lineSpacing() + around))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()


class MessageEdit(GrowingEdit):
    """`sent` on Enter; a large paste goes to `pasted`."""

    sent = Signal()
    pasted = Signal(str)

    def __init__(self) -> None:
        super().__init__(_LINES)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if enter and not event.modifiers() & (Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier):
            self.sent.emit()
            return
        super().keyPressEvent(event)

    def insertFromMimeData(self, source: QMimeData) -> None:
        text = source.text()
        if len(text) > LARGE_PASTE:
            self.pasted.emit(text)
        else:
            super().insertFromMimeData(source)


class Composer(QWidget):
    """Signals: `send` (the whole text), `stop`, `ask_count` (the text changed and typing paused),
    `regenerate`, `edit_last`.
    """

    send = Signal(str)
    stop = Signal()
    ask_count = Signal(str)
    regenerate = Signal()
    edit_last = Signal()

    def __init__(self, burst: QWidget) -> None:
        super().__init__()
        self._streaming = self._ready = False
        self._problem = self._settings_problem = ""
        self._attached = ""
        self.burst = burst
        self.edit = MessageEdit()
        self.edit.setAccessibleName("Message")
        self._say_how()
        self.attached = button(
            "", self._detach, icon_name="close", small=True, name="Take the pasted text away", tip="Take it away"
        )
        self.attached.hide()
        self.problem = label("", "error", wrap=True)
        self.problem.setAccessibleName("Why the message cannot be sent")
        self.problem.hide()
        self.tokens = figure("", 11, "text3")
        self.tokens.setAccessibleName("Length of the prompt")
        self.again_button = button("Regenerate", self.regenerate.emit, icon_name="refresh", tip=_AGAIN)
        self.edit_button = button(
            "Edit", self.edit_last.emit, icon_name="pencil", tip=_EDIT,
            name="Edit and resend",
        )  # fmt: skip
        self.send_button = button("Send", self._act, icon_name="send", primary=True, tip="Enter")
        self.send_button.setMinimumWidth(88)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.setSpacing(GAP)
        layout.addWidget(self.problem)
        layout.addWidget(self.edit)
        layout.addWidget(row(self.attached, None, self.tokens))
        layout.addWidget(row(self.again_button, self.edit_button, burst, None, self.send_button))
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(ASK_MS)
        self._pause.timeout.connect(lambda: self.ask_count.emit(self.text()))
        self.edit.textChanged.connect(self._changed)
        self.edit.sent.connect(self._send)
        self.edit.pasted.connect(self._attach)
        self._show()

    def text(self) -> str:
        """What would be sent: what was typed, and below it what was pasted beside it."""
        typed = self.edit.toPlainText()
        return f"{typed}\n\n{self._attached}".lstrip("\n") if self._attached else typed

    def set_text(self, text: str) -> None:
        """Put a text there in place of what is there; a large one beside it."""
        self._attached = ""
        if len(text) > LARGE_PASTE:
            self.edit.clear()
            self._attach(text)
        else:
            self.edit.setPlainText(text)
            self.edit.moveCursor(self.edit.textCursor().MoveOperation.End)
        self._show()
        self.edit.setFocus()

    def clear(self) -> None:
        self._attached = ""
        self.edit.clear()
        self.tokens.setText("")
        self._problem = ""
        self._show()

    def set_raw(self, raw: bool) -> None:
        """Whether the text is continued as it is, or is a message of a conversation."""
        self._say_how("Write a text to be continued. Shift+Enter starts a new line." if raw else "")

    def _say_how(self, words: str = "") -> None:
        self.edit.setPlaceholderText(words or "Write a message. Shift+Enter starts a new line.")

    def set_ready(self, ready: bool) -> None:
        """Whether an engine is there to be asked."""
        self._ready = ready
        self._show()
        self._changed()

    def set_streaming(self, streaming: bool) -> None:
        self._streaming = streaming
        self._show()

    def set_history(self, has_message: bool) -> None:
        """Whether there is something to regenerate or edit."""
        for made, tip in ((self.again_button, _AGAIN), (self.edit_button, _EDIT)):
            made.setEnabled(has_message and self._ready and not self._streaming)
            made.setToolTip(tip if self._ready else _NO_ENGINE)

    def show_count(self, counted: Counted | None, text: str) -> None:
        """How long the prompt is; None: nothing counted it. Dropped when the text is another one by now."""
        if text != self.text():
            return
        if counted is None or not text.strip():
            self.tokens.setText("")
            self._problem = self._own_problem(text)
        else:
            length = "not counted" if counted.tokens is None else number_words(counted.tokens)
            limit = f" of {number_words(counted.limit)}" if counted.limit is not None else ""
            self.tokens.setText(f"{length}{limit} tokens")
            self._problem = sentence(counted.problem)
        self._show()

    def recount(self) -> None:
        """What stands before the message is another conversation now."""
        if self.text().strip():
            self._pause.start()

    def show_settings_problem(self, words: str) -> None:
        """What is wrong with the sampling settings; "" when nothing is."""
        self._settings_problem = words
        self._show()

    @property
    def sendable(self) -> bool:
        text_there = bool(self._attached) or bool(self.edit.toPlainText().strip())
        return self._ready and not self._streaming and text_there and not self._problem and not self._settings_problem

    def _changed(self) -> None:
        text = self.edit.toPlainText()
        self._problem = self._own_problem(text if not self._attached else self.text())
        if not text.strip() and not self._attached:
            self.tokens.setText("")
        self._pause.start()
        self._show()

    @staticmethod
    def _own_problem(text: str) -> str:
        at = text.find(_NUL)
        return f"The message holds a NUL byte at character {number_words(at + 1)}; take it out." if at >= 0 else ""

    def _attach(self, text: str) -> None:
        self._attached = f"{self._attached}\n{text}" if self._attached else text
        self._changed()

    def _detach(self) -> None:
        self._attached = ""
        self._changed()
        self.edit.setFocus()

    def _show(self) -> None:
        if self._attached:
            words = len(re.findall(r"\S+", self._attached[:200_000]))
            more = "more than " if len(self._attached) > 200_000 else ""
            size = format_bytes(len(self._attached.encode("utf-8", "replace")))
            self.attached.setText(f"Pasted text, {size}, {more}{number_words(words)} words")
        self.attached.setVisible(bool(self._attached))
        words_wrong = self._problem or self._settings_problem
        self.problem.setText(words_wrong)
        self.problem.setVisible(bool(words_wrong))
        restyle(self.edit, "wrong", bool(self._problem))
        self.send_button.setText("Stop" if self._streaming else "Send")
        set_icon(self.send_button, "stop" if self._streaming else "send", "on_accent")
        self.send_button.setAccessibleName("Stop the answer" if self._streaming else "Send")
        self.send_button.setToolTip("Esc" if self._streaming else "Enter" if self._ready else _NO_ENGINE)
        self.send_button.setEnabled(self._streaming or self.sendable)
        self.burst.setEnabled(self._ready and not self._settings_problem)

    def _act(self) -> None:
        if self._streaming:
            self.stop.emit()
        else:
            self._send()

    def _send(self) -> None:
        if self.sendable:
            self.send.emit(self.text())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """On a narrow page the two verbs that the rows have as well are icons alone."""
        super().resizeEvent(event)
        wide = event.size().width() >= _WIDE
        for made, words in ((self.again_button, "Regenerate"), (self.edit_button, "Edit")):
            made.setText(words if wide else "")
            set_icon(made, made.property("icon_of")[0])

    def close_composer(self) -> None:
        self._pause.stop()


def sentence(words: str) -> str:
    """What a host says, as a sentence."""
    return f"{spaced_figures(words[:1].upper() + words[1:])}." if words else ""


def spaced_figures(words: str) -> str:
    """A host's words with numbers written as the window writes them."""
    return re.sub(r"(?<=\d),(?=\d{3}\b)", THIN_SPACE, words)
