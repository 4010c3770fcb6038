"""Steps of an OpenVINO build: convert to FP16, quantize with NNCF, compile to a cached blob, verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.advice import Advice
from workbench.core.data import resource
from workbench.core.digest import file_sha256
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.estimate import step_estimate
from workbench.core.messages import StepSpec
from workbench.core.plan import Output, Step, StepInput, StepKind, cache_key, folder_name
from workbench.core.precision import Precision
from workbench.core.preset import Preset
from workbench.core.speculative import DRAFT_TOKENS, NGRAM_SIZE
from workbench.toolchains.base import BuildRequest, EngineRequest, Environment, HostStart, Package, Part
from workbench.toolchains.refusals import known_precision, refuse_group_size, refuse_quantized, refuse_unsupported
from workbench.toolchains.speculation import draft_advice

REVISION = 1
"""Counted up when a worker's output changes with equal settings, so that old artefacts are not reused."""

_WORKERS = "workbench.workers.openvino."
_EXPORT = ("openvino", "openvino-tokenizers", "optimum-intel", "optimum", "transformers", "torch")
_QUANTIZE = ("openvino", "nncf")
_COMPILE = ("openvino", "openvino-genai", "openvino-tokenizers")


class OpenVino:
    """The toolchain; see workbench.toolchains.base.Toolchain."""

    name = "openvino"
    title = "OpenVINO GenAI"
    packages: tuple[Package, ...] = (
        Package("openvino"),
        Package("openvino-genai"),
        Package("openvino-tokenizers"),
        Package("optimum-intel", for_builds=True),
        Package("optimum", for_builds=True),
        Package("nncf", for_builds=True),
        Package("transformers", for_builds=True),
        Package("torch", for_builds=True),
        Package("pydantic"),
        Package("psutil"),
        Package("torchvision", required=False),
        Package("gguf", required=False),
    )
    install_hint = (
        "`workbench toolchain install openvino` makes an environment, as the Doctor page does; or name an interpreter "
        "that has it in WORKBENCH_OPENVINO_PYTHON."
    )

    parts: tuple[Part, ...] = ()
    note = ""
    runtime_settings = frozenset(
        ("kv_cache_gib", "kv_blocks", "chunked_prefill", "prefix_caching", "max_num_batched_tokens")
    )

    def needs(self, request: BuildRequest) -> tuple[Environment, ...]:
        """The one interpreter."""
        return (request.environment,)

    def advice(self, request: BuildRequest) -> tuple[Advice, ...]:
        """On the draft's folder, beside workbench.core.advice."""
        return tuple(draft_advice(request))

    def steps(self, request: BuildRequest) -> list[Step]:
        """Check, one convert for all precisions, then quantize, build and verify for each."""
        until = request.until or "verify"
        steps = [Step(id="check", kind="check", title="Check")]
        if until in ("check", "fetch"):
            return steps
        refuse_quantized(request, "OpenVINO starts from full precision")
        converts_last = until == "convert"
        convert = _convert(request, request.out if converts_last else None)
        steps.append(convert)
        if converts_last:
            return steps
        for name in request.precisions:
            precision = known_precision(name)
            refuse_unsupported(request, precision, "openvino", None)
            out = request.out if len(request.precisions) == 1 or request.out is None else request.out / name
            source = convert
            if precision.is_quantized:
                source = _quantize(request, convert, precision, out if until == "quantize" else None)
                steps.append(source)
            else:
                steps.append(
                    Step(
                        id=f"quantize:{name}",
                        kind="quantize",
                        title="Quantize",
                        variant=name,
                        none_reason=f"{precision.title} is what convert writes",
                    )
                )
            if until == "quantize":
                continue
            build = _build(request, source, precision, out)
            steps.append(build)
            if until == "verify" and request.preset.verify.enabled:
                steps.append(_verify(request, build, precision))
        return steps

    def host(self, request: EngineRequest) -> HostStart:
        """How to run an engine folder."""
        runtime, limits = request.preset.runtime, request.preset.limits
        settings = {
            "device": "CPU",
            "kv_cache_bytes": int(runtime.kv_cache_gib * 2**30) if runtime.kv_cache_gib else None,
            "kv_blocks": runtime.kv_blocks,
            "kv_cache_precision": _kv_precision(request.preset),
            "max_batch_size": limits.max_batch_size,
            "max_seq_len": limits.max_seq_len,
            "max_num_batched_tokens": runtime.max_num_batched_tokens,
            "dynamic_split_fuse": runtime.chunked_prefill,
            "prefix_caching": runtime.prefix_caching,
            "speculative": _speculative(request.preset),
        }
        inputs = {"engine": str(request.engine)}
        if request.draft is not None:
            inputs["draft"] = str(request.draft)
        return HostStart(
            argv=request.environment.argv(f"{_WORKERS}host"),
            env=request.environment.env(),
            spec=StepSpec(
                worker="openvino.host",
                settings={key: value for key, value in settings.items() if value is not None},
                inputs=inputs,
            ),
            device="cpu",
        )


def _speculative(preset: Preset) -> dict[str, Any] | None:
    table = preset.speculative
    if table.mode == "none":
        return None
    made = {"mode": table.mode, "draft_tokens": table.draft_tokens or DRAFT_TOKENS}
    return made | ({"ngram_size": table.ngram_size or NGRAM_SIZE} if table.mode == "prompt_lookup" else {})


def _kv_precision(preset: Preset) -> str | None:
    chosen = preset.precision.kv_cache.value
    return None if chosen == "auto" else chosen


