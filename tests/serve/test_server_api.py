"""OpenAI's routes in front of an engine host, as the official client, plain HTTP and Prometheus see them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

from tests.serve.running import MODEL, Running, running, wait_for
from workbench.core.server_metrics import parse_prometheus, read_metrics

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
KEY = "wb-0123456789abcdef"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("api"), tokens_per_s=1000) as made:
        yield made


@pytest.fixture(scope="module")
def openai(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def said(text: str = "hi") -> list[Any]:
    return [{"role": "user", "content": text}]


def events(data: bytes) -> list[Any]:
    """The events of a stream, whose last must be [DONE]."""
    parts = data.decode().split("\n\n")
    assert parts[-1] == "" and parts[-2] == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


# The official client


def test_the_official_client_gets_a_whole_chat_answer(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(model=MODEL, messages=said(), max_completion_tokens=3)
    assert answer.choices[0].message.content == "one two three "
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)


def test_the_official_client_streams_chat_with_usage(openai: OpenAI) -> None:
    stream = openai.chat.completions.create(
        model=MODEL, messages=said(), max_tokens=4, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert [text for text in texts if text] == ["one ", "two ", "three ", "one "], "an event a token"
    assert chunks[-2].choices[0].finish_reason == "length"
    usage = chunks[-1].usage
    assert usage is not None and usage.total_tokens == 7
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_official_client_completes_and_streams_a_prompt(openai: OpenAI) -> None:
    answer = openai.completions.create(model=MODEL, prompt="hi", max_tokens=2, echo=True)
    assert answer.choices[0].text == "hione two "
    stream = openai.completions.create(model=MODEL, prompt=[5, 6, 7], max_tokens=2, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "one two "


def test_log_probabilities_come_where_they_are_asked_for(openai: OpenAI) -> None:
    chat = openai.chat.completions.create(model=MODEL, messages=said(), max_tokens=2, logprobs=True)
    assert chat.choices[0].logprobs is not None and chat.choices[0].logprobs.content is not None
    assert [(one.token, one.logprob) for one in chat.choices[0].logprobs.content] == [("one ", -0.5), ("two ", -0.5)]
    plain = openai.completions.create(model=MODEL, prompt="hi", max_tokens=2, logprobs=1)
    told = plain.choices[0].logprobs
    assert told is not None
    assert (told.tokens, told.token_logprobs, told.text_offset) == (["one ", "two "], [-0.5, -0.5], [0, 4])


def test_the_official_client_lists_the_model_and_is_told_of_others(openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == [MODEL]
    assert openai.models.retrieve(MODEL).id == MODEL
    with pytest.raises(NotFoundError) as caught:
        openai.completions.create(model="gpt-9", prompt="hi")
    assert caught.value.code == "model_not_found" and "'tiny'" in caught.value.message


def test_a_prompt_that_the_engine_refuses_is_a_bad_request_also_in_a_stream(openai: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(BadRequestError) as caught:
            openai.completions.create(model=MODEL, prompt="bad", stream=stream)
        assert "The prompt is bad." in caught.value.message


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_streams(server: Running) -> None:
    body = json.dumps({"model": MODEL, "messages": said(), "max_tokens": 3, "stream": True})
    argv = ["curl", "-sSN", f"{server.url}/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    told = events(subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in told) == "one two three "


# Bodies


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (COMPLETIONS, {}, "prompt"),
        (COMPLETIONS, {"prompt": ""}, "prompt"),
        (COMPLETIONS, {"prompt": 7}, "prompt"),
        (COMPLETIONS, {"prompt": ["a", "b"]}, "prompt"),
        (COMPLETIONS, {"prompt": [1, -2]}, "prompt"),
        (COMPLETIONS, {"prompt": [True, 2]}, "prompt"),
        (COMPLETIONS, {"prompt": [1, 2], "echo": True}, "echo"),
        (COMPLETIONS, {"prompt": "x", "max_tokens": 0}, "max_tokens"),
        (COMPLETIONS, {"prompt": "x", "max_tokens": "9"}, "max_tokens"),
        (COMPLETIONS, {"prompt": "x", "max_tokens": 2.5}, "max_tokens"),
        (COMPLETIONS, {"prompt": "x", "temperature": 2.5}, "temperature"),
        (COMPLETIONS, {"prompt": "x", "temperature": True}, "temperature"),
        (COMPLETIONS, {"prompt": "x", "top_p": 0}, "top_p"),
        (COMPLETIONS, {"prompt": "x", "seed": 2**64}, "seed"),
        (COMPLETIONS, {"prompt": "x", "stop": 7}, "stop"),
        (COMPLETIONS, {"prompt": "x", "stop": [7]}, "stop"),
        (COMPLETIONS, {"prompt": "x", "stream": "yes"}, "stream"),
        (COMPLETIONS, {"prompt": "x", "stream_options": {"include_usage": True}}, "stream_options"),
        (COMPLETIONS, {"prompt": "x", "n": 2}, "n"),
        (COMPLETIONS, {"prompt": "x", "logprobs": 5}, "logprobs"),
        (COMPLETIONS, {"prompt": "x", "presence_penalty": 0.5}, "presence_penalty"),
        (COMPLETIONS, {"prompt": "x", "model": 7}, "model"),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": ["hi"]}, "messages.0"),
        (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages.0.content"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "top_logprobs": 3}, "top_logprobs"),
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}, "tools"),
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}},
         "response_format"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_the_fields_name(
    server: Running, path: str, body: dict[str, Any], param: str
) -> None:
    status, error = server.error(path, body)
    assert (status, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error" and error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b'{"prompt": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(server: Running, body: bytes) -> None:
    status, error = server.error(COMPLETIONS, body)
    assert (status, error["code"]) == (400, "invalid_json")


def test_half_a_surrogate_pair_is_refused_and_the_engine_lives_on(server: Running) -> None:
    status, error = server.error(COMPLETIONS, b'{"prompt": "\\ud800"}')
    assert status == 400 and "Unicode" in error["message"]
    assert server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 1})[0] == 200


def test_unknown_fields_are_passed_over_and_neutral_ones_taken(server: Running) -> None:
    body = {
        "prompt": "x", "max_tokens": 1, "user": "me", "frequency_penalty": 0, "n": 1, "top_p": 1.0, "stop": None,
        "logit_bias": {}, "whatever": [1], "seed": 3, "top_k": -1,
    }  # fmt: skip
    assert server.ask(COMPLETIONS, body)[0] == 200


def test_a_conversation_in_parts_and_with_a_developer_is_taken(server: Running) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = {"messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}]}
    assert server.ask(CHAT, {**body, "max_tokens": 1})[0] == 200


def test_token_ids_come_with_each_event_where_asked_for(server: Running) -> None:
    body = {"prompt": "x", "max_tokens": 3, "stream": True, "return_token_ids": True}
    told = [event["choices"][0].get("token_ids") for event in events(server.ask(COMPLETIONS, body)[2])]
    assert told == [[0], [1], [2], None]


# Other routes


def test_paths_and_methods_that_are_not_there(server: Running) -> None:
    assert server.error("/v2/x")[0] == 404
    status, headers, _ = server.ask(COMPLETIONS)
    assert (status, headers["allow"]) == (405, "POST")
    assert server.ask("/health", b"{}")[0] == 405
    assert server.ask("/health", method="HEAD")[0] == 200


def test_metrics_are_under_the_fields_names_and_our_own_reader_knows_them(tmp_path: Any) -> None:
    with running(tmp_path, tokens_per_s=500, kv_blocks=64) as server:
        for stream in (True, False):
            server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 5, "stream": stream})
        server.ask(COMPLETIONS, {})
        # What the engine says of its pool comes once a turn.
        assert wait_for(lambda: server.call(server.door.reading).kv_share == 0)
        status, headers, text = server.ask("/metrics")
        found = {(r.name, *(f"{k}={v}" for k, v in r.labels.items() if k != "model_name")): r.value
                 for r in parse_prometheus(text.decode())}  # fmt: skip
        reading = server.call(server.door.reading)
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    assert found[("workbench_prompt_tokens_total",)] == 6
    assert found[("workbench_generation_tokens_total",)] == 10
    assert found[("workbench_request_success_total", "finished_reason=length")] == 2
    assert found[("workbench_requests_refused_total", "status=400")] == 1
    assert found[("workbench_num_requests_running",)] == 0
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds"):
        assert found[(f"workbench_{name}_count",)] == 2, name
    assert found[("workbench_inter_token_latency_seconds_count",)] == 8
    assert 0.004 < found[("workbench_inter_token_latency_seconds_sum",)] < 0.5
    state = read_metrics(text, headers["content-type"], MODEL)
    assert (state.source, state.requests_active, state.requests_queued) == ("workbench", 0, 0)
    assert (state.prompt_tokens, state.generated_tokens) == (6, 10)
    assert state.kv_share == 0
    assert (reading.requests, reading.completed, reading.refused) == (3, 2, {"400": 1})
    assert reading.ttft.n == reading.itl.n == reading.latency.n == 2
    assert reading.itl.p50 is not None and 1 < reading.itl.p50 < 20
    assert (reading.input_tokens, reading.output_tokens, reading.kv_share) == (6, 10, 0)


# The key


def test_a_key_opens_the_door_and_nothing_else_does(tmp_path: Any) -> None:
    with running(tmp_path, key=KEY) as server:
        with OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as right:
            assert right.completions.create(model=MODEL, prompt="x", max_tokens=1).choices[0].text == "one "
        with OpenAI(base_url=server.url, api_key="wb-wrong", max_retries=0) as wrong:
            with pytest.raises(AuthenticationError) as caught:
                wrong.completions.create(model=MODEL, prompt="x")
            assert caught.value.code == "invalid_api_key"
        for header in ({}, {"authorization": KEY}, {"authorization": "Bearer"}, {"authorization": "Basic " + KEY},
                       {"authorization": f"Bearer {KEY}x"}, {"authorization": f"Bearer {KEY[:-1]}"}):  # fmt: skip
            for path in (COMPLETIONS, "/v1/models", "/metrics", "/version", "/nothing"):
                body = {"prompt": "x"} if path == COMPLETIONS else None
                assert server.ask(path, body, header)[0] == 401, (path, header)
        assert server.ask("/health")[0] == 200
        # With a key the name that it is asked by does not matter.
        assert server.ask("/v1/models", headers={"host": "box:8000", "authorization": f"Bearer {KEY}"})[0] == 200
        assert KEY not in " ".join(server.lines + server.problems)


def test_without_a_key_other_hosts_names_and_web_pages_are_refused(server: Running) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000", "[::2]"):
        status, error = server.error("/v1/models", headers={"host": host})
        assert (status, error["code"]) == (403, "host_not_allowed"), host
    for host in ("localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST:1"):
        assert server.ask("/v1/models", headers={"host": host})[0] == 200, host
    status, headers, data = server.ask(COMPLETIONS, {"prompt": "x"}, {"origin": "https://evil.example"})
    assert status == 403 and json.loads(data)["error"]["code"] == "origin_not_allowed"
    assert not any(name.startswith("access-control") for name in headers)
    assert server.ask(COMPLETIONS, {"prompt": "x"}, {"origin": "null"})[0] == 403


# Logs


def test_logs_hold_no_text_of_prompts_and_no_second_lines(server: Running) -> None:
    secret = "the-secret-prompt"
    server.ask(COMPLETIONS, {"prompt": secret, "max_tokens": 1, "logprobs": 9})
    server.ask(COMPLETIONS, {"prompt": secret, "max_tokens": 1})
    server.ask(COMPLETIONS, {"prompt": secret, "model": secret})
    server.ask("/v1/x%0d%0aFORGED%20line?key=" + secret)
    assert wait_for(lambda: any("FORGED" in line for line in server.lines))
    told = server.lines + server.problems
    assert not [line for line in told if secret in line or "\n" in line or "\r" in line]
    assert [line for line in server.lines if " 200 in=3 out=1 " in line]
    assert [line for line in server.lines if "/v1/x??FORGED?line 404" in line]
