"""`tensorrt_llm._tensorrt_engine`: the class that runs engine folders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import queue
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorrt_llm import __version__
from tensorrt_llm._standin import MARK, gpus, option, sm
from tensorrt_llm._standin.executor import SAYS, Executor, Work
from tensorrt_llm._standin.failures import SHOWN, fail_at
from tensorrt_llm._standin.log import Log
from tensorrt_llm.llmapi import (
    BatchingType,
    EagleDecodingConfig,
    ExtendedRuntimePerfKnobConfig,
    KvCacheConfig,
    LookaheadDecodingConfig,
    MedusaDecodingConfig,
    SamplingParams,
    SchedulerConfig,
)

__all__ = ["LLM", "SamplingParams"]

SHARED = (
    "pipeline_parallel_size", "context_parallel_size", "gpus_per_node", "kv_cache_config", "enable_chunked_prefill",
    "guided_decoding_backend", "batched_logits_processor", "iter_stats_max_iterations",
    "request_stats_max_iterations", "peft_cache_config", "scheduler_config", "cache_transceiver_config",
    "speculative_config", "max_batch_size", "max_input_len", "max_seq_len", "max_beam_width", "max_num_tokens",
    "gather_generation_logits", "num_postprocess_workers", "postprocess_tokenizer_dir", "reasoning_parser",
    "return_perf_metrics", "perf_metrics_max_requests", "otlp_traces_endpoint", "enable_lora", "lora_config",
)  # fmt: skip
ENGINE_ONLY = (
    "enable_tqdm", "workspace", "fail_fast_on_attention_window_too_large", "enable_build_cache",
    "extended_runtime_perf_knob_config", "calib_config", "quant_config", "embedding_parallel_mode", "fast_build",
    "build_config", "batching_type", "normalize_log_probs", "enable_prompt_adapter", "max_prompt_adapter_token",
)  # fmt: skip
TYPES: dict[str, type] = {
    "kv_cache_config": KvCacheConfig,
    "scheduler_config": SchedulerConfig,
    "extended_runtime_perf_knob_config": ExtendedRuntimePerfKnobConfig,
    "batching_type": BatchingType,
}
MODES = {4: MedusaDecodingConfig, 8: LookaheadDecodingConfig, 32: EagleDecodingConfig}
"""build_config.speculative_decoding_mode -> what the executor must be told to run it."""
NOT_STOOD_IN_FOR = ("batched_logits_processor", "guided_decoding_backend", "enable_lora",
                    "lora_config", "peft_cache_config", "cache_transceiver_config")  # fmt: skip


class RequestError(RuntimeError):
    """An error of one request."""


class Tokenizer:
    """What the real one wraps Hugging Face's tokenizer in."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Fast

        self._fast = Fast.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        eos = config.get("eos_token")
        self.eos_token_id: int | None = self._fast.token_to_id(eos) if eos else None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        ids: list[int] = self._fast.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str:
        text: str = self._fast.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
        return text


class CompletionOutput:
    def __init__(self) -> None:
        self.index = 0
        self.text = ""
        self.token_ids: list[int] = []
        self.cumulative_logprob: float | None = None
        self.logprobs: list[dict[int, Any]] = []
        self.prompt_logprobs: list[Any] = []
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None
        self.generation_logits = None
        self.disaggregated_params = None
        self.request_perf_metrics: Any = None
        self._sent = 0
        self._sent_text = 0

    @property
    def length(self) -> int:
        return len(self.token_ids)

    @property
    def token_ids_diff(self) -> list[int]:
        return self.token_ids[self._sent :]

    @property
    def logprobs_diff(self) -> list[dict[int, Any]]:
        return self.logprobs[self._sent :]

    @property
    def text_diff(self) -> str:
        return self.text[self._sent_text :]


