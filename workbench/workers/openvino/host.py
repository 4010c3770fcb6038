"""Worker `openvino.host`: serves an OpenVINO engine with in-flight batching until its client goes.

One thread reads commands into a queue; the main thread turns the pipeline's iterations, sleeping on the queue
while there is nothing to do. The library holds Python's lock during an iteration, so commands are obeyed
between two.
"""

from __future__ import annotations

import collections
import os
import time
from pathlib import Path
from typing import Any

from workbench.core.messages import Abort, Count, Generate, Ready, Shutdown, Stats, StatsInterval, StepSpec
from workbench.workers.common import first_line, input_folder, quiet_environment
from workbench.workers.hosts.common import (
    CommandReader,
    EndOfCommands,
    Incoming,
    Outbox,
    Request,
    RequestError,
    Rubbish,
    RubbishLog,
    StatsTimer,
    TooLong,
    capped_max_tokens,
    counted,
    line_too_long,
    prompt_ids,
    resident_bytes,
)
from workbench.workers.hosts.text import (
    ChatTemplate,
    StopFinder,
    TemplateError,
    detokenizers,
    load_chat_template,
)
from workbench.workers.openvino.common import PACKAGES
from workbench.workers.openvino.engine import Engine, generation_config, host_settings, load_engine, sampling_names
from workbench.workers.protocol import Channel, WorkerError, run_worker

_FAILED_STEPS = 3
"""Iterations in a row that may fail before the host gives up."""


