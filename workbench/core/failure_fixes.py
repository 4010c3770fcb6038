"""Which failures another value of a preset may mend: the value, and the words of the button that tries it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workbench.core.errors import BadInputError, Failure
from workbench.core.preset import Preset, apply_overrides

_LEAST_TOKENS = 256
_LEAST_SAMPLE_TOKENS = 128
_CALIBRATING = ("convert", "quantize")


@dataclass(frozen=True)
class FailureFix:
    """Build again with `overrides` (`key=value`, as --set takes them); `words` say what is changed."""

    words: str
    overrides: tuple[str, ...]


def failure_fixes(failure: Failure, step_kind: str, preset: Preset) -> tuple[FailureFix, ...]:
    """What may be changed so that the step does not fail again, most likely first; empty when nobody can tell.

    Codes are those of failure_rows and of the workers. Only changes that the preset takes are given.
    """
    known = _BY_CODE.get(failure.code)
    return tuple(fix for fix in known(step_kind, preset) if _changes(fix, preset)) if known is not None else ()


def _changes(fix: FailureFix, preset: Preset) -> bool:
    try:
        return apply_overrides(preset, fix.overrides).to_data() != preset.to_data()
    except BadInputError:
        return False


def _memory_of_calibration(step_kind: str, preset: Preset) -> Iterator[FailureFix]:
    """Memory of a calibration pass grows with the tokens that are run at once."""
    if step_kind not in _CALIBRATING:
        return
    calibration = preset.calibration
    if calibration.batch_size > 1:
        yield FailureFix("calibration batch size 1", ("calibration.batch_size=1",))
    if calibration.length > _LEAST_SAMPLE_TOKENS:
        shorter = max(calibration.length // 2, _LEAST_SAMPLE_TOKENS)
        yield FailureFix(f"calibration samples of {shorter} tokens", (f"calibration.length={shorter}",))


def _memory_of_build(step_kind: str, preset: Preset) -> Iterator[FailureFix]:
    """TensorRT's kernels are tried at the largest shapes that the limits allow."""
    if step_kind in _CALIBRATING:
        yield from _memory_of_calibration(step_kind, preset)
        return
    limits = preset.limits
    if limits.max_num_tokens is not None and limits.max_num_tokens > _LEAST_TOKENS:
        fewer = max(limits.max_num_tokens // 2, _LEAST_TOKENS, limits.max_batch_size)
        yield FailureFix(f"at most {fewer} tokens a batch", (f"limits.max_num_tokens={fewer}",))
    if limits.max_batch_size > 1:
        half = limits.max_batch_size // 2
        yield FailureFix(f"batches of at most {half}", (f"limits.max_batch_size={half}",))


def _fused_attention(step_kind: str, preset: Preset) -> Iterator[FailureFix]:
    yield FailureFix("fused attention off (slow)", ('build.flags.context_fmha="disable"',))


def _batch_above_tokens(step_kind: str, preset: Preset) -> Iterator[FailureFix]:
    tokens = preset.limits.max_num_tokens
    if tokens is not None and tokens < preset.limits.max_batch_size:
        yield FailureFix(f"batches of at most {tokens}", (f"limits.max_batch_size={tokens}",))


def _kv_pool(step_kind: str, preset: Preset) -> Iterator[FailureFix]:
    """Verify loads the engine with the preset's runtime settings."""
    fraction = preset.runtime.kv_fraction
    if fraction is not None and fraction > 0.2:
        less = round(fraction * 0.75, 2)
        yield FailureFix(f"KV cache of {less:.0%} of the free memory", (f"runtime.kv_fraction={less}",))


_BY_CODE: dict[str, Callable[[str, Preset], Iterator[FailureFix]]] = {
    "out-of-memory": _memory_of_calibration,
    "gpu-out-of-memory": _memory_of_build,
    "host-out-of-memory": _memory_of_calibration,
    "no-fused-attention": _fused_attention,
    "batch-above-tokens": _batch_above_tokens,
    "kv-pool-too-large": _kv_pool,
}
