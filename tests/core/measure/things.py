"""Runs and comparisons of known figures, made by hand."""

from __future__ import annotations

from typing import Any

from workbench.core.measure.comparison import Comparison, ComparisonHead
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.load import Load
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import PointRecord, RequestRecord, RunHead, RunRecord, Subject
from workbench.core.measure.workload import Workload, fixed
from workbench.core.metrics import Chunk

WORKLOAD = Workload(name="demo", input=fixed(64), output=fixed(11))


def a_request(number: int, t0_s: float, *, ttft_s: float, itl_s: float, tokens: int = 11, **more: Any) -> RequestRecord:
    """Answers in single tokens, each `itl_s` after the one before."""
    chunks = tuple(Chunk(t0_s + ttft_s + place * itl_s, 1) for place in range(tokens))
    return RequestRecord(
        number,
        t0_s,
        t0_s,
        chunks,
        "length",
        chunks[-1].t_s,
        number,
        **{
            "input_tokens": 64,
            "wanted_tokens": tokens,
            "reported_tokens": tokens,
            "count_source": "engine ids",
            **more,
        },
    )


def a_point(
    subject: str, level: float, *, ttft_s: float = 0.1, itl_s: float = 0.01, requests: int = 4, repeat: int = 0
) -> PointRecord:
    """`level` users, each asking `requests` times, one request after the other."""
    each_s = ttft_s + 10 * itl_s
    made = [
        a_request(turn * int(level) + user, turn * each_s, ttft_s=ttft_s, itl_s=itl_s)
        for turn in range(requests)
        for user in range(int(level))
    ]
    return PointRecord(subject, level, repeat, 1_700_000_000.0, requests * each_s, "complete", tuple(made))


def a_subject(subject_id: str, name: str, **more: Any) -> Subject:
    fields = {"toolchain": "openvino", "toolchain_title": "OpenVINO GenAI", "tokenizer": "t", "model": "M"}
    return Subject(id=subject_id, name=name, **{**fields, **more})


def a_comparison(
    subjects: tuple[Subject, ...],
    points: tuple[PointRecord, ...],
    quality: tuple[QualityRecord, ...] = (),
    **more: Any,
) -> Comparison:
    levels = tuple(sorted({point.level for point in points})) or (1.0,)
    load = Load(levels=levels, duration_s=1.0)
    head = ComparisonHead(
        id="c1", title="M", created_at=1_700_000_000.0, baseline=subjects[0].id, subjects=subjects,
        workload=WORKLOAD, load=load, status="complete", **more,
    )  # fmt: skip
    run = RunHead(id="r1", created_at=1_700_000_000.0, workload=WORKLOAD, load=load, subjects=subjects)
    return Comparison(head, RunRecord(run, points), quality)


def a_quality(subject: str, perplexity: float, **more: Any) -> QualityRecord:
    value = Estimate(value=perplexity, low=perplexity * 0.99, high=perplexity * 1.01, n=100)
    return QualityRecord(subject=subject, baseline="s1", perplexity=value, **more)
