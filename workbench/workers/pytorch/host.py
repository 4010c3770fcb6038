"""Worker `pytorch.host`: serves a Hugging Face folder by transformers' continuous batching until its client goes.

The library turns the iterations in a thread of its own and calls back into this event loop, once an iteration. Its
scheduler evicts requests when the pool is full, and in some versions their answers come out short then: so a request
is handed over only once the pool has room for it to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

from workbench.core.messages import Ready, Sampling, Stats, StepSpec
from workbench.workers.common import first_line, input_folder, quiet_environment
from workbench.workers.hosts.common import CommandReader, Request, RequestError
from workbench.workers.hosts.serving import LoopHost, told_limits, usable_template
from workbench.workers.hosts.text import ChatTemplate, Detokenizer, detokenizers
from workbench.workers.protocol import Channel, WorkerError, run_worker
from workbench.workers.pytorch.common import PACKAGES, is_out_of_memory, memory_now, out_of_memory
from workbench.workers.pytorch.engine import Engine, load_engine
from workbench.workers.pytorch.load import host_settings
from workbench.workers.pytorch.reference import open_reference

_WATCH_SECONDS = 0.02
_STOP_SECONDS = 1.0


class Host(LoopHost[Engine]):
    """The open requests of an engine, and what becomes of them."""

    def __init__(
        self,
        channel: Channel,
        engine: Engine,
        template: ChatTemplate | None,
        new_detokenizer: Callable[[], Detokenizer],
    ) -> None:
        super().__init__(channel, engine, template, new_detokenizer)
        self._reserved_blocks = 0
        self._last_error = ""
        self._iterations = _Iterations(engine)

    async def serve(self, reader: CommandReader) -> dict[str, Any]:
        """Serve until told to stop or standard input ends; the result's data."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._watch()), loop.create_task(self._obey_all(reader))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            self._abort_all()
            # Its thread would otherwise call into a loop that is gone.
            with contextlib.suppress(Exception):
                self._engine.manager.stop(block=True, timeout=_STOP_SECONDS)
        return self._served()

    # Requests

    def _own_settings(self, sampling: Sampling, most: int) -> Any:
        self._engine.check(sampling)
        return most

    def _take_in(self, request: Request) -> bool:
        self._waiting.append(request)
        self._work.set()
        return True

    def _cancel(self, request: Request) -> None:
        self._engine.manager.cancel_request(request.handle)

    def _fill_batch(self) -> None:
        """Hand requests to the library, in their order, as many as the batch and the pool take to their ends."""
        engine = self._engine
        while self._waiting and len(self._open) < engine.settings.max_batch_size:
            request = self._waiting[0]
            blocks = engine.blocks_for(len(request.prompt_ids) + request.config)
            if self._reserved_blocks + blocks > engine.kv_blocks:
                return
            self._waiting.popleft()
            self._requests += 1
            number = str(self._requests)
            engine.manager.register_result_handler(number, lambda output, name=request.name: self._take(name, output))
            try:
                engine.add(number, request.prompt_ids, request.sampling, request.config)
            except RequestError as error:
                self._outbox.finished(request, "error", timings={}, message=str(error))
                continue
            request.handle = number
            request.admitted_s = time.monotonic()
            self._reserved_blocks += blocks
            self._open[request.name] = request

    def _close(self, request: Request) -> None:
        """Forget a request that has ended and make use of its place."""
        super()._close(request)
        self._reserved_blocks -= self._engine.blocks_for(len(request.prompt_ids) + request.config)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._fill_batch)

    # Answers

    def _take(self, name: str, output: Any) -> None:
        """What an iteration added to a request. The library calls this in the event loop."""
        request = self._open.get(name)
        if request is None or request.handle != output.request_id:
            if not output.is_finished() and not output.error:
                # An abort that came before the library had taken the request is forgotten by some versions.
                self._engine.manager.cancel_request(output.request_id)
            return
        self._flush_soon()
        # The list is the library's own and may have grown since: what has come is sent, and not sent again.
        count = len(output.generated_tokens)
        if request.sampling.logprobs:
            count = min(count, len(output.logprobs))
        sent = request.output_tokens
        ids = list(output.generated_tokens[sent:count])
        logprobs = list(output.logprobs[sent:count]) if request.sampling.logprobs else None
        self._note_tokens(request, ids)
        last = output.is_finished() or output.error is not None
        stopped = self._outbox.tokens(request, ids, logprobs, last=last)
        if output.error is not None:
            self._close(request)
            self._last_error = output.error
            words = f"the engine failed on the request: {first_line(Exception(output.error))}"
            self._outbox.finished(request, "error", timings={}, message=words)
        elif last:
            self._close(request)
            ended = bool(output.generated_tokens) and output.generated_tokens[-1] in self._engine.end_ids
            natural = stopped or (ended and not request.sampling.ignore_eos)
            self._outbox.finished(request, "stop" if natural else "length", timings=_engine_timings(output))
        elif stopped:
            self._close(request)
            self._cancel(request)
            self._outbox.finished(request, "stop", timings={})

    def _flush(self) -> None:
        self._iterations.done()
        try:
            self._outbox.send()
            self._tell_stats_if_due()
        except BrokenPipeError:
            os._exit(1)  # nobody listens any more

    # Stats

    async def _watch(self) -> None:
        """While there is work: `stats` also in iterations without tokens, and an eye on the library's thread."""
        while True:
            await self._work.wait()
            while self._open or self._waiting or self._engine.pending():
                if not self._engine.manager.is_running():
                    self._give_up()
                self._tell_stats_if_due()
                await asyncio.sleep(_WATCH_SECONDS)
            self._work.clear()
            self._iterations.pause()
            if self._timer.on:
                self._channel.send(self._stats())

    def _give_up(self) -> None:
        error = self._last_error or "its thread ended; the log has what the library printed"
        for name in [*self._open, *(request.name for request in self._waiting)]:
            request = self._open.pop(name, None) or next(one for one in self._waiting if one.name == name)
            self._outbox.finished(request, "error", timings={}, message=f"the engine failed: {error}")
        self._waiting.clear()
        self._outbox.send()
        if is_out_of_memory(error):
            raise out_of_memory("the engine ran out of memory", error)
        raise WorkerError("the engine failed", code="engine-failed", cause=error, hint="Load the engine again.")

    def _stats(self) -> Stats:
        engine = self._engine
        used, active = engine.kv_blocks_used(), min(engine.running(), len(self._open))
        return Stats(
            kv_blocks_used=used,
            kv_blocks_free=engine.kv_blocks - used,
            kv_blocks_total=engine.kv_blocks,
            requests_active=active,
            requests_queued=len(self._open) - active + len(self._waiting),
            context_tokens=self._context_tokens,
            generated_tokens=self._generated_tokens,
            iteration_ms=self._iterations.mean_ms(),
            memory_bytes=memory_now(engine.device, engine.weights_bytes, engine.kv_pool_bytes),
        )


