"""From a Hugging Face folder to one rank's tensors and config.json, as the model classes make them.

Reads configs in the spelling of transformers 4.57, which is what TensorRT-LLM 1.2 comes with: the rope table of
transformers 5 is not seen there, and the class takes its default without a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorrt_llm._standin import sm
from tensorrt_llm._standin.layout import DTYPES, GEMMA, PHI3, QWEN, NotStoodInFor
from tensorrt_llm._standin.log import Log
from tensorrt_llm._standin.tensors import read_tensors
from tensorrt_llm.mapping import Mapping

Array = np.ndarray[Any, Any]
Tensors = dict[str, tuple[str, Array]]
OF_LLAMA = ("LlamaForCausalLM", "MistralForCausalLM", "InternLMForCausalLM", "SkyworkForCausalLM",
            "GraniteForCausalLM")  # fmt: skip


def dtype_of(asked: str, source: dict[str, Any], log: Log) -> str:
    """auto takes the folder's; float32 becomes float16, and bfloat16 does on GPUs before Ampere."""
    if asked == "auto":
        asked = str(source.get("dtype") or source.get("torch_dtype") or "float16")
        asked = "float16" if asked == "float32" else asked
        if asked == "bfloat16" and sm() < 80:
            log.python("Pre SM 80 GPUs do not support bfloat16, fallback to float16", "W")
            asked = "float16"
    if asked not in DTYPES:
        raise KeyError(asked)
    return asked


