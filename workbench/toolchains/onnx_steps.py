"""Steps that ONNX Runtime and TensorRT-RTX share: Hugging Face folder to ONNX, quantize, verify.

Equal settings give equal keys, whichever toolchain asks, so that a checkpoint made for one is reused by the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from workbench.core.data import resource
from workbench.core.digest import file_sha256
from workbench.core.errors import BlockedError
from workbench.core.estimate import step_estimate
from workbench.core.plan import (
    ArtifactKind,
    Output,
    Step,
    StepEstimate,
    StepInput,
    StepKind,
    cache_key,
    folder_name,
)
from workbench.core.precision import Precision, ToolchainName
from workbench.core.preflight_rtx import onnx_weight_bytes
from workbench.core.preset import Preset
from workbench.core.units import Range
from workbench.toolchains.base import BuildRequest, Package
from workbench.toolchains.refusals import known_precision, refuse_group_size, refuse_quantized, refuse_unsupported
from workbench.toolchains.tensorrt_llm.calibration import calibration_path

REVISION = 1
"""Counted up when a worker's output changes with equal settings, so that old artefacts are not reused."""

Dtype = Literal["fp32", "fp16", "bf16"]

WORKERS = "workbench.workers."
EXPORT = ("optimum-onnx", "optimum", "transformers", "torch", "onnx", "onnxruntime")
QUANTIZE = ("nvidia-modelopt", "onnx", "onnxruntime")
FROM_SOURCE = ("torch", "transformers")
"""What calibration rests on besides, as its text runs through the source model."""
RUN = ("onnxruntime", "onnxruntime-genai")

PACKAGES: tuple[Package, ...] = (
    Package("onnxruntime", instead=("onnxruntime-gpu",)),
    Package("onnxruntime-genai", instead=("onnxruntime-genai-cuda",)),
    Package("numpy"),
    Package("pydantic"),
    Package("psutil"),
    Package("tokenizers"),
    Package("jinja2"),
    Package("onnx", for_builds=True),
    Package("optimum-onnx", for_builds=True),
    Package("optimum", for_builds=True),
    Package("nvidia-modelopt", for_builds=True),
    Package("transformers", for_builds=True),
    Package("torch", for_builds=True),
    Package("onnxruntime-gpu", required=False),
    Package("onnxruntime-genai-cuda", required=False),
)
"""What both toolchains' environments hold."""

GROUP_SIZES = (128, 64, 32, 16)


def make_step(
    request: BuildRequest,
    kind: StepKind,
    worker: str,
    precision: str,
    settings: dict[str, Any],
    inputs: tuple[StepInput, ...],
    facts: Mapping[str, Any],
    packages: tuple[str, ...],
    *,
    step_id: str = "",
) -> dict[str, Any]:
    """What all steps share: argv, environment, lanes, and the key with what it hashes."""
    key_facts = {
        "worker": worker,
        "revision": REVISION,
        "settings": settings,
        "versions": {name: request.environment.versions.get(name, "") for name in packages},
        **facts,
    }
    seen = (request.model.path, request.home.root)
    return {
        "id": step_id or (f"{kind}:{precision}" if precision else kind),
        "kind": kind,
        "title": kind.capitalize(),
        "variant": precision,
        "worker": worker,
        "argv": request.environment.argv(f"{WORKERS}{worker}", paths=seen),
        "env": request.environment.env(),
        "settings": settings,
        "inputs": inputs,
        "lanes": ("cpu",),
        "key": cache_key(key_facts) if request.model_digest else "",
        "key_facts": key_facts,
        # An ONNX graph holds a tied output layer as a matrix of its own.
        "estimate": step_estimate(
            request.model, kind, precision or str(settings.get("dtype", "fp16")), untied=request.model.tied_embeddings
        ),
    }


def output(
    request: BuildRequest, kind: ArtifactKind, folder: str, words: str, precision: str, key: str, out: Path | None
) -> Output:
    """The folder that a step makes; `words` tell it from others of the same model."""
    path = out or request.home.artifacts / folder / folder_name(request.model.name, words, key=key or "0" * 12)
    return Output(
        kind=kind,
        path=str(path),
        name=f"{request.model.name} {words.replace('-', ' ')}",
        precision=precision,
        chosen=out is not None,
        alternates=request.paths_with_key(key) if key else (),
    )


