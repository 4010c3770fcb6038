"""What the monitor shows, in a file: the values in view as CSV, or a picture of all panels."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QIODevice, QSaveFile
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from workbench.core.errors import BadInputError
from workbench.telemetry.export import write_csv
from workbench.ui.monitor.board import Board
from workbench.ui.session import Session

_FOLDER = "monitor.folder"
SCALE = 2.0
"""Device px a px of an exported picture."""


def ask_csv(session: Session, board: Board, parent: QWidget) -> QFileDialog:
    """Ask for a file; when one is given, write the values in view to it."""
    window = board.shown()
    start, end = window.start, min(window.end, window.now)

    def save(path: Path) -> None:
        session.tasks.run(lambda: write_csv(board.source, path, start, end), _said(session, path), session.notices.fail)

    return _ask(session, parent, "Export values as CSV", "CSV table (*.csv)", "csv", save)


def ask_png(session: Session, board: Board, parent: QWidget) -> QFileDialog:
    """Ask for a file; when one is given, write the picture as it was when it was asked for."""
    image = board.picture(SCALE)

    def save(path: Path) -> None:
        session.tasks.run(lambda: write_png(image, path), _said(session, path), session.notices.fail)

    return _ask(session, parent, "Export picture as PNG", "Picture (*.png)", "png", save)


def write_png(image: QImage, path: Path) -> None:
    """Write a picture whole, in any thread. Raises BadInputError."""
    file = QSaveFile(str(path))
    if not file.open(QIODevice.OpenModeFlag.WriteOnly) or not image.save(file, "PNG") or not file.commit():  # type: ignore[call-overload]
        raise BadInputError(
            f"{path} cannot be written.", evidence=file.errorString(), fix="Give a place that can be written to."
        )


def _said(session: Session, path: Path) -> Callable[[object], None]:
    return lambda _: session.notices.say("info", f"Written: {path.name}", str(path))


def _ask(
    session: Session, parent: QWidget, title: str, kind: str, suffix: str, save: Callable[[Path], None]
) -> QFileDialog:
    folder = session.state.get(_FOLDER)
    dialog = QFileDialog(parent, title, folder if isinstance(folder, str) and folder else str(Path.home()), kind)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setDefaultSuffix(suffix)
    dialog.selectFile(time.strftime(f"monitor-%Y-%m-%d-%H%M%S.{suffix}"))

    def chosen(name: str) -> None:
        session.state.put(_FOLDER, str(Path(name).parent))
        save(Path(name))

    dialog.fileSelected.connect(chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
    return dialog
