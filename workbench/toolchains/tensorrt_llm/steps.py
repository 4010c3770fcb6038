"""Steps of a TensorRT-LLM build: checkpoint, read back and compared with its source, engine by trtllm-build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.data import resource
from workbench.core.digest import file_sha256
from workbench.core.engine_estimate import sequence_tokens
from workbench.core.estimate_trtllm import gpu_step_estimate
from workbench.core.plan import Output, Step, StepInput, StepKind, cache_key, folder_name
from workbench.core.precision import Precision
from workbench.core.preset import Preset, apply_overrides
from workbench.toolchains.base import BuildRequest, Environment
from workbench.toolchains.refusals import known_precision
from workbench.toolchains.tensorrt_llm.calibration import calibration_path
from workbench.toolchains.tensorrt_llm.flags import settings_from_preset
from workbench.toolchains.tensorrt_llm.heads import (
    heads_folder,
    heads_mark,
    heads_route,
    heads_settings,
    takes_heads,
)
from workbench.toolchains.tensorrt_llm.routes import (
    COPIED,
    Route,
    choose_route,
    needs_quantizing,
)

REVISION = 1
"""Counted up when a worker's output changes with equal settings, so that old artefacts are not reused."""

_MODELOPT = ("nvidia-modelopt", "transformers", "torch")
_CONVERT = ("tensorrt-llm", "transformers", "torch")
_VERIFY = ("transformers", "torch")
_ENGINE = ("tensorrt-llm", "tensorrt")
_NOT_OF_THE_ENGINE = ("workers", "log_level", "monitor_memory", "visualize_network")
"""Flags that change how a build goes and not what comes out."""


@dataclass(frozen=True)
class Variant:
    """One precision of a request: its preset, its name, and the interpreter that makes its checkpoint."""

    request: BuildRequest
    preset: Preset
    precision: Precision

    @property
    def name(self) -> str:
        return self.precision.value

    @property
    def device(self) -> str:
        """Where quantization runs: a GPU that is here, else the CPU."""
        return "cuda" if self.request.gpus_present else "cpu"

    def quantizes(self, until: str) -> bool:
        """Whether the quantize step makes the checkpoint; asked to convert alone, it is made without."""
        return until != "convert" and not takes_heads(self.preset) and needs_quantizing(self.preset, self.precision)

    @property
    def plain(self) -> Precision:
        """What convert makes: this precision where weights are only copied, else the model's own dtype."""
        if self.precision in (*COPIED, Precision.INT4_GPTQ):
            return self.precision
        return Precision.FP16 if self.request.model.dtype == "fp16" else Precision.BF16

    def route(self, until: str) -> Route:
        """Who makes the checkpoint. Raises BlockedError."""
        if takes_heads(self.preset):
            return heads_route(self.preset, self.request.environment)
        preset, precision = self.preset, self.precision
        if not self.quantizes(until):
            precision = self.plain
            preset = apply_overrides(preset, ["precision.kv_cache=auto", "precision.effective_bits=none"])
        return choose_route(preset, self.request.model, precision, self.request.environment)


def variants_of(request: BuildRequest) -> Iterator[Variant]:
    for name in request.precisions:
        preset = request.preset
        precision = known_precision(name)
        if preset.precision.weights is not precision:
            preset = apply_overrides(preset, [f"precision.weights={name}"])
        yield Variant(request, preset, precision)


def steps_of(variant: Variant, until: str) -> list[Step]:
    request, name = variant.request, variant.name
    several = len(request.precisions) > 1
    out = request.out / name if several and request.out is not None else request.out
    route, quantizes = variant.route(until), variant.quantizes(until)
    if takes_heads(variant.preset):
        convert = _heads(variant, out if until in ("convert", "quantize") else None)
    elif not quantizes:
        convert = _convert(variant, route, out if until in ("convert", "quantize") else None)
    else:
        convert = _none(variant, "convert", "quantize loads the model folder itself and writes the checkpoint")
    steps, checkpoint = [convert], convert
    if until != "convert":
        if quantizes:
            checkpoint = _quantize(variant, route, out if until == "quantize" else None)
            steps.append(checkpoint)
        else:
            why = f"{variant.precision.title} is what convert writes"
            if variant.precision in COPIED and variant.precision.is_quantized:
                why = "convert writes 16-bit weights, which trtllm-build rounds"
            steps.append(_none(variant, "quantize", why))
    if variant.preset.verify.enabled:
        steps.append(
            _none(variant, "verify", route.unverified) if route.unverified else _verify(variant, route, checkpoint)
        )
    if until in ("build", "verify"):
        steps.append(_build(variant, checkpoint, out))
    return steps


