"""Comparisons with known figures, made by hand: raw timings, quality and answers, as a measurement leaves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench.core.answer import AnswerRecord, Piece
from workbench.core.measure.comparison import AnswerOf, Comparison, ComparisonHead, Price
from workbench.core.measure.comparison_file import (
    SPEED_FOLDER,
    write_answers,
    write_comparison_head,
    write_quality,
)
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.load import Load
from workbench.core.measure.quality import PromptScore, QualityRecord, TaskScore, TokenChoice
from workbench.core.measure.record import (
    Environment,
    PointRecord,
    RequestRecord,
    RunHead,
    RunRecord,
    Sample,
    Subject,
)
from workbench.core.measure.run_file import append_point, start_run
from workbench.core.measure.workload import WORKLOADS
from workbench.core.messages import Sampling, Usage
from workbench.core.metrics import Chunk

LEVELS = (1.0, 4.0, 8.0)
REPEATS = 3
TOKENS = 32
PROMPTS = ("Why is the sky blue?", "Name three primes.")
ENVIRONMENT = Environment(
    workbench="0.4.0", os="Linux", python="3.11", cpu="a processor", cores=2, versions={"openvino": "2026.1"}
)
_FIRST = "The sky is blue because the air scatters short waves of light more than long ones,"
_TEXT = [*_FIRST.split(), *["so", "that", "blue", "light", "comes", "from", "all", "sides."]]


def subject(number: int, precision: str, **changes: object) -> Subject:
    """`s1` and so on: an OpenVINO engine whose KV cache is kept in a precision of its own."""
    made = Subject(
        id=f"s{number}",
        name=f"{precision.upper()} OpenVINO",
        toolchain="openvino",
        toolchain_title="OpenVINO GenAI",
        precision=precision,
        path=f"/home/engines/tiny-{precision}",
        key=f"{number:064x}",
        model="SmolLM2-135M-Instruct",
        model_digest="m" * 8,
        tokenizer="t" * 8,
        settings={"device": "CPU", "kv_cache_precision": "u8", "compute_precision": "f32", "scheduler": "in-flight"},
        size_bytes=270_000_000 // number,
        weights_bytes=268_000_000 // number,
        kv_tokens=46_592,
        max_seq_len=8192,
        build_s=20.0 * number,
        load_s=2.0,
        environment=ENVIRONMENT,
    )
    return made.model_copy(update=changes)


def three() -> tuple[Subject, ...]:
    """FP16, INT8 and INT4."""
    return subject(1, "fp16"), subject(2, "int8"), subject(3, "int4")


def point(
    subject_id: str, level: float, repeat: int, *, itl_ms: float, ttft_ms: float, requests: int = 8
) -> PointRecord:
    """So many requests of 32 tokens each; `level` of them side by side."""
    made, lanes = [], int(level)
    for number in range(requests):
        begin = number // lanes * (ttft_ms + itl_ms * TOKENS) / 1000
        times = [begin + (ttft_ms + itl_ms * token) / 1000 for token in range(TOKENS)]
        made.append(
            RequestRecord(
                number=number, due_s=begin, sent_s=begin, chunks=tuple(Chunk(t, 1) for t in times), end="length",
                ended_s=times[-1], prompt=number, input_tokens=64, wanted_tokens=TOKENS, count_source="engine ids",
            )
        )  # fmt: skip
    ends = max(request.ended_s for request in made)
    samples = tuple(Sample(t_s=ends * share, kv_share=0.1 * level) for share in (0.2, 0.8))
    return PointRecord(subject_id, level, repeat, 1.79e9, ends, "complete", tuple(made), samples, measured_from_s=0.0)


def points(subjects: Sequence[Subject]) -> tuple[PointRecord, ...]:
    """The second variant is faster than the first, the third fastest; each level is slower a user."""
    found = []
    for number, one in enumerate(subjects):
        for level in LEVELS:
            for repeat in range(REPEATS):
                slower = (1 + 0.02 * (repeat - 1)) * (1 + 0.25 * math.log2(level)) / (1 + 0.35 * number)
                found.append(point(one.id, level, repeat, itl_ms=10 * slower, ttft_ms=40 * slower))
    return tuple(found)


def run_of(subjects: Sequence[Subject], load: Load) -> RunRecord:
    head = RunHead(
        id="20261121-193012-3fa9c1", created_at=1.79e9, finished_at=1.79e9 + 60, status="complete",
        workload=WORKLOADS["demo"], load=load, subjects=tuple(subjects), prompts_sha256="ab" * 32,
        environment=ENVIRONMENT,
    )  # fmt: skip
    return RunRecord(head, points(subjects))


def quality_of(subjects: Sequence[Subject]) -> tuple[QualityRecord, ...]:
    found = []
    for number, one in enumerate(subjects):
        is_base = not number
        perplexity = 14.2 * (1 + 0.004 * number * number)
        worst = PromptScore(
            name="p7", text=PROMPTS[0], positions=31,
            agreement=Estimate(value=1 - 0.08 * number, low=1 - 0.1 * number, high=1 - 0.05 * number, n=31),
            kl_nats=Estimate(value=0.012 * number, n=31), first_difference=5,
            baseline_choice=TokenChoice(text=" blue", probability=0.52, runner_up=" clear", runner_up_probability=0.41),
            variant_choice=TokenChoice(text=" clear", probability=0.55, runner_up=" blue", runner_up_probability=0.36),
        )  # fmt: skip
        best = worst.model_copy(update={"name": "p2", "text": PROMPTS[1], "first_difference": None,
                                        "agreement": Estimate(value=1.0, n=31), "kl_nats": Estimate(value=0.0, n=31),
                                        "baseline_choice": None, "variant_choice": None})  # fmt: skip
        found.append(
            QualityRecord(
                subject=one.id, baseline=subjects[0].id, kind="simulated" if one.simulated else "engine",
                perplexity=Estimate(
                    value=perplexity, low=perplexity * 0.97, high=perplexity * 1.03, stderr=0.2, n=4000),
                perplexity_ratio=Estimate(value=perplexity / 14.2, low=perplexity / 14.2 - 0.002,
                                          high=perplexity / 14.2 + 0.002, n=4000),
                bits_per_byte=None,
                agreement=None if is_base else Estimate(
                    value=1 - 0.02 * number, low=1 - 0.025 * number, high=1 - 0.015 * number, stderr=0.003, n=640),
                kl_nats=None if is_base else Estimate(
                    value=0.004 * number, low=0.003 * number, high=0.005 * number, stderr=0.0005, n=640),
                text="shipped text evaluation.jsonl, SHA-256 12ab", seconds=9.0,
                tasks=(TaskScore(name="arc-easy", metric="acc_norm", shots=0, source="arc.jsonl",
                                 score=Estimate(value=0.55 - 0.01 * number, low=0.5, high=0.6, stderr=0.02, n=200),
                                 difference=None if is_base else Estimate(value=-0.01 * number, low=-0.03, high=0.02,
                                                                          n=200)),),
                prompts=() if is_base else (worst, best),
            )
        )  # fmt: skip
    return tuple(found)


def answer(words: Sequence[str], *, first_id: int = 100, logprob: float | None = -0.2) -> AnswerRecord:
    """One token a word; a word's id is its place in all words ever said, so equal words have equal ids."""
    pieces = []
    for number, word in enumerate(words):
        text = word if not number else f" {word}"
        token = first_id + sum(ord(letter) * 31**place for place, letter in enumerate(word)) % 49_000
        known = None if logprob is None else (logprob,)
        pieces.append(Piece(0.04 + 0.01 * number, 1, text, (token,), known))
    return AnswerRecord(
        reason="stop", pieces=tuple(pieces), usage=Usage(input_tokens=12, output_tokens=len(words)),
        sampling=Sampling(max_tokens=64, temperature=0.0, logprobs=logprob is not None),
    )  # fmt: skip