def _step(
    request: BuildRequest,
    kind: StepKind,
    worker: str,
    precision: str,
    settings: dict[str, Any],
    inputs: tuple[StepInput, ...],
    facts: Mapping[str, Any],
    packages: tuple[str, ...],
) -> dict[str, Any]:
    """What all steps share: argv, environment, lanes, and the key with what it hashes."""
    key_facts = {
        "worker": f"openvino.{worker}",
        "revision": REVISION,
        "settings": settings,
        "versions": {name: request.environment.versions.get(name, "") for name in packages},
        **facts,
    }
    return {
        "id": f"{kind}:{precision}" if precision else kind,
        "kind": kind,
        "title": kind.capitalize(),
        "variant": precision,
        "worker": f"openvino.{worker}",
        "argv": request.environment.argv(f"{_WORKERS}{worker}"),
        "env": request.environment.env(),
        "settings": settings,
        "inputs": inputs,
        "lanes": ("cpu",),
        "key": cache_key(key_facts) if request.model_digest else "",
        "key_facts": key_facts,
        "estimate": step_estimate(request.model, kind, precision or "fp16"),
    }


def _output(request: BuildRequest, kind: Any, folder: str, precision: str, key: str, out: Path | None) -> Output:
    name = f"{request.model.name} {precision}"
    path = out or request.home.artifacts / folder / folder_name(request.model.name, precision, key=key or "0" * 12)
    return Output(
        kind=kind,
        path=str(path),
        name=name,
        precision=precision,
        chosen=out is not None,
        alternates=request.paths_with_key(key) if key else (),
    )


def _convert(request: BuildRequest, out: Path | None) -> Step:
    settings = {"dtype": "fp16", "trust_remote_code": request.preset.model.trust_remote_code}
    fields = _step(
        request,
        "convert",
        "convert",
        "",
        settings,
        (StepInput(role="model", path=str(request.model.path)),),
        {"model": request.model_digest},
        _EXPORT,
    )
    return Step(**fields, output=_output(request, "checkpoint", "checkpoints", "fp16", fields["key"], out))


def _quantize(request: BuildRequest, convert: Step, precision: Precision, out: Path | None) -> Step:
    chosen = request.preset.precision
    symmetric = precision.weight_bits >= 8 if chosen.symmetric == "auto" else chosen.symmetric
    settings: dict[str, Any] = {"weights": precision.value, "symmetric": symmetric}
    inputs: tuple[StepInput, ...] = (StepInput(role="checkpoint", step=convert.id),)
    facts: dict[str, Any] = {"checkpoint": convert.key}
    if precision is Precision.INT4:
        if chosen.method == "gptq":
            raise BlockedError(
                "OpenVINO builds here do not make INT4 by GPTQ.",
                evidence="precision.method = gptq",
                fix="Nearest: --set precision.method=awq.",
                code="not-supported",
            )
        refuse_group_size(request.model.input_channels, chosen.group_size)
        settings |= {
            "group_size": chosen.group_size,
            "ratio": chosen.ratio,
            "method": chosen.method,
            "data_aware": chosen.data_aware,
            "input_channels": list(request.model.input_channels),
        }
        if chosen.data_aware or chosen.method == "awq":
            calibration = request.preset.calibration
            path = _calibration_path(request.preset)
            settings["calibration"] = {
                "field": calibration.field,
                "samples": calibration.samples,
                "length": calibration.length,
                "seed": calibration.seed,
            }
            inputs = (*inputs, StepInput(role="calibration", path=str(path)))
            facts["calibration"] = file_sha256(path)
    fields = _step(request, "quantize", "quantize", precision.value, settings, inputs, facts, _QUANTIZE)
    return Step(**fields, output=_output(request, "checkpoint", "checkpoints", precision.value, fields["key"], out))


def _calibration_path(preset: Preset) -> Path:
    path = preset.calibration_path or resource("calibration.jsonl")
    if not path.exists():
        raise BadInputError(
            "The calibration file is not there.",
            evidence=str(path),
            fix="Mend calibration.file in the preset, or leave it out to use the shipped text.",
            code="no-calibration",
        )
    return path


def _build(request: BuildRequest, source: Step, precision: Precision, out: Path | None) -> Step:
    fields = _step(
        request,
        "build",
        "build",
        precision.value,
        {"device": "CPU", "kv_cache_precision": _kv_precision(request.preset) or "auto"},
        (StepInput(role="checkpoint", step=source.id),),
        {"checkpoint": source.key, "cpu": request.host.cpu_identity},
        _COMPILE,
    )
    return Step(**fields, output=_output(request, "engine", "engines", precision.value, fields["key"], out))


def _verify(request: BuildRequest, build: Step, precision: Precision) -> Step:
    chosen = request.preset.verify
    settings: dict[str, Any] = {
        "precision": precision.value,
        "min_agreement": precision.default_min_agreement if chosen.min_agreement is None else chosen.min_agreement,
        "max_kl": precision.default_max_kl if chosen.max_kl is None else chosen.max_kl,
        "trust_remote_code": request.preset.model.trust_remote_code,
    }
    if chosen.prompts:
        settings["prompts"] = list(chosen.prompts)
    facts = {
        "engine": build.key,
        "model": request.model_digest,
        "prompts": file_sha256(resource("verify_prompts.json")),
    }
    fields = _step(
        request,
        "verify",
        "verify",
        precision.value,
        settings,
        (
            StepInput(role="engine", step=build.id),
            StepInput(role="model", path=str(request.model.path)),
            StepInput(role="prompts", path=str(resource("verify_prompts.json"))),
        ),
        facts,
        (*_COMPILE, "transformers", "torch"),
    )
    return Step(**fields, record="verify.json")
