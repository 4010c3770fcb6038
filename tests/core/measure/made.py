"""Points of known timings, for tests of what is computed from them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord, RequestRecord, RunHead, RunRecord, Subject
from workbench.core.measure.workload import Workload, fixed
from workbench.core.metrics import Chunk


def request(
    number: int, t0_s: float, ttft_s: float, itl_s: float, tokens: int, per_chunk: int = 1, **other: Any
) -> RequestRecord:
    """An answer of `tokens` tokens, the first alone and then so many a response."""
    chunks = [Chunk(t0_s + ttft_s, 1)]
    while (made := sum(chunk.tokens for chunk in chunks)) < tokens:
        step = min(per_chunk, tokens - made)
        chunks.append(Chunk(chunks[-1].t_s + step * itl_s, step))
    fields: dict[str, Any] = {
        "due_s": t0_s, "sent_s": t0_s, "end": "length", "ended_s": chunks[-1].t_s, "prompt": number,
        "input_tokens": 10, "wanted_tokens": tokens, "reported_tokens": tokens, "count_source": "engine ids",
    }  # fmt: skip
    return RequestRecord(number=number, chunks=tuple(chunks), **{**fields, **other})


def point(requests: Sequence[RequestRecord], duration_s: float, **other: Any) -> PointRecord:
    fields: dict[str, Any] = {
        "subject": "s1", "level": 1.0, "repeat": 0, "began_at": 1000.0, "end": "complete", "measured_from_s": 0.0,
    }  # fmt: skip
    return PointRecord(duration_s=duration_s, requests=tuple(requests), **{**fields, **other})


def one_after_the_other(
    count: int, speed: float = 1.0, noise: float = 0.02, seed: int = 1, level: float = 1.0, repeat: int = 0
) -> PointRecord:
    """Requests of 16 tokens, TTFT 100 ms, ITL 10 ms by `speed`, each some percent off by chance."""
    chance = random.Random(seed)
    now, made = 0.0, []
    for number in range(count):
        off = chance.gauss(1.0, noise) / speed
        one = request(number, now, 0.1 * off, 0.01 * off, 16)
        made.append(one)
        now = one.ended_s
    return point(made, now, level=level, repeat=repeat)


def run(points: Sequence[PointRecord], name: str = "INT8", **other: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "id": "r1",
        "created_at": 1000.0,
        "status": "complete",
        "workload": Workload(input=fixed(10), output=fixed(16)),
        "load": Load(requests=8),
        "subjects": (Subject(id="s1", name=name, toolchain="openvino", precision="int8"),),
        "prompts_sha256": "ab",
    }
    return RunRecord(RunHead(**{**fields, **other}), tuple(points))
