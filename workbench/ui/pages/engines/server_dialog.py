"""Add a server that somebody else runs: then it stands among the engines, to be talked to, measured and compared."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QLineEdit, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.toolchains.endpoint.folder import checked_name
from workbench.toolchains.secrets import Secret, checked_key, checked_variable
from workbench.ui.models.adding import NewServer, add_server, check_url, key_in_the_open
from workbench.ui.session import Session
from workbench.ui.widgets.basics import MARGIN, button, label, row
from workbench.ui.widgets.fields import Field, Segments, grid_of

_APIS = (
    ("chat", "Chat", "Benchmarks use /v1/chat/completions."),
    ("completions", "Completions", "Benchmarks send plain prompts to /v1/completions."),
    ("triton", "Triton", "Triton's own generate_stream, such as of tensorrt_llm_bls; the URL is without /v1."),
)
_KEYS = (
    ("none", "None", "It wants no key."),
    ("env", "Env", "An environment variable holds it."),
    ("keyring", "Keyring", "It is kept in the system's keyring."),
)
_MODEL_CHARACTERS = 500


class ServerDialog(QDialog):
    """`added` gives the folder of the new endpoint."""

    added = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Add a server")
        self.setObjectName("add-server")
        self.setModal(True)
        self._session = session
        self.name = Field("Name", checked_name, tip="What to call it here.", wide=True)
        self.url = Field("URL", check_url, tip="Such as http://box:8000/v1.", wide=True)
        self.model = Field("Model", _model, tip="As the server's model list names it.", wide=True)
        self.api = Segments("API", _APIS)
        self.key = Segments("API key", _KEYS)
        self.variable = Field("Variable", checked_variable, tip="Its name, not the key.", wide=True)
        self.secret = Field("Key", checked_key, tip="Never written to a file.", wide=True)
        self.secret.edit.setEchoMode(QLineEdit.EchoMode.Password)
        self.name.edit.setPlaceholderText("box-vllm")
        self.url.edit.setPlaceholderText("http://box:8000/v1")
        self.fields = (self.name, self.url, self.model, self.variable, self.secret)
        self.open_key = label(
            "The key goes to another machine over plain http, where it can be read on the way.", "hint", wrap=True
        )
        self.said = label("", "error", wrap=True)
        self.said.setAccessibleName("Why it was not added")
        self.close_button = button("Cancel", self.reject)
        self.add = button("Add", self._add, primary=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(12)
        layout.addWidget(label("vLLM, trtllm-serve, NIM, llama.cpp: whatever speaks OpenAI's API; or Triton.", "small"))
        layout.addWidget(grid_of(self.name, self.url, self.model, self.api, self.key, self.variable, self.secret))
        layout.addWidget(self.open_key)
        layout.addWidget(self.said)
        layout.addStretch(1)
        layout.addWidget(row(None, self.close_button, self.add))
        self.setMinimumWidth(520)
        self.key.changed.connect(lambda _: self._show_key())
        self.api.changed.connect(lambda _: self._show_api())
        for field in self.fields:
            field.edit.textEdited.connect(lambda _: self.said.setText(""))
        self.url.edit.textEdited.connect(lambda _: self._show_key())
        self._show_key()

    def ask(self) -> None:
        """Open it, empty."""
        for field in self.fields:
            field.set_text("")
            field.problem.hide()
        self.said.setText("")
        self._show_key()
        self.add.setEnabled(True)
        self.name.edit.setFocus()
        self.open()

    def _show_key(self) -> None:
        self.variable.set_shown(self.key.value == "env")
        self.secret.set_shown(self.key.value == "keyring")
        self.open_key.setVisible(self.key.value != "none" and key_in_the_open(self.url.text()))

    def _show_api(self) -> None:
        triton = self.api.value == "triton"
        self.url.edit.setPlaceholderText("http://box:8000" if triton else "http://box:8000/v1")
        self.model.edit.setPlaceholderText("tensorrt_llm_bls" if triton else "")

    def _add(self) -> None:
        if any([field.check() for field in self.fields]):
            return
        wanted = NewServer(
            name=self.name.text(),
            url=self.url.text(),
            model=self.model.text(),
            api=self.api.value,
            key_from=self.key.value,
            variable=self.variable.text(),
            key=Secret(self.secret.text()) if self.key.value == "keyring" else None,
        )
        self.add.setEnabled(False)
        home = self._session.home
        self._session.tasks.run(lambda: add_server(home, wanted), self._added, self._failed, key="add-server")

    def _added(self, folder: Path) -> None:
        self.secret.set_text("")
        self.accept()
        self.added.emit(folder)

    def _failed(self, failure: Failure) -> None:
        self.add.setEnabled(True)
        self.said.setText(" ".join(failure.lines()))


def _model(text: str) -> str:
    if len(text) > _MODEL_CHARACTERS:
        raise ValueError("That is no model's name.")
    return text
