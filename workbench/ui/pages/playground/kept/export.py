"""A conversation as a file for others: Markdown to read, or JSON to keep."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QStandardPaths, Qt
from PySide6.QtWidgets import QFileDialog, QWidget

from workbench.core.conversation import Conversation
from workbench.core.conversation_text import markdown
from workbench.core.errors import BadInputError
from workbench.store.private_file import write_whole
from workbench.ui.session import Session

_FILTERS = {"Markdown (*.md)": ".md", "JSON (*.json)": ".json"}


def file_name(title: str) -> str:
    """A title as a file's name without an ending: letters and digits of any script, dashes between."""
    return re.sub(r"[\W_]+", "-", title).strip("-")[:60] or "conversation"


def write_export(conversation: Conversation, path: Path) -> Path:
    """Write it whole: JSON where the name ends so, else Markdown. Raises BadInputError."""
    text = conversation.to_json() if path.suffix.lower() == ".json" else markdown(conversation)
    try:
        write_whole(path, text)
    except OSError as error:
        raise BadInputError(
            "The conversation could not be exported.",
            evidence=f"{path}: {error.strerror or error}",
            fix="Choose another place, or check the folder's owner, mode and free space.",
            code="not-writable",
        ) from error
    return path


def ask_export(session: Session, parent: QWidget, title: str, get: Callable[[], Conversation]) -> QFileDialog:
    """Ask for a file, then write there what `get` gives; both run in a task, and a notice says how it ended."""
    dialog = QFileDialog(parent, "Export the conversation")
    dialog.setObjectName("export-file")
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilters(list(_FILTERS))
    dialog.setDefaultSuffix("md")
    dialog.filterSelected.connect(lambda chosen: dialog.setDefaultSuffix(_FILTERS.get(chosen, ".md")[1:]))
    documents = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
    if documents and Path(documents).is_dir():
        dialog.setDirectory(documents)
    dialog.selectFile(file_name(title))
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

    def write(chosen: str) -> None:
        def done(path: Path) -> None:
            session.notices.say("ok", f"The conversation was exported to {path.name}.", str(path))

        session.tasks.run(lambda: write_export(get(), Path(chosen)), done, session.notices.fail)

    dialog.fileSelected.connect(write)
    dialog.open()
    return dialog
