"""Deploy: an engine that others can call: a server here, a Triton repository, or a folder that runs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QStackedWidget, QWidget

from workbench.core.errors import BadInputError, Failure
from workbench.serve.client import network_refusal
from workbench.serve.ports import PortUse
from workbench.ui.bridge import Poll
from workbench.ui.models.deploying import DeployEngine, read_deploy_engine
from workbench.ui.models.engines import EngineRow
from workbench.ui.models.exporting import Exporting
from workbench.ui.models.serving import Servers, ServerView, Started, look_at_port, read_server, read_servers
from workbench.ui.pages.base import Page
from workbench.ui.pages.deploy.baseline import BaselineChoice
from workbench.ui.pages.deploy.export_pane import ExportPane
from workbench.ui.pages.deploy.key_box import KeyBox
from workbench.ui.pages.deploy.launch_form import LaunchForm
from workbench.ui.pages.deploy.left import LAUNCH, NARROW, SERVE, TRITON, WAYS, WIDTH, Left
from workbench.ui.pages.deploy.serve_form import ServeForm
from workbench.ui.pages.deploy.server_view import ServerPane
from workbench.ui.pages.deploy.servers import ServersTable
from workbench.ui.pages.deploy.serving_verbs import ServingVerbs
from workbench.ui.pages.deploy.triton_form import TritonForm
from workbench.ui.pages.engines.choice import EngineChoice
from workbench.ui.pages.playground.engine.faces import FailureText
from workbench.ui.session import Session
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import EmptyState, button, column, label, rule
from workbench.ui.widgets.failure import failure_card

LOOK_MS = 1000
"""How often the servers' folders are read while the page is shown."""
HIDDEN_MS = 5000
_PORT_MS = 300
_ROOMY = 1240
_NO_SERVER = "Start a server at the left, or with `workbench serve` in a terminal: both are listed here."


