"""A server's model list: the names there, the longest sequence, and by whose hand it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from workbench.core.endpoint import ServerKind


@dataclass(frozen=True)
class ModelList:
    """What `/models` says."""

    names: tuple[str, ...]
    max_seq_len: int | None = None
    """Of the model that was asked for; None: not reported."""
    server: ServerKind = "other"


_BY_OWNER: Mapping[str, ServerKind] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "tensorrt_llm": "trtllm",
    "triton inference server": "triton",
    "engine-workbench": "workbench",
}


def read_models(data: Any, model: str, *, url: str = "", server_header: str = "") -> ModelList | None:
    """The list in an answer; None when it is none. OpenAI's `data`, or llama.cpp's and Ollama's `models`."""
    entries = data.get("data", data.get("models")) if isinstance(data, dict) else data
    if not isinstance(entries, list):
        return None
    cards = [card for card in entries if isinstance(card, dict)]
    names = tuple(name for card in cards if isinstance(name := card.get("id", card.get("name")), str))
    own = next((card for card in cards if model in (card.get("id"), card.get("name"), card.get("root"))), None)
    return ModelList(names, _longest(own or {}), _server(cards, url, server_header))


def _longest(card: Mapping[str, Any]) -> int | None:
    meta = card.get("meta")
    places = (card.get("max_model_len"), card.get("max_seq_len"), card.get("context_length"))
    for value in (*places, meta.get("n_ctx") if isinstance(meta, dict) else None):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _server(cards: list[dict[str, Any]], url: str, header: str) -> ServerKind:
    if (urlsplit(url).hostname or "").endswith("api.openai.com"):
        return "openai"
    if "llama.cpp" in header.lower():
        return "llamacpp"
    for card in cards:
        owner = card.get("owned_by")
        if isinstance(owner, str) and owner.lower() in _BY_OWNER:
            return _BY_OWNER[owner.lower()]
    return "other"
