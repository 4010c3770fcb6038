"""Worker `openvino.quantize`: compresses the weights of an FP16 IR to INT8 or INT4 with NNCF.

The group size is checked against the model here, since NNCF's own default of 128 does not divide every model's
channels and tools above it have ended without a model and without an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.workers.common import announce, explain_import, first_line, input_folder, quiet_environment
from workbench.workers.openvino.common import MODEL_BIN, MODEL_XML, PACKAGES, copy_companions, read_ir
from workbench.workers.openvino.weights import input_channels, parameters_by_type
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.text.calibration import calibration_from, draw_ids

GROUP_SIZES = (128, 64, 32)
ALLOWED_GROUP_SIZES = (256, *GROUP_SIZES, 16)


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with `inputs.checkpoint`, weights compressed.

    Settings: `weights` ("int8" or "int4"), `symmetric` (default true for INT8, false for INT4), `group_size` ("auto",
    a number, or -1 for one scale a channel; INT4 only), `ratio` of INT4 layers (default 1.0; embeddings and the last
    layer are INT8 always), `method` ("rtn" or "awq"), `data_aware` (scales estimated on calibration text),
    `calibration`, `input_channels`.
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-group-size`, `bad-calibration`, `bad-ir`,
    `import-failed`, `quantize-failed`.
    """
    source, out = input_folder(spec, "checkpoint"), Path(spec.output)
    settings = _Settings(spec.settings)
    quiet_environment()
    phases = ["load", *(["calibration"] if settings.needs_data else []), "quantize", "save", "check"]
    enter = _phases(channel, phases)
    started = time.monotonic()
    enter("load")
    try:
        import nncf
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    model = read_ir(source)
    group_size, why = None, ""
    if settings.weights == "int4":
        channels = sorted({*input_channels(model), *settings.input_channels})
        group_size, why = choose_group_size(settings.group_size, channels)
        channel.log(f"group size {group_size}: {why}")
    dataset, sample_count = None, 0
    if settings.needs_data:
        enter("calibration")
        samples = _calibration_inputs(spec, source, model)
        sample_count = len(samples)
        channel.log(f"calibration: {sample_count} texts, {sum(s['input_ids'].size for s in samples)} tokens")
        dataset = nncf.Dataset(_Counted(samples, channel))
    enter("quantize")
    model = _compress(nncf, model, settings, group_size, dataset, sample_count)
    enter("save")
    _save(model, out)
    copy_companions(source, out)
    enter("check")
    bits = parameters_by_type(read_ir(out))
    wanted = {"int8": ("int8", "uint8"), "int4": ("int4", "uint4")}[settings.weights]
    if not any(bits.get(name) for name in wanted):
        raise WorkerError(
            f"NNCF compressed no weight to {settings.weights.upper()}",
            code="quantize-failed",
            cause=f"parameters by type: {bits}",
            hint="Choose another precision for this model.",
        )
    size = announce(channel, "checkpoint", out)
    result: dict[str, Any] = {
        "precision": settings.weights,
        "symmetric": settings.symmetric,
        "method": settings.method,
        "data_aware": settings.data_aware,
        "parameters_by_type": bits,
        "bits_per_weight": round(_bits(bits), 3),
        "bytes": size,
        "weight_bytes": (out / MODEL_BIN).stat().st_size,
        "source_weight_bytes": (source / MODEL_BIN).stat().st_size,
        "seconds": round(time.monotonic() - started, 2),
    }
    if group_size is not None:
        result |= {"group_size": group_size, "why": why, "ratio": settings.ratio}
    if settings.needs_data:
        result["calibration_samples"] = sample_count
    return result


class _Settings:
    def __init__(self, given: dict[str, Any]) -> None:
        self.weights = _one_of(given, "weights", ("int8", "int4"), "int8")
        self.method = _one_of(given, "method", ("rtn", "awq"), "rtn")
        self.symmetric = bool(given.get("symmetric", self.weights == "int8"))
        self.data_aware = bool(given.get("data_aware", False))
        self.group_size = given.get("group_size", "auto")
        self.ratio = float(given.get("ratio", 1.0))
        self.input_channels = [int(size) for size in given.get("input_channels") or ()]
        if not 0.0 <= self.ratio <= 1.0:
            raise WorkerError(
                "ratio is the share of layers in INT4",
                code="bad-setting",
                cause=f"ratio = {self.ratio}",
                hint="Use 0 to 1.",
            )
        if self.weights == "int8" and (self.method == "awq" or self.data_aware):
            raise WorkerError(
                "AWQ and data-aware scales are for INT4 weights",
                code="bad-setting",
                cause=f"weights = int8, method = {self.method}, data_aware = {self.data_aware}",
                hint="Use method rtn with data_aware off for INT8; it is close to FP16 already.",
            )

    @property
    def needs_data(self) -> bool:
        return self.method == "awq" or self.data_aware


