"""Is an exported ONNX model the model it was made from? Logits against logits, in float32, on a few texts."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.precision import Precision
from workbench.core.units import format_bytes
from workbench.workers.models.quality import Comparison
from workbench.workers.models.source import ROOM, SourceModel, free_bytes
from workbench.workers.onnx.loading import expected_bytes
from workbench.workers.onnx.logits import OnnxLogits
from workbench.workers.protocol import Channel, WorkerError

MAX_LOGIT_DIFF = 0.05
"""Largest difference of any logit at any position."""
TEXTS = (
    "The capital of France is",
    "def area(width, height):\n    return",
    "Ein Satz auf Deutsch, mit Zahlen: 12, 345 und 6789.",
    "Water boils at 100 degrees Celsius; at a lower pressure it boils",
)
PIECES = (7, 1, 1)
"""Tokens fed at a time before the rest: so the KV cache is tried too, by one token and by several."""


@dataclass(frozen=True)
class _Text:
    text: str
    ids: list[int]
    logits: Any
    """The source's, float32, (tokens, vocabulary)."""


@dataclass(frozen=True)
class _Found:
    """How far the ONNX model is from the source."""

    worst: float
    """NaN when a logit of either is not a number."""
    where: str
    quality: Comparison
    settings: dict[str, str]


def check_if_it_fits(folder: Path, model: Path, dtype: str, trust: bool, channel: Channel) -> dict[str, Any] | None:
    """`check_against_source` where the source in float32 fits into free memory; None, with a warning, where not."""
    need, free = int(expected_bytes(model, "fp32") * ROOM), _free_bytes()
    if free is not None and need > free:
        channel.log(
            f"the export was not compared with its source: that takes {format_bytes(need)} of memory, and "
            f"{format_bytes(free)} are free; verify compares in less",
            "warning",
        )
        return None
    return check_against_source(folder, model, dtype, trust, channel)


def check_against_source(folder: Path, model: Path, dtype: str, trust: bool, channel: Channel) -> dict[str, Any]:
    """Compare an ONNX folder with its source model, which computes in float32; the facts for onnx.json's `check`.

    The bar is `MAX_LOGIT_DIFF`. 16-bit arithmetic alone can move logits by more than that, in the source model too, so
    for 16-bit types there is a second look that shows the export alone: both sides compute in float32 with the same
    rounded weights, and then the bar holds. BF16 is looked at so only, for ONNX Runtime has no BF16 kernels on a CPU;
    FP16 when it misses the bar as it is, and then agreement and KL must be within the floors of FP16 besides.
    ONNX Runtime's CPU kernels compute most of an FP16 layer in FP32, so an overflow within one may show on a GPU alone.
    Raises WorkerError `convert-differs`, `source-failed`, `engine-load-failed`.
    """
    texts = _source_texts(model, dtype if dtype == "bf16" else None, trust, channel)
    plain = _compare(folder, texts, False, channel)
    facts = {
        "max_logit_diff": plain.worst,
        "positions": plain.quality.positions,
        "source_compute": "float32",
        **({"remark": plain.settings["remark"]} if "remark" in plain.settings else {}),
    }
    if plain.worst <= MAX_LOGIT_DIFF:
        channel.log(f"logits within {plain.worst:.3g} of the source model over {plain.quality.positions} positions")
        return facts
    if dtype != "fp16" or plain.worst != plain.worst:
        raise _differs(plain, dtype)
    texts = _source_texts(model, dtype, trust, channel)
    exact = _compare(folder, texts, True, channel)
    if not exact.worst <= MAX_LOGIT_DIFF:
        raise _differs(exact, dtype)
    quality, floors = plain.quality, Precision.FP16
    if quality.agreement < floors.default_min_agreement or quality.kl_nats > floors.default_max_kl:
        raise _differs(plain, dtype)
    facts["remark"] = (
        f"FP16 arithmetic moves logits by up to {plain.worst:.3g} (KL {quality.kl_nats:.2g} nats); with the same "
        f"weights in float32 the export is within {exact.worst:.3g} of its source"
    )
    channel.log(facts["remark"], "warning")
    return facts


def _free_bytes() -> int | None:
    """Free memory of the host; None: not reported."""
    try:
        return free_bytes("cpu")
    except ImportError:  # psutil, which an environment may lack
        return None


def _source_texts(model: Path, rounded: str | None, trust: bool, channel: Channel) -> list[_Text]:
    """The texts with the source's logits, with its weights rounded to a type or as they are; the source is released."""
    source = SourceModel(model, trust, compute="float32")
    if rounded is not None:
        source.round_weights({"fp16": "float16", "bf16": "bfloat16"}[rounded])
    texts = []
    for text in TEXTS:
        ids = source.tokens(text)
        texts.append(_Text(text, ids, source.logits(ids)))
        channel.progress(len(texts), 2 * len(TEXTS), "texts")
    del source
    gc.collect()
    return texts


def _compare(folder: Path, texts: list[_Text], float32: bool, channel: Channel) -> _Found:
    """Feed the texts to the ONNX model in pieces. Raises WorkerError `convert-differs` when shapes differ."""
    import numpy as np

    onnx = OnnxLogits(folder, float32=float32)
    quality = Comparison()
    worst, where = 0.0, ""
    for done, text in enumerate(texts, 1):
        onnx.begin()
        pieces, at = [], 0
        for size in (*PIECES, len(text.ids)):
            if at < len(text.ids):
                pieces.append(onnx.feed(text.ids[at : at + size]))
                at += len(pieces[-1])
        ours = np.concatenate(pieces)
        if ours.shape != text.logits.shape:
            raise WorkerError(
                "the ONNX model and its source model differ in vocabulary: they do not belong together",
                code="convert-differs",
                cause=f"logits of shapes {ours.shape} and {text.logits.shape}",
                hint="Convert the model again.",
            )
        apart = np.abs(ours - text.logits).max(axis=1)
        # argmax takes a NaN for the largest.
        place = int(apart.argmax())
        if not apart[place] <= worst:
            worst, where = float(apart[place]), f"after token {place + 1} of {text.text[:40]!r}"
        quality.add(text.text, text.logits, ours)
        if worst != worst:
            break
        channel.progress(len(texts) + done, 2 * len(texts), "texts")
    return _Found(worst, where, quality, onnx.settings)


def _differs(found: _Found, dtype: str) -> WorkerError:
    overflow = found.worst != found.worst or found.worst == float("inf")
    hint = "This version of the exporter does not support the architecture. Choose a toolchain that needs no export."
    if overflow and dtype == "fp16":
        hint = "FP16 overflows in this model, which was trained in BF16: convert it to bf16 or fp32."
    elif dtype == "fp16":
        hint = "Convert to fp32 or bf16; if that differs too, the exporter does not support the architecture."
    what = (
        "a logit is not a number" if overflow else f"a logit differs by {found.worst:.4g} (at most {MAX_LOGIT_DIFF:g})"
    )
    return WorkerError(
        "the ONNX model does not compute what its source model computes",
        code="convert-differs",
        cause=f"{what} {found.where}; agreement {found.quality.agreement:.3f} over {found.quality.positions} positions",
        hint=hint,
    )
