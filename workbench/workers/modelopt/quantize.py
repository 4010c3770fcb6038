"""Worker `modelopt.quantize`: Hugging Face folder -> quantized TensorRT-LLM checkpoint, by NVIDIA ModelOpt.

Calibration runs sample text through the model, on CPU or GPU; the scales it learns go into the rank files.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.core.precision import Precision
from workbench.core.trtllm.parallel import FEWEST_AUTO_BITS
from workbench.workers.common import explain_import, first_line
from workbench.workers.modelopt.checkpoint import finish
from workbench.workers.modelopt.common import (
    PACKAGES,
    PLAIN,
    Job,
    Timer,
    export,
    peaks,
    prepare,
    quiet,
    where,
)
from workbench.workers.modelopt.formats import AUTO_WITH, kv_only, passes, quant_config
from workbench.workers.modelopt.load import load_model, source_config
from workbench.workers.modelopt.write import check_finite
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.text.calibration_set import CalibrationSet, load_set, settings_from

PHASES = ("check", "load", "calibrate", "export", "complete")
_VOCABULARIES = {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"}
QUANTIZED = frozenset(
    [Precision.FP8, Precision.FP8_ROWWISE, Precision.INT8_SQ, Precision.INT4_AWQ, Precision.W4A8_AWQ, Precision.NVFP4]
)


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with the quantized checkpoint of `inputs.model`: config.json, a rank{N}.safetensors for each
    of tp x pp ranks, the tokenizer; quant_cfg.json too for mixed precision.

    Settings: `precision`, `kv_cache` ("auto" leaves it alone, "fp8", "int8"), `dtype` of what is not quantized,
    `tp`, `pp`, `group_size` ("auto" or a number; AWQ), `calibration` {field, samples, length, batch_size, seed},
    `auto_quantize_bits` (mean bits a weight for mixed precision; None for one precision), `evaluation` (path of a
    prompt file whose overlap with the calibration text is reported), `device`, `trust_remote_code`.
    Inputs: `model`, and `calibration` (a .jsonl, text or Parquet file or a folder of them) where it is needed.
    Raises WorkerError as `modelopt.convert` does, and `no-tokenizer`, `bad-calibration`, `bad-scales`,
    `quantize-failed`, `unsupported`, `no-gpu`, `out-of-memory`.
    """
    timer = Timer(channel, PHASES)
    timer.enter("check")
    job = prepare(spec, PLAIN | QUANTIZED)
    bits = _auto_bits(spec.settings.get("auto_quantize_bits"), job)
    settings = settings_from(dict(spec.settings.get("calibration") or {}))
    needs_text = job.precision.needs_calibration or job.kv_cache.value in ("fp8", "int8") or bits is not None
    text = Path(spec.inputs.get("calibration", ""))
    if needs_text and (not spec.inputs.get("calibration") or not text.exists()):
        raise WorkerError(
            f"{job.precision.title} needs calibration text and there is none",
            code="missing-input",
            cause=spec.inputs.get("calibration") or "not given",
            hint="Name a file or folder in calibration.file of the preset.",
        )
    quiet(job.out)
    calibration = None
    if needs_text:
        calibration = load_set(
            text, settings, _encoder(job), evaluation=evaluation_texts(str(spec.settings.get("evaluation") or ""))
        )
        for warning in calibration.warnings:
            channel.log(warning, "warning")
    timer.enter("load")
    model = load_model(job, channel)
    source = source_config(model)
    check_finite(model.named_parameters(), job.model.name)  # ModelOpt calls NaN "negative values after abs"
    timer.enter("calibrate")
    chosen = _quantize(model, job, calibration, bits, settings.seed, channel)
    timer.enter("export")
    export(model, job, channel)
    timer.enter("complete")
    result = finish(job, source, channel)
    timer.stop()
    result |= chosen
    if calibration is not None:
        result["calibration"] = calibration.report()
    return (
        result | {"phase_seconds": timer.seconds, "seconds": round(sum(timer.seconds.values()), 2)} | peaks(job.device)
    )


