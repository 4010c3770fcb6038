"""An engine behind Triton through TensorRT-LLM's LLM class for engines; all settings stand in model.yaml.

The container brings a model of this kind too, whose LLM class runs PyTorch models and refuses engine folders. Names of
inputs and outputs are the same.
"""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
import yaml

LAST = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
PREFIX = "sampling_param_"
PLAIN = (
    *("max_tokens", "temperature", "top_k", "top_p", "frequency_penalty", "presence_penalty", "seed", "best_of"),
    *("exclude_input_from_output", "return_perf_metrics"),
)
LOOK_S = 0.1
"""How often it is looked whether the client has gone."""


class RequestError(ValueError):
    """A request that cannot be served; its text goes to the client."""


class TritonPythonModel:
    """The one instance; the engine's ranks are processes that it starts itself."""

    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        self.decoupled = bool(self.config.get("model_transaction_policy", {}).get("decoupled"))
        settings = yaml.safe_load((Path(__file__).resolve().parent / "model.yaml").read_text("utf-8"))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="engine", daemon=True)
        self.thread.start()
        try:
            self.llm = asyncio.run_coroutine_threadsafe(_loaded(settings), self.loop).result()
        except BaseException:
            self.loop.call_soon_threadsafe(self.loop.stop)
            raise

    def execute(self, requests):
        if self.decoupled:
            for request in requests:
                self._start(self._stream(request, request.get_response_sender()))
            return None
        return [future.result() for future in [self._start(self._whole(request)) for request in requests]]

    def finalize(self):
        self.llm.shutdown()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def _start(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def _whole(self, request):
        try:
            if _asked(request, "streaming", False):
                raise RequestError("This model does not stream: it was exported without --decoupled.")
            found = None
            async for tensors in self._answers(request, request.is_cancelled):
                found = tensors
            if found is None:
                return _error("The request was cancelled.")
            return pb_utils.InferenceResponse(output_tensors=found)
        except Exception as error:
            return _error(_words(error))

    async def _stream(self, request, sender):
        try:
            async for tensors in self._answers(request, sender.is_cancelled):
                sender.send(pb_utils.InferenceResponse(output_tensors=tensors))
            sender.send(flags=LAST)
        except Exception as error:
            sender.send(_error(_words(error)), flags=LAST)

    async def _answers(self, request, cancelled):
        from tensorrt_llm._tensorrt_engine import SamplingParams

        prompts = _flat(request, "text_input")
        if len(prompts) != 1:
            raise RequestError("One prompt a request is taken.")
        given = {name: _asked(request, PREFIX + name, None) for name in PLAIN}
        given = {name: value for name, value in given.items() if value is not None}
        stops = [_text(word) for word in _flat(request, f"{PREFIX}stop") if len(word)]
        if stops:
            given["stop"] = stops
        if given.get("best_of") == 1:
            del given["best_of"]
        streams = bool(_asked(request, "streaming", False))
        wanted = {name: bool(_asked(request, name, False)) for name in ("return_finish_reason", "return_stop_reason")}
        wanted["return_cumulative_logprob"] = bool(_asked(request, "return_cumulative_logprob", False))
        if wanted["return_cumulative_logprob"]:
            given["logprobs"] = 1
        result = self.llm.generate_async(_text(prompts[0]), SamplingParams(**given), streaming=streams)
        given_text = 0
        while True:
            step = asyncio.ensure_future(result.__anext__())
            while not step.done():
                await asyncio.wait({step}, timeout=LOOK_S)
                if cancelled():
                    result.abort()
                    step.cancel()
                    await asyncio.gather(step, return_exceptions=True)
                    return
            try:
                step.result()
            except StopAsyncIteration:
                return
            text = [out.text[given_text:] if streams else out.text for out in result.outputs]
            given_text = len(result.outputs[0].text)
            if any(text) or result.finished or not streams:
                yield _tensors(text, result.outputs, wanted)


async def _loaded(settings):
    """The engine, made inside the loop that its requests are made in."""
    from tensorrt_llm._tensorrt_engine import LLM
    from tensorrt_llm.llmapi import CapacitySchedulerPolicy, KvCacheConfig, SchedulerConfig

    own = {name: value for name, value in settings.items() if name not in ("backend", "triton_config")}
    if "kv_cache_config" in own:
        own["kv_cache_config"] = KvCacheConfig(**own["kv_cache_config"])
    if "scheduler_config" in own:
        policy = own["scheduler_config"]["capacity_scheduler_policy"]
        own["scheduler_config"] = SchedulerConfig(capacity_scheduler_policy=CapacitySchedulerPolicy[policy])
    return LLM(**own)


def _tensors(text, outputs, wanted):
    found = [pb_utils.Tensor("text_output", _strings(text))]
    if wanted["return_finish_reason"]:
        found.append(pb_utils.Tensor("finish_reason", _strings(str(out.finish_reason or "") for out in outputs)))
    if wanted["return_stop_reason"]:
        found.append(pb_utils.Tensor("stop_reason", _strings(str(out.stop_reason or "") for out in outputs)))
    if wanted["return_cumulative_logprob"]:
        values = [np.nan if out.cumulative_logprob is None else out.cumulative_logprob for out in outputs]
        found.append(pb_utils.Tensor("cumulative_logprob", np.array(values, dtype=np.float32)))
    return found


def _strings(values):
    return np.array([value.encode("utf-8") for value in values], dtype=object)


def _flat(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return [] if tensor is None else list(tensor.as_numpy().reshape(-1))


def _asked(request, name, default):
    values = _flat(request, name)
    return values[0].item() if values else default


def _text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _words(error):
    return str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"


def _error(words):
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(words))