def _heads(variant: Variant, out: Path | None) -> Step:
    """The model and the heads that guess for it as one checkpoint, by the script in TensorRT-LLM's examples."""
    request, folder = variant.request, heads_folder(variant.preset)
    fields = _step(
        variant,
        "convert",
        "trtllm.heads",
        request.environment,
        heads_settings(variant.preset, variant.name),
        (StepInput(role="model", path=str(request.model.path)), StepInput(role="heads", path=str(folder))),
        {"model": request.model_digest, "heads": heads_mark(folder)},
        _CONVERT,
        lanes=_lanes(request, 1) if request.gpus_present else ("cpu",),
    )
    note = heads_route(variant.preset, request.environment).why
    return Step(**fields, note=note, output=_output(variant, "checkpoint", "checkpoints", fields["key"], out))


def _none(variant: Variant, kind: StepKind, reason: str) -> Step:
    return Step(
        id=f"{kind}:{variant.name}", kind=kind, title=kind.capitalize(), variant=variant.name, none_reason=reason
    )


def _step(
    variant: Variant,
    kind: StepKind,
    worker: str,
    environment: Environment,
    settings: dict[str, Any],
    inputs: tuple[StepInput, ...],
    facts: Mapping[str, Any],
    packages: tuple[str, ...],
    *,
    key_settings: dict[str, Any] | None = None,
    lanes: tuple[str, ...] = ("cpu",),
    workers: int = 1,
) -> dict[str, Any]:
    """What all steps share: argv, environment, lanes, and the key with what it hashes."""
    request = variant.request
    key_facts = {
        "worker": worker,
        "revision": REVISION,
        "settings": settings if key_settings is None else key_settings,
        "versions": {name: environment.versions.get(name, "") for name in packages},
        **facts,
    }
    on_gpu = any(lane.startswith("gpu:") for lane in lanes)
    # A worker on the CPU must not touch a GPU that another job holds.
    variables = {"CUDA_VISIBLE_DEVICES": ",".join(lane[4:] for lane in lanes if lane.startswith("gpu:"))}
    paths = [request.home.root, *(Path(i.path) for i in inputs if i.path)]
    paths += [request.out.parent] if request.out else []
    # Files that settings name, such as the shipped prompts, must be seen in a container too.
    paths += [Path(value) for value in settings.values() if isinstance(value, str) and Path(value).is_absolute()]
    group = variant.preset.precision.group_size
    return {
        "id": f"{kind}:{variant.name}",
        "kind": kind,
        "title": kind.capitalize(),
        "variant": variant.name,
        "worker": worker,
        "argv": environment.argv(f"workbench.workers.{worker}", paths=paths, variables=variables),
        "env": {**environment.env(), **variables},
        "settings": settings,
        "inputs": inputs,
        "lanes": lanes,
        "key": cache_key(key_facts) if request.model_digest else "",
        "key_facts": key_facts,
        "estimate": gpu_step_estimate(
            request.model,
            kind,
            variant.name,
            group_size=group if isinstance(group, int) and group > 0 else None,
            ranks=variant.preset.gpus,
            workers=workers,
            on_gpu=on_gpu,
        ),
    }


def _output(variant: Variant, kind: Any, folder: str, key: str, out: Path | None) -> Output:
    request, parallel = variant.request, variant.preset.parallel
    sizes = "".join(f" {word}{size}" for word, size in (("tp", parallel.tp), ("pp", parallel.pp)) if size > 1)
    name = f"{request.model.name} {variant.name}{sizes}"
    place = request.home.artifacts / folder / folder_name(*name.split(" "), key=key or "0" * 12)
    return Output(
        kind=kind,
        path=str(out or place),
        name=name,
        precision=variant.name,
        chosen=out is not None,
        alternates=request.paths_with_key(key) if key else (),
    )


def _checkpoint_settings(variant: Variant) -> dict[str, Any]:
    preset = variant.preset
    return {
        "precision": variant.name,
        "dtype": "auto" if variant.precision.is_quantized else variant.name,
        "tp": preset.parallel.tp,
        "pp": preset.parallel.pp,
        "trust_remote_code": preset.model.trust_remote_code,
    }


def _convert(variant: Variant, route: Route, out: Path | None) -> Step:
    """The checkpoint whose weights are only copied, by either converter."""
    request, precision = variant.request, variant.plain
    settings = _checkpoint_settings(variant) | {"precision": precision.value}
    if precision in (Precision.BF16, Precision.FP16):
        settings["dtype"] = precision.value
    own = route.converter == "tensorrt_llm"
    fields = _step(
        variant,
        "convert",
        "trtllm.convert" if own else "modelopt.convert",
        route.environment,
        {**settings, "why": route.why} if own else {**settings, "device": "cpu"},
        (StepInput(role="model", path=str(request.model.path)),),
        {"model": request.model_digest},
        _CONVERT if own else _MODELOPT,
        key_settings=settings,
        # TensorRT-LLM looks at the GPU when it is imported, and GPTQ weights are packed for one.
        lanes=_lanes(request, 1) if own and request.gpus_present else ("cpu",),
    )
    return Step(**fields, note=route.why, output=_output(variant, "checkpoint", "checkpoints", fields["key"], out))


