"""The OpenVINO host on a real engine whose greedy answer is known (tests/fakes/markov.py)."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import markov
from tests.workers.hosts.harness import (
    ROOT,
    Bare,
    BareProtocol,
    ends,
    failure_of,
    files_of,
    idle_processor_s,
    is_idle,
    refused,
    user,
    wait_for_stats,
)
from workbench.core.messages import ChatTurn, Finished, Sampling, Stats, StepSpec, Tokens
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.workers.hosts.text import load_chat_template

pytestmark = pytest.mark.slow
ARGV = (sys.executable, "-m", "workbench.workers.openvino.host")
KV_BYTES = 4_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return markov.shared_engine(tmp_path_factory)


def spec(engine: Path, **settings: Any) -> StepSpec:
    return StepSpec(worker="openvino.host", inputs={"engine": str(engine)}, settings=settings)


@contextlib.contextmanager
def serving(engine: Path, log: Path, on_stats: Any = None, **settings: Any) -> Iterator[EngineClient]:
    command = HostCommand(argv=ARGV, env={"PYTHONPATH": str(ROOT)}, spec=spec(engine, **settings))
    with EngineClient.start(command, log, timeout_s=120, on_stats=on_stats) as client:
        yield client


@pytest.fixture(scope="module")
def host(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    log = tmp_path_factory.mktemp("host") / "host.log"
    with serving(engine, log, kv_cache_bytes=KV_BYTES, max_batch_size=4) as client:
        yield client


def test_a_prompt_is_counted_with_its_template_as_it_is_used(host: EngineClient) -> None:
    counted = host.count(messages=user("hello")).result(30)
    answer = host.submit(messages=user("hello"), sampling=Sampling(max_tokens=2)).result(30)
    assert answer.usage is not None and counted.tokens == answer.usage.input_tokens
    assert not counted.problem and counted.limit is not None and counted.limit < markov.MAX_SEQ_LEN
    long = host.count(prompt="x" * 3 * markov.MAX_SEQ_LEN).result(30)
    assert long.tokens is not None and long.tokens > long.limit and f"{long.tokens:,} tokens" in long.problem
    assert host.ready.sampling is not None and {"top_k", "repetition_penalty", "stop"} <= set(host.ready.sampling)


def test_ready_says_what_the_engine_can_take(host: EngineClient) -> None:
    ready = host.ready
    assert ready.limits["max_seq_len"] == markov.MAX_SEQ_LEN
    assert ready.limits["max_batch_size"] == 4
    assert ready.kv_block_tokens == 32
    assert ready.chat_template is True
    assert ready.load_seconds is not None and ready.load_seconds > 0
    assert ready.settings["device"] == "CPU" and ready.settings["prefix_caching"] == "off"
    assert ready.settings["kv_cache_precision"] in ("fp32", "fp16", "bf16", "int8")
    assert ready.settings["compute_precision"] in ("f32", "bf16", "f16")
    host.submit(prompt="x").result(30)
    stats = wait_for_stats(host, is_idle)
    pool = stats.memory_bytes["kv_pool"]
    assert ready.kv_blocks_total is not None and stats.kv_blocks_total == ready.kv_blocks_total
    block = pool // ready.kv_blocks_total
    assert pool <= KV_BYTES < pool + block, "the pool is as large as asked for, to a block"
    assert stats.memory_bytes["process"] > pool
    assert stats.kv_blocks_free == ready.kv_blocks_total
    assert stats.kv_blocks_reused is None


def test_the_answer_is_the_models_and_characters_come_whole(host: EngineClient) -> None:
    generation = host.submit(messages=user("Say hello"), sampling=Sampling(max_tokens=50))
    events = list(generation)
    answer = generation.result(1)
    assert answer.text == markov.ANSWER
    assert list(answer.ids) == markov.answer_ids()
    assert answer.reason == "stop"
    parts = [event.text for event in events if isinstance(event, Tokens)]
    assert "🎉" in parts or " 🎉" in parts
    assert not any("\ufffd" in part for part in parts)
    assert answer.usage is not None and answer.usage.output_tokens == len(answer.ids) == answer.output_tokens
    assert {"ttft_ms", "tpot_ms", "host_ttft_ms", "host_queue_ms"} <= set(answer.engine_timings_ms)


def test_the_chat_template_and_the_tokenizer_are_transformers(host: EngineClient, engine: Path) -> None:
    from tokenizers import Tokenizer

    template = load_chat_template(engine)
    assert template is not None
    text = template.render([{"role": "user", "content": "Grüße 🎉"}])
    expected = Tokenizer.from_file(str(engine / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    answer = host.submit(messages=user("Grüße 🎉"), sampling=Sampling(max_tokens=1)).result(30)
    assert answer.usage is not None and answer.usage.input_tokens == len(expected)


def test_fixed_length(host: EngineClient) -> None:
    answer = host.submit(prompt="x", sampling=Sampling(max_tokens=40, ignore_eos=True)).result(30)
    assert (answer.reason, answer.output_tokens) == ("length", 40)
    chain = markov.answer_ids()
    assert list(answer.ids) == (chain * 4)[:40]
    assert answer.text.startswith(markov.ANSWER + markov.ANSWER)


def test_more_requests_than_the_batch_holds_are_queued_and_all_right(engine: Path, tmp_path: Path) -> None:
    seen: list[Stats] = []
    settings = {"kv_cache_bytes": KV_BYTES, "max_batch_size": 4}
    with serving(engine, tmp_path / "log", on_stats=seen.append, **settings) as client:
        client.set_stats_interval(0.001)
        sampling = Sampling(max_tokens=66, ignore_eos=True)
        generations = [client.submit(prompt=f"request {n}", sampling=sampling) for n in range(12)]
        answers = [generation.result(60) for generation in generations]
        assert {answer.ids for answer in answers} == {tuple(markov.answer_ids() * 6)}
        wait_for_stats(client, is_idle)
    assert max(stats.requests_active or 0 for stats in seen) == 4
    assert max(stats.requests_queued or 0 for stats in seen) >= 4, "the library itself would run all of them"
    assert 1 <= max(stats.batch or 0 for stats in seen) <= 4, "no iteration holds more than the batch"
    assert max(stats.kv_blocks_used or 0 for stats in seen) >= 4
    assert seen[-1].generated_tokens == 12 * 66
    assert seen[-1].context_tokens == sum(len(f"request {n}") for n in range(12))
    assert seen[-1].iteration_ms is not None


def test_a_stop_string_spread_over_tokens_ends_the_answer_before_it(host: EngineClient) -> None:
    answer = host.submit(prompt="x", sampling=Sampling(max_tokens=50, stop=("nothing", "🎉 wor"))).result(30)
    assert (answer.text, answer.reason) == ("Hello ", "stop")
    assert len(answer.ids) == 5
    wait_for_stats(host, is_idle)


def test_logprobs_when_asked_for(host: EngineClient) -> None:
    asked = host.submit(prompt="x", sampling=Sampling(max_tokens=5, logprobs=True)).result(30)
    assert asked.logprobs is not None and len(asked.logprobs) == 5
    assert all(-3 < value < 0 for value in asked.logprobs)
    assert host.submit(prompt="x", sampling=Sampling(max_tokens=5)).result(30).logprobs is None


def test_sampling_follows_its_seed(host: EngineClient) -> None:
    def draw(**settings: Any) -> tuple[int, ...]:
        sampling = Sampling(max_tokens=30, ignore_eos=True, **settings)
        return host.submit(prompt="x", sampling=sampling).result(30).ids

    greedy = draw()
    assert draw(seed=7) == greedy
    drawn = draw(temperature=2.0, seed=7)
    assert drawn != greedy
    assert draw(temperature=2.0, seed=7) == drawn
    assert draw(temperature=2.0, seed=8) != drawn
    assert draw(temperature=2.0) != draw(temperature=2.0), "without a seed each request draws its own"
    assert draw(temperature=2.0, top_k=1) == greedy
    assert draw(temperature=2.0, top_p=1e-6) == greedy
    assert draw(temperature=1.0, min_p=0.9) == greedy


def test_a_repetition_penalty_forbids_what_was_said(host: EngineClient) -> None:
    sampling = Sampling(max_tokens=12, ignore_eos=True, repetition_penalty=50.0)
    answer = host.submit(prompt="x", sampling=sampling).result(30)
    assert answer.text == markov.ANSWER + markov.SECOND


def test_an_abort_is_answered_at_once_and_frees_its_blocks(host: EngineClient) -> None:
    sampling = Sampling(max_tokens=400, ignore_eos=True)
    generations = [host.submit(prompt="x" * 90, sampling=sampling) for _ in range(24)]
    generations[0].event(0, 10)
    begin = time.monotonic()
    for generation in generations:
        generation.abort()
    answers = [generation.result(5) for generation in generations]
    assert time.monotonic() - begin < 0.3
    assert {answer.reason for answer in answers} <= {"abort", "length"}
    assert sum(answer.reason == "abort" for answer in answers) >= 4
    assert any(answer.output_tokens == 0 for answer in answers), "one in the queue was aborted too"
    wait_for_stats(host, is_idle)
    assert host.submit(prompt="x").result(30).text == markov.ANSWER


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": "x" * 600}, "600 tokens and the engine's longest sequence is 512"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"prompt": ""}, "empty"),
        ({"ids": []}, "empty"),
        ({"ids": [1, 10**6]}, "token id 1000000 is not in the vocabulary"),
        ({"messages": []}, "conversation is empty"),
        ({"messages": [ChatTurn(role="user", content="raise")]}, "this conversation is not liked"),
        ({"prompt": "x", "sampling": Sampling(temperature=1.0, min_p=1.0)}, "min_p"),
        ({"prompt": "x", "sampling": Sampling(temperature=1.0, seed=-1)}, "seed"),
    ],
)
def test_a_bad_request_is_refused_in_words_and_the_host_lives(
    host: EngineClient, given: dict[str, Any], words: str
) -> None:
    assert words in refused(host, **given)
    assert host.submit(prompt="x").result(30).text == markov.ANSWER


def test_a_prompt_over_the_pool_is_refused_and_an_answer_over_it_is_cut(engine: Path, tmp_path: Path) -> None:
    with serving(engine, tmp_path / "log", kv_blocks=4) as client:
        assert client.ready.kv_blocks_total == 4
        assert "130 tokens and the KV pool holds 128" in refused(client, prompt="x" * 130)
        sampling = Sampling(max_tokens=400, ignore_eos=True)
        answer = client.submit(prompt="x" * 100, sampling=sampling).result(60)
        assert (answer.reason, answer.output_tokens) == ("length", 28)
    assert "400 tokens asked for, there is room for 28" in (tmp_path / "log").read_text()


def test_requests_that_do_not_fit_together_wait_for_each_other(engine: Path, tmp_path: Path) -> None:
    with serving(engine, tmp_path / "log", kv_blocks=8) as client:
        sampling = Sampling(max_tokens=110, ignore_eos=True)
        generations = [client.submit(prompt="x" * 100, sampling=sampling) for _ in range(5)]
        answers = [generation.result(60) for generation in generations]
        assert [answer.failure for answer in answers] == [None] * 5
        assert {answer.ids for answer in answers} == {tuple(markov.answer_ids() * 10)}


@pytest.mark.parametrize(
    "settings",
    [
        {"prefix_caching": True},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 128},
        {"kv_cache_precision": "fp32", "inference_precision": "fp32", "num_threads": 1},
        {"max_seq_len": 64, "unheard_of": 1},
    ],
)
def test_settings_reach_the_engine(engine: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    with serving(engine, tmp_path / "log", kv_cache_bytes=KV_BYTES, **settings) as client:
        for _ in range(2):
            answer = client.submit(prompt="x" * 50, sampling=Sampling(max_tokens=50)).result(60)
            assert answer.text == markov.ANSWER
        if "max_num_batched_tokens" in settings:
            assert "200 tokens and an iteration takes 128" in refused(client, prompt="x" * 200)
        if "max_seq_len" in settings:
            assert "longest sequence is 64" in refused(client, prompt="x" * 64)
            assert "unheard_of" in (tmp_path / "log").read_text()


def test_idle_uses_no_processor_time(host: EngineClient) -> None:
    host.submit(prompt="x").result(30)
    assert idle_processor_s(host, 1.0) < 0.05


# Failures to load


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"kv_cache_bytes": -1}, "bad-settings"),
        ({"kv_cache_bytes": 100}, "bad-settings"),
        ({"kv_cache_bytes": 2**50}, "out-of-memory"),
        ({"max_batch_size": "many"}, "bad-settings"),
        ({"kv_cache_precision": "int3"}, "bad-settings"),
        ({"device": "TOASTER"}, "bad-engine"),
    ],
)
def test_settings_that_cannot_be_are_told(engine: Path, tmp_path: Path, settings: dict[str, Any], code: str) -> None:
    failure = failure_of(serving(engine, tmp_path / "log", **settings))
    assert failure.code == code and failure.fix


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("openvino_model.xml", "bad-engine"),
        ("openvino_tokenizer.xml", "no-tokenizer"),
        ("config.json", "bad-json"),
        ("cut the weights", "bad-engine"),
        ("cut the model", "bad-engine"),
    ],
)
def test_a_damaged_engine_is_told(engine: Path, tmp_path: Path, damage: str, code: str) -> None:
    broken = tmp_path / "engine"
    shutil.copytree(engine, broken)
    if damage == "cut the weights":
        (broken / "openvino_model.bin").write_bytes((engine / "openvino_model.bin").read_bytes()[:1000])
    elif damage == "cut the model":
        (broken / "openvino_model.xml").write_bytes((engine / "openvino_model.xml").read_bytes()[:1000])
    else:
        (broken / damage).unlink()
    assert failure_of(serving(broken, tmp_path / "log", kv_blocks=8)).code == code


def test_loading_leaves_the_engine_folder_as_it_is(engine: Path, tmp_path: Path) -> None:
    before = files_of(engine)
    with serving(engine, tmp_path / "log", kv_blocks=8) as client:
        client.submit(prompt="x").result(30)
    assert files_of(engine) == before


# The bare protocol


@pytest.fixture
def bare(engine: Path, tmp_path: Path) -> Iterator[Bare]:
    started = Bare(ARGV, spec(engine, kv_blocks=64), tmp_path / "bare.log")
    yield started
    started.close()


def test_commands_that_make_no_sense_are_answered_or_logged(bare: Bare) -> None:
    bare.write("this is not JSON")
    bare.write(b"\xff\xfe")
    bare.command(type="dance")
    bare.command(type="generate", request="s", prompt="x", sampling={"temperature": -1})
    bare.command(type="generate", request="f", prompt="x", sampling={"temprature": 1})
    bare.command(type="generate", request="role", messages=[{"role": "pirate", "content": "x"}])
    bare.write('{"type":"generate","request":"half","prompt":"\\ud83c"}')
    bare.command(type="abort", request="nobody")
    bare.command(type="generate", request="good", prompt="x", surprise=1)
    seen = bare.until(ends("good"))
    words = {message.request: message.message for message in seen if isinstance(message, Finished)}
    assert "temperature" in words["s"]
    assert "temprature" in words["f"]
    assert "role" in words["role"]
    assert "not valid" in words["half"]
    assert "no request named 'nobody'" in words["nobody"]
    assert seen[-1].reason == "stop"
    assert [message.level for message in seen if message.type == "log"] == ["warning"] * 3


class TestBareProtocol(BareProtocol):
    """Of a host whose pipeline turns in its main thread."""