def config_of(
    source: dict[str, Any], dtype: str, mapping: dict[str, int], quantization: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """config.json of the checkpoint."""
    architecture = source["architectures"][0]
    heads, hidden = source["num_attention_heads"], source["hidden_size"]
    if architecture not in (*OF_LLAMA, *QWEN, *GEMMA, *PHI3):
        raise NotStoodInFor(f"the stand-in does not convert {architecture}")
    config: dict[str, Any] = {
        "architecture": architecture,
        "dtype": dtype,
        "logits_dtype": "float32",
        "vocab_size": source["vocab_size"],
        "max_position_embeddings": source["max_position_embeddings"],
        "hidden_size": hidden,
        "num_hidden_layers": source["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": source.get("num_key_value_heads") or heads,
        "head_size": source.get("head_dim") or hidden // heads,
        "qk_layernorm": architecture in ("Qwen3ForCausalLM", "Gemma3ForCausalLM"),
        "hidden_act": source.get("hidden_act", "silu"),
        "intermediate_size": source["intermediate_size"],
        "norm_epsilon": source.get("rms_norm_eps", 1e-6),
        "position_embedding_type": "rope_gpt_neox",
        "use_parallel_embedding": bool(given.get("use_parallel_embedding", False)),
        "embedding_sharding_dim": int(given.get("embedding_sharding_dim", 0)),
        "mapping": mapping,
        "quantization": quantization,
        "runtime_defaults": None,
        "rotary_base": source.get("rope_theta", 10000.0),
        "rotary_scaling": source.get("rope_scaling"),
        "mlp_bias": bool(source.get("mlp_bias", False)),
        "attn_bias": bool(source.get("attention_bias", False)),
    }
    if architecture in OF_LLAMA:
        config |= {"residual_mlp": False, "tie_word_embeddings": bool(source.get("tie_word_embeddings", False))}
    if architecture == "GraniteForCausalLM":
        config |= {key: source[key] for key in ("embedding_multiplier", "attention_multiplier", "residual_multiplier")}
        config["output_multiplier_scale"] = 1 / source["logits_scaling"]
    if architecture in QWEN:
        config |= {"qwen_type": source["model_type"], "seq_length": source["max_position_embeddings"]}
        config["attn_bias"] = True if architecture == "Qwen2ForCausalLM" else bool(source.get("attention_bias"))
    if architecture in GEMMA:
        config |= {"hidden_act": "gelu", "use_parallel_embedding": mapping["tp_size"] > 1}
        config["inter_layernorms"] = architecture != "GemmaForCausalLM"
        for key in ("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "sliding_window",
                    "rope_local_base_freq"):  # fmt: skip
            if key in source:
                config[key] = source[key]
        if architecture == "Gemma3ForCausalLM":
            config["_sliding_window_pattern"] = source.get("sliding_window_pattern", 6)
    if architecture in PHI3:
        config |= {"rotary_pct": source.get("partial_rotary_factor", 1.0), "hidden_act": "swiglu"}
    return config


def convert(folder: Path, config: dict[str, Any], source: dict[str, Any], mapping: Mapping) -> Tensors:
    """One rank's tensors."""
    return _Rank(read_tensors(folder), config, source, mapping).tensors()


def widened(tensor: tuple[str, Array]) -> Array:
    """In float32."""
    dtype, array = tensor
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def narrowed(array: Array, dtype: str) -> tuple[str, Array]:
    """In the checkpoint's type, rounded to the nearest, ties to even."""
    name = DTYPES[dtype]
    if name == "BF16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        return name, ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return name, np.ascontiguousarray(array, {"F16": np.float16, "F32": np.float32}[name])


class _Rank:
    def __init__(
        self, weights: dict[str, tuple[str, Array]], config: dict[str, Any], source: dict[str, Any], mapping: Mapping
    ) -> None:
        self.weights, self.config, self.mapping = weights, config, mapping
        self.tied = bool(source.get("tie_word_embeddings", config["architecture"] in GEMMA))
        self.gptq = config["quantization"]["quant_algo"] == "W4A16_GPTQ"
        self.made: Tensors = {}
        self.head = int(config["head_size"])
        tp = mapping.tp_size
        for name in ("num_attention_heads", "intermediate_size"):
            assert config[name] % tp == 0, f"{name} {config[name]} must be divisible by tp_size {tp}"
        assert config["num_hidden_layers"] % mapping.pp_size == 0, "layers must be a multiple of pp_size"

    def tensors(self) -> Tensors:
        config, mapping = self.config, self.mapping
        count = config["num_hidden_layers"] // mapping.pp_size
        if mapping.pp_rank == 0:
            table = self._whole("model.embed_tokens.weight")
            if config["use_parallel_embedding"]:
                table = self._cut(self._padded(table), int(config["embedding_sharding_dim"]))
            self._put("transformer.vocab_embedding.weight", table)
        for local in range(count):
            self._layer(f"model.layers.{mapping.pp_rank * count + local}", f"transformer.layers.{local}")
        if mapping.pp_rank == mapping.pp_size - 1:
            self._put("transformer.ln_f.weight", self._norm("model.norm.weight"))
            head = "model.embed_tokens.weight" if self.tied else "lm_head.weight"
            self._put("lm_head.weight", self._cut(self._padded(self._whole(head)), 0))
        return self.made

    def _layer(self, at: str, to: str) -> None:
        norms = {"input_layernorm": "input_layernorm", "post_attention_layernorm": "post_layernorm"}
        if self.config["architecture"] in ("Gemma2ForCausalLM", "Gemma3ForCausalLM"):
            norms |= {name: name for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm")}
        if self.config["qk_layernorm"]:
            norms |= {"self_attn.q_norm": "attention.q_layernorm", "self_attn.k_norm": "attention.k_layernorm"}
        for theirs, ours in norms.items():
            self._put(f"{to}.{ours}.weight", self._norm(f"{at}.{theirs}.weight"))
        fused = self.config["architecture"] in PHI3
        attention = f"{at}.self_attn"
        parts = [f"{attention}.{n}_proj" for n in "qkv"]
        self._columns(f"{to}.attention.qkv", parts, f"{attention}.qkv_proj" if fused else "")
        self._row(f"{to}.attention.dense", f"{at}.self_attn.o_proj")
        if fused:
            both = self._whole(f"{at}.mlp.gate_up_proj.weight")
            gate, up = np.split(both, 2)
            # The class wants up before gate, on every GPU.
            self._put(f"{to}.mlp.fc.weight", np.concatenate([self._cut(up, 0), self._cut(gate, 0)]))
        else:
            self._columns(f"{to}.mlp.fc", [f"{at}.mlp.gate_proj"])
            self._columns(f"{to}.mlp.gate", [f"{at}.mlp.up_proj"])
        self._row(f"{to}.mlp.proj", f"{at}.mlp.down_proj")

    def _columns(self, to: str, parts: Sequence[str], fused: str = "") -> None:
        """A layer whose output is cut; q, k and v are cut one by one, KV heads repeated where there are too few."""
        if self.gptq:
            packed = [self._unpacked(part) for part in parts]
            cut = [[self._heads(a, n, len(parts), axis=1) for a in one] for n, one in enumerate(packed)]
            self._put_packed(to, *(np.concatenate([one[i] for one in cut], axis=1) for i in range(3)))
        else:
            if fused:
                heads, kv = self.config["num_attention_heads"], self.config["num_key_value_heads"]
                rows = np.cumsum([heads * self.head, kv * self.head])
                whole = np.split(self._whole(f"{fused}.weight"), rows)
            else:
                whole = [self._whole(f"{part}.weight") for part in parts]
            self._put(f"{to}.weight", np.concatenate([self._heads(w, n, len(whole)) for n, w in enumerate(whole)]))
        if f"{parts[0]}.bias" in self.weights:
            biases = [self._whole(f"{part}.bias") for part in parts]
            self._put(f"{to}.bias", np.concatenate([self._heads(b, n, len(parts)) for n, b in enumerate(biases)]))

    def _heads(self, array: Array, part: int, of: int, axis: int = 0) -> Array:
        kv, tp = self.config["num_key_value_heads"], self.mapping.tp_size
        if of == 3 and part > 0 and kv < tp:
            assert tp % kv == 0, f"num_key_value_heads {kv} can neither be split nor repeated for tp_size {tp}"
            own = self.mapping.tp_rank // (tp // kv)
            return np.take(array, range(own * self.head, (own + 1) * self.head), axis=axis)
        return self._cut(array, axis)

    def _row(self, to: str, name: str) -> None:
        """A layer whose input is cut; its bias is whole."""
        if self.gptq:
            weight, scales, zeros = (self._cut(array, 0) for array in self._unpacked(name))
            self._put_packed(to, weight, scales, zeros)
        else:
            self._put(f"{to}.weight", self._cut(self._whole(f"{name}.weight"), 1))
        if f"{name}.bias" in self.weights:
            self._put(f"{to}.bias", self._whole(f"{name}.bias"))

    def _unpacked(self, name: str) -> tuple[Array, Array, Array]:
        """GPTQ: weights as signed 4-bit numbers (in, out), scales and zero points times scales (groups, out)."""
        qweight, qzeros = self._raw(f"{name}.qweight"), self._raw(f"{name}.qzeros")
        scales = self._whole(f"{name}.scales")
        shifts = np.arange(0, 32, 4, dtype=np.uint32)
        codes = (qweight.view(np.uint32)[:, None, :] >> shifts[None, :, None]) & 15
        codes = codes.reshape(-1, qweight.shape[1])
        zeros = ((qzeros.view(np.uint32)[:, :, None] >> shifts) & 15).reshape(qzeros.shape[0], -1)
        group = int(self.config["quantization"]["group_size"])
        if codes.shape[0] != scales.shape[0] * group:
            raise ValueError(f"{name}: {codes.shape[0]} inputs are not {scales.shape[0]} groups of {group}")
        # The file's zero points are one less than those that were meant.
        return codes.astype(np.int8) - 8, scales, (7.0 - zeros.astype(np.float32)) * scales

    def _put_packed(self, to: str, weight: Array, scales: Array, zeros: Array) -> None:
        """Two 4-bit numbers a byte, seen as 16-bit floats."""
        pairs = ((weight[:, ::2] & 15) | (weight[:, 1::2] << 4)).astype(np.uint8)
        self.made[f"{to}.weight"] = (DTYPES[self.config["dtype"]], np.ascontiguousarray(pairs).view(np.uint16))
        self._put(f"{to}.weights_scaling_factor", scales)
        self._put(f"{to}.zero", zeros)

    def _norm(self, name: str) -> Array:
        """Gemma's classes keep 1 + w."""
        return self._whole(name) + (1.0 if self.config["architecture"] in GEMMA else 0.0)

    def _padded(self, table: Array) -> Array:
        tp = self.mapping.tp_size
        return np.pad(table, ((0, math.ceil(len(table) / tp) * tp - len(table)), (0, 0)))

    def _cut(self, array: Array, axis: int) -> Array:
        return np.split(array, self.mapping.tp_size, axis=axis)[self.mapping.tp_rank]

    def _whole(self, name: str) -> Array:
        return widened((self._dtype(name), self._raw(name)))

    def _dtype(self, name: str) -> str:
        self._raw(name)
        return self.weights[name][0]

    def _raw(self, name: str) -> Array:
        if name not in self.weights:
            raise KeyError(name)
        return self.weights[name][1]

    def _put(self, name: str, array: Array) -> None:
        self.made[name] = narrowed(array, self.config["dtype"])
