"""OpenAI's two text routes: a request's body read and checked, and errors in OpenAI's words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

from pydantic import ValidationError

from workbench.core.messages import ChatTurn, Sampling
from workbench.serve.backend import ApiKind, Asked

_DEFAULT_COMPLETION_TOKENS = 16
_MOST_STOPS = 16
_MOST_STOP_CHARACTERS = 1000
_UNLIMITED = 1_000_000
"""Asked for where neither the client nor the engine names a limit."""
_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class ApiError(Exception):
    """What a client is told instead of an answer, in OpenAI's layout."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        return json.dumps({"error": error_object(self.status, self.message, self.param, self.code)}).encode()


def error_object(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The `error` of an answer or of a stream's event."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": param, "code": code}


def parse_body(data: bytes) -> dict[str, Any]:
    """A request's JSON object. Raises ApiError."""
    try:
        body = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ApiError(400, f"The body is not valid JSON{where}.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, f"The body is {_kind(body)}; a JSON object is wanted.", code="invalid_json")
    return body


def check_model(body: Mapping[str, Any], model: str) -> None:
    """Raises ApiError when another model is asked for; one that is left out is this one."""
    asked = _typed(body, "model", str, "a string")
    if asked is not None and asked != model:
        raise ApiError(
            404, f"There is no model {asked[:100]!r} here; this server answers as {model!r}.",
            param="model", code="model_not_found",
        )  # fmt: skip


def wants_stream(body: Mapping[str, Any]) -> bool:
    """Raises ApiError."""
    return _typed(body, "stream", bool, "true or false") or False


def parse_request(
    kind: ApiKind,
    body: Mapping[str, Any],
    *,
    max_seq_len: int | None,
    takes: Collection[str] | None,
    longest_answer: int | None = None,
) -> Asked:
    """A request for the engine. `takes`: the sampling settings that it knows; None: not reported. `longest_answer`:
    tokens of a chat's answer where none are named; None: what the engine has room for.

    Unknown fields are passed over, as OpenAI's own server does; known ones that cannot be obeyed are refused rather
    than forgotten. Raises ApiError.
    """
    stream = wants_stream(body)
    options = _typed(body, "stream_options", dict, "an object") or {}
    if options and not stream:
        raise ApiError(400, "stream_options may be given with stream alone.", param="stream_options")
    include_usage = _typed(options, "include_usage", bool, "true or false", "stream_options.") or False
    _refuse_unsupported(kind, body)
    sampling = _sampling(kind, body, max_seq_len, takes, longest_answer)
    token_ids = _typed(body, "return_token_ids", bool, "true or false") or False
    common: dict[str, Any] = {
        "kind": kind, "sampling": sampling, "stream": stream, "include_usage": include_usage, "token_ids": token_ids,
    }  # fmt: skip
    if kind == "chat":
        return Asked(messages=_messages(body), **common)
    echo = _typed(body, "echo", bool, "true or false") or False
    prompt = _prompt(body)
    if isinstance(prompt, str):
        if echo and sampling.logprobs:
            raise ApiError(400, "Log-probabilities of the prompt are not reported: leave out echo.", param="echo")
        return Asked(prompt=prompt, echo=echo, **common)
    if echo:
        raise ApiError(400, "echo needs the prompt as text, not as token ids.", param="echo")
    return Asked(ids=prompt, **common)


def _sampling(
    kind: ApiKind,
    body: Mapping[str, Any],
    max_seq_len: int | None,
    takes: Collection[str] | None,
    longest_answer: int | None,
) -> Sampling:
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    most = _number(body, name, 1, 2**31 - 1, whole=True)
    if most is None:
        most = _DEFAULT_COMPLETION_TOKENS if kind == "completions" else (longest_answer or max_seq_len or _UNLIMITED)
    temperature = _number(body, "temperature", 0, 2)
    top_k = _number(body, "top_k", -1, 2**31 - 1, whole=True)
    values: dict[str, Any] = {
        "max_tokens": int(most) if max_seq_len is None else min(int(most), max_seq_len),
        "temperature": 1.0 if temperature is None else float(temperature),
        "top_p": _number(body, "top_p", 0, 1, above=True),
        "top_k": None if top_k is None or top_k < 1 else top_k,
        "min_p": _number(body, "min_p", 0, 1) or None,
        "repetition_penalty": _number(body, "repetition_penalty", 0, 10, above=True),
        "seed": _number(body, "seed", -(2**63), 2**63 - 1, whole=True),
        "stop": _stops(body),
        "ignore_eos": _typed(body, "ignore_eos", bool, "true or false") or False,
        "logprobs": _wants_logprobs(kind, body),
    }
    if values["top_p"] == 1:
        values["top_p"] = None
    if takes is not None:
        for field in ("top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop", "ignore_eos", "logprobs"):
            if values[field] and field not in takes:
                raise ApiError(400, f"This engine does not take {field}; leave it out.", param=field)
    try:
        return Sampling(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"{field}: {first['msg']}", param=field) from error


def _wants_logprobs(kind: ApiKind, body: Mapping[str, Any]) -> bool:
    """Engines report the sampled token's log-probability, not those of the others."""
    top = _number(body, "top_logprobs", 0, 20, whole=True)
    if kind == "chat":
        wanted = _typed(body, "logprobs", bool, "true or false") or False
        if top:
            raise ApiError(
                400, "Only the sampled token's log-probability is reported: give logprobs without top_logprobs.",
                param="top_logprobs",
            )  # fmt: skip
        return wanted
    if isinstance(body.get("logprobs"), bool):
        raise ApiError(400, "logprobs must be a whole number; only 0 and 1 can be had here.", param="logprobs")
    count = _number(body, "logprobs", 0, None, whole=True)
    if count is not None and count > 1:
        raise ApiError(
            400, "Only the sampled token's log-probability is reported: logprobs may be 0 or 1.", param="logprobs"
        )
    return count is not None


def _refuse_unsupported(kind: ApiKind, body: Mapping[str, Any]) -> None:
    """What would change the answer and cannot be done."""
    for name in ("n", "best_of"):
        count = _number(body, name, 1, None, whole=True)
        if count is not None and count != 1:
            raise ApiError(400, f"{name} must be 1: one answer a request.", param=name, code="unsupported_value")
    for name in ("presence_penalty", "frequency_penalty"):
        if _number(body, name, -2, 2):
            raise ApiError(
                400, f"{name} is not supported; leave it out or give 0.", param=name, code="unsupported_value"
            )
    for name in ("logit_bias", "tools", "functions", "suffix"):
        if body.get(name):
            raise ApiError(400, f"{name} is not supported by this server.", param=name, code="unsupported_value")
    form = _typed(body, "response_format", dict, "an object")
    if form is not None and form.get("type") not in (None, "text"):
        raise ApiError(
            400, "Only plain text can be answered: response_format must be of type text.",
            param="response_format", code="unsupported_value",
        )  # fmt: skip


def _prompt(body: Mapping[str, Any]) -> str | tuple[int, ...]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        if not prompt:
            raise ApiError(400, "The prompt is empty.", param="prompt")
        return prompt
    if prompt is None:
        raise ApiError(400, "There is no prompt.", param="prompt", code="missing_required_parameter")
    if not isinstance(prompt, list):
        raise ApiError(400, f"prompt is {_kind(prompt)}; text or a list of token ids is wanted.", param="prompt")
    if len(prompt) > 1 and any(isinstance(part, str | list) for part in prompt):
        raise ApiError(
            400, f"{len(prompt)} prompts in one request are not supported; send one each.",
            param="prompt", code="unsupported_value",
        )  # fmt: skip
    if not prompt:
        raise ApiError(400, "The prompt is empty.", param="prompt")
    if not all(type(part) is int and 0 <= part < 2**31 for part in prompt):
        raise ApiError(400, "prompt holds something that is no token id.", param="prompt")
    return tuple(prompt)


def _messages(body: Mapping[str, Any]) -> tuple[ChatTurn, ...]:
    messages = body.get("messages")
    if messages is None:
        raise ApiError(400, "There are no messages.", param="messages", code="missing_required_parameter")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "messages must be a list of at least one message.", param="messages")
    turns = []
    for number, message in enumerate(messages):
        at = f"messages.{number}"
        if not isinstance(message, dict):
            raise ApiError(400, f"{at} is {_kind(message)}; an object is wanted.", param=at)
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise ApiError(400, f"{at}.role must be one of {', '.join(_ROLES)}.", param=f"{at}.role")
        turns.append(ChatTurn(role=_ROLES[role], content=_content(message.get("content"), f"{at}.content")))
    return tuple(turns)


def _content(content: object, at: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = []
        for part in content:
            text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
            if not isinstance(text, str):
                raise ApiError(400, f"{at} may hold parts of text alone.", param=at, code="unsupported_value")
            texts.append(text)
        return "\n".join(texts)
    raise ApiError(400, f"{at} is {_kind(content)}; text is wanted.", param=at)


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ApiError(400, "stop must be a text or a list of texts.", param="stop")
    texts = cast("list[str]", texts)
    if len(texts) > _MOST_STOPS or any(len(text) > _MOST_STOP_CHARACTERS for text in texts):
        raise ApiError(
            400, f"stop may hold {_MOST_STOPS} texts of {_MOST_STOP_CHARACTERS:,} characters at most.", param="stop"
        )
    return tuple(text for text in texts if text)


def _typed(body: Mapping[str, Any], name: str, kind: type, wanted: str, prefix: str = "") -> Any:
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        raise ApiError(400, f"{prefix}{name} is {_kind(value)}; {wanted} is wanted.", param=f"{prefix}{name}")
    return value


def _number(
    body: Mapping[str, Any], name: str, least: float, most: float | None, *, whole: bool = False, above: bool = False
) -> int | float | None:
    """`above`: the least is not allowed itself."""
    value = body.get(name)
    if value is None:
        return None
    kind = "a whole number" if whole else "a number"
    if isinstance(value, float) and whole and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ApiError(400, f"{name} is {_kind(value)}; {kind} is wanted.", param=name)
    if value < least or (above and value == least) or (most is not None and value > most):
        low = f"above {least:,}" if above else f"at least {least:,}"
        high = "" if most is None else f" and at most {most:,}"
        raise ApiError(400, f"{name} must be {low}{high}.", param=name)
    return value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {
        bool: "a truth value",
        str: "a text",
        list: "a list",
        dict: "an object",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "something else")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
