"""Layouts of single servers: how each is known, counts prompts, tells its state, and thinks aloud."""

from __future__ import annotations

import json
import threading

import pytest

from tests.fakes.paths_server import EVENTS, Reply, answering
from tests.workers.endpoint.conftest import Start
from workbench.core.errors import StepFailedError
from workbench.core.messages import ChatTurn, Sampling, Stats
from workbench.jobs.engine import EngineClient
from workbench.jobs.generation import Answer

pytestmark = pytest.mark.slow  # each starts a host of its own
TURNS = [ChatTurn(role="user", content="how are you")]


def models(owner: str, **more: object) -> Reply:
    return Reply(json.dumps({"object": "list", "data": [{"id": "mock", "owned_by": owner, **more}]}))


def stream(*events: str) -> Reply:
    return Reply("".join(f"data: {event}\n\n" for event in events), EVENTS)


def chat(**delta: object) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


END = '{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":6}}'


def ask(client: EngineClient) -> Answer:
    return client.submit(messages=TURNS, sampling=Sampling(max_tokens=9)).result(10.0)


def stats_of(client: EngineClient) -> Stats:
    """The first that has a count of requests."""
    found: list[Stats] = []
    came = threading.Event()

    def take(stats: Stats) -> None:
        if stats.requests_active is not None:
            found.append(stats)
            came.set()

    client.on_stats = take
    client.set_stats_interval(0.25)
    assert came.wait(5.0)
    client.on_stats = None
    return found[0]


def test_vllm_counts_prompts_and_reports_its_cache(start: Start) -> None:
    metrics = (
        'vllm:num_requests_running{model_name="mock"} 2\nvllm:num_requests_waiting{model_name="mock"} 1\n'
        'vllm:kv_cache_usage_perc{model_name="mock"} 0.5\n'
        'vllm:cache_config_info{block_size="16",cache_dtype="fp8",num_gpu_blocks="100",gpu_memory="9"} 1\n'
    )
    paths = {
        "/v1/models": models("vllm", max_model_len=512),
        "/metrics": Reply(metrics, "text/plain"),
        "/version": Reply('{"version": "0.11.2"}'),
        "/tokenize": Reply('{"count": 17, "max_model_len": 512, "tokens": [1]}'),
    }
    with answering(paths) as server:
        client = start(server.url)
        ready = client.ready
        assert (ready.limits["max_seq_len"], ready.kv_blocks_total, ready.kv_block_tokens) == (512, 100, 16)
        assert ready.settings["kv_cache_precision"] == "fp8"
        assert ready.settings["server_block_size"] == "16"
        assert (ready.settings["server"], ready.settings["server_version"]) == ("vLLM", "0.11.2")
        assert client.count(messages=TURNS).result(5.0).tokens == 17
        sent = json.loads(next(body for path, body in server.asked if path == "/tokenize"))
        assert sent == {"model": "mock", "messages": [{"role": "user", "content": "how are you"}]}
        stats = stats_of(client)
        assert (stats.requests_active, stats.requests_queued) == (2, 1)
        assert (stats.kv_blocks_used, stats.kv_blocks_free, stats.kv_blocks_total) == (50, 50, 100)
        server.paths["/tokenize"] = Reply('{"count": 600}')
        assert "longest sequence is 512" in client.count(messages=TURNS).result(5.0).problem


def test_llamacpp_tells_its_context_and_counts_plain_prompts(start: Start) -> None:
    paths = {
        "/v1/models": Reply('{"data":[{"id":"/models/x.gguf","owned_by":"llamacpp"}]}'),
        "/props": Reply('{"default_generation_settings":{"n_ctx":2048}}'),
        "/tokenize": Reply('{"tokens":[1,2,3]}'),
    }
    with answering(paths) as server:
        client = start(server.url)
        assert client.ready.settings["server"] == "llama.cpp"
        assert client.ready.limits["max_seq_len"] == 2048
        assert client.count(prompt="a b c").result(5.0).tokens == 3
        assert client.count(messages=TURNS).result(5.0).tokens is None


def test_trtllm_serve_reports_records(start: Start) -> None:
    record = {
        "iter": 1,
        "iterLatencyMS": 9.5,
        "numActiveRequests": 3,
        "numQueuedRequests": 0,
        "kvCacheStats": {"maxNumBlocks": 64, "usedNumBlocks": 8, "tokensPerBlock": 32},
    }
    paths = {"/v1/models": models("tensorrt_llm"), "/metrics": Reply(json.dumps([record]))}
    with answering(paths) as server:
        client = start(server.url)
        assert client.ready.settings["server"] == "trtllm-serve"
        stats = stats_of(client)
        assert (stats.kv_blocks_used, stats.kv_blocks_total, stats.iteration_ms) == (8, 64, 9.5)
        server.paths["/metrics"] = Reply("[]")  # nothing new since it was last asked: what was known stays
        assert stats_of(client).kv_blocks_total == 64


def test_nim_is_known_by_its_metadata_and_its_metrics(start: Start) -> None:
    paths = {
        "/v1/models": models("system"),
        "/v1/metadata": Reply('{"modelInfo":[],"version":"1.14.0"}'),
        "/v1/metrics": Reply(
            "num_requests_running 1\nnum_requests_waiting 0\ngpu_cache_usage_perc 0.1\n", "text/plain"
        ),
    }
    with answering(paths) as server:
        client = start(server.url)
        assert client.ready.settings["server"] == "NIM"
        assert client.ready.sampling is not None and "ignore_eos" in client.ready.sampling
        assert stats_of(client).requests_active == 1