class RequestOutput:
    """Its own iterator: yields itself once a step."""

    def __init__(self, llm: LLM, work: Work, prompt: str | None, streaming: bool) -> None:
        self.request_id = work.number
        self.prompt = prompt
        self.prompt_token_ids = work.prompt
        self.outputs = [CompletionOutput()]
        self.context_logits = None
        self.finished = False
        self._llm, self._work, self._streaming = llm, work, streaming
        self._aborted = False
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
            self._aqueue: asyncio.Queue[Any] = asyncio.Queue()
        except RuntimeError:
            self._loop = None

    def _respond(self, ids: list[int], reason: str | None, error: str) -> None:
        """From the executor's thread."""
        if self._loop is not None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._aqueue.put_nowait, (ids, reason, error))
        else:
            self._queue.put((ids, reason, error))

    def _take(self, response: tuple[list[int], str | None, str]) -> None:
        ids, reason, error = response
        if error:
            self.finished = True
            raise RequestError(error)
        out, params = self.outputs[0], self._work.params
        out._sent, out._sent_text = len(out.token_ids), len(out.text)
        out.token_ids = [*out.token_ids, *ids]
        if params.logprobs:
            out.logprobs = [*out.logprobs, *({token: SimpleNamespace(logprob=-0.5, rank=1)} for token in ids)]
        if params.detokenize and self._llm.tokenizer is not None:
            out.text = self._llm.tokenizer.decode(out.token_ids, skip_special_tokens=params.skip_special_tokens)
        if reason is not None:
            out.finish_reason = reason
            self.finished = True
            if params.return_perf_metrics or self._llm._perf:
                out.request_perf_metrics = _perf_metrics(self._work)

    def _step(self) -> None:
        self._take(self._queue.get())

    async def _astep(self) -> None:
        assert self._loop is not None, "The asyncio event loop was not present during initialization"
        assert asyncio.get_running_loop() is self._loop, "the request was made in another event loop"
        self._take(await self._aqueue.get())

    def __iter__(self) -> Iterator[RequestOutput]:
        return self

    def __next__(self) -> RequestOutput:
        if self.finished:
            raise StopIteration
        self._step()
        return self

    def __aiter__(self) -> AsyncIterator[RequestOutput]:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        await self._astep()
        while not self._streaming and not self.finished:
            await self._astep()
        return self

    def result(self, timeout: float | None = None) -> RequestOutput:
        while not self.finished:
            self._step()
        return self

    async def aresult(self) -> RequestOutput:
        while not self.finished:
            await self._astep()
        return self

    def __await__(self) -> Any:
        return self.aresult().__await__()

    def abort(self) -> None:
        self._aborted = True
        self._llm._executor.abort(self._work)

    def aborted(self) -> bool:
        return self._aborted


def _perf_metrics(work: Work) -> SimpleNamespace:
    def at(seconds: float) -> timedelta:
        return timedelta(seconds=seconds)

    return SimpleNamespace(
        first_iter=0,
        last_iter=work.made,
        timing_metrics=SimpleNamespace(
            arrival_time=at(work.arrival_s),
            first_scheduled_time=at(work.scheduled_s),
            first_token_time=at(work.first_token_s),
            last_token_time=at(work.last_token_s),
            kv_cache_size=work.blocks,
        ),
        kv_cache_metrics=SimpleNamespace(
            num_total_allocated_blocks=work.blocks,
            num_new_allocated_blocks=work.blocks - work.reused,
            num_reused_blocks=work.reused,
            num_missed_blocks=0,
        ),
        speculative_decoding=SimpleNamespace(
            acceptance_rate=work.accepted / work.drafted if work.drafted else 0.0,
            total_accepted_draft_tokens=work.accepted,
            total_draft_tokens=work.drafted,
        ),
    )


class IterationResult:
    """Ends after `timeout` seconds without a record, and stays done until another request is submitted."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done_at: int | None = None
        self.timeout: float | None = 2

    def __aiter__(self) -> IterationResult:
        return self

    async def __anext__(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise RuntimeError("the statistics' queue is bound to a different event loop")
        if self._done_at == self._executor.submitted:
            raise StopAsyncIteration
        deadline = time.monotonic() + (self.timeout if self.timeout is not None else 1e9)
        while not self._executor.stats:
            if time.monotonic() > deadline:
                self._done_at = self._executor.submitted
                raise StopAsyncIteration
            await asyncio.sleep(0.002)
        return self._executor.stats.popleft()


def _rank_process(pipe: Any) -> None:
    """A rank other than the first: there until the pipe closes."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()