def _one_of(given: dict[str, Any], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = str(given.get(key, default))
    if value not in allowed:
        raise WorkerError(
            f"{key} cannot be {value}",
            code="bad-setting",
            cause=f"{key} = {value}",
            hint=f"Use one of: {', '.join(allowed)}.",
        )
    return value


def choose_group_size(wanted: Any, channels: list[int]) -> tuple[int, str]:
    """The group size to use and why. `channels`: input channel sizes of the model's MatMul weights.

    "auto" is the largest of 128, 64, 32 that divides them all; -1 is one scale for a whole channel.
    Raises WorkerError `bad-group-size`, naming the nearest size that fits.
    """

    def fits(size: int) -> bool:
        return all(count % size == 0 for count in channels)

    if wanted == "auto":
        refused = []
        for size in GROUP_SIZES:
            if fits(size):
                return size, "; ".join(refused) or "it divides every channel size"
            odd = next(count for count in channels if count % size)
            refused.append(f"{size} does not divide {odd}")
        return -1, "; ".join(refused) + "; so one scale a channel"
    try:
        size = int(wanted)
    except (TypeError, ValueError) as error:
        raise WorkerError(
            "group_size is neither a number nor auto", code="bad-group-size", cause=f"group_size = {wanted}"
        ) from error
    if size == -1:
        return -1, "asked for: one scale a channel"
    if size > 0 and fits(size):
        return size, "asked for, and it divides every channel size"
    near = sorted((s for s in ALLOWED_GROUP_SIZES if fits(s)), key=lambda s: (abs(s - size), -s))
    odd = next((count for count in channels if size <= 0 or count % size), 0)
    raise WorkerError(
        f"group size {size} does not fit this model",
        code="bad-group-size",
        cause=f"{size} does not divide {odd}; input channels: {', '.join(map(str, channels))}",
        hint=f"Use group_size = {near[0]}." if near else "Use group_size = -1: one scale a channel.",
    )


def _compress(nncf: Any, model: Any, settings: _Settings, group_size: int | None, dataset: Any, samples: int) -> Any:
    modes = nncf.CompressWeightsMode
    try:
        if settings.weights == "int8":
            return nncf.compress_weights(model, mode=modes.INT8_SYM if settings.symmetric else modes.INT8_ASYM)
        return nncf.compress_weights(
            model,
            mode=modes.INT4_SYM if settings.symmetric else modes.INT4_ASYM,
            group_size=group_size,
            ratio=settings.ratio,
            dataset=dataset,
            subset_size=samples or 128,
            awq=True if settings.method == "awq" else None,
            scale_estimation=True if settings.data_aware else None,
        )
    except MemoryError:
        raise
    except Exception as error:
        raise WorkerError(
            f"NNCF could not compress the weights to {settings.weights.upper()}",
            code="quantize-failed",
            cause=f"{type(error).__name__}: {first_line(error)}",
            hint="Try method rtn, another group size, or INT8. The job's log has the full text.",
        ) from error


def _save(model: Any, out: Path) -> None:
    import openvino

    # What is FP16 stays FP16 and what NNCF made stays as made; compress_to_fp16 would touch its scales too.
    openvino.save_model(model, out / MODEL_XML, compress_to_fp16=False)


def _calibration_inputs(spec: StepSpec, source: Path, model: Any) -> list[dict[str, Any]]:
    """Inputs of the stateful IR, a dict a text: input_ids, attention_mask, position_ids (1, tokens), beam_idx (1,)."""
    import numpy as np
    from transformers import AutoTokenizer

    settings = calibration_from(dict(spec.settings.get("calibration") or {}), spec.inputs.get("calibration", ""))
    tokenizer = AutoTokenizer.from_pretrained(str(source), local_files_only=True)
    names = {name for port in model.inputs for name in port.get_names()}
    inputs = []
    for ids in draw_ids(settings, lambda text: list(tokenizer(text)["input_ids"])):
        tokens = len(ids)
        feed = {
            "input_ids": np.asarray([ids], dtype=np.int64),
            "attention_mask": np.ones((1, tokens), dtype=np.int64),
            "position_ids": np.arange(tokens, dtype=np.int64)[None, :],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        inputs.append({name: value for name, value in feed.items() if name in names})
    return inputs


class _Counted:
    """The samples as an iterable that tells how far NNCF got, counted as they are handed out: it takes no step more
    than it needs, so nothing runs after the last one."""

    def __init__(self, samples: list[dict[str, Any]], channel: Channel) -> None:
        self._samples, self._channel = samples, channel

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, sample in enumerate(self._samples, 1):
            self._channel.progress(number, len(self._samples), "samples")
            yield sample


def _phases(channel: Channel, names: list[str]) -> Callable[[str], None]:
    return lambda name: channel.phase(name, names.index(name) + 1, len(names))


def _bits(parameters: dict[str, int]) -> float:
    """Mean bits a weight, scales left out."""
    width = {"int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "fp16": 16, "bf16": 16, "fp32": 32}
    return sum(count * width[name] for name, count in parameters.items()) / max(1, sum(parameters.values()))


if __name__ == "__main__":
    run_worker("openvino.quantize", work, packages=PACKAGES)