def test_a_gateway_without_a_model_list(start: Start) -> None:
    logs: list[str] = []
    with answering({"/v1/chat/completions": stream(chat(content="a"), END)}) as server:
        assert ask(start(server.url, logs)).text == "a"
    assert any("no model list" in line for line in logs)


def test_reasoning_stands_between_the_marks_of_models(start: Start) -> None:
    events = [chat(role="assistant", content=""), chat(reasoning_content="hm, "), chat(reasoning_content="well")]
    with answering({"/v1/models": models("x")}) as server:
        client = start(server.url)
        server.paths["/v1/chat/completions"] = stream(*events, chat(content="Fine."), END)
        answer = ask(client)
        assert answer.text == "<think>\nhm, well\n</think>\n\nFine."
        assert answer.usage is not None and answer.usage.output_tokens == 6
        server.paths["/v1/chat/completions"] = stream(*events, END)
        assert ask(client).text == "<think>\nhm, well\n</think>\n\n"


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (stream(chat(content="half")), "broke off"),
        (stream("nonsense", "{", "[DONE]"), "events cannot be read"),
        (Reply("", EVENTS), "broke off"),
        (Reply('{"hello":"world"}'), "no OpenAI-compatible API"),
        (Reply('{"error":{"message":"overloaded"}}'), "overloaded"),
        (Reply("plain", "text/plain"), "no OpenAI-compatible API"),
        (stream(json.dumps({"choices": [{"delta": {"content": "x"}, "finish_reason": "error"}]})), "'error'"),
    ],
    ids=["no-end", "malformed", "empty", "json", "json-error", "text", "finish-error"],
)
def test_streams_that_are_none(start: Start, reply: Reply, word: str) -> None:
    with answering({"/v1/models": models("x"), "/v1/chat/completions": reply}) as server:
        answer = ask(start(server.url))
    assert answer.reason == "error"
    assert answer.failure is not None and word in answer.failure.what


def test_an_answer_of_nothing_is_an_answer(start: Start) -> None:
    with answering({"/v1/models": models("x"), "/v1/chat/completions": stream(END, "[DONE]")}) as server:
        answer = ask(start(server.url))
    assert (answer.reason, answer.text, answer.failure) == ("stop", "", None)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply("{}"), "endpoint-not-openai"),
        (Reply("down for a while", "text/plain", 503), "endpoint-not-ready"),
        (Reply(status=308, headers={"Location": "https://box/v1/models"}), "endpoint-moved"),
    ],
)
def test_model_lists_that_are_none(start: Start, reply: Reply, code: str) -> None:
    with answering({"/v1/models": reply}) as server:
        with pytest.raises(StepFailedError) as caught:
            start(server.url)
    assert caught.value.failure.code == code


def test_fields_for_counting_are_left_out_where_they_are_refused(start: Start) -> None:
    refusals = iter(
        (
            Reply('{"error":{"message":"Extra inputs are not permitted: return_token_ids"}}', status=400),
            Reply('{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}', status=422),
        )
    )
    bodies: list[dict[str, object]] = []

    def chat_path(body: bytes) -> Reply:
        bodies.append(json.loads(body))
        return next(refusals, stream(chat(content="a"), END))

    with answering({"/v1/models": models("vllm"), "/v1/chat/completions": chat_path}) as server:
        client = start(server.url)
        assert ask(client).text == "a"
        assert ask(client).text == "a"
    first, second, third, again = bodies
    assert first["return_token_ids"] is True and "stream_options" in first
    assert "return_token_ids" not in second and second["stream_options"] == {"include_usage": True}
    assert "stream_options" not in third and again == third, "it is not asked for again"


def test_many_that_are_refused_at_once_are_all_asked_again(start: Start) -> None:
    def chat_path(body: bytes) -> Reply:
        if "return_token_ids" in json.loads(body):
            return Reply('{"error":{"message":"return_token_ids: extra fields not permitted"}}', status=400)
        return stream(chat(content="a"), END)

    with answering({"/v1/models": models("vllm"), "/v1/chat/completions": chat_path}) as server:
        client = start(server.url)
        many = [client.submit(messages=TURNS, sampling=Sampling(max_tokens=9)) for _ in range(8)]
        assert [one.result(10.0).failure for one in many] == [None] * 8


def test_pieces_smaller_than_tokens_come_whole(start: Start) -> None:
    pieces = [chat(content=letter) for letter in "abcdefghij" * 20]
    with answering({"/v1/models": models("x"), "/v1/chat/completions": stream(*pieces, END)}) as server:
        client = start(server.url)
        answer = ask(client)
        assert answer.text == "abcdefghij" * 20 and answer.failure is None
        assert client.failure is None


def test_more_tokens_than_asked_for_end_the_request_and_not_the_host(start: Start) -> None:
    event = json.dumps({"choices": [{"delta": {"content": "a"}, "token_ids": [1, 2, 3]}]})
    with answering({"/v1/models": models("vllm"), "/v1/chat/completions": stream(*[event] * 50, END)}) as server:
        client = start(server.url)
        answer = ask(client)
        assert answer.failure is not None and "more tokens than were asked for" in answer.failure.what
        assert client.failure is None
