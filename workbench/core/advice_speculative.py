"""Advice on speculative decoding: what cannot work, what costs more than it brings, what runs elsewhere only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workbench.core.advice_base import Advice, Rule, Situation
from workbench.core.precision import Precision
from workbench.core.speculative import draft_len, draft_precision, tokenizer_problem, why_not

_OFF = ("speculative.mode=none",)
_MANY = {"openvino": 4, "tensorrt_llm": 32}
"""Requests at once from which on checking guesses costs more than it saves: a pass is then busy without them."""


def _not_there(s: Situation) -> Iterator[Advice]:
    if why := why_not(s.preset.toolchain, s.preset.speculative.mode):
        yield Advice(
            code="no-speculation",
            level="block",
            text=f"{why}.",
            arithmetic=f"speculative.mode = {s.preset.speculative.mode}",
            fix="Set it to none.",
            overrides=_OFF,
        )


def _no_draft(s: Situation) -> Iterator[Advice]:
    """Named when it is built or loaded, since no preset knows where it lies. Triton, and not this engine, is told of a
    TensorRT-LLM engine's draft.
    """
    table, toolchain = s.preset.speculative, s.preset.toolchain
    heads = table.mode in ("medusa", "eagle")
    needed = heads or (table.mode == "draft_target" and toolchain == "openvino")
    if needed and table.draft is None and not why_not(toolchain, table.mode):
        yield Advice(
            code="no-draft",
            level="block",
            text="The heads that guess are not named." if heads else "The engine that guesses is not named.",
            arithmetic=f"speculative.mode = {table.mode}, speculative.draft is empty",
            fix="Name their folder: --set speculative.draft=FOLDER."
            if heads
            else "Name its folder, or a precision of the same model: --set speculative.draft=int4.",
        )
    if table.mode == "draft_target" and toolchain == "tensorrt_llm":
        yield Advice(
            code="draft-target-elsewhere",
            level="hint",
            text="The engine is built to check a second engine's guesses, but what loads it here takes no second "
            "engine, so that it runs without. Triton's BLS model drives both.",
            arithmetic=f"speculative.mode = draft_target, {draft_len(table)} draft tokens",
            fix="`workbench export triton ENGINE --draft DRAFT` makes the model repository.",
        )


def _beams(s: Situation) -> Iterator[Advice]:
    width = s.preset.limits.max_beam_width
    if s.preset.speculative.mode != "none" and width > 1:
        yield Advice(
            code="speculation-and-beams",
            level="block",
            text="Guesses are checked along one answer: there is no beam search beside speculative decoding.",
            arithmetic=f"limits.max_beam_width {width}, speculative.mode {s.preset.speculative.mode}",
            fix="Set the beam width to 1.",
            overrides=("limits.max_beam_width=1",),
        )


def _draft_tokenizer(s: Situation) -> Iterator[Advice]:
    """Where the draft is a folder that is there."""
    table = s.preset.speculative
    folder = s.preset.draft_path
    if table.mode != "draft_target" or folder is None or draft_precision(table):
        return
    if folder.is_dir() and (problem := tokenizer_problem(Path(s.model.path), folder)):
        yield Advice(
            code="draft-tokenizer",
            level="block",
            text="The draft has another tokenizer than the model, so its guesses mean nothing to the engine.",
            arithmetic=f"{folder.name}: {problem}",
            fix="Choose a draft of the same model family.",
        )


def _draft_as_large(s: Situation) -> Iterator[Advice]:
    name = draft_precision(s.preset.speculative)
    if not name:
        return
    draft = Precision(name)
    slow = [p for p in s.precisions if p is not draft and p.weight_bits <= draft.weight_bits]
    if slow:
        yield Advice(
            code="draft-too-large",
            level="warning",
            text="The draft reads as much memory a token as the engine that it guesses for: it cannot be faster.",
            arithmetic=f"{draft.title} {draft.weight_bits} bits, "
            + ", ".join(f"{p.title} {p.weight_bits} bits" for p in slow),
            fix="Take a smaller model or a lower precision as the draft.",
            overrides=_OFF,
        )


def _same_model(s: Situation) -> Iterator[Advice]:
    name = draft_precision(s.preset.speculative)
    if name and s.preset.toolchain == "tensorrt_llm":
        yield Advice(
            code="draft-of-the-same-model",
            level="hint",
            text="A draft of the same model saves only what its precision does; a tenth of the size is usual.",
            arithmetic=f"speculative.draft = {name}",
            fix="Build a smaller model of the family and name its engine's folder, where there is one.",
        )


def _many_requests(s: Situation) -> Iterator[Advice]:
    most, batch = _MANY.get(s.preset.toolchain), s.preset.limits.max_batch_size
    table = s.preset.speculative
    if table.mode == "none" or most is None or batch <= most or why_not(s.preset.toolchain, table.mode):
        return
    guesses = draft_len(table)
    yield Advice(
        code="speculation-at-large-batch",
        level="hint",
        text=f"Guesses help while the engine waits for its memory: with more than about {most} requests at once it has "
        "enough to do, and those that are refused are work for nothing.",
        arithmetic=f"limits.max_batch_size {batch} x (1 + {guesses} guesses) = {batch * (1 + guesses):,} tokens a pass",
        fix="Measure both at the load that you expect (`workbench compare`), or lower the batch limit.",
        overrides=(f"limits.max_batch_size={most}",),
    )


SPECULATIVE_RULES: tuple[Rule, ...] = (
    _not_there,
    _no_draft,
    _beams,
    _draft_tokenizer,
    _draft_as_large,
    _same_model,
    _many_requests,
)
