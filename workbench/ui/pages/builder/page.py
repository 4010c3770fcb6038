"""The Build page: a preset, a model, what it would take here, and the verbs that build it."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QScrollArea, QStackedLayout, QVBoxLayout, QWidget

from workbench.core.advice import Advice
from workbench.core.errors import BadInputError, Failure
from workbench.core.preset import Preset, find_preset, gallery_folders
from workbench.ui.models.gallery import Gallery, read_gallery
from workbench.ui.models.preflight import Answer, Preflights, Question
from workbench.ui.models.preflight_asker import Asker
from workbench.ui.pages.base import Page
from workbench.ui.pages.builder.bottom import BottomBar
from workbench.ui.pages.builder.flags_row import FlagsRow
from workbench.ui.pages.builder.form import Form
from workbench.ui.pages.builder.gallery import GalleryPane
from workbench.ui.pages.builder.model_bar import ModelBar
from workbench.ui.pages.builder.preflight_card import PreflightCard
from workbench.ui.pages.builder.preset_watch import PresetWatch
from workbench.ui.pages.builder.runner import Runner
from workbench.ui.pages.builder.verbs import Verbs
from workbench.ui.session import Session
from workbench.ui.widgets.basics import MARGIN, EmptyState, button, rule

DEFAULT_PRESET = "cpu-int8"
_WIDE = 304 + 440 + 344
"""Room in px for gallery, form and card side by side; with less, the gallery takes the card's place when asked for."""


