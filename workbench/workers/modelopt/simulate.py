"""Worker `modelopt.simulate`: the quality that a precision would have, before any engine is built.

ModelOpt puts quantizers into the source model that round weights and activations as the engine's kernels would and
compute on in 16 or 32 bit (fake quantization); the model is then scored as engines are.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.measure.scores import tokenizer_digest
from workbench.core.model import read_model
from workbench.core.precision import Precision
from workbench.core.trtllm.config import block_size
from workbench.workers.common import explain_import, first_line, input_folder, quiet_environment
from workbench.workers.hosts.serving import usable_template
from workbench.workers.modelopt.common import PACKAGES, where
from workbench.workers.modelopt.formats import passes, quant_config
from workbench.workers.modelopt.load import readable_config
from workbench.workers.modelopt.nvfp4 import use_on_cpu
from workbench.workers.models.source import ROOM, free_bytes, weight_bytes
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.scoring.hf_model import HfModel
from workbench.workers.scoring.score import read_questions, score
from workbench.workers.text.calibration_set import load_set, settings_from

SIMULATED = (Precision.FP8, Precision.INT8_SQ, Precision.INT4_AWQ, Precision.NVFP4)


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Score `inputs.model` on `inputs.questions` as if it were quantized; `inputs.baseline` as for the other score
    workers, `inputs.calibration`: text for the scales.

    Settings: `precision` (fp8, int8_sq, int4_awq, nvfp4), `calibration` {samples, length, batch_size, seed},
    `device` ("auto", "cpu", "cuda"), `trust_remote_code`. Fills `spec.output`.
    """
    quiet_environment()
    folder, questions = input_folder(spec, "model"), read_questions(spec)
    precision = _precision(spec.settings.get("precision"))
    trust = bool(spec.settings.get("trust_remote_code", False))
    block = _block(folder, precision, trust)
    calibration = Path(spec.inputs.get("calibration", ""))
    chosen = settings_from(dict(spec.settings.get("calibration") or {}))
    channel.phase("load", 1, 4)
    model, tokenizer = _load(folder, str(spec.settings.get("device") or "auto"), trust)
    texts = [passage.text for passage in questions.passages]
    drawn = load_set(calibration, chosen, lambda text: list(tokenizer.encode(text)), evaluation=texts)
    for warning in drawn.warnings:
        channel.log(warning, "warning")
    channel.phase("calibrate", 1, 4)
    channel.log(f"calibrating for {precision.title}: {drawn.samples} samples, {drawn.tokens:,} tokens")
    _quantize(model, precision, block, drawn.batches, channel)
    scored = HfModel(model, tokenizer, folder, usable_template(folder, channel))
    scored.settings |= {"quantization": f"{precision.value} (simulated)"}
    if block:
        scored.settings["block_size"] = str(block)
    return score(scored, spec, questions, tokenizer_digest(folder), channel)


def _precision(given: Any) -> Precision:
    for precision in SIMULATED:
        if precision.value == given:
            return precision
    raise WorkerError(
        "this precision cannot be simulated",
        code="bad-setting",
        cause=f"precision = {given!r}",
        hint=f"Use one of: {', '.join(each.value for each in SIMULATED)}.",
    )


def _block(folder: Path, precision: Precision, trust: bool) -> int | None:
    """AWQ's block size, as a build chooses it."""
    try:
        spec = read_model(folder, require_tokenizer=False, trust_remote_code=trust)
        if spec.quantization is not None:
            raise BadInputError(
                "the model folder is quantized already; a precision is simulated on full precision",
                evidence=f"quantization_config in {folder.name}/config.json",
                fix="Take the model's full-precision folder.",
                code="already-quantized",
            )
        block, _ = block_size(precision, spec.input_channels, 1, "auto")
    except BadInputError as error:
        raise WorkerError(error.what, code=error.failure.code, cause=error.evidence, hint=error.fix) from error
    return block


def _load(folder: Path, device: str, trust: bool) -> tuple[Any, Any]:
    """The model on the GPU where it fits, else on the CPU; there in float32 where that fits, which is faster than
    BF16 on most."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() and weight_bytes(folder) * ROOM < free_bytes("cuda") else "cpu"
    dtype = "auto"
    if device == "cpu" and weight_bytes(folder) * 2 * ROOM < free_bytes("cpu"):
        dtype = "float32"
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust)
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=readable_config(folder, trust),
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=trust,
        )
        return model.to(device).eval(), tokenizer
    except MemoryError:
        raise
    except Exception as error:
        raise WorkerError(
            "the source model cannot be loaded",
            code="source-failed",
            cause=f"{type(error).__name__}: {first_line(error)}",
            hint="Run `workbench check` on the folder.",
        ) from error


def _quantize(
    model: Any, precision: Precision, block: int | None, batches: list[list[list[int]]], channel: Channel
) -> None:
    """Put the quantizers in and let them see the calibration text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import modelopt.torch.quantization as mtq
            import torch
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error
    device = next(model.parameters()).device
    total, done = len(batches) * passes(precision), 0

    def run(quantized: Any) -> None:
        nonlocal done
        with torch.no_grad():
            for batch in batches:
                quantized(input_ids=torch.tensor(batch, dtype=torch.long, device=device), use_cache=False)
                done += 1
                channel.progress(done, max(total, done), "batches")

    torch.manual_seed(0)
    if precision is Precision.NVFP4 and device.type == "cpu":
        use_on_cpu()
    config = quant_config(mtq, precision, "auto", block, "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mtq.quantize(model, config, forward_loop=run)
            # Else the weights are rounded again in every forward pass: on a CPU that is most of the time.
            mtq.fold_weight(model)
    except (MemoryError, WorkerError):
        raise
    except Exception as error:
        raise WorkerError(
            f"ModelOpt could not simulate {precision.title}",
            code="quantize-failed",
            cause=where(error),
            hint="Some formats need a GPU; the log has the full text.",
        ) from error


if __name__ == "__main__":
    run_worker("modelopt.simulate", work, packages=PACKAGES)
