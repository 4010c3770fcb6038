"""The model of tests/fakes/markov.py as an ONNX folder, made by hand in a second instead of exported.

The graph has the inputs and outputs of an exported decoder of two layers with one KV head. Its logits are rows of a
table, by the last token: about those of the exported one. Its cache grows by what a decoder would write, the position
in each element, so that caches that are mixed up or not cut are seen. Run as a program with the interpreter that has
onnx: `python -m tests.fakes.markov_onnx FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.fakes import markov

LAYERS, HEAD_SIZE = 2, 64
BALLAST = 1024
"""Width of a multiplication by zeros, so that a token takes some tenths of a millisecond and answers last."""
KV_BYTES_PER_TOKEN = 2 * LAYERS * HEAD_SIZE * 4
BEST, SECOND_BEST = 4.0, 1.5
"""Logits of the next token and of `markov.SECOND`; all others are 0."""


def table() -> Any:
    """Logits, float32 (vocabulary, vocabulary): a row for each last token."""
    import numpy as np

    known = markov.vocabulary()
    rows = np.zeros((len(known), len(known)), dtype=np.float32)
    chain = markov.answer_ids()
    rows[:, known[markov.SECOND]] = SECOND_BEST
    successor = dict.fromkeys(known.values(), chain[0])
    successor.update(zip(chain, [*chain[1:], chain[0]], strict=True))
    for before, after in successor.items():
        rows[before, after] = BEST
    return rows


def graph() -> Any:
    """The ModelProto."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    rows = table()
    constants = {
        "table": rows,
        "axes": np.array([1, 3], dtype=np.int64),
        "width": np.array([1, 1, 1, HEAD_SIZE], dtype=np.int64),
        "last": np.array([2], dtype=np.int64),
        "wide": np.array([1, 1, BALLAST], dtype=np.int64),
        "ballast": np.zeros((BALLAST, BALLAST), dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["position_ids"], ["positions"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["positions", "last"], ["narrow"]),
        helper.make_node("Expand", ["narrow", "wide"], ["broad"]),
        helper.make_node("MatMul", ["broad", "ballast"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros", "last"], ["zero"]),
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("Add", ["rows", "zero"], ["logits"]),
        helper.make_node("Unsqueeze", ["positions", "axes"], ["column"]),
        helper.make_node("Expand", ["column", "width"], ["new"]),
    ]
    inputs = [value(name, TensorProto.INT64, "batch", "sequence") for name in ("input_ids", "position_ids")]
    inputs.insert(1, value("attention_mask", TensorProto.INT64, "batch", "past + sequence"))
    outputs = [value("logits", TensorProto.FLOAT, "batch", "sequence", len(rows))]
    for layer in range(LAYERS):
        for part in ("key", "value"):
            past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
            inputs.append(value(past, TensorProto.FLOAT, "batch", 1, "past", HEAD_SIZE))
            outputs.append(value(present, TensorProto.FLOAT, "batch", 1, "past + sequence", HEAD_SIZE))
            nodes.append(helper.make_node("Concat", [past, "new"], [present], axis=2))
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(nodes, "markov", inputs, outputs, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def write(folder: Path) -> None:
    """The ONNX folder, as the convert step leaves it."""
    from workbench.workers.onnx.common import save_model
    from workbench.workers.onnx.convert import describe
    from workbench.workers.onnx.genai_config import write_genai_config

    folder.mkdir(parents=True)
    known = markov.vocabulary()
    save_model(graph(), folder)
    config = {
        "model_type": "llama",
        "hidden_size": HEAD_SIZE,
        "num_attention_heads": 1,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": markov.MAX_SEQ_LEN,
        "bos_token_id": known[markov.START],
        "eos_token_id": known[markov.END],
    }
    tokenizer = {
        "bos_token": markov.START,
        "eos_token": markov.END,
        "chat_template": markov.CHAT_TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    markov.tokenizer().save(str(folder / "tokenizer.json"))
    facts = {"config.json": config, "tokenizer_config.json": tokenizer}
    for name, data in facts.items():
        (folder / name).write_text(json.dumps(data))
    described = describe(folder, "fp32", "fp32", None)
    write_genai_config(folder, described)
    (folder / "onnx.json").write_text(json.dumps(described))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
