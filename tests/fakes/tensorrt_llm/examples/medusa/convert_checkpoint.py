"""A stand-in for TensorRT-LLM's examples/medusa/convert_checkpoint.py; see the one of eagle beside it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model_dir", required=True)
    parser.add_argument("--medusa_model_dir", required=True)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--dtype", default="float16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--tp_size", type=int, default=1)
    parser.add_argument("--pp_size", type=int, default=1)
    parser.add_argument("--num_medusa_heads", type=int, default=4)
    parser.add_argument("--num_medusa_layers", type=int, default=1)
    parser.add_argument("--max_medusa_token_len", type=int, default=63)
    parser.add_argument("--model_type", default="llama")
    args = parser.parse_args()
    assert args.model_type in ["llama", "mixtral", "qwen2"], "Invalid model type"
    assert Path(args.medusa_model_dir).is_dir()
    config = {
        "architecture": "MedusaForCausalLM", "dtype": args.dtype, "max_draft_len": args.max_medusa_token_len,
        "num_medusa_heads": args.num_medusa_heads, "num_medusa_layers": args.num_medusa_layers,
        "model_type": args.model_type,
    }  # fmt: skip
    out = Path(args.output_dir)
    (out / "config.json").write_text(json.dumps(config))
    for rank in range(args.tp_size * args.pp_size):
        save_file({"medusa_heads.0.lm_head.weight": np.zeros((2, 2), np.float16)}, out / f"rank{rank}.safetensors")


main()
