"""Benchmark: engines and endpoints under a load, measured by a click; the result as chart, numbers and drawer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.core.measure.record import Subject
from workbench.measure.running import RunRequest
from workbench.ui.models.bench_view import Live, RunView
from workbench.ui.models.benching import Benching
from workbench.ui.models.engines import EngineRow, EngineRows, read_rows
from workbench.ui.pages.base import Page
from workbench.ui.pages.benchmark.chosen import Chosen, of_row, of_subject
from workbench.ui.pages.benchmark.keeping import Keeping
from workbench.ui.pages.benchmark.repeat_words import point_command, run_command
from workbench.ui.pages.benchmark.result import ResultView
from workbench.ui.pages.benchmark.setup import Setup
from workbench.ui.pages.engines.choice import EngineChoice
from workbench.ui.pages.playground.engine.faces import FailureText
from workbench.ui.session import Session
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import button, label, set_icon
from workbench.ui.widgets.failure import failure_card
from workbench.ui.widgets.report_file import report_menu

_NARROW, _ROOMY, _WIDE = 700, 1000, 1240
"""px of the page: from where the header has words, some and all, and the drawer stands there unasked."""


class BenchmarkPage(Page):
    name, title, icon_name = "benchmark", "Benchmark", "benchmark"
    with_monitor = False

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.model = Benching(session, self)
        self.setup, self.result = Setup(), ResultView()
        self.choice = EngineChoice(session, self)
        self.keeping = Keeping(session, self.model, self.result, self.open_run, self)
        self._shown: Path | None = None
        """Folder of the run that is shown."""
        self._wants_drawer: bool | None = None
        """What was asked for; None: as there is room."""
        self._failure_name = label("", "name", wrap=True)
        self._failure = FailureText()
        self.failure_box = failure_card(self._failure_name, self._failure, self._explain)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.setup)
        self.stack.addWidget(self.result)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.failure_box)
        layout.addWidget(self.stack, 1)
        self._wire()
        self._add_actions()
        self._show_face(self.setup)

    # -- frame

    def _wire(self) -> None:
        session, model, result = self.session, self.model, self.result
        say = partial(session.notices.say, "ok")
        self.setup.engines.asked.connect(self.ask_engines)
        self.setup.started.connect(self.start)
        self.setup.plan.copied.connect(say)
        self.setup.plan.unload.connect(self._unload_playground)
        self.choice.chosen.connect(self._add_rows)
        model.changed.connect(self._show_view)
        model.progressed.connect(self._show_live)
        model.running_changed.connect(self._show_running)
        model.ended.connect(self._ended)
        model.failed.connect(self._failed)
        result.stopped.connect(model.stop)
        result.again.connect(self.run_point_again)
        result.said.connect(say)
        result.drawer_closed.connect(partial(self._want_drawer, False))
        session.events.bench_with.connect(self.take_paths)
        session.room.changed.connect(self._look_at_room)
        theme().changed.connect(result.recolour)

    def _add_actions(self) -> None:
        for verb, words, do, icon_name in (
            ("new", "New benchmark", self.new, "plus"),
            ("engines", "Choose engines to benchmark", self.ask_engines, "engines"),
            ("start", "Start the benchmark", self.setup.start, "play"),
            ("stop", "Stop the benchmark", self.model.stop, "stop"),
            ("again", "Run the shown benchmark again", self.run_again, "refresh"),
            ("results", "All benchmark results", self.keeping.ask_results, "history"),
            ("reproduce", "What repeats this benchmark", self.toggle_drawer, "script"),
            ("baseline", "Hold this benchmark against a kept one", self.keeping.ask_baseline, "benchmark"),
        ):
            self.session.actions.add(
                f"benchmark.{verb}", words, partial(self._from_anywhere, do), icon_name=icon_name, group="Benchmark:"
            )

    def _from_anywhere(self, do: Any) -> None:
        self.session.events.show_page.emit("benchmark")
        do()

    def header_widgets(self) -> list[QWidget]:
        if not hasattr(self, "_header"):
            self.results_button = button("All results", self.keeping.ask_results, icon_name="history")
            self.new_button = button("New", self.new, icon_name="plus", name="New benchmark")
            self.again_button = button("Run again", self.run_again, icon_name="refresh")
            self.drawer_button = button("Reproduce", self.toggle_drawer, icon_name="script")
            self.drawer_button.setCheckable(True)
            self.export_button = button("Export", icon_name="export")
            self.export_button.setMenu(report_menu(self.export_button, self.keeping.ask_export))
            self._header: list[QWidget] = [
                self.results_button, self.new_button, self.again_button, self.drawer_button, self.export_button
            ]  # fmt: skip
            self._show_buttons()
        return self._header

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_header()
        if self._wants_drawer is None and self.width() < _WIDE and not self.result.drawer.isHidden():
            self.result.show_drawer(False)  # it came unasked: it does not stay in the result's place
            self._show_buttons()

    def _fit_header(self) -> None:
        """With little room buttons of the header are their icons, the less asked-for ones first."""
        if not hasattr(self, "_header"):
            return
        for made, words, least in (
            (self.results_button, "All results", _ROOMY),
            (self.new_button, "New", _ROOMY),
            (self.again_button, "Run again", _NARROW),
            (self.drawer_button, "Reproduce", _NARROW),
            (self.export_button, "Export", _NARROW),
        ):
            text = words if self.width() >= least else ""
            if made.text() != text:
                made.setText(text)
                name: str = made.property("icon_of")[0]
                set_icon(made, name)
                made.setToolTip("" if text else made.accessibleName())

    def _show_buttons(self) -> None:
        if not hasattr(self, "_header"):
            return
        self._fit_header()
        shows = self.stack.currentWidget() is self.result
        view, running = self.model.view, self.model.running
        for one in (self.new_button, self.again_button, self.drawer_button, self.export_button):
            # Never shown before it has a parent: it would be a window of its own.
            one.setVisible(shows and one.parent() is not None)
            one.setProperty("wanted", shows)
        self.new_button.setEnabled(not running)
        self.again_button.setEnabled(not running and view is not None)
        self.export_button.setEnabled(view is not None and bool(view.figures) and not running)
        self.results_button.setEnabled(not running)
        self.drawer_button.setEnabled(view is not None)
        self.drawer_button.setChecked(not self.result.drawer.isHidden())

    def _show_face(self, face: QWidget) -> None:
        self.stack.setCurrentWidget(face)
        view = self.model.view
        if face is self.setup:
            self.say_subtitle("New")
        else:
            self.say_subtitle("Running" if self.model.running else "Result" if view is not None else "")
        self._show_buttons()
        actions = self.session.actions
        for verb in ("again", "reproduce", "baseline"):
            actions[f"benchmark.{verb}"].setEnabled(face is self.result and not self.model.running)
        actions["benchmark.stop"].setEnabled(self.model.running)
        actions["benchmark.start"].setEnabled(face is self.setup)

    # -- the form

    def ask_engines(self) -> None:
        """Choose engines and endpoints to measure."""
        if self.model.running:
            return
        self._show_face(self.setup)
        self.choice.ask({one.path for one in self.setup.engines.chosen}, self.setup.engines.room_left)

    def _add_rows(self, rows: Sequence[EngineRow]) -> None:
        self.setup.engines.add(of_row(one) for one in rows)

    def take_paths(self, paths: object) -> None:
        """Measure these engines, by their folders: what Engines' action asks for."""
        wanted = [Path(str(path)) for path in paths] if isinstance(paths, list | tuple) else []
        if not wanted or self.model.running:
            return
        home, identity = self.session.home, self.session.host.cpu_identity

        def take(found: EngineRows) -> None:
            known = {one.path: of_row(one) for one in found.rows}
            self.setup.engines.take(known.get(path, Chosen(path, path.name)) for path in wanted)

        self._show_face(self.setup)
        self.session.tasks.run(
            lambda: read_rows(home, identity), take, self.session.notices.fail, key="benchmark.paths"
        )

    def new(self) -> None:
        """The form; the run that was shown stays in its folder."""
        if not self.model.running:
            self._show_face(self.setup)

    def start(self, request: RunRequest) -> None:
        """Measure."""
        self.failure_box.hide()
        if self.model.start(request):
            self._shown = self.keeping.baseline = None
            self._show_face(self.result)

    def _look_at_room(self) -> None:
        self.setup.plan.show_loaded([one.name for one in self.session.room.engines])

    def _unload_playground(self) -> None:
        for one in self.session.room.engines:
            self.session.room.unload(one.id)

    # -- the run

    def _show_view(self, view: RunView) -> None:
        fresh = view.folder != self._shown
        self._shown = view.folder
        self.result.show_view(view, fresh=fresh)
        if fresh:
            self.result.show_drawer(self._drawer_wanted and not self.model.running)
        if self.stack.currentWidget() is not self.result or not self.model.running:
            self._show_face(self.result)

    def _show_live(self, live: Live) -> None:
        self.result.show_live(live, self.model.view)

    def _show_running(self, running: bool) -> None:
        self.result.set_running(running)
        self.badge_changed.emit(1 if running else 0)
        if running:
            self.result.show_drawer(False)
            self.result.show_nothing()
            self.result.show_live(self.model.live, None)
        self._show_face(self.result)

    def _ended(self, view: RunView) -> None:
        self.result.show_drawer(self._drawer_wanted)
        self._show_face(self.result)
        failed = [one for one in view.head.subjects if one.failure is not None]
        if failed:
            self._show_failure(*_failures(failed, {one.subject for one in view.figures}))
        level = "ok" if view.head.status == "complete" and not failed else "warning"
        words = {"complete": "The benchmark is done.", "stopped": "The benchmark was stopped; what was measured stays."}
        self.session.notices.say(level, words.get(view.head.status, "Nothing could be measured."), str(view.folder))

    def _failed(self, failure: Failure) -> None:
        self._show_failure("It could not be measured" if failure.code != "no-run" else "It is not there", failure)
        if self.model.view is None or not self.model.view.figures:
            self._show_face(self.setup)

    def _show_failure(self, title: str, failure: Failure) -> None:
        self._failure_name.setText(title)
        self._failure.show_failure(failure)
        self.failure_box.setAccessibleName(title)
        self.failure_box.show()

    def _explain(self) -> None:
        self.session.events.explain.emit(self._failure.code)

    def run_again(self) -> None:
        """Measure the shown run again, in a folder of its own."""
        view = self.model.view
        if view is None or self.model.running:
            return
        head = view.head
        self.start(
            RunRequest(
                tuple(of_subject(one).asked for one in head.subjects),
                head.workload,
                head.load,
                head.order == "alternated",
                command=run_command(head),
            )
        )

    def run_point_again(self, subject: Subject, level: float | None) -> None:
        """Measure one subject again, at one level or at all."""
        view = self.model.view
        if view is None or self.model.running:
            return
        load = view.head.load if level is None else view.head.load.model_copy(update={"levels": (level,)})
        command = point_command(view.head, subject, level)
        self.start(RunRequest((of_subject(subject).asked,), view.head.workload, load, command=command))

    def open_run(self, folder: Path) -> None:
        """Show a kept run."""
        self.failure_box.hide()
        self.keeping.baseline = None
        self.model.open(folder)

    # -- the drawer

    @property
    def _drawer_wanted(self) -> bool:
        return self._wants_drawer if self._wants_drawer is not None else self.width() >= _WIDE

    def toggle_drawer(self) -> None:
        """Show or hide what repeats the chosen point."""
        if self.stack.currentWidget() is self.result:
            self._want_drawer(self.result.drawer.isHidden())

    def _want_drawer(self, shown: bool) -> None:
        self._wants_drawer = shown
        self.result.show_drawer(shown)
        self._show_buttons()

    # -- between starts

    @property
    def busy(self) -> bool:
        return self.model.running

    def opened(self) -> None:
        self._look_at_room()
        self._show_buttons()
        if self.stack.currentWidget() is self.setup:
            (self.setup.plan.start if self.setup.engines.chosen else self.setup.engines.add_button).setFocus()
        else:
            (self.result.live.stop if self.model.running else self.result.numbers).setFocus()

    def state(self) -> dict[str, Any]:
        shows = self.stack.currentWidget() is self.result
        return {
            "setup": self.setup.state(),
            "run": str(self._shown) if self._shown is not None and shows else "",
            "drawer": self._wants_drawer,
            "split": self.result.split.sizes(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        if isinstance(setup := state.get("setup"), dict):
            self.setup.restore(setup)
        drawer = state.get("drawer")
        self._wants_drawer = drawer if isinstance(drawer, bool) else None
        sizes = state.get("split")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(one, int) and one > 0 for one in sizes):
            self.result.split.setSizes(sizes)
        if run := str(state.get("run", "")):
            self.model.open(Path(run))

    def close_page(self) -> None:
        self.model.close()


def _failures(failed: Sequence[Subject], measured: Collection[str] = ()) -> tuple[str, Failure]:
    """Title and what happened, of all that were not measured; `measured`: ids of those of which something was."""
    named = [(one.name, one.failure) for one in failed if one.failure is not None]
    what = "not measured to its end" if failed[0].id in measured else "not measured"
    if len(named) == 1:
        return f"{named[0][0]} was {what}", named[0][1]
    what = "not measured to their end" if any(one.id in measured for one in failed) else "not measured"
    names = ", ".join(name for name, _ in named[:-1])
    told = [f"{name}: {each.what} {each.fix}".rstrip() for name, each in named]
    evidence = [f"{name}: {each.evidence}" for name, each in named if each.evidence]
    return (
        f"{names} and {named[-1][0]} were {what}",
        Failure(code="several", what="\n".join(told), evidence="\n".join(evidence)),
    )