def _quantize(variant: Variant, route: Route, out: Path | None) -> Step:
    request, preset = variant.request, variant.preset
    chosen = preset.effective_precision
    settings = _checkpoint_settings(variant) | {"kv_cache": chosen.kv_cache.value, "device": variant.device}
    if variant.precision in (Precision.INT4_AWQ, Precision.W4A8_AWQ):
        settings["group_size"] = chosen.group_size
    if chosen.effective_bits is not None:
        settings["auto_quantize_bits"] = chosen.effective_bits
    inputs: tuple[StepInput, ...] = (StepInput(role="model", path=str(request.model.path)),)
    facts: dict[str, Any] = {"model": request.model_digest}
    key_settings = dict(settings)
    if preset.needs_calibration or chosen.effective_bits is not None:
        path = calibration_path(preset)
        key_settings["calibration"] = settings["calibration"] = preset.calibration.model_dump(exclude={"file"})
        # Only for a report of how much of it the calibration text holds, so no part of the key.
        settings["evaluation"] = str(resource("verify_prompts.json"))
        inputs = (*inputs, StepInput(role="calibration", path=str(path)))
        facts["calibration"] = file_sha256(path)
    fields = _step(
        variant,
        "quantize",
        "modelopt.quantize",
        route.environment,
        settings,
        inputs,
        facts,
        _MODELOPT,
        key_settings=key_settings,
        lanes=_quantize_lanes(request),
    )
    return Step(**fields, note=route.why, output=_output(variant, "checkpoint", "checkpoints", fields["key"], out))


def _quantize_lanes(request: BuildRequest) -> tuple[str, ...]:
    """One GPU if the model fits on it with room to calibrate, else all that are planned for."""
    if not request.gpus_present:
        return ("cpu",)
    first = request.gpus[0]
    fits = 1.3 * request.model.weight_bytes + 2 * 2**30 < first.memory_bytes - (first.memory_used_bytes or 0)
    return _lanes(request, 1 if fits else len(request.gpus))


def _lanes(request: BuildRequest, count: int) -> tuple[str, ...]:
    """Lanes of the first `count` planned GPUs, by their place in this machine where they are in it."""
    indexes = [place if gpu.index is None else gpu.index for place, gpu in enumerate(request.gpus)]
    return tuple(f"gpu:{index}" for index in sorted(indexes[:count])) or ("gpu:0",)


def _verify(variant: Variant, route: Route, checkpoint: Step) -> Step:
    """The checkpoint against its source model, before an engine is built of it."""
    request, preset = variant.request, variant.preset
    precision = Precision(checkpoint.settings["precision"])
    chosen = preset.verify
    prompts = list(chosen.prompts) if chosen.prompts else str(resource("verify_prompts.json"))
    settings = {
        "precision": precision.value,
        "prompts": prompts,
        "min_agreement": precision.default_min_agreement if chosen.min_agreement is None else chosen.min_agreement,
        "max_kl": precision.default_max_kl if chosen.max_kl is None else chosen.max_kl,
        "trust_remote_code": preset.model.trust_remote_code,
    }
    if preset.effective_precision.effective_bits is not None:
        settings["auto_quantize_bits"] = preset.effective_precision.effective_bits
    facts = {
        "checkpoint": checkpoint.key,
        "model": request.model_digest,
        "prompts": prompts if chosen.prompts else file_sha256(resource("verify_prompts.json")),
    }
    fields = _step(
        variant,
        "verify",
        "trtllm.verify",
        route.environment,
        settings,
        (
            StepInput(role="checkpoint", step=checkpoint.id),
            StepInput(role="model", path=str(request.model.path)),
        ),
        facts,
        _VERIFY,
        lanes=_quantize_lanes(request)[:1],
    )
    return Step(**{**fields, "title": "Verify checkpoint"}, record="verify.json")


def _build(variant: Variant, checkpoint: Step, out: Path | None) -> Step:
    request = variant.request
    environment = request.environment
    flags = settings_from_preset(variant.preset)
    # Said always, so that no version's own guess decides it.
    flags.setdefault("max_seq_len", sequence_tokens(variant.preset, request.model))
    asked = flags.pop("workers", 1)
    workers = min(asked, variant.preset.gpus) if isinstance(asked, int) and not isinstance(asked, bool) else 1
    gpu = request.gpus[0] if request.gpus else None
    kind = f"{gpu.name} sm{gpu.sm}" if gpu else ""
    settings = {
        "argv_flags": flags,
        "program": "trtllm-build",
        "workers": workers,
        "timing_cache": str(request.home.cache / "timing"),
    }
    fields = _step(
        variant,
        "build",
        "trtllm.build",
        environment,
        settings,
        (StepInput(role="checkpoint", step=checkpoint.id),),
        {"checkpoint": checkpoint.key, "gpu": kind},
        _ENGINE,
        key_settings={"argv_flags": {k: v for k, v in flags.items() if k not in _NOT_OF_THE_ENGINE}},
        lanes=_lanes(request, workers),
        workers=workers,
    )
    return Step(**fields, output=_output(variant, "engine", "engines", fields["key"], out))
