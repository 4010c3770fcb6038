"""The OpenAI-compatible protocol as data: request bodies, server-sent events, and what an event says.

No sockets here: the endpoint host and the load generator read the same servers by the same rules. Layouts are those of
OpenAI's chat and completions API and of what vLLM, trtllm-serve, SGLang and llama.cpp add to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from workbench.core.messages import ChatTurn, FinishReason, Sampling, Usage
from workbench.core.triton import generate_body, plain_prompt, read_generated

Api = Literal["chat", "completions", "triton"]
"""triton: its generate API, which takes a prompt alone; see core/triton.py."""

PATHS: Mapping[Api, str] = {"chat": "/chat/completions", "completions": "/completions"}
"""Of OpenAI's, below the base URL."""
MAX_EVENT_BYTES = 8 * 2**20
_DONE = b"[DONE]"


class MalformedEventError(ValueError):
    """An event that is no JSON object of the protocol; its text says why and shows its beginning."""


class Dialect(NamedTuple):
    """What a server takes beyond OpenAI's own fields: `Sampling` field -> name in the request body."""

    fields: Mapping[str, str]
    """A field that is not named here is not sent."""
    ids_switch: str = ""
    """Name of the switch that makes a server send token ids; empty: it has none."""
    running_usage: bool = False
    """Whether it can send usage with every event (`continuous_usage_stats`)."""


def request_body(
    api: Api,
    model: str,
    sampling: Sampling,
    dialect: Dialect,
    *,
    messages: Sequence[ChatTurn] | None = None,
    prompt: str | None = None,
    ids: Sequence[int] | None = None,
    stream: bool = True,
    token_ids: bool = True,
    usage: bool = True,
) -> dict[str, Any]:
    """The body of a request. `messages` go with chat, `prompt` or `ids` with completions, text with triton.

    Settings that the dialect does not name are left out: `left_out` says which. Raises ValueError for the wrong kind
    of prompt.
    """
    if api == "triton":
        if ids is not None or (prompt is None) == (messages is None):
            raise ValueError("Triton's generate takes a text, and no token ids")
        text = prompt if prompt is not None else plain_prompt(messages or ())
        return generate_body(dialect.fields, _set_values(sampling), text, stream=stream)
    body: dict[str, Any] = {"model": model}
    if api == "chat":
        if messages is None:
            raise ValueError("chat takes messages; a plain prompt or token ids go to completions")
        body["messages"] = [{"role": turn.role, "content": turn.content} for turn in messages]
    elif messages is not None or (prompt is None) == (ids is None):
        raise ValueError("completions take exactly one of a prompt and token ids")
    else:
        body["prompt"] = prompt if ids is None else list(ids)
    for name, value in _set_values(sampling).items():
        if name in dialect.fields:
            theirs = dialect.fields[name]
            # OpenAI renamed it for chat alone.
            body["max_tokens" if name == "max_tokens" and api == "completions" else theirs] = value
    if sampling.logprobs and "logprobs" in dialect.fields:
        # Chat has a switch and a number beside it; completions have the number alone, 0: the sampled token's only.
        body["logprobs"] = True if api == "chat" else 1
    if token_ids and dialect.ids_switch:
        body[dialect.ids_switch] = True
    if stream:
        body["stream"] = True
    if stream and usage:
        body["stream_options"] = {"include_usage": True}
        if dialect.running_usage:
            body["stream_options"]["continuous_usage_stats"] = True
    return body


def left_out(sampling: Sampling, dialect: Dialect) -> tuple[str, ...]:
    """Settings that were set and that the server does not take."""
    wanted = [*_set_values(sampling), *(["logprobs"] if sampling.logprobs else [])]
    return tuple(name for name in wanted if name not in dialect.fields)


def _set_values(sampling: Sampling) -> dict[str, Any]:
    """Settings that were set, without `logprobs`, whose form depends on the API."""
    found: dict[str, Any] = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
    for name in ("top_p", "top_k", "min_p", "repetition_penalty", "seed"):
        value = getattr(sampling, name)
        if value is not None:
            found[name] = value
    if sampling.stop:
        found["stop"] = list(sampling.stop)
    if sampling.ignore_eos:
        found["ignore_eos"] = True
    return found