class _Iterations:
    """Mean time of an iteration since the last report. The library counts them and does not time them; tokens come
    when one is done, and only then the clock is read, or a report would cut iterations in two.
    """

    def __init__(self, engine: Engine) -> None:
        self._manager = engine.manager
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._mean_ms: float | None = None

    def done(self) -> None:
        """An iteration has just ended."""
        count = getattr(self._manager, "current_batch", None)
        if count is not None:
            self._last = (time.monotonic(), int(count))
            self._first = self._first or self._last

    def pause(self) -> None:
        """No work: what passes until there is some again is no iteration."""
        self.mean_ms()
        self._first = self._last = None

    def mean_ms(self) -> float | None:
        """Milliseconds; None before the second iteration."""
        if self._first is not None and self._last is not None and self._last[1] > self._first[1]:
            self._mean_ms = (self._last[0] - self._first[0]) * 1000 / (self._last[1] - self._first[1])
            self._first = self._last
        return self._mean_ms


def _engine_timings(output: Any) -> dict[str, float]:
    """What the library measured for a finished request, in milliseconds."""
    begun, ended = output.lifespan
    found = {}
    if begun > 0:
        found["queue_ms"] = (begun - output.created_time) * 1000
        if ended > 0:
            found["inference_ms"] = (ended - begun) * 1000
    return {name: float(value) for name, value in found.items() if value >= 0}


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Load the engine folder, or the model folder, given as input `engine` and serve it. Settings: see HostSettings;
    what the engine was built with counts where the spec says nothing.
    """
    quiet_environment()
    reader = CommandReader(channel)
    reference = open_reference(input_folder(spec, "engine"), channel)
    given = {name: value for name, value in spec.settings.items() if value is not None}
    settings = host_settings({**reference.settings, **given}, channel)
    folder = reference.model
    template = usable_template(folder, channel)
    engine = load_engine(folder, settings, channel)
    try:
        return asyncio.run(_serve(channel, engine, template, reader, detokenizers(folder, engine.decode)))
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


async def _serve(
    channel: Channel,
    engine: Engine,
    template: ChatTemplate | None,
    reader: CommandReader,
    new_detokenizer: Callable[[], Detokenizer],
) -> dict[str, Any]:
    host = Host(channel, engine, template, new_detokenizer)
    channel.send(
        Ready(
            limits=told_limits(
                engine.limits,
                max_batch_size=engine.settings.max_batch_size,
                max_num_batched_tokens=int(engine.manager.batch_processor.max_batch_tokens),
            ),
            kv_blocks_total=engine.kv_blocks,
            kv_block_tokens=engine.kv_block_tokens,
            load_seconds=engine.load_seconds,
            chat_template=template is not None,
            sampling=engine.sampling_names(),
            settings=engine.applied(),
        )
    )
    return await host.serve(reader)


if __name__ == "__main__":
    run_worker("pytorch.host", work, packages=PACKAGES, reads_commands=True)
