"""From tokens to text and from a chat to a prompt: what every engine host does the same way.

Incremental detokenizing that never sends half a character, stop strings that may be spread over several
tokens, and chat templates rendered as transformers renders them, without importing it.
"""

from __future__ import annotations

import codecs
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

REPLACEMENT = "\ufffd"


class Detokenizer(Protocol):
    """Text of one answer as its tokens come."""

    def feed(self, ids: Sequence[int]) -> str:
        """What `ids` add to the text; empty while a character is incomplete."""

    def flush(self) -> str:
        """What is still held back, at the end of the answer."""


class ByteLevelDetokenizer:
    """For tokenizers whose tokens are byte strings (GPT-2's alphabet: SmolLM2, Llama 3, Qwen): no call per
    token.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, ids: Sequence[int]) -> str:
        pieces = self._pieces
        return self._decode(b"".join([pieces[i] for i in ids if 0 <= i < len(pieces)]))

    def flush(self) -> str:
        return self._decode(b"", True)


class WindowDetokenizer:
    """For any other tokenizer: decodes a short window of tokens again and sends what is new at its end.

    `decode` gives the text of a list of ids and marks incomplete characters with U+FFFD. An incomplete character shows
    as three of those at most, so no more than that is held back at the end.
    """

    _HELD_CHARACTERS = 3
    _WINDOW_TOKENS = 32
    _CONTEXT_TOKENS = 12
    """More than the held characters can have (U+FFFD itself has three bytes), so that these stay in the window."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._sent = ""

    def feed(self, ids: Sequence[int]) -> str:
        self._ids.extend(ids)
        text = self._decode(self._ids)
        new = self._send(self._settled(text))
        if len(self._ids) > self._WINDOW_TOKENS:
            # The context keeps a tokenizer that treats the first token apart from treating these so.
            held = len(text) - len(self._sent)
            self._ids = self._ids[-self._CONTEXT_TOKENS :]
            text = self._decode(self._ids)
            self._sent = text[: len(text) - held]
        return new

    def flush(self) -> str:
        return self._send(self._decode(self._ids))

    def _settled(self, text: str) -> str:
        """The text without what may be an incomplete character at its end."""
        return text[: max(len(text.rstrip(REPLACEMENT)), len(text) - self._HELD_CHARACTERS)]

    def _send(self, text: str) -> str:
        if len(text) <= len(self._sent):
            return ""
        new = text[len(self._sent) :]
        self._sent = text
        return new


def byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: the printable character that stands for each byte in a byte-level vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    alphabet = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in set(plain))
    alphabet.update({chr(256 + rank): byte for rank, byte in enumerate(others)})
    return alphabet


def byte_pieces(tokenizer_json: Path) -> list[bytes] | None:
    """Bytes of every token of a byte-level tokenizer, special tokens empty; None for any other tokenizer.

    Reads Hugging Face's tokenizer.json. None too when it is missing, unreadable or holds a token outside the
    alphabet.
    """
    try:
        data = json.loads(tokenizer_json.read_bytes())
        decoder = data["decoder"]
        if decoder["type"] == "Sequence" and len(decoder["decoders"]) == 1:
            decoder = decoder["decoders"][0]
        if decoder["type"] != "ByteLevel":
            return None
        added = data.get("added_tokens") or []
        vocabulary: dict[str, int] = data["model"]["vocab"]
        taken = {entry["id"] for entry in added}
        pieces = [b""] * (max([*vocabulary.values(), *taken], default=-1) + 1)
        alphabet = byte_alphabet()
        for token, index in vocabulary.items():
            if index not in taken:
                pieces[index] = bytes([alphabet[character] for character in token])
        for entry in added:
            pieces[entry["id"]] = b"" if entry.get("special") else entry["content"].encode()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return pieces


def detokenizers(folder: Path, decode: Callable[[list[int]], str]) -> Callable[[], Detokenizer]:
    """A maker of detokenizers for the tokenizer in `folder`; `decode` is the engine's own way, used where
    needed.
    """
    pieces = byte_pieces(folder / "tokenizer.json")
    if pieces is None:
        return lambda: WindowDetokenizer(decode)
    known = pieces
    return lambda: ByteLevelDetokenizer(known)


class StopFinder:
    """Finds the first stop string in a stream of text; holds back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def feed(self, text: str, *, last: bool = False) -> tuple[str, bool]:
        """Text that may be sent, and whether a stop string was found (the text then ends before it)."""
        if not self._stops:
            return text, False
        text = self._held + text
        places = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if places:
            self._held = ""
            return text[: min(places)], True
        keep = 0 if last else max(self._overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Length of the longest proper start of `stop` that `text` ends with."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


class TemplateError(ValueError):
    """The chat template does not accept the conversation, or is broken."""


class ChatTemplate:
    """A model's chat template, rendered as transformers renders it (`apply_chat_template`, no tools).

    Templates come with downloaded models, so they run in Jinja's sandbox.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        import jinja2
        import jinja2.ext
        import jinja2.nodes
        import jinja2.sandbox

        class Generation(jinja2.ext.Extension):
            """`{% generation %}` marks the assistant's part for training; here it is plain text."""

            tags = {"generation"}

            def parse(self, parser: Any) -> Any:
                line = next(parser.stream).lineno
                body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
                return jinja2.nodes.Scope(body).set_lineno(line)

        def raise_exception(message: str) -> None:
            raise jinja2.TemplateError(message)

        def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
            return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = tojson
        environment.globals["raise_exception"] = raise_exception
        environment.globals["strftime_now"] = lambda form: dt.datetime.now().strftime(form)
        self._errors: tuple[type[Exception], ...] = (
            jinja2.TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        )
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise TemplateError(f"line {getattr(error, 'lineno', '?')}: {error}") from error

    def render(self, turns: Sequence[Mapping[str, str]]) -> str:
        """The prompt for a conversation, up to where the assistant begins to speak. Raises TemplateError."""
        try:
            return self._template.render(
                messages=[dict(turn) for turn in turns],
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._special_tokens,
            )
        except self._errors as error:
            raise TemplateError(str(error) or type(error).__name__) from error


def load_chat_template(folder: Path) -> ChatTemplate | None:
    """The chat template of a model or engine folder; None when it has none.

    `chat_template.jinja` wins over `chat_template` in tokenizer_config.json, where a list of named templates
    counts by the one named `default`. Raises TemplateError when it is there but broken.
    """
    config = _json_object(folder / "tokenizer_config.json")
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            source = file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise TemplateError(f"{file.name}: {error}") from error
    if not isinstance(source, str):
        return None
    special = {**_json_object(folder / "special_tokens_map.json"), **config}
    tokens = {}
    for key, value in special.items():
        if key.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens[key] = text
    return ChatTemplate(source, tokens)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
