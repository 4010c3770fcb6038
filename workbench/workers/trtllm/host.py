"""Worker `trtllm.host`: serves a TensorRT-LLM engine with in-flight batching until its client goes.

The main thread turns one event loop: a request is made in it, its answer is awaited in it, and so are the iteration
records, which belong to the loop that first asked for them. A thread hands it the commands. Engines of several ranks
start their own MPI processes, which import this module again: hence the guard at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.core.messages import Ready, Sampling, Stats, StepSpec
from workbench.core.trtllm.log import explain_failure
from workbench.workers.common import first_line, input_folder, quiet_environment
from workbench.workers.hosts.common import CommandReader, Request, resident_bytes
from workbench.workers.hosts.drafting import DraftCount
from workbench.workers.hosts.serving import LoopHost, told_limits, usable_template
from workbench.workers.hosts.text import ChatTemplate, detokenizers
from workbench.workers.protocol import Channel, WorkerError, run_worker
from workbench.workers.trtllm.common import PACKAGES, TOKENIZER_FILES
from workbench.workers.trtllm.drafting import count_record, drafted_of
from workbench.workers.trtllm.engine import (
    Engine,
    applied_settings,
    host_settings,
    load_engine,
    sampling_names,
    sampling_params,
)

_FAILED_REQUESTS = 3
"""Requests in a row that the library may fail on by itself before the host gives up."""
_FATAL = ("gpu-lost", "no-gpu", "mpi-worker-died")
"""Failures after which no request can be answered any more."""
_STATS_SECONDS = 0.25
"""How long a record is awaited; the stream then ends until another request is made."""
_SHUTDOWN_SECONDS = 0.7
_WARM_UP_TOKENS = 8
_FINISHED = {"stop": "stop", "length": "length", "cancelled": "abort"}


class Host(LoopHost[Engine]):
    """The open requests of an engine, and what becomes of them; the library queues what does not fit yet."""

    def __init__(self, channel: Channel, engine: Engine, template: ChatTemplate | None) -> None:
        super().__init__(channel, engine, template, detokenizers(engine.tokenizer_folder, engine.decode))
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = 0
        self._record: dict[str, Any] = {}
        self._drafted = DraftCount()
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def warm_up(self) -> None:
        """Make two tokens: an engine that cannot generate should not become ready; its records tell the KV pool."""
        prompt = [1] * min(_WARM_UP_TOKENS, max(1, self._engine.max_seq_len - 2))
        try:
            params = sampling_params(Sampling(max_tokens=2, ignore_eos=True), 2, self._engine)
            async for _ in self._engine.llm.generate_async(prompt, sampling_params=params, streaming=True):
                pass
        except Exception as error:
            failure = explain_failure([f"{type(error).__name__}: {error}"])
            known = failure.code != "failed"
            raise WorkerError(
                failure.what if known else "the engine loads but cannot generate",
                code=failure.code if known else "bad-engine",
                cause=first_line(error),
                hint=failure.fix if known else "Build it again.",
            ) from error
        async for record in self._engine.llm.get_stats_async(timeout=2):
            self._take_record(record)
            if self._engine.kv_blocks is not None:
                break

    async def serve(self, reader: CommandReader) -> dict[str, Any]:
        """Serve until told to stop or standard input ends; the result's data."""
        loop = asyncio.get_running_loop()
        statistics = loop.create_task(self._watch())
        commands = loop.create_task(self._obey_all(reader))
        try:
            await asyncio.wait([self._end, statistics, commands], return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._end, statistics, commands):
                if ended.done():
                    ended.result()
        except WorkerError as error:
            self._fail_all(str(error))
            raise
        finally:
            self._abort_all()
            for task in (statistics, commands, *self._tasks):
                task.cancel()
        return self._served()

    # Requests

    def _own_settings(self, sampling: Sampling, most: int) -> Any:
        return sampling_params(sampling, most, self._engine)

    def _take_in(self, request: Request) -> bool:
        llm = self._engine.llm
        try:
            request.handle = llm.generate_async(request.prompt_ids, sampling_params=request.config, streaming=True)
        except (TypeError, ValueError) as error:
            self._outbox.refused(request.name, f"the engine does not accept the request: {first_line(error)}")
            return False
        except RuntimeError as error:
            self._outbox.refused(request.name, f"the engine failed: {first_line(error)}")
            self._count_failure(error)
            return False
        request.admitted_s = time.monotonic()
        self._requests += 1
        self._open[request.name] = request
        self._work.set()
        task = asyncio.get_running_loop().create_task(self._follow(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _cancel(self, request: Request) -> None:
        request.handle.abort()

    # Answers

    async def _follow(self, request: Request) -> None:
        """Send what comes of a request, to its end. The library's output goes on after an abort until it has ended."""
        try:
            async for answer in request.handle:
                if self._is_open(request):
                    self._collect(request, answer.outputs[0])
            self._failed = 0
        except Exception as error:
            if self._is_open(request):
                self._close(request)
                self._outbox.finished(request, "error", timings={}, message=_request_words(error))
                self._flush_soon()
            self._count_failure(error)
        else:
            if self._is_open(request):
                self._close(request)
                self._outbox.finished(
                    request, "error", timings={}, message="the engine ended the answer without a reason"
                )
                self._flush_soon()

    def _is_open(self, request: Request) -> bool:
        return self._open.get(request.name) is request

    def _collect(self, request: Request, output: Any) -> None:
        ids = [int(token) for token in output.token_ids_diff]
        self._note_tokens(request, ids)
        logprobs = _logprobs(output.logprobs_diff, ids) if request.sampling.logprobs else None
        reason = output.finish_reason
        last = reason is not None
        stopped = self._outbox.tokens(request, ids, logprobs, last=last)
        if stopped or last:
            self._close(request)
        if stopped:
            if not last:
                self._cancel(request)
            self._outbox.finished(request, "stop", timings=_engine_timings(output), drafted=drafted_of(output))
        elif last:
            known = _FINISHED.get(str(reason))
            message = "" if known else f"the engine ended the answer: {reason}"
            self._outbox.finished(
                request,
                known or "error",  # type: ignore[arg-type]
                timings=_engine_timings(output),
                message=message,
                drafted=drafted_of(output),
            )
        self._flush_soon()

    def _flush(self) -> None:
        try:
            self._outbox.send()
        except BrokenPipeError:
            os._exit(1)  # nobody listens any more

    def _count_failure(self, error: BaseException) -> None:
        """Give up when the library fails on request after request for no fault of theirs."""
        failure = explain_failure([str(error)])
        if failure.code == "prompt-too-long":
            return
        if failure.code in _FATAL and not self._end.done():
            self._end.set_exception(
                WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)
            )
        self._failed += 1
        if self._failed >= _FAILED_REQUESTS and not self._end.done():
            self._end.set_exception(
                WorkerError(
                    "the engine fails on every request",
                    code="engine-failed",
                    cause=first_line(error),
                    hint="Load the engine again; the job's log has what TensorRT-LLM printed.",
                )
            )

    # Stats

    async def _watch(self) -> None:
        """Read iteration records while there are requests, and nothing while there are none."""
        llm = self._engine.llm
        while True:
            await self._work.wait()
            began = time.monotonic()
            async for record in llm.get_stats_async(timeout=_STATS_SECONDS):
                self._take_record(record)
                self._tell_stats_if_due()
            if not self._open:
                self._work.clear()
                if self._timer.on:
                    self._channel.send(self._stats())
            elif time.monotonic() - began < _STATS_SECONDS:
                # The stream is done until another request is made, and says so at once.
                await asyncio.sleep(_STATS_SECONDS)

    def _take_record(self, record: Any) -> None:
        if isinstance(record, str):
            with contextlib.suppress(ValueError):
                record = json.loads(record)
        if isinstance(record, dict):
            self._record = record
            count_record(self._drafted, record)
            if self._engine.kv_blocks is None:
                self._engine.note_pool(record)

    def _stats(self) -> Stats:
        """The last record as `stats`. With no request open, a record from before the end says nothing of now."""
        record = self._record
        pool = record.get("kvCacheStats") or {}
        batching = record.get("inflightBatchingStats") or record.get("staticBatchingStats") or {}
        stale = not self._open and bool(record.get("numActiveRequests") or record.get("numQueuedRequests"))
        active, queued = record.get("numActiveRequests"), record.get("numQueuedRequests")
        if not self._open:
            active = queued = 0
        memory = dict(self._engine.memory_bytes)
        for ours, theirs in (("gpu", "gpuMemUsage"), ("host", "cpuMemUsage"), ("pinned", "pinnedMemUsage")):
            if isinstance(record.get(theirs), int):
                memory[ours] = record[theirs]
        resident = resident_bytes()
        if resident is not None:
            memory["process"] = resident
        return Stats(
            kv_blocks_used=None if stale else pool.get("usedNumBlocks"),
            kv_blocks_free=None if stale else pool.get("freeNumBlocks"),
            kv_blocks_reused_since_load=pool.get("reusedBlocks"),
            kv_blocks_total=pool.get("maxNumBlocks", self._engine.kv_blocks),
            requests_active=active,
            requests_queued=queued,
            batch=None if stale else batching.get("numScheduledRequests"),
            context_tokens=self._context_tokens,
            generated_tokens=self._generated_tokens,
            iteration_ms=record.get("iterLatencyMS"),
            draft_tokens=self._drafted.draft_tokens,
            accepted_tokens=self._drafted.accepted_tokens,
            draft_passes=self._drafted.passes,
            memory_bytes=memory,
        )


def _request_words(error: Exception) -> str:
    failure = explain_failure([str(error)])
    if failure.code == "failed":
        return f"the engine failed on the request: {first_line(error)}"
    return f"{failure.what} {failure.fix}"


def _logprobs(given: Any, ids: list[int]) -> list[float]:
    """Log probabilities of the tokens themselves; the library gives numbers, or a table of candidates a token."""
    found: list[float] = []
    for token, entry in zip(ids, given or [], strict=False):
        value = entry.get(token) if isinstance(entry, dict) else entry
        value = getattr(value, "logprob", value)
        found.append(float(value) if value is not None else float("nan"))
    return found


def _engine_timings(output: Any) -> dict[str, float]:
    """What the library measured for a finished request, in milliseconds; empty unless return_perf_metrics is on."""
    timing = getattr(getattr(output, "request_perf_metrics", None), "timing_metrics", None)
    if timing is None:
        return {}

    def at(name: str) -> float | None:
        value = getattr(timing, name, None)
        seconds = value.total_seconds() if hasattr(value, "total_seconds") else value
        return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None

    arrival, scheduled, first, last = (
        at(name) for name in ("arrival_time", "first_scheduled_time", "first_token_time", "last_token_time")
    )
    found: dict[str, float] = {}
    if arrival is not None and scheduled is not None:
        found["queue_ms"] = (scheduled - arrival) * 1000
    if arrival is not None and first is not None:
        found["ttft_ms"] = (first - arrival) * 1000
    if first is not None and last is not None and getattr(output, "length", 0) > 1:
        found["tpot_ms"] = (last - first) * 1000 / (output.length - 1)
    return found


class _PrivateStdin:
    """Commands by a file descriptor of their own, with nothing at 0: MPI hands 0 on to the processes that it starts,
    and one of them would read the commands away.
    """

    def __init__(self) -> None:
        own = os.dup(0)
        os.set_inheritable(own, False)
        os.set_blocking(own, False)
        early = sys.stdin.buffer.peek()  # what was read along with the spec, or has come since
        os.set_blocking(own, True)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        self._early, self._stream = early, os.fdopen(own, "rb")

    def commands(self) -> Iterator[bytes]:
        *whole, rest = self._early.split(b"\n")
        yield from (line + b"\n" for line in whole)
        if rest:
            yield rest + self._stream.readline()
        yield from iter(self._stream.readline, b"")


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Load the engine and serve it.

    Inputs: `engine`; `tokenizer`, the model's folder (default: the engine's own). Settings: see HostSettings.
    """
    quiet_environment()
    reader = CommandReader(_PrivateStdin())  # type: ignore[arg-type]
    folder = input_folder(spec, "engine")
    tokenizer = input_folder(spec, "tokenizer") if spec.inputs.get("tokenizer") else folder
    if not any((tokenizer / name).is_file() for name in TOKENIZER_FILES):
        raise WorkerError(
            "the engine has no tokenizer",
            code="no-tokenizer",
            cause=f"no tokenizer files in {tokenizer}",
            hint="Give the model's folder as the engine's tokenizer: trtllm-build copies none.",
        )
    settings = host_settings(spec.settings, channel)
    template = usable_template(tokenizer, channel)
    engine = load_engine(folder, tokenizer, settings, channel)
    try:
        return asyncio.run(_serve(channel, engine, template, reader))
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more
    finally:
        _shut_down(engine)


async def _serve(
    channel: Channel, engine: Engine, template: ChatTemplate | None, reader: CommandReader
) -> dict[str, Any]:
    channel.phase("warm up", 3, 3)
    host = Host(channel, engine, template)
    await host.warm_up()
    channel.send(
        Ready(
            limits=told_limits(
                engine.limits, max_batch_size=engine.max_batch_size, max_num_batched_tokens=engine.max_num_tokens
            ),
            kv_blocks_total=engine.kv_blocks,
            kv_block_tokens=engine.kv_block_tokens,
            load_seconds=time.monotonic() - engine.started_s,
            chat_template=template is not None,
            sampling=sampling_names(engine),
            settings=applied_settings(engine),
        )
    )
    return await host.serve(reader)


def _shut_down(engine: Engine) -> None:
    """Let the library end its processes, and do not wait for ever: what is left is ended with this process."""
    thread = threading.Thread(target=engine.llm.shutdown, daemon=True)
    thread.start()
    thread.join(_SHUTDOWN_SECONDS)


if __name__ == "__main__":
    run_worker("trtllm.host", work, packages=PACKAGES, reads_commands=True)