def evaluation_texts(path: str) -> list[str]:
    """Texts of a prompt file: a JSON list of texts or of objects with `text`/`prompt`, .jsonl, or plain text; [] when
    no path is given. Raises WorkerError `bad-setting`."""
    if not path:
        return []
    try:
        content = Path(path).read_text(encoding="utf-8")
        if path.endswith(".jsonl"):
            return list(_strings([json.loads(line) for line in content.splitlines() if line.strip()]))
        return list(_strings(json.loads(content))) if path.endswith(".json") else [content]
    except (OSError, ValueError) as error:
        raise WorkerError(
            "the evaluation text cannot be read", code="bad-setting", cause=f"{path}: {str(error)[:200]}"
        ) from error


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from _strings(value)
    elif isinstance(data, list):
        for value in data:
            yield from _strings(value)


def _auto_bits(given: Any, job: Job) -> float | None:
    if given is None:
        return None
    if job.precision not in AUTO_WITH:
        raise WorkerError(
            f"mixed precision does not start from {job.precision.title}",
            code="bad-setting",
            cause=f"precision = {job.precision.value}, auto_quantize_bits = {given}",
            hint=f"Use precision {', '.join(each.value for each in AUTO_WITH)}, or no auto_quantize_bits.",
        )
    low = FEWEST_AUTO_BITS[job.precision]
    if isinstance(given, bool) or not isinstance(given, int | float) or not low <= given <= 16:
        raise WorkerError(
            "auto_quantize_bits is out of reach",
            code="bad-setting",
            cause=f"auto_quantize_bits = {str(given)[:40]}",
            hint=f"With {job.precision.value} layers the mean is between {low:g} and 16 bits a weight.",
        )
    if job.precision is Precision.NVFP4 and job.device != "cuda":
        raise WorkerError(
            "ModelOpt tries NVFP4 layers with GPU kernels alone, so this mixed precision needs a CUDA GPU",
            code="no-gpu",
            cause=f"auto_quantize_bits = {given:g}, device = {job.device}",
            hint="Use a GPU, or w4a8_awq or fp8 as precision, or no auto_quantize_bits.",
        )
    return float(given)


def _out_of_reach(bits: float, fewest: float | str) -> WorkerError:
    return WorkerError(
        "this model cannot be brought to so few bits a weight",
        code="bad-setting",
        cause=f"auto_quantize_bits = {bits:g}, the fewest it can reach is {fewest} (the output layer stays at 16)",
        hint="Ask for that many or more.",
    )


def _encoder(job: Job) -> Callable[[str], list[int]]:
    # transformers 5 makes an empty tokenizer for a folder without one, and every text is no tokens long.
    names = {path.name for path in job.model.iterdir()}
    if not job.trust_remote_code and not names & _VOCABULARIES and not any(n.endswith(".tiktoken") for n in names):
        raise _no_tokenizer(f"none of {', '.join(sorted(_VOCABULARIES))} in {job.model.name}")
    try:
        from transformers import AutoTokenizer
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(job.model), local_files_only=True, trust_remote_code=job.trust_remote_code
        )
    except Exception as error:
        raise _no_tokenizer(f"{type(error).__name__}: {first_line(error)}") from error
    most = job.spec.vocab_size

    def encode(text: str) -> list[int]:
        ids = list(tokenizer(text)["input_ids"])
        if ids and max(ids) >= most:
            raise WorkerError(
                "the tokenizer knows more tokens than the model",
                code="bad-model",
                cause=f"token {max(ids)}, vocabulary of {most}",
                hint="Take tokenizer and weights from the same model.",
            )
        return ids

    return encode


def _no_tokenizer(cause: str) -> WorkerError:
    return WorkerError(
        "the model's tokenizer cannot be loaded, and calibration text needs it",
        code="no-tokenizer",
        cause=cause,
        hint="Copy tokenizer.json and tokenizer_config.json of the model into its folder.",
    )


