"""What follows when a model that was fetched is there: the demo is built, another is offered or shown."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject

from workbench.core.galleries import preset_folders
from workbench.core.preset import Preset, find_preset
from workbench.ui.models.preflight import Question
from workbench.ui.pages.builder.chosen import ChosenPreset
from workbench.ui.pages.builder.model_bar import ModelBar
from workbench.ui.pages.builder.runner import Runner
from workbench.ui.session import Session


class Fetched(QObject):
    """A model that a person chose meanwhile stays chosen."""

    def __init__(
        self, session: Session, runner: Runner, model: ModelBar, chosen: ChosenPreset, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._session, self._runner, self._model, self._chosen = session, runner, model, chosen
        runner.fetched.connect(self._take)

    def build_demo(self) -> None:
        """Fetch the demo model where it is not here, then build the demo engine."""
        self._show_page()
        self._runner.fetch_demo()

    def download(self) -> None:
        """Download the repository that is named in the model's field."""
        preset = self._chosen.now
        self._runner.download(self._model.model, preset.model.revision if preset is not None else None)

    def _take(self, folder: str, is_demo: bool, asked: str) -> None:
        session = self._session
        if is_demo:
            home = session.home
            session.tasks.run(
                lambda: find_preset("demo", preset_folders(home)),
                partial(self._build_demo, folder),
                session.notices.fail,
            )
        elif self._model.model == asked:
            self._model.set_model(folder)
            self._model.remember()
            session.notices.say("ok", f"{asked} is here.", folder, "Show", self._show_page)
        else:
            session.notices.say("ok", f"{asked} is here.", folder, "Use it", partial(self._use, folder))

    def _build_demo(self, folder: str, preset: Preset) -> None:
        """Build the demo, whatever stands in the form; show it there if nothing of a person's own does."""
        if not self._model.model:
            self._model.set_model(folder)
            self._chosen.show(preset)
        self._runner.build(Question(preset, folder))

    def _use(self, folder: str) -> None:
        self._show_page()
        self._model.set_model(folder)

    def _show_page(self) -> None:
        self._session.events.show_page.emit("build")
