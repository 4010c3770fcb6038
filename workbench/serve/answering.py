"""One request from its seat at the engine to the last byte of its answer: told as it comes, counted and timed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from workbench.core.errors import BadInputError, Failure, StepFailedError
from workbench.core.messages import Usage
from workbench.jobs.generation import BAD_REQUEST
from workbench.serve.app import Call
from workbench.serve.backend import Asked, Backend, Forwarded, Forwarder, Passed, Piece
from workbench.serve.leash import Leash
from workbench.serve.metrics import Meter, Timed
from workbench.serve.openai_answer import AnswerWriter
from workbench.serve.openai_api import ApiError

EVENT_STREAM = "text/event-stream"
_STREAM_HEADERS: Mapping[str, str] = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""The second asks proxies not to hold events back."""
_MOST_ERROR_BYTES = 2**20


def engine_gone(failure: Failure) -> ApiError:
    """What is told when the engine is gone. Where it died and with what is for the operator, not for clients."""
    return ApiError(500, f"The engine behind this server is gone: {failure.what}", code="engine_gone")


async def answer_by_engine(
    call: Call, backend: Backend, asked: Asked, model: str, meter: Meter, timed: Timed, leash: Leash
) -> None:
    """Raises ApiError as long as nothing was sent."""
    try:
        answering = backend.start(asked)
    except BadInputError as error:
        raise _not_taken(error.failure) from error
    except StepFailedError as error:
        raise engine_gone(error.failure) from error
    writer = AnswerWriter(asked, model, int(time.time()))
    came: list[Piece] = []
    ended = False
    try:
        while not ended:
            pieces = await answering.next()
            for piece in pieces:
                meter.tokens(timed, piece.tokens, piece.at_s)
            last = pieces[-1]
            ended = last.finish is not None
            if last.usage is not None:
                meter.settle(timed, last.usage.input_tokens, last.usage.output_tokens)
            call.input_tokens, call.output_tokens = timed.input_tokens or None, timed.output_tokens
            if last.finish in ("error", "abort"):
                await _break_off(call, last, meter, timed, leash)
            elif asked.stream:
                await _stream(call, writer, pieces, leash)
            else:
                came.extend(pieces)
    finally:
        if not ended:
            answering.abort()
    if last.finish in ("stop", "length"):
        if not asked.stream:
            leash.let_go()
            await call.reply(200, writer.whole(came, last.finish, last.usage or _usage(timed)))
        meter.end(timed, last.finish)


async def _stream(call: Call, writer: AnswerWriter, pieces: Sequence[Piece], leash: Leash) -> None:
    data = b"" if call.status else writer.begin()
    if not call.status:
        await call.start(200, EVENT_STREAM, _STREAM_HEADERS, None)
    data += b"".join([writer.piece(piece) for piece in pieces])
    last = pieces[-1]
    if last.finish is None:
        if data:
            await call.write(data)
        return
    leash.let_go()  # sending the last of it ends the connection's wait too, which is not the client going away
    await call.finish(data + writer.end(last.finish, last.usage))


async def _break_off(call: Call, last: Piece, meter: Meter, timed: Timed, leash: Leash) -> None:
    """The engine refused it, failed, or stopped it by itself."""
    failure = last.failure or Failure(code="aborted", what="The engine stopped the answer.")
    error = _not_taken(failure) if failure.code == BAD_REQUEST else engine_gone(failure)
    if not call.status:
        raise error
    meter.fail(timed, f"an answer broke off: {failure.what}")
    leash.let_go()
    await call.finish(AnswerWriter.broken(error.status, error.message, error.code))


async def pass_on(call: Call, backend: Forwarder, stream: bool, meter: Meter, timed: Timed, leash: Leash) -> None:
    """Raises ApiError as long as nothing was sent."""
    try:
        answer = await backend.forward(call.path, call.body, stream=stream)
    except StepFailedError as error:
        raise engine_gone(error.failure) from error
    finish = ""
    ended = False
    try:
        if answer.status != 200:
            await _pass_refusal(call, answer, meter, timed, leash)
            ended = True
            return
        while (passed := await _next(call, answer, meter, timed, leash)) is not None:
            _count(passed, streams=EVENT_STREAM in answer.content_type, meter=meter, timed=timed)
            finish = passed.finish or finish
            call.input_tokens, call.output_tokens = timed.input_tokens or None, timed.output_tokens
            if passed.data:
                if not call.status:
                    is_stream = EVENT_STREAM in answer.content_type
                    await call.start(200, answer.content_type, _STREAM_HEADERS if is_stream else {}, None)
                await call.write(passed.data)
        ended = True
    finally:
        if not ended:
            answer.abort()
    if call.ended:  # it broke off, and that was told
        return
    leash.let_go()
    if not call.status:
        await call.start(200, answer.content_type, {}, 0)
    await call.finish()
    if finish == "error":
        meter.fail(timed, "the program behind the server broke an answer off")
    else:
        meter.end(timed, finish or "stop")


async def _next(call: Call, answer: Forwarded, meter: Meter, timed: Timed, leash: Leash) -> Passed | None:
    try:
        return await answer.next()
    except StepFailedError as error:
        told = engine_gone(error.failure)
        if not call.status:
            raise told from error
        meter.fail(timed, f"an answer broke off: {error.failure.what}")
        leash.let_go()
        await call.finish(AnswerWriter.broken(told.status, told.message, told.code))
        return None


def _count(passed: Passed, *, streams: bool, meter: Meter, timed: Timed) -> None:
    if streams:  # a whole answer's tokens have no times of their own
        meter.tokens(timed, passed.tokens, time.monotonic())
    if passed.usage is not None:
        meter.settle(timed, passed.usage.input_tokens, passed.usage.output_tokens)


async def _pass_refusal(call: Call, answer: Forwarded, meter: Meter, timed: Timed, leash: Leash) -> None:
    """What the program says instead of an answer, as it says it."""
    body = bytearray()
    try:
        while (passed := await answer.next()) is not None and len(body) < _MOST_ERROR_BYTES:
            body += passed.data
    except StepFailedError as error:
        raise engine_gone(error.failure) from error
    if answer.status >= 500:
        meter.fail(timed, f"the program behind the server answered {answer.status}")
    else:
        meter.refuse(answer.status, f"{answer.status} to {call.client}: refused by the program behind the server")
    leash.let_go()
    await call.reply(answer.status, bytes(body), answer.content_type)


def _not_taken(failure: Failure) -> ApiError:
    """400 with the engine's own words, which hold the numbers."""
    too_long = "longest sequence" in failure.what or "too long" in failure.what or "KV pool holds" in failure.what
    code = "context_length_exceeded" if too_long else "bad_request"
    return ApiError(400, _sentence(failure.what), code=code)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _usage(timed: Timed) -> Usage | None:
    """None: the prompt's length is not known."""
    if not timed.input_tokens:
        return None
    return Usage(input_tokens=timed.input_tokens, output_tokens=timed.output_tokens)
