"""Worker `openvino.host`: serves an OpenVINO engine with in-flight batching until its client goes.

One thread reads commands into a queue; the main thread turns the pipeline's iterations, sleeping on the queue
while there is nothing to do. The library holds Python's lock during an iteration, so commands are obeyed
between two.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from workbench.core.messages import Ready, Sampling, Stats, StepSpec
from workbench.workers.common import first_line, input_folder, quiet_environment
from workbench.workers.hosts.common import CommandReader, Request, RequestError, resident_bytes
from workbench.workers.hosts.drafting import DraftCount
from workbench.workers.hosts.serving import EngineHost, told_limits, usable_template
from workbench.workers.hosts.text import ChatTemplate, detokenizers
from workbench.workers.openvino.common import PACKAGES
from workbench.workers.openvino.drafting import count_pass
from workbench.workers.openvino.engine import Engine, generation_config, host_settings, load_engine, sampling_names
from workbench.workers.protocol import Channel, WorkerError, run_worker

_FAILED_STEPS = 3
"""Iterations in a row that may fail before the host gives up."""


class Host(EngineHost[Engine]):
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

        super().__init__(channel, engine, template, detokenizers(folder, engine.decode))
        self._pipeline = engine.pipeline
        self._max_batch_size = max_batch_size
        self._iteration_ms: float | None = None
        self._failed_steps = 0
        self._drafted = DraftCount()
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
                    return self._served()
            self._fill_batch()
            self._outbox.send()
            if self._open or self._pipeline.has_non_finished_requests():
                told_idle = False
                self._iterate()

    # Requests

    def _own_settings(self, sampling: Sampling, most: int) -> Any:
        return generation_config(sampling, most, self._engine.drafting)

    def _take_in(self, request: Request) -> bool:
        self._waiting.append(request)
        return True

    def _cancel(self, request: Request) -> None:
        request.handle.cancel()

    def _fill_batch(self) -> None:
        """Hand requests to the library, as many as the batch takes: with chunked prefill it knows no such limit."""
        while self._waiting and len(self._open) < self._max_batch_size:
            request = self._waiting.popleft()
            self._requests += 1
            try:
                request.handle = self._engine.add(self._requests, request.prompt_ids, request.config)
            except RequestError as error:
                self._outbox.finished(request, "error", timings={}, message=str(error))
                continue
            request.admitted_s = time.monotonic()
            self._open[request.name] = request

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
        self._tell_stats_if_due()

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
        if self._engine.drafting is not None and not last:
            count_pass(self._engine.drafting, request, len(ids), (self._drafted, request.drafted))
        self._note_tokens(request, ids)
        stopped = self._outbox.tokens(request, ids, logprobs if request.sampling.logprobs else None, last=last)
        if last:
            self._close(request)
            cut = reason.name == "LENGTH" and not stopped
            self._outbox.finished(request, "length" if cut else "stop", timings=_engine_timings(handle))
        elif stopped:
            self._close(request)
            self._cancel(request)
            self._outbox.finished(request, "stop", timings={})

    def _out_of_blocks(self, request: Request, ids: list[int], logprobs: list[float]) -> None:
        self._close(request)
        self._note_tokens(request, ids)
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
        for request in list(self._open.values()):
            self._close(request)
            self._cancel(request)
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
        if self._engine.draft_kv_bytes is not None:
            memory["draft_kv_pool"] = self._engine.draft_kv_bytes
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
            draft_tokens=self._drafted.draft_tokens,
            accepted_tokens=self._drafted.accepted_tokens,
            draft_passes=self._drafted.passes,
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
    draft = input_folder(spec, "draft") if spec.inputs.get("draft") else None
    template = usable_template(folder, channel)
    engine = load_engine(folder, settings, channel, draft)
    host = Host(channel, engine, folder, template, settings.max_batch_size)
    channel.send(
        Ready(
            limits=told_limits(
                engine.limits,
                max_batch_size=settings.max_batch_size,
                max_num_batched_tokens=settings.max_num_batched_tokens,
            ),
            kv_blocks_total=engine.kv_blocks,
            kv_block_tokens=engine.kv_block_tokens,
            load_seconds=engine.load_seconds,
            chat_template=template is not None,
            sampling=sampling_names(),
            settings=engine.applied,
        )
    )
    try:
        return host.serve(reader)
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


if __name__ == "__main__":
    run_worker("openvino.host", work, packages=PACKAGES, reads_commands=True)
