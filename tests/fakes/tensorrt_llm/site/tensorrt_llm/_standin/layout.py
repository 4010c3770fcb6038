"""Which tensors a rank's file must hold: name -> allowed (shape, dtypes), by config.json alone.

Names and shapes were taken from what ModelOpt 0.37 and 0.47 export and from what TensorRT-LLM's model classes
declare; `tp` splits columns (qkv, fc, gate, lm_head) by rows and rows (dense, proj) by columns, `pp` gives each stage
its own layers, numbered from 0 again.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, field
from typing import Any

DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
LLAMA = ("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "GraniteForCausalLM")
QWEN = ("QWenForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
GEMMA = ("GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM")
PHI3 = ("Phi3ForCausalLM",)
SUPPORTED = LLAMA + QWEN + GEMMA + PHI3
MODEL_MAP = (
    *SUPPORTED,
    "GPTForCausalLM",
    "FalconForCausalLM",
    "PhiForCausalLM",
    "MixtralForCausalLM",
    "Phi3VForCausalLM",
    "Phi3SmallForCausalLM",
    "PhiMoEForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3MoeForCausalLM",
    "DeciLMForCausalLM",
    "DbrxForCausalLM",
    "NemotronForCausalLM",
)
"""Architectures that the real one knows; those without a layout here are refused as the stand-in's own gap."""

QUANT_ALGOS = (
    "W8A16", "W4A16", "W4A16_AWQ", "W4A8_AWQ", "W8A16_GPTQ", "W4A16_GPTQ", "W8A8_SQ_PER_CHANNEL",
    "W8A8_SQ_PER_TENSOR_PLUGIN", "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN", "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN",
    "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN", "W4A8_QSERVE_PER_GROUP", "W4A8_QSERVE_PER_CHANNEL", "FP8",
    "FP8_PER_CHANNEL_PER_TOKEN", "FP8_BLOCK_SCALES", "INT8", "MIXED_PRECISION", "NVFP4", "W4A8_NVFP4_FP8",
    "W4A8_MXFP4_FP8", "W4A8_MXFP4_MXFP8", "W4A16_MXFP4", "NO_QUANT",
)  # fmt: skip
KV_ALGOS = ("FP8", "INT8", "NVFP4")
QUANT_FIELDS = {
    "quant_algo", "kv_cache_quant_algo", "group_size", "smoothquant_val", "clamp_val", "use_meta_recipe",
    "has_zero_point", "pre_quant_scale", "exclude_modules", "mamba_ssm_cache_dtype",
}  # fmt: skip


class NotStoodInFor(NotImplementedError):
    """The real package can do this and the stand-in cannot."""


@dataclass
class Want:
    """What is allowed for one tensor; `required` False: it may be there."""

    forms: list[tuple[tuple[int, ...], tuple[str, ...]]]
    required: bool = True
    scale: bool = False


@dataclass
class Rank:
    tp: int
    pp: int
    tp_rank: int
    pp_rank: int
    tensors: dict[str, Want] = field(default_factory=dict)

    @property
    def first(self) -> bool:
        return self.pp_rank == 0

    @property
    def last(self) -> bool:
        return self.pp_rank == self.pp - 1


def check_config(config: dict[str, Any], quant_cfg: dict[str, Any] | None) -> None:
    """What the config classes refuse. Raises as they do."""
    absent = [
        key
        for key in ("architecture", "dtype", "hidden_size", "num_hidden_layers", "num_attention_heads")
        if key not in config
    ]
    if absent:
        shown = " and ".join(f"'{key}'" for key in absent)
        raise TypeError(f"PretrainedConfig.__init__() missing {len(absent)} required keyword-only arguments: {shown}")
    if config["architecture"] not in MODEL_MAP:
        raise AssertionError(f"Unsupported model architecture: {config['architecture']}")
    if config["architecture"] not in SUPPORTED:
        raise NotStoodInFor(f"the stand-in has no layout for {config['architecture']}")
    if config["dtype"] not in DTYPES:
        raise KeyError(config["dtype"])
    for key in ("vocab_size", "norm_epsilon", "hidden_act"):
        if config.get(key) is None:
            raise TypeError(f"config.json lacks {key}")
    quant = config.get("quantization") or {}
    unknown = sorted(set(quant) - QUANT_FIELDS)
    if unknown:
        raise TypeError(f"QuantConfig.__init__() got an unexpected keyword argument '{unknown[0]}'")
    if quant.get("quant_algo") not in (None, *QUANT_ALGOS):
        raise ValueError(f"Unknown quant_algo {quant['quant_algo']}")
    if quant.get("kv_cache_quant_algo") not in (None, *KV_ALGOS):
        raise ValueError(f"Unknown kv_cache_quant_algo {quant['kv_cache_quant_algo']}")
    if quant.get("quant_algo") == "MIXED_PRECISION" and not (quant_cfg or {}).get("quantized_layers"):
        raise RuntimeError("Encounter error 'no such file' for read quantization config 'quant_cfg.json'")
    mapping = config.get("mapping") or {}
    tp, pp, cp = (int(mapping.get(key, 1)) for key in ("tp_size", "pp_size", "cp_size"))
    if int(mapping.get("world_size", 1)) != tp * pp * cp:
        raise ValueError(
            f"world_size must equal to tp_size * pp_size * cp_size, but got {mapping.get('world_size', 1)} != "
            f"{tp} * {pp} * {cp}"
        )
    heads, layers = int(config["num_attention_heads"]), int(config["num_hidden_layers"])
    if heads % tp:
        raise AssertionError(f"num_attention_heads {heads} must be divisible by tp_size {tp}")
    if layers % pp:
        raise AssertionError(f"Number of layers {layers} must be a multiple of pipeline parallelism {pp}")
    position = str(config.get("position_embedding_type", "learned_absolute"))
    if not position.startswith(("rope", "long_rope", "yarn", "mrope")):
        raise AssertionError(f"position_embedding_type {position} does not fit {config['architecture']}")


