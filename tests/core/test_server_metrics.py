"""`/metrics` of each kind of server, in the layout that it has."""

from __future__ import annotations

import json

import pytest

from workbench.core.server_metrics import MetricsError, Reading, ServerState, parse_prometheus, read_metrics

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a/b"} 3.0
vllm:num_requests_running{engine="1",model_name="a/b"} 2.0
vllm:num_requests_waiting{engine="0",model_name="a/b"} 1.0
vllm:num_requests_waiting{engine="1",model_name="a/b"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="a/b"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="a/b"} 0.25
vllm:generation_tokens_total{engine="0",model_name="a/b"} 1200.0
vllm:prompt_tokens_total{engine="0",model_name="a/b"} 8e+06
vllm:cache_config_info{block_size="16",cache_dtype="fp8",engine="0",num_gpu_blocks="1000"} 1.0
vllm:cache_config_info{block_size="16",cache_dtype="fp8",engine="1",num_gpu_blocks="1000"} 1.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="a/b"} 4.0
python_gc_objects_collected_total{generation="0"} 12.0
"""


def test_vllm_over_its_engines() -> None:
    state = read_metrics(VLLM, "text/plain; version=0.0.4", "a/b")
    assert state == ServerState(
        "vllm",
        kv_share=0.375,
        kv_blocks_used=750,
        kv_blocks_total=2000,
        kv_block_tokens=16,
        requests_active=5,
        requests_queued=1,
        prompt_tokens=8_000_000,
        generated_tokens=1200,
        facts={"cache_dtype": "fp8", "block_size": "16"},
    )
    stats = state.stats()
    assert (stats.kv_blocks_used, stats.kv_blocks_free, stats.requests_queued) == (750, 1250, 1)


def test_older_vllm_and_a_share_without_blocks() -> None:
    state = read_metrics('vllm:gpu_cache_usage_perc{model_name="m"} 0.125\nvllm:num_requests_running 1\n')
    assert (state.kv_share, state.kv_blocks_used, state.requests_active) == (0.125, None, 1)
    assert state.requests_queued is None


def test_one_model_of_several() -> None:
    text = 'vllm:num_requests_running{model_name="a"} 3\nvllm:num_requests_running{model_name="b"} 9\n'
    assert read_metrics(text, model="b").requests_active == 9
    assert read_metrics(text, model="else").requests_active == 12


@pytest.mark.parametrize(
    ("text", "source", "share", "active", "queued"),
    [
        (
            'sglang:num_running_reqs{model_name="m"} 4\nsglang:num_queue_reqs 2\nsglang:token_usage 0.28\n',
            "sglang",
            0.28,
            4,
            2,
        ),
        (
            "llamacpp:requests_processing 1\nllamacpp:requests_deferred 3\nllamacpp:kv_cache_usage_ratio 0.5\n",
            "llamacpp",
            0.5,
            1,
            3,
        ),
        (
            json.dumps("# HELP x\nllamacpp:requests_processing 1\nllamacpp:requests_deferred 0\n"),
            "llamacpp",
            None,
            1,
            0,
        ),
        (
            'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="e"} 25\n'
            'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="e"} 100\n'
            'nv_trt_llm_request_metrics{model="e",request_type="active"} 5\n'
            'nv_trt_llm_request_metrics{model="e",request_type="waiting"} 6\n',
            "triton",
            0.25,
            5,
            6,
        ),
        ("trtllm_kv_cache_utilization 0.4\n", "trtllm", 0.4, None, None),
        ("gpu_cache_usage_perc 0.1\nnum_requests_running 2\nnum_requests_waiting 0\n", "nim", 0.1, 2, 0),
        ("tgi_batch_current_size 7\ntgi_queue_size 1\n", "tgi", None, 7, 1),
    ],
)
def test_other_servers(text: str, source: str, share: float | None, active: int | None, queued: int | None) -> None:
    state = read_metrics(text)
    assert (state.source, state.kv_share, state.requests_active, state.requests_queued) == (
        source,
        share,
        active,
        queued,
    )


def test_the_records_of_trtllm_serve() -> None:
    record = {
        "iter": 7,
        "iterLatencyMS": 13.5,
        "numActiveRequests": 2,
        "numQueuedRequests": 0,
        "kvCacheStats": {"maxNumBlocks": 22955, "usedNumBlocks": 3, "tokensPerBlock": 32},
    }
    state = read_metrics(json.dumps([{**record, "numActiveRequests": 9}, record]), "application/json")
    assert (state.source, state.requests_active, state.iteration_ms) == ("trtllm", 2, 13.5)
    assert (state.kv_blocks_used, state.kv_blocks_total, state.kv_block_tokens) == (3, 22955, 32)
    idle = read_metrics("[]", "application/json")
    assert idle.source == "trtllm" and not idle.known


@pytest.mark.parametrize("text", ["<html></html>", "what is this", '{"broken', "[17]", '{"a":'])
def test_what_is_no_metrics_is_said_to_be_none(text: str) -> None:
    with pytest.raises(MetricsError):
        read_metrics(text)


@pytest.mark.parametrize("text", ["", "# HELP x\n", "go_goroutines 5\n", "vllm:num_requests_running NaN\n"])
def test_nothing_known_is_an_empty_state(text: str) -> None:
    assert not read_metrics(text).known


def test_shares_that_cannot_be_are_not_believed() -> None:
    state = read_metrics("vllm:kv_cache_usage_perc 37.5\nvllm:num_requests_running 1\n")
    assert state.kv_share is None and state.requests_active == 1


def test_lines_of_prometheus() -> None:
    text = (
        'a{x="1, 2",y="q\\"u}\\n\\\\"} 1.5 1700000000000\n'
        'b 2 # {trace_id="t"} 1\n'
        "c NaN\nd +Inf\ne\n{} 1\n9bad 1\nf word\n"
    )
    assert parse_prometheus(text) == [
        Reading("a", {"x": "1, 2", "y": 'q"u}\n\\'}, 1.5),
        Reading("b", {}, 2.0),
        Reading("d", {}, float("inf")),
    ]