class EventReader:
    """Bytes of a `text/event-stream` as they come -> the data of whole events.

    Takes comments, other fields, several data lines an event, LF, CRLF and CR, and cuts anywhere, within a character
    too. Feed it every piece; `done` is set once `[DONE]` came, what follows is dropped.
    """

    def __init__(self) -> None:
        self.done = False
        self.too_long = 0
        """Events over MAX_EVENT_BYTES, which were dropped."""
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of all events that this piece completes, `[DONE]` left out."""
        if self.done:
            return []
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if b"\r" in data:
            data = self._plain_ends(data)
        *blocks, rest = data.split(b"\n\n")
        self._rest = rest + self._rest
        if len(self._rest) > MAX_EVENT_BYTES:
            self._skipping = True
            self._rest = b"\n" if rest.endswith(b"\n") else b""
        found: list[bytes] = []
        for block in blocks:
            if self._skipping:
                self._skipping = False
                self.too_long += 1
                continue
            if block[:5] == b"data:" and b"\n" not in block:
                payload = block[6:] if block[5:6] == b" " else block[5:]
            else:
                payload = _data_of(block)
            if len(payload) < 16 and payload.strip() == _DONE:
                self.done = True
                self._rest = b""
                return found
            if payload:
                found.append(payload)
        return found

    def end(self) -> list[bytes]:
        """What stands there when the stream ends without the empty line that closes an event."""
        rest, self._rest = self._rest, b""
        if self.done or self._skipping or not rest.strip():
            return []
        return self.feed(rest.rstrip(b"\r\n") + b"\n\n")

    def _plain_ends(self, data: bytes) -> bytes:
        """Line ends as LF; a CR at the very end waits for what follows it."""
        if data.endswith(b"\r"):
            data, self._rest = data[:-1], b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_of(block: bytes) -> bytes:
    """The joined `data` lines of an event; comments and other fields are left out."""
    lines = []
    for line in block.split(b"\n"):
        if line[:5] == b"data:":
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)


class Delta(NamedTuple):
    """What one event, or one whole response, adds to an answer."""

    text: str = ""
    thought: str = ""
    """Reasoning that the server keeps apart from the answer."""
    ids: tuple[int, ...] = ()
    """Empty where the server does not report them."""
    logprobs: tuple[float, ...] | None = None
    logprob_tokens: int = 0
    """Tokens that the log-probs name; one entry a token."""
    finish: str = ""
    """The server's own word: `stop`, `length` ..."""
    tokens: int = 0
    """That came with it, as the server counts them; 0: not reported."""
    input_tokens: int | None = None
    """Of the prompt, where they are told apart from usage."""
    usage: Usage | None = None
    cached_tokens: int | None = None
    """Prompt tokens that came from the prefix cache, as usage reports them."""
    error: str = ""
    """An error that came as an event, in the server's words."""
    model: str = ""

    @property
    def says(self) -> bool:
        """Whether it carries text or a token: such a response counts for TTFT."""
        return bool(self.text or self.thought or self.ids or self.logprob_tokens or self.tokens)


_NOTHING = Delta()


def read_event(payload: bytes | str) -> Delta:
    """What an event says, of either API. Raises MalformedEventError."""
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MalformedEventError(f"not JSON: {shown(payload)}") from error
    if not isinstance(data, dict):
        raise MalformedEventError(f"not an object: {shown(payload)}")
    return read_object(data)


