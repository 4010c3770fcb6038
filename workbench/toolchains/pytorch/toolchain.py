"""Steps of a PyTorch engine: nothing is converted; build writes a reference to the model folder, verify loads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.core.advice import Advice
from workbench.core.data import resource
from workbench.core.digest import file_sha256
from workbench.core.errors import BlockedError
from workbench.core.estimate import host_memory_bytes, step_seconds
from workbench.core.gpu import GpuSpec
from workbench.core.messages import StepSpec
from workbench.core.plan import Output, Step, StepEstimate, StepInput, StepKind, cache_key, folder_name
from workbench.core.precision import Precision
from workbench.core.preset import Preset
from workbench.core.units import Range
from workbench.toolchains.base import BuildRequest, Device, EngineRequest, Environment, HostStart, Package, Part
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.pytorch.flags import read_flags
from workbench.toolchains.refusals import known_precision, refuse_quantized, refuse_unsupported

REVISION = 1
"""Counted up when a worker's output changes with equal settings, so that old artefacts are not reused."""

_WORKERS = "workbench.workers.pytorch."
_VERSIONS = ("torch", "transformers")
_KV = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16", "int8": "bf16", "fp8": "bf16"}
"""The KV cache is held in what the model computes in."""
_ENGINE_BYTES = 32 * 2**10
_DEFAULT_LENGTH = 4096


