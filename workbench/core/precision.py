"""The precisions and where each one works: precision x toolchain x compute capability x architecture.

A refusal carries a reason in words and the nearest precision that works, so that no caller has to invent one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Literal, get_args

from workbench.core.tensorrt_rtx import targets as rtx_targets

ToolchainName = Literal["openvino", "tensorrt_llm", "tensorrt_rtx", "onnxruntime", "pytorch"]
TOOLCHAINS: tuple[ToolchainName, ...] = get_args(ToolchainName)

ComputeCapability = tuple[int, int]
"""(major, minor) of an NVIDIA GPU, such as (8, 9)."""


class Precision(str, Enum):
    """Precision of weights and activations. That of the KV cache is its own choice, see KvPrecision."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    FP8_ROWWISE = "fp8_rowwise"
    INT8 = "int8"
    INT8_SQ = "int8_sq"
    INT4 = "int4"
    INT4_AWQ = "int4_awq"
    INT4_GPTQ = "int4_gptq"
    W4A8_AWQ = "w4a8_awq"
    NVFP4 = "nvfp4"

    def __str__(self) -> str:
        return self.value

    @property
    def title(self) -> str:  # type: ignore[override]  # str.title is of no use here
        """The name that people read."""
        return _FACTS[self].title

    @property
    def weight_bits(self) -> float:
        """Bits a weight, scales and zero points left out (they depend on the group size)."""
        return _FACTS[self].weight_bits

    @property
    def activation_bits(self) -> float:
        """Bits of the activations that enter a matrix product."""
        return _FACTS[self].activation_bits

    @property
    def is_quantized(self) -> bool:
        """Whether weights hold fewer than 16 bits."""
        return self.weight_bits < 16

    @property
    def needs_calibration(self) -> bool:
        """Whether quantizing needs sample text whatever else is set: static activation scales, or AWQ.

        `int4_gptq` does not: TensorRT-LLM loads checkpoints that GPTQ has already made.
        """
        return self in _NEEDS_CALIBRATION

    @property
    def default_min_agreement(self) -> float:
        """Smallest share of positions with the source model's greedy token that verify accepts, 0 to 1.

        A floor that tells a broken build from a lossy one, for small models too: VERIFY_FLOORS.
        """
        return VERIFY_FLOORS[self][0]

    @property
    def default_max_kl(self) -> float:
        """Largest mean KL divergence source || variant, in nats, that verify accepts."""
        return VERIFY_FLOORS[self][1]


class KvPrecision(str, Enum):
    """Precision of the KV cache. `auto` leaves it to the toolchain."""

    AUTO = "auto"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"

    def __str__(self) -> str:
        return self.value

    @property
    def title(self) -> str:  # type: ignore[override]  # str.title is of no use here
        """The name that people read."""
        return {"auto": "Automatic", "int8": "INT8 (u8)"}.get(self.value, self.value.upper())

    @property
    def bits(self) -> int | None:
        """Bits a stored key or value, scales left out; None for `auto`, which the toolchain decides."""
        return {"auto": None, "fp16": 16, "bf16": 16, "int8": 8, "fp8": 8}[self.value]


@dataclass(frozen=True)
class _Facts:
    title: str
    weight_bits: float
    activation_bits: float


_FACTS = {
    Precision.FP32: _Facts("FP32", 32, 32),
    Precision.BF16: _Facts("BF16", 16, 16),
    Precision.FP16: _Facts("FP16", 16, 16),
    Precision.FP8: _Facts("FP8, one scale a tensor", 8, 8),
    Precision.FP8_ROWWISE: _Facts("FP8, one scale a channel and token", 8, 8),
    Precision.INT8: _Facts("INT8 weights", 8, 16),
    Precision.INT8_SQ: _Facts("INT8 SmoothQuant", 8, 8),
    Precision.INT4: _Facts("INT4 weights", 4, 16),
    Precision.INT4_AWQ: _Facts("INT4 weights, AWQ", 4, 16),
    Precision.INT4_GPTQ: _Facts("INT4 weights, GPTQ", 4, 16),
    Precision.W4A8_AWQ: _Facts("INT4 weights and FP8 activations, AWQ", 4, 8),
    Precision.NVFP4: _Facts("NVFP4", 4, 4),
}