def answers_of(subjects: Sequence[Subject]) -> tuple[AnswerOf, ...]:
    """The second says one word otherwise, the third parts early and ends early; the second prompt is answered alike."""
    other = [*_TEXT[:12], "small", *_TEXT[13:]]
    third = [*_TEXT[:3], "azure", *_TEXT[4:9], *_TEXT[11:-3]]
    texts = [_TEXT, other, third]
    found = []
    for number, one in enumerate(subjects):
        found.append(AnswerOf(subject=one.id, prompt=0, record=answer(texts[number % 3], logprob=-0.6 - 0.1 * number)))
        found.append(AnswerOf(subject=one.id, prompt=1, record=answer(["Two,", "three", "and", "five."])))
    return tuple(found)


def comparison(subjects: Sequence[Subject] | None = None, *, price: Price | None = None) -> Comparison:
    """Three variants, fully measured."""
    chosen = tuple(subjects) if subjects is not None else three()
    load = Load(levels=LEVELS, requests=8, warmup_requests=2, repeats=REPEATS)
    head = ComparisonHead(
        id="20261121-193012-3fa9c1", title="SmolLM2-135M-Instruct", created_at=1.79e9, finished_at=1.79e9 + 90,
        status="complete", baseline=chosen[0].id, subjects=chosen, workload=WORKLOADS["demo"], load=load,
        prompts=PROMPTS, sampling=Sampling(max_tokens=64, temperature=0.0, seed=1234), price=price,
        command=("workbench", "compare", "a", "b", "--concurrency", "1,4,8"), environment=ENVIRONMENT,
    )  # fmt: skip
    engines = [one for one in chosen if not one.simulated]
    return Comparison(head, run_of(engines, load), quality_of(chosen), answers_of(engines))


def kept(folder: Path, made: Comparison | None = None) -> Comparison:
    """A comparison written to its folder."""
    found = made if made is not None else comparison()
    write_comparison_head(folder, found.head)
    if found.run is not None:
        start_run(folder / SPEED_FOLDER, found.run.head)
        for each in found.run.points:
            append_point(folder / SPEED_FOLDER, each)
    write_quality(folder, found.quality)
    write_answers(folder, found.answers)
    return found


def stopped(made: Comparison) -> Comparison:
    """The same, stopped after the first variant's points."""
    head = made.head.model_copy(update={"status": "stopped"})
    run = made.run
    assert run is not None
    first = tuple(each for each in run.points if each.subject == made.head.baseline)
    return Comparison(head, replace(run, points=first), (), ())
