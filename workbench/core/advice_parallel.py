"""Advice on tensor and pipeline parallel sizes: what divides, and what goes over the bus."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.core.advice_base import Advice, Situation
from workbench.core.errors import BadInputError
from workbench.core.model import ModelSpec
from workbench.core.trtllm.parallel import check_parallel, pipeline_sizes, tensor_sizes
from workbench.core.units import format_bytes

_PCIE_BYTES_S = 25e9
"""What PCIe 4.0 x16 gives in practice, one way."""


def indivisible(model: ModelSpec, tp: int, pp: int) -> str:
    """What stands against these parallel sizes, with its figures; empty when they fit the model."""
    try:
        check_parallel(model, tp, pp)
    except BadInputError as error:
        return error.evidence or error.what
    return ""


def _nearest(model: ModelSpec, tp: int, pp: int) -> tuple[int, int]:
    """Sizes that divide: as many GPUs if that can be, else the most below; tp as near as can be to what was asked."""
    tensor, pipeline = tensor_sizes(model, most=tp * pp), pipeline_sizes(model, most=tp * pp)
    pairs = [(t, p) for t in tensor for p in pipeline if t * p <= tp * pp]
    return max(pairs, key=lambda pair: (pair[0] * pair[1], -abs(pair[0] - tp)))


def parallel_divides(s: Situation) -> Iterator[Advice]:
    """Heads by tensor parallel, layers by pipeline parallel. The vocabulary is padded, so it always divides."""
    tp, pp = s.preset.parallel.tp, s.preset.parallel.pp
    if s.preset.toolchain != "tensorrt_llm" or not (found := indivisible(s.model, tp, pp)):
        return
    near = _nearest(s.model, tp, pp)
    yield Advice(
        code="parallel-size",
        level="block",
        text="The model cannot be split so: the parts would not be equal.",
        arithmetic=found,
        fix=f"Nearest: tp {near[0]}, pp {near[1]}.",
        overrides=(f"parallel.tp={near[0]}", f"parallel.pp={near[1]}"),
    )


def tensor_parallel_without_nvlink(s: Situation) -> Iterator[Advice]:
    """Two all-reduces a layer over PCIe: pipeline stages send one hidden state each instead."""
    tp, pp, model = s.preset.parallel.tp, s.preset.parallel.pp, s.model
    if tp < 2 or not s.gpus or all(gpu.nvlink is not False for gpu in s.gpus):
        return
    token = 2 * model.layers * model.hidden_size * 2
    sent = 2 * (tp - 1) / tp * token
    overrides = ("parallel.tp=1", f"parallel.pp={tp * pp}") if not indivisible(model, 1, tp * pp) else ()
    yield Advice(
        code="tensor-parallel-pcie",
        level="hint",
        text=f"Tensor parallel between {s.gpus[0].name}s goes over PCIe, as they have no NVLink.",
        arithmetic=f"2 all-reduces x {model.layers} layers x {model.hidden_size} x 2 B = {format_bytes(token)} a "
        f"token, {format_bytes(sent)} sent by each GPU: a prompt of 2,048 tokens waits "
        f"{2048 * sent / _PCIE_BYTES_S * 1e3:.0f} ms at 25 GB/s",
        fix="Pipeline parallel sends far less and gives more throughput; a single request answers a little later."
        if overrides
        else "GPUs with NVLink, or one larger GPU.",
        overrides=overrides,
    )
