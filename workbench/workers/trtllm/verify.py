"""Worker `trtllm.verify`: does a TensorRT-LLM checkpoint say what its source model says, before an engine is built?

The checkpoint is read back by a route of its own, run by transformers with config.json's values and the engine's
defaults where it is silent, and compared with the source model on the source's own greedy answers.
"""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.precision import Precision
from workbench.workers.common import input_folder, quiet_environment
from workbench.workers.models.judging import floors, read_prompts
from workbench.workers.models.quality import Comparison
from workbench.workers.models.source import ROOM, Baseline, SourceModel, free_bytes, weight_bytes
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.trtllm.checkpoint import Checkpoint, open_checkpoint
from workbench.workers.trtllm.readback import Readback
from workbench.workers.trtllm.reference import build, differences, fill, not_reached

PACKAGES = ("torch", "transformers", "safetensors", "numpy")
PHASES = ("open", "source", "read back", "compare", "judge")
LOGIT_LIMITS = {"float32": 1e-3, "bfloat16": 0.05}
"""Largest absolute logit error of full precision, by the arithmetic that both sides are computed in."""
_ALGOS_OF = {
    Precision.FP32: (None,),
    Precision.FP16: (None,),
    Precision.BF16: (None,),
    Precision.FP8: ("FP8",),
    Precision.FP8_ROWWISE: ("FP8_PER_CHANNEL_PER_TOKEN",),
    Precision.INT8: ("W8A16",),
    Precision.INT8_SQ: ("W8A8_SQ_PER_CHANNEL",),
    Precision.INT4: ("W4A16",),
    Precision.INT4_AWQ: ("W4A16_AWQ",),
    Precision.INT4_GPTQ: ("W4A16_GPTQ",),
    Precision.W4A8_AWQ: ("W4A8_AWQ",),
    Precision.NVFP4: ("NVFP4",),
}


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Compare `inputs.checkpoint` with `inputs.model`; makes no folder.

    Settings: `precision` (its floors are the default), `prompts` (path of a prompt file, or a list of texts),
    `max_new_tokens` a prompt (default 32), `min_agreement` (0 to 1), `max_kl` (nats), `max_logit_error` (full
    precision alone; default by the arithmetic: 1e-3 in float32, 0.05 in BF16), `compute` ("auto": float32 where that
    fits into free memory, else BF16; or "float32", "bfloat16"), `auto_quantize_bits` (given when the layers' precisions
    were chosen by ModelOpt, so that any mixture will do), `device` ("auto": a GPU that holds the model, else the CPU),
    `trust_remote_code`.

    Full precision is held to `max_logit_error` against the source with its weights rounded to the checkpoint's
    dtype (`layout_logit_error`); agreement and KL are against the source as it is, for every precision.
    Raises WorkerError `verify-failed` with the figures, `bad-checkpoint` for what cannot be right in the files,
    `not-readable` for what this reader does not know; else `missing-input`, `bad-setting`, `source-failed`,
    `import-failed`.
    """
    folder, model = input_folder(spec, "checkpoint"), input_folder(spec, "model")
    settings = spec.settings
    prompts = read_prompts(settings.get("prompts"))
    limits, compute = _limits(settings), _compute(settings)
    quiet_environment()
    started = time.monotonic()

    channel.phase("open", 1, len(PHASES))
    checkpoint = open_checkpoint(folder)
    _check_precision(checkpoint, settings)
    full = checkpoint.quant_algo in (None, "NO_QUANT")

    channel.phase("source", 2, len(PHASES))
    device = _device(settings, model, channel)
    source = _Source(model, bool(settings.get("trust_remote_code", False)), compute, device)
    if source.compute != "float32" and compute is None:
        channel.log(f"both sides compute in BF16: float32 does not fit into free memory of the {device}", "warning")
    source.check(checkpoint)
    total = len(prompts)
    baselines = source.baselines(
        prompts, int(settings.get("max_new_tokens", 32)), lambda done: channel.progress(done, total, "prompts")
    )
    rounded = source.rounded(baselines, checkpoint) if full else None
    facts = _SourceFacts(source.compute, device, source.attention, source.config, source.nll, source.vocabulary)
    del source
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()

    channel.phase("read back", 3, len(PHASES))
    ours, readback = _rebuild(checkpoint, facts, channel)

    channel.phase("compare", 4, len(PHASES))
    found = _compare(ours, baselines, rounded, facts, channel)
    found.differences = differences(ours.config, facts.config, checkpoint.config)
    found.ignored = readback.ignored()
    uncovered = not_reached(checkpoint.config, max(len(one.ids) for one in baselines))
    if kv_algo := checkpoint.quantization.get("kv_cache_quant_algo"):
        uncovered.append(f"keys and values rounded to {kv_algo} in the cache (their scales are checked)")
    if readback.unrounded:
        uncovered.append(
            f"rounding of the experts' inputs under {checkpoint.quant_algo} (transformers 5 keeps experts as one)"
        )
    defaults = [{"name": name, "value": value} for name, value in checkpoint.config.defaults_used.items()]
    for entry in found.differences:
        channel.log(f"config.json: {_in_words(entry)}", "warning")
    if found.ignored:
        channel.log(f"the engine would not load: {', '.join(found.ignored[:10])}", "warning")
    for sentence in uncovered:
        channel.log(f"not covered: {sentence}")
    channel.log(found.figures(limits, full, facts.compute))

    channel.phase("judge", 5, len(PHASES))
    limit = limits.logit_error if limits.logit_error is not None else LOGIT_LIMITS[facts.compute]
    _judge(found, limits, limit if full else None, full, facts.compute)
    return {
        "max_abs_logit_error": _rounded(found.logit_error, 7),
        "layout_logit_error": _rounded(found.layout_error, 7) if full else None,
        "max_logit_error": limit if full else None,
        "kl_nats": round(found.comparison.kl_nats, 6),
        "agreement": round(found.comparison.agreement, 5),
        "min_agreement": limits.agreement,
        "max_kl": limits.kl,
        "positions": found.comparison.positions,
        "perplexity": _rounded(found.perplexity, 4),
        "source_perplexity": _rounded(facts.perplexity, 4),
        "perplexity_tokens": len(facts.nll),
        "padding_wins": found.padding_wins,
        "worst": [
            {"prompt": worst.name, "agreement": round(worst.agreement, 4), "kl_nats": round(worst.kl_nats, 5)}
            for worst in found.comparison.worst()
        ],
        "compute": facts.compute,
        "device": facts.device,
        "architecture": checkpoint.config["architecture"],
        "quant_algo": checkpoint.quant_algo,
        "kv_cache_quant_algo": checkpoint.quantization.get("kv_cache_quant_algo"),
        "linear_layers": {name or "none": count for name, count in sorted(readback.algos.items())},
        "tp": checkpoint.tp,
        "pp": checkpoint.pp,
        "defaults_used": defaults,
        "differences": found.differences,
        "ignored": found.ignored,
        "not_covered": uncovered,
        "seconds": round(time.monotonic() - started, 2),
    }


@dataclass(frozen=True)
class _Limits:
    agreement: float
    kl: float
    logit_error: float | None


@dataclass(frozen=True)
class _SourceFacts:
    """What is kept of the source model once its weights are let go."""

    compute: str
    device: str
    attention: str | None
    config: Any
    nll: list[float]
    vocabulary: int

    @property
    def perplexity(self) -> float | None:
        return _perplexity(self.nll)


@dataclass
class _Found:
    """The comparison's figures."""

    comparison: Comparison = field(default_factory=Comparison)
    logit_error: float = 0.0
    layout_error: float = 0.0
    perplexity: float | None = None
    padding_wins: int = 0
    """Positions where a row that only pads the vocabulary has the largest logit."""
    differences: list[dict[str, Any]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def figures(self, limits: _Limits, full: bool, compute: str) -> str:
        error = f"largest logit error {self.logit_error:.3g}"
        if full:
            error += f", {self.layout_error:.3g} against weights rounded alike ({compute})"
        return (
            f"{error}, agreement {self.comparison.agreement:.4f} (at least {limits.agreement:g}), "
            f"KL {self.comparison.kl_nats:.5f} nats (at most {limits.kl:g}), "
            f"worst prompt: {self.comparison.worst(1)[0].name}"
        )


class _Source(SourceModel):
    """The source model, which also notes the perplexity of the prompts."""

    def __init__(self, folder: Path, trust_remote_code: bool, compute: str | None, device: str) -> None:
        super().__init__(folder, trust_remote_code, compute, device)
        self.nll: list[float] = []
        """Negative log-likelihood in nats of each prompt token but the first."""
        self.attention: str | None = None
        if getattr(self.config, "attn_logit_softcapping", None):
            self.attention = "eager"  # the other kernels leave the cap out
            self._model.set_attn_implementation("eager")

    @property
    def config(self) -> Any:
        return self._model.config

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise WorkerError `verify-failed` when the folder is plainly not the checkpoint's model."""
        ours, theirs = str(checkpoint.config["architecture"]), list(getattr(self.config, "architectures", None) or [])
        if theirs and ours not in theirs:
            raise WorkerError(
                "the checkpoint and the source model are of different architectures: they do not belong together",
                code="verify-failed",
                cause=f"{ours} and {', '.join(theirs)}",
                hint="Give verify the model folder that the checkpoint was made from.",
            )

    def rounded(self, baselines: list[Baseline], checkpoint: Checkpoint) -> list[Any] | None:
        """Logits of the baselines with all weights rounded to the checkpoint's dtype; None when that changes none.

        Gemma's norms are stored as 1 + w, so that is what is rounded. Changes the model for good.
        """
        import torch

        dtype = getattr(torch, checkpoint.config["dtype"])
        offset = checkpoint.config.family.norm_offset
        changed = False
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                add = offset if name.endswith("norm.weight") else 0.0
                near = ((parameter.float() + add).to(dtype).float() - add).to(parameter.dtype)
                if not torch.equal(near, parameter):
                    parameter.copy_(near)
                    changed = True
        if not changed:
            return None
        return [super(_Source, self)._logits(one.ids, one.prompt_tokens) for one in baselines]

    def _logits(self, ids: list[int], prompt_tokens: int) -> Any:
        logits = _forward(self._model, ids)
        self.nll += _nll(logits, ids[:prompt_tokens])
        return logits[prompt_tokens - 1 : -1].numpy()


def _rebuild(checkpoint: Checkpoint, facts: _SourceFacts, channel: Channel) -> tuple[Any, Readback]:
    """The engine's model with the checkpoint's weights, and how they were read."""
    ours = build(checkpoint.config, checkpoint.tied, facts.compute, facts.attention, facts.device)
    modules = dict(ours.named_modules())
    experts = checkpoint.config.family.experts
    fold = experts is not None and f"model.layers.0.{experts[0]}.experts.0.{experts[1]}" not in modules
    readback = Readback(checkpoint, fold_experts=fold)
    layers = checkpoint.config.whole("num_hidden_layers")
    fill(ours, readback.tensors(lambda done: channel.progress(done, layers, "layers")))
    for name, change in readback.activations.items():
        modules[name].register_forward_pre_hook(lambda _, given, change=change: (change(given[0]), *given[1:]))
    return ours, readback


def _compare(
    ours: Any, baselines: list[Baseline], rounded: list[Any] | None, facts: _SourceFacts, channel: Channel
) -> _Found:
    import numpy as np

    found, nll = _Found(), []
    vocabulary = int(ours.get_output_embeddings().weight.shape[0])
    if vocabulary < facts.vocabulary:
        raise WorkerError(
            "the checkpoint's vocabulary is smaller than the source model's: they do not belong together",
            code="verify-failed",
            cause=f"{vocabulary:,} and {facts.vocabulary:,} tokens",
            hint="Give verify the model folder that the checkpoint was made from.",
        )
    for index, baseline in enumerate(baselines):
        logits = _forward(ours, baseline.ids)
        nll += _nll(logits[:, : facts.vocabulary], baseline.ids[: baseline.prompt_tokens])
        whole = logits[baseline.prompt_tokens - 1 : -1].numpy()
        found.padding_wins += int((whole.argmax(axis=-1) >= facts.vocabulary).sum())
        answer = whole[:, : facts.vocabulary]  # AWQ checkpoints pad the vocabulary
        found.comparison.add(baseline.name, baseline.logits, answer)
        error = float(np.abs(answer - baseline.logits).max())
        found.logit_error = _larger(found.logit_error, error)
        if rounded is not None:
            error = float(np.abs(answer - rounded[index]).max())
        found.layout_error = _larger(found.layout_error, error)
        channel.progress(index + 1, len(baselines), "prompts")
    found.perplexity = _perplexity(nll)
    return found


def _judge(found: _Found, limits: _Limits, logit_limit: float | None, full: bool, compute: str) -> None:
    figures, comparison = found.figures(limits, full, compute), found.comparison
    wrong = [_in_words(entry) for entry in found.differences]
    if math.isnan(comparison.kl_nats) or math.isnan(found.logit_error):
        raise WorkerError(
            "the checkpoint's logits hold values that are not numbers",
            code="verify-failed",
            cause=figures,
            hint="Quantize again with other calibration text, or choose another precision.",
        )
    if wrong:
        raise WorkerError(
            "config.json is not that of the source model: the engine would compute something else",
            code="verify-failed",
            cause=f"{'; '.join(wrong)}. {figures}",
            hint="Make the checkpoint again with a newer Engine Workbench, or write these values into config.json.",
        )
    if logit_limit is not None and found.layout_error > logit_limit:
        raise WorkerError(
            "the checkpoint does not compute what its source model computes",
            code="verify-failed",
            cause=f"{figures}; at most {logit_limit:g}"
            + (f"; the engine would not load {', '.join(found.ignored[:5])}" if found.ignored else ""),
            hint="Weights were lost or mixed up in conversion: make the checkpoint again, once with parallel.tp = 1.",
        )
    if comparison.agreement < limits.agreement or comparison.kl_nats > limits.kl:
        raise WorkerError(
            "the checkpoint is too far from its source model",
            code="verify-failed",
            cause=figures + (f"; the engine would not load {', '.join(found.ignored[:5])}" if found.ignored else ""),
            hint="Choose a milder precision or a smaller group size, calibrate with more text, or lower "
            "verify.min_agreement and raise verify.max_kl in the preset if this loss is acceptable.",
        )


def _limits(settings: dict[str, Any]) -> _Limits:
    agreement, kl = floors(settings)
    given = settings.get("max_logit_error")
    return _Limits(agreement, kl, None if given is None else float(given))


def _compute(settings: dict[str, Any]) -> str | None:
    """The arithmetic asked for; None: whatever fits. Raises WorkerError `bad-setting`."""
    given = str(settings.get("compute") or "auto")
    if given != "auto" and given not in LOGIT_LIMITS:
        raise WorkerError(
            "verify was given an unknown arithmetic",
            code="bad-setting",
            cause=f"compute = {given[:40]}",
            hint=f"Use auto, {' or '.join(LOGIT_LIMITS)}.",
        )
    return None if given == "auto" else given


def _device(settings: dict[str, Any], model: Path, channel: Channel) -> str:
    """ "cuda" where there is one that holds the model at 16 bits, else "cpu". Raises WorkerError `bad-setting`."""
    given = str(settings.get("device") or "auto")
    if given not in ("auto", "cpu", "cuda"):
        raise WorkerError(
            "verify was given an unknown device",
            code="bad-setting",
            cause=f"device = {given[:40]}",
            hint="Use auto, cpu or cuda.",
        )
    if given != "auto":
        return given
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    free, wanted = free_bytes("cuda"), int(weight_bytes(model) * ROOM)
    if wanted > free:
        channel.log(
            f"compared on the CPU: the model takes {wanted / 2**30:.0f} GiB, the GPU has {free / 2**30:.0f} free"
        )
        return "cpu"
    return "cuda"


def _check_precision(checkpoint: Checkpoint, settings: dict[str, Any]) -> None:
    precision = Precision(str(settings.get("precision", "fp16")))
    algo = None if checkpoint.quant_algo == "NO_QUANT" else checkpoint.quant_algo
    if algo == "MIXED_PRECISION" or algo in _ALGOS_OF[precision] or settings.get("auto_quantize_bits"):
        return
    raise WorkerError(
        "the checkpoint is not of the precision asked for",
        code="bad-checkpoint",
        cause=f"quant_algo = {algo!r} in config.json, asked for {precision.title}",
        hint="Run the step that makes the checkpoint again.",
    )


def _forward(model: Any, ids: list[int]) -> Any:
    """Float32 logits of (tokens, vocabulary)."""
    import torch

    with torch.inference_mode():
        given = torch.tensor([ids], device=model.device)
        return model(input_ids=given, use_cache=False).logits[0].float().cpu()


def _nll(logits: Any, ids: list[int]) -> list[float]:
    import torch

    if len(ids) < 2:
        return []
    logs = torch.log_softmax(logits[: len(ids) - 1].double(), dim=-1)
    chosen = logs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return [-float(value) for value in chosen]


def _perplexity(nll: list[float]) -> float | None:
    """exp of the mean negative log-likelihood; None without tokens or beyond what a float holds."""
    if not nll:
        return None
    mean = sum(nll) / len(nll)
    return math.exp(mean) if mean < 700 else None


def _larger(one: float, other: float) -> float:
    return other if math.isnan(other) or other > one else one


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _in_words(entry: dict[str, Any]) -> str:
    absent = " (absent, the engine's default)" if entry.get("default") else ""
    return f"{entry['name']} is {_short(entry['value'])}{absent}, the source has {_short(entry['source'])}"


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


if __name__ == "__main__":
    run_worker("trtllm.verify", work, packages=PACKAGES)
