"""Parameter counts and layer widths computed from a config, against transformers' own classes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.models import make_real_tiny_folder
from workbench.core.model import read_model

TINY_PARAMETERS = 102_720
_COUNT = """
import json, sys, torch, transformers
out = []
for kind, fields in json.load(sys.stdin):
    config = transformers.CONFIG_MAPPING[kind](**fields, pad_token_id=0)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    saved = json.loads(config.to_json_string()) | {"architectures": [type(model).__name__]}
    widths = {m.in_features for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "head" not in n}
    out.append([kind, sum(p.numel() for p in model.parameters()), sorted(widths), saved])
print(json.dumps(out))
"""
BASE = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "max_position_embeddings": 64, "head_dim": 16,
}  # fmt: skip
NEOX = {k: v for k, v in BASE.items() if k not in ("num_key_value_heads", "head_dim")}
GPT = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 128, "n_positions": 64}
FALCON = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 128}
OPT = {"hidden_size": 64, "ffn_dim": 160, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 128,
       "max_position_embeddings": 64, "word_embed_proj_dim": 64}  # fmt: skip
DEEPSEEK = {**BASE, "num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "n_shared_experts": 1,
            "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1, "n_group": 1,
            "topk_group": 1}  # fmt: skip
MOE = {**BASE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
SHARED = {**MOE, "shared_expert_intermediate_size": 48}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((kind, BASE) for kind in (
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "starcoder2", "granite", "olmo",
        "olmo2", "olmo3", "cohere", "cohere2", "smollm3", "glm", "glm4", "exaone4", "nemotron", "stablelm")),
    ("phi", NEOX), ("phi", {**NEOX, "qk_layernorm": True}), ("gpt_neox", NEOX),
    ("gpt_neox", {**NEOX, "attention_bias": False}),
    ("gpt2", GPT), ("gpt_bigcode", GPT), ("gptj", {**GPT, "rotary_dim": 8}),
    ("bloom", {"hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": 128}),
    ("mpt", {"d_model": 64, "n_layers": 3, "n_heads": 4, "vocab_size": 128, "max_seq_len": 64}),
    ("opt", OPT), ("opt", {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False}),
    ("falcon", FALCON), ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon", {**FALCON, "multi_query": False, "bias": True, "parallel_attn": False}),
    ("mixtral", {**BASE, "num_local_experts": 4}), ("granitemoe", {**BASE, "num_local_experts": 4}),
    ("phimoe", {**BASE, "num_local_experts": 4, "lm_head_bias": True, "attention_bias": True}),
    ("olmoe", {**BASE, "num_experts": 4, "num_experts_per_tok": 2}),
    ("qwen2_moe", SHARED), ("qwen2_moe", {**SHARED, "decoder_sparse_step": 2}), ("qwen3_moe", MOE),
    ("deepseek_v2", DEEPSEEK), ("deepseek_v3", DEEPSEEK), ("deepseek_v3", {**DEEPSEEK, "q_lora_rank": None}),
    ("llama", {**BASE, "attention_bias": True, "mlp_bias": True}), ("qwen2", {**BASE, "tie_word_embeddings": True}),
    ("qwen3", {**BASE, "attention_bias": True}), ("cohere", {**BASE, "use_qk_norm": True}),
    ("starcoder2", {**BASE, "use_bias": False}), ("glm", {**BASE, "attention_bias": False}),
    ("stablelm", {**BASE, "use_qkv_bias": True, "qk_layernorm": True, "use_parallel_residual": True}),
]  # fmt: skip


@pytest.mark.slow
def test_computed_parameters_equal_those_of_transformers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COUNT],
        input=json.dumps(VARIANTS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    wrong = []
    for kind, parameters, widths, config in json.loads(done.stdout.splitlines()[-1]):
        (tmp_path / "config.json").write_text(json.dumps(config))
        spec = read_model(tmp_path, require_weights=False, require_tokenizer=False)
        if spec.parameters != parameters or not set(widths) <= set(spec.input_channels):
            wrong.append((kind, spec.parameters, parameters, spec.input_channels, widths))
    assert not wrong


@pytest.mark.slow
def test_folder_saved_by_transformers(tmp_path: Path) -> None:
    spec = read_model(make_real_tiny_folder(tmp_path / "real"))
    assert (spec.parameters, spec.dtype, spec.rope_theta) == (TINY_PARAMETERS, "bf16", 10_000.0)
    assert spec.rope_scaling is None and not spec.tied_embeddings