def world_size(config: dict[str, Any]) -> int:
    mapping = config.get("mapping") or {}
    return int(mapping.get("tp_size", 1)) * int(mapping.get("pp_size", 1))


def rank_layout(config: dict[str, Any], quant_cfg: dict[str, Any] | None, rank: int) -> dict[str, Want]:
    """All tensors of `rank{rank}.safetensors`."""
    mapping = config.get("mapping") or {}
    tp, pp = int(mapping.get("tp_size", 1)), int(mapping.get("pp_size", 1))
    place = Rank(tp, pp, rank % tp, rank // tp)
    dtype = DTYPES[config["dtype"]]
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head = int(config.get("head_size") or hidden // heads)
    inner = int(config.get("intermediate_size") or hidden * 4)
    vocabulary, layers = int(config["vocab_size"]), int(config["num_hidden_layers"])
    architecture = config["architecture"]
    # With more ranks than KV heads each rank has a copy of one.
    local_kv = max(1, kv_heads // tp)
    linears = Linears(config, quant_cfg, place, dtype)

    def plain(name: str, *shape: int, required: bool = True) -> None:
        place.tensors[name] = Want([(shape, (dtype,))], required)

    if place.first:
        parallel = bool(config.get("use_parallel_embedding", False))
        rows, columns = vocabulary, hidden
        if parallel and int(config.get("embedding_sharding_dim", 0)) == 0:
            rows = math.ceil(vocabulary / tp)
        elif parallel:
            columns = hidden // tp
        plain("transformer.vocab_embedding.weight", rows, columns)
    for layer in range(layers // pp):
        at = f"transformer.layers.{layer}"
        # Silent, the Qwen classes take a bias for granted.
        attention_bias = bool(config.get("attn_bias", architecture in QWEN))
        linears.add(f"{at}.attention.qkv", (heads // tp + 2 * local_kv) * head, hidden, bias=attention_bias)
        # Qwen's class has no bias there whatever attn_bias says.
        dense_bias = bool(config.get("attn_bias")) and architecture not in QWEN
        linears.add(f"{at}.attention.dense", hidden, heads // tp * head, bias=dense_bias)
        linears.kv_scales(f"{at}.attention")
        plain(f"{at}.input_layernorm.weight", hidden)
        plain(f"{at}.post_layernorm.weight", hidden)
        if architecture in ("Qwen3ForCausalLM", "Gemma3ForCausalLM") or config.get("qk_layernorm"):
            plain(f"{at}.attention.q_layernorm.weight", head)
            plain(f"{at}.attention.k_layernorm.weight", head)
        if architecture in ("Gemma2ForCausalLM", "Gemma3ForCausalLM"):
            plain(f"{at}.pre_feedforward_layernorm.weight", hidden)
            plain(f"{at}.post_feedforward_layernorm.weight", hidden)
        mlp_bias = bool(config.get("mlp_bias"))
        if architecture in PHI3:
            linears.add(f"{at}.mlp.fc", 2 * inner // tp, hidden, bias=False)
        else:
            linears.add(f"{at}.mlp.fc", inner // tp, hidden, bias=mlp_bias)
            linears.add(f"{at}.mlp.gate", inner // tp, hidden, bias=mlp_bias)
        linears.add(f"{at}.mlp.proj", hidden, inner // tp, bias=mlp_bias)
    if place.last:
        plain("transformer.ln_f.weight", hidden)
        linears.add("lm_head", math.ceil(vocabulary / tp), hidden, bias=False)
        if place.first:
            # With the embedding on the same rank the head may be left out: it is shared.
            for name, want in place.tensors.items():
                if name.startswith("lm_head."):
                    want.required = False
    return place.tensors


class Linears:
    """Adds a linear layer's tensors in the form that its quantization gives them."""

    def __init__(self, config: dict[str, Any], quant_cfg: dict[str, Any] | None, place: Rank, dtype: str) -> None:
        self.quant = config.get("quantization") or {}
        self.layers = (quant_cfg or {}).get("quantized_layers") or {}
        self.place, self.dtype = place, dtype

    def _quantized(self, name: str) -> dict[str, Any]:
        algo = self.quant.get("quant_algo")
        if algo == "MIXED_PRECISION":
            return next((entry for key, entry in self.layers.items() if fnmatch.fnmatch(name, key)), {})
        excluded = self.quant.get("exclude_modules")
        patterns = ["lm_head", "router", "vocab_embedding"] if excluded is None else excluded
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return {}
        return self.quant

    def kv_scales(self, name: str) -> None:
        """Scales of the KV cache: one for both, or one each, from which the loader takes the larger."""
        if self.quant.get("kv_cache_quant_algo") is None:
            return
        scale = [((1,), ("F32",)), ((), ("F32",))]
        for kind in ("kv_cache_scaling_factor", "k_cache_scaling_factor", "v_cache_scaling_factor"):
            self.place.tensors[f"{name}.{kind}"] = Want(list(scale), required=False, scale=True)
        self.place.tensors[f"{name}.kv_cache_rcp_scaling_factor"] = Want(list(scale), required=False, scale=True)

    def add(self, name: str, out: int, into: int, *, bias: bool) -> None:
        quant = self._quantized(name)
        algo = quant.get("quant_algo")
        if algo == "NO_QUANT":
            algo = None
        group = int(quant.get("group_size") or 128)
        one = [((1,), ("F32",)), ((), ("F32",))]
        tensors: dict[str, Want] = {}
        if algo is None:
            tensors["weight"] = Want([((out, into), (self.dtype,))])
        elif algo == "FP8":
            tensors["weight"] = Want([((out, into), ("F8_E4M3", "I8"))])
            tensors["weights_scaling_factor"] = Want(list(one), scale=True)
            tensors["activation_scaling_factor"] = Want(list(one), scale=True)
        elif algo == "FP8_PER_CHANNEL_PER_TOKEN":
            tensors["weight"] = Want([((out, into), ("F8_E4M3", "I8"))])
            tensors["per_channel_scale"] = Want([((out,), ("F32",))], scale=True)
        elif algo == "W8A8_SQ_PER_CHANNEL":
            tensors["weight"] = Want([((out, into), ("I8",))])
            tensors["weights_scaling_factor"] = Want([((out,), ("F32",))], scale=True)
            tensors["activation_scaling_factor"] = Want(list(one), scale=True)
            tensors["prequant_scaling_factor"] = Want([((into,), (self.dtype,))], scale=True)
        elif algo in ("W4A16_AWQ", "W4A8_AWQ"):
            if into % group:
                raise ValueError(f"{name}: {into} input features cannot be split into groups of {group}")
            tensors["weight"] = Want([((out // 2, into), ("I8",))])
            tensors["weights_scaling_factor"] = Want([((out, into // group), ("F32", self.dtype))], scale=True)
            tensors["prequant_scaling_factor"] = Want(
                [((into,), (self.dtype,))], required=bool(quant.get("pre_quant_scale")), scale=True
            )
            if algo == "W4A8_AWQ":
                tensors["weights_scaling_factor_2"] = Want(list(one), scale=True)
                tensors["activation_scaling_factor"] = Want(list(one), scale=True)
        elif algo == "NVFP4":
            if into % 16:
                raise ValueError(f"{name}: {into} input features cannot be split into blocks of 16")
            tensors["weight"] = Want([((out, into // 2), ("U8", "I8"))])
            tensors["weights_scaling_factor"] = Want([((out, into // 16), ("F8_E4M3", "U8"))], scale=True)
            tensors["weights_scaling_factor_2"] = Want(list(one), scale=True)
            tensors["activation_scaling_factor"] = Want(list(one), scale=True)
        elif algo in ("W8A16", "W4A16"):
            # Full precision is quantized while it loads; the converter's own form is transposed and packed.
            packed = (into, out if algo == "W8A16" else out // 2)
            tensors["weight"] = Want([((out, into), (self.dtype,)), (packed, ("I8",))])
            tensors["per_channel_scale"] = Want([((out,), (self.dtype,))], required=False, scale=True)
        elif algo == "W4A16_GPTQ":
            tensors["weight"] = Want([((into, out // 4), (self.dtype,))])
            tensors["weights_scaling_factor"] = Want([((into // group, out), (self.dtype,))], scale=True)
            tensors["zero"] = Want([((into // group, out), (self.dtype,))], required=bool(quant.get("has_zero_point")))
        else:
            raise NotStoodInFor(f"the stand-in has no layout for quant_algo {algo}")
        if bias:
            tensors["bias"] = Want([((out,), (self.dtype,))])
        self.place.tensors.update({f"{name}.{kind}": want for kind, want in tensors.items()})
