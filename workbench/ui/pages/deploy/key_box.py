"""A key that was made for a server: shown once, to be copied or kept in the system's keyring."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QLineEdit, QVBoxLayout

from workbench.toolchains.secrets import Secret
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label, row, set_sign


class KeyBox(QFrame):
    """`copied`; `keep` with a name for the keyring. The key is forgotten when it is put away."""

    copied = Signal()
    keep = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "card")
        self.key: Secret | None = None
        self._name = ""
        sign = label()
        set_sign(sign, "lock", "accent")
        self.title = label("", "name", wrap=True)
        self.field = QLineEdit()
        self.field.setReadOnly(True)
        self.field.setFont(mono_font())
        self.field.setEchoMode(QLineEdit.EchoMode.Normal)
        self.field.setAccessibleName("The new API key")
        self.copy_button = button("Copy", self._copy, icon_name="copy", name="Copy the API key")
        self.keep_button = button("Keep in keyring", self._keep, icon_name="lock")
        self.close_button = icon_button("close", "Put the key away: it is not shown again", self.forget)
        self.words = label(
            "It is shown this once and kept nowhere. Clients send it as a bearer token.", "small", wrap=True
        )
        head = row(sign, self.title, self.close_button)
        head.layout().setStretch(1, 1)
        line = row(self.field, self.copy_button, self.keep_button)
        line.layout().setStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 10, MARGIN, 10)
        layout.setSpacing(GAP)
        for part in (head, line, self.words):
            layout.addWidget(part)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_key(self, key: Secret, name: str) -> None:
        """Show the key of a server; `name` is what it would be called in the keyring."""
        self.key, self._name = key, name
        self.title.setText(f"API key of {name}")
        self.field.setText(str(key))
        self.field.setCursorPosition(0)
        self.keep_button.setEnabled(True)
        self.words.setText("It is shown this once and kept nowhere. Clients send it as a bearer token.")
        self.show()
        self.copy_button.setFocus()

    def show_kept(self, where: str) -> None:
        """It is in the keyring now."""
        self.keep_button.setEnabled(False)
        self.words.setText(f"It is in {where} as {self._name}.")

    def forget(self) -> None:
        """Put it away."""
        self.key = None
        self.field.clear()
        self.hide()

    def _copy(self) -> None:
        if self.key is not None:
            QGuiApplication.clipboard().setText(str(self.key))
            self.copied.emit()

    def _keep(self) -> None:
        if self.key is not None:
            self.keep.emit(self._name)