def convert(request: BuildRequest, dtype: Dtype, out: Path | None, *, several: bool = False) -> Step:
    """The model as an ONNX folder in `dtype`. `several`: the plan converts to other dtypes too."""
    settings = {"dtype": dtype, "trust_remote_code": request.preset.model.trust_remote_code}
    source = (StepInput(role="model", path=str(request.model.path)),)
    fields = make_step(
        request,
        "convert",
        "onnx.convert",
        "",
        settings,
        source,
        {"model": request.model_digest},
        EXPORT,
        step_id=f"convert:{dtype}" if several else "",
    )
    if several:
        fields["title"] += f" {dtype}"
    made = output(request, "checkpoint", "checkpoints", f"onnx-{dtype}", dtype, fields["key"], out)
    return Step(**fields, output=made)


def quantize(request: BuildRequest, source: Step, precision: Precision, dtype: Dtype, out: Path | None) -> Step:
    """The ONNX folder with weights of `precision`, computed in `dtype`. Raises BadInputError, BlockedError."""
    preset = request.preset
    settings: dict[str, Any] = {"weights": precision.value, "compute": dtype}
    inputs: tuple[StepInput, ...] = (StepInput(role="checkpoint", step=source.id),)
    facts: dict[str, Any] = {"checkpoint": source.key}
    method = preset.precision.method if precision is Precision.INT4 else "rtn"
    if precision is Precision.INT4:
        if method == "gptq":
            raise BlockedError(
                "ONNX checkpoints here are not made INT4 by GPTQ.",
                evidence="precision.method = gptq",
                fix="Nearest: --set precision.method=awq.",
                code="not-supported",
            )
        _refuse_groups(request.model.input_channels, preset.precision.group_size)
        settings |= {"group_size": preset.precision.group_size, "method": method}
    needs_text = method == "awq" or precision in (Precision.FP8, Precision.NVFP4)
    if needs_text:
        calibration, path = preset.calibration, calibration_path(preset)
        settings |= {
            "trust_remote_code": preset.model.trust_remote_code,
            "calibration": {
                "field": calibration.field,
                "samples": calibration.samples,
                "length": calibration.length,
                "batch_size": calibration.batch_size,
                "seed": calibration.seed,
            },
        }
        model = StepInput(role="model", path=str(request.model.path))
        inputs = (*inputs, model, StepInput(role="calibration", path=str(path)))
        facts |= {"model": request.model_digest, "calibration": file_sha256(path)}
    packages = (*QUANTIZE, *(FROM_SOURCE if needs_text else ()))
    fields = make_step(request, "quantize", "onnx.quantize", precision.value, settings, inputs, facts, packages)
    estimate: StepEstimate = fields["estimate"]
    disk = onnx_weight_bytes(request.model, precision, dtype, preset.precision.group_size) + Range.bytes(
        0, 64 * 2**20, formula="tokenizer and graph", source="rule of thumb"
    )
    fields["estimate"] = estimate.model_copy(update={"disk_bytes": disk})
    words = f"onnx-{precision.value}" + ("" if dtype == "fp16" else f"-{dtype}")
    made = output(request, "checkpoint", "checkpoints", words, precision.value, fields["key"], out)
    return Step(**fields, output=made)


def _refuse_groups(channels: tuple[int, ...], size: int | str) -> None:
    """Raises BlockedError for a group size that ONNX Runtime and TensorRT lack, or that does not divide the model's
    channels, and where none does."""
    sizes = ", ".join(map(str, GROUP_SIZES))
    if size != "auto" and size not in GROUP_SIZES:
        raise BlockedError(
            f"INT4 in ONNX models has no group size of {size}.",
            evidence=f"ONNX Runtime and TensorRT have {sizes}",
            fix="Nearest: --set precision.group_size=auto.",
            code="bad-group-size",
        )
    if channels and not any(all(c % each == 0 for c in channels) for each in GROUP_SIZES):
        raise BlockedError(
            "No group size for INT4 divides this model's channels.",
            evidence=f"input channels {', '.join(map(str, channels[:4]))}; sizes {sizes}",
            fix="Nearest: --precision int8, which has one scale for a whole channel.",
            code="bad-group-size",
        )
    refuse_group_size(channels, size, GROUP_SIZES)