class PyTorch:
    """The toolchain; see workbench.toolchains.base.Toolchain."""

    name = "pytorch"
    title = "PyTorch"
    packages: tuple[Package, ...] = (
        Package("torch"),
        Package("transformers", oldest=(5, 5)),
        Package("tokenizers"),
        Package("safetensors"),
        Package("jinja2"),
        Package("numpy"),
        Package("pydantic"),
        Package("accelerate", required=False),
        Package("torchao", required=False),
        Package("triton", required=False),
    )
    install_hint = (
        "`workbench toolchain install pytorch` makes an environment, as the Doctor page does; or name an interpreter "
        "that has it in WORKBENCH_PYTORCH_PYTHON. For a GPU, torch must be the one for its CUDA version."
    )
    parts: tuple[Part, ...] = ()
    note = "The baseline: the model folder as it is, by transformers' continuous batching."
    runtime_settings = frozenset(
        ("kv_cache_gib", "kv_fraction", "kv_blocks", "prefix_caching", "max_num_batched_tokens")
    )

    def __init__(self, gpus: Callable[[], tuple[GpuSpec, ...]] = detected_gpus) -> None:
        self._gpus = gpus

    def needs(self, request: BuildRequest) -> tuple[Environment, ...]:
        """The one interpreter."""
        return (request.environment,)

    def advice(self, request: BuildRequest) -> tuple[Advice, ...]:
        """What is known to be slow, or not to be there."""
        flags = read_flags(request.preset.build.flags)
        found = []
        if flags["mode"] == "compiled" and _device(flags, self._of(request)) == "cpu":
            found.append(
                Advice(
                    code="compiled-on-cpu",
                    level="warning",
                    text="Compiling makes continuous batching slower on a CPU, and loading takes a minute or more.",
                    arithmetic="build.flags.mode = compiled, no GPU",
                    fix="Use mode = eager here.",
                    overrides=("build.flags.mode=eager",),
                )
            )
        if any(Precision(name).is_quantized for name in request.precisions) and (
            request.environment.usable and "torchao" not in request.environment.versions
        ):
            found.append(
                Advice(
                    code="no-torchao",
                    level="block",
                    text="INT8 and FP8 need torchao, which is not installed beside PyTorch.",
                    arithmetic=" ".join(request.environment.prefix),
                    fix="Run `pip install torchao` in that environment.",
                )
            )
        if request.preset.gpus > 1:
            found.append(
                Advice(
                    code="parallel-pytorch",
                    level="block",
                    text="The PyTorch baseline runs on one GPU.",
                    arithmetic=f"parallel.tp {request.preset.parallel.tp}, parallel.pp {request.preset.parallel.pp}",
                    fix="Set both to 1.",
                    overrides=("parallel.tp=1", "parallel.pp=1"),
                )
            )
        return tuple(found)

    def steps(self, request: BuildRequest) -> list[Step]:
        """Check; convert and quantize are none; build and verify for each precision."""
        until = request.until or "verify"
        steps = [Step(id="check", kind="check", title="Check")]
        if until in ("check", "fetch"):
            return steps
        flags, gpus = read_flags(request.preset.build.flags), self._of(request)
        refuse_quantized(request, "the baseline is the model in full precision")
        steps.append(
            Step(id="convert", kind="convert", title="Convert", none_reason="the model folder is loaded as it is")
        )
        for name in request.precisions:
            if until == "convert":
                break
            precision = _supported(request, name, flags, gpus)
            _refuse_kv(request.preset, precision)
            reason = (
                "torchao quantizes at each load" if precision.is_quantized else f"{precision.title} needs no quantizing"
            )
            steps.append(
                Step(id=f"quantize:{name}", kind="quantize", title="Quantize", variant=name, none_reason=reason)
            )
            if until == "quantize":
                continue
            out = request.out if len(request.precisions) == 1 or request.out is None else request.out / name
            build = _build(request, precision, flags, out)
            steps.append(build)
            if until == "verify" and request.preset.verify.enabled:
                steps.append(_verify(request, build, precision, _device(flags, gpus)))
        return steps

    def _of(self, request: BuildRequest) -> tuple[GpuSpec, ...]:
        """GPUs of the machine that the build runs on."""
        return self._gpus() if request.place is None else request.place.gpus

    def host(self, request: EngineRequest) -> HostStart:
        """How to run an engine folder: what was fixed in it, the worker reads from engine.json."""
        runtime, limits = request.preset.runtime, request.preset.limits
        if request.provenance.precision in _KV:
            _refuse_kv(request.preset, Precision(request.provenance.precision))
        settings = {
            "kv_cache_bytes": int(runtime.kv_cache_gib * 2**30) if runtime.kv_cache_gib else None,
            "kv_fraction": min(runtime.kv_fraction, 0.98) if runtime.kv_fraction else None,
            "kv_blocks": runtime.kv_blocks,
            "max_batch_size": limits.max_batch_size,
            "max_seq_len": limits.max_seq_len,
            "max_num_batched_tokens": runtime.max_num_batched_tokens,
            "prefix_caching": runtime.prefix_caching,
        }
        model = request.provenance.model
        seen = (request.engine, *((Path(model.path),) if model is not None else ()))
        return HostStart(
            argv=request.environment.argv(f"{_WORKERS}host", paths=seen),
            env=request.environment.env(),
            spec=StepSpec(
                worker="pytorch.host",
                settings={key: value for key, value in settings.items() if value is not None},
                inputs={"engine": str(request.engine)},
            ),
            device=self._place(request),
        )

    def _place(self, request: EngineRequest) -> Device:
        """Where the engine would be loaded. `auto` is the first GPU, unless PyTorch was installed for CPUs alone."""
        fixed = request.provenance.result.get("device") or request.preset.build.flags.get("device", "auto")
        if fixed != "auto":
            return "cpu" if fixed == "cpu" else "gpu"
        return "gpu" if not is_cpu_build(request.environment.versions) and self._gpus() else "cpu"


def is_cpu_build(versions: Mapping[str, str]) -> bool:
    """Whether PyTorch was built without GPU support, as its version tells."""
    return versions.get("torch", "").endswith("+cpu")


def _device(flags: Mapping[str, Any], gpus: tuple[GpuSpec, ...]) -> str:
    """`cpu` or `cuda`: where the engine would run on this machine."""
    wanted = str(flags["device"])
    return wanted if wanted != "auto" else "cuda" if gpus else "cpu"


def _supported(request: BuildRequest, name: str, flags: Mapping[str, Any], gpus: tuple[GpuSpec, ...]) -> Precision:
    precision = known_precision(name)
    refuse_unsupported(request, precision, "pytorch", gpus[0].compute_capability if gpus else None)
    if precision.is_quantized and _device(flags, gpus) == "cpu":
        raise BlockedError(
            f"{precision.title} by torchao gains nothing on a CPU: it is no faster than the plain model there.",
            evidence=f"precision {name}, toolchain pytorch, device cpu",
            fix="Nearest: --precision bf16; or INT8 with the openvino toolchain, whose kernels are for CPUs.",
            code="not-supported",
        )
    return precision


