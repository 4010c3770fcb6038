"""Over the conversation: chat or raw completion, the system prompt, a new conversation, and export."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QSizePolicy, QWidget

from workbench.core.conversation import Conversation, Mode
from workbench.ui.pages.playground.composer import GrowingEdit
from workbench.ui.widgets.basics import GAP, button, icon_button, label, segments

_PAUSE_MS = 400
_MODES: tuple[tuple[Mode, str, str], ...] = (
    ("chat", "Chat", "Messages go through the model's own chat template"),
    ("raw", "Raw", "Raw completion: the text goes to the model as it is, and is continued"),
)


class SystemBar(QWidget):
    """Signals: `mode_asked` ("chat" or "raw"), `system_changed`, `new_asked`, `export_asked`."""

    mode_asked = Signal(str)
    system_changed = Signal(str)
    new_asked = Signal()
    export_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._group = QButtonGroup(self)
        self.modes = {}
        for at, (mode, words, tip) in enumerate(_MODES):
            made = button(words, small=True, name="Raw completion" if mode == "raw" else words, tip=tip)
            self._group.addButton(made, at)
            self.modes[mode] = made
        self.system_name = label("System prompt", "hint")
        self.system = GrowingEdit((1, 5))
        self.system.setPlaceholderText("none")
        self.system.setAccessibleName("System prompt")
        self.system_name.setBuddy(self.system)
        self.raw_words = label("The text goes to the model as it is, and is continued.", "hint")
        self.raw_words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._id = ""
        self.new_button = icon_button("plus", "New conversation (Ctrl+N)", self.new_asked.emit)
        self.export_button = icon_button("export", "Export this conversation", self.export_asked.emit)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 6, 12, 6)
        layout.setSpacing(GAP)
        layout.addWidget(segments(list(self.modes.values())))
        layout.addSpacing(GAP)
        layout.addWidget(self.system_name)
        layout.addWidget(self.system, 1)
        layout.addWidget(self.raw_words, 1)
        layout.addWidget(self.new_button)
        layout.addWidget(self.export_button)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self.flush)
        self._group.idClicked.connect(lambda at: self.mode_asked.emit(_MODES[at][0]))
        self.system.textChanged.connect(self._pause.start)

    def flush(self) -> None:
        """Tell the system prompt as it is now."""
        self._pause.stop()
        self.system_changed.emit(self.system.toPlainText())

    def show_conversation(self, conversation: Conversation) -> None:
        """Another one, or other turns of it; what is just being written as its system prompt stays."""
        writing = self._pause.isActive() and conversation.id == self._id
        self._id = conversation.id
        self.modes[conversation.mode].setChecked(True)
        if not writing and self.system.toPlainText() != conversation.system:
            self._pause.stop()
            was = self.system.blockSignals(True)
            self.system.setPlainText(conversation.system)
            self.system.blockSignals(was)
        chat = conversation.mode == "chat"
        self.system.setVisible(chat)
        self.system_name.setVisible(chat)
        self.raw_words.setVisible(not chat)
        self.show_buttons(conversation)

    def show_buttons(self, conversation: Conversation, *, streaming: bool = False) -> None:
        """What can be done with it now."""
        self.export_button.setEnabled(bool(conversation.turns))
        self.new_button.setEnabled(bool(conversation.turns))
        for made in self.modes.values():
            made.setEnabled(not streaming or made.isChecked())

    def close_bar(self) -> None:
        self._pause.stop()
