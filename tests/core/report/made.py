"""Runs and comparisons of known timings, from which the report's tests are made."""

from __future__ import annotations

from workbench.core.errors import Failure
from workbench.core.measure.comparison import Comparison, ComparisonHead, Price
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.load import Load
from workbench.core.measure.quality import PromptScore, QualityRecord, TaskScore, TokenChoice
from workbench.core.measure.record import (
    ClientHealth,
    Environment,
    PointRecord,
    RequestRecord,
    RunHead,
    RunRecord,
    Sample,
    Subject,
)
from workbench.core.measure.workload import WORKLOADS, Workload
from workbench.core.metrics import Chunk
from workbench.core.report.build import report_of_comparison
from workbench.core.report.model import Report

WHEN = 1_763_700_000.0
MACHINE = Environment(
    workbench="0.1.0",
    os="Linux 6.8",
    python="3.11.7",
    cpu="Example CPU",
    cores=16,
    memory_bytes=128 * 2**30,
    gpus=("NVIDIA H100 80GB HBM3",),
    gpu_memory_bytes=(80 * 2**30,),
    driver="580.95.05",
    sm_mhz=1980,
    clocks_locked=False,
    power_limit_w=700,
    versions={"openvino": "2026.4.0", "openvino-genai": "2026.4.0"},
)


def answer(number: int, at_s: float, ttft_s: float, itl_s: float, tokens: int, *, failed: str = "") -> RequestRecord:
    chunks = tuple(Chunk(at_s + ttft_s + itl_s * index, 1) for index in range(tokens))
    if failed:
        return RequestRecord(number, at_s, at_s, end="error", ended_s=at_s + 1, error=failed, wanted_tokens=tokens)
    return RequestRecord(
        number,
        at_s,
        at_s,
        chunks,
        "length",
        chunks[-1].t_s,
        number,
        input_tokens=64,
        wanted_tokens=tokens,
        reported_tokens=tokens,
        count_source="engine ids",
    )


def point(
    subject: str,
    level: int,
    *,
    ttft_ms: float,
    itl_ms: float,
    repeat: int = 0,
    tokens: int = 32,
    rounds: int = 6,
    failed: str = "",
    bottleneck: str = "",
) -> PointRecord:
    """`level` streams that each send one request after the other, `rounds` times, without a pause."""
    took = (ttft_ms + itl_ms * (tokens - 1)) / 1000
    requests = [
        answer(stream * rounds + turn, turn * took, ttft_ms / 1000, itl_ms / 1000, tokens)
        for stream in range(level)
        for turn in range(rounds)
    ]
    if failed:
        requests[0] = answer(requests[0].number, 0.0, 0, 0, tokens, failed=failed)
    return PointRecord(
        subject,
        float(level),
        repeat,
        WHEN,
        took * rounds,
        "complete",
        tuple(requests),
        samples=tuple(
            Sample(t_s=took * turn, kv_blocks_used=10 * level, kv_blocks_total=400, power_w=350.0)
            for turn in range(rounds)
        ),
        client=ClientHealth(cpu_share=0.2, bottleneck=bool(bottleneck), words=bottleneck),
    )


def subject(number: int, name: str, **more: object) -> Subject:
    fields: dict[str, object] = {
        "id": f"s{number}",
        "name": name,
        "toolchain": "openvino",
        "toolchain_title": "OpenVINO GenAI",
        "precision": name.lower(),
        "path": f"/home/lab/engines/{name}",
        "key": "ab" * 32,
        "model": "SmolLM2-135M-Instruct",
        "model_digest": "cd" * 32,
        "tokenizer": "ef" * 32,
        "settings": {"kv_cache_precision": "u8", "device": "CPU"},
        "size_bytes": 265 * 2**20,
        "weights_bytes": 260 * 2**20,
        "kv_tokens": 59_581,
        "build_s": 161.0,
        "environment": MACHINE,
    }
    return Subject.model_validate({**fields, **more})


