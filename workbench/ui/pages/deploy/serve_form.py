"""What a server is asked to be: address, port, key, model name, limits and runtime settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from workbench.core.errors import BadInputError
from workbench.core.report.words import number as written
from workbench.core.serving import ServeLimits
from workbench.serve.client import ServeRequest, checked_model
from workbench.serve.ports import PortUse, is_loopback
from workbench.toolchains.secrets import checked_variable
from workbench.ui.models.deploying import DeployEngine
from workbench.ui.models.serving import KeyChoice
from workbench.ui.pages.deploy.runtime import RuntimeFields
from workbench.ui.widgets.basics import GAP, MARGIN, button, label
from workbench.ui.widgets.fields import Field, Segments, SwitchField, grid_of, number, whole
from workbench.ui.widgets.fold import Fold

HERE, NETWORK = "127.0.0.1", "0.0.0.0"  # noqa: S104 - chosen by a person, and a key is asked for then
_MB = 1_000_000
_FIELD, _LABEL = 208, 88
_LIMITS = (
    ("body_bytes", "--body-mb", "Request body", "MB", "Larger bodies get 413", number(0.001, 1073)),
    ("active", "--max-active", "Active", "requests", "With the engine at once; others wait", whole(1, 100_000)),
    ("queue", "--queue", "Queue", "requests", "That may wait; further ones get 429", whole(0, 1_000_000)),
    ("queue_s", "--queue-seconds", "Longest wait", "s", "In the queue; then 429", number(0.1, 86_400)),
    ("connections", "--connections", "Connections", "open", "More are closed with 503", whole(1, 1_000_000)),
    ("idle_s", "--idle-seconds", "Idle", "s", "A connection that has not sent its request by then is closed",
     number(0.1, 3600)),
    ("write_s", "--write-seconds", "Unread", "s", "A client that leaves its answer unread so long is given up",
     number(0.1, 3600)),
    ("request_s", "--request-seconds", "Longest answer", "s", "Then it is ended", number(0.1, 86_400)),
    ("drain_s", "--drain-seconds", "Drain", "s", "How long answers go on once it is to stop", number(0, 3600)),
)  # fmt: skip
"""Field of ServeLimits, the command line's flag, title, unit, what it means."""


@dataclass(frozen=True)
class ServeValues:
    """What the form says."""

    host: str
    port: int
    model: str
    """Empty: made of the engine's name."""
    key: KeyChoice
    limits: ServeLimits
    overrides: tuple[str, ...]

    def request(self, engine: DeployEngine) -> ServeRequest:
        return ServeRequest(engine.path, self.model, self.host, self.port, self.limits, self.overrides)

    def command(self, engine: DeployEngine) -> tuple[str, ...]:
        """What does the same on the command line."""
        words = ["workbench", "serve", str(engine.path), "--port", str(self.port)]
        words += ["--host", self.host] if self.host != HERE else []
        words += ["--model", self.model] if self.model else []
        words += {
            "none": [],
            "new": ["--new-key"],
            "env": ["--api-key-env", self.key.name],
            "keyring": ["--api-key-keyring", self.key.name, *(["--new-key"] if self.key.new else [])],
        }[self.key.kind]
        plain = ServeLimits()
        for name, flag, _, _, _, _ in _LIMITS:
            value = getattr(self.limits, name)
            if value != getattr(plain, name):
                words += [flag, f"{value / _MB if name == 'body_bytes' else value:.10g}"]
        for item in self.overrides:
            words += ["--set", item]
        return (*words, "--detach")


_OPEN_TIP = "0.0.0.0: whoever reaches this machine; a key is required"


