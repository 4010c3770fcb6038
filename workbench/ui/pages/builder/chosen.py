"""Which preset the form shows: chosen in the gallery, put aside for another, and read again when its file changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from workbench.core.errors import Failure
from workbench.core.galleries import preset_folders
from workbench.core.preset import Preset, find_preset, preset_id_of
from workbench.ui.models.gallery import Gallery, read_gallery
from workbench.ui.pages.builder.form import Form
from workbench.ui.pages.builder.gallery import GalleryPane
from workbench.ui.pages.builder.preset_watch import PresetWatch
from workbench.ui.pages.builder.remembered import FormState
from workbench.ui.session import Session

DEFAULT_PRESET = "cpu-int8"


class ChosenPreset(QObject):
    """Keeps gallery and form at one preset. Nothing that a person changed goes without an offer to take it back."""

    made = Signal(object)
    """The Form, once the first preset is read."""
    shown = Signal(object)
    """A Preset that was put into the form."""
    edited = Signal()
    """The form says something else than before."""
    opened = Signal(object)
    """A Preset that was opened from a file elsewhere than where presets are kept."""

    def __init__(self, session: Session, pane: GalleryPane, parent: QObject) -> None:
        super().__init__(parent)
        self._session, self._pane = session, pane
        self._watch = PresetWatch(session.home.presets, self)
        self._wanted = FormState()
        self._next = ""
        """What was asked for before the first preset was shown."""
        self._settled = False
        self.gallery = Gallery()
        self.form: Form | None = None
        pane.chosen.connect(self.choose)
        self._watch.changed.connect(self._files_changed)
        session.events.settings_changed.connect(lambda key: self.read_gallery() if key == "folders.presets" else None)

    @property
    def now(self) -> Preset | None:
        """What the form says; None while there is none, and while a value is wrong."""
        return self.form.preset if self.form is not None else None

    @property
    def known_ids(self) -> tuple[frozenset[str], frozenset[str]]:
        """The person's own presets, with those that cannot be read, and the shipped ones."""
        own = {card.id for card in self.gallery.cards if card.own} | {preset_id_of(b.path) for b in self.gallery.broken}
        return frozenset(own), frozenset(card.id for card in self.gallery.cards if not card.own)

    @property
    def state(self) -> FormState:
        """What to remember; before there is a form, what was remembered."""
        return FormState.of(self.form) if self.form is not None else self._wanted

    def restore(self, state: FormState) -> None:
        """What the first preset that is read should be, and what to fill in."""
        self._wanted = state

    def stop(self) -> None:
        """Watch no file any more."""
        self._watch.stop()

    # -- reading

    def read_gallery(self) -> None:
        """Read all presets anew; the first time one of them is chosen."""
        session = self._session
        session.tasks.run(lambda: read_gallery(session.home), self._take_gallery, session.notices.fail, key="gallery")

    def _take_gallery(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self._pane.set_gallery(gallery)
        self._watch.look()
        if self.form is None:
            wanted = self._wanted.preset_id or DEFAULT_PRESET
            if not gallery.card(wanted):
                wanted = self._wanted.source or (gallery.cards[0].id if gallery.cards else "")
            if wanted:
                self.choose(wanted)
            else:
                self._settle()

    def open_first(self, wanted: str) -> None:
        """As `choose`, for what may be asked before there is a form: the remembered preset is shown first, so that
        what was changed in it is put aside and not lost."""
        if self._settled:
            self.choose(wanted)
        else:
            self._next = wanted

    def _settle(self) -> None:
        """The first preset is shown, or none can be."""
        self._settled = True
        wanted, self._next = self._next, ""
        if wanted:
            self.choose(wanted)

    def choose(self, wanted: str) -> None:
        """Read a preset by its id or path and show it; settings of the one before are left."""
        if not wanted:
            return
        home = self._session.home

        def read() -> tuple[Preset, bool]:
            folders = preset_folders(home)
            preset = find_preset(wanted, folders)
            return preset, preset.source is None or Path(preset.source).parent in folders

        self._session.tasks.run(read, self._take, self._failed, key="build.preset")

    def _take(self, found: tuple[Preset, bool]) -> None:
        preset, is_kept = found
        first = not self._settled
        self.show(preset)
        if first:
            self._settle()
        elif not is_kept:
            self.opened.emit(preset)

    def _failed(self, failure: Failure) -> None:
        self._session.notices.fail(failure)
        if self.form is not None:
            self._pane.choose(self.form.base.id)
        elif self.gallery.card(DEFAULT_PRESET):
            self._wanted = FormState()
            self.choose(DEFAULT_PRESET)
        else:
            self._settle()

    def _files_changed(self) -> None:
        self.read_gallery()
        form = self.form
        if form is None or form.base.source is None:
            return
        source, before = form.base.source, form.base.to_data()
        notices = self._session.notices

        def take(preset: Preset) -> None:
            if preset.to_data() == before or form.base.source != source:
                return
            if form.changes == 0:
                self.show(preset)
                notices.say("info", f"{source.name} was changed on disk; the form shows it as it is now.")
            else:
                notices.say(
                    "warning", f"{source.name} was changed on disk.", "The form keeps what you changed here.",
                    "Show the file's values", lambda: self.show(preset),
                )  # fmt: skip

        self._session.tasks.run(lambda: find_preset(source), take, notices.fail, key="build.reread")

    # -- showing

    def show(self, preset: Preset) -> None:
        """Fill the form from a preset."""
        if self.form is None:
            self.form = Form(preset)
            self.form.edited.connect(self.edited)
            self.made.emit(self.form)
            self._wanted.fill(self.form)
            self._wanted = FormState()
        else:
            self._put_aside(self.form, preset)
            self.form.set_preset(preset)
        self._tell(preset)

    def saved(self, preset: Preset) -> None:
        """Show what the form was kept as."""
        self.show(preset)
        self.read_gallery()

    def reset(self) -> None:
        """Take back what was changed in the form."""
        if self.form is not None:
            self._put_aside(self.form, self.form.base)
            self.form.set_preset(self.form.base)
            self.edited.emit()

    def _put_aside(self, form: Form, preset: Preset) -> None:
        """Offer to take back what was changed, before another preset takes its place."""
        count, base, changed = form.changes, form.base, form.last
        if count and not _same_but_for_words(preset, changed):
            words = (
                f"{count} change{'s' if count > 1 else ''} to {base.title} {'were' if count > 1 else 'was'} put aside."
            )
            self._session.notices.say("info", words, "", "Take back", partial(self._take_back, base, changed))

    def _take_back(self, base: Preset, changed: Preset) -> None:
        if self.form is not None:
            self.form.set_preset(base)
            self.form.show_preset(changed)
            self._tell(base)

    def _tell(self, preset: Preset) -> None:
        self._pane.choose(preset.id)
        self._watch.look(preset.source)
        self.shown.emit(preset)
        self.edited.emit()


def _same_but_for_words(one: Preset, other: Preset) -> bool:
    """Whether they build the same; a preset that was just saved has a title and a description of its own."""
    words = {"title": other.title, "description": other.description}
    return one.model_copy(update=words).to_data() == other.to_data()
