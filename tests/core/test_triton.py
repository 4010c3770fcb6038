"""Triton's generate API: bodies, events, forms and places."""

from __future__ import annotations

import json

import pytest

from workbench.core.endpoint import EndpointSpec, base_url, dialect_of
from workbench.core.messages import ChatTurn, Sampling
from workbench.core.openai import MalformedEventError, TokenCounter, left_out, read_event, request_body
from workbench.core.server_metrics import read_metrics
from workbench.core.triton import FIELDS, form_of, generate_body, longest_sequence, metrics_places


def test_a_body_has_the_fields_of_the_model_that_answers() -> None:
    sampling = Sampling(max_tokens=8, temperature=0.7, top_p=0.9, stop=("\n",), ignore_eos=True, seed=3)
    assert request_body("triton", "m", sampling, dialect_of("triton_generate"), prompt="Hi") == {
        "text_input": "Hi",
        "max_tokens": 8,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 3,
        "stop_words": ["\n"],
        "end_id": -1,
        "stream": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }
    llmapi = dialect_of("triton_llmapi")
    assert left_out(sampling, llmapi) == ("ignore_eos",)
    body = request_body("triton", "m", Sampling(max_tokens=8, temperature=0.0), llmapi, prompt="Hi", stream=False)
    # Greedy is the best token alone: the backend divides by the temperature.
    assert body == {
        "text_input": "Hi",
        "sampling_param_max_tokens": 8,
        "sampling_param_top_k": 1,
        "streaming": False,
    }


def test_messages_become_one_text_and_ids_are_refused() -> None:
    turns = (ChatTurn(role="system", content="Be brief."), ChatTurn(role="user", content="Hi"))
    dialect = dialect_of("triton_generate")
    assert request_body("triton", "m", Sampling(), dialect, messages=turns)["text_input"] == "Be brief.\n\nHi"
    with pytest.raises(ValueError, match="no token ids"):
        request_body("triton", "m", Sampling(), dialect, ids=[1, 2])


def test_events_are_counted_as_the_engine_counts_them() -> None:
    counter = TokenCounter()
    for text, tokens in (("Gr", 2), ("", 1), ("öße", 1)):
        event = {"model_name": "m", "text_output": text, "num_output_tokens": tokens, "num_input_tokens": 5}
        counter.take(read_event(json.dumps(event)))
    assert counter.counts == [2, 1, 1] and counter.source == "engine ids"
    assert counter.usage is not None and (counter.usage.input_tokens, counter.usage.output_tokens) == (5, 4)


def test_a_server_that_counts_nothing_gives_one_token_a_response() -> None:
    counter = TokenCounter()
    for text in ("a", "b", ""):
        counter.take(read_event(json.dumps({"text_output": text})))
    assert counter.counts == [1, 1] and counter.source is None


def test_errors_and_strange_events() -> None:
    assert read_event('{"error": "in ensemble: out of memory"}').error == "in ensemble: out of memory"
    assert read_event('{"text_output": ["one", "two"]}').text == "one"
    assert not read_event('{"text_output": 7, "num_output_tokens": -1}').says
    with pytest.raises(MalformedEventError):
        read_event('{"text": "x"}')


@pytest.mark.parametrize("tail", ["", "/", "/v2/models/tensorrt_llm_bls/generate_stream", "/v2/models/x"])
def test_urls_as_people_paste_them(tail: str) -> None:
    spec = EndpointSpec(base_url=base_url(f"http://box:8000{tail}"), model="a b", api="triton")
    assert spec.url("triton") == "http://box:8000/v2/models/a%20b/generate_stream"
    assert base_url("http://box/triton/v2/models/x/generate") == "http://box/triton"


def test_the_form_is_told_by_the_inputs() -> None:
    def metadata(*names: str) -> dict[str, object]:
        return {"inputs": [{"name": name} for name in names]}

    assert form_of(metadata("text_input", "max_tokens")) == "triton_generate"
    assert form_of(metadata("text_input", "sampling_param_max_tokens")) == "triton_llmapi"
    assert form_of(metadata("input_ids")) is None and form_of([]) is None and form_of({"inputs": 3}) is None


def test_limits_and_places() -> None:
    assert longest_sequence({"parameters": {"max_seq_len": {"string_value": "4096"}}}) == 4096
    assert longest_sequence({"parameters": {"max_seq_len": {"string_value": "no"}}}) is None
    assert metrics_places("http://box:9000") == ("http://box:9002/metrics", "http://box:8002/metrics")
    assert metrics_places("http://[::1]:8000") == ("http://[::1]:8002/metrics",)


def test_a_triton_without_the_c_backend_still_tells_of_its_queue() -> None:
    text = 'nv_inference_pending_request_count{model="tensorrt_llm",version="1"} 7\nnv_inference_count{model="x"} 1\n'
    state = read_metrics(text, "text/plain", "tensorrt_llm")
    assert (state.source, state.requests_queued, state.kv_share) == ("triton", 7, None)


def test_an_answer_that_may_end_by_itself_keeps_its_end() -> None:
    fields = FIELDS["triton_generate"]
    assert "end_id" not in generate_body(fields, {"ignore_eos": False}, "x", stream=True)
    assert generate_body(fields, {"ignore_eos": True}, "x", stream=True)["end_id"] == -1
