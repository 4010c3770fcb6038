"""Drives an OpenAI-compatible server, or Triton's generate, directly over HTTP. Times are when bytes were
read from the socket."""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from typing import Any

from workbench.bench.stream import Stream
from workbench.bench.target import Ask, Ended, Heard
from workbench.bench.wire import Gone, Origin, Pool, WireError
from workbench.core.errors import BadInputError
from workbench.core.messages import ChatTurn, Sampling
from workbench.core.openai import PATHS, Api, Dialect, error_body_words, finish_reason, request_body
from workbench.core.triton import generate_path

_WORDS_OF: dict[int, str] = {
    401: "the key was refused",
    403: "the key may not do this",
    404: "no such model or path",
    413: "the request is too large",
    429: "too many requests",
    503: "the server is not ready or overloaded",
}


_FLOOD, _FLOOD_SPARE = 2, 1024
"""A server that sends so many times the responses that were asked for, and some, has lost count."""


class HttpTarget:
    """An OpenAI-compatible server. Belongs to one event loop; connections are kept and reused.

    `dialect` says what the server takes beyond OpenAI's fields; `api` which one answers plain prompts, messages always
    go to chat. `exact`: token ids or usage are asked for with every response, where the server can; else usage comes
    at the end, and of an answer whose responses held several tokens each the total is exact and the shares are by
    length of text - far less work for both sides.
    A request is sent when it is written to an open connection: making one is no part of TTFT, but in open loop, where
    t0 is when the request was due.
    The key is held in memory alone and is masked where a server echoes it. Proxies of the environment are not used.
    Raises BadInputError for a URL or a CA file that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api: Api = "chat",
        dialect: Dialect,
        key: str = "",
        verify_tls: bool = True,
        ca_file: str = "",
        exact: bool = False,
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        try:
            origin = Origin(base_url, verify_tls=verify_tls, ca_file=ca_file)
        except (ValueError, OSError) as error:
            raise BadInputError(
                "The endpoint cannot be used.", evidence=str(error), fix="Check its URL and its CA file."
            ) from error
        if any(not 32 < ord(char) < 127 for char in key):
            raise BadInputError(
                "The API key holds characters that cannot be sent.", fix="Store the key again, without line ends."
            )
        self._model = model
        self._api = api
        self._dialect = dialect if exact else dialect._replace(running_usage=False)
        self._exact = exact
        self._key = key
        self._extra = extra_body or {}
        self._pool = Pool(origin)
        bearer = f"Authorization: Bearer {key}\r\n" if key else ""
        paths = {one: origin.path + path for one, path in PATHS.items()}
        paths["triton"] = origin.path.removesuffix("/v1") + generate_path(model)
        self._heads = {
            one: (
                f"POST {path} HTTP/1.1\r\nHost: {origin.netloc}\r\n"
                f"User-Agent: engine-workbench\r\nAccept: text/event-stream, application/json\r\n{bearer}"
                "Content-Type: application/json\r\nContent-Length: "
            ).encode("latin-1")
            for one, path in paths.items()
        }

    @property
    def connections(self) -> int:
        """How many were opened so far."""
        return self._pool.opened

    def request(self, ask: Ask) -> bytes:
        """The request as it goes over the wire."""
        sampling = Sampling(
            max_tokens=ask.max_tokens, ignore_eos=ask.ignore_eos, temperature=ask.temperature, seed=ask.seed
        )
        messages, api = ask.messages, self._api
        if api == "triton":
            pass
        elif messages is not None:
            api = "chat"
        elif ask.ids is not None:
            api = "completions"
        elif api == "chat":
            messages = (ChatTurn(role="user", content=ask.text or ""),)
        body = request_body(
            api,
            self._model,
            sampling,
            self._dialect,
            messages=messages,
            prompt=ask.text if messages is None else None,
            ids=ask.ids,
            token_ids=self._exact,
        )
        raw = json.dumps(body | self._extra, separators=(",", ":")).encode()
        return b"%b%d\r\n\r\n%b" % (self._heads[api], len(raw), raw)

    async def send(self, ask: Ask, heard: Heard) -> Ended:
        try:
            request = self.request(ask)
        except ValueError as error:
            return Ended("error", error=str(error))
        try:
            try:
                return await self._exchange(request, ask, heard, fresh=False)
            except Gone:
                return await self._exchange(request, ask, heard, fresh=True)
        except WireError as error:
            return Ended("error", error=self._masked(str(error)))

    async def _exchange(self, request: bytes, ask: Ask, heard: Heard, fresh: bool) -> Ended:
        """Raises Gone, and WireError where not even headers came."""
        connection = await self._pool.get(fresh)
        stream = Stream(heard, connection, _FLOOD * ask.max_tokens + _FLOOD_SPARE)
        broken = ""
        heard.sent_s = time.monotonic()
        try:
            await connection.ask(request, stream.hear)
        except asyncio.CancelledError:
            self._pool.drop(connection)
            self._settle(stream, heard)
            raise
        except WireError as error:
            self._pool.drop(connection)
            if connection.status == 0:
                raise
            broken = str(error)
        else:
            self._pool.put(connection)
        stream.end()
        return self._ended(stream, connection.status, connection.retry_after, broken, ask, heard)

    def _settle(self, stream: Stream, heard: Heard) -> None:
        counts = stream.counter.settle()
        if len(counts) == len(heard.times):
            heard.recount(array("l", counts))
        heard.source = stream.counter.source

    def _ended(self, stream: Stream, status: int, retry_after: str, broken: str, ask: Ask, heard: Heard) -> Ended:
        if status != 200:
            words = _WORDS_OF.get(status, "the server failed" if status >= 500 else "the server refused the request")
            said = error_body_words(bytes(stream.rest))
            after = f"; it asks to wait {retry_after} s" if retry_after else ""
            return Ended("error", error=self._masked(f"{status}: {words}{f' ({said})' if said else ''}{after}"))
        self._settle(stream, heard)
        usage = stream.counter.usage
        made = usage.output_tokens if usage is not None else heard.counted
        error = ""
        if stream.error:
            error = f"the server sent an error: {stream.error}"
        elif self._api == "triton" and heard.times and not broken:
            pass  # its streams end with their body
        elif not stream.finish and not stream.done:
            if heard.times:
                error = f"the stream ended early, after {heard.counted:,} tokens"
            else:
                error = "the server sent no event of the protocol"
            error += f": {broken}" if broken else ""
            if stream.malformed:
                error += f"; {stream.malformed:,} events were malformed ({stream.last_malformed})"
        return Ended(
            "error" if error else finish_reason(stream.finish, ask.max_tokens, made),
            error=self._masked(error),
            input_tokens=usage.input_tokens if usage is not None else None,
            output_tokens=usage.output_tokens if usage is not None else None,
            count_source=stream.counter.source,
            malformed=stream.malformed,
        )

    def _masked(self, words: str) -> str:
        return words.replace(self._key, "***") if self._key else words

    async def close(self) -> None:
        await self._pool.close()
