"""Which converter makes a checkpoint, and in which interpreter: ModelOpt, or TensorRT-LLM's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from workbench.core.advice import Advice
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.model import ModelSpec
from workbench.core.precision import Precision, supported
from workbench.core.preset import Preset
from workbench.core.trtllm.config import FAMILIES
from workbench.core.trtllm.parallel import FEWEST_AUTO_BITS, block_size
from workbench.toolchains.base import Environment, Package, Part

MODELOPT = Part(
    name="modelopt",
    title="NVIDIA ModelOpt",
    packages=(
        Package("nvidia-modelopt"),
        Package("torch"),
        Package("transformers"),
        Package("safetensors"),
        Package("pydantic"),
        Package("psutil"),
    ),
    install_hint=(
        "`workbench toolchain install modelopt` makes an environment, as the Doctor page does; or name an interpreter "
        "that has it in WORKBENCH_MODELOPT_PYTHON, or a container's in WORKBENCH_MODELOPT_PREFIX."
    ),
)
COPIED = (Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4)
"""Precisions whose checkpoint holds 16-bit weights: convert makes it, and for the last two the build rounds them."""


@dataclass(frozen=True)
class Route:
    """Who makes the checkpoint, where, and why so."""

    converter: Literal["modelopt", "tensorrt_llm"]
    environment: Environment
    why: str
    unverified: str = ""
    """Why the checkpoint cannot be compared with its source; empty: it can."""


def needs_quantizing(preset: Preset, precision: Precision) -> bool:
    """Whether ModelOpt must run the model: for its scales, its KV cache's, or a mixture of precisions."""
    chosen = preset.effective_precision
    copied = precision in (*COPIED, Precision.INT4_GPTQ)
    return not copied or chosen.kv_cache.bits == 8 or chosen.effective_bits is not None


def choose_route(preset: Preset, model: ModelSpec, precision: Precision, environment: Environment) -> Route:
    """The converter of one precision, by `model.converter` and, where it says auto, by what each can do.

    Raises BlockedError when neither can, or when the one that was asked for cannot.
    """
    refuse_source(model, precision)
    asked, known = preset.model.converter, model.architecture in FAMILIES
    plain = model.architecture.removesuffix("ForCausalLM")[:60]
    if precision is Precision.INT4_GPTQ and model.quantization is not None:
        return _gptq(preset, model, environment)
    if needs_quantizing(preset, precision):
        if not known:
            raise _unknown(
                model, "Only full precision can be made of it: TensorRT-LLM's own converter knows it.", ("bf16", "fp16")
            )
        why = "ModelOpt makes this precision"
        if asked == "tensorrt_llm":
            why += "; model.converter is for precisions that are only copied"
        return Route("modelopt", checkpoint_environment(environment), why)
    if asked == "modelopt":
        if not known:
            raise _unknown(model, "Set model.converter to auto or tensorrt_llm.")
        return Route("modelopt", checkpoint_environment(environment), "model.converter asks for ModelOpt")
    unverified = "" if known else f"there is no reference model here to compare {plain} with"
    if asked == "tensorrt_llm":
        return Route("tensorrt_llm", environment, "model.converter asks for TensorRT-LLM's own converter", unverified)
    if not known:
        why = f"TensorRT-LLM's own converter, as ModelOpt's exporter does not know {plain}"
        return Route("tensorrt_llm", environment, why, unverified)
    modelopt = checkpoint_environment(environment)
    if not modelopt.usable and environment.usable:
        return Route("tensorrt_llm", environment, "TensorRT-LLM's own converter, as no interpreter here holds ModelOpt")
    return Route("modelopt", modelopt, "ModelOpt: it needs no GPU and no TensorRT-LLM")


def _gptq(preset: Preset, model: ModelSpec, environment: Environment) -> Route:
    quantized = model.quantization
    if quantized is not None and "desc_act" in quantized.detail.split():
        raise BlockedError(
            "The GPTQ folder was quantized with act-order (desc_act), which TensorRT-LLM cannot read.",
            evidence=f"desc_act = true in {model.path}/config.json",
            fix="Quantize again without desc_act, or start from the unquantized model.",
            code="gptq-act-order",
        )
    if preset.model.converter == "modelopt":
        raise BlockedError(
            "ModelOpt cannot read a GPTQ folder.",
            evidence="model.converter = modelopt, precision.weights = int4_gptq",
            fix="Set model.converter to auto.",
            code="not-exported",
        )
    if preset.effective_precision.kv_cache.bits == 8:
        raise BlockedError(
            "A GPTQ folder gets no 8-bit KV cache: its scales need calibration at full precision.",
            evidence=f"precision.kv_cache = {preset.precision.kv_cache}",
            fix="Set precision.kv_cache to auto.",
            code="not-supported",
        )
    return Route(
        "tensorrt_llm",
        environment,
        "TensorRT-LLM's own converter, as it alone reads GPTQ folders",
        "TensorRT-LLM packs GPTQ weights in the order of the GPU's kernels, which nothing here reads back",
    )