def _refuse_kv(preset: Preset, precision: Precision) -> None:
    """Raises BlockedError for a KV cache in anything but what the model computes in."""
    wanted, held = preset.precision.kv_cache.value, _KV[precision.value]
    if wanted not in ("auto", held):
        raise BlockedError(
            f"The PyTorch baseline keeps its KV cache in what the model computes in: {held.upper()} here.",
            evidence=f"precision.kv_cache = {wanted}, precision {precision.value}",
            fix="Set precision.kv_cache=auto.",
            code="not-supported",
        )


def _step(
    request: BuildRequest,
    kind: StepKind,
    precision: Precision,
    settings: dict[str, Any],
    inputs: tuple[StepInput, ...],
    facts: Mapping[str, Any],
    lane: str = "cpu",
) -> dict[str, Any]:
    """What both steps share: argv, environment, lanes, and the key with what it hashes."""
    key_facts = {
        "worker": f"pytorch.{kind}",
        "revision": REVISION,
        "settings": settings,
        "versions": {name: request.environment.versions.get(name, "") for name in _VERSIONS},
        **facts,
    }
    memory = host_memory_bytes(request.model, kind if kind == "verify" else "check", precision.value)
    seconds = step_seconds(request.model, kind, precision.value)
    if kind == "build":
        seconds = Range.seconds(1, 10, formula="engine.json is written", source="a reference: nothing is copied")
    return {
        "id": f"{kind}:{precision.value}",
        "kind": kind,
        "title": kind.capitalize(),
        "variant": precision.value,
        "worker": f"pytorch.{kind}",
        "argv": request.environment.argv(f"{_WORKERS}{kind}", paths=(request.model.path, request.home.root)),
        "env": request.environment.env(),
        "settings": settings,
        "inputs": inputs,
        "lanes": (lane,),
        "key": cache_key(key_facts) if request.model_digest else "",
        "key_facts": key_facts,
        "estimate": StepEstimate(
            seconds=seconds,
            host_memory_bytes=memory,
            disk_bytes=Range.bytes(_ENGINE_BYTES, formula="engine.json", source="a reference: nothing is copied")
            if kind == "build"
            else None,
        ),
    }


def _build(request: BuildRequest, precision: Precision, flags: Mapping[str, Any], out: Path | None) -> Step:
    settings = {
        "precision": precision.value,
        **flags,
        "model_digest": request.model_digest,
        "trust_remote_code": request.preset.model.trust_remote_code,
    }
    # A folder that moved makes another engine: the old one refers to a place where nothing is.
    facts = {"model": request.model_digest, "model_path": str(request.model.path.resolve())}
    source = (StepInput(role="model", path=str(request.model.path)),)
    fields = _step(request, "build", precision, settings, source, facts)
    key = fields["key"]
    words = f"pytorch-{precision.value}" + ("-compiled" if flags["mode"] == "compiled" else "")
    path = out or request.home.artifacts / "engines" / folder_name(request.model.name, words, key=key or "0" * 12)
    return Step(
        **fields,
        output=Output(
            kind="engine",
            path=str(path),
            name=f"{request.model.name} {words.replace('-', ' ')}",
            precision=precision.value,
            chosen=out is not None,
            alternates=request.paths_with_key(key) if key else (),
        ),
    )


def _verify(request: BuildRequest, build: Step, precision: Precision, device: str) -> Step:
    limits = request.preset.model_copy(
        update={"precision": request.preset.precision.model_copy(update={"weights": precision})}
    ).verify_limits
    settings: dict[str, Any] = {
        "precision": precision.value,
        "min_agreement": limits.min_agreement,
        "max_kl": limits.max_kl,
    }
    if request.preset.verify.prompts:
        settings["prompts"] = list(request.preset.verify.prompts)
    shipped = resource("verify_prompts.json")
    facts = {"engine": build.key, "model": request.model_digest, "prompts": file_sha256(shipped)}
    inputs = (
        StepInput(role="engine", step=build.id),
        StepInput(role="model", path=str(request.model.path)),
        StepInput(role="prompts", path=str(shipped)),
    )
    lane = "gpu:0" if device == "cuda" else "cpu"
    return Step(**_step(request, "verify", precision, settings, inputs, facts, lane), record="verify.json")
