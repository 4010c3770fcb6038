"""The front door of a server: listens, and keeps what is behind it from whatever comes in front of it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any, cast

from workbench.core.errors import Failure
from workbench.core.serving import ServeLimits, ServeReading, ServingStatus
from workbench.serve.admission import Admission, QueueFullError
from workbench.serve.answering import answer_by_engine, engine_gone, pass_on
from workbench.serve.app import Call, Routes
from workbench.serve.backend import ApiKind, Backend, Forwarder
from workbench.serve.guard import Guard
from workbench.serve.leash import Leash, Reason
from workbench.serve.listen import Listener
from workbench.serve.metrics import Meter, Timed
from workbench.serve.openai_answer import AnswerWriter
from workbench.serve.openai_api import ApiError, check_model, parse_body, parse_request, wants_stream

_LOOK_S = 0.02
_LAST_WORDS_S = 5.0
"""How long aborted requests may take to say so."""


class FrontDoor:
    """Used by one event loop alone. In order: made, `open`, `attach` once the engine is loaded, `drain`.

    `key`: what clients must send; None on loopback alone. `access` gets one line a request, in the loop: it must be
    quick, as must `on_problem`, which gets the words of refusals and failures. Neither gets text of prompts.
    """

    def __init__(
        self,
        *,
        model: str,
        host: str,
        limits: ServeLimits,
        key: str | None = None,
        access: Callable[[str], None] | None = None,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        """Raises BadInputError for an address that others reach and no key."""
        self.guard = Guard(host, key)
        self.model = model
        self.limits = limits
        self.meter = Meter(model, on_problem=on_problem)
        self._admission = Admission(limits)
        self._backend: Backend | Forwarder | None = None
        self._status: ServingStatus = "starting"
        self._failure: Failure | None = None
        self._failed = asyncio.Event()
        self._hurry = False
        self._draining: asyncio.Task[None] | None = None
        self._leashes: set[Leash] = set()
        self._listener = Listener(Routes(self, access), limits, self.meter.refuse, self.meter.note)

    @property
    def status(self) -> ServingStatus:
        """`starting` until a backend is attached, then `ready`; `draining`, `stopped`; `failed` once the backend is
        gone.
        """
        return self._status

    @property
    def failure(self) -> Failure | None:
        return self._failure

    @property
    def program(self) -> str:
        return "" if self._backend is None else self._backend.program

    @property
    def owner(self) -> str:
        """What clients tell kinds of servers apart by, since they take different fields."""
        return "tensorrt_llm" if hasattr(self._backend, "forward") else "engine-workbench"

    @property
    def max_seq_len(self) -> int | None:
        return None if self._backend is None else self._backend.max_seq_len

    async def open(self, listener: socket.socket) -> None:
        """Listen on a bound socket (workbench.serve.ports.bind), which is the door's from now on; until `attach`,
        requests get 503.
        """
        await self._listener.open(listener)

    def attach(self, backend: Backend | Forwarder) -> None:
        """Requests are answered from now on."""
        self._backend = backend
        if self._status == "starting":
            self._status = "ready"
        backend.when_failed(self._fail)

    async def drain(self, *, now: bool = False) -> None:
        """Send new requests away, let running ones end within `drain_s` (`now`: abort them), then close all; returns
        when all is closed. May be called again with `now`.
        """
        self._hurry = self._hurry or now
        if self._draining is None:
            if self._status != "failed":
                self._status = "draining"
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        await asyncio.shield(self._draining)

    async def failed(self) -> Failure:
        """Wait until the backend is gone; its words. `drain` is still to be called."""
        await self._failed.wait()
        assert self._failure is not None
        return self._failure

    def reading(self) -> ServeReading:
        """How it is now: to be called about once a second."""
        backend = self._backend
        counted = None if backend is None or hasattr(backend, "forward") else backend.generated_tokens()
        return self.meter.reading(time.time(), generated=counted, **self._now())

    # What the routes ask

    def measure(self) -> None:
        drafted = None if self._backend is None else self._backend.drafted()
        self.meter.now(**self._now(), drafted=drafted)

    def refuse_if_closed(self) -> None:
        if self._status == "ready":
            return
        if self._status == "failed" and self._failure is not None:
            raise engine_gone(self._failure)
        words = "The engine is still being loaded." if self._status == "starting" else "The server is being stopped."
        raise ApiError(503, words, code=self._status, headers={"retry-after": "5"})

    async def answer(self, call: Call) -> None:
        backend = self._backend
        assert backend is not None
        body = parse_body(call.body)
        check_model(body, self.model)
        stream = wants_stream(body)
        asked = None
        if not hasattr(backend, "forward"):
            kind: ApiKind = "chat" if call.path.endswith("/chat/completions") else "completions"
            asked = parse_request(
                kind,
                body,
                max_seq_len=backend.max_seq_len,
                takes=backend.takes,
                longest_answer=backend.longest_answer,
            )
        elif body.get("model") is None:  # the program wants it named; what names it goes there byte by byte
            call.body = json.dumps({**body, "model": self.model}).encode()
        timed = self.meter.begin(call.began_s)
        leash = Leash(call.receive, self.limits.request_s)
        self._leashes.add(leash)
        try:
            with leash:
                call.queue_s = await self._seat()
                try:
                    self.meter.took_seat(timed, call.queue_s)
                    if asked is not None:
                        await answer_by_engine(
                            call, cast(Backend, backend), asked, self.model, self.meter, timed, leash
                        )
                    else:
                        await pass_on(call, cast(Forwarder, backend), stream, self.meter, timed, leash)
                finally:
                    self._admission.leave()
        except asyncio.CancelledError:
            if leash.reason is None:
                raise
            await self._cut_short(call, leash.reason, timed, stream)
        finally:
            self._leashes.discard(leash)

    async def _seat(self) -> float:
        """Wait for a turn; the seconds waited. Raises ApiError."""
        try:
            return await self._admission.enter()
        except QueueFullError as error:
            self.refuse_if_closed()
            raise ApiError(
                429, f"This server has no room: {error}. Try again in {error.retry_s} s.",
                code="queue_full", headers={"retry-after": str(error.retry_s)},
            ) from error  # fmt: skip

    async def _cut_short(self, call: Call, reason: Reason, timed: Timed, stream: bool) -> None:
        """The request was ended from outside."""
        if reason == "gone":
            self.meter.abort(timed)
            return
        if reason == "timeout":
            error = ApiError(504, f"The answer took longer than {self.limits.request_s:g} s.", code="timeout")
        else:
            error = ApiError(503, "The server is being stopped.", code="draining", headers={"retry-after": "5"})
        call.closing = True
        if not call.status:
            raise error
        self.meter.fail(timed, f"an answer was cut short: {error.message}")
        await call.finish(AnswerWriter.broken(error.status, error.message, error.code) if stream else b"")

    # Inside

    def _now(self) -> dict[str, Any]:
        backend = self._backend
        return {
            "active": self._admission.active,
            "queued": self._admission.queued,
            "connections": self._listener.connections,
            "kv_share": None if backend is None else backend.kv_share(),
        }

    def _fail(self, failure: Failure) -> None:
        if self._status in ("starting", "ready"):
            self._status = "failed"
        self._failure = failure
        self._failed.set()
        self._admission.send_all_away("the engine is gone")

    async def _drain(self) -> None:
        self._admission.send_all_away("the server is being stopped")
        ends_s = time.monotonic() + self.limits.drain_s
        while self._leashes and not self._hurry and time.monotonic() < ends_s:
            await asyncio.sleep(_LOOK_S)
        for leash in list(self._leashes):
            leash.pull("drain")
        ends_s = time.monotonic() + _LAST_WORDS_S
        while self._leashes and time.monotonic() < ends_s:
            await asyncio.sleep(_LOOK_S)
        await self._listener.close()
        if self._status != "failed":
            self._status = "stopped"
