"""OpenAI's two text routes: answers as bytes, whole or as the events of a stream."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from workbench.core.messages import Usage
from workbench.serve.backend import Asked, Piece
from workbench.serve.openai_api import error_object

DONE = b"data: [DONE]\n\n"
_quoted = json.encoder.encode_basestring_ascii


class AnswerWriter:
    """One request's answer. `created`: seconds since the epoch."""

    def __init__(self, asked: Asked, model: str, created: int) -> None:
        self._asked = asked
        self._chat = asked.kind == "chat"
        self._logprobs = asked.sampling.logprobs
        self.id = ("chatcmpl-" if self._chat else "cmpl-") + secrets.token_hex(12)
        streamed = "chat.completion.chunk" if self._chat else "text_completion"
        whole = "chat.completion" if self._chat else "text_completion"
        self._whole_head = {"id": self.id, "object": whole, "created": created, "model": model}
        head = json.dumps({**self._whole_head, "object": streamed})[:-1]
        # Most events of a stream differ in their text alone.
        self._head = f"data: {head}"
        named, closed = ('"delta": {"content": ', "}") if self._chat else ('"text": ', "")
        self._before = f'{self._head}, "choices": [{{"index": 0, {named}'
        self._usage_tail = ', "usage": null' if asked.include_usage else ""
        self._after = f'{closed}, "logprobs": null, "finish_reason": null}}]{self._usage_tail}}}\n\n'
        self._offset = 0

    # A stream

    def begin(self) -> bytes:
        """What comes before the first text: the role, or the prompt's echo."""
        if self._chat:
            return self._event({"delta": {"role": "assistant", "content": ""}, "logprobs": None}, None)
        if self._asked.echo:
            return self._event({"text": self._asked.prompt or "", "logprobs": None}, None)
        return b""

    def piece(self, piece: Piece) -> bytes:
        """The event of a piece with text or tokens; nothing where it would say nothing."""
        named = self._asked.token_ids or (self._logprobs and piece.logprobs is not None)
        if not named:
            return f"{self._before}{_quoted(piece.text)}{self._after}".encode() if piece.text else b""
        if not piece.text and not piece.ids:
            return b""
        choice: dict[str, Any] = {"delta": {"content": piece.text}} if self._chat else {"text": piece.text}
        choice["logprobs"] = self._logprobs_of([piece]) if self._logprobs else None
        if self._asked.token_ids:
            choice["token_ids"] = list(piece.ids)
        return self._event(choice, None)

    def end(self, reason: str, usage: Usage | None) -> bytes:
        """The reason, usage where it was asked for, and the stream's end."""
        last = self._event({"delta": {}} if self._chat else {"text": "", "logprobs": None}, reason)
        if self._asked.include_usage:
            last += f'{self._head}, "choices": [], "usage": {json.dumps(usage_object(usage))}}}\n\n'.encode()
        return last + DONE

    @staticmethod
    def broken(status: int, message: str, code: str | None) -> bytes:
        """The event that ends a stream which cannot go on."""
        return b"data: " + json.dumps({"error": error_object(status, message, None, code)}).encode() + b"\n\n"

    def _event(self, choice: dict[str, Any], reason: str | None) -> bytes:
        choices = json.dumps([{"index": 0, **choice, "finish_reason": reason}])
        return f'{self._head}, "choices": {choices}{self._usage_tail}}}\n\n'.encode()

    # In one piece

    def whole(self, pieces: Sequence[Piece], reason: str, usage: Usage | None) -> bytes:
        """The answer as one JSON object."""
        text = "".join(piece.text for piece in pieces)
        choice: dict[str, Any] = {"index": 0}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = (self._asked.prompt or "") + text if self._asked.echo else text
        choice["logprobs"] = self._logprobs_of(pieces) if self._logprobs else None
        choice["finish_reason"] = reason
        if self._asked.token_ids:
            choice["token_ids"] = [token for piece in pieces for token in piece.ids]
        body = {**self._whole_head, "choices": [choice], "usage": usage_object(usage)}
        return json.dumps(body).encode()

    def _logprobs_of(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        """Tokens are named by their text where a piece holds one, else by their id."""
        names: list[str] = []
        values: list[float] = []
        offsets: list[int] = []
        for piece in pieces:
            if piece.logprobs is None or len(piece.logprobs) != len(piece.ids):
                self._offset += len(piece.text)
                continue
            one = len(piece.ids) == 1
            names.extend([piece.text] if one else [f"token_id:{token}" for token in piece.ids])
            values.extend(piece.logprobs)
            offsets.extend([self._offset] * len(piece.ids))
            self._offset += len(piece.text)
        if not values:
            return None
        if not self._chat:
            return {"tokens": names, "token_logprobs": values, "top_logprobs": None, "text_offset": offsets}
        content = [
            {"token": name, "logprob": value, "bytes": list(name.encode("utf-8", "replace")), "top_logprobs": []}
            for name, value in zip(names, values, strict=True)
        ]
        return {"content": content, "refusal": None}


def usage_object(usage: Usage | None) -> dict[str, int] | None:
    """None: the engine did not report it."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