class ServeForm(QWidget):
    """`changed` is sent when a person changed something; `port_changed` when another port or address is asked for."""

    changed = Signal()
    port_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._no_network = ""
        """Why others must not reach it, by the settings; empty: they may."""
        self._new_for_network = False
        """Whether a new key was chosen only because others can reach it."""
        self.address = Segments(
            "Open to",
            (
                (HERE, "This machine", "127.0.0.1: nobody else can reach it"),
                (NETWORK, "This network", _OPEN_TIP),
            ),
        )
        self.free_button = button("", self._take_free, small=True, name="Take the next free port")
        self.free_button.hide()
        self._free: int | None = None
        self.port = Field("Port", whole(0, 65_535), hint="0: a free one", extra=(self.free_button,))
        self.port.set_text("8000")
        self.model = Field("Model name", checked_model, empty="the engine's", wide=True)
        self.key = Segments(
            "API key",
            (
                ("none", "None", "Whoever is on this machine may ask"),
                ("new", "New", "One is made, and shown once"),
                ("env", "Env", "Read from an environment variable of this program"),
                ("keyring", "Keyring", "Read from the system's keyring"),
            ),
        )
        self.variable = Field("Variable", checked_variable, wide=True, tip="Its name, not the key")
        self.entry = Field("Entry", str, wide=True, tip="Name under which the key stands in the keyring")
        self.new_entry = SwitchField("New key", "made now, and kept in that entry", on=False)
        self.variable.set_text("WORKBENCH_API_KEY")
        for field in (self.address, self.port, self.model, self.key, self.variable, self.entry, self.new_entry):
            field.label.setMinimumWidth(_LABEL)
        for field in (self.model, self.variable, self.entry):
            field.edit.setFixedWidth(_FIELD)
        self.port_note = label("", "error", wrap=True)
        self.port_note.hide()
        plain = ServeLimits()
        self.limits = {
            name: Field(title, read, unit=unit, tip=f"{tip}\n{flag}", empty=_usual(plain, name))
            for name, flag, title, unit, tip, read in _LIMITS
        }
        for field in self.limits.values():
            field.label.setMinimumWidth(_LABEL)
        self.runtime = RuntimeFields()
        self.limits_fold = Fold("Limits", self._inside(grid_of(*self.limits.values())), is_open=False)
        self.runtime_fold = Fold("Runtime", self._inside(self.runtime), is_open=False)
        self._lay_out()
        self.address.changed.connect(self._take_address)
        self.key.changed.connect(self._take_key)
        self.port.changed.connect(self._edited_port)
        for field in (self.model, self.variable, self.entry, self.new_entry, *self.limits.values()):
            field.changed.connect(self._edited)
        self.runtime.changed.connect(self._edited)
        self._show_use()

    @staticmethod
    def _inside(part: QWidget) -> QWidget:
        made = QWidget()
        layout = QVBoxLayout(made)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, 12)
        layout.addWidget(part)
        return made

    def _lay_out(self) -> None:
        card = QFrame()
        card.setProperty("surface", "card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(MARGIN, 12, MARGIN, 12)
        inside.setSpacing(GAP)
        inside.addWidget(label("OpenAI-compatible server", "name"))
        inside.addWidget(grid_of(self.address, self.port))
        inside.addWidget(self.port_note)
        inside.addWidget(grid_of(self.key, self.variable, self.entry, self.new_entry, self.model))
        more = QFrame()
        more.setProperty("surface", "card")
        folds = QVBoxLayout(more)
        folds.setContentsMargins(1, 0, 1, 6)
        folds.setSpacing(0)
        folds.addWidget(self.limits_fold)
        folds.addWidget(self.runtime_fold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(MARGIN)
        layout.addWidget(card)
        layout.addWidget(more)
        layout.addStretch(1)

    # -- what it says

    def values(self) -> ServeValues:
        """All of it. Raises ValueError with words for people; what is wrong is marked at its field."""
        fields = [self.port, self.model, *self.limits.values()]
        fields += [self.variable] if self.key.value == "env" else [self.entry] if self.key.value == "keyring" else []
        wrong = [words for field in fields if (words := field.check())]
        if any(field.problem.text() for field in self.limits.values()):
            self.limits_fold.set_open(True)
        if wrong:
            raise ValueError(wrong[0])
        if not is_loopback(self.address.value) and self._no_network:
            raise ValueError(self._no_network)
        if not is_loopback(self.address.value) and self.key.value == "none":
            raise ValueError("A server that others can reach needs an API key.")
        names = {"env": self.variable.text(), "keyring": self.entry.text()}
        kind: Any = self.key.value
        return ServeValues(
            self.address.value,
            self.port.value(),
            self.model.value() or "",
            KeyChoice(kind, names.get(kind, ""), kind == "keyring" and self.new_entry.on),
            self._limits(),
            self.runtime.overrides(),
        )

    def _limits(self) -> ServeLimits:
        typed = {name: value for name, field in self.limits.items() if (value := field.value()) is not None}
        if "body_bytes" in typed:
            typed["body_bytes"] = max(1024, int(typed["body_bytes"] * _MB))
        return ServeLimits(**typed)

    def asked_port(self) -> tuple[str, int] | None:
        """Address and port, where they can be read."""
        try:
            return self.address.value, int(self.port.value())
        except (ValueError, BadInputError):
            return None

    def show_port(self, use: PortUse | None) -> None:
        """Who has the port; None: nobody."""
        self.port_note.setVisible(use is not None)
        self.free_button.setVisible(use is not None and use.next_free is not None)
        self._free = use.next_free if use is not None else None
        if use is not None:
            self.port_note.setText(f"Port {use.port} is used by {use.who}.")
            self.free_button.setText(f"Take {use.next_free}")

    def show_network(self, no_network: str) -> None:
        """Whether others may reach it, by the settings: why not in words; empty: they may."""
        self._no_network = no_network
        self._show_use()

    def show_engine(self, engine: DeployEngine | None) -> None:
        """Settings of this engine."""
        self.runtime.show_engine(
            engine.built if engine is not None else None,
            engine.runtime_settings if engine is not None else frozenset(),
        )
        self.model.edit.setToolTip(f"Empty: {engine.model}" if engine is not None else "")
        self._say_changes()

    # -- a person changes it

    def _take_free(self) -> None:
        if self._free is not None:
            self.port.set_text(str(self._free))
            self._edited_port()

    def _take_address(self, host: str) -> None:
        if not is_loopback(host):
            self._new_for_network = self.key.value == "none"
            self.key.choose("new" if self._new_for_network else self.key.value)
        elif self._new_for_network and self.key.value == "new":
            self.key.choose("none")
        self._show_use()
        self.port_changed.emit()
        self.changed.emit()

    def _take_key(self, _: str) -> None:
        self._new_for_network = False
        self._show_use()
        self.changed.emit()

    def _edited_port(self) -> None:
        self.show_port(None)
        self.port_changed.emit()
        self.changed.emit()

    def _edited(self) -> None:
        self._say_changes()
        self.changed.emit()

    def _show_use(self) -> None:
        """Show the fields that count now."""
        open_here = is_loopback(self.address.value)
        self.address.set_able(NETWORK, not self._no_network, self._no_network or _OPEN_TIP)
        self.key.set_able("none", open_here, "" if open_here else "Others can reach it: a key is required")
        self.variable.set_shown(self.key.value == "env")
        self.entry.set_shown(self.key.value == "keyring")
        self.new_entry.set_shown(self.key.value == "keyring")

    def _say_changes(self) -> None:
        """How much differs from the defaults, beside the folds' names."""
        try:
            self._limits()
            changed = sum(bool(field.text()) for field in self.limits.values())
            self.limits_fold.summary.setText(f"{changed} changed" if changed else "as usual")
        except ValueError:
            self.limits_fold.summary.setText("something is wrong")
        try:
            items = self.runtime.overrides()
            self.runtime_fold.summary.setText(f"{len(items)} changed" if items else "as it was built")
        except ValueError:
            self.runtime_fold.summary.setText("something is wrong")

    # -- between starts

    def state(self) -> dict[str, Any]:
        return {
            "host": self.address.value,
            "port": self.port.text(),
            "model": self.model.text(),
            "key": self.key.value,
            "variable": self.variable.text(),
            "entry": self.entry.text(),
            "limits": {name: field.text() for name, field in self.limits.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.address.choose(str(state.get("host", HERE)))
        self.key.choose(str(state.get("key", "none")))
        if not is_loopback(self.address.value) and self.key.value == "none":
            self.key.choose("new")
        for name, field in (
            ("port", self.port), ("model", self.model), ("variable", self.variable), ("entry", self.entry),
        ):  # fmt: skip
            if isinstance(text := state.get(name), str):
                field.set_text(text)
        limits = state.get("limits")
        for name, text in limits.items() if isinstance(limits, dict) else ():
            if name in self.limits and isinstance(text, str):
                self.limits[name].set_text(text)
        self._show_use()
        self._say_changes()


def _usual(limits: ServeLimits, name: str) -> str:
    """The default, as it stands in the empty field."""
    value = getattr(limits, name)
    return written(value / _MB, 1) if name == "body_bytes" else written(value)
