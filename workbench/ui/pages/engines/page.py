"""Engines: the table of all that was built, one in full below it, and what can be done with it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QItemSelectionModel, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QFileDialog, QPushButton, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.core.provenance_diff import Difference
from workbench.core.units import format_bytes
from workbench.store.notes import Note, write_note
from workbench.ui.bridge import Poll
from workbench.ui.models.engines import (
    EngineDetail,
    EngineRow,
    EngineRows,
    add_folder,
    fingerprint,
    move_to_trash,
    read_detail,
    read_differences,
    read_first_rows,
    read_rows,
)
from workbench.ui.pages.base import Page
from workbench.ui.pages.engines.detail import DetailPane
from workbench.ui.pages.engines.table import EnginesFilter, EnginesModel, EnginesTable
from workbench.ui.pages.engines.toolbar import EnginesBar
from workbench.ui.session import Session
from workbench.ui.widgets.basics import EmptyState, button, column, icon_button, rule, set_icon
from workbench.ui.widgets.delete_question import DeleteQuestion

LOOK_MS = 2000
"""How often the folders are looked at while the window is open; only `stat` calls."""

AFTER_PAINT_MS = 80
"""The folders are looked at so long after the engines that the index remembers are shown."""


_WORDS_FROM, _WORDS_OF_OTHERS, _WORDS_OF_FIRST = 1060, 900, 620
"""px of the page from which Rebuild and Reveal of the detail pane have words, those before them, and the first."""


class EnginesPage(Page):
    name, title, icon_name = "engines", "Engines", "engines"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.rows = EngineRows()
        self.detail: EngineDetail | None = None
        self._paths: tuple[Path, ...] = ()
        self._begun = self._closed = False
        # Read while the widgets are made.
        self._remembered: EngineRows | None = None
        nothing = EngineRows()
        session.tasks.run(partial(read_first_rows, session.home), self._remember, lambda _: self._remember(nothing))
        self._wanted = ""
        """Folder to choose once it is there."""
        self._question = DeleteQuestion(self)
        self.model = EnginesModel()
        self.filter = EnginesFilter(self.model)
        self.table = EnginesTable(self.filter)
        self.bar = EnginesBar()
        self._add_actions()
        self.pane = DetailPane(self._buttons(), self._copy_button(), self._save_note, session.tasks)
        self.pane.layers.copied.connect(self._say_copied)
        self.empty = EmptyState(
            "Nothing was built yet.",
            "The demo engine needs no GPU; its small model is fetched once.",
            "Build the demo engine",
            self._build_demo,
        )
        self._lay_out()
        self.bar.changed.connect(self._filter)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._choose())
        self._poll: Poll[tuple[object, ...]] = Poll(session.tasks, self._fingerprint, LOOK_MS, self)
        self._poll.answered.connect(lambda _: self._read())
        self._poll.failed.connect(session.notices.fail)
        self._choose()

    # -- frame

    def _lay_out(self) -> None:
        self.split = QSplitter(Qt.Orientation.Vertical)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.table.setMinimumHeight(130)
        self.pane.setMinimumHeight(260)
        self.split.addWidget(self.table)
        self.split.addWidget(self.pane)
        self.split.setSizes([420, 420])
        full = column(self.bar, rule(), self.split, gap=0)
        full.layout().setStretch(2, 1)
        self.stack = QStackedWidget()
        for widget in (QWidget(), self.empty, full):
            self.stack.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.stack)

    def _add_actions(self) -> None:
        for verb, words, do, icon_name in (
            ("prompt", "Load this engine in the playground", self.prompt, "playground"),
            ("compare", "Compare the chosen engines", self.compare, "compare"),
            ("bench", "Benchmark the chosen engines", self.bench, "benchmark"),
            ("deploy", "Deploy this engine", self.deploy, "deploy"),
            ("rebuild", "Rebuild this engine", self.rebuild, "refresh"),
            ("reveal", "Reveal this engine's folder", self.reveal, "folder"),
            ("delete", "Move this engine to the trash", self.ask_delete, "trash"),
            ("copy", "Copy this engine's provenance as JSON", self.copy_json, "copy"),
            ("add", "Add an engine folder", self.ask_folder, "plus"),
        ):
            self.session.actions.add(f"engines.{verb}", words, do, icon_name=icon_name, group="Engines:")

    def _buttons(self) -> list[QWidget]:
        self.prompt_button = button("Load in playground", self.prompt, icon_name="playground", primary=True)
        self.compare_button = button("Compare", self.compare, icon_name="compare")
        self.bench_button = button("Benchmark", self.bench, icon_name="benchmark")
        self.deploy_button = button("Deploy", self.deploy, icon_name="deploy", tip="Serve it, or export it")
        self.rebuild_button = button("Rebuild", self.rebuild, icon_name="refresh")
        self.reveal_button = button("Reveal", self.reveal, icon_name="folder", tip="Open the engine's folder")
        self.delete_button = icon_button("trash", "Move to the trash", self.ask_delete, flat=False)
        return [
            self.prompt_button, self.compare_button, self.bench_button, self.deploy_button, self.rebuild_button,
            self.reveal_button, self.delete_button,
        ]  # fmt: skip

    def _copy_button(self) -> QPushButton:
        self.copy_button = button(
            "Copy as JSON", self.copy_json, icon_name="copy", small=True, name="Copy the provenance as JSON"
        )
        self.copy_button.setProperty("flat", True)
        return self.copy_button

    def header_widgets(self) -> list[QWidget]:
        if not hasattr(self, "_header"):
            self._header: list[QWidget] = [
                button("Add folder", self.ask_folder, icon_name="folder", tip="An engine that stands elsewhere"),
                button("Build an engine", partial(self.session.events.show_page.emit, "build"), icon_name="build"),
            ]
        return self._header

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        width = event.size().width()
        for made, words, least in (
            (self.prompt_button, "Load in playground", _WORDS_OF_FIRST),
            (self.compare_button, "Compare", _WORDS_OF_OTHERS),
            (self.bench_button, "Benchmark", _WORDS_OF_OTHERS),
            (self.deploy_button, "Deploy", _WORDS_OF_OTHERS),
            (self.rebuild_button, "Rebuild", _WORDS_FROM),
            (self.reveal_button, "Reveal", _WORDS_FROM),
        ):
            if bool(made.text()) != (width >= least):
                made.setText(words if width >= least else "")
                set_icon(made, *made.property("icon_of")[:2])

    # -- what is there

    def opened(self) -> None:
        if self._begun:
            self._poll.now()
        self._begun = True
        self._show_remembered()

    def _remember(self, found: EngineRows) -> None:
        self._remembered = found
        if self._begun:
            self._show_remembered()

    def _show_remembered(self) -> None:
        """What the index remembers is shown at once; the folders, which may be many or far, are looked at after it."""
        found, self._remembered = self._remembered, None
        if found is None or self._closed:
            return
        if found.rows:
            self._take(found)
        # Only when that is painted: the two would hold each other up.
        QTimer.singleShot(AFTER_PAINT_MS if found.rows else 0, self, self._look)

    def _look(self) -> None:
        if not self._closed:
            self._choose_one()
            self._poll.now()

    def _choose_one(self) -> None:
        """Some engine is chosen whenever there is one."""
        if not self.table.current_rows() and self.filter.rowCount():
            self.table.selectRow(0)
        else:
            self._choose()

    def close_page(self) -> None:
        self._closed = True
        self.pane.files.flush()
        self._poll.stop()

    def state(self) -> dict[str, Any]:
        chosen = self.table.current_rows()
        return {
            "split": self.split.sizes(),
            "search": self.bar.search.text(),
            "only_here": self.bar.only_here.isChecked(),
            "layers": self.pane.wants_layers,
            "chosen": str(chosen[0].path) if chosen else "",
        }

    def restore(self, state: dict[str, Any]) -> None:
        sizes = state.get("split")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(one, int) and one > 0 for one in sizes):
            self.split.setSizes(sizes)
        self.bar.search.setText(str(state.get("search", "")))
        self.bar.only_here.setChecked(bool(state.get("only_here", False)))
        self.pane.want_layers(bool(state.get("layers", False)))
        self._wanted = str(state.get("chosen", ""))

    def show_engine(self, folder: str) -> None:
        """Choose an engine by its folder, now or once it is known."""
        self._wanted = folder
        self._choose_wanted()

    def _fingerprint(self) -> tuple[object, ...]:
        return fingerprint(self.session.home, self._paths)

    def _read(self) -> None:
        home, identity = self.session.home, self.session.host.cpu_identity
        self.session.tasks.run(
            lambda: read_rows(home, identity), self._take, self.session.notices.fail, key="engines.rows"
        )

    def _take(self, found: EngineRows) -> None:
        if found.notice:
            self.session.notices.say("warning", found.notice)
        if found.notes_problem and found.notes_problem != self.rows.notes_problem:
            self.session.notices.say("warning", found.notes_problem)
        if found == self.rows and self.stack.currentIndex() > 0 and not self._wanted:
            return
        chosen = [row.path for row in self.table.current_rows()]
        self.rows = found
        self._paths = tuple(row.path for row in found.rows)
        self.model.take(found.rows)
        self.bar.offer(found.rows)
        self._filter()
        self.table.measure()
        first = self.stack.currentIndex() != 2
        self.stack.setCurrentIndex(2 if found.rows else 1)
        if first and self.isVisible():
            (self.table if found.rows else self.empty.button or self).setFocus()
        self._select(chosen)
        self._choose_wanted()
        if found.complete:
            self._choose_one()
            self.session.events.engines_changed.emit(found)

    def _filter(self) -> None:
        self.filter.ask(**self.bar.asked())
        self.bar.say_count(self.filter.rowCount(), self.rows)

    def _select(self, paths: list[Path]) -> None:
        """Choose rows again that a reset of the model lost."""
        if [row.path for row in self.table.current_rows()] == paths:
            return
        selection = self.table.selectionModel()
        flags = QItemSelectionModel.SelectionFlag
        for number in range(self.filter.rowCount()):
            index = self.filter.index(number, 0)
            row = self.model.rows[self.filter.mapToSource(index).row()]
            if row.path in paths:
                selection.select(index, flags.Select | flags.Rows)

    def _choose_wanted(self) -> None:
        for number, row in enumerate(self.model.rows):
            if self._wanted and str(row.path) == self._wanted:
                index = self.filter.mapFromSource(self.model.index(number, 0))
                if index.isValid():
                    self.table.selectRow(index.row())
                    self.table.scrollTo(index)
                    self._wanted = ""

    # -- what is chosen

    def _choose(self) -> None:
        rows = self.table.current_rows()
        one = rows[0] if len(rows) == 1 else None
        for widget in (self.reveal_button, self.delete_button, self.copy_button):
            widget.setEnabled(one is not None)
        for verb in ("reveal", "delete", "copy"):
            self.session.actions[f"engines.{verb}"].setEnabled(one is not None)
        own = one is not None and not one.shared
        self.delete_button.setEnabled(own)
        self.delete_button.setToolTip(
            f"It stands in the shared folder {one.shared} and is not changed from here"
            if one is not None and one.shared
            else "Move to the trash"
        )
        self.session.actions["engines.delete"].setEnabled(own)
        usable = one is not None and one.usable
        self.prompt_button.setEnabled(usable)
        self.prompt_button.setToolTip("Load in playground" if one is None or usable else one.missing or one.remark)
        self.session.actions["engines.prompt"].setEnabled(usable)
        self.compare_button.setEnabled(bool(rows))
        self.compare_button.setToolTip("Open Compare with the chosen engines, the first the baseline" if rows else "")
        self.session.actions["engines.compare"].setEnabled(bool(rows))
        can_run = bool(rows) and all(each.usable for each in rows)
        self.bench_button.setEnabled(can_run)
        self.bench_button.setToolTip(
            "Open Benchmark with the chosen engines" if can_run else "Not all of them run here" if rows else ""
        )
        self.session.actions["engines.bench"].setEnabled(can_run)
        whole = one is not None and not one.missing
        self.deploy_button.setEnabled(whole)
        self.session.actions["engines.deploy"].setEnabled(whole)
        again = one is not None and bool(one.preset_id)
        self.rebuild_button.setEnabled(again)
        self.session.actions["engines.rebuild"].setEnabled(again)
        self.rebuild_button.setToolTip(
            "Go to Build with its preset and model" if again else "Its provenance names no preset" if one else ""
        )
        home = self.session.home
        if one is not None:
            self.session.tasks.run(partial(read_detail, home, one), self._show, self._lost, key="engines.detail")
        elif len(rows) == 2:
            first, second = rows
            self.session.tasks.run(
                partial(read_differences, first.path, second.path),
                lambda found: self._show_two(found, first, second),
                self._lost,
                key="engines.detail",
            )
        else:
            self.detail = None
            self.session.tasks.run(lambda: None, key="engines.detail")  # what was asked before is not wanted now
            self.pane.show_nothing(f"{len(rows)} engines chosen" if rows else "")

    def _show(self, detail: EngineDetail) -> None:
        if detail == self.detail and self.pane.shows == "one":
            return  # what was unfolded, searched or scrolled stays
        self.detail = detail
        self.pane.show_detail(detail)

    def _show_two(self, found: tuple[Difference, ...], first: EngineRow, second: EngineRow) -> None:
        self.detail = None
        self.pane.show_differences(found, first, second)

    def _lost(self, failure: Failure) -> None:
        self.detail = None
        self.pane.show_nothing(failure.what)
        self._poll.now()

    # -- verbs

    def _one(self) -> EngineRow | None:
        rows = self.table.current_rows()
        return rows[0] if len(rows) == 1 else None

    def _build_demo(self) -> None:
        # The page first: it is made when it is first shown, and hears nothing before.
        self.session.events.show_page.emit("build")
        self.session.events.build_with.emit("demo", "")

    def prompt(self) -> None:
        """Load it in the playground, in the place of what is loaded there."""
        if (row := self._one()) is not None and row.usable:
            # The page first: it is made when it is first shown, and hears nothing before.
            self.session.events.show_page.emit("playground")
            self.session.events.prompt_with.emit(str(row.path))

    def compare(self) -> None:
        """Open Compare with the chosen engines, the first of them the baseline."""
        if rows := self.table.current_rows():
            # The page first: it is made when it is first shown, and hears nothing before.
            self.session.events.show_page.emit("compare")
            self.session.events.compare_with.emit(tuple(row.path for row in rows))

    def bench(self) -> None:
        """Open Benchmark with the chosen engines."""
        rows = self.table.current_rows()
        if rows and all(each.usable for each in rows):
            # The page first: it is made when it is first shown, and hears nothing before.
            self.session.events.show_page.emit("benchmark")
            self.session.events.bench_with.emit(tuple(row.path for row in rows))

    def deploy(self) -> None:
        """Open Deploy with it: one that does not run here can still be exported."""
        if (row := self._one()) is not None and not row.missing:
            # The page first: it is made when it is first shown, and hears nothing before.
            self.session.events.show_page.emit("deploy")
            self.session.events.deploy_with.emit(str(row.path))

    def rebuild(self) -> None:
        """Go to Build with the preset and the model that it was built from."""
        if (row := self._one()) is not None and row.preset_id:
            self.session.events.show_page.emit("build")
            self.session.events.build_with.emit(row.preset_id, row.model_path)

    def reveal(self) -> None:
        """Open the folder in the system's file manager."""
        row = self._one()
        if row is not None and not QDesktopServices.openUrl(QUrl.fromLocalFile(str(row.path))):
            self.session.notices.say("warning", "No program here opens folders.", str(row.path))

    def copy_json(self) -> None:
        """The whole provenance on the clipboard."""
        if self.detail is not None:
            data = {"path": str(self.detail.row.path), **self.detail.provenance.model_dump(mode="json")}
            QGuiApplication.clipboard().setText(json.dumps(data, indent=2, ensure_ascii=False))
            self.session.notices.say("ok", f"The provenance of {self.detail.row.name} is on the clipboard.")

    def _say_copied(self, count: int) -> None:
        self.session.notices.say("ok", f"{count:,} layer{'' if count == 1 else 's'} are on the clipboard.")

    def ask_delete(self) -> None:
        """Ask, then move the engine to the trash."""
        row = self._one()
        if row is not None:
            self._question.ask(
                "Move to the trash",
                f"Move {row.name} to the trash?",
                f"{row.path}\n{format_bytes(row.size_bytes)}; files that other artefacts share stay on the disk.",
                "Move to the trash",
                partial(self._delete, row),
            )

    def _delete(self, row: EngineRow) -> None:
        home = self.session.home

        def done(place: str) -> None:
            self.session.notices.say("ok", f"{row.name} is {place}.")
            self._poll.now()

        self.session.tasks.run(lambda: move_to_trash(home, row), done, self.session.notices.fail)

    def ask_folder(self) -> None:
        """Choose a folder that holds an engine and make it known."""
        dialog = QFileDialog(self, "Folder of an engine")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.add_folder)
        dialog.open()

    def add_folder(self, folder: str) -> None:
        """Make an engine from elsewhere known to the store, and choose it."""
        home = self.session.home

        def done(name: str) -> None:
            self._wanted = folder
            self.session.notices.say("ok", f"{name} was added.")
            self._read()

        self.session.tasks.run(lambda: add_folder(home, Path(folder)), done, self.session.notices.fail)

    def _save_note(self, key: str, note: Note) -> None:
        home = self.session.home
        self.session.tasks.run(lambda: write_note(home, key, note), None, self.session.notices.fail)
