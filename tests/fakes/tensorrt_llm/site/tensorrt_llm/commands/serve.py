"""`trtllm-serve` of 1.2: the documented flags and no others, the documented routes, over the stand-in's run class."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

from tensorrt_llm import __version__
from tensorrt_llm._standin import option
from tensorrt_llm._tensorrt_engine import LLM
from tensorrt_llm.llmapi import (
    CapacitySchedulerPolicy,
    DynamicBatchConfig,
    EagleDecodingConfig,
    KvCacheConfig,
    LookaheadDecodingConfig,
    MedusaDecodingConfig,
    SamplingParams,
    SchedulerConfig,
)

TEXT, WHOLE, SHARE, SWITCH = "TEXT", "INTEGER", "FLOAT", ""
BACKENDS = ("pytorch", "tensorrt", "trt", "_autodeploy")
LEVELS = ("internal_error", "error", "warning", "info", "verbose", "debug", "trace")
FLAGS = {
    "tokenizer": TEXT, "custom_tokenizer": TEXT, "host": TEXT, "port": WHOLE, "backend": TEXT,
    "custom_module_dirs": TEXT, "log_level": TEXT, "max_beam_width": WHOLE, "max_batch_size": WHOLE,
    "max_num_tokens": WHOLE, "max_seq_len": WHOLE, "tp_size": WHOLE, "pp_size": WHOLE, "cp_size": WHOLE,
    "ep_size": WHOLE, "cluster_size": WHOLE, "gpus_per_node": WHOLE, "kv_cache_free_gpu_memory_fraction": SHARE,
    "free_gpu_memory_fraction": SHARE, "num_postprocess_workers": WHOLE, "trust_remote_code": SWITCH,
    "revision": TEXT, "extra_llm_api_options": TEXT, "config": TEXT, "reasoning_parser": TEXT, "tool_parser": TEXT,
    "metadata_server_config_file": TEXT, "server_role": TEXT, "fail_fast_on_attention_window_too_large": SWITCH,
    "otlp_traces_endpoint": TEXT, "disagg_cluster_uri": TEXT, "enable_chunked_prefill": SWITCH,
    "media_io_kwargs": TEXT, "chat_template": TEXT,
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "host": "localhost", "port": 8000, "backend": "pytorch", "log_level": "info", "max_beam_width": 1,
    "max_batch_size": 2048, "max_num_tokens": 8192, "kv_cache_free_gpu_memory_fraction": 0.9,
}  # fmt: skip
COMMANDS = ("serve", "mm_embedding_serve", "disaggregated", "disaggregated_mpi_worker")
DECODING = {"Lookahead": LookaheadDecodingConfig, "Medusa": MedusaDecodingConfig, "Eagle": EagleDecodingConfig}
CLASSES = {"kv_cache_config": KvCacheConfig, "scheduler_config": SchedulerConfig}


def refuse(text: str) -> NoReturn:
    """As click does it."""
    print("Usage: trtllm-serve serve [OPTIONS] MODEL\nTry 'trtllm-serve serve --help' for help.\n", file=sys.stderr)
    print(f"Error: {text}", file=sys.stderr)
    sys.exit(2)


def parse(argv: list[str]) -> tuple[str, dict[str, Any]]:
    """The model and its options; unknown ones end the program."""
    if argv and argv[0] in COMMANDS:
        command, argv = argv[0], argv[1:]
        if command != "serve":
            refuse(f"stand-in: {command} is not stood in for")
    given, models, words = dict(DEFAULTS), [], list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            models.append(word)
            continue
        name, cut, value = word[2:].partition("=")
        kind = FLAGS.get(name)
        if kind is None:
            refuse(f"No such option: --{name}")
        if kind == SWITCH:
            given[name] = True
            continue
        if not cut:
            if not words:
                refuse(f"Option '--{name}' requires an argument.")
            value = words.pop(0)
        try:
            given[name] = {WHOLE: int, SHARE: float}.get(kind, str)(value)
        except ValueError:
            refuse(f"Invalid value for '--{name}': {value!r} is not a valid {kind.lower()}.")
    if len(models) != 1:
        refuse("Missing argument 'MODEL'." if not models else f"Got unexpected extra argument ({models[1]})")
    for name, choices in (("backend", BACKENDS), ("log_level", LEVELS)):
        if given[name] not in choices:
            refuse(f"Invalid value for '--{name}': {given[name]!r} is not one of {', '.join(map(repr, choices))}.")
    return models[0], given


def load(model: str, given: dict[str, Any]) -> LLM:
    if given["backend"] not in ("tensorrt", "trt"):
        is_engine = (Path(model) / "config.json").is_file() and "build_config" in (
            Path(model) / "config.json"
        ).read_text()
        why = "an engine folder is not for the PyTorch backend" if is_engine else "no PyTorch backend here"
        raise ValueError(f"stand-in: {why}")
    dynamic = DynamicBatchConfig(enable_batch_size_tuning=True, enable_max_num_tokens_tuning=False)
    arguments: dict[str, Any] = {
        "tokenizer": given.get("tokenizer"),
        "trust_remote_code": given.get("trust_remote_code", False),
        "tensor_parallel_size": given.get("tp_size", 1),
        "pipeline_parallel_size": given.get("pp_size", 1),
        "max_batch_size": given["max_batch_size"],
        "max_num_tokens": given["max_num_tokens"],
        "max_beam_width": given["max_beam_width"],
        "enable_chunked_prefill": given.get("enable_chunked_prefill", False),
        "kv_cache_config": KvCacheConfig(
            free_gpu_memory_fraction=given.get("free_gpu_memory_fraction", given["kv_cache_free_gpu_memory_fraction"])
        ),
        "scheduler_config": SchedulerConfig(
            capacity_scheduler_policy=CapacitySchedulerPolicy.GUARANTEED_NO_EVICT, dynamic_batch_config=dynamic
        ),
    }
    if given.get("max_seq_len") is not None:
        arguments["max_seq_len"] = given["max_seq_len"]
    path = given.get("extra_llm_api_options") or given.get("config")
    if path:
        import yaml

        for name, value in yaml.safe_load(Path(path).read_text("utf-8")).items():
            # A table takes the place of the flag's: the two are not merged.
            if name == "speculative_config":
                kind = value.pop("decoding_type", None)
                if kind not in DECODING:
                    raise ValueError(f"Invalid decoding type: {kind}")
                value = DECODING[kind](**value)
            arguments[name] = CLASSES[name](**value) if name in CLASSES else value
    return LLM(model=model, **arguments)


class Api:
    """The routes."""

    def __init__(self, llm: LLM, model: str, perf: bool) -> None:
        self.llm, self.perf = llm, perf
        self.model = Path(model).name if Path(model).is_dir() else model
        self.number = 0

    def app(self) -> Any:
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse, PlainTextResponse, Response
        from starlette.routing import Route

        async def health(_request: Any) -> Any:
            return Response()

        async def version(_request: Any) -> Any:
            return JSONResponse({"version": __version__})

        async def models(_request: Any) -> Any:
            return JSONResponse({"object": "list", "data": [{"id": self.model, "object": "model"}]})

        async def metrics(_request: Any) -> Any:
            return JSONResponse([record async for record in self.llm.get_stats_async(2)])

        async def prometheus(_request: Any) -> Any:
            return PlainTextResponse("# TYPE trtllm_request_success_total counter\n")

        routes = [
            Route("/health", health), Route("/health_generate", health), Route("/version", version),
            Route("/v1/models", models), Route("/metrics", metrics),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
        ]  # fmt: skip
        if self.perf:
            routes.append(Route("/prometheus/metrics", prometheus))
        return Starlette(routes=routes)

    async def completions(self, request: Any) -> Any:
        return await self._answer(request, chat=False)

    async def chat(self, request: Any) -> Any:
        return await self._answer(request, chat=True)

    async def _answer(self, request: Any, *, chat: bool) -> Any:
        from starlette.responses import JSONResponse, StreamingResponse

        try:
            body = json.loads(await request.body())
            prompt: Any = self._chat_prompt(body["messages"]) if chat else body["prompt"]
            output = self.llm.generate_async(
                prompt, sampling_params=self._sampling(body), streaming=bool(body.get("stream"))
            )
        except (KeyError, TypeError, ValueError) as error:
            text = f"{type(error).__name__}: {error}"
            told = {"object": "error", "message": text, "type": "BadRequestError", "param": None, "code": 400}
            return JSONResponse(told, 400)
        self.number += 1
        name = f"{'chatcmpl' if chat else 'cmpl'}-{self.number}"
        base = {"id": name, "object": "chat.completion" if chat else "text_completion", "created": int(time.time()),
                "model": self.model}  # fmt: skip
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(self._stream(request, output, base, chat, usage), media_type="text/event-stream")
        await output.aresult()
        out = output.outputs[0]
        choice = {"index": 0, "finish_reason": out.finish_reason, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": out.text}} if chat else {"text": out.text}
        return JSONResponse({**base, "choices": [choice], "usage": self._usage(output)})

    async def _stream(
        self, request: Any, output: Any, base: dict[str, Any], chat: bool, usage: bool
    ) -> AsyncIterator[str]:
        kind = "chat.completion.chunk" if chat else "text_completion"
        try:
            if chat:
                first = {"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}
                yield f"data: {json.dumps({**base, 'object': kind, 'choices': [first]})}\n\n"
            async for step in output:
                out = step.outputs[0]
                choice: dict[str, Any] = {"index": 0, "finish_reason": out.finish_reason, "logprobs": None}
                choice |= {"delta": {"content": out.text_diff}} if chat else {"text": out.text_diff}
                yield f"data: {json.dumps({**base, 'object': kind, 'choices': [choice]})}\n\n"
            if usage:
                yield f"data: {json.dumps({**base, 'object': kind, 'choices': [], 'usage': self._usage(output)})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            if not output.finished:
                output.abort()

    @staticmethod
    def _usage(output: Any) -> dict[str, int]:
        given, made = len(output.prompt_token_ids), len(output.outputs[0].token_ids)
        return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}

    @staticmethod
    def _chat_prompt(messages: list[dict[str, str]]) -> str:
        turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
        return f"{turns}<|im_start|>assistant\n"

    @staticmethod
    def _sampling(body: dict[str, Any]) -> SamplingParams:
        names = ("temperature", "top_p", "top_k", "seed", "stop", "ignore_eos", "min_p", "repetition_penalty")
        known = {name: body[name] for name in names if body.get(name) is not None}
        if known.get("temperature") == 0:
            known.pop("temperature")
        return SamplingParams(max_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or 16, **known)


async def run(llm: LLM, model: str, given: dict[str, Any], perf: bool) -> None:
    import uvicorn

    config = uvicorn.Config(Api(llm, model, perf).app(), host=given["host"], port=given["port"], log_level="info")
    config.timeout_graceful_shutdown = 2
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        await uvicorn.Server(config).serve()


def main() -> None:
    print(f"[TensorRT-LLM] TensorRT-LLM version: {__version__}", flush=True)
    model, given = parse(sys.argv[1:])
    llm = load(model, given)
    if option("SERVE_EXITS", ""):
        print("RuntimeError: stand-in: the server was told to end", file=sys.stderr, flush=True)
        os._exit(1)
    try:
        asyncio.run(run(llm, model, given, llm._perf))
    finally:
        llm.shutdown()


if __name__ == "__main__":
    main()
