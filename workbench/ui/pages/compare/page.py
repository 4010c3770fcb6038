"""Compare: variants against a baseline, measured by a click: figures, answers, curves, quality and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QFrame, QStackedWidget, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.core.report.words import command_line
from workbench.ui.models.compare_doing import Doing
from workbench.ui.models.comparing import Comparing
from workbench.ui.models.comparison_view import STATUS_WORDS, Shown
from workbench.ui.pages.base import Page
from workbench.ui.pages.compare.chips import ChipBar
from workbench.ui.pages.compare.curves import CurvesTab
from workbench.ui.pages.compare.export import Exporter
from workbench.ui.pages.compare.form import MeasureForm
from workbench.ui.pages.compare.kept import KeptDialog
from workbench.ui.pages.compare.legend import Legend
from workbench.ui.pages.compare.matrix.tab import MatrixTab
from workbench.ui.pages.compare.prompts.tab import PromptsTab
from workbench.ui.pages.compare.quality import QualityTab
from workbench.ui.pages.compare.reproduce import ReproduceDialog
from workbench.ui.pages.compare.scaling import ScalingTab
from workbench.ui.pages.compare.settings import SettingsTab
from workbench.ui.pages.compare.strip import MeasureStrip
from workbench.ui.pages.compare.tabs import Tabs
from workbench.ui.pages.engines.choice import EngineChoice
from workbench.ui.pages.playground.engine.faces import FailureText
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, MARGIN, EmptyState, button, icon_button, row, rule, set_sign, surface
from workbench.ui.widgets.basics import label as make_label

TABS = ("Matrix", "Prompts", "Curves", "Quality", "Settings", "Scaling")
MATRIX, PROMPTS, CURVES, QUALITY, SETTINGS, SCALING = range(len(TABS))
_ROOMY = 1000


class ComparePage(Page):
    name, title, icon_name = "compare", "Compare", "compare"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.model = Comparing(session, self)
        self._other = ""
        """What was measured anywhere when that was last looked at."""
        self._wanted: Path | None = None
        """The comparison that was shown when the window was closed."""
        self.chips, self.strip, self.tabs, self.legend = ChipBar(), MeasureStrip(), Tabs(TABS), Legend()
        self.matrix, self.curves, self.quality, self.settings = MatrixTab(), CurvesTab(), QualityTab(), SettingsTab()
        self.prompts, self.scaling = PromptsTab(session, self.model), ScalingTab()
        self.measure_button = button("Measure", self.ask_measure, icon_name="play", small=True)
        self.form, self.choice, self.kept = MeasureForm(self), EngineChoice(session, self), KeptDialog(session, self)
        self.reproduce = ReproduceDialog(self)
        self.exporter = Exporter(session, self.model, self)
        self.failure_box = self._failure_box()
        self.empty = EmptyState(
            "Nothing is compared yet.",
            "Choose a baseline and up to five others: engines of any toolchain, or an OpenAI-compatible endpoint.",
            "Choose engines",
            self.ask_engines,
        )
        self._lay_out()
        self._wire()
        self._add_actions()
        self._show(None)

    # -- frame

    def _lay_out(self) -> None:
        self.views = QStackedWidget()
        for view in (self.matrix, self.prompts, self.curves, self.quality, self.settings, self.scaling):
            self.views.addWidget(view)
        bar = QFrame()
        bar.setProperty("surface", "bg")
        tools = row(self.tabs, None, self.legend, self.measure_button, gap=MARGIN)
        within = QVBoxLayout(bar)
        within.setContentsMargins(MARGIN // 2, 0, MARGIN, 0)
        within.addWidget(tools)
        full = QWidget()
        layout = QVBoxLayout(full)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for part in (self.chips, rule(), bar, rule(), self.strip, self.failure_box, self.views):
            layout.addWidget(part)
        layout.setStretch(layout.count() - 1, 1)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.empty)
        self.stack.addWidget(full)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.stack)
        self.strip.hide()

    def _failure_box(self) -> QFrame:
        sign = make_label()
        set_sign(sign, "error", "err")
        self.failure = FailureText()
        self.close_failure = icon_button("close", "Close", self._put_failure_away)
        line = row(sign, self.failure, self.close_failure)
        line.layout().setStretch(1, 1)
        card = surface("card")
        within = QVBoxLayout(card)
        within.setContentsMargins(12, 10, 12, 10)
        within.addWidget(line)
        box = surface("bg")
        around = QVBoxLayout(box)
        around.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        around.addWidget(card)
        box.hide()
        return box

    def _wire(self) -> None:
        model = self.model
        model.changed.connect(self._show)
        model.progressed.connect(self._show_doing)
        model.running_changed.connect(self._show_running)
        model.failed.connect(self._show_failure)
        model.ended.connect(self._ended)
        model.text.connect(self.prompts.stream)
        self.tabs.chosen.connect(self._show_tab)
        self.chips.add_asked.connect(self.ask_engines)
        self.chips.remove_asked.connect(model.remove)
        self.chips.baseline_asked.connect(model.set_baseline)
        self.chips.settings_asked.connect(lambda _: self.tabs.choose(SETTINGS))
        self.strip.stopped.connect(model.stop)
        self.form.asked.connect(model.measure)
        self.choice.chosen.connect(lambda rows: model.add([each.path for each in rows]))
        self.kept.chosen.connect(model.open)
        self.matrix.reproduce.connect(self.show_command)
        self.session.events.compare_with.connect(self.compare)
        self.session.events.doing.connect(self._look_who_measures)

    def _add_actions(self) -> None:
        for verb, words, do, icon_name in (
            ("add", "Add a variant", self.ask_engines, "plus"),
            ("measure", "Measure the variants", self.ask_measure, "play"),
            ("stop", "Stop measuring the variants", self.model.stop, "stop"),
            ("all", "All comparisons", self.ask_kept, "history"),
            ("reproduce", "Show the command of this comparison", self.show_command, "script"),
            ("html", "Export the comparison as HTML", partial(self.exporter.ask, "html"), "export"),
            ("pdf", "Export the comparison as PDF", partial(self.exporter.ask, "pdf"), "export"),
            ("json", "Export the comparison as JSON", partial(self.exporter.ask, "json"), "export"),
            ("csv", "Export the comparison as CSV", partial(self.exporter.ask, "csv"), "export"),
        ):
            self.session.actions.add(
                f"compare.{verb}", words, partial(self._from_anywhere, do), icon_name=icon_name, group="Compare:"
            )

    def _from_anywhere(self, do: Callable[[], None]) -> None:
        self.session.events.show_page.emit("compare")
        do()

    def header_widgets(self) -> list[QWidget]:
        if not hasattr(self, "_header"):
            self.new_button = button("New", self.new, icon_name="plus", tip="Choose other engines; this one is kept")
            self.export_button = button("Export", None, icon_name="export")
            self.export_button.setMenu(self.exporter.menu(self.export_button))
            self._header: list[QWidget] = [
                self.new_button,
                button("All comparisons", self.ask_kept, icon_name="history"),
                self.export_button,
            ]
            self._show_verbs()
        return self._header

    @property
    def busy(self) -> bool:
        return self.model.running

    def opened(self) -> None:
        if self._wanted is not None and self.model.comparison is None and not self.model.chips:
            self.model.open(self._wanted)
        self._wanted = None

    def close_page(self) -> None:
        self.model.close()

    def state(self) -> dict[str, Any]:
        folder = self.model.folder or self._wanted
        return {"folder": str(folder) if folder is not None else "", "tab": self.tabs.current}

    def restore(self, state: dict[str, Any]) -> None:
        folder = str(state.get("folder", ""))
        if folder and (Path(folder) / "comparison.json").is_file():
            self._wanted = Path(folder)
        tab = state.get("tab", 0)
        if isinstance(tab, int) and 0 <= tab < len(TABS):
            self.tabs.choose(tab)

    # -- verbs

    def compare(self, paths: Sequence[Path]) -> None:
        """A new comparison of these engines, the first of them the baseline."""
        self.model.start_with(list(paths))

    def new(self) -> None:
        """Choose other engines."""
        if not self.model.running:
            self.model.start_with([])
            self.ask_engines()

    def ask_engines(self) -> None:
        """Choose engines to add."""
        if not self.model.running:
            taken = [Path(subject.path) for subject in self.model.chips if subject.path]
            self.choice.ask(taken, self.model.room_left)

    def ask_measure(self) -> None:
        """Say what is measured, then measure."""
        if self.model.running or not self.model.chips:
            return
        if (busy := self.session.refuse_measuring()) is not None:
            self._show_failure(busy)
            return
        loaded = [one.name for one in self.session.room.engines]
        which = "is loaded in the playground, and takes"
        if len(loaded) > 1:
            which = "are loaded in the playground, and take"
        warning = f"{' and '.join(loaded)} {which} memory and time." if loaded else ""
        engines = sum(not subject.simulated for subject in self.model.chips)
        self.form.ask(self.model.settings, engines, warning)

    def ask_kept(self) -> None:
        """Choose an older comparison."""
        if self.model.running:
            self.session.notices.say("warning", "A comparison is being measured.", "Stop it first, or wait.")
            return
        self.kept.ask(self.model.folder)

    def show_command(self) -> None:
        """The command line that does the same."""
        shown = self.model.shown
        if shown is not None and shown.head.command:
            self.reproduce.show_shown(shown)
            self.reproduce.open()

    def copy_command(self) -> None:
        """Put the command on the clipboard."""
        shown = self.model.shown
        if shown is not None and shown.head.command:
            QGuiApplication.clipboard().setText(command_line(shown.head.command))

    # -- what is shown

    def _show(self, shown: Shown | None) -> None:
        self.stack.setCurrentIndex(0 if shown is None else 1)
        self._show_verbs()
        if shown is None:
            self.chips.show_variants((), fixed=False)
            self.say_subtitle("")
            return
        models = list(dict.fromkeys(variant.subject.model for variant in shown.variants if variant.subject.model))
        ended = shown.measured and not self.model.running
        stopped = STATUS_WORDS.get(shown.head.status, "") if ended else ""
        self.say_subtitle(", ".join(models[:2]) + (f"   {stopped}: not all was measured" if stopped else ""))
        self.chips.show_variants(shown.variants, fixed=self.model.running)
        self.matrix.show_shown(shown)
        self.prompts.show_shown(shown)
        self.curves.show_shown(shown)
        self.quality.show_shown(shown)
        self.settings.show_shown(shown)
        self.scaling.show_shown(shown)
        if self.model.failure is not None and not self.model.running:
            self._show_failure(self.model.failure)

    def _show_verbs(self) -> None:
        shown, running = self.model.shown, self.model.running
        measured = shown is not None and shown.measured
        other = "" if running else self.session.measuring
        self._other = self.session.measuring
        words = f"{other} is being measured" if other else "Measure again" if measured else "Measure"
        self.measure_button.setText(words)
        self.measure_button.setAccessibleName(words)
        self.measure_button.setToolTip("Two at once would falsify each other." if other else "")
        self.measure_button.setEnabled(not other)
        self.measure_button.setVisible(not running)
        self.session.actions["compare.stop"].setEnabled(running)
        self.session.actions["compare.measure"].setEnabled(shown is not None and not running and not other)
        if hasattr(self, "_header"):
            self.export_button.setEnabled(measured)
            self.new_button.setEnabled(not running)

    def _look_who_measures(self, _: str) -> None:
        """Another page has begun to measure, or has ended."""
        if self.session.measuring != self._other:
            self._show_verbs()
            self.prompts.set_running(self.model.running)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.tabs.set_narrow(event.size().width() < _ROOMY)

    def _show_tab(self, number: int) -> None:
        self.views.setCurrentIndex(number)
        self.legend.setVisible(number == MATRIX)

    def _show_running(self, running: bool) -> None:
        self.strip.setVisible(running)
        if running:
            self._put_failure_away()
        else:
            self.session.events.doing.emit("")
        self.prompts.set_running(running)
        self._show_verbs()
        if self.model.shown is not None:
            self.chips.show_variants(self.model.shown.variants, fixed=running)

    def _show_doing(self, doing: Doing) -> None:
        self.strip.show_doing(doing, stopping=self.model.stopping)
        self.session.events.doing.emit(f"Compare: {doing.words}")

    def _show_failure(self, failure: Failure) -> None:
        self.failure.show_failure(failure)
        self.failure_box.show()

    def _put_failure_away(self) -> None:
        self.model.failure = None
        self.failure_box.hide()

    def _ended(self, status: str) -> None:
        title = self.model.comparison.head.title if self.model.comparison is not None else ""
        folder = str(self.model.folder or "")
        if status == "complete":
            self.session.notices.say("ok", f"{title or 'The comparison'} is measured.", folder)
        elif status == "stopped":
            self.session.notices.say("info", "Stopped: what was measured is kept.", folder)
