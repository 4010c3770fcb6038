"""Worker `onnxruntime.host`: serves an ONNX engine by onnxruntime-genai until its client goes.

Open requests are taken in turn, a run of the model each: a piece of the prompt, or one token. Commands are obeyed
between two runs, so an abort waits for one at most; the library holds Python's lock meanwhile. It runs the engines of
the ONNX Runtime and the TensorRT-RTX toolchain; see devices.py for where.
"""

from __future__ import annotations

import collections
import os
import time
from pathlib import Path
from typing import Any

from workbench.core.messages import Ready, Sampling, Stats, StepSpec
from workbench.workers.common import first_line, input_folder, quiet_environment
from workbench.workers.hosts.common import CommandReader, Request, RequestError, resident_bytes
from workbench.workers.hosts.serving import EngineHost, told_limits, usable_template
from workbench.workers.hosts.settings import checked_settings
from workbench.workers.hosts.text import ChatTemplate, detokenizers
from workbench.workers.onnxruntime.common import PACKAGES, is_out_of_memory
from workbench.workers.onnxruntime.engine import Answering, Engine, load_engine
from workbench.workers.onnxruntime.settings import HostSettings, wish
from workbench.workers.protocol import Channel, WorkerError, run_worker

_FAILED_RUNS = 3
"""Runs one after the other that may fail before the host gives up."""


