"""The right column of the playground: sampling, the engine's runtime, what the engine is, and definitions."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QScrollArea, QVBoxLayout

from workbench.ui.models.loading import LoadedEngine
from workbench.ui.pages.playground.settings.runtime import DefinitionsPanel, FactsPanel, RuntimePanel
from workbench.ui.pages.playground.settings.sampling import SamplingPanel
from workbench.ui.widgets.basics import fill, surface

WIDTH = 290


class Side(QScrollArea):
    """Folds below each other that scroll together."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Settings of the playground")
        self.sampling, self.runtime = SamplingPanel(), RuntimePanel()
        self.facts, self.definitions = FactsPanel(), DefinitionsPanel()
        inside = surface("panel")
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        fill(layout, (self.sampling, self.runtime, self.facts, self.definitions, None))
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFixedWidth(WIDTH)

    def show_engine(self, engine: LoadedEngine | None) -> None:
        self.sampling.show_engine(
            engine.ready.sampling if engine is not None else None,
            engine.facts.toolchain_title if engine is not None else "",
        )
        self.runtime.show_engine(engine)
        self.facts.show_engine(engine)
        self.facts.setVisible(engine is not None)
        self.runtime.setVisible(engine is not None)

    def state(self) -> dict[str, Any]:
        folds = {"runtime": self.runtime, "facts": self.facts, "definitions": self.definitions}
        return {"sampling": self.sampling.state(), "open": {name: fold.is_open for name, fold in folds.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        sampling, folds = state.get("sampling"), state.get("open")
        if isinstance(sampling, dict):
            self.sampling.restore(sampling)
        if isinstance(folds, dict):
            for name, fold in (("runtime", self.runtime), ("facts", self.facts), ("definitions", self.definitions)):
                fold.set_open(bool(folds.get(name, fold.is_open)))
