"""The layers of a compiled engine as the window shows them, read in a background thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.core.artifact import Provenance
from workbench.core.tensorrt_rtx.layer_words import (
    LayerRow,
    ProfileRows,
    Sum,
    engine_facts,
    layer_rows,
    profile_rows,
    sums,
    targets_of_result,
)
from workbench.core.tensorrt_rtx.layers import read_layers

WITH_LAYERS = frozenset(("tensorrt_rtx",))
"""Toolchains whose engines come with a list of their layers."""


@dataclass(frozen=True)
class EngineLayers:
    """All that the view of layers shows."""

    folder: Path
    rows: tuple[LayerRow, ...]
    by_type: tuple[Sum, ...]
    by_precision: tuple[Sum, ...]
    profiles: tuple[ProfileRows, ...]
    targets: tuple[str, ...]
    """Compute capabilities that it was built for."""
    facts: tuple[tuple[str, str], ...]
    source: str
    """What the list was read from when the engine was built."""


def read_engine_layers(folder: Path, provenance: Provenance) -> EngineLayers:
    """Layers, sums and profiles of an engine. Blocks on the disk.

    Raises BadInputError when the list is missing or damaged.
    """
    table = read_layers(folder)
    rows = layer_rows(table)
    return EngineLayers(
        folder,
        rows,
        sums(rows, lambda row: row.type),
        sums(rows, lambda row: row.precision),
        profile_rows(table),
        targets_of_result(provenance.result),
        engine_facts(provenance.result),
        table.source,
    )