def a_run(*, levels: tuple[int, ...] = (1, 4, 8), repeats: int = 2, workload: Workload | None = None) -> RunRecord:
    """FP16, INT8 and INT4, where each has known speeds."""
    subjects = (
        subject(1, "FP16"),
        subject(2, "INT8", size_bytes=138 * 2**20, weights_bytes=136 * 2**20, kv_tokens=60_002),
        subject(3, "INT4", size_bytes=91 * 2**20, weights_bytes=None, settings={"kv_cache_precision": "u8"}),
    )
    speeds = {"s1": (18.0, 20.0), "s2": (12.0, 14.0), "s3": (15.0, 16.0)}
    points = [
        point(
            name,
            level,
            ttft_ms=ttft * (1 + level / 4) * (1 + repeat / 100),
            itl_ms=itl * (1 + level / 10) * (1 + repeat / 50),
            repeat=repeat,
        )
        for level in levels
        for repeat in range(repeats)
        for name, (ttft, itl) in speeds.items()
    ]
    load = Load(levels=tuple(float(level) for level in levels), requests=48, warmup_requests=2, repeats=repeats)
    return RunRecord(
        RunHead(
            id="20251121-0400",
            title="SmolLM2, three precisions",
            created_at=WHEN,
            finished_at=WHEN + 600,
            status="complete",
            workload=workload or WORKLOADS["demo"],
            load=load,
            order="alternated",
            subjects=subjects,
            prompts_sha256="02bd" * 16,
            command=("workbench", "compare", "FP16", "INT8", "INT4", "--levels", "1,4,8", "--seed", "1234"),
            environment=MACHINE,
        ),
        tuple(points),
    )


def quality() -> tuple[QualityRecord, ...]:
    choice = TokenChoice(text=" sea", probability=0.41, runner_up=" ocean", runner_up_probability=0.38)
    other = TokenChoice(text=" ocean", probability=0.44, runner_up=" sea", runner_up_probability=0.36)
    text = "shipped text evaluation.jsonl, SHA-256 1234"
    worst = PromptScore(
        name="tides",
        text="Why does the <sea> rise twice a day?",
        positions=64,
        agreement=Estimate(value=0.72, n=64),
        kl_nats=Estimate(value=0.21, n=64),
        first_difference=11,
        baseline_choice=choice,
        variant_choice=other,
    )
    task = TaskScore(name="arc_easy", metric="acc_norm", score=Estimate(value=0.51, stderr=0.02, n=200))
    return (
        QualityRecord(
            subject="s1",
            baseline="s1",
            perplexity=Estimate(value=17.213, low=16.9, high=17.5, stderr=0.15, n=20_000),
            text=text,
            tasks=(task,),
        ),
        QualityRecord(
            subject="s2",
            baseline="s1",
            perplexity=Estimate(value=17.301, low=17.0, high=17.6, stderr=0.15, n=20_000),
            agreement=Estimate(value=0.973, low=0.97, high=0.976, stderr=0.002, n=9_000),
            kl_nats=Estimate(value=0.0041, stderr=0.0002, n=9_000),
            text=text,
            tasks=(task,),
            prompts=(worst,),
        ),
        QualityRecord(
            subject="s3",
            baseline="s1",
            agreement=Estimate(value=0.902, stderr=0.004, n=9_000),
            kl_nats=Estimate(value=0.061, stderr=0.002, n=9_000),
            text=text,
            not_reported={"perplexity": "no log-probs"},
        ),
    )


def a_comparison(run: RunRecord | None = None, *, price: Price | None = None) -> Comparison:
    run = run or a_run()
    return Comparison(
        ComparisonHead(
            id="c1",
            title="SmolLM2, three precisions",
            created_at=WHEN,
            finished_at=WHEN + 900,
            status="complete",
            baseline="s1",
            subjects=run.head.subjects,
            workload=run.head.workload,
            load=run.head.load,
            price=price,
            command=run.head.command,
            environment=run.head.environment,
        ),
        run,
        quality(),
    )


def a_report(**more: object) -> Report:
    return report_of_comparison(a_comparison(price=Price(per_hour=2.5)), created_at=WHEN + 1000, **more)  # type: ignore[arg-type]


def not_loaded(number: int, name: str) -> Subject:
    return subject(
        number,
        name,
        failure=Failure(code="out-of-memory", what="The engine did not fit into the memory.", evidence="12 GiB"),
        settings={},
        size_bytes=None,
        weights_bytes=None,
        kv_tokens=None,
        build_s=None,
    )