def cannot_be_made(preset: Preset, model: ModelSpec, precision: Precision) -> Iterator[Advice]:
    """What ModelOpt's worker would refuse of a precision's settings for this model, told before it is started."""
    if not needs_quantizing(preset, precision):
        return
    chosen = preset.effective_precision
    try:
        block_size(precision, model.input_channels, preset.parallel.tp, chosen.group_size)
    except BadInputError as error:
        yield Advice(
            code="group-size",
            level="block",
            text=f"{error.what[:1].upper()}{error.what[1:]}.",
            arithmetic=error.evidence,
            fix=error.fix.replace("group_size =", "precision.group_size ="),
            overrides=() if chosen.group_size == "auto" else ("precision.group_size=auto",),
        )
    bits = chosen.effective_bits
    if bits is None:
        return
    if precision not in FEWEST_AUTO_BITS:
        others = [each.value for each in FEWEST_AUTO_BITS]
        yield Advice(
            code="effective-bits",
            level="block",
            text=f"Mixed precision does not start from {precision}.",
            arithmetic=f"precision.weights = {precision}, precision.effective_bits = {bits:g}",
            fix=f"Use {', '.join(others[:-1])} or {others[-1]}, or leave precision.effective_bits out.",
            overrides=("precision.effective_bits=none",),
        )
    elif bits < FEWEST_AUTO_BITS[precision]:
        least = FEWEST_AUTO_BITS[precision]
        yield Advice(
            code="effective-bits",
            level="block",
            text=f"With {precision} layers the mean cannot be that few bits a weight.",
            arithmetic=f"precision.effective_bits = {bits:g}, the fewest {least:g}",
            fix=f"Ask for more than {least:g}; the output layer stays at 16 bits.",
        )


def serves(environment: Environment, packages: tuple[Package, ...]) -> bool:
    """Whether an interpreter holds these packages, whatever else it was looked at for."""
    return bool(environment.versions) and all(p.name in environment.versions for p in packages if p.required)


def checkpoint_environment(environment: Environment) -> Environment:
    """Where ModelOpt runs: its own interpreter, or TensorRT-LLM's where that one lacks."""
    own = environment.others.get(MODELOPT.name)
    if own is None:
        return environment
    if not own.usable and serves(environment, MODELOPT.packages):
        return replace(environment, toolchain=MODELOPT.name, missing=(), problem="", others={})
    return own


def refuse_source(model: ModelSpec, precision: Precision) -> None:
    """Raises BlockedError for models that this precision cannot start from."""
    support = supported(Precision.BF16, "tensorrt_llm", None, model.architecture)
    if not support.ok:
        raise BlockedError(
            support.reason,
            evidence=f"architectures in {model.path}/config.json",
            fix="Use another toolchain, or a model of a family that it knows.",
            code="not-supported",
        )
    quantized = model.quantization
    if quantized is None or (precision is Precision.INT4_GPTQ and quantized.method == "gptq"):
        return
    gptq = quantized.method == "gptq"
    raise BlockedError(
        f"{model.name} is quantized already ({quantized.method}), and {precision} starts from full precision.",
        evidence=f"quantization_config in {model.path}/config.json",
        fix="Set precision.weights to int4_gptq." if gptq else "Use the unquantized model folder.",
        code="already-quantized",
    )


def _unknown(model: ModelSpec, fix: str, nearest: tuple[str, ...] = ()) -> BlockedError:
    """For a model of a family that ModelOpt's exporter does not know."""
    known = ", ".join(name.removesuffix("ForCausalLM") for name in FAMILIES)
    return BlockedError(
        f"ModelOpt's exporter does not know {model.architecture[:60]}.",
        evidence=f"architectures that it knows: {known}",
        fix=fix + (f" Set precision.weights to {' or '.join(nearest)}." if nearest else ""),
        code="not-exported",
    )
