"""Makes a real engine whose greedy answer is known: a tiny Llama in which each token has one successor.

The embeddings are one-hot, attention and MLP add nothing, and row `b` of the output matrix is the embedding
of the token that `b` follows. After any other token comes the start of `PIECES`, which ends with the end
token; after that it starts again. So `ANSWER` is what the engine says to everything, through all of the real
machinery.
Run as a program it writes the engine: `python markov.py FOLDER` (half a minute, most of it imports).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PIECES = [
    "Hello",
    "\u0120\u00f0\u0141",
    "\u0130",
    "\u012b",
    "\u0120wor",
    "ld",
    ",\u0120",
    "\u00e4\u00bd",
    "\u0142",
    ".",
]
"""The answer's tokens in GPT-2's byte alphabet; the emoji is spread over three of them, the Chinese sign over
two.
"""
ANSWER = "Hello \U0001f389 world, \u4f60."
START, END, FIRST = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIAL = (FIRST, START, END)
SECOND = "z"
"""The second best token everywhere: what comes when a penalty forbids the best."""
MAX_SEQ_LEN = 512
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{% if message['content'] == 'raise' %}{{ raise_exception('this conversation is not liked') }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def vocabulary() -> dict[str, int]:
    """Special tokens, the 256 bytes, and the pieces."""
    from workbench.workers.hosts.text import byte_alphabet

    merged = (left + right for left, right in merges())
    return {token: number for number, token in enumerate([*SPECIAL, *sorted(byte_alphabet()), *merged])}


def merges() -> list[tuple[str, str]]:
    """How the pieces grow, a character at a time."""
    return [(piece[:n], piece[n]) for piece in PIECES for n in range(1, len(piece))]


def answer_ids() -> list[int]:
    """The tokens of the answer, with the end token."""
    known = vocabulary()
    return [known[piece] for piece in [*PIECES, END]]


def tokenizer() -> Any:
    """A byte-level tokenizer of the tokenizers library."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    # No other merges than the answer's: elsewhere text becomes single bytes, so `"x" * 90` is 90 tokens.
    made = Tokenizer(models.BPE(vocab=vocabulary(), merges=merges()))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return made


def write_tokenizer(folder: Path) -> None:
    """The tokenizer with the chat template, as Hugging Face's files."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(),
        bos_token=START,
        eos_token=END,
        unk_token=FIRST,
        pad_token=END,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_SEQ_LEN,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def write_model(folder: Path) -> None:
    """The model as a Hugging Face folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    known = vocabulary()
    hidden = 64 * (len(known) // 64 + 1)
    config = LlamaConfig(
        vocab_size=len(known),
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=hidden // 64,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=MAX_SEQ_LEN,
        bos_token_id=known[START],
        eos_token_id=known[END],
        pad_token_id=known[END],
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    chain = answer_ids()
    successor = dict.fromkeys(known.values(), chain[0])
    successor.update(zip(chain, [*chain[1:], chain[0]], strict=True))
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
        model.model.embed_tokens.weight[:, : len(known)] = torch.eye(len(known))
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for before, after in successor.items():
            # A quarter: greedy stays certain and sampling at temperature 1 has something to choose.
            model.lm_head.weight[after, before] = 0.25
        model.lm_head.weight[known[SECOND]] = 0.1
    model.save_pretrained(folder)


def write_engine(folder: Path) -> None:
    """The engine: the model exported by optimum-intel, with OpenVINO's tokenizers."""
    import sys

    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    from optimum.exporters.openvino import main_export

    model = folder / "hf"
    model.mkdir(parents=True)
    write_tokenizer(model)
    write_model(model)
    main_export(str(model), folder / "engine", task="text-generation-with-past", convert_tokenizer=True)


def make_engine(folder: Path) -> Path:
    """Write the engine in a process of its own; the engine's folder (the Hugging Face folder is `hf` beside
    it).
    """
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.markov", str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "engine"


def shared_engine(factory: pytest.TempPathFactory) -> Path:
    """The engine that all tests of a run share, made by the first that asks; nobody may change it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (root / "markov.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = root / "markov"
        return folder / "engine" if (folder / "made").exists() else _made(folder)


def _made(folder: Path) -> Path:
    engine = make_engine(folder)
    (folder / "made").touch()
    return engine


if __name__ == "__main__":
    write_engine(Path(sys.argv[1]))
