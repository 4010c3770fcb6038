"""Rank files of a TensorRT-LLM checkpoint -> tensors under Hugging Face names, by a route of its own.

Shards are dequantized with their own rank's scales, then joined: q, k and v are taken apart (key and value heads may
be repeated over ranks), pipeline stages put one after the other. What the engine would not load is not used.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.workers.trtllm.checkpoint import CONFIG, Checkpoint
from workbench.workers.trtllm.dequant import SCALES, Linear, activation_change, bad, dequantized, finite, of_dtype

_KV_SCALES = ("k_cache_scaling_factor", "v_cache_scaling_factor", "kv_cache_scaling_factor")


@dataclass
class Readback:
    """Reads all tensors once; afterwards `activations` and `ignored` are complete."""

    checkpoint: Checkpoint
    fold_experts: bool = False
    """Experts are not modules of their own: factors of their inputs go into the weights, which comes to the same."""
    unrounded: bool = False
    """Whether an expert's input would be rounded and, folded, is not."""
    activations: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    """By Hugging Face module name: what the engine does to that layer's input."""
    used: list[set[str]] = field(default_factory=list)
    algos: dict[str, int] = field(default_factory=dict)
    """Linear layers by algorithm, "" for plain ones."""

    def __post_init__(self) -> None:
        self.used = [set() for _ in self.checkpoint.files]

    def tensors(self, done: Callable[[int], None] = lambda layers: None) -> Iterator[tuple[str, Any]]:
        """(Hugging Face name, float32 tensor), layer by layer; `done` gets the number of layers read.

        Raises WorkerError `bad-checkpoint` at the first tensor that is not there, of a wrong shape, or not a number.
        """
        checkpoint = self.checkpoint
        yield "model.embed_tokens.weight", self._embedding()
        number = 0
        for stage, count in enumerate(checkpoint.layer_counts):
            for local in range(count):
                yield from self._layer(stage, f"transformer.layers.{local}", f"model.layers.{number}")
                number += 1
                done(number)
        last = checkpoint.pp - 1
        yield "model.norm.weight", self._norm(last, "transformer.ln_f")
        if not checkpoint.tied:
            yield from self._head(last)
        elif checkpoint.pp > 1:
            raise bad(
                "the last pipeline stage has neither an output matrix nor the embedding to share it with",
                self._file(last * checkpoint.tp),
                "no lm_head.weight",
                "Make the checkpoint with parallel.pp = 1, or with the output matrix written out.",
            )

    def ignored(self) -> list[str]:
        """Tensors that the engine would not load, layer numbers shown as *."""
        left: set[str] = set()
        for names, used in zip(self.checkpoint.names, self.used, strict=True):
            left |= {re.sub(r"\.layers\.\d+\.", ".layers.*.", name) for name in names - used}
        return sorted(left)

    def _layer(self, stage: int, at: str, to: str) -> Iterator[tuple[str, Any]]:
        config = self.checkpoint.config
        family = config.family
        norms = {"input_layernorm": "input_layernorm", "post_layernorm": "post_attention_layernorm"}
        if family.four_norms:
            norms |= {name: name for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm")}
        if family.qk_norms:
            norms |= {"attention.q_layernorm": "self_attn.q_norm", "attention.k_layernorm": "self_attn.k_norm"}
        for ours, theirs in norms.items():
            yield f"{to}.{theirs}.weight", self._norm(stage, f"{at}.{ours}")
        yield from self._qkv(stage, f"{at}.attention.qkv", f"{to}.self_attn")
        heads, size = config.whole("num_attention_heads"), config.whole("head_size")
        dense_bias = bool(config.values.get("attn_bias")) and family.dense_bias
        yield from self._row(stage, f"{at}.attention.dense", f"{to}.self_attn.o_proj", heads * size, dense_bias)
        if family.experts:
            yield from self._experts(stage, f"{at}.mlp", to)
        else:
            yield from self._mlp(stage, f"{at}.mlp", f"{to}.mlp")
        self._check_kv(stage, f"{at}.attention")

    def _qkv(self, stage: int, name: str, to: str) -> Iterator[tuple[str, Any]]:
        import torch

        config, tp = self.checkpoint.config, self.checkpoint.tp
        hidden, size = config.whole("hidden_size"), config.whole("head_size")
        heads, kv_heads = config.whole("num_attention_heads"), config.whole("num_key_value_heads")
        q_rows, kv_rows = self._share(heads, "num_attention_heads") * size, -(-kv_heads // tp) * size
        if kv_heads % tp and tp % kv_heads:
            raise bad("key and value heads cannot be shared out over the ranks", "", f"{kv_heads} heads, tp {tp}")
        biased = bool(config.values.get("attn_bias"))
        shares = self._linears(stage, name, [q_rows + 2 * kv_rows] * tp, [hidden] * tp, biased)
        parts: dict[str, Any] = {}
        for part in ("weight", "bias") if biased else ("weight",):
            split = [share[part].split([q_rows, kv_rows, kv_rows]) for share in shares]
            repeats = max(1, tp // kv_heads)
            for index, letter in ((1, "k"), (2, "v")):
                for rank in range(0, tp, repeats):
                    for copy in range(rank + 1, rank + repeats):
                        if not torch.equal(split[rank][index], split[copy][index]):
                            raise bad(
                                "ranks that share a key or value head hold different weights for it",
                                f"{self._file(stage * tp + rank)} and {self._file(stage * tp + copy)}",
                                f"{name}.{part}, {letter}",
                            )
            parts[f"q_proj.{part}"] = torch.cat([one[0] for one in split])
            parts[f"k_proj.{part}"] = torch.cat([one[1] for one in split[::repeats]])
            parts[f"v_proj.{part}"] = torch.cat([one[2] for one in split[::repeats]])
        if config.family.fused:
            yield f"{to}.qkv_proj.weight", torch.cat([parts[f"{one}_proj.weight"] for one in "qkv"])
            self._change([f"{to}.qkv_proj"], shares, row_parallel=False)
            return
        for part, tensor in parts.items():
            yield f"{to}.{part}", tensor
        self._change([f"{to}.{one}_proj" for one in "qkv"], shares, row_parallel=False)

    def _row(self, stage: int, name: str, to: str, columns: int, biased: bool) -> Iterator[tuple[str, Any]]:
        """A row-parallel layer: ranks hold slices of its inputs, and the same bias."""
        import torch

        config, tp = self.checkpoint.config, self.checkpoint.tp
        share = self._share(columns, f"inputs of {name}")
        shares = self._linears(stage, name, [config.whole("hidden_size")] * tp, [share] * tp, biased)
        yield f"{to}.weight", torch.cat([one["weight"] for one in shares], dim=1)
        if biased:
            yield f"{to}.bias", shares[0]["bias"]
        self._change([to], shares, row_parallel=True)

    def _mlp(self, stage: int, at: str, to: str) -> Iterator[tuple[str, Any]]:
        """`fc` is the gate projection (activated), `gate` the up projection; fused, up comes before gate."""
        import torch

        config, tp = self.checkpoint.config, self.checkpoint.tp
        hidden, inner = config.whole("hidden_size"), config.whole("intermediate_size")
        share = self._share(inner, "intermediate_size")
        biased = bool(config.values.get("mlp_bias"))
        if config.family.fused and config["hidden_act"] not in ("swiglu", "geglu"):
            raise bad(
                "the engine would not take the MLP as a gated one",
                CONFIG,
                f"hidden_act = {config['hidden_act']!r}",
                'Write "swiglu" for this family.',
            )
        fused = f"{at}.fused_fc" if f"{at}.fused_fc.weight" in self.checkpoint.names[stage * tp] else ""
        if config.family.fused or fused:
            name = fused or f"{at}.fc"
            shares = self._linears(stage, name, [2 * share] * tp, [hidden] * tp, biased)
            for part in ("weight", "bias") if biased else ("weight",):
                gate = torch.cat([one[part][share:] for one in shares])
                up = torch.cat([one[part][:share] for one in shares])
                if config.family.fused:
                    yield f"{to}.gate_up_proj.{part}", torch.cat([gate, up])
                else:
                    yield f"{to}.gate_proj.{part}", gate
                    yield f"{to}.up_proj.{part}", up
            modules = ["gate_up_proj"] if config.family.fused else ["gate_proj", "up_proj"]
            self._change([f"{to}.{module}" for module in modules], shares, row_parallel=False)
        else:
            for ours, theirs in (("fc", "gate_proj"), ("gate", "up_proj")):
                shares = self._linears(stage, f"{at}.{ours}", [share] * tp, [hidden] * tp, biased)
                for part in ("weight", "bias") if biased else ("weight",):
                    yield f"{to}.{theirs}.{part}", torch.cat([one[part] for one in shares])
                self._change([f"{to}.{theirs}"], shares, row_parallel=False)
        yield from self._row(stage, f"{at}.proj", f"{to}.down_proj", inner, biased)

    def _experts(self, stage: int, at: str, to: str) -> Iterator[tuple[str, Any]]:
        """Every rank holds a share of each expert, all experts in one tensor; `fc` is up, then gate."""
        import torch

        config, tp = self.checkpoint.config, self.checkpoint.tp
        block, gate, up, down = config.family.experts or ("", "", "", "")
        count, hidden = config.whole("num_experts"), config.whole("hidden_size")
        size = "moe_intermediate_size" if "moe_intermediate_size" in config.values else "intermediate_size"
        share = self._share(config.whole(size), size)
        if config["hidden_act"] not in ("swiglu", "geglu"):
            raise bad(
                "the engine would not take the experts as gated ones",
                CONFIG,
                f"hidden_act = {config['hidden_act']!r}",
                'Write "swiglu" for this family.',
            )
        yield (
            f"{to}.{block}.gate.weight",
            self._common(stage, f"{at}.router.weight", (count, hidden), "a router", "float32"),
        )
        for number in range(count):
            expert = f"{to}.{block}.experts.{number}"
            shares = self._folded(self._linears(stage, f"{at}.fc", [2 * share] * tp, [hidden] * tp, False, number))
            yield f"{expert}.{up}.weight", torch.cat([one["weight"][:share] for one in shares])
            yield f"{expert}.{gate}.weight", torch.cat([one["weight"][share:] for one in shares])
            self._change([f"{expert}.{gate}", f"{expert}.{up}"], shares, row_parallel=False)
            shares = self._folded(self._linears(stage, f"{at}.proj", [hidden] * tp, [share] * tp, False, number))
            yield f"{expert}.{down}.weight", torch.cat([one["weight"] for one in shares], dim=1)
            self._change([f"{expert}.{down}"], shares, row_parallel=True)

    def _folded(self, shares: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for share in shares if self.fold_experts else []:
            factors = share["linear"].tensors.pop("prequant_scaling_factor", None)
            if factors is not None:
                share["weight"] = share["weight"] * factors.float().reshape(1, -1)
        return shares

    def _embedding(self) -> Any:
        import torch

        config, tp = self.checkpoint.config, self.checkpoint.tp
        vocabulary, hidden = config.whole("vocab_size"), config.whole("hidden_size")
        parallel = bool(config["use_parallel_embedding"]) if config.family.norm_offset == 0 else tp > 1
        name = "transformer.vocab_embedding.weight"
        if not parallel or tp == 1:
            return self._plain(0, name, (vocabulary, hidden))
        if config["embedding_sharding_dim"] == 1:
            shape = (vocabulary, self._share(hidden, "hidden_size"))
            return torch.cat([self._plain(rank, name, shape) for rank in range(tp)], dim=1)
        shape = (-(-vocabulary // tp), hidden)
        return torch.cat([self._plain(rank, name, shape) for rank in range(tp)])[:vocabulary]

    def _head(self, stage: int) -> Iterator[tuple[str, Any]]:
        import torch

        config, tp = self.checkpoint.config, self.checkpoint.tp
        vocabulary, hidden = config.whole("vocab_size"), config.whole("hidden_size")
        shares = self._linears(stage, "lm_head", [-(-vocabulary // tp)] * tp, [hidden] * tp, biased=False)
        yield "lm_head.weight", torch.cat([one["weight"] for one in shares])[:vocabulary]
        self._change(["lm_head"], shares, row_parallel=False)

    def _norm(self, stage: int, name: str) -> Any:
        """A norm's weight, the family's offset taken off; all ranks of the stage must agree."""
        config = self.checkpoint.config
        size = config.whole("head_size" if name.endswith(("q_layernorm", "k_layernorm")) else "hidden_size")
        return self._common(stage, f"{name}.weight", (size,), "a norm") - config.family.norm_offset

    def _common(self, stage: int, name: str, shape: tuple[int, ...], what: str, dtype: str | None = None) -> Any:
        """A tensor that all ranks of a stage hold alike."""
        import torch

        first = stage * self.checkpoint.tp
        tensor = self._plain(first, name, shape, dtype)
        for rank in range(first + 1, first + self.checkpoint.tp):
            if not torch.equal(tensor, self._plain(rank, name, shape, dtype)):
                raise bad(f"ranks disagree on {what}", f"{self._file(first)} and {self._file(rank)}", name)
        return tensor

    def _linears(
        self, stage: int, name: str, rows: list[int], columns: list[int], biased: bool, expert: int | None = None
    ) -> list[dict[str, Any]]:
        """Each rank's {"weight", "bias", "linear"} of a layer, or of one expert of it, dequantized."""
        found = []
        algo, group = self.checkpoint.algo(name)
        for part, (row, column) in enumerate(zip(rows, columns, strict=True)):
            rank = stage * self.checkpoint.tp + part
            linear = Linear(name, self._file(rank), algo, group, row, column, dtype=self._dtype)
            for suffix in ("weight", *(("bias",) if biased else ()), *SCALES):
                if f"{name}.{suffix}" in self.checkpoint.names[rank]:
                    linear.tensors[suffix] = self._get(rank, f"{name}.{suffix}", expert)
            if biased and "bias" not in linear.tensors:
                raise bad(
                    "a bias that the engine needs is not in the checkpoint",
                    linear.where,
                    f"{name}.bias, with attn_bias = {self.checkpoint.config.values.get('attn_bias')}"
                    + (" (the engine's default)" if "attn_bias" in self.checkpoint.config.defaults_used else ""),
                    "Write attn_bias and mlp_bias into config.json as the model has them.",
                )
            weight = dequantized(linear)
            found.append({"weight": weight, "linear": linear})
            if biased:
                found[-1]["bias"] = linear.tensors["bias"].float()
        self.algos[algo] = self.algos.get(algo, 0) + 1
        return found

    def _change(self, modules: list[str], shares: list[dict[str, Any]], row_parallel: bool) -> None:
        """Note what happens to the layer's input; factors of row-parallel ranks are put side by side."""
        import torch

        linears: list[Linear] = [share["linear"] for share in shares]

        def joined(part: str) -> Any:
            if part not in linears[0].tensors:
                return None
            each = [linear.tensors[part].float().reshape(-1) for linear in linears]
            if not row_parallel:
                if not all(torch.equal(each[0], other) for other in each):
                    raise bad("ranks disagree on a factor of their common input", linears[0].name, part)
                return each[0]
            if part == "activation_scaling_factor":
                if all(torch.equal(each[0], other) for other in each):
                    return each[0]
                each = [one.expand(linear.columns) for one, linear in zip(each, linears, strict=True)]
            return torch.cat(each)

        change = activation_change(linears[0], joined("prequant_scaling_factor"), joined("activation_scaling_factor"))
        if change is not None and self.fold_experts and ".experts." in modules[0]:
            self.unrounded = True
        elif change is not None:
            self.activations |= dict.fromkeys(modules, change)

    def _check_kv(self, stage: int, at: str) -> None:
        """Scales of the KV cache: there exactly when config.json says so, and positive numbers."""
        algo = self.checkpoint.quantization.get("kv_cache_quant_algo")
        for rank in range(stage * self.checkpoint.tp, (stage + 1) * self.checkpoint.tp):
            there = [scale for scale in _KV_SCALES if f"{at}.{scale}" in self.checkpoint.names[rank]]
            whole = "kv_cache_scaling_factor" in there or set(_KV_SCALES[:2]) <= set(there)
            if (algo in ("FP8", "INT8")) != whole:
                raise bad(
                    "the KV cache's precision in config.json is not that of the tensors",
                    self._file(rank),
                    f"kv_cache_quant_algo = {algo!r}, {at} has {', '.join(there) or 'no KV scales'}",
                    "Make the checkpoint again with the KV precision that you want.",
                )
            for scale in there:
                value = self._get(rank, f"{at}.{scale}")
                finite(value, f"{at}.{scale}", self._file(rank))
                if bool((value.float() <= 0).any()):
                    raise bad("a scale is zero or negative", self._file(rank), f"{at}.{scale}")

    @property
    def _dtype(self) -> str:
        return str(self.checkpoint.config["dtype"])

    def _plain(self, rank: int, name: str, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        """A tensor that is never quantized, in float32. It must be of config.json's dtype or of the one given."""
        if name not in self.checkpoint.names[rank]:
            raise bad(
                "a tensor that the engine needs is not in the checkpoint",
                self._file(rank),
                name,
                "Make the checkpoint again: the exporter left it out.",
            )
        tensor = self._get(rank, name)
        if tuple(tensor.shape) != shape:
            raise bad(
                "a tensor's shape is not the one that config.json asks for",
                self._file(rank),
                f"{name} is {list(tensor.shape)}, {list(shape)} would fit",
                "Make the checkpoint again: config.json and the rank files come from different runs.",
            )
        of_dtype(tensor, self._dtype if dtype is None else dtype, name, self._file(rank))
        finite(tensor, name, self._file(rank))
        return tensor.float()

    def _get(self, rank: int, name: str, expert: int | None = None) -> Any:
        """A tensor, or one expert's part of it; what all experts have in common is given to each."""
        from safetensors import SafetensorError

        self.used[rank].add(name)
        with contextlib.suppress(SafetensorError, OSError):
            if expert is None:
                return self.checkpoint.files[rank].get_tensor(name)
            part = self.checkpoint.files[rank].get_slice(name)
            shape = part.get_shape()
            if shape and shape[0] == self.checkpoint.config.whole("num_experts"):
                return part[expert]
            return self.checkpoint.files[rank].get_tensor(name)
        raise bad("a tensor cannot be read", self._file(rank), name, "Make the checkpoint again; see the disk.")

    def _share(self, size: int, what: str) -> int:
        if size % self.checkpoint.tp:
            raise bad("a size cannot be shared out over the ranks", "", f"{what} {size}, tp {self.checkpoint.tp}")
        return size // self.checkpoint.tp

    def _file(self, rank: int) -> str:
        return f"rank{rank}.safetensors"