_NEEDS_CALIBRATION = frozenset(
    [Precision.FP8, Precision.INT8_SQ, Precision.INT4_AWQ, Precision.W4A8_AWQ, Precision.NVFP4]
)

VERIFY_FLOORS: dict[Precision, tuple[float, float]] = {
    Precision.FP32: (0.99, 0.001),
    Precision.FP16: (0.95, 0.02),
    Precision.BF16: (0.95, 0.02),
    Precision.FP8: (0.85, 0.10),
    Precision.FP8_ROWWISE: (0.85, 0.10),
    Precision.INT8: (0.90, 0.05),
    Precision.INT8_SQ: (0.80, 0.20),
    Precision.INT4: (0.50, 1.00),
    Precision.INT4_AWQ: (0.55, 0.80),
    Precision.INT4_GPTQ: (0.55, 0.80),
    Precision.W4A8_AWQ: (0.50, 1.00),
    Precision.NVFP4: (0.50, 1.00),
}
"""(least agreement, largest mean KL in nats) by precision; a preset may set its own.

Set below what rounding the weights of SmolLM2-135M-Instruct gives (442 positions; small models lose most):
FP16 and BF16 1.000 / 0.000, INT8 0.975 / 0.003, FP8 0.952 / 0.013, NVFP4 0.81 / 0.23, INT4 in groups of 64
0.75 / 0.43, INT4 by channel 0.63 / 0.83. So a floor tells a broken build from a lossy one, no more.
"""


@dataclass(frozen=True)
class Support:
    """Whether something works. `reason` says why not; `caution` what is unproven but not refused."""

    ok: bool
    reason: str = ""
    nearest: Precision | None = None
    caution: str = ""


@dataclass(frozen=True)
class KvSupport:
    """As Support, for the KV cache."""

    ok: bool
    reason: str = ""
    nearest: KvPrecision | None = None


# What to offer instead, best first: near in bits, then near in kind.
_NEAREST: dict[Precision, tuple[Precision, ...]] = {
    Precision.FP32: (Precision.BF16, Precision.FP16),
    Precision.BF16: (Precision.FP16,),
    Precision.FP16: (Precision.BF16,),
    Precision.FP8: (Precision.FP8_ROWWISE, Precision.INT8_SQ, Precision.INT8, Precision.FP16),
    Precision.FP8_ROWWISE: (Precision.FP8, Precision.INT8_SQ, Precision.INT8, Precision.FP16),
    Precision.INT8: (Precision.FP8, Precision.INT8_SQ, Precision.FP16),
    Precision.INT8_SQ: (Precision.FP8, Precision.INT8, Precision.FP16),
    Precision.INT4: (Precision.NVFP4, Precision.INT4_AWQ, Precision.FP8, Precision.INT8, Precision.FP16),
    Precision.INT4_AWQ: (Precision.INT4, Precision.NVFP4, Precision.FP8, Precision.INT8, Precision.FP16),
    Precision.INT4_GPTQ: (Precision.INT4, Precision.NVFP4, Precision.FP8, Precision.INT8, Precision.FP16),
    Precision.W4A8_AWQ: (Precision.NVFP4, Precision.INT4_AWQ, Precision.INT4, Precision.FP8, Precision.FP16),
    Precision.NVFP4: (Precision.W4A8_AWQ, Precision.INT4_AWQ, Precision.INT4, Precision.FP8, Precision.FP16),
}

_INTEGER_WEIGHTS = frozenset(
    [Precision.INT8, Precision.INT8_SQ, Precision.INT4, Precision.INT4_AWQ, Precision.INT4_GPTQ]
)

