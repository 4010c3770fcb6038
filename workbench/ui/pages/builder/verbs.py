"""What can be done with a form besides building it: copy and save the commands, keep it as a preset, ask precisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QFileDialog, QWidget

from workbench.core.preset import Preset
from workbench.ui.models.builds import PRESET_FILE, export_preset, save_own_preset, save_script, script_text
from workbench.ui.models.preflight import Answer, Question
from workbench.ui.pages.builder.dialogs import PrecisionsDialog, SavePresetDialog
from workbench.ui.session import Session

_CHOOSE_FIRST = "Choose a preset and a model first."
_WAIT = "Preflight is still at work; ask again when it has answered."


class Verbs(QObject):
    """Acts on the last answer of preflight and on the form's preset, which the page gives."""

    kept = Signal(object)
    """A Preset that was saved."""
    found = Signal(str)
    """Name of a repository of the Hub that was chosen."""

    def __init__(
        self,
        session: Session,
        owner: QWidget,
        answer: Callable[[], Answer | None],
        preset: Callable[[], Preset | None],
        known_ids: Callable[[], tuple[frozenset[str], frozenset[str]]],
    ) -> None:
        super().__init__(owner)
        self._session, self._owner = session, owner
        self._answer, self._preset, self._known_ids = answer, preset, known_ids

    def copy(self) -> None:
        """Put the commands on the clipboard."""
        answer = self._answer()
        if answer is None or not answer.commands:
            self._session.notices.say("info", _CHOOSE_FIRST if answer else _WAIT)
        else:
            QGuiApplication.clipboard().setText("\n".join(command.text for command in answer.commands))
            self._session.notices.say("info", "Copied the commands.")

    def save_script(self) -> None:
        """Write a shell script that builds the same."""
        answer = self._answer()
        if answer is None or answer.build is None:
            words = (answer.no_build or _CHOOSE_FIRST) if answer is not None else _WAIT
            self._session.notices.say("info", words)
            return
        text = script_text(answer.build.argv, self._session.home)
        path, _ = QFileDialog.getSaveFileName(self._owner, "Save as script", "build.sh", "Shell scripts (*.sh)")
        if path:
            self.write_script(Path(path), text)

    def write_script(self, path: Path, text: str) -> None:
        """Write it off the GUI thread and say so."""
        self._session.tasks.run(
            lambda: save_script(path, text),
            lambda saved: self._session.notices.say("ok", f"Saved {saved.name}.", str(saved)),
            self._session.notices.fail,
        )

    def save_preset(self) -> None:
        """Ask for a name and keep the form as a preset."""
        preset = self._preset()
        if preset is None:
            self._session.notices.say("info", "A setting is wrong; mend it first.")
            return
        self._open(SavePresetDialog(preset, *self._known_ids(), self._keep, self._ask_export, self._owner.window()))

    def _keep(self, preset: Preset, name: str) -> None:
        def kept(saved: Preset) -> None:
            self._session.notices.say("ok", f"Saved {saved.id}.toml among your presets.")
            self.kept.emit(saved)

        home = self._session.home
        self._session.tasks.run(lambda: save_own_preset(home, preset, name), kept, self._session.notices.fail)

    def open_preset(self) -> None:
        """Ask for a preset's file and show it, as one that was dropped on the window."""
        path, _ = QFileDialog.getOpenFileName(self._owner, "Open a preset file", "", "Presets (*.toml)")
        if path:
            self._session.events.build_with.emit(path, "")

    def _ask_export(self, preset: Preset) -> None:
        named = f"{preset.id or 'preset'}{PRESET_FILE}"
        path, _ = QFileDialog.getSaveFileName(self._owner, "Export the preset", named, f"Presets (*{PRESET_FILE})")
        if path:
            self.export_preset(preset, Path(path))

    def export_preset(self, preset: Preset, path: Path) -> None:
        """Write a preset to a file that can be given away, off the GUI thread, and say so."""
        self._session.tasks.run(
            lambda: export_preset(preset, path),
            lambda saved: self._session.notices.say("ok", f"Exported {saved.name}.", str(saved)),
            self._session.notices.fail,
        )

    def ask_precisions(self, build: Callable[[Question], None]) -> None:
        """Ask which precisions; `build` gets the question with them."""
        answer = self._answer()
        if answer is None or answer.report is None:
            self._session.notices.say("info", _CHOOSE_FIRST)
            return
        question = answer.question

        def chosen(precisions: tuple[str, ...]) -> None:
            build(replace(question, precisions=precisions))

        self._open(PrecisionsDialog(answer, chosen, self._owner.window()))

    def search_hub(self) -> None:
        """Look for a model on the Hugging Face Hub."""
        from workbench.ui.pages.builder.hub_dialog import HubDialog

        self._session.events.show_page.emit("build")
        dialog = HubDialog(self._session, "", self._owner.window())
        dialog.chosen.connect(self.found)
        self._open(dialog)

    def _open(self, dialog: QDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()
