"""How a loaded subject is driven: engine hosts through their client, endpoints straight over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.bench.engine_target import EngineTarget
from workbench.bench.http_target import HttpTarget
from workbench.bench.target import Target
from workbench.core.endpoint import TITLES, dialect_of, read_endpoint
from workbench.measure.subjects import Opened
from workbench.toolchains.secrets import key_of


def target_of(opened: Opened) -> Target:
    """The load generator's way to it, made on the event loop that drives it.

    An endpoint's own host would be a second process on the way, and its time would be in every figure.
    """
    if opened.subject.toolchain != "endpoint":
        return EngineTarget(opened.client)
    spec = read_endpoint(Path(opened.subject.path))
    # What runs there was found out when the host was loaded.
    title = opened.client.ready.settings.get("server", "")
    kind = next((kind for kind, words in TITLES.items() if words == title), spec.server)
    return HttpTarget(
        spec.base_url,
        spec.model,
        api=spec.api,
        dialect=dialect_of(kind),
        key=str(key_of(spec.key, os.environ) or ""),
        verify_tls=spec.verify_tls,
        ca_file=spec.ca_file,
    )
