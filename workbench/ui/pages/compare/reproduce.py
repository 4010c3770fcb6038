"""All that is needed to measure the same again: the command and what it was measured on."""

from __future__ import annotations

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QVBoxLayout, QWidget

from workbench.core.report.words import command_line
from workbench.ui.models.comparison_view import Shown
from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import MARGIN, button, label, row


def reproduce_text(shown: Shown) -> str:
    """Command, workload, load, environment and versions, to be copied."""
    head = shown.head
    environment = head.environment
    lines = [command_line(head.command), ""]
    lines += [f"# workload: {head.workload.words}, seed {head.workload.seed}", f"# load: {head.load.words}"]
    told = {
        "workbench": environment.workbench,
        "system": environment.os,
        "python": environment.python,
        "processor": environment.cpu,
        "gpus": ", ".join(environment.gpus),
        "driver": environment.driver,
    }
    lines += [f"# {name}: {value}" for name, value in told.items() if value]
    run = shown.comparison.run
    if run is not None and run.head.prompts_sha256:
        lines.append(f"# prompts: sha256 {run.head.prompts_sha256}")
    for variant in shown.variants:
        versions = ", ".join(f"{name} {value}" for name, value in variant.subject.environment.versions.items())
        lines.append(f"# {variant.subject.name}: {versions or variant.subject.toolchain_title}")
    return "\n".join(lines)


class ReproduceDialog(QDialog):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Reproduce")
        self.setObjectName("reproduce")
        self.setModal(True)
        self.resize(720, 420)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        self.text.setFont(mono_font(SMALL))
        self.text.setAccessibleName("Command and circumstances")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.addWidget(label("This command measures the same again.", "name"))
        layout.addWidget(self.text, 1)
        layout.addWidget(
            row(None, button("Close", self.reject), button("Copy all", self._copy, icon_name="copy", primary=True))
        )

    def show_shown(self, shown: Shown) -> None:
        self.text.setPlainText(reproduce_text(shown))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())