class Host:
    """The engine's loop and its open requests."""

    def __init__(
        self,
        channel: Channel,
        engine: Engine,
        folder: Path,
        template: ChatTemplate | None,
        max_batch_size: int,
    ) -> None:
        import openvino_genai

        self._channel = channel
        self._engine = engine
        self._pipeline = engine.pipeline
        self._template = template
        self._new_detokenizer = detokenizers(folder, engine.decode)
        self._outbox = Outbox(channel)
        self._rubbish = RubbishLog(channel)
        self._timer = StatsTimer()
        self._max_batch_size = max_batch_size
        self._open: dict[str, Request] = {}
        self._waiting: collections.deque[Request] = collections.deque()
        self._number = 0
        self._context_tokens = 0
        self._generated_tokens = 0
        self._iteration_ms: float | None = None
        self._failed_steps = 0
        self._running = openvino_genai.GenerationFinishReason.NONE
        self._status = openvino_genai.GenerationStatus

    def serve(self, reader: CommandReader) -> dict[str, Any]:
        """Serve until told to stop or standard input ends; the result's data."""
        told_idle = True
        while True:
            busy = bool(self._open) or bool(self._waiting) or self._pipeline.has_non_finished_requests()
            if not busy and not told_idle:
                told_idle = True
                self._tell_idle()
            for received_s, command in reader.take(wait=not busy):
                if not self._obey(command, received_s):
                    self._abort_all()
                    return {"requests": self._number, "generated_tokens": self._generated_tokens}
            self._fill_batch()
            self._outbox.send()
            if self._open or self._pipeline.has_non_finished_requests():
                told_idle = False
                self._iterate()

    # Commands

    def _obey(self, command: Incoming, received_s: float) -> bool:
        """Do what a command says; False: the host is to end."""
        if isinstance(command, Generate):
            self._admit(command, received_s)
        elif isinstance(command, Count):
            engine = self._engine
            self._channel.send(counted(command, self._template, engine.encode, engine.limits))
        elif isinstance(command, Abort):
            self._abort(command.request)
        elif isinstance(command, StatsInterval):
            self._timer.set(command.seconds)
            if self._timer.due():
                self._channel.send(self._stats())
        elif isinstance(command, Rubbish):
            if command.request is not None:
                self._outbox.refused(command.request, f"the request is not valid: {command.text}")
            else:
                self._rubbish.note(command.text)
        elif isinstance(command, TooLong):
            self._abort_all()
            raise line_too_long(command.size_bytes)
        return not isinstance(command, Shutdown | EndOfCommands)

    def _admit(self, command: Generate, received_s: float) -> None:
        """Check a request and put it in the queue."""
        name, sampling, limits = command.request, command.sampling, self._engine.limits
        if name in self._open or any(request.name == name for request in self._waiting):
            self._outbox.refused(name, f"a request named {name!r} is not finished yet; give each its own name")
            return
        try:
            ids = prompt_ids(command, self._template, self._engine.encode, limits)
            most = capped_max_tokens(sampling.max_tokens, len(ids), limits)
            config = generation_config(sampling, most)
        except RequestError as error:
            self._outbox.refused(name, str(error))
            return
        except RuntimeError as error:
            self._outbox.refused(name, f"the engine's tokenizer failed on the prompt: {first_line(error)}")
            return
        if most < sampling.max_tokens:
            wanted = f"{sampling.max_tokens:,} tokens asked for"
            self._channel.log(f"request {name}: {wanted}, there is room for {most:,}")
        self._waiting.append(
            Request(
                name=name,
                prompt_ids=ids,
                sampling=sampling,
                config=config,
                detokenizer=self._new_detokenizer(),
                stops=StopFinder(sampling.stop),
                received_s=received_s,
            )
        )

    def _fill_batch(self) -> None:
        """Hand requests to the library, as many as the batch takes: with chunked prefill it knows no such limit."""
        while self._waiting and len(self._open) < self._max_batch_size:
            request = self._waiting.popleft()
            self._number += 1
            try:
                request.handle = self._engine.add(self._number, request.prompt_ids, request.config)
            except RequestError as error:
                self._outbox.finished(request, "error", timings={}, message=str(error))
                continue
            request.admitted_s = time.monotonic()
            self._open[request.name] = request

    def _abort(self, name: str) -> None:
        request = self._open.pop(name, None)
        if request is not None:
            request.handle.cancel()
        else:
            request = next((one for one in self._waiting if one.name == name), None)
            if request is None:
                words = f"there is no request named {name!r} to abort; it may have finished"
                self._outbox.refused(name, words)
                return
            self._waiting.remove(request)
        self._outbox.finished(request, "abort", timings={})

    def _abort_all(self) -> None:
        for name in [*self._open, *(request.name for request in self._waiting)]:
            self._abort(name)
        self._outbox.send()

    # Iterations

    def _iterate(self) -> None:
        started = time.monotonic()
        try:
            self._pipeline.step()
        except RuntimeError as error:
            self._failed_iteration(error)
            return
        self._failed_steps = 0
        self._iteration_ms = (time.monotonic() - started) * 1000
        for request in list(self._open.values()):
            self._collect(request)
        self._outbox.send()
        if self._timer.due():
            self._channel.send(self._stats())

    def _collect(self, request: Request) -> None:
        """Send what an iteration added to a request."""
        handle = request.handle
        ids: list[int] = []
        logprobs: list[float] = []
        reason = self._running
        while handle.can_read():
            for output in handle.read().values():
                ids += output.generated_ids
                if request.sampling.logprobs:
                    logprobs += output.generated_log_probs
                reason = output.finish_reason
        if reason == self._running and ids:
            last = False
        else:
            status = handle.get_status()
            if status == self._status.RUNNING:
                return
            if status == self._status.IGNORED:
                self._out_of_blocks(request, ids, logprobs)
                return
            last = True
        self._count(request, ids)
        stopped = self._outbox.tokens(request, ids, logprobs if request.sampling.logprobs else None, last=last)
        if last:
            del self._open[request.name]
            cut = reason.name == "LENGTH" and not stopped
            self._outbox.finished(request, "length" if cut else "stop", timings=_engine_timings(handle))
        elif stopped:
            del self._open[request.name]
            handle.cancel()
            self._outbox.finished(request, "stop", timings={})

    def _count(self, request: Request, ids: list[int]) -> None:
        if ids and request.first_token_s is None:
            self._context_tokens += len(request.prompt_ids)
        self._generated_tokens += len(ids)

    def _out_of_blocks(self, request: Request, ids: list[int], logprobs: list[float]) -> None:
        del self._open[request.name]
        self._count(request, ids)
        self._outbox.tokens(request, ids, logprobs if request.sampling.logprobs else None, last=True)
        used = f"{len(request.prompt_ids):,} prompt tokens and {request.output_tokens:,} new ones"
        message = (
            f"the KV pool of {self._engine.kv_blocks:,} blocks is full after {used}; "
            "load the engine with a larger pool or send fewer requests at once"
        )
        self._outbox.finished(request, "error", timings={}, message=message)

    def _failed_iteration(self, error: RuntimeError) -> None:
        """End all requests with the library's words; give up when that does not clear it."""
        self._failed_steps += 1
        for name in list(self._open):
            request = self._open.pop(name)
            request.handle.cancel()
            message = f"the engine failed in an iteration: {first_line(error)}"
            self._outbox.finished(request, "error", timings={}, message=message)
        self._outbox.send()
        if self._failed_steps >= _FAILED_STEPS:
            raise WorkerError(
                "the engine fails in every iteration",
                code="engine-failed",
                cause=first_line(error),
                hint="Load the engine again.",
            ) from error

    # Stats

    def _tell_idle(self) -> None:
        """One last `stats`: an iteration without requests makes the library count its blocks again."""
        self._pipeline.step()
        if self._timer.on:
            self._channel.send(self._stats())

    def _stats(self) -> Stats:
        used, total = self._engine.kv_blocks_used(), self._engine.kv_blocks
        scheduled = int(self._pipeline.get_metrics().scheduled_requests)
        active = min(scheduled, len(self._open))
        memory = {"kv_pool": self._engine.kv_pool_bytes}
        resident = resident_bytes()
        if resident is not None:
            memory["process"] = resident
        return Stats(
            kv_blocks_used=used,
            kv_blocks_free=total - used,
            kv_blocks_total=total,
            requests_active=active,
            requests_queued=len(self._open) - active + len(self._waiting),
            batch=scheduled,
            context_tokens=self._context_tokens,
            generated_tokens=self._generated_tokens,
            iteration_ms=self._iteration_ms,
            memory_bytes=memory,
        )


