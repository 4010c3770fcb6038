"""Triton's generate API as data: a prompt in, JSON events out. No sockets here.

Layout of Triton's generate extension; names of the fields are those of the model that answers: TensorRT-LLM's ensemble
and BLS, or its llmapi model. It knows no messages and no `[DONE]`: a stream ends with its body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from workbench.core.messages import ChatTurn

Form = Literal["triton_generate", "triton_llmapi"]
"""Which fields the model takes."""

FIELDS: Mapping[Form, Mapping[str, str]] = {
    "triton_generate": {
        "max_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "repetition_penalty": "repetition_penalty",
        "seed": "seed",
        "stop": "stop_words",
        "ignore_eos": "end_id",
    },
    "triton_llmapi": {
        "max_tokens": "sampling_param_max_tokens",
        "temperature": "sampling_param_temperature",
        "top_p": "sampling_param_top_p",
        "top_k": "sampling_param_top_k",
        "seed": "sampling_param_seed",
        "stop": "sampling_param_stop",
    },
}
"""`Sampling` field -> name in the request."""
_NO_END = -1
"""An end id that no token has: the answer is as long as was asked for."""
METRICS_PORT = 8002


class Generated(NamedTuple):
    """What one event says."""

    text: str
    tokens: int = 0
    """That came with it; 0: not reported."""
    input_tokens: int | None = None


def generate_path(model: str) -> str:
    """Below the server's root."""
    return f"/v2/models/{quote(model, safe='')}/generate_stream"


def generate_body(fields: Mapping[str, str], values: Mapping[str, Any], prompt: str, *, stream: bool) -> dict[str, Any]:
    """The body of a request. `values`: settings that were set, by `Sampling`'s names; those that `fields` does not name
    are left out.
    """
    body: dict[str, Any] = {"text_input": prompt}
    if values.get("temperature") == 0 and "top_k" in fields:
        # The backend divides by the temperature; the best token alone is its own way of being greedy.
        values = {name: value for name, value in values.items() if name != "temperature"} | {"top_k": 1}
    for name, value in values.items():
        if name == "ignore_eos" and not value:
            continue
        if name in fields:
            body[fields[name]] = _NO_END if name == "ignore_eos" else value
    if fields.get("max_tokens") == "max_tokens":
        # Counted by the engine; a model without these inputs takes them for parameters and passes them over.
        return {**body, "stream": stream, "return_num_input_tokens": True, "return_num_output_tokens": True}
    return {**body, "streaming": stream}


def plain_prompt(messages: Sequence[ChatTurn]) -> str:
    """Messages as the one text that generate takes: there is no chat template on the way."""
    return "\n\n".join(turn.content for turn in messages)


def read_generated(data: Mapping[str, Any]) -> Generated | None:
    """None: it is no event of this API."""
    if "text_output" not in data:
        return None
    text = data["text_output"]
    first = text[0] if isinstance(text, list) and text else text
    given = _count(data.get("num_input_tokens"))
    return Generated(first if isinstance(first, str) else "", _count(data.get("num_output_tokens")) or 0, given)


def form_of(metadata: object) -> Form | None:
    """By a model's metadata (`GET v2/models/NAME`); None: it takes no text."""
    inputs = metadata.get("inputs") if isinstance(metadata, dict) else None
    names = {entry.get("name") for entry in inputs if isinstance(entry, dict)} if isinstance(inputs, list) else set()
    if "text_input" not in names:
        return None
    return "triton_llmapi" if FIELDS["triton_llmapi"]["max_tokens"] in names else "triton_generate"


def longest_sequence(config: object) -> int | None:
    """By the configuration of the preprocessing model that an export of the workbench brings."""
    parameters = config.get("parameters") if isinstance(config, dict) else None
    entry = parameters.get("max_seq_len") if isinstance(parameters, dict) else None
    value = entry.get("string_value") if isinstance(entry, dict) else None
    return int(value) if isinstance(value, str) and value.isdecimal() and int(value) > 0 else None


def metrics_places(root: str) -> tuple[str, ...]:
    """Where its metrics may be: a port of their own, two above HTTP's or the usual one."""
    parts = urlsplit(root)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    ports = dict.fromkeys(((parts.port or 8000) + 2, METRICS_PORT))
    return tuple(f"{parts.scheme}://{host}:{port}/metrics" for port in ports if port < 65536)


def _count(value: object) -> int | None:
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