# Hugging Face architectures by family, for the models that TensorRT-LLM 1.2 can build engines of.
_FAMILIES = {
    "llama": """LlamaForCausalLM ArcticForCausalLM ExaoneForCausalLM GraniteForCausalLM GraniteMoeForCausalLM
        InternLMForCausalLM InternLMXComposer2ForCausalLM SkyworkForCausalLM LlavaLlamaModel""",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "gemma": """GemmaForCausalLM Gemma2ForCausalLM Gemma3ForCausalLM Gemma3ForConditionalGeneration
        RecurrentGemmaForCausalLM""",
    "qwen": """QWenLMHeadModel QWenForCausalLM Qwen2ForCausalLM Qwen2MoeForCausalLM
        Qwen2ForSequenceClassification Qwen2VLForConditionalGeneration Qwen3ForCausalLM
        Qwen3MoeForCausalLM""",
    "falcon": "FalconForCausalLM RWForCausalLM",
    "gptj": "GPTJForCausalLM",
    "mpt": "MPTForCausalLM MptForCausalLM",
    "baichuan": "BaichuanForCausalLM BaiChuanForCausalLM",
    "gpt": """GPT2LMHeadModel GPT2LMHeadCustomModel GPTBigCodeForCausalLM Starcoder2ForCausalLM
        JAISLMHeadModel GPTForCausalLM NemotronForCausalLM""",
    "phi": """PhiForCausalLM Phi3ForCausalLM Phi3VForCausalLM Phi3SmallForCausalLM PhiMoEForCausalLM
        Phi4MMForCausalLM""",
    "other": """OPTForCausalLM BloomForCausalLM MambaForCausalLM GPTNeoXForCausalLM GlmForCausalLM GLMModel
        ChatGLMModel ChatGLMForConditionalGeneration InternLM2ForCausalLM Grok1ModelForCausalLM
        DbrxForCausalLM DeepseekForCausalLM DeepseekV2ForCausalLM DeciLMForCausalLM CohereForCausalLM
        MllamaForConditionalGeneration""",
}
_FAMILY_OF = {name: family for family, names in _FAMILIES.items() for name in names.split()}

_P = Precision
# What TensorRT-LLM's own table of model x precision ticks; 16-bit and FP32 always work. A missing tick is a
# caution and no refusal: FP8 of Qwen is used in practice without one.
_TICKED: dict[str, frozenset[Precision]] = {
    "llama": frozenset(Precision),
    "mistral": frozenset([_P.FP8, _P.INT8_SQ, _P.INT8, _P.INT4, _P.INT4_AWQ]),
    "mixtral": frozenset([_P.FP8, _P.NVFP4, _P.INT8, _P.INT4]),
    "gemma": frozenset([_P.FP8, _P.INT8_SQ, _P.INT8, _P.INT4, _P.INT4_AWQ]),
    "qwen": frozenset([_P.INT8_SQ, _P.INT8, _P.INT4, _P.INT4_AWQ, _P.INT4_GPTQ]),
    "falcon": frozenset([_P.FP8, _P.INT4_AWQ]),
    "gptj": frozenset([_P.FP8, _P.INT4_AWQ]),
    "mpt": frozenset([_P.FP8, _P.INT4_AWQ]),
    "baichuan": frozenset([_P.FP8, _P.INT4_AWQ]),
    "gpt": frozenset([_P.FP8, _P.INT8_SQ]),
    "phi": frozenset(),
    "other": frozenset(),
}


def supported(
    precision: Precision,
    toolchain: ToolchainName,
    compute_capability: ComputeCapability | None = None,
    architecture: str | None = None,
) -> Support:
    """Whether `toolchain` can make and run `precision`.

    `compute_capability` is the GPU's, None for a CPU or when the GPU is not known yet (then only what no GPU
    can do is refused); `architecture` is config.json's, such as `LlamaForCausalLM`, None when not known yet.
    `nearest` is None when nothing else would work either. TensorRT-LLM's rules are those of its 1.2 builder
    and support matrix.
    """
    reason, caution = _judge(precision, toolchain, compute_capability, architecture)
    if not reason:
        return Support(ok=True, caution=caution)
    for other in _NEAREST[precision]:
        if not _judge(other, toolchain, compute_capability, architecture)[0]:
            return Support(ok=False, reason=reason, nearest=other)
    return Support(ok=False, reason=reason)


