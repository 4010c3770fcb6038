"""layers.json: what the builder's log said of the engine's layers and bindings, with the profiles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from workbench.core.tensorrt_rtx.layers import LAYERS_FILE, LayerTable
from workbench.core.tensorrt_rtx.log import BuilderLog
from workbench.workers.protocol import Channel
from workbench.workers.tensorrt_rtx.profiles import Shapes


def write_layers(out: Path, log: BuilderLog, profiles: Sequence[tuple[str, Shapes]], channel: Channel) -> LayerTable:
    """Write the table into the engine's folder; an engine without one is whole, so its absence is a warning."""
    table = log.reader.table(profiles)
    if not table.layers:
        channel.log("the builder's log named no layers: the engine's layers cannot be shown", "warning")
    data = {"schema_version": table.schema_version, **table.model_dump(mode="json", exclude_defaults=True)}
    (out / LAYERS_FILE).write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")
    return table