class DeployPage(Page):
    name, title, icon_name = "deploy", "Deploy", "deploy"
    with_monitor = False

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.engine: DeployEngine | None = None
        self._path: Path | None = None
        self._servers = Servers()
        self._closed = False
        self.serve, self.triton, self.launch = ServeForm(), TritonForm(), LaunchForm()
        self.left = Left({SERVE: self.serve, TRITON: self.triton, LAUNCH: self.launch})
        self.verbs = ServingVerbs(session, self)
        self.choice = EngineChoice(session, self, "Choose", any_engine=True)
        self.runs = BaselineChoice(session, self)
        self.exports = {kind: Exporting(session, kind, self) for kind in (TRITON, LAUNCH)}
        self.panes = {kind: ExportPane(session, model) for kind, model in self.exports.items()}
        self.table, self.pane, self.key_box = ServersTable(), ServerPane(session), KeyBox()
        self._key_of: Path | None = None
        """The server whose key is shown."""
        self._failure_name = label("", "name", wrap=True)
        self._failure = FailureText()
        self.failure_box = failure_card(self._failure_name, self._failure, self._explain)
        self._lay_out()
        self._port_timer = QTimer(self)
        self._port_timer.setSingleShot(True)
        self._port_timer.setInterval(_PORT_MS)
        self._port_timer.timeout.connect(self._look_at_port)
        self._poll: Poll[tuple[Servers, ServerView | None]] = Poll(session.tasks, self._ask, LOOK_MS, self)
        self._wire()
        self._add_actions()
        self._show_way(SERVE)

    # -- frame

    def _lay_out(self) -> None:
        self.split = QSplitter(Qt.Orientation.Vertical)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.table.setMinimumHeight(96)
        self.pane.setMinimumHeight(280)
        self.split.addWidget(self.table)
        self.split.addWidget(self.pane)
        self.split.setStretchFactor(1, 1)
        self.split.setSizes([170, 640])
        self.empty = EmptyState("No server was started yet.", _NO_SERVER)
        self.servers_stack = QStackedWidget()
        for face in (QWidget(), self.empty, self.split):
            self.servers_stack.addWidget(face)
        boxes = column(self.failure_box, self.key_box, gap=0)
        serving = column(boxes, self.servers_stack, gap=0)
        serving.layout().setStretch(1, 1)
        self.right = QStackedWidget()
        self.faces: dict[str, QWidget] = {SERVE: serving, TRITON: self.panes[TRITON], LAUNCH: self.panes[LAUNCH]}
        for way, _, _ in WAYS:
            self.right.addWidget(self.faces[way])
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.left)
        layout.addWidget(rule(vertical=True))
        layout.addWidget(self.right, 1)

    def _wire(self) -> None:
        say = partial(self.session.notices.say, "ok")
        self.left.engine.asked.connect(self.ask_engine)
        self.left.way_changed.connect(self._show_way)
        self.left.started.connect(self.start)
        self.left.copied.connect(say)
        self.choice.chosen.connect(self._take_rows)
        for form in (self.serve, self.triton, self.launch):
            form.changed.connect(self._look)
        self.serve.port_changed.connect(self._ask_port)
        self.triton.baseline_asked.connect(self._ask_baseline)
        self.runs.chosen.connect(self.triton.take_baseline)
        for pane in self.panes.values():
            pane.said.connect(say)
            pane.folder_changed.connect(self._show_export_command)
            pane.model.refused.connect(partial(self._export_refused, pane.model.kind))
        self.table.picked.connect(lambda _: self._poll.now() if not self._closed else None)
        self.pane.asked.connect(self._do)
        self._poll.answered.connect(lambda found: self._take(*found))
        self._poll.failed.connect(self.session.notices.fail)
        self.verbs.started.connect(self._started)
        self.verbs.failed.connect(self._not_started)
        self.verbs.changed.connect(self._poll.now)
        self.verbs.kept.connect(self._key_kept)
        self.key_box.copied.connect(partial(say, "The API key is on the clipboard."))
        self.key_box.keep.connect(self._keep_key)
        self.session.events.deploy_with.connect(self.take_path)
        theme().changed.connect(self.pane.recolour)

    def _add_actions(self) -> None:
        for verb, words, do, icon_name in (
            ("engine", "Choose the engine to deploy", self.ask_engine, "engines"),
            ("serve", "Serve here", partial(self.left.choose_way, SERVE), "play"),
            ("triton", "Export a Triton model repository", partial(self.left.choose_way, TRITON), "export"),
            ("launch", "Export a launch folder", partial(self.left.choose_way, LAUNCH), "export"),
            ("start", "Start the server", self.start, "play"),
            ("stop", "Stop the chosen server", partial(self._do, "stop"), "stop"),
            ("curl", "Copy a curl command for the chosen server", partial(self._do, "curl"), "copy"),
            ("openai", "Copy an openai snippet for the chosen server", partial(self._do, "openai"), "copy"),
        ):
            self.session.actions.add(
                f"deploy.{verb}", words, partial(self._from_anywhere, do), icon_name=icon_name, group="Deploy:"
            )

    def _from_anywhere(self, do: Callable[[], None]) -> None:
        self.session.events.show_page.emit("deploy")
        do()

    def header_widgets(self) -> list[QWidget]:
        if not hasattr(self, "_header"):
            show = self.session.events.show_page.emit
            self._header: list[QWidget] = [button("Engines", partial(show, "engines"), icon_name="engines")]
        return self._header

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.left.setFixedWidth(WIDTH if self.width() >= _ROOMY else NARROW)

    # -- the engine

    def ask_engine(self) -> None:
        """Choose the engine."""
        self.choice.ask(() if self._path is None else (self._path,), 1)

    def _ask_baseline(self) -> None:
        if self._path is None:
            self.session.notices.say("info", "Choose an engine first: its own runs are listed.")
        else:
            self.runs.ask_for(self._path, self.triton.baseline.text())

    def _take_rows(self, rows: Sequence[EngineRow]) -> None:
        if rows:
            self.take_path(str(rows[0].path), rows[0].name)

    def take_path(self, path: str, name: str = "") -> None:
        """Deploy this engine, by its folder."""
        self._path = Path(path)
        self.engine = None
        self.left.engine.show_loading(self._path, name)
        self._look()
        home, folder = self.session.home, self._path
        self.session.tasks.run(
            lambda: read_deploy_engine(home, folder, name), self._take_engine, self._lost_engine, key="deploy.engine"
        )

    def _take_engine(self, engine: DeployEngine) -> None:
        self.engine = engine
        self.left.engine.show_engine(engine)
        self.serve.show_engine(engine)
        self.launch.show_engine(engine)
        self._look()

    def _lost_engine(self, failure: Failure) -> None:
        self._path = None
        self.left.engine.show_nothing()
        self.session.notices.fail(failure)
        self._look()

    # -- the form

    def _show_way(self, way: str) -> None:
        self.right.setCurrentWidget(self.faces[way])
        self.say_subtitle(next(words for one, words, _ in WAYS if one == way))
        self._look()

    def _look(self) -> None:
        """Say what would be done now; an export is made and checked anew."""
        way = self.left.way
        if way == SERVE:
            self._look_serve()
        else:
            self._look_export(way)

    def _look_serve(self) -> None:
        engine = self.engine
        try:
            values = self.serve.values()
        except ValueError as error:
            self.left.show_problem(str(error))
            return
        if engine is None:
            words = "Choose an engine first." if self._path is None else "Looking at the engine …"
            self.left.show_problem(words)
        elif engine.start_failure is not None:
            self.left.show_problem(f"{engine.start_failure.what} {engine.start_failure.fix}".strip())
        else:
            self.left.show_command(values.command(engine))
            self.left.show_starting(self.verbs.starting)

    def _look_export(self, way: str) -> None:
        engine, pane, model = self.engine, self.panes[way], self.exports[way]
        form = self.triton if way == TRITON else self.launch
        words = self._cannot_export(engine)
        if words or engine is None:
            model.look(None)
            pane.show_words(words)
            self.left.show_command(())
            return
        try:
            make = form.maker(self.session.home, engine.path)
        except (ValueError, BadInputError) as error:
            words = error.what if isinstance(error, BadInputError) else str(error)
            model.look(None)
            pane.show_problem(words)
            self.left.show_problem(words)
            return
        pane.show_looking()
        model.look(make)
        self.left.show_command(self._export_command(way, engine))

    def _export_refused(self, way: str, _: Failure) -> None:
        """It cannot be exported at all: no command does so either."""
        if way == self.left.way:
            self.left.show_command(())

    def _show_export_command(self) -> None:
        """Another folder is named: the command names it too."""
        way, engine = self.left.way, self.engine
        if way == SERVE or engine is None or self.left.problem.text() or self._cannot_export(engine):
            return
        if self.panes[way].refused:
            return
        try:
            self.left.show_command(self._export_command(way, engine))
        except ValueError as error:
            self.left.show_problem(str(error))

    def _export_command(self, way: str, engine: DeployEngine) -> tuple[str, ...]:
        form, pane = self.triton if way == TRITON else self.launch, self.panes[way]
        link = ("--link",) if pane.link.isChecked() else ()
        return (*form.command(engine.path, pane.asked_out), *link)

    def _cannot_export(self, engine: DeployEngine | None) -> str:
        if engine is None:
            return "Choose an engine first." if self._path is None else "Looking at the engine …"
        if engine.endpoint:
            return "An endpoint runs elsewhere already: there is no engine here to export."
        return ""

    def _ask_port(self) -> None:
        self._port_timer.start()

    def _look_at_port(self) -> None:
        asked = self.serve.asked_port()
        if asked is None:
            self.serve.show_port(None)
            return

        def show(use: PortUse | None) -> None:
            if asked == self.serve.asked_port():
                self.serve.show_port(use)

        self.session.tasks.run(
            partial(look_at_port, self.session.home, *asked), show, lambda _: None, key="deploy.port"
        )

    # -- servers

    def start(self) -> None:
        """Start the server that the form asks for."""
        engine = self.engine
        if engine is None or not self.left.start.isEnabled() or self.left.way != SERVE:
            return
        try:
            values = self.serve.values()
        except ValueError as error:
            self.left.show_problem(str(error))
            return
        self.failure_box.hide()
        self.verbs.start(values.request(engine), values.key)
        self.left.show_starting(True)

    def _started(self, result: Started) -> None:
        self.left.show_starting(False)
        self.table.pick(result.path)
        if result.key is not None and self.engine is not None:
            self._key_of = result.path
            self.key_box.show_key(result.key, result.kept_as or f"served-{self.engine.model}"[:80])
            if result.kept_as:
                self.key_box.show_kept("the keyring")
        self._poll.now()
        self._ask_port()

    def _not_started(self, failure: Failure) -> None:
        self.left.show_starting(False)
        self._failure_name.setText("The server was not started")
        self._failure.show_failure(failure)
        self.failure_box.setAccessibleName("The server was not started")
        self.failure_box.show()
        self._ask_port()

    def _explain(self) -> None:
        self.session.events.explain.emit(self._failure.code)

    def _keep_key(self, name: str) -> None:
        if self._key_of is not None and self.key_box.key is not None:
            self.verbs.keep(self._key_of, name, self.key_box.key)

    def _key_kept(self, where: str) -> None:
        self.key_box.show_kept(where)
        self.session.notices.say("ok", f"The API key is in {where}.")

    def _ask(self) -> tuple[Servers, ServerView | None]:
        """In a thread: all servers, and the chosen one in full."""
        found = read_servers(self.session.home)
        wanted = self.table.wanted
        row_ = next((one for one in found.rows if one.path == wanted), found.rows[0] if found.rows else None)
        if row_ is None or row_.problem:
            return found, None
        try:
            return found, read_server(row_.path)
        except (BadInputError, OSError):
            return found, None  # it went between the two looks

    def _take(self, found: Servers, view: ServerView | None) -> None:
        if self._closed:
            return
        moved = self._servers.listening != found.listening
        self._servers = found
        self.table.show_servers(found)
        self.servers_stack.setCurrentIndex(2 if found.rows else 1)
        self.badge_changed.emit(found.running)
        self.session.events.serving.emit(found.words)
        if not self.isVisible() and not found.running:
            self._poll.stop()
        if view is not None and view.row.path == self.table.picked_path:
            self.pane.show_view(view)
        elif view is None:
            chosen = self.table.chosen()
            self.pane.show_nothing(chosen.problem if chosen is not None and chosen.problem else "No server is chosen.")
        if moved:
            self._ask_port()
        able = view is not None and view.row.running
        for verb in ("stop", "curl", "openai"):
            self.session.actions[f"deploy.{verb}"].setEnabled(able)

    def _do(self, verb: str) -> None:
        if self.pane.view is not None:
            self.verbs.do(verb, self.pane.view.row)

    # -- shown and hidden

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._closed:
            self._poll.set_interval(LOOK_MS)
            self._poll.start()
            self._ask_port()
            if self.engine is not None:
                self._look()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        # The rail and the status line go on telling of servers that run.
        self._poll.set_interval(HIDDEN_MS)
        if not self._servers.running:
            self._poll.stop()

    def opened(self) -> None:
        home = self.session.home
        self.session.tasks.run(lambda: network_refusal(home), self.serve.show_network, key="deploy.network")
        (self.left.start if self.left.start.isEnabled() else self.left.engine.choose_button).setFocus()

    @property
    def busy(self) -> bool:
        return self.verbs.starting or any(model.looking or model.running for model in self.exports.values())

    def state(self) -> dict[str, Any]:
        return {
            "engine": str(self._path) if self._path is not None else "",
            "way": self.left.way,
            "serve": self.serve.state(),
            "triton": self.triton.state(),
            "launch": self.launch.state(),
            "folders": {kind: pane.folder_for_all for kind, pane in self.panes.items()},
            "split": self.split.sizes(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name, form in (("serve", self.serve), ("triton", self.triton), ("launch", self.launch)):
            if isinstance(kept := state.get(name), dict):
                form.restore(kept)
        folders = state.get("folders")
        for kind, folder in folders.items() if isinstance(folders, dict) else ():
            if kind in self.panes and isinstance(folder, str) and folder:
                self.panes[kind].put_into(folder)
        sizes = state.get("split")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(one, int) and one > 0 for one in sizes):
            self.split.setSizes(sizes)
        self.left.choose_way(str(state.get("way", SERVE)))
        if engine := str(state.get("engine", "")):
            self.take_path(engine)

    def close_page(self) -> None:
        self._closed = True
        self._poll.stop()
        self._port_timer.stop()
        self.pane.log.close_panel()
        self.key_box.forget()
        for model in self.exports.values():
            model.close()
