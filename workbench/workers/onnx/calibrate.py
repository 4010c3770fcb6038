"""What ModelOpt learns from calibration text on the source model: ranges of activations, AWQ's channel scales.

The text runs through the Hugging Face model in PyTorch, not through the ONNX graph: ModelOpt's own AWQ for ONNX keeps
every layer's inputs in memory at once, runs the graph once a layer, and tells nobody how far it is.
Peak memory: the source model in float32 (BF16 where that does not fit) and one batch's activations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.core.precision import Precision
from workbench.workers.common import explain_import, first_line
from workbench.workers.modelopt.formats import passes, quant_config
from workbench.workers.modelopt.load import readable_config
from workbench.workers.modelopt.write import check_finite
from workbench.workers.models.source import ROOM, free_bytes, weight_bytes
from workbench.workers.protocol import Channel, StepSpec, WorkerError
from workbench.workers.text.calibration_set import FEWEST_BATCHES, CalibrationSet, load_set, settings_from

AMAX = "amax"
"""Largest magnitude of each layer's input, a float."""
SMOOTH = "smooth"
"""What AWQ multiplies each channel of a layer's input by, float32 (input channels,); its weight is divided by it."""


AWQ_BATCH = 8
"""Least samples a batch for AWQ, which rounds all weights eleven times a batch: with one sample it takes far longer,
to the same end."""


@dataclass(frozen=True)
class Calibrated:
    """What was learned, by dotted module name, and the text it was learned from."""

    values: dict[str, Any]
    text: CalibrationSet
    compute: str
    """"float32" or "bfloat16": what the source model was run in."""


def calibrate(
    folder: Path, spec: StepSpec, precision: Precision, block: int | None, channel: Channel, *, trust: bool
) -> Calibrated:
    """Run the text of `inputs.calibration` through the model folder. FP8 and NVFP4 give AMAX, INT4_AWQ SMOOTH.

    Sends progress in batches; AWQ's are of AWQ_BATCH samples or more. Settings under `calibration`: {field, samples,
    length, batch_size, seed}.
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-calibration`, `no-tokenizer`, `source-failed`,
    `bad-weights`, `out-of-memory`, `quantize-failed`, `import-failed`.
    """
    given = spec.inputs.get("calibration", "")
    if not given or not Path(given).exists():
        raise WorkerError(
            f"{precision.title} needs calibration text and there is none",
            code="missing-input",
            cause=given or "not given",
            hint="Name a file or folder in calibration.file of the preset.",
        )
    settings = settings_from(dict(spec.settings.get("calibration") or {}))
    fewest = FEWEST_BATCHES
    if precision is Precision.INT4_AWQ:
        settings = replace(settings, batch_size=max(settings.batch_size, AWQ_BATCH))
        fewest //= AWQ_BATCH  # samples are what counts: larger batches save time here
    compute = _compute(folder)
    mtq, torch, transformers = _packages()
    text = load_set(Path(given), settings, _encoder(transformers, folder, trust), fewest_batches=fewest)
    for warning in text.warnings:
        channel.log(warning, "warning")
    channel.log(f"calibration: {text.samples} texts, {text.tokens:,} tokens in {len(text.batches)} batches, {compute}")
    model = _model(transformers, torch, folder, compute, trust)
    check_finite(model.named_parameters(), folder.name)
    torch.manual_seed(settings.seed)
    total, done = len(text.batches) * passes(precision), 0

    def run(quantized: Any) -> None:
        nonlocal done
        with torch.no_grad():
            for batch in text.batches:
                # Without the output layer, which is not quantized: the logits of a batch are gigabytes.
                quantized.base_model(input_ids=torch.tensor(batch, dtype=torch.long), use_cache=False)
                done += 1
                channel.progress(done, max(total, done), "batches")

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mtq.quantize(model, quant_config(mtq, precision, "auto", block, ""), forward_loop=run)
    except (MemoryError, WorkerError):
        raise
    except Exception as error:
        raise WorkerError(
            f"ModelOpt could not calibrate the model for {precision.title}",
            code="quantize-failed",
            cause=f"{type(error).__name__}: {first_line(error)}",
            hint="Try other calibration text or another precision. The job's log has the full text.",
        ) from error
    read = _smooth if precision is Precision.INT4_AWQ else _amax
    return Calibrated(dict(read(model)), text, compute)


def value_of(calibrated: Calibrated, module: str) -> Any:
    """What was learned of a layer. Raises WorkerError `quantize-failed` when the graph and the model differ."""
    try:
        return calibrated.values[module]
    except KeyError:
        raise WorkerError(
            "a layer of the ONNX model is not in the source model, so its calibration is unknown",
            code="quantize-failed",
            cause=f"{module}; the source model has {', '.join(list(calibrated.values)[:3])} ...",
            hint="Give the model folder that the ONNX model was made from, or use int8, or int4 with method rtn.",
        ) from None


def _amax(model: Any) -> Iterator[tuple[str, float]]:
    for name, module in model.named_modules():
        quantizer = getattr(module, "input_quantizer", None)
        # A layer that no text reached, such as an expert, has none.
        if quantizer is not None and getattr(quantizer, "amax", None) is not None:
            yield name, float(quantizer.amax.float().max())


def _smooth(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        scale = getattr(getattr(module, "input_quantizer", None), "_pre_quant_scale", None)
        if scale is not None:
            yield name, scale.detach().float().cpu().reshape(-1).numpy()


def _packages() -> tuple[Any, Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import modelopt.torch.quantization as mtq
            import torch
            import transformers
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error
    return mtq, torch, transformers


def _compute(folder: Path) -> str:
    """float32 where it fits into free memory, else bfloat16. Raises WorkerError `out-of-memory` when neither does."""
    stored, free = weight_bytes(folder), free_bytes("cpu")
    if stored * 2 * ROOM < free:
        return "float32"
    if stored * ROOM < free:
        return "bfloat16"
    raise WorkerError(
        "the source model does not fit into free memory, and calibration text has to run through it",
        code="out-of-memory",
        cause=f"{stored * ROOM / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free",
        hint="Use int8, or int4 with method rtn: they need no calibration and little memory.",
    )


def _encoder(transformers: Any, folder: Path, trust: bool) -> Callable[[str], list[int]]:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust
        )
    except Exception as error:
        raise WorkerError(
            "the model's tokenizer cannot be loaded, and calibration text needs it",
            code="no-tokenizer",
            cause=f"{type(error).__name__}: {first_line(error)}",
            hint="Copy tokenizer.json and tokenizer_config.json of the model into its folder.",
        ) from error
    return lambda text: list(tokenizer(text)["input_ids"])


def _model(transformers: Any, torch: Any, folder: Path, compute: str, trust: bool) -> Any:
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=readable_config(folder, trust),
            dtype=getattr(torch, compute),
            local_files_only=True,
            trust_remote_code=trust,
        ).eval()
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, ImportError):
            raise explain_import(error) from error
        raise WorkerError(
            "the source model cannot be loaded for calibration",
            code="source-failed",
            cause=f"{type(error).__name__}: {first_line(error)}",
            hint="Run `workbench check` on the folder.",
        ) from error