class LLM:
    def __init__(
        self,
        model: str | Path,
        tokenizer: str | Path | None = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        log = Log()
        log.python("Using LLM with TensorRT backend")
        self._executor: Any = None
        for key, value in kwargs.items():
            if key not in SHARED + ENGINE_ONLY:
                raise ValueError(f"LLM got invalid argument: {key}")
            if key in TYPES and value is not None and not isinstance(value, TYPES[key]):
                raise ValueError(f"1 validation error for TrtLlmArgs\n{key}\n  Input should be {TYPES[key].__name__}")
            if key in NOT_STOOD_IN_FOR and value:
                raise NotImplementedError(f"the stand-in does not do {key}")
        if tokenizer_mode not in ("auto", "slow"):
            raise ValueError("tokenizer_mode\n  Input should be 'auto' or 'slow'")
        folder = Path(model)
        config = self._config(folder)
        build, pretrained = config["build_config"], config["pretrained_config"]
        mapping = pretrained["mapping"]
        self._ranks = mapping["tp_size"] * mapping["pp_size"] * mapping.get("cp_size", 1)
        for given, name in ((tensor_parallel_size, "tp_size"), (kwargs.get("pipeline_parallel_size", 1), "pp_size")):
            if given not in (1, mapping[name]):
                raise ValueError(f"{name} {given} is not the engine's {mapping[name]}")
        if self._ranks > 1:
            if gpus() < self._ranks:
                raise RuntimeError(f"Only {gpus()} GPUs are available, but {self._ranks} are required.")
            if shutil.which("mpirun") is None:
                raise RuntimeError("stand-in: MPI_Comm_spawn found no launcher to start ranks with")
            log.python(f"start MpiSession with {self._ranks} workers")
        draft_len = self._speculation(build, kwargs.get("speculative_config"))
        kv = kwargs.get("kv_cache_config") or KvCacheConfig()
        if kv.dtype != "auto":
            raise ValueError(f"KvCacheConfig.dtype {kv.dtype} is refused for the TensorRT backend")
        if kv.event_buffer_max_size and not kv.enable_block_reuse:
            raise ValueError("KV cache events need enable_block_reuse")
        chunked = bool(kwargs.get("enable_chunked_prefill", False))
        if chunked and not build["plugin_config"]["use_paged_context_fmha"]:
            raise RuntimeError("Chunked context requires that the engine was built with use_paged_context_fmha")
        self._logits = bool(kwargs.get("gather_generation_logits", False))
        self._perf = bool(kwargs.get("return_perf_metrics", False))
        self._max_seq_len = int(build["max_seq_len"])
        self._chunked = chunked
        self.tokenizer = None if skip_tokenizer_init else self._load_tokenizer(tokenizer, folder, log)
        log.runtime(
            f"Engine version {config['version']} found in the config file, assuming engine(s) built by new builder API."
        )
        log.runtime(f"MPI size: {self._ranks}, MPI local size: {self._ranks}, rank: 0")
        log.runtime("Rank 0 is using GPU 0")
        self._load_engines(folder, config, log)
        fail_at("engine-load", log)
        self._processes = [self._spawn() for _ in range(self._ranks - 1)]
        scheduler = kwargs.get("scheduler_config") or SchedulerConfig()
        batch = min(int(kwargs.get("max_batch_size") or 2048), int(build["max_batch_size"]))
        tokens = min(int(kwargs.get("max_num_tokens") or 8192), int(build["max_num_tokens"]))
        if int(kwargs.get("max_batch_size") or 0) > batch or int(kwargs.get("max_num_tokens") or 0) > tokens:
            log.python("max_batch_size or max_num_tokens is above the engine's and is clamped to it", "W")
        per_block = int(build["plugin_config"]["tokens_per_block"])
        blocks = self._blocks(kv, pretrained, per_block)
        shown = {"maxNumSequences": batch, "maxBatchSize": batch, "maxBeamWidth": 1, "maxDraftLen": draft_len}
        for name, value in {**shown, "maxSequenceLen": self._max_seq_len, "maxNumTokens": tokens}.items():
            log.runtime(f"TRTGptModel {name}: {value}")
        log.runtime(f"Capacity Scheduler Policy: {scheduler.capacity_scheduler_policy.value}")
        log.runtime(f"Context Chunking Scheduler Policy: {getattr(scheduler.context_chunking_policy, 'value', 'None')}")
        log.runtime(
            "Memory usage when calculating max tokens in paged kv cache: total: 79.10 GiB, available: 60.00 GiB"
        )
        log.runtime(
            f"Max KV cache blocks per sequence: {-(-self._max_seq_len // per_block)} "
            f"[window size={self._max_seq_len}], tokens per block={per_block}, "
            f"primary blocks={blocks}, secondary blocks=0"
        )
        gib = blocks * per_block * self._token_bytes(pretrained) / 2**30
        log.runtime(f"Allocated {gib:.2f} GiB for max tokens in paged KV cache ({blocks * per_block}).")
        self._executor = Executor(
            blocks=blocks,
            block_tokens=per_block,
            max_batch_size=batch,
            max_num_tokens=tokens,
            max_seq_len=self._max_seq_len,
            policy=scheduler.capacity_scheduler_policy.value,
            chunked=chunked,
            reuse=kv.enable_block_reuse,
            records=int(kwargs.get("iter_stats_max_iterations") or 1000),
            world_size=self._ranks,
            draft_len=draft_len,
        )
        self._stats = IterationResult(self._executor)
        self._number = 0
        self._vocabulary = int(pretrained["vocab_size"])
        log.python("get signal from executor worker")

    @staticmethod
    def _speculation(build: dict[str, Any], given: Any) -> int:
        """Draft tokens of a pass; 0 without guesses, or where another engine would make them."""
        mode = int(build["speculative_decoding_mode"])
        wanted = MODES.get(mode)
        if given is not None and not isinstance(given, tuple(MODES.values())):
            raise ValueError(f"Unrecognized speculative config type {type(given)}")
        if wanted is None:
            if given is not None:
                raise RuntimeError("stand-in: the engine was not built for speculative decoding")
            return 0
        if not isinstance(given, wanted):
            raise RuntimeError(f"stand-in: the engine's speculative mode {mode} wants {wanted.__name__}")
        room = int(build["max_draft_len"])
        if isinstance(given, LookaheadDecodingConfig):
            if given.resource() > room:
                raise RuntimeError(f"stand-in: lookahead needs {given.resource()} draft tokens, the engine has {room}")
            return given.resource()
        assert given.max_draft_len, "max_draft_len"
        if isinstance(given, EagleDecodingConfig):
            assert given.speculative_model_dir is not None, "Path to EAGLE3 weights must be specified."
        if given.max_draft_len > room:
            raise RuntimeError(f"stand-in: max_draft_len {given.max_draft_len} is above the engine's {room}")
        return given.max_draft_len

    @staticmethod
    def _config(folder: Path) -> dict[str, Any]:
        from tensorrt_llm.commands.build import BUILD_KEYS

        if not (folder / "config.json").is_file():
            raise ValueError(f"Failed to infer model format because no config.json exists in {folder}")
        config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        if not {"pretrained_config", "build_config"} <= set(config):
            raise ValueError(f"stand-in: {folder} is not an engine folder")
        extra = set(config["build_config"]) - set(BUILD_KEYS)
        if extra:
            raise ValueError(
                "Inferred model format _ModelFormatKind.TLLM_ENGINE, but failed to load config.json: "
                f"{sorted(extra)[0]}: Extra inputs are not permitted"
            )
        return config

    @staticmethod
    def _load_tokenizer(given: str | Path | None, folder: Path, log: Log) -> Tokenizer | None:
        place = Path(given) if given is not None else folder
        if not (place / "tokenizer.json").is_file():
            if given is not None:
                raise OSError(f"Can't load tokenizer for '{given}'.")
            log.python(f"Failed to load tokenizer from {folder}", "W")
            return None
        return Tokenizer(place)

    def _load_engines(self, folder: Path, config: dict[str, Any], log: Log) -> None:
        for rank in range(self._ranks):
            path = folder / f"rank{rank}.engine"
            if not path.is_file():
                log.runtime(f"Error opening engine file: {path}", "ERROR")
                raise RuntimeError("Executor worker returned error")
            mark, _, rest = path.read_bytes().partition(b"\n")
            if mark.decode("utf-8", "replace") != MARK:
                log.runtime("Failed to deserialize cuda engine.", "ERROR")
                raise RuntimeError("Executor worker returned error")
            facts = json.loads(rest.partition(b"\n")[0])
            if facts["version"] != __version__:
                failure = SHOWN["engine-of-other-version"]
                log.raw(failure.lines[0])
                raise RuntimeError(failure.error)
            if facts["sm"] != sm():
                log.runtime(
                    "The engine plan file is generated on an incompatible device, expecting compute "
                    f"{facts['sm'] / 10} got compute {sm() / 10}, please rebuild.", "ERROR",
                )  # fmt: skip
                raise RuntimeError("Executor worker returned error")
            if facts["rank"] != rank:
                raise RuntimeError(f"stand-in: {path.name} is rank {facts['rank']}'s")
            log.runtime(f"Loaded engine size: {path.stat().st_size >> 20} MiB")

    @staticmethod
    def _token_bytes(pretrained: dict[str, Any]) -> int:
        size = 1 if (pretrained.get("quantization") or {}).get("kv_cache_quant_algo") else 2
        mapping = pretrained["mapping"]
        heads = max(
            1, (pretrained.get("num_key_value_heads") or pretrained["num_attention_heads"]) // mapping["tp_size"]
        )
        head = pretrained.get("head_size") or pretrained["hidden_size"] // pretrained["num_attention_heads"]
        return int(2 * pretrained["num_hidden_layers"] // mapping["pp_size"] * heads * head * size)

    def _blocks(self, kv: KvCacheConfig, pretrained: dict[str, Any], per_block: int) -> int:
        """The smallest of what the settings allow."""
        blocks = int(int(option("KV_BLOCKS", "1000")) * (kv.free_gpu_memory_fraction or 0.9))
        if kv.max_tokens is not None:
            blocks = min(blocks, -(-kv.max_tokens // per_block))
        if kv.max_gpu_total_bytes:
            blocks = min(blocks, kv.max_gpu_total_bytes // (per_block * self._token_bytes(pretrained)))
        if blocks < 1:
            raise RuntimeError("[TensorRT-LLM][ERROR] Assertion failed: KV cache has 0 blocks")
        return blocks

    def _spawn(self) -> Any:
        """Ranks are started as programs that import the main module: it needs its guard."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_rank_process, args=(there,), daemon=True)
        process.start()
        there.close()
        return process, here

    def generate_async(
        self,
        inputs: str | list[int] | dict[str, Any],
        sampling_params: SamplingParams | None = None,
        lora_request: None = None,
        prompt_adapter_request: None = None,
        streaming: bool = False,
        kv_cache_retention_config: None = None,
        disaggregated_params: None = None,
        scheduling_params: None = None,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        if self._executor is None:
            raise RuntimeError("LLM is shutting down")
        params = SamplingParams() if sampling_params is None else sampling_params
        if not isinstance(params, SamplingParams):
            raise TypeError(f"The sampling_params must be type SamplingParams or None, but got {type(params)}")
        prompt = inputs if isinstance(inputs, str) else None
        if isinstance(inputs, dict):
            inputs = inputs.get("prompt_token_ids") or inputs.get("prompt")  # type: ignore[assignment]
        end_id = params.end_id
        if end_id is None:
            if self.tokenizer is None:
                raise ValueError("tokenizer is required to reset end_id if it is None")
            end_id = self.tokenizer.eos_token_id
        if isinstance(inputs, str):
            assert self.tokenizer is not None, "a text needs a tokenizer"
            inputs = self.tokenizer.encode(inputs, add_special_tokens=params.add_special_tokens)
        if not isinstance(inputs, list) or not all(isinstance(token, int) for token in inputs):
            raise TypeError(f"The inputs must be type str or list of int, but got {type(inputs)}")
        if not inputs or not all(0 <= token < self._vocabulary for token in inputs):
            raise ValueError("stand-in: empty prompt, or a token outside the vocabulary")
        if not self._chunked and len(inputs) + (params.max_tokens or 0) > self._max_seq_len:
            raise ValueError(
                f"The sum of prompt length ({len(inputs)}) and query length (0) max_tokens ({params.max_tokens}) "
                f"should not exceed max_seq_len ({self._max_seq_len})"
            )
        if params.logprobs and not self._logits:
            raise ValueError(
                f"`sampling_params.logprobs={params.logprobs}` requires `gather_generation_logits=True` to be passed "
                "explicitly to the `LLM()` constructor."
            )
        if params.detokenize and self.tokenizer is None:
            raise ValueError("stand-in: detokenize needs a tokenizer")
        self._number += 1
        answer = self.tokenizer.encode(SAYS, add_special_tokens=False) if self.tokenizer else list(range(10))
        work = Work(self._number, inputs, params, int(end_id or 0), answer, respond=lambda *_: None)
        output = RequestOutput(self, work, prompt, streaming)
        work.respond = output._respond
        wished = SHOWN.get(option("FAIL", ""))
        if wished is not None and wished.stage == "run":
            output._respond([], None, wished.error)
        else:
            self._executor.submit(work)
        return output

    def generate(
        self, inputs: Any, sampling_params: Any = None, use_tqdm: bool = True, lora_request: None = None
    ) -> Any:
        single = isinstance(inputs, str) or (bool(inputs) and isinstance(inputs[0], int))
        results = [self.generate_async(one, sampling_params).result() for one in ([inputs] if single else inputs)]
        return results[0] if single else results

    def get_stats(self, timeout: float | None = 2) -> list[dict[str, Any]]:
        deadline = time.monotonic() + (timeout or 0)
        while not self._executor.stats and time.monotonic() < deadline:
            time.sleep(0.002)
        found = []
        while self._executor.stats:
            found.append(self._executor.stats.popleft())
        return found

    def get_stats_async(self, timeout: float | None = 2) -> IterationResult:
        self._stats.timeout = timeout
        return self._stats

    def shutdown(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.stop()
        for process, pipe in getattr(self, "_processes", []):
            pipe.close()
            process.join(2)
        self._processes = []
        sys.stdout.flush()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *args: object) -> bool:
        self.shutdown()
        return False
