"""What a server tells of speculative decoding: by vLLM's names, and only what its engine reports."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.serve.running import in_loop
from workbench.core.messages import Drafted, Stats
from workbench.core.server_metrics import ServerState, read_metrics
from workbench.serve.engine_backend import EngineBackend
from workbench.serve.metrics import Meter


def told(meter: Meter, drafted: Drafted | None) -> ServerState:
    meter.now(active=0, queued=0, connections=1, kv_share=None, drafted=drafted)
    return read_metrics(meter.prometheus())
