"""What an engine really runs with, against what was asked for: a variant is never shown with settings it does not
have.
"""

from __future__ import annotations

from workbench.core.messages import Ready
from workbench.core.preset import Preset

_LIMITS = ("max_batch_size", "max_seq_len", "max_input_len", "max_num_tokens", "max_beam_width")
_SAME = {
    "f16": "fp16",
    "float16": "fp16",
    "bfloat16": "bf16",
    "u8": "int8",
    "i8": "int8",
    "uint8": "int8",
    "float8": "fp8",
    "f32": "fp32",
    "float32": "fp32",
}
"""One word for one precision, whatever a library calls it."""


def reported_settings(ready: Ready) -> dict[str, str]:
    """All that the engine says of itself, by name."""
    found = {name: str(value) for name, value in ready.limits.items()}
    found |= ready.settings
    if ready.kv_blocks_total is not None:
        found["kv_blocks"] = str(ready.kv_blocks_total)
    if ready.kv_block_tokens is not None:
        found["kv_block_tokens"] = str(ready.kv_block_tokens)
    return dict(sorted(found.items()))


def not_applied(preset: Preset, ready: Ready) -> dict[str, str]:
    """Settings that were asked for and that the engine reports otherwise: name -> in words.

    What was left to the toolchain cannot be missed, and what the engine does not report is not judged.
    """
    found: dict[str, str] = {}
    asked_kv, kv = preset.precision.kv_cache.value, ready.settings.get("kv_cache_precision")
    if asked_kv != "auto" and kv is not None and one_word(kv) != one_word(asked_kv):
        found["kv_cache_precision"] = f"asked for {asked_kv}, runs with {kv}"
    limits = preset.limits.model_dump()
    for name in _LIMITS:
        asked, has = limits.get(name), ready.limits.get(name)
        # A longer sequence or a larger batch than asked for holds what was asked.
        if isinstance(asked, int) and has is not None and has < asked:
            found[name] = f"asked for {asked:,}, runs with {has:,}"
    runtime = preset.runtime
    if runtime.kv_blocks is not None and ready.kv_blocks_total is not None:
        off = abs(ready.kv_blocks_total - runtime.kv_blocks)
        if off > max(1, runtime.kv_blocks // 100):
            found["kv_blocks"] = f"asked for {runtime.kv_blocks:,}, runs with {ready.kv_blocks_total:,}"
    for name, asked_bool in (("prefix_caching", runtime.prefix_caching), ("chunked_prefill", runtime.chunked_prefill)):
        said = ready.settings.get(name)
        if said in ("on", "off") and said != ("on" if asked_bool else "off"):
            found[name] = f"asked for {'on' if asked_bool else 'off'}, runs with it {said}"
    if remark := ready.settings.get("remark"):  # another thing runs than the engine that was built
        device, file = ready.settings.get("device", ""), ready.settings.get("model_file", "")
        found["engine"] = remark + (f"; all figures are of {file} on {device}" if file and device else "")
    return found


def one_word(precision: str) -> str:
    """A precision's usual name: `f16` and `float16` are `fp16`."""
    name = precision.lower().replace("torch.", "")
    return _SAME.get(name, name)