class Host(EngineHost[Engine]):
    """The loop over open requests."""

    def __init__(
        self,
        channel: Channel,
        engine: Engine,
        folder: Path,
        template: ChatTemplate | None,
        max_batch_size: int,
        pool_bytes: int | None = None,
    ) -> None:
        super().__init__(channel, engine, template, detokenizers(folder, engine.decode))
        self._max_batch_size = max_batch_size
        self._pool_bytes = pool_bytes
        self._round: collections.deque[Request] = collections.deque()
        """Open requests that still have their turn in this round."""
        self._round_size = 0
        self._round_began_s = 0.0
        self._batch: int | None = None
        self._round_ms: float | None = None
        self._failed_runs = 0

    def serve(self, reader: CommandReader) -> dict[str, Any]:
        """Serve until told to stop or standard input ends; the result's data."""
        told_idle = True
        while True:
            busy = bool(self._open or self._waiting)
            if not busy and not told_idle:
                told_idle = True
                self._end_round()
                if self._timer.on:
                    self._channel.send(self._stats())
            for received_s, command in reader.take(wait=not busy):
                if not self._obey(command, received_s):
                    self._abort_all()
                    return self._served()
            self._fill_batch()
            self._outbox.send()
            if self._open:
                told_idle = False
                self._turn()

    # Requests

    def _own_settings(self, sampling: Sampling, most: int) -> Any:
        return wish(sampling, most, self._engine.sampling, self._engine.limits.vocabulary)

    def _take_in(self, request: Request) -> bool:
        self._waiting.append(request)
        return True

    def _cancel(self, request: Request) -> None:
        request.handle = None  # the generator goes, and its KV cache with it

    def _fill_batch(self) -> None:
        """Open requests while the batch and the memory for KV caches have room, in the order in which they came."""
        while self._waiting and len(self._open) < self._max_batch_size and self._fits(self._waiting[0]):
            request = self._waiting.popleft()
            self._requests += 1
            try:
                request.handle = self._engine.start(
                    request.prompt_ids, request.config, logprobs=request.sampling.logprobs
                )
            except RequestError as error:
                self._outbox.finished(request, "error", timings={}, message=str(error))
                continue
            request.admitted_s = time.monotonic()
            self._open[request.name] = request

    def _fits(self, request: Request) -> bool:
        """Whether all caches have room to the end of every answer; one that is alone was found to fit before."""
        budget = self._engine.kv_budget_bytes
        if budget is None or not self._open:
            return True
        tokens = [len(one.prompt_ids) + one.config.most for one in (*self._open.values(), request)]
        # Only the one whose turn it is holds its cache twice.
        return bool((sum(tokens) + max(tokens)) * self._engine.kv_bytes_per_token <= budget)

    # Turns

    def _turn(self) -> None:
        """One run of the model, for the request whose turn it is."""
        while self._round and self._open.get(self._round[0].name) is not self._round[0]:
            self._round.popleft()
        if not self._round:
            self._end_round()
            self._round.extend(self._open.values())
            self._round_began_s = time.monotonic()
        request = self._round.popleft()
        self._round_size += 1
        try:
            token = request.handle.step()
        except (RuntimeError, MemoryError) as error:
            self._failed_run(request, error)
            return
        self._failed_runs = 0
        if token is not None:
            self._collect(request, token)
        self._outbox.send()
        self._tell_stats_if_due()

    def _end_round(self) -> None:
        if self._round_size:
            self._batch, self._round_ms = self._round_size, (time.monotonic() - self._round_began_s) * 1000
        self._round.clear()
        self._round_size = 0

    def _collect(self, request: Request, token: int) -> None:
        """Send a request's new token; end it where it is the last."""
        handle: Answering = request.handle
        ended = token in self._engine.end_ids and not request.sampling.ignore_eos
        last = ended or request.output_tokens + 1 >= request.config.most
        logprobs = None if handle.logprob is None else [handle.logprob]
        self._note_tokens(request, [token])
        stopped = self._outbox.tokens(request, [token], logprobs, last=last)
        if last or stopped:
            self._close(request)
            timings = {"prefill_ms": handle.prefill_s * 1000, "decode_ms": handle.decode_s * 1000}
            self._cancel(request)
            self._outbox.finished(request, "stop" if ended or stopped else "length", timings=timings)

    def _failed_run(self, request: Request, error: BaseException) -> None:
        """End the request with the library's words; give up when the next ones fail too."""
        self._failed_runs += 1
        self._close(request)
        self._cancel(request)
        message = f"the engine failed in a run: {first_line(error)}"
        if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
            message = f"there is not enough memory to go on: {first_line(error)}"
        self._outbox.finished(request, "error", timings={}, message=message)
        self._outbox.send()
        if self._failed_runs >= _FAILED_RUNS:
            raise WorkerError(
                "the engine fails in every run",
                code="engine-failed",
                cause=first_line(error),
                hint="Load the engine again.",
            ) from error

    # Stats

    def _stats(self) -> Stats:
        held = sum(request.handle.cached_tokens for request in self._open.values()) * self._engine.kv_bytes_per_token
        memory = {"kv_cache": held}
        resident = resident_bytes()
        if resident is not None:
            memory["process"] = resident
        return Stats(
            kv_share=min(1.0, held / self._pool_bytes) if self._pool_bytes else None,
            requests_active=len(self._open),
            requests_queued=len(self._waiting),
            batch=self._batch,
            context_tokens=self._context_tokens,
            generated_tokens=self._generated_tokens,
            iteration_ms=self._round_ms,
            memory_bytes=memory,
        )


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Load the engine and serve it."""
    quiet_environment()
    reader = CommandReader(channel)
    folder = input_folder(spec, "engine")
    settings = checked_settings(HostSettings, spec.settings, channel)
    template = usable_template(folder, channel)
    channel.phase("load", 1, 1)
    engine = load_engine(folder, settings)
    if engine.place.remark:
        channel.log(f"{engine.place.remark}; ONNX Runtime runs its ONNX model on {engine.place.words}", "warning")
    host = Host(channel, engine, folder, template, settings.max_batch_size, settings.kv_cache_bytes)
    channel.send(
        Ready(
            limits=told_limits(
                engine.limits,
                max_batch_size=settings.max_batch_size,
                max_num_batched_tokens=engine.prefill_chunk or engine.limits.max_seq_len,
            ),
            load_seconds=engine.load_seconds,
            chat_template=template is not None,
            sampling=engine.sampling,
            settings=engine.applied,
        )
    )
    try:
        return host.serve(reader)
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


if __name__ == "__main__":
    run_worker("onnxruntime.host", work, packages=PACKAGES, reads_commands=True)
