"""What stands beside the table of layers: targets, sums by type and precision, optimisation profiles."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QScrollArea, QVBoxLayout, QWidget

from workbench.core.tensorrt_rtx.layer_words import NOT_REPORTED, ProfileRows, Sum, target_parts
from workbench.core.units import format_bytes
from workbench.ui.models.layers import EngineLayers
from workbench.ui.pages.engines.provenance import Elided
from workbench.ui.theme import SMALL
from workbench.ui.widgets.basics import MARGIN, figure, label
from workbench.ui.widgets.editors import number_words
from workbench.ui.widgets.table_parts import NONE

_SHARED = "What several layers share counts with each of them"


class LayerFacts(QScrollArea):
    """Made anew for each engine."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Sums and profiles")

    def show_layers(self, found: EngineLayers) -> None:
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
        layout.setSpacing(4)
        layout.addWidget(label("Built for", "heading"))
        for first, gpus in map(target_parts, found.targets):
            layout.addWidget(label(first))
            layout.addWidget(label(gpus, "hint", wrap=True))
        if not found.targets:
            layout.addWidget(label(NOT_REPORTED, "text3"))
        layout.addSpacing(8)
        layout.addWidget(label("Engine", "heading"))
        layout.addWidget(_pairs(found.facts))
        for profile in found.profiles:
            layout.addSpacing(8)
            layout.addWidget(label(f"Profile {profile.name}", "heading"))
            layout.addWidget(_profile(profile))
        for title, sums in (("By type", found.by_type), ("By precision", found.by_precision)):
            layout.addSpacing(8)
            layout.addWidget(label(title, "heading"))
            layout.addWidget(_sums(sums))
        layout.addSpacing(8)
        layout.addWidget(label(f"Read from {found.source} when it was built.", "hint", wrap=True))
        layout.addStretch(1)
        self.setWidget(body)


def _grid(*heads: str) -> tuple[QWidget, QGridLayout]:
    made = QWidget()
    grid = QGridLayout(made)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(12)
    grid.setVerticalSpacing(2)
    grid.setColumnStretch(0, 1)
    for at, text in enumerate(heads):
        head = label(text, "hint")
        if at:
            head.setAlignment(Qt.AlignmentFlag.AlignRight)
        grid.addWidget(head, 0, at)
    return made, grid


def _pairs(pairs: tuple[tuple[str, str], ...]) -> QWidget:
    made, grid = _grid()
    for at, (name, words) in enumerate(pairs):
        grid.addWidget(label(name, "text2"), at, 0)
        grid.addWidget(figure(words, SMALL), at, 1)
    return made


def _sums(sums: tuple[Sum, ...]) -> QWidget:
    made, grid = _grid("", "Layers", "Constants")
    made.setToolTip(_SHARED)
    for at, one in enumerate(sums, 1):
        grid.addWidget(Elided(one.name, "text2"), at, 0)
        grid.addWidget(figure(number_words(one.layers), SMALL), at, 1)
        grid.addWidget(figure(format_bytes(one.constants_bytes) if one.constants_bytes else NONE, SMALL), at, 2)
    return made


def _profile(profile: ProfileRows) -> QWidget:
    """Its inputs, each with the least shape, the one it is fastest at, and the largest."""
    made = QWidget()
    layout = QVBoxLayout(made)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(2)
    layout.addWidget(label(f"{number_words(profile.layers)} layers", "text2"))
    for one in profile.inputs:
        name = f"{one.name} ({one.count} inputs)" if one.count > 1 else one.name
        layout.addSpacing(2)
        layout.addWidget(Elided(name, "text2"))
        words = [one.least] if one.least == one.most else [f"min {one.least}", f"opt {one.best}", f"max {one.most}"]
        shapes = figure("\n".join(words), SMALL)
        shapes.setAlignment(Qt.AlignmentFlag.AlignLeft)
        shapes.setAccessibleName(f"{name}: {', '.join(words)}")
        layout.addWidget(shapes)
    return made
