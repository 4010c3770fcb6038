"""Checkpoints by the real ModelOpt workers: seconds, GB/s, peak memory, against a plain load and `save_pretrained`.

    python benchmarks/checkpoints.py --model FOLDER --device cuda --precision bf16,fp8,int4_awq
    python benchmarks/checkpoints.py --random llama-8b --device cuda

Each step is a process of its own, as in a build; its peak host memory is the kernel's figure for that process. The last
line is JSON: the ratio is the full-precision convert's seconds over those of the plain save (at most 1.5), both whole
processes of the same run, the faster of `--repeat` each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._common import finish, table
from workbench.core.data import resource
from workbench.core.messages import Error, Log, Phase, Result, StepSpec, parse_message

CONVERTED = ("fp16", "bf16", "int8", "int4")
SHAPES = {
    "llama-8b": {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "intermediate": 14336, "vocabulary": 128256},
    "llama-1b": {"hidden": 2048, "layers": 16, "heads": 32, "kv_heads": 8, "intermediate": 8192, "vocabulary": 49152},
    "llama-tiny": {"hidden": 128, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate": 256, "vocabulary": 49152},
}
BAR_SECONDS, BAR_PEAK = 1.5, 1.6


def run(argv: list[str], spec: StepSpec | None = None) -> tuple[float, int, dict[str, Any]]:
    """A process to its end: (seconds, peak host bytes, result data; {"error": ...} where it failed)."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as raw:
        output = raw if spec is None else subprocess.PIPE
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=raw)
        assert process.stdin is not None
        if spec is not None:
            process.stdin.write(spec.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        data: dict[str, Any] = {"error": "no result"}
        for line in process.stdout or ():
            message = parse_message(line)
            if isinstance(message, Result):
                data = dict(message.data)
            elif isinstance(message, Error):
                data = {"error": f"{message.message}: {message.cause}"}
            elif isinstance(message, Phase):
                print(f"    {time.monotonic() - started:6.1f} s  {message.name}", flush=True)
            elif isinstance(message, Log):
                print(f"             {message.text[:160]}", flush=True)
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        if status:
            raw.seek(0)
            print(raw.read().decode("utf-8", "replace")[-3000:], file=sys.stderr)
    return seconds, usage.ru_maxrss * 1024, data


def plain_save(model: Path, out: Path, dtype: str) -> None:
    """What there is to beat: load and save with transformers alone."""
    import torch
    import transformers

    loaded = transformers.AutoModelForCausalLM.from_pretrained(str(model), dtype=getattr(torch, dtype))
    loaded.save_pretrained(str(out))


def make_random(shape: str, folder: Path, device: str) -> None:
    """A Llama of that shape with random weights in BF16, and a tokenizer trained on the calibration text."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    sizes = SHAPES[shape]
    config = transformers.LlamaConfig(
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        intermediate_size=sizes["intermediate"],
        vocab_size=sizes["vocabulary"],
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(str(folder))
    lines = resource("calibration.jsonl").read_text("utf-8").splitlines()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([json.loads(line)["text"] for line in lines], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(str(folder))


def step(model: Path, precision: str, out: Path, given: argparse.Namespace) -> tuple[float, int, dict[str, Any]]:
    """One checkpoint by its worker."""
    convert = precision in CONVERTED
    worker = "modelopt.convert" if convert else "modelopt.quantize"
    settings: dict[str, Any] = {"precision": precision, "device": "cpu" if convert else given.device}
    settings |= {"tp": given.tp, "pp": given.pp}
    inputs = {"model": str(model)}
    if not convert:
        settings["calibration"] = {"samples": given.samples, "length": given.length, "batch_size": given.batch_size}
        inputs["calibration"] = str(given.calibration or resource("calibration.jsonl"))
    spec = StepSpec(worker=worker, settings=settings, inputs=inputs, output=str(out))
    out.mkdir(parents=True)
    return run([sys.executable, "-m", f"workbench.workers.{worker}"], spec)


def verify(model: Path, precision: str, checkpoint: Path) -> dict[str, Any]:
    """The checkpoint read back and compared with its source; limits off, for the figures alone."""
    settings = {
        "precision": precision,
        "prompts": str(resource("verify_prompts.json")),
        "min_agreement": 0.0,
        "max_kl": 1e9,
        "max_logit_error": 1e9,
    }
    spec = StepSpec(
        worker="trtllm.verify",
        settings=settings,
        inputs={"checkpoint": str(checkpoint), "model": str(model)},
        output="",
    )
    _, _, data = run([sys.executable, "-m", "workbench.workers.trtllm.verify"], spec)
    keys = ("error", "agreement", "kl_nats", "perplexity", "source_perplexity", "layout_logit_error")
    return {key: data[key] for key in keys if data.get(key) is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--random", choices=SHAPES)
    parser.add_argument("--precision", default="bf16,fp8")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--tp", type=int, default=1)
    parser.add_argument("--pp", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--plain-save", nargs=3, metavar=("MODEL", "OUT", "DTYPE"), help=argparse.SUPPRESS)
    parser.add_argument("--make-random", nargs=3, metavar=("SHAPE", "OUT", "DEVICE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain_save:
        return plain_save(Path(given.plain_save[0]), Path(given.plain_save[1]), given.plain_save[2])
    if given.make_random:
        return make_random(given.make_random[0], Path(given.make_random[1]), given.make_random[2])
    if (given.model is None) == (given.random is None):
        parser.error("give --model or --random")
    me = [sys.executable, "-m", "benchmarks.checkpoints"]
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="checkpoints-") as scratch:
        place = Path(scratch)
        model = given.model
        if model is None:
            model = place / given.random
            subprocess.run([*me, "--make-random", given.random, str(model), given.device], check=True)
        size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
        print(f"{given.random or model.name}: {size / 1e9:.2f} GB", flush=True)
        rows, detail = [], {}
        for precision in given.precision.split(","):
            convert = precision in CONVERTED
            runs = []
            for turn in range(given.repeat if convert else 1):
                out = place / f"{precision}-{turn}"
                plain = None
                if convert:
                    dtype = {"fp16": "float16"}.get(precision, "bfloat16")
                    print(f"  save_pretrained, {dtype}", flush=True)
                    plain = run([*me, "--plain-save", str(model), str(place / "plain"), dtype])[:2]
                    shutil.rmtree(place / "plain", ignore_errors=True)
                print(f"  {precision}", flush=True)
                seconds, peak, data = step(model, precision, out, given)
                quality = verify(model, precision, out) if given.verify and "error" not in data else {}
                shutil.rmtree(out, ignore_errors=True)
                runs.append((seconds, peak, data, plain, quality))
            seconds, peak, data, plain, quality = min(runs, key=lambda each: each[0])
            found: dict[str, Any] = {
                "seconds": round(seconds, 1),
                "phase_seconds": data.get("phase_seconds"),
                "gb_per_s": round(size / 1e9 / float(data.get("seconds") or seconds), 3),
                "host_peak_ratio": round(peak / size, 3),
                "host_peak_bytes": peak,
                "gpu_peak_bytes": data.get("gpu_peak_bytes"),
                "bytes": data.get("weight_bytes"),
                **({"error": data["error"]} if "error" in data else {}),
                **quality,
            }
            plains = [each[3] for each in runs if each[3] is not None]
            if plains:
                best = min(plains)
                found |= {"plain_seconds": round(best[0], 1), "plain_peak_ratio": round(best[1] / size, 3)}
                found["time_ratio"] = round(seconds / best[0], 3)
            detail[precision] = found
            gpu = data.get("gpu_peak_bytes")
            rows.append(
                (
                    precision,
                    f"{seconds:.1f}",
                    found["gb_per_s"],
                    f"{peak / size:.2f}",
                    f"{gpu / 2**30:.2f}" if gpu else "not used",
                    found.get("time_ratio", ""),
                    found.get("agreement", found.get("error", "")),
                )
            )
            print(json.dumps({precision: found}), flush=True)
        print(table(("precision", "s", "GB/s", "host peak/size", "GPU peak GiB", "x plain", "agreement"), rows))
        ratios = [found["time_ratio"] for found in detail.values() if "time_ratio" in found]
        finish("checkpoints", max(ratios, default=0.0), BAR_SECONDS, {"bytes": size, **detail}, at_most=True)


if __name__ == "__main__":
    main()
