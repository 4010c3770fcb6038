"""What tensor and pipeline parallel sizes and quantization blocks a model can be cut into, told before it is loaded.

The rules are those of ModelOpt's exporter and of TensorRT-LLM 1.2's model classes, which fail on them with an
assertion after the weights are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.core.errors import BadInputError
from workbench.core.model import ModelSpec
from workbench.core.precision import Precision

AWQ_BLOCK_SIZES = (128, 64, 32)
NVFP4_BLOCK_SIZE = 16
MAX_RANKS = 4096
FEWEST_AUTO_BITS = {Precision.FP8: 8.0, Precision.INT4_AWQ: 4.8, Precision.W4A8_AWQ: 4.8, Precision.NVFP4: 4.5}
"""Precisions that ModelOpt's auto-quantize mixes with others, and the fewest bits a weight that it can be asked for."""


def check_parallel(spec: ModelSpec, tp: int, pp: int) -> list[str]:
    """Remarks on cutting `spec` into `tp` x `pp` ranks (empty: it fits as it is).

    Raises BadInputError `bad-parallel` that names each size that does not divide and the sizes that would.
    """
    for name, size in (("parallel.tp", tp), ("parallel.pp", pp)):
        if size < 1 or size > MAX_RANKS:
            raise BadInputError(f"{name} cannot be {size}", fix="Use 1 for no parallelism.", code="bad-parallel")
    wrong: list[str] = []
    if spec.heads % tp:
        wrong.append(f"{spec.heads} attention heads cannot be split over {tp} GPUs")
    if spec.kv_heads % tp and tp % spec.kv_heads:
        wrong.append(f"{spec.kv_heads} KV heads can neither be split over {tp} GPUs nor repeated for them")
    if spec.intermediate_size % tp:
        wrong.append(f"the MLP's width of {spec.intermediate_size} cannot be split over {tp} GPUs")
    if spec.experts and spec.experts.intermediate_size % tp:
        wrong.append(f"the experts' width of {spec.experts.intermediate_size} cannot be split over {tp} GPUs")
    if spec.layers % pp:
        wrong.append(f"{spec.layers} layers cannot be split into {pp} equal pipeline stages")
    if wrong:
        raise BadInputError(
            f"the model cannot be cut into tp {tp} x pp {pp}",
            evidence="; ".join(wrong),
            fix=f"parallel.tp: {_listed(tensor_sizes(spec))}; parallel.pp: {_listed(pipeline_sizes(spec))}.",
            code="bad-parallel",
        )
    remarks = []
    if spec.kv_heads < tp:
        remarks.append(
            f"{spec.kv_heads} KV heads on {tp} GPUs: each is kept on {tp // spec.kv_heads} of them, so the KV cache "
            f"takes {tp // spec.kv_heads} times the memory"
        )
    if spec.vocab_size % tp:
        padded = -(-spec.vocab_size // tp) * tp
        remarks.append(f"the vocabulary of {spec.vocab_size:,} is padded to {padded:,} to be split over {tp} GPUs")
    if pp > 1 and spec.tied_embeddings:
        remarks.append("input and output embeddings are shared in the model; the last pipeline stage gets its own copy")
    return remarks


def tensor_sizes(spec: ModelSpec, most: int = 64) -> tuple[int, ...]:
    """Tensor parallel sizes up to `most` that the model can be cut into."""
    wide = spec.experts.intermediate_size if spec.experts else spec.intermediate_size
    return tuple(
        size
        for size in range(1, most + 1)
        if not (spec.heads % size or spec.intermediate_size % size or wide % size)
        and not (spec.kv_heads % size and size % spec.kv_heads)
    )


def pipeline_sizes(spec: ModelSpec, most: int = 64) -> tuple[int, ...]:
    """Pipeline parallel sizes up to `most` that split the layers equally."""
    return tuple(size for size in range(1, most + 1) if spec.layers % size == 0)


def awq_block_size(input_channels: Iterable[int], tp: int = 1, wanted: int | str = "auto") -> tuple[int, str]:
    """Block size for AWQ (one scale a block of input channels) and why it is that one.

    `input_channels` are the input widths of the model's linear weights; the exporter wants the block to divide each
    width's share of `tp` GPUs. "auto" is the largest of 128, 64, 32 that does.
    Raises BadInputError `bad-group-size`.
    """
    widths = sorted({int(width) for width in input_channels})
    if wanted != "auto":
        return _asked(widths, tp, wanted)
    refused: list[str] = []
    for size in AWQ_BLOCK_SIZES:
        odd = _odd(widths, tp, size)
        if odd is None:
            return size, "; ".join(refused) or "it divides every input width"
        refused.append(f"{size} does not divide {_shown(odd, tp)}")
    raise BadInputError(
        "no AWQ block size fits this model",
        evidence="; ".join(refused),
        fix="Choose fp8, int8_sq or int8, or a smaller parallel.tp." if tp > 1 else "Choose fp8, int8_sq or int8.",
        code="bad-group-size",
    )


def block_size(
    precision: Precision, input_channels: Sequence[int], tp: int = 1, wanted: int | str = "auto"
) -> tuple[int | None, str]:
    """Block size of `precision` and why; None where scales are for whole channels or tensors.

    Raises BadInputError `bad-group-size`.
    """
    if precision in (Precision.INT4_AWQ, Precision.W4A8_AWQ):
        return awq_block_size(input_channels, tp, wanted)
    if precision is Precision.NVFP4:
        odd = _odd(sorted(set(input_channels)), tp, NVFP4_BLOCK_SIZE)
        if odd is not None:
            raise BadInputError(
                "NVFP4 does not fit this model",
                evidence=f"its blocks of {NVFP4_BLOCK_SIZE} do not divide {_shown(odd, tp)}",
                fix="Choose fp8" + (", or a smaller parallel.tp." if tp > 1 else "."),
                code="bad-group-size",
            )
        return NVFP4_BLOCK_SIZE, "NVFP4's own"
    return None, ""


def _asked(widths: list[int], tp: int, wanted: int | str) -> tuple[int, str]:
    try:
        size = int(wanted)
    except ValueError:
        raise BadInputError(
            "the group size is neither a number nor auto",
            evidence=f"group_size = {wanted}",
            fix='Use group_size = "auto".',
            code="bad-group-size",
        ) from None
    odd = _odd(widths, tp, size) if size > 0 else None
    if size in AWQ_BLOCK_SIZES and odd is None:
        return size, "asked for, and it divides every input width"
    fitting = [each for each in AWQ_BLOCK_SIZES if _odd(widths, tp, each) is None]
    if odd is not None:
        evidence = f"{size} does not divide {_shown(odd, tp)}"
    else:
        evidence = f"AWQ blocks hold {_listed(AWQ_BLOCK_SIZES)} channels"
    raise BadInputError(
        f"group size {size} does not fit this model",
        evidence=evidence,
        fix=f"Use group_size = {min(fitting, key=lambda each: abs(each - size))}."
        if fitting
        else "Choose fp8, int8_sq or int8: no AWQ block size fits.",
        code="bad-group-size",
    )


def _odd(widths: list[int], tp: int, size: int) -> int | None:
    """The first width whose share of a GPU `size` does not divide."""
    return next((width for width in widths if width % tp or (width // tp) % size), None)


def _shown(width: int, tp: int) -> str:
    return f"an input width of {width}" if tp == 1 else f"{width} / {tp} GPUs = {width / tp:g}"


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(str(size) for size in sizes)