def kv_supported(
    kv: KvPrecision, toolchain: ToolchainName, compute_capability: ComputeCapability | None = None
) -> KvSupport:
    """Whether `toolchain` can hold its KV cache in `kv`; parameters as in `supported`."""
    if kv is KvPrecision.AUTO:
        return KvSupport(ok=True)
    if toolchain == "openvino":
        if kv is KvPrecision.FP8:
            return KvSupport(False, "OpenVINO on a CPU has no FP8 KV cache.", KvPrecision.INT8)
        return KvSupport(ok=True)
    if toolchain == "pytorch":
        if kv in (KvPrecision.INT8, KvPrecision.FP8):
            return KvSupport(False, "The PyTorch baseline keeps its KV cache in the model's dtype.", KvPrecision.AUTO)
        return KvSupport(ok=True)
    if toolchain in ("tensorrt_rtx", "onnxruntime"):
        if kv in (KvPrecision.INT8, KvPrecision.FP8):
            reason = "ONNX models here keep their KV cache in what they compute in."
            return KvSupport(False, reason, KvPrecision.AUTO)
        if kv is KvPrecision.BF16 and toolchain == "onnxruntime":
            return KvSupport(False, "ONNX Runtime on a CPU does not compute in BF16.", KvPrecision.AUTO)
        return KvSupport(ok=True)
    if compute_capability is not None:
        shown = show_capability(compute_capability)
        if kv is KvPrecision.FP8 and compute_capability < (8, 9):
            return KvSupport(
                False,
                f"An FP8 KV cache needs compute capability 8.9 or newer, this GPU has {shown}.",
                KvPrecision.INT8,
            )
        if kv is KvPrecision.INT8 and (10, 0) <= compute_capability < (12, 0):
            return KvSupport(
                False,
                f"TensorRT-LLM refuses an INT8 KV cache on compute capability {shown}.",
                KvPrecision.FP8,
            )
    return KvSupport(ok=True)


def show_capability(compute_capability: ComputeCapability) -> str:
    """(8, 9) -> "8.9"."""
    return f"{compute_capability[0]}.{compute_capability[1]}"