def all_steps(
    request: BuildRequest,
    toolchain: ToolchainName,
    title: str,
    dtype_of: Callable[[Precision], Dtype],
    build: Callable[[Step, Precision, Path | None], Step],
) -> list[Step]:
    """Check, a convert for each dtype, then quantize, build and verify for each precision.

    `dtype_of`: what the toolchain computes a precision in; `build`: its own step from a checkpoint's, the precision
    and the folder that was asked for. Raises BadInputError, BlockedError.
    """
    until = request.until or "verify"
    steps = [Step(id="check", kind="check", title="Check")]
    if until in ("check", "fetch"):
        return steps
    refuse_quantized(request, "ONNX export starts from full precision")
    converted: dict[Dtype, Step] = {}
    precisions = [known_precision(name) for name in request.precisions]
    several = len({dtype_of(precision) for precision in precisions}) > 1
    for precision in precisions:
        # Which GPU lacks it is advice, with the nearest as an override.
        refuse_unsupported(request, precision, toolchain, None)
        dtype = dtype_of(precision)
        refuse_kv(request.preset, dtype, title)
        out = request.out if len(precisions) == 1 or request.out is None else request.out / precision.value
        if dtype not in converted:
            converted[dtype] = convert(request, dtype, out if until == "convert" else None, several=several)
            steps.append(converted[dtype])
        if until == "convert":
            continue
        quantized, source = checkpoints(request, precision, converted[dtype], dtype, out, until)
        steps.append(quantized)
        if until == "quantize":
            continue
        built = build(source, precision, out)
        steps.append(built)
        if until == "verify" and request.preset.verify.enabled:
            steps.append(verify(request, built, precision))
    return steps


def checkpoints(
    request: BuildRequest, precision: Precision, converted: Step, dtype: Dtype, out: Path | None, until: StepKind
) -> tuple[Step, Step]:
    """The quantize step, or a "none" with its reason, and the step whose folder is built from."""
    if precision.is_quantized:
        step = quantize(request, converted, precision, dtype, out if until == "quantize" else None)
        return step, step
    none = Step(
        id=f"quantize:{precision.value}",
        kind="quantize",
        title="Quantize",
        variant=precision.value,
        none_reason=f"{precision.title} is what convert writes",
    )
    return none, converted


def refuse_kv(preset: Preset, dtype: Dtype, title: str) -> None:
    """Raises BlockedError for a KV cache in anything but what the model computes in."""
    wanted = preset.precision.kv_cache.value
    if wanted not in ("auto", dtype):
        raise BlockedError(
            f"{title} keeps its KV cache in what the model computes in: {dtype.upper()} here.",
            evidence=f"precision.kv_cache = {wanted}",
            fix="Set precision.kv_cache=auto.",
            code="not-supported",
        )


def verify(request: BuildRequest, build: Step, precision: Precision) -> Step:
    """The engine's ONNX model compared with the source model."""
    chosen = request.preset.verify
    settings: dict[str, Any] = {
        "precision": precision.value,
        "min_agreement": precision.default_min_agreement if chosen.min_agreement is None else chosen.min_agreement,
        "max_kl": precision.default_max_kl if chosen.max_kl is None else chosen.max_kl,
        "trust_remote_code": request.preset.model.trust_remote_code,
    }
    if chosen.prompts:
        settings["prompts"] = list(chosen.prompts)
    shipped = resource("verify_prompts.json")
    facts = {"engine": build.key, "model": request.model_digest, "prompts": file_sha256(shipped)}
    inputs = (
        StepInput(role="engine", step=build.id),
        StepInput(role="model", path=str(request.model.path)),
        StepInput(role="prompts", path=str(shipped)),
    )
    packages = (*RUN, "transformers", "torch")
    fields = make_step(request, "verify", "onnx.verify", precision.value, settings, inputs, facts, packages)
    return Step(**fields, record="verify.json")