def _quantize(
    model: Any, job: Job, calibration: CalibrationSet | None, bits: float | None, seed: int, channel: Channel
) -> dict[str, Any]:
    """Quantize in place; what was chosen, for the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import modelopt.torch.quantization as mtq
            import torch
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error
    if job.precision in PLAIN and job.kv_cache.value not in ("fp8", "int8"):
        return {}
    torch.manual_seed(seed)
    loop = _Loop(calibration, job, passes(job.precision) if bits is None else 1, channel) if calibration else None
    try:
        if bits is not None and loop is not None:
            return _auto_quantize(mtq, model, job, bits, loop)
        config = quant_config(mtq, job.precision, job.kv_cache.value, job.block, job.family.engine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mtq.quantize(model, config, forward_loop=loop)
    except (MemoryError, WorkerError):
        raise
    except Exception as error:
        fewest = re.search(r"minimum achievable effective bits is ([0-9.]+\d)", str(error))
        if bits is not None and fewest:
            raise _out_of_reach(bits, fewest[1]) from error
        if "OutOfMemory" in type(error).__name__:
            raise _out_of_memory(error) from error
        raise WorkerError(
            f"ModelOpt could not quantize the model to {job.precision.title}",
            code="quantize-failed",
            cause=where(error),
            hint="Try other calibration text or another precision. The job's log has the full text.",
        ) from error
    return {"calibration_passes": loop.passes_done} if loop else {}


def _auto_quantize(mtq: Any, model: Any, job: Job, bits: float, loop: _Loop) -> dict[str, Any]:
    """Mixed precision: the formats of AUTO_WITH, laid out layer by layer so that the mean is `bits` a weight."""
    formats = AUTO_WITH[job.precision]
    data = [{"input_ids": ids, "labels": ids} for ids in loop.tensors()]
    loop.restart(of=len(data) * (len(formats) + 1))

    def step(module: Any, batch: dict[str, Any]) -> Any:
        loop.tick()
        return module(**batch)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, history = mtq.auto_quantize(
            model,
            constraints={"effective_bits": bits},
            quantization_formats=[quant_config(mtq, each, "auto", job.block, job.family.engine) for each in formats],
            data_loader=data,
            forward_step=step,
            loss_func=lambda output, _: output.loss,
            num_calib_steps=len(data),
            num_score_steps=min(len(data), 32),
            disabled_layers=["*lm_head*", "*router*", "*shared_expert_gate*", "*.gate"],
        )
        if job.kv_cache.value in ("fp8", "int8"):
            mtq.set_quantizer_by_cfg(model, quant_cfg=kv_only(mtq, job.kv_cache.value)["quant_cfg"])
    best = history.get("best", {}) if isinstance(history, dict) else {}
    reached = (best.get("constraints") or {}).get("effective_bits")
    if reached is not None and reached > bits + 0.01:  # 0.37 takes the nearest it can and says nothing
        raise _out_of_reach(bits, f"{reached:.4f}")
    return {"auto_quantize_bits": bits, "effective_bits": reached, "formats": [each.value for each in formats]}


def _out_of_memory(error: Exception) -> WorkerError:
    return WorkerError(
        "the GPU ran out of memory while calibrating",
        code="out-of-memory",
        cause=first_line(error),
        hint='Lower calibration.batch_size or calibration.length, use more GPUs, or set device = "cpu".',
    )


class _Loop:
    """ModelOpt's forward loop: runs all batches, counts over all passes, halves a batch that does not fit."""

    def __init__(self, calibration: CalibrationSet, job: Job, expected_passes: int, channel: Channel) -> None:
        self._batches, self._job, self._channel = calibration.batches, job, channel
        self._done, self._of = 0, len(calibration.batches) * expected_passes
        self.passes_done = 0

    def tensors(self) -> list[Any]:
        """Input ids, a tensor (samples, tokens) a batch, on the model's device."""
        import torch

        return [torch.tensor(batch, dtype=torch.long, device=self._job.device) for batch in self._batches]

    def restart(self, of: int) -> None:
        self._done, self._of = 0, of

    def tick(self) -> None:
        self._done += 1
        self._of = max(self._of, self._done)
        self._channel.progress(self._done, self._of, "batches")

    def __call__(self, model: Any) -> None:
        import torch

        if self.passes_done * len(self._batches) >= self._of:  # a pass more than is known of this version
            self._of += len(self._batches)
        with torch.no_grad():
            for ids in self.tensors():
                self._forward(model, ids)
                self.tick()
        self.passes_done += 1

    def _forward(self, model: Any, ids: Any) -> None:
        import torch

        try:
            model(input_ids=ids, use_cache=False)
        except torch.OutOfMemoryError as error:
            if ids.shape[0] == 1:
                raise _out_of_memory(error) from error
            self._channel.log(f"a batch of {ids.shape[0]} does not fit into GPU memory: halved", "warning")
            torch.cuda.empty_cache()
            half = ids.shape[0] // 2
            self._forward(model, ids[:half])
            self._forward(model, ids[half:])


if __name__ == "__main__":
    run_worker("modelopt.quantize", work, packages=PACKAGES)
