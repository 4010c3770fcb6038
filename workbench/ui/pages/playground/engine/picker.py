"""Load, swap and unload engines: all that were built, with what is loaded now, and why one does not fit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.ui.models.engines import EngineRow, EngineRows, read_first_rows, read_rows
from workbench.ui.models.loading import LoadedEngine
from workbench.ui.models.room import MOST_ENGINES, EngineRoom, Loading
from workbench.ui.pages.playground.engine.faces import DEMO_TEXT, FailureText, LoadingCard
from workbench.ui.pages.playground.engine.rows import Now, PickModel, reason_against
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, EmptyState, button, label, row, set_sign, surface
from workbench.ui.widgets.list_dialog import ListDialog

_SIZE = (940, 540)
_NAME_CHARS = 24


def short_name(name: str) -> str:
    """A name for a button: its middle gives way."""
    if len(name) <= _NAME_CHARS:
        return name
    half = (_NAME_CHARS - 1) // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


class EnginePicker(ListDialog):
    """Closes when the engine that was asked for is loaded; closed before, loading goes on without it."""

    asked_demo = Signal()
    """The Build page was opened with the demo."""

    def __init__(self, session: Session, room: EngineRoom, parent: QWidget | None = None) -> None:
        super().__init__("Engines", "engine-picker", _SIZE, parent)
        self._session, self._room = session, room
        self._complete = False
        self._by_itself: Path | None = None
        """The engine that was chosen without being asked to."""
        self._loading_name = ""
        self._awaited = ""
        """Id of the engine whose loading is followed."""
        self.model = PickModel(self)
        self.make_list(
            self.model,
            EmptyState("Nothing was built yet.", DEMO_TEXT, "Build the demo engine", self._build_demo),
            name="Engines",
            hint="Search by name, model, precision, toolchain",
            search_name="Search the engines",
        )
        self.said = label("", "small", wrap=True, selectable=True)
        self.said.setAccessibleName("About the chosen engine")
        self.failure_name = label("", "name", wrap=True)
        self.failure = FailureText()
        self.failure_box = self._failure_box()
        self.loading = LoadingCard()
        self.unload = button("", self._unload)
        self.close_button = button("Close", self.reject)
        self.beside = button("", self._load_beside)
        self.instead_of_other = button("", self._load_instead_of_other)
        self.load = button("", self._load, primary=True)
        verbs = row(self.unload, None, self.close_button, self.beside, self.instead_of_other, self.load)
        self.lay_out(self.said, self.failure_box, self.loading, verbs)
        self.failure_box.hide()
        self.loading.hide()
        self.said.setMinimumWidth(100)  # a long path in it must not widen the dialog
        self.said.setMinimumHeight(self.said.fontMetrics().lineSpacing())
        self.table.doubleClicked.connect(lambda _: self._load() if self.load.isEnabled() else None)
        self.loading.stopped.connect(room.stop_loading)
        room.changed.connect(self._look_at_room)
        room.stepped.connect(self._look_at_room)
        room.failed.connect(self._fail)
        self._look_at_room()

    def _failure_box(self) -> QWidget:
        sign = label()
        set_sign(sign, "error", "err")
        box = surface("card")
        layout = QVBoxLayout(box)
        layout.setContentsMargins(12, 10, 12, 10)
        layout.setSpacing(GAP)
        head = row(sign, self.failure_name)
        head.layout().setStretch(1, 1)
        layout.addWidget(head)
        layout.addWidget(self.failure)
        return box

    # -- what is there

    def _shown(self) -> None:
        self.failure_box.hide()
        if self.model.rows:
            self.model.take(self.model.rows)  # what is loaded comes first
            self._choose_one()
        self.refresh()

    def refresh(self) -> None:
        """Read the engines again: first what the index remembers, then what the folders say."""
        home, identity = self._session.home, self._session.host.cpu_identity
        tasks = self._session.tasks
        if not self.model.rows:
            tasks.run(partial(read_first_rows, home), self._take, lambda _: None, key="engine-picker.first")
        tasks.run(lambda: read_rows(home, identity), self._take, self._fail_reading, key="engine-picker.rows")

    def _take(self, found: EngineRows) -> None:
        if not found.complete and (self._complete or not found.rows):
            return  # the folders were faster, or have to be looked at first
        self._complete = found.complete
        chosen: EngineRow | None = self.table.chosen()
        self.model.take(found.rows)
        self.show_list(bool(found.rows), self.empty.button or self.close_button)
        kept = chosen is not None and self.table.choose(lambda each: each.path == chosen.path)
        now: EngineRow | None = self.table.chosen()
        if not kept or (now is not None and now.path == self._by_itself and reason_against(now)):
            self._choose_one()  # what was chosen unasked turned out not to run
        self._show_choice()

    def _choose_one(self) -> None:
        """The engine that prompts go to, else the first that can be loaded."""
        current = self._room.current
        if current is not None and self.table.choose(lambda each: each.path == current.facts.path):
            return
        if not self.table.choose(lambda each: not reason_against(each)) and self.filter.rowCount():
            self.table.selectRow(0)
        chosen = self.table.chosen()
        self._by_itself = chosen.path if chosen is not None else None

    def _fail_reading(self, failure: Failure) -> None:
        self._show_failure("The engines could not be read", failure)

    # -- the room

    def _look_at_room(self) -> None:
        room, loading = self._room, self._room.loading
        if self._awaited and room.engine(self._awaited) is not None:
            self._awaited = ""
            if self.isVisible():
                self.accept()
        self._awaited = loading.id if loading is not None else ""
        self._loading_name = self._name_of(loading) if loading is not None else ""
        if loading is not None:
            self.loading.show_loading(replace(loading, name=self._loading_name))
        self.loading.setVisible(loading is not None)
        current = room.current
        self.model.show_now(
            Now(
                {one.facts.path: one.id for one in room.engines},
                current.facts.path if current is not None else None,
                loading.path if loading is not None else None,
            )
        )
        self._show_choice()

    def _name_of(self, loading: Loading) -> str:
        """An engine's name: the room knows the folder's alone until it has read it."""
        return next((each.name for each in self.model.rows if each.path == loading.path), loading.name)

    def _fail(self, name: str, failure: object) -> None:
        if isinstance(failure, Failure):
            self._awaited = ""
            self._show_failure(f"{self._loading_name or name} could not be loaded", failure)

    def _show_failure(self, title: str, failure: Failure) -> None:
        self.failure_name.setText(title)
        self.failure.show_failure(failure)
        self.failure_box.setAccessibleName(title)
        self.failure_box.show()

    # -- the chosen engine

    def _loaded(self, chosen: EngineRow | None) -> LoadedEngine | None:
        """The chosen engine where it is loaded."""
        return next((one for one in self._room.engines if chosen and one.facts.path == chosen.path), None)

    def _other(self) -> LoadedEngine | None:
        """The loaded engine that prompts do not go to."""
        return next((one for one in self._room.engines if one is not self._room.current), None)

    def _show_choice(self) -> None:
        chosen: EngineRow | None = self.table.chosen()
        mine, current, engines = self._loaded(chosen), self._room.current, self._room.engines
        reason = reason_against(chosen) if chosen is not None else ""
        idle = self._room.loading is None
        can = chosen is not None and not reason and idle
        if mine is not None:
            _say(self.load, "Talk to ", mine.name)
        elif current is not None:
            _say(self.load, "Load in place of ", current.name)
        else:
            _say(self.load, "Load", "")
        self.load.setVisible(idle and bool(self.model.rows))
        self.load.setEnabled(can or (mine is not None and idle))
        self.load.setDefault(True)
        room_left = len(engines) < MOST_ENGINES
        other = self._other()
        self.beside.setVisible(idle and current is not None and mine is None and room_left)
        self.beside.setEnabled(can)
        self.instead_of_other.setVisible(idle and other is not None and mine is None)
        self.instead_of_other.setEnabled(can)
        if current is not None:
            _say(self.beside, "Load beside ", current.name)
        if other is not None:
            _say(self.instead_of_other, "Load in place of ", other.name)
        leaving = mine or current
        self.unload.setVisible(leaving is not None and idle)
        if leaving is not None:
            _say(self.unload, "Unload ", leaving.name)
        if chosen is None and self.model.rows:
            self.said.setText("No engine has these words.")
        elif reason:
            self.said.setText(f"It cannot be loaded here: {reason}")
        else:
            remark = chosen.remark if chosen is not None and chosen.looked else ""
            self.said.setText(remark[:1].upper() + remark[1:])

    # -- verbs

    def _load(self) -> None:
        chosen: EngineRow | None = self.table.chosen()
        mine = self._loaded(chosen)
        if mine is not None:
            self._room.choose(mine.id)
            self.accept()
            return
        current = self._room.current
        self._begin(chosen, current.id if current is not None else "")

    def _load_beside(self) -> None:
        self._begin(self.table.chosen(), "")

    def _load_instead_of_other(self) -> None:
        other = self._other()
        self._begin(self.table.chosen(), other.id if other is not None else "")

    def _begin(self, chosen: EngineRow | None, instead_of: str) -> None:
        if chosen is not None and not reason_against(chosen) and self._room.loading is None:
            self.failure_box.hide()
            self._room.load(chosen.path, instead_of=instead_of)

    def _unload(self) -> None:
        leaving = self._loaded(self.table.chosen()) or self._room.current
        if leaving is not None:
            self._room.unload(leaving.id)
            self.search.setFocus()

    def _build_demo(self) -> None:
        self.reject()
        # The page first: it is made when it is first shown, and hears nothing before.
        self._session.events.show_page.emit("build")
        self._session.events.build_with.emit("demo", "")
        self.asked_demo.emit()


def _say(made: QPushButton, verb: str, name: str) -> None:
    """A button's words; its accessible name and tool tip have the whole name."""
    made.setText((verb + short_name(name)).replace("&", "&&"))
    made.setAccessibleName(verb + name)
    made.setToolTip(verb + name if short_name(name) != name else "")
