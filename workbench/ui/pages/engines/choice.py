"""Choose engines and endpoints to measure: all that are there, several at once."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from PySide6.QtCore import QItemSelection, QItemSelectionModel, Signal
from PySide6.QtWidgets import QTableView, QWidget

from workbench.core.errors import Failure
from workbench.ui.models.engines import EngineRow, EngineRows, read_first_rows, read_rows
from workbench.ui.pages.engines.server_dialog import ServerDialog
from workbench.ui.pages.playground.engine.rows import PickModel, reason_against
from workbench.ui.session import Session
from workbench.ui.widgets.basics import EmptyState, button, label, row
from workbench.ui.widgets.list_dialog import ListDialog
from workbench.ui.widgets.list_table import ROW_ROLE

_SIZE = (940, 540)


class EngineChoice(ListDialog):
    """`chosen` is sent with the rows that were chosen, a tuple of EngineRow; those that cannot run are not in it."""

    chosen = Signal(object)

    def __init__(
        self, session: Session, parent: QWidget | None = None, verb: str = "Add", *, any_engine: bool = False
    ) -> None:
        """`any_engine`: those that do not run here can be chosen too."""
        super().__init__("Engines and endpoints", "engine-choice", _SIZE, parent)
        self._session, self._verb, self._any = session, verb, any_engine
        self._taken: frozenset[Path] = frozenset()
        self._most = 6
        self._complete = False
        self._wanted = Path()
        """A server that was just added: it is marked once it is listed."""
        self.model = PickModel(self)
        self.make_list(
            self.model,
            EmptyState(
                "Nothing was built yet.",
                "The demo engine needs no GPU; its small model is fetched once. A server that runs elsewhere can be "
                "added below.",
                "Build the demo engine",
                self._build_demo,
            ),
            name="Engines and endpoints",
            hint="Search by name, model, precision, toolchain",
            search_name="Search the engines",
        )
        self.table.setSelectionMode(QTableView.SelectionMode.ExtendedSelection)
        self.said = label("", "small", wrap=True)
        self.said.setMinimumWidth(100)
        self.said.setMinimumHeight(self.said.fontMetrics().lineSpacing())
        self.said.setAccessibleName("About the choice")
        self.close_button = button("Close", self.reject)
        self.add = button(verb, self._add, primary=True)
        self.server: ServerDialog | None = None
        self.add_server = button("Add a server…", self._ask_server, icon_name="plus")
        if any_engine:
            self.add_server.hide()  # an engine's own files are wanted, and a server has none
        self.lay_out(self.said, row(self.add_server, None, self.close_button, self.add))
        self.table.doubleClicked.connect(lambda _: self._add() if self.add.isEnabled() else None)

    def ask(self, taken: Collection[Path], most: int) -> None:
        """Open it; `taken` are chosen already, and at most so many more may be."""
        self._taken, self._most = frozenset(taken), most
        self.open()

    def rows(self) -> tuple[EngineRow, ...]:
        """Those that are marked and can be added."""
        marked = sorted(self.table.selectionModel().selectedRows(), key=lambda index: index.row())
        found: list[EngineRow] = [index.data(ROW_ROLE) for index in marked]
        return tuple(one for one in found if not self._against(one))

    def _against(self, one: EngineRow) -> str:
        if one.path in self._taken:
            return "It is chosen already."
        return "" if self._any else reason_against(one)

    # -- what is there

    def _shown(self) -> None:
        home, identity, tasks = self._session.home, self._session.host.cpu_identity, self._session.tasks
        if not self.model.rows:
            tasks.run(partial(read_first_rows, home), self._take, lambda _: None, key="engine-choice.first")
        tasks.run(lambda: read_rows(home, identity), self._take, self._fail, key="engine-choice.rows")
        self._choose_one()
        self._show_choice()

    def _take(self, found: EngineRows) -> None:
        if not found.complete and (self._complete or not found.rows):
            return
        self._complete = found.complete
        marked = {one.path for one in self.rows()}
        if any(one.path == self._wanted for one in found.rows):
            marked.add(self._wanted)
            self._wanted = Path()
        self.model.take(found.rows)
        self.show_list(bool(found.rows), self.empty.button or self.close_button)
        if not self._mark(marked):
            self._choose_one()
        self._show_choice()

    def _mark(self, paths: Collection[Path]) -> bool:
        """Mark all of these; whether there is one."""
        found = QItemSelection()
        for index in (self.filter.index(number, 0) for number in range(self.filter.rowCount())):
            if index.data(ROW_ROLE).path in paths:
                found.select(index, index)
        if found.isEmpty():
            return False
        how = QItemSelectionModel.SelectionFlag
        self.table.selectionModel().select(found, how.ClearAndSelect | how.Rows)
        self.table.scrollTo(found.indexes()[0])
        return True

    def _fail(self, failure: Failure) -> None:
        self.said.setText(f"The engines could not be read: {failure.what}")

    def _choose_one(self) -> None:
        if not self.table.choose(lambda each: not self._against(each)) and self.filter.rowCount():
            self.table.selectRow(0)

    def _show_choice(self) -> None:
        rows = self.rows()
        marked = [index.data(ROW_ROLE) for index in self.table.selectionModel().selectedRows()]
        words = next((words for one in marked if (words := self._against(one))), "")
        if len(rows) > self._most:
            words = f"At most {self._most} more can be added."
        self.said.setText(words)
        self.add.setEnabled(0 < len(rows) <= self._most)
        self.add.setText(f"{self._verb} {len(rows)}" if len(rows) > 1 else self._verb)

    def _add(self) -> None:
        rows = self.rows()
        if 0 < len(rows) <= self._most:
            self.accept()
            self.chosen.emit(rows)

    def _ask_server(self) -> None:
        if self.server is None:
            self.server = ServerDialog(self._session, self)
            self.server.added.connect(self._server_added)
        self.server.ask()

    def _server_added(self, folder: Path) -> None:
        self._wanted = folder
        self._shown()

    def _build_demo(self) -> None:
        self.reject()
        self._session.events.show_page.emit("build")
        self._session.events.build_with.emit("demo", "")
