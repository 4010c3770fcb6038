"""The one engine that is deployed: which, what it is, and how another is chosen."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout

from workbench.ui.models.deploying import DeployEngine
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, row
from workbench.ui.widgets.elided_line import ElidedLine


class EngineCard(QFrame):
    """`asked`: a person wants to choose one."""

    asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "card")
        self.choose_button = button("Choose…", self.asked.emit, icon_name="engines", small=True)
        self.choose_button.setAccessibleName("Choose the engine to deploy")
        self.name = ElidedLine("name")
        self.detail = label("", "text3", wrap=True)
        self.problem = label("", "error", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 12, MARGIN, 12)
        layout.setSpacing(GAP // 2)
        layout.addWidget(row(label("Engine", "name"), None, self.choose_button))
        for part in (self.name, self.detail, self.problem):
            layout.addWidget(part)
        self.show_nothing()

    def show_nothing(self) -> None:
        """No engine is chosen."""
        self.name.hide()
        self.problem.hide()
        self.detail.setText("Choose the engine that others are to call.")

    def show_loading(self, path: Path, name: str) -> None:
        """It is being looked at."""
        self.name.show()
        self.name.say(name or path.name, str(path))
        self.detail.setText("looking at its folder …")
        self.problem.hide()

    def show_engine(self, engine: DeployEngine) -> None:
        """It was looked at."""
        self.name.show()
        self.name.say(engine.name, str(engine.path))
        self.detail.setText(engine.words if engine.facts is not None else str(engine.path))
        failure = engine.facts_failure
        self.problem.setVisible(failure is not None)
        self.problem.setText(" ".join((failure.what, failure.fix)).strip() if failure is not None else "")
