"""The Build page: a preset, a model, what it would take here, and the verbs that build it."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtWidgets import QVBoxLayout, QWidget

from workbench.core.advice import Advice
from workbench.core.errors import BadInputError
from workbench.core.galleries import shared_models
from workbench.core.preset import Preset
from workbench.toolchains.targets import list_targets
from workbench.ui.models.preflight import Answer, Preflights, Question
from workbench.ui.models.preflight_asker import Asker
from workbench.ui.pages.base import Page
from workbench.ui.pages.builder.bottom import BottomBar
from workbench.ui.pages.builder.chosen import ChosenPreset
from workbench.ui.pages.builder.fetched import Fetched
from workbench.ui.pages.builder.flags_row import FlagsRow
from workbench.ui.pages.builder.form import Form
from workbench.ui.pages.builder.frame import Frame
from workbench.ui.pages.builder.gallery import GalleryPane
from workbench.ui.pages.builder.model_bar import ModelBar
from workbench.ui.pages.builder.options import BuildOptions
from workbench.ui.pages.builder.preflight_card import PreflightCard
from workbench.ui.pages.builder.remembered import Remembered
from workbench.ui.pages.builder.runner import Runner
from workbench.ui.pages.builder.verbs import Verbs
from workbench.ui.session import Session
from workbench.ui.widgets.basics import button


class BuildPage(Page):
    """Wires gallery, form, preflight and the runner of builds; it works nothing out itself."""

    name, title, icon_name = "build", "Build", "build"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.answer: Answer | None = None
        self._preflights = Preflights(session.home)
        self.asker = Asker(self._preflights, self)
        self.runner = Runner(session, self._preflights, self)
        self.gallery = GalleryPane()
        self.model = ModelBar()
        self.chosen = ChosenPreset(session, self.gallery, self)
        self.verbs = Verbs(session, self, lambda: self.answer, lambda: self.chosen.now, lambda: self.chosen.known_ids)
        self.fetched = Fetched(session, self.runner, self.model, self.chosen, self)
        self.card = PreflightCard(self._lead)
        self.flags = FlagsRow(self._open_flags)
        self.options = BuildOptions()
        self.bottom = BottomBar(
            self.build, partial(self.build, anyway=True), self.build_several, self.verbs.save_preset, self.verbs.copy,
            self.verbs.save_script, self.runner.stop, self._edited,
        )  # fmt: skip
        self.frame = Frame(self.gallery, self.model, self.card, self.flags, self.bottom, self.fetched.build_demo)
        self._reset_button = button("Reset to preset", self.chosen.reset, icon_name="refresh")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.frame)
        self._connect()
        self._add_actions()
        self.chosen.read_gallery()

    # -- parts

    def _connect(self) -> None:
        self.chosen.made.connect(self._place_form)
        self.chosen.shown.connect(self._shown)
        self.chosen.edited.connect(self._edited)
        self.chosen.opened.connect(self._say_opened)
        self.model.changed.connect(self._model_changed)
        self.model.download.connect(self.fetched.download)
        self.model.search.connect(self.verbs.search_hub)
        self.verbs.found.connect(self.model.set_model)
        self.verbs.kept.connect(self.chosen.saved)
        self.asker.answered.connect(self._take_answer)
        self.asker.slow.connect(self._say_slow)
        self.runner.reading.connect(self.bottom.show_reading)
        self.runner.reading.connect(lambda *_: self._show_ready())
        self.runner.started.connect(self._started)
        self.runner.failed.connect(self.session.notices.fail)
        self.session.events.build_with.connect(self.build_with)

    def _add_actions(self) -> None:
        add = self.session.actions.add
        self._build_action = add(
            "build.start", "Build", self._build_here, key="Ctrl+Return", icon_name="play", group="Build:", enabled=False
        )
        add("build.demo", "Build the demo engine", self.fetched.build_demo, icon_name="play", group="Build:")
        add("build.several", "Build in several precisions…", self.build_several, group="Build:")
        add("build.copy", "Copy the build's commands", self.verbs.copy, icon_name="copy", group="Build:")
        add("build.script", "Save the build as a script…", self.verbs.save_script, icon_name="script", group="Build:")
        add("build.save_preset", "Save as preset…", self.verbs.save_preset, icon_name="save", group="Build:")
        add("build.open_preset", "Open a preset file…", self.verbs.open_preset, icon_name="open", group="Build:")
        add("build.flags", "All build flags…", self._open_flags, group="Build:")
        add("build.model", "Choose the model folder…", self.model.choose, icon_name="folder", group="Build:")
        add("build.search", "Search Hugging Face…", self.verbs.search_hub, icon_name="search", group="Build:")
        add("build.reset", "Reset to preset", self.chosen.reset, icon_name="refresh", group="Build:")

    def header_widgets(self) -> list[QWidget]:
        return [self.frame.presets_button, self._reset_button]

    @property
    def form(self) -> Form | None:
        """None until the first preset is read."""
        return self.chosen.form

    def _place_form(self, form: Form) -> None:
        self.options.changed.connect(form.set_flags)
        form.add_options(self.options)
        self.frame.place_form(form)

    def _shown(self, preset: Preset) -> None:
        self.say_subtitle(preset.title)
        if not self.frame.wide:
            self.frame.show_gallery(False)

    # -- preflight

    @property
    def question(self) -> Question | None:
        """What stands in the form; None while a value is wrong."""
        preset = self.chosen.now
        if preset is None:
            return None
        return Question(preset, self.model.model, until=self.bottom.until, target=self.bottom.target)

    def _model_changed(self) -> None:
        self.model.show_facts(None, waiting="Reading …" if self.model.model else "")
        self.gallery.set_model(None)
        self.bottom.show_commands(())
        self._edited()

    def _edited(self) -> None:
        self.answer = None
        self._reset_button.setEnabled(self.form is not None and self.form.changes > 0)
        first = not self.model.model and not self.model.recent
        self.frame.show_first(first)
        if self.form is None:
            return
        self.flags.show_preset(self.form.preset or self.form.base)
        self.options.targets.here = self.chosen.gallery.here
        self.options.show_preset(self.form.last, self.form.base)
        question = self.question
        if question is None:
            self.card.show_words("not complete", "A setting is wrong.", self.form.wrong, "err")
            self.bottom.show_commands(())
            self._show_ready()
        else:
            self.asker.ask(question)
            self.bottom.wait()
            self._build_action.setEnabled(False)

    def _take_answer(self, answer: Answer) -> None:
        if self.form is None or self.question is None:
            return
        if self.question != answer.question:
            self.asker.ask(self.question)
            return
        self.answer = answer
        self.model.show_facts(answer.model, answer.repository)
        self.gallery.set_model(answer.model)
        self.form.set_facts(answer)
        self.bottom.show_commands(answer.commands, answer.no_build)
        if answer.failure is not None:
            self.card.show_failure(answer.failure)
        elif answer.report is not None:
            self.card.show_answer(answer)
        elif answer.repository:
            self.card.show_words(
                "", "The model is not on this machine.", "Download it first; preflight reads its files."
            )
        else:
            self.card.show_words("", "Choose a model folder.", "Preflight then tells what the build will take.")
        self._show_ready()

    def _say_slow(self, folder: str) -> None:
        self.model.show_facts(None, waiting="The folder does not answer. Is it on a share that is away? Still waiting.")
        self.card.show_words(
            "waiting", "The model folder does not answer.", f"{folder} has said nothing for 3 seconds. If it is on a "
            "share, check that; or choose another folder. Nothing else is held up.", "warn",
        )  # fmt: skip

    def _show_ready(self) -> None:
        report = self.answer.report if self.answer is not None else None
        blocks = [*report.elsewhere, *report.blocks] if report is not None else []
        ready = report is not None and not blocks and not self.runner.busy
        anyway = bool(blocks) and all(b.estimate_only for b in blocks) and not self.runner.busy
        words = blocks[0].text if blocks else ""
        self.bottom.show_ready(ready, words, may_anyway=anyway)
        self._build_action.setEnabled(ready)

    def _lead(self, advice: Advice, where: str) -> None:
        """Do what an advice line's button says."""
        if where == "apply" and self.form is not None:
            try:
                self.form.apply(advice.overrides)
            except BadInputError as error:
                self.session.notices.fail(error.failure)
        elif where == "checkpoint":
            self.bottom.set_until("quantize")
        elif where == "model":
            self.model.field.setFocus()
            self.model.edit.selectAll()
        elif where == "targets":
            self.options.set_open(True)
            self.frame.scroll.ensureWidgetVisible(self.options.targets)
            self.options.targets.setFocus()
        elif where == "presets":
            self.frame.show_gallery(True)
            self.gallery.search.setFocus()
        else:
            self.session.events.show_page.emit(where)

    # -- verbs

    def _build_here(self) -> None:
        if self.isVisible():
            self.build()

    def build(self, *, anyway: bool = False) -> None:
        """Start what stands in the form."""
        if (question := self.question) is not None:
            self.runner.build(question, anyway=anyway)

    def build_several(self) -> None:
        """Ask which precisions, and start them as one job."""
        self.verbs.ask_precisions(self.runner.build)

    def _started(self, job_id: str) -> None:
        self.model.remember()
        self.session.events.show_job.emit(job_id)

    def _open_flags(self) -> None:
        preset = self.chosen.now
        if preset is not None and self.form is not None:
            answer = self.answer
            architecture = answer.model.architecture if answer is not None and answer.model is not None else None
            self.flags.open_table(preset, self.form.set_flags, answer.capability if answer else None, architecture)

    def build_with(self, preset: str, model: str) -> None:
        """Take a preset (id or file) and a model folder; what is empty stays."""
        if model:
            self.model.set_model(model)
        if preset:
            self.chosen.open_first(preset)

    def _say_opened(self, preset: Preset) -> None:
        name = preset.source.name if preset.source is not None else preset.id
        self.session.notices.say(
            "info", f"{name} is open. It is not among your presets.", str(preset.source or ""), "Keep it…",
            self.verbs.save_preset,
        )  # fmt: skip

    # -- between starts

    @property
    def busy(self) -> bool:
        return self.form is None or self.asker.waiting

    def opened(self) -> None:
        self.chosen.read_gallery()
        self._preflights.forget_targets()
        home = self.session.home
        self.session.tasks.run(lambda: list_targets(home), lambda found: self.bottom.set_targets(found.targets))
        self.session.tasks.run(
            lambda: [model.name for model in shared_models(home)], self.model.set_shared, key="build.shared"
        )

    def state(self) -> dict[str, Any]:
        recent, gallery = tuple(self.model.recent), self.gallery.state()
        kept = (recent, self.bottom.until, gallery, self.bottom.target)
        return Remembered(self.chosen.state, self.model.model, *kept).to_state()

    def restore(self, state: dict[str, Any]) -> None:
        kept = Remembered.from_state(state)
        self.chosen.restore(kept.form)
        if kept.until is not None:
            self.bottom.set_until(kept.until)
        if kept.target:
            self.bottom.set_target(kept.target)
        if kept.recent is not None:
            self.model.set_recent(list(kept.recent))
        if kept.model:
            self.model.set_model(kept.model)
        if kept.gallery is not None:
            self.gallery.restore(dict(kept.gallery))

    def close_page(self) -> None:
        self.chosen.stop()
        self.runner.stop()
        self.asker.close()
