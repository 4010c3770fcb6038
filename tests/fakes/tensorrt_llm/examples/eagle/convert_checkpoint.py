"""A stand-in for TensorRT-LLM's examples/eagle/convert_checkpoint.py: its arguments, and files of its form without a
model's weights. Unknown arguments and folders that are not there end it as they end the real one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model_dir", required=True)
    parser.add_argument("--eagle_model_dir", required=True)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float16", "bfloat16", "float32"])
    parser.add_argument("--tp_size", type=int, default=1)
    parser.add_argument("--pp_size", type=int, default=1)
    parser.add_argument("--max_draft_len", type=int, default=63)
    parser.add_argument("--num_eagle_layers", type=int, default=4)
    parser.add_argument("--max_non_leaves_per_layer", type=int, default=10)
    args = parser.parse_args()
    assert args.pp_size == 1, "Pipeline parallelism is not supported in EAGLE yet."
    assert args.max_draft_len <= 256, "args.max_draft_len > 256 is not supported"
    heads = json.loads((Path(args.eagle_model_dir) / "config.json").read_text("utf-8"))
    if heads.get("broken"):
        print("size mismatch for fc.weight", file=sys.stderr)
        raise SystemExit(1)
    model = json.loads((Path(args.model_dir) / "config.json").read_text("utf-8"))
    config = {
        "architecture": "EagleForCausalLM", "dtype": args.dtype, "vocab_size": model["vocab_size"],
        "max_draft_len": args.max_draft_len, "num_eagle_layers": args.num_eagle_layers,
        "mapping": {"world_size": args.tp_size, "tp_size": args.tp_size, "pp_size": 1},
    }  # fmt: skip
    out = Path(args.output_dir)
    (out / "config.json").write_text(json.dumps(config))
    for rank in range(args.tp_size):
        save_file({"eagle_nets.0.drafter.fc.weight": np.zeros((2, 2), np.float16)}, out / f"rank{rank}.safetensors")
    print("Total time of converting checkpoints: 00:00:00")


main()