def read_object(data: Mapping[str, Any]) -> Delta:
    """As `read_event`, of an event, or a whole response, that was parsed. Raises MalformedEventError."""
    error = data.get("error")
    if error:
        return _NOTHING._replace(error=error_words(data) or "an error without words")
    generated = read_generated(data)
    if generated is not None:
        said, tokens, given = generated
        return Delta(said, tokens=tokens, input_tokens=given, model=_text_of(data, "model_name"))
    usage = data.get("usage")
    counted, cached = _usage(usage) if isinstance(usage, dict) else (None, None)
    model = data.get("model")
    model = model if isinstance(model, str) else ""
    choices = data.get("choices")
    if not choices:
        if counted is None and choices is None:
            if data.get("object") == "error":  # vLLM of old sends its errors so
                return _NOTHING._replace(error=error_words(data) or "an error without words")
            raise MalformedEventError(f"neither choices nor usage: {shown(json.dumps(data))}")
        return Delta(usage=counted, cached_tokens=cached, model=model)
    choice = choices[0] if isinstance(choices, list) else None
    if not isinstance(choice, dict):
        raise MalformedEventError(f"choices are no list of objects: {shown(json.dumps(data))}")
    part = choice.get("delta") or choice.get("message") or choice
    if not isinstance(part, dict):
        raise MalformedEventError(f"a choice without an object in it: {shown(json.dumps(data))}")
    text = part.get("content") if part is not choice else choice.get("text")
    thought = part.get("reasoning_content") or part.get("reasoning") if part is not choice else ""
    ids = choice.get("token_ids") or choice.get("tokens")
    logprobs = choice.get("logprobs")
    finish = choice.get("finish_reason")
    values, named = _logprobs(logprobs) if logprobs else (None, 0)
    return Delta(
        text=text if isinstance(text, str) else "",
        thought=thought if isinstance(thought, str) else "",
        ids=_ids(ids) if ids else (),
        logprobs=values,
        logprob_tokens=named,
        finish=finish if isinstance(finish, str) else "",
        usage=counted,
        cached_tokens=cached,
        model=model,
    )


