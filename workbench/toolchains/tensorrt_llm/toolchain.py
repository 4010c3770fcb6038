"""TensorRT-LLM as a toolchain: what it needs, what it refuses, and how its engines are run."""

from __future__ import annotations

from pathlib import Path

from workbench.core.advice import Advice
from workbench.core.messages import StepSpec
from workbench.core.plan import Step
from workbench.core.precision import Precision
from workbench.core.preset_schema import RuntimeTable
from workbench.toolchains.base import BuildRequest, EngineRequest, Environment, HostStart, Package, Part
from workbench.toolchains.tensorrt_llm.flags import check_flags, settings_from_preset
from workbench.toolchains.tensorrt_llm.heads import (
    heads_cannot_be_made,
)
from workbench.toolchains.tensorrt_llm.routes import (
    MODELOPT,
    cannot_be_made,
)
from workbench.toolchains.tensorrt_llm.runtime import runtime_settings
from workbench.toolchains.tensorrt_llm.steps import steps_of, variants_of

ENGINES_END = (
    "TensorRT-LLM 1.2.x is the last line that builds engines: upstream has removed trtllm-build and the engine "
    "backend after it, so newer versions are refused for engine builds"
)
"""Said by the doctor of a newer version."""

_NO_ROUTE = {
    Precision.FP32: (
        Precision.BF16,
        "ModelOpt's exporter writes 16-bit checkpoints, and TensorRT-LLM runs FP32 as FP16.",
    ),
    Precision.INT4_GPTQ: (
        Precision.INT4_AWQ,
        "GPTQ weights are not made here: give a folder that GPTQ has quantized already.",
    ),
}


class TensorRtLlm:
    """The toolchain; see workbench.toolchains.base.Toolchain."""

    name = "tensorrt_llm"
    title = "TensorRT-LLM"
    packages: tuple[Package, ...] = (
        Package("tensorrt-llm", newest=(1, 2), oldest=(1, 2), too_new=ENGINES_END),
        Package("torch"),
        Package("transformers"),
        Package("pydantic"),
        Package("psutil"),
        Package("tensorrt", required=False),
        Package("nvidia-modelopt", required=False),
        Package("safetensors", required=False),
        Package("mpi4py", required=False),
    )
    install_hint = (
        "`workbench toolchain install tensorrt_llm` makes an environment, as the Doctor page does; or name an "
        "interpreter that holds tensorrt-llm 1.2.x (Linux, Python 3.10 or 3.12) in WORKBENCH_TENSORRT_LLM_PYTHON, or "
        "a container's in WORKBENCH_TENSORRT_LLM_PREFIX, such as "
        "`docker run -i --rm --gpus all --ipc=host IMAGE python3`."
    )
    parts: tuple[Part, ...] = (MODELOPT,)
    note = ENGINES_END
    runtime_settings = frozenset(RuntimeTable.model_fields)

    def needs(self, request: BuildRequest) -> tuple[Environment, ...]:
        """Those of the checkpoints' converters, and TensorRT-LLM's for the engine."""
        until = request.until or "verify"
        if until == "check":
            return ()
        used = [variant.route(until).environment for variant in variants_of(request)]
        if until not in ("convert", "quantize"):
            used.append(request.environment)
        return tuple({environment.toolchain: environment for environment in used}.values())

    def advice(self, request: BuildRequest) -> tuple[Advice, ...]:
        """What is wrong with the build flags for these GPUs, precisions and model."""
        found: dict[str, Advice] = {}
        capability = min((gpu.compute_capability for gpu in request.gpus), default=None)
        for variant in variants_of(request):
            preset = variant.preset
            gptq = variant.precision is Precision.INT4_GPTQ and request.model.quantization is not None
            if variant.precision in _NO_ROUTE and not gptq:
                nearest, why = _NO_ROUTE[variant.precision]
                found[f"no-route {variant.name}"] = Advice(
                    code="no-route",
                    level="block",
                    text=why,
                    arithmetic=f"precision {variant.name}",
                    fix=f"Nearest: {nearest}.",
                    overrides=(f"precision.weights={nearest}",),
                )
            if variant.quantizes(request.until or "verify"):
                for refused in cannot_be_made(preset, request.model, variant.precision):
                    found[f"{refused.code} {variant.name}"] = refused
            for refused in heads_cannot_be_made(preset, request.model, variant.precision):
                found.setdefault(refused.code, refused)
            problems = check_flags(
                settings_from_preset(preset),
                capability,
                variant.precision,
                kv_cache=preset.precision.kv_cache,
                architecture=request.model.architecture,
                tp=preset.parallel.tp,
                pp=preset.parallel.pp,
                gpus=len(request.gpus) or None,
            )
            for problem in problems:
                level = "block" if problem.blocks else "hint"
                advice = Advice(
                    code=problem.code, level=level, text=problem.what, arithmetic=problem.evidence, fix=problem.fix
                )
                found.setdefault(f"{problem.code} {problem.flag}", advice)
        return tuple(found.values())

    def steps(self, request: BuildRequest) -> list[Step]:
        """Check, then for each precision a checkpoint, its comparison with the source model, and an engine."""
        until = request.until or "verify"
        steps = [Step(id="check", kind="check", title="Check")]
        if until in ("check", "fetch"):
            return steps
        for variant in variants_of(request):
            steps += steps_of(variant, until)
        return steps

    def host(self, request: EngineRequest) -> HostStart:
        """How to run an engine folder."""
        environment, engine = request.environment, request.engine
        has_tokenizer = any((engine / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
        model = request.provenance.model
        tokenizer = engine if has_tokenizer or model is None else Path(model.path)
        return HostStart(
            argv=environment.argv("workbench.workers.trtllm.host", paths=(engine, tokenizer)),
            env=environment.env(),
            spec=StepSpec(
                worker="trtllm.host",
                settings=runtime_settings(request.preset),
                inputs={"engine": str(engine), "tokenizer": str(tokenizer)},
            ),
            device="gpu",
        )