def _engine_timings(handle: Any) -> dict[str, float]:
    """What the library measured for a finished request, in milliseconds."""
    try:
        metrics = handle.get_perf_metrics()
    except (AttributeError, RuntimeError):
        return {}
    found = {"ttft_ms": metrics.get_ttft().mean, "inference_ms": metrics.get_inference_duration().mean}
    if metrics.get_num_generated_tokens() > 1:
        found["tpot_ms"] = metrics.get_tpot().mean
    return {name: float(value) for name, value in found.items() if value >= 0}


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Load the engine and serve it."""
    quiet_environment()
    reader = CommandReader(channel)
    folder = input_folder(spec, "engine")
    settings = host_settings(spec.settings, channel)
    try:
        template = load_chat_template(folder)
    except TemplateError as error:
        channel.log(f"the chat template cannot be used, plain prompts only: {error}", "warning")
        template = None
    engine = load_engine(folder, settings, channel)
    host = Host(channel, engine, folder, template, settings.max_batch_size)
    limits = {
        "max_seq_len": engine.limits.max_seq_len,
        "max_batch_size": settings.max_batch_size,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
    }
    if engine.limits.kv_tokens is not None:
        limits["kv_tokens"] = engine.limits.kv_tokens
    channel.send(
        Ready(
            limits=limits,
            kv_blocks_total=engine.kv_blocks,
            kv_block_tokens=engine.kv_block_tokens,
            load_seconds=engine.load_seconds,
            chat_template=template is not None,
            sampling=sampling_names(),
        )
    )
    try:
        return host.serve(reader)
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


if __name__ == "__main__":
    run_worker("openvino.host", work, packages=PACKAGES, reads_commands=True)