def _judge(
    precision: Precision,
    toolchain: ToolchainName,
    capability: ComputeCapability | None,
    architecture: str | None,
) -> tuple[str, str]:
    """(reason of a refusal or "", caution or "")."""
    if toolchain == "openvino":
        return _judge_openvino(precision), ""
    if toolchain == "pytorch":
        return _judge_pytorch(precision, capability), ""
    if toolchain == "onnxruntime":
        return _judge_onnxruntime(precision), ""
    if toolchain == "tensorrt_rtx":
        return _judge_rtx(precision, capability), ""
    reason, caution = _judge_gpu(precision, capability) if capability is not None else ("", "")
    if reason or architecture is None:
        return reason, caution
    family = _FAMILY_OF.get(architecture)
    if family is None:
        return f"TensorRT-LLM 1.2 has no engine for the architecture {architecture[:60]}.", ""
    if precision.is_quantized and precision not in _TICKED[family] and not caution:
        plain = re.sub(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$", "", architecture)
        caution = f"TensorRT-LLM's table of models does not list {precision.title} for {plain}; verify tells."
    return "", caution


def _judge_openvino(precision: Precision) -> str:
    if precision in (Precision.FP16, Precision.INT8, Precision.INT4):
        return ""
    if precision in (Precision.INT4_AWQ, Precision.INT4_GPTQ):
        method = precision.value.removeprefix("int4_")
        return (
            f"With OpenVINO, {method.upper()} is a way to make int4: "
            f'set precision.weights = "int4" and precision.method = "{method}".'
        )
    if precision in (Precision.FP32, Precision.BF16):
        return (
            f"OpenVINO keeps unquantized weights in FP16 and picks the CPU's own compute type; "
            f"{precision.title} has no use here."
        )
    if precision is Precision.INT8_SQ:
        return "OpenVINO engines here quantize weights alone; INT8 SmoothQuant quantizes activations too."
    return f"{precision.title} needs an NVIDIA GPU; OpenVINO runs on a CPU here."


def _judge_pytorch(precision: Precision, capability: ComputeCapability | None) -> str:
    """torchao's kernels: INT8 weights from Ampere on, FP8 from Ada on; whether there is a GPU, the toolchain asks."""
    if not precision.is_quantized:
        return ""
    if precision not in (Precision.INT8, Precision.FP8):
        return (
            f"The PyTorch baseline loads the folder as it is and does not quantize to {precision.title}; "
            "torchao gives it INT8 and FP8."
        )
    least = (8, 0) if precision is Precision.INT8 else (8, 9)
    if capability is not None and capability < least:
        shown = show_capability(capability)
        return (
            f"{precision.title} by torchao needs compute capability {show_capability(least)} or newer, "
            f"this GPU has {shown}."
        )
    return ""


def _judge_onnxruntime(precision: Precision) -> str:
    """What its CPU kernels run as it is stored; with Q/DQ, FP8 runs too and gains nothing."""
    if precision in (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4):
        return ""
    if precision in (Precision.INT4_AWQ, Precision.INT4_GPTQ):
        return _by_method(precision, "ONNX Runtime")
    if precision is Precision.BF16:
        return "ONNX Runtime's CPU kernels have no BF16."
    if precision is Precision.INT8_SQ:
        return "ONNX Runtime engines here quantize weights alone; INT8 SmoothQuant quantizes activations too."
    return f"{precision.title} needs an NVIDIA GPU; ONNX Runtime engines here are for a CPU first."


def _judge_rtx(precision: Precision, capability: ComputeCapability | None) -> str:
    """NVIDIA's support matrix of TensorRT for RTX; without a target, what its newest one has."""
    target = max(rtx_targets.CAPABILITIES) if capability is None else capability
    if precision in (Precision.INT4_AWQ, Precision.INT4_GPTQ):
        return rtx_targets.refused(target) or _by_method(precision, "TensorRT-RTX")
    return rtx_targets.why_not(precision.value, target)


def _by_method(precision: Precision, title: str) -> str:
    """A precision that a preset names by its method."""
    method = precision.value.removeprefix("int4_")
    if method == "gptq":
        return f"{title} builds here do not make INT4 by GPTQ."
    return (
        f"With {title}, {method.upper()} is a way to make int4: "
        f'set precision.weights = "int4" and precision.method = "{method}".'
    )


def _judge_gpu(precision: Precision, capability: ComputeCapability) -> tuple[str, str]:
    shown = show_capability(capability)
    if capability < (8, 0):
        return f"TensorRT-LLM 1.2 supports compute capability 8.0 and newer, this GPU has {shown}.", ""
    if (10, 3) <= capability < (12, 0):
        return f"TensorRT-LLM's engine path is not tested on compute capability {shown} (B300, GB300).", ""
    if precision in (Precision.FP8, Precision.FP8_ROWWISE, Precision.W4A8_AWQ) and capability < (8, 9):
        return (
            f"{precision.title} needs compute capability 8.9 or newer (Ada, Hopper), this GPU has {shown}.",
            "",
        )
    if precision is Precision.NVFP4 and capability < (10, 0):
        return f"NVFP4 needs compute capability 10.0 or newer (Blackwell), this GPU has {shown}.", ""
    if capability[0] in (10, 11) and precision in _INTEGER_WEIGHTS | {
        Precision.FP8_ROWWISE,
        Precision.W4A8_AWQ,
    }:
        return f"TensorRT-LLM refuses {precision.title} on compute capability {shown}.", ""
    if capability >= (12, 0):
        if precision in _INTEGER_WEIGHTS:
            return f"{precision.title} kernels are not established on compute capability {shown}.", ""
        if precision in (Precision.FP8_ROWWISE, Precision.W4A8_AWQ):
            return (
                "",
                f"{precision.title} is not refused on compute capability {shown}, but not shown to run.",
            )
    return "", ""
