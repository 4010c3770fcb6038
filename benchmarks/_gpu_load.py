"""Load for the recording of a GPU: a random model of any size, and waves of requests at one engine."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.messages import Sampling
from workbench.jobs.engine import Answer, EngineClient, Generation

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}
"""Shapes of Llama 3 models, with eight KV heads."""

_MAKE = """
import json, sys, torch, transformers
folder, fields, device = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
config = transformers.LlamaConfig(**fields)
with torch.device("meta"):
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
model = model.to_empty(device=device)
for name, tensor in model.state_dict().items():
    if tensor.is_floating_point():
        torch.nn.init.ones_(tensor) if "norm" in name else torch.nn.init.normal_(tensor, std=0.02)
model.save_pretrained(folder, max_shard_size="4GB")
print(sum(parameter.numel() for parameter in model.parameters()))
"""


def make_random_llama(folder: Path, tokenizer: Path, size: str, device: str) -> int:
    """A Llama with random BF16 weights and the tokenizer files of another folder; its number of parameters.

    In a process of its own, so that nothing of it stays on the GPU.
    """
    words = json.loads((tokenizer / "tokenizer.json").read_bytes())
    vocabulary = max([*words["model"]["vocab"].values(), *(entry["id"] for entry in words["added_tokens"])]) + 1
    fields = {
        **SIZES[size],
        "num_key_value_heads": 8,
        "vocab_size": -(-vocabulary // 128) * 128,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-c", _MAKE, str(folder), json.dumps(fields), device]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the random model could not be made: {done.stderr[-2000:]}")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer / name).is_file():
            (folder / name).write_bytes((tokenizer / name).read_bytes())
    return int(done.stdout.split()[-1])


@dataclass(frozen=True)
class Wave:
    """What became of one wave; times are monotonic seconds."""

    requests: int
    start: float
    end: float
    input_tokens: int
    output_tokens: int
    failures: tuple[str, ...]

    @property
    def output_tok_s(self) -> float:
        return self.output_tokens / (self.end - self.start)


def run_wave(
    client: EngineClient,
    requests: int,
    lengths: tuple[int, int],
    answers: tuple[int, int],
    spread_s: float,
    chance: random.Random,
    now: Callable[[], float],
    timeout_s: float,
) -> Wave:
    """Send requests of different lengths within `spread_s` and wait for all. Prompts are random token ids: a random
    model says nothing in any language, and no two prompts share a prefix.
    """
    plan = sorted((chance.uniform(0, spread_s) if i else 0.0) for i in range(requests))
    start = now()
    generations: list[Generation] = []
    for due in plan:
        time.sleep(max(0.0, start + due - now()))
        ids = [chance.randrange(100, 4000) for _ in range(chance.randint(*lengths))]
        sampling = Sampling(max_tokens=chance.randint(*answers), ignore_eos=True)
        generations.append(client.submit(ids=ids, sampling=sampling))
    deadline = time.monotonic() + timeout_s
    results: list[Answer] = [g.result(max(1.0, deadline - time.monotonic())) for g in generations]
    return Wave(
        requests=requests,
        start=start,
        end=now(),
        input_tokens=sum(r.usage.input_tokens for r in results if r.usage is not None),
        output_tokens=sum(r.output_tokens for r in results),
        failures=tuple(r.failure.what for r in results if r.failure is not None),
    )


def describe(device: str) -> dict[str, Any]:
    """Versions of what served the engine, in the host's own environment."""
    code = "import torch, transformers, json; print(json.dumps([torch.__version__, transformers.__version__]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    torch_version, transformers_version = json.loads(done.stdout.splitlines()[-1])
    python = ".".join(map(str, sys.version_info[:3]))
    return {"device": device, "python": python, "torch": torch_version, "transformers": transformers_version}
