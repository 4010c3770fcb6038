"""What transformers' own `generate` does on a GPU, measured in a process of its own: JSON lines, one a measurement."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any


def say(**found: Any) -> None:
    print(json.dumps(found), flush=True)


def copy_bandwidth(device: str) -> float:
    """Bytes read and written a second by copies of 4 GiB on the device (256 MiB on a CPU), the best of ten."""
    import torch

    count = 2**32 if device.startswith("cuda") else 2**28
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(10):
        wait(device)
        begin = time.perf_counter()
        target.copy_(source)
        wait(device)
        best = max(best, 2 * count / (time.perf_counter() - begin))
    return best


def wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def quantize(model: Any, precision: str) -> None:
    """As the toolchain does it at load."""
    from workbench.workers.pytorch.load import quantize_linears

    if precision in ("int8", "fp8"):
        quantize_linears(model, precision)


class FirstToken:
    """A logits processor that notes when the first token of an answer was ready to be chosen."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.at: float | None = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self.at is None:
            wait(self._device)
            self.at = time.perf_counter()
        return scores


def measure(model: Any, device: str, *, mode: str, batch: int, prompt: int, answer: int, read: int) -> None:
    """`generate` of one shape, three times: the first warms up and compiles, the best of the others counts."""
    import torch
    from transformers import LogitsProcessorList

    torch.manual_seed(batch)
    ids = torch.randint(100, 4000, (batch, prompt), device=device)
    options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    options |= {"cache_implementation": "static"} if mode == "compiled" else {"disable_compile": True}

    def generate() -> tuple[float, float]:
        """Seconds to the first token, and in all."""
        first = FirstToken(device)
        wait(device)
        begin = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(
                ids,
                min_new_tokens=answer,
                max_new_tokens=answer,
                logits_processor=LogitsProcessorList([first]),
                **options,
            )
        wait(device)
        end = time.perf_counter()
        assert out.shape[1] == prompt + answer and first.at is not None, out.shape
        return first.at - begin, end - begin

    _, cold = generate()
    ttft, whole = min((generate() for _ in range(2)), key=lambda pair: pair[1])
    say(
        way=f"generate, {mode}",
        requests=batch,
        prompt_tokens=prompt,
        answer_tokens=answer,
        output_tok_s=batch * answer / whole,
        decode_tok_s=batch * (answer - 1) / (whole - ttft),
        ttft_ms_p50=ttft * 1000,
        itl_ms_p50=(whole - ttft) * 1000 / (answer - 1),
        warm_up_s=cold - whole,
        read_bytes=read,
        gpu_bytes=torch.cuda.max_memory_reserved() if device.startswith("cuda") else None,
    )


def main() -> None:
    asked = json.loads(sys.argv[1])
    import torch
    import transformers

    device = asked["device"]
    say(bandwidth=copy_bandwidth(device))
    if asked.get("only_copy"):
        return
    folder = Path(asked["folder"])
    begin = time.perf_counter()
    straight = device.startswith("cuda") and importlib.util.find_spec("accelerate") is not None
    places = {"device_map": {"": torch.device(device)}} if straight else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **places).to(device).eval()
    head = model.get_output_embeddings().weight
    tied = head.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    every = sum({p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}.values())
    read = every if tied else every - model.get_input_embeddings().weight.numel() * head.element_size()
    config = model.config
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    say(
        load_s=time.perf_counter() - begin,
        weight_bytes=every,
        read_bytes=read,
        kv_bytes_per_token=2 * config.num_hidden_layers * config.num_key_value_heads * head_size * 2,
        attention=str(config._attn_implementation),
    )
    precision = asked.get("precision", "bf16")
    if precision != "bf16":
        linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not model.lm_head]
        read -= sum(m.weight.numel() for m in linears)  # from two bytes to one
        quantize(model, precision)
    for mode in asked["modes"]:
        for batch in asked["batches"]:
            torch._dynamo.reset()
            try:
                measure(
                    model, device, mode=mode, batch=batch, prompt=asked["prompt"], answer=asked["answer"], read=read
                )
            except Exception as error:
                say(way=f"generate, {mode}", requests=batch, failure=f"{type(error).__name__}: {error}"[:400])


if __name__ == "__main__":
    main()