class BuildPage(Page):
    """Wires gallery, form, preflight and the runner of builds; it works nothing out itself."""

    name, title, icon_name = "build", "Build", "build"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self._gallery = Gallery()
        self.answer: Answer | None = None
        self._wanted: dict[str, Any] = {}
        self._gallery_shown = {True: True, False: False}
        """By whether there is room for gallery, form and card side by side."""
        self._preflights = Preflights(session.home)
        self.asker = Asker(self._preflights, self)
        self.runner = Runner(session, self._preflights, self)
        self._watch = PresetWatch(session.home.presets, self)
        self.verbs = Verbs(session, self, lambda: self.answer, self._preset_now, self._known_ids)
        self.form: Form | None = None
        self.gallery = GalleryPane()
        self.model = ModelBar()
        self.card = PreflightCard(self._lead)
        self.flags = FlagsRow(self._open_flags)
        self.bottom = BottomBar(
            self.build, partial(self.build, anyway=True), self.build_several, self.verbs.save_preset, self.verbs.copy,
            self.verbs.save_script, self.runner.stop, self._edited,
        )  # fmt: skip
        self._presets_button = button("Presets", icon_name="menu", tip="Show or hide the presets")
        self._presets_button.setCheckable(True)
        self._presets_button.clicked.connect(self._show_gallery)
        self._reset_button = button("Reset to preset", self.reset, icon_name="refresh")
        self._lay_out()
        self._connect()
        self._add_actions()
        self._read_gallery()

    # -- parts

    def _lay_out(self) -> None:
        self._form_place = QVBoxLayout()
        self._form_place.setContentsMargins(0, 0, 0, 0)
        self._form_place.setSpacing(0)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(self._form_place)
        column.addWidget(self.flags)
        column.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.scroll.setWidget(inside)
        self.first = EmptyState(
            "Build your first engine.",
            "The demo builds a small model on the CPU in about two minutes and needs no GPU. "
            "For a model of your own, choose its folder above.",
            "Build the demo engine",
            self.build_demo,
        )
        middle = QWidget()
        self._middle = QStackedLayout(middle)
        self._middle.addWidget(self.scroll)
        self._middle.addWidget(self.first)
        right = QVBoxLayout()
        right.setContentsMargins(0, 12, MARGIN, 12)
        right.addWidget(self.card)
        self._card_place = QWidget()
        self._card_place.setLayout(right)
        across = QHBoxLayout()
        across.setContentsMargins(0, 0, 0, 0)
        across.setSpacing(0)
        across.addWidget(middle, 1)
        across.addWidget(self._card_place)
        work = QVBoxLayout()
        work.setContentsMargins(0, 0, 0, 0)
        work.setSpacing(0)
        work.addWidget(self.model)
        work.addLayout(across, 1)
        work.addWidget(self.bottom)
        whole = QHBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.gallery)
        self._gallery_rule = rule(vertical=True)
        whole.addWidget(self._gallery_rule)
        whole.addLayout(work, 1)

    def _connect(self) -> None:
        self.gallery.chosen.connect(self.choose_preset)
        self.model.changed.connect(self._model_changed)
        self.model.download.connect(self._download)
        self.model.search.connect(self.verbs.search_hub)
        self.verbs.found.connect(self.model.set_model)
        self.asker.answered.connect(self._take_answer)
        self.asker.slow.connect(self._say_slow)
        self.runner.reading.connect(self.bottom.show_reading)
        self.runner.reading.connect(lambda *_: self._show_ready())
        self.runner.started.connect(self._started)
        self.runner.failed.connect(self.session.notices.fail)
        self.runner.fetched.connect(self._fetched)
        self.session.events.build_with.connect(self.build_with)
        self._watch.changed.connect(self._files_changed)
        self.verbs.kept.connect(self._kept)

    def _add_actions(self) -> None:
        add = self.session.actions.add
        self._build_action = add(
            "build.start", "Build", self._build_here, key="Ctrl+Return", icon_name="play", group="Build:", enabled=False
        )
        add("build.demo", "Build the demo engine", self.build_demo, icon_name="play", group="Build:")
        add("build.several", "Build in several precisions…", self.build_several, group="Build:")
        add("build.copy", "Copy the build's commands", self.verbs.copy, icon_name="copy", group="Build:")
        add("build.script", "Save the build as a script…", self.verbs.save_script, icon_name="script", group="Build:")
        add("build.save_preset", "Save as preset…", self.verbs.save_preset, icon_name="save", group="Build:")
        add("build.flags", "All build flags…", self._open_flags, group="Build:")
        add("build.model", "Choose the model folder…", self.model.choose, icon_name="folder", group="Build:")
        add("build.search", "Search Hugging Face…", self.verbs.search_hub, icon_name="search", group="Build:")
        add("build.reset", "Reset to preset", self.reset, icon_name="refresh", group="Build:")

    def header_widgets(self) -> list[QWidget]:
        return [self._presets_button, self._reset_button]

    # -- presets

    def _read_gallery(self) -> None:
        home = self.session.home
        self.session.tasks.run(lambda: read_gallery(home), self._take_gallery, self.session.notices.fail, key="gallery")

    def _take_gallery(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self.gallery.set_gallery(gallery)
        self._watch.look()
        if self.form is None and not self.asker.waiting:
            wanted = str(self._wanted.get("preset", "")) or DEFAULT_PRESET
            if not gallery.card(wanted):
                wanted = str(self._wanted.get("source", "")) or (gallery.cards[0].id if gallery.cards else "")
            self.choose_preset(wanted)

    def choose_preset(self, wanted: str) -> None:
        """Read a preset by its id or path and show it; settings of the one before are left."""
        if not wanted:
            return
        folders = [self.session.home.presets, *gallery_folders()]
        self.session.tasks.run(
            lambda: find_preset(wanted, folders), self.show_preset, self._preset_failed, key="build.preset"
        )

    def _preset_failed(self, failure: Failure) -> None:
        self.session.notices.fail(failure)
        if self.form is not None:
            self.gallery.choose(self.form.base.id)
        elif self._gallery.card(DEFAULT_PRESET):
            self._wanted = {}
            self.choose_preset(DEFAULT_PRESET)

    def show_preset(self, preset: Preset) -> None:
        """Fill the form from a preset."""
        if self.form is None:
            self.form = Form(preset)
            self.form.edited.connect(self._edited)
            self._form_place.addWidget(self.form)
            if isinstance(kept := self._wanted.get("form"), dict) and self._wanted.get("preset") == preset.id:
                self.form.try_values(kept)
            folds = self._wanted.get("folds")
            for title, is_open in (folds if isinstance(folds, dict) else {}).items():
                if title in self.form.folds:
                    self.form.folds[title].set_open(bool(is_open))
            self._wanted = {}
        else:
            self._put_aside(self.form, preset)
            self.form.set_preset(preset)
        self.gallery.choose(preset.id)
        self.say_subtitle(preset.title)
        if not self._wide:
            self._show_gallery(False)
        self._watch.look(preset.source)
        self._edited()

    def _put_aside(self, form: Form, preset: Preset) -> None:
        """Offer to take back what was changed, before another preset takes its place."""
        count, base, changed = form.changes, form.base, form.last
        if count and preset.to_data() != changed.to_data():
            words = (
                f"{count} change{'s' if count > 1 else ''} to {base.title} {'were' if count > 1 else 'was'} put aside."
            )
            self.session.notices.say("info", words, "", "Take back", partial(self._take_back, base, changed))

    def _take_back(self, base: Preset, changed: Preset) -> None:
        if self.form is not None:
            self.form.set_preset(base)
            self.show_preset(base)
            self.form.show_preset(changed)
            self._edited()

    def reset(self) -> None:
        """Take back what was changed in the form."""
        if self.form is not None:
            self._put_aside(self.form, self.form.base)
            self.form.set_preset(self.form.base)
            self._edited()

    def _files_changed(self) -> None:
        self._read_gallery()
        form = self.form
        if form is None or form.base.source is None:
            return
        source, before = form.base.source, form.base.to_data()

        def take(preset: Preset) -> None:
            if preset.to_data() == before or form.base.source != source:
                return
            if form.changes == 0:
                self.show_preset(preset)
                self.session.notices.say("info", f"{source.name} was changed on disk; the form shows it as it is now.")
            else:
                self.session.notices.say(
                    "warning", f"{source.name} was changed on disk.", "The form keeps what you changed here.",
                    "Show the file's values", lambda: self.show_preset(preset),
                )  # fmt: skip

        self.session.tasks.run(lambda: find_preset(source), take, self.session.notices.fail, key="build.reread")

    # -- preflight

    @property
    def question(self) -> Question | None:
        """What stands in the form; None while a value is wrong."""
        preset = self.form.preset if self.form is not None else None
        return Question(preset, self.model.model, until=self.bottom.until) if preset is not None else None

    def _model_changed(self) -> None:
        self.model.show_facts(None, waiting="Reading …" if self.model.model else "")
        self.gallery.set_model(None)
        self.bottom.show_commands(())
        self._edited()

    def _edited(self) -> None:
        self.answer = None
        self._reset_button.setEnabled(self.form is not None and self.form.changes > 0)
        first = not self.model.model and not self.model.recent
        self._middle.setCurrentIndex(1 if first else 0)
        self._arrange()
        if self.form is None:
            return
        self.flags.show_preset(self.form.preset or self.form.base)
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
        elif where == "presets":
            self._show_gallery(True)
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

    def build_demo(self) -> None:
        """Fetch the demo model where it is not here, then build the demo engine."""
        self.session.events.show_page.emit(self.name)
        self.runner.fetch_demo()

    def _fetched(self, folder: str, is_demo: bool, asked: str) -> None:
        if is_demo:
            folders = [self.session.home.presets, *gallery_folders()]
            self.session.tasks.run(
                lambda: find_preset("demo", folders), partial(self._build_fetched, folder), self.session.notices.fail
            )
        elif self.model.model == asked:
            self.model.set_model(folder)
            self.model.remember()
            self.session.notices.say("ok", f"{asked} is here.", folder, "Show", self._show_page)
        else:
            self.session.notices.say("ok", f"{asked} is here.", folder, "Use it", partial(self._use, folder))

    def _build_fetched(self, folder: str, preset: Preset) -> None:
        """Build the demo, whatever stands in the form; show it there if nothing of a person's own does."""
        if not self.model.model:
            self.model.set_model(folder)
            self.show_preset(preset)
        self.runner.build(Question(preset, folder))

    def _use(self, folder: str) -> None:
        self._show_page()
        self.model.set_model(folder)

    def _show_page(self) -> None:
        self.session.events.show_page.emit(self.name)

    def _download(self) -> None:
        revision = self.form.preset.model.revision if self.form is not None and self.form.preset else None
        self.runner.download(self.model.model, revision)

    def _started(self, job_id: str) -> None:
        self.model.remember()
        self.session.events.show_job.emit(job_id)

    def _preset_now(self) -> Preset | None:
        return self.form.preset if self.form is not None else None

    def _known_ids(self) -> tuple[frozenset[str], frozenset[str]]:
        """The person's own presets, with those that cannot be read, and the shipped ones."""
        own = {card.id for card in self._gallery.cards if card.own} | {b.path.stem for b in self._gallery.broken}
        return frozenset(own), frozenset(card.id for card in self._gallery.cards if not card.own)

    def _kept(self, saved: Preset) -> None:
        self.show_preset(saved)
        self._read_gallery()

    def _open_flags(self) -> None:
        preset = self.form.preset if self.form is not None else None
        if preset is not None and self.form is not None:
            answer = self.answer
            architecture = answer.model.architecture if answer is not None and answer.model is not None else None
            self.flags.open_table(preset, self.form.set_flags, answer.capability if answer else None, architecture)

    def build_with(self, preset: str, model: str) -> None:
        """Take a preset (id or file) and a model folder; what is empty stays."""
        if model:
            self.model.set_model(model)
        if preset:
            self.choose_preset(preset)

    # -- size

    @property
    def _wide(self) -> bool:
        return self.width() >= _WIDE

    def _show_gallery(self, shown: bool) -> None:
        self._gallery_shown[self._wide] = shown
        self._arrange()
        if shown:
            self.gallery.view.show_chosen()

    def _arrange(self) -> None:
        """Gallery, form and card side by side where there is room; else the gallery or the card."""
        shown = self._gallery_shown[self._wide]
        self._presets_button.setChecked(shown)
        self.gallery.setVisible(shown)
        self._gallery_rule.setVisible(shown)
        self._card_place.setVisible(self._wide or not shown)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    # -- between starts

    @property
    def busy(self) -> bool:
        return self.form is None or self.asker.waiting

    def opened(self) -> None:
        self._read_gallery()

    def state(self) -> dict[str, Any]:
        kept: dict[str, Any] = {"model": self.model.model, "recent": self.model.recent, "gallery": self.gallery.state()}
        if self.form is not None:
            preset = self.form.last
            kept |= {
                "preset": preset.id,
                "source": str(preset.source or ""),
                "form": preset.to_data(),
                "until": self.bottom.until,
                "folds": {title: fold.is_open for title, fold in self.form.folds.items()},
            }
        return kept

    def restore(self, state: dict[str, Any]) -> None:
        self._wanted = {key: state[key] for key in ("preset", "source", "form", "folds") if key in state}
        if isinstance(until := state.get("until"), str):
            self.bottom.set_until(until)
        recent = state.get("recent")
        if isinstance(recent, list):
            self.model.set_recent([one for one in recent if isinstance(one, str)])
        if isinstance(model := state.get("model"), str) and model:
            self.model.set_model(model)
        if isinstance(kept := state.get("gallery"), dict):
            self.gallery.restore(kept)

    def close_page(self) -> None:
        self._watch.stop()
        self.runner.stop()
        self.asker.close()
