"""Servers made by hand for the page's tests and pictures, as their processes leave them; and the page's faces."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.core.serving import Percentiles, ServeReading, ServeSpec, ServeState
from workbench.serve.folder import ServingFolder, create, new_id
from workbench.serve.readings import line_of
from workbench.ui.pages.deploy.left import LAUNCH, SERVE, TRITON
from workbench.ui.pages.deploy.page import DeployPage
from workbench.ui.window import Window

MODEL = "SmolLM2-135M-Instruct-int4"
REFUSED = {"401": 2, "413": 1, "429": 40}
PROBLEMS = (
    "12:00:01 401 to 127.0.0.1: the key is wrong",
    "12:00:02 413 to 127.0.0.1: the body is too large",
    "12:00:09 429 to 127.0.0.1: the queue is full",
)


def reading_at(at: float, second: int, **changes: Any) -> ServeReading:
    """The reading of a server that has been at work for so many seconds."""
    values: dict[str, Any] = {
        "at": at, "connections": 9, "active": 4 + second % 5, "queued": second % 3, "requests": 2 * second,
        "completed": 2 * second, "aborted": 1, "refused": REFUSED, "failed": 0, "input_tokens": 60 * second,
        "output_tokens": 130 * second, "output_tok_s": 130.0 + 20 * math.sin(second / 7), "req_s": 2.0,
        "ttft": Percentiles(p50=41.2, p90=88.0, p99=131.5, n=500),
        "itl": Percentiles(p50=11.31, p90=14.02, p99=22.5, n=500),
        "latency": Percentiles(p50=1450.0, p90=2210.0, p99=3120.0, n=500),
        "queue_wait": Percentiles(p50=0.4, p90=12.0, p99=80.0, n=500), "kv_share": 0.2 + second % 10 / 100,
    }  # fmt: skip
    return ServeReading(**{**values, **changes})


_NEXT_MS = itertools.count()
"""Servers are listed by their names, which tell milliseconds: two made in one would stand in any order."""


def make_server(
    home: Home, name: str = "tiny-int4", *, status: Any = "stopped", seconds: int = 60, **changes: Any
) -> Path:
    """The folder of a server that has ended; `changes` are its last state's."""
    now = time.time()
    spec = ServeSpec(
        id=new_id(now + next(_NEXT_MS) / 1000),
        engine=f"/home/engines/{name}",
        name=name,
        model=MODEL,
        port=8000,
        created_at=now - seconds,
    )
    folder = create(home.serving, spec)
    readings = [reading_at(now - seconds + second, second) for second in range(1, seconds + 1)]
    folder.readings_path.write_bytes(b"".join(line_of(one) + b"\n" for one in readings))
    folder.log_path.write_text("loads the engine\nready\n")
    folder.access_path.write_text("12:00:03 127.0.0.1 /v1/completions 200 64 tokens 1450 ms\n")
    state = ServeState(
        status=status, pid=1, url="http://127.0.0.1:8000/v1", toolchain="openvino", program="engine host",
        started_at=now - seconds - 8, ready_at=now - seconds, ended_at=now, reading=readings[-1], problems=PROBLEMS,
    ).model_copy(update=changes)  # fmt: skip
    folder.write_state(state)
    return ServingFolder(folder.path).path


def failed_server(home: Home) -> Path:
    """The folder of a server whose engine's host died."""
    failure = Failure(
        code="host-died",
        what="The engine's host ended while it answered.",
        evidence="signal 9 (killed): it took more memory than there is",
        fix="Make the KV pool smaller, and start it again.",
    )
    return make_server(home, "a-model-with-a-rather-long-name-of-many-words-int8", status="failed", failure=failure)


def deploy_faces(window: Window, settle: Callable[[Window], None]) -> Iterator[str]:
    """Servers that ended, every form folded and open, and the exports of an engine of the home."""
    page = window.page("deploy")
    assert isinstance(page, DeployPage)
    home = window.session.home
    engines = sorted((home.artifacts / "engines").glob("*/provenance.json"))
    if engines:
        make_server(home)
        failed_server(home)
        page.take_path(str(engines[0].parent))
    for way in (SERVE, TRITON, LAUNCH):
        page.left.choose_way(way)
        settle(window)
        yield f"deploy {way}"
    for fold in (page.serve.limits_fold, page.serve.runtime_fold, page.triton.more, page.launch.cluster):
        fold.set_open(True)
    page.triton.draft.set_text("/nowhere")
    page.triton.kv_fraction.set_text("2")
    page.triton.kv_fraction.changed.emit()
    for button in page.serve.key.buttons:
        page.left.choose_way(SERVE)
        button.click()
        settle(window)
        yield f"deploy serve, {button.accessibleName()}"
    for way in (TRITON, LAUNCH, SERVE):
        page.left.choose_way(way)
        settle(window)
        yield f"deploy {way}, open"