def _text_of(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _usage(usage: Mapping[str, Any]) -> tuple[Usage | None, int | None]:
    given, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    known = made if _count(made) else (0 if made is None and _count(given) else None)
    if not _count(given) or known is None:
        return None, None
    return Usage(input_tokens=given, output_tokens=known), cached if _count(cached) else None


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _ids(ids: object) -> tuple[int, ...]:
    return tuple(ids) if isinstance(ids, list) and all(_count(one) for one in ids) else ()


def _logprobs(logprobs: object) -> tuple[tuple[float, ...] | None, int]:
    """The sampled tokens' log-probs and how many tokens they name: chat's `content` or completions' lists."""
    if not isinstance(logprobs, dict):
        return None, 0
    entries = logprobs.get("content")
    if isinstance(entries, list):
        values = [entry.get("logprob") if isinstance(entry, dict) else None for entry in entries]
    else:
        found = logprobs.get("token_logprobs")
        values = found if isinstance(found, list) else []
    numbers = tuple(float(value) for value in values if isinstance(value, int | float))
    return (numbers if len(numbers) == len(values) else None), len(values)


class TokenCounter:
    """How many tokens each response of a stream brought, by the best that the server tells.

    By token ids, else by the entries of the log-probs, else by usage where it comes with every event. Where only the
    last event counts, a response is taken for one token while it streams, and `settle` puts that right.
    """

    def __init__(self) -> None:
        self.counts: list[int] = []
        """Of the responses that said something, in order."""
        self.exact = True
        """False: a response was taken for one token since nothing counted it."""
        self.total = 0
        """Their sum."""
        self.by_ids = False
        self.usage: Usage | None = None
        self._texts: list[int] = []
        self._running = 0
        self._said = 0

    @property
    def source(self) -> Literal["engine ids", "server usage"] | None:
        """Where `counts` are from: the engine's own tokens (ids or log-probs), or usage; None: nothing counted them."""
        if self.by_ids and self.exact:
            return "engine ids"
        return "server usage" if self.usage is not None else None

    def take(self, delta: Delta) -> int:
        """Tokens of a response, in the order they come; 0 for one that says nothing."""
        running = None
        if delta.usage is not None:
            self.usage = delta.usage
            running = delta.usage.output_tokens
        # The last token may have no text, such as the end token; usage that comes with every event tells of it.
        unseen = delta.finish and running is not None and self.exact and 0 < self._said < running
        if not delta.says and not unseen:
            return 0
        if delta.ids:
            tokens, self.by_ids = len(delta.ids), True
        elif delta.logprob_tokens or delta.tokens:
            tokens, self.by_ids = delta.logprob_tokens or delta.tokens, True
        elif running is not None and running >= self._said:
            tokens = running - self._said
        else:
            tokens, self.exact = 1, False
        self._said = max(self._said + tokens, running or 0)
        self.counts.append(tokens)
        self.total += tokens
        if delta.input_tokens is not None:
            self.usage = Usage(input_tokens=delta.input_tokens, output_tokens=self.total)
        self._texts.append(len(delta.text) + len(delta.thought))
        return tokens

    def take_text(self, length: int) -> int:
        """As `take`, of a response that is known to hold a text of that length and nothing that counts it: 1."""
        self.exact = False
        self._said += 1
        self.counts.append(1)
        self._texts.append(length)
        return 1

    def settle(self) -> list[int]:
        """The counts once the stream has ended: where they were guessed, they are made to sum up to usage."""
        if not self.exact and self.usage is not None:
            self.counts = apportion(self._texts, self.usage.output_tokens)
            self.total = sum(self.counts)
        return self.counts


def apportion(weights: Sequence[int], total: int) -> list[int]:
    """`total` tokens over responses: one each as far as they go, from the first; the rest by their share of the text.

    ITL and throughput depend on the sum alone; only the time to the second token depends on how they are spread.
    """
    count = len(weights)
    if total <= count:
        return [1] * total + [0] * (count - total)
    rest, whole = total - count, sum(weights)
    if whole == 0:
        return [1] * (count - 1) + [1 + rest] if count else []
    counts, given, seen = [], 0, 0
    for weight in weights:
        seen += weight
        upto = rest * seen // whole
        counts.append(1 + upto - given)
        given = upto
    return counts


def finish_reason(word: str, asked_for: int | None = None, made: int | None = None) -> FinishReason:
    """The server's word in ours. No word: `length` when all tokens asked for came, else `stop`."""
    if word in ("length", "max_tokens", "model_length"):
        return "length"
    if word in ("abort", "cancelled", "canceled"):
        return "abort"
    if word in ("error", "failed"):
        return "error"
    if not word and asked_for is not None and made is not None and made >= asked_for:
        return "length"
    return "stop"


def error_words(data: object) -> str:
    """The server's own words in an error body of any known layout; empty where there are none."""
    if isinstance(data, str):
        return " ".join(data.split())[:500]
    if isinstance(data, list):
        return error_words(data[0]) if data else ""
    if not isinstance(data, dict):
        return ""
    if isinstance(data.get("msg"), str):  # FastAPI's validation errors
        where = ".".join(str(part) for part in data.get("loc") or () if part != "body")
        return error_words(f"{where}: {data['msg']}" if where else data["msg"])
    for name in ("error", "detail", "message", "error_message", "title"):
        words = error_words(data.get(name))
        if words:
            return words
    return ""


def error_body_words(body: bytes) -> str:
    """As `error_words`, of a response's bytes, JSON or text; of HTML its title. Empty where there is nothing to say."""
    text = body[:65536].decode("utf-8", "replace").strip()
    text = text.removeprefix("data:").strip()  # Triton sends an error of the model as an event
    if not text:
        return ""
    try:
        return error_words(json.loads(text)) or shown(text)
    except (ValueError, RecursionError):
        pass
    low = text.lower()
    if "<html" in low or low.startswith("<!doctype"):
        start, end = low.find("<title>"), low.find("</title>")
        return error_words(text[start + 7 : end]) if 0 <= start < end else "an HTML page"
    return shown(text, 300)


def shown(payload: bytes | str, limit: int = 120) -> str:
    """The beginning of something that a server sent, on one line."""
    text = payload[: limit * 8].decode("utf-8", "replace") if isinstance(payload, bytes) else payload[: limit * 8]
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
