"""The ONNX Runtime host on a real engine whose greedy answer is known (tests/fakes/markov_onnx.py)."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import markov, markov_onnx
from tests.workers.conftest import RunWorker, error_of, result_of
from tests.workers.hosts.harness import (
    ROOT,
    Bare,
    BareProtocol,
    failure_of,
    files_of,
    idle_processor_s,
    is_idle,
    refused,
    user,
    wait_for_stats,
)
from tests.workers.onnx.conftest import TinyOnnx
from workbench.core.measure.scores import Questions, Scores, Sequences, Text
from workbench.core.messages import Sampling, Stats, StepSpec, Tokens
from workbench.jobs.engine import EngineClient, HostCommand

pytestmark = pytest.mark.slow
VOCABULARY = len(markov.vocabulary())
PER_TOKEN = markov_onnx.KV_BYTES_PER_TOKEN


def command(python: str, engine: Path, env: dict[str, str] | None = None, **settings: Any) -> HostCommand:
    spec = StepSpec(worker="onnxruntime.host", inputs={"engine": str(engine)}, settings=settings)
    argv = (python, "-m", "workbench.workers.onnxruntime.host")
    return HostCommand(argv=argv, env={"PYTHONPATH": str(ROOT), **(env or {})}, spec=spec)


@contextlib.contextmanager
def serving(
    python: str, engine: Path, log: Path, on_stats: Any = None, env: dict[str, str] | None = None, **settings: Any
) -> Iterator[EngineClient]:
    made = command(python, engine, env, **settings)
    with EngineClient.start(made, log, timeout_s=120, on_stats=on_stats) as client:
        yield client


@pytest.fixture(scope="module")
def host(onnx_python: str, engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    log = tmp_path_factory.mktemp("host") / "host.log"
    with serving(onnx_python, engine, log, max_batch_size=4, prefill_chunk=32, num_threads=1) as client:
        yield client


def test_ready_says_what_the_engine_can_take(host: EngineClient) -> None:
    ready = host.ready
    assert ready.limits == {"max_seq_len": markov.MAX_SEQ_LEN, "max_batch_size": 4, "max_num_batched_tokens": 32}
    assert ready.kv_blocks_total is None and ready.kv_block_tokens is None
    assert ready.chat_template is True and ready.load_seconds is not None and ready.load_seconds > 0
    expected = {
        "device": "CPU",
        "execution_provider": "CPUExecutionProvider",
        "compute_precision": "fp32",
        "weights_precision": "fp32",
        "kv_cache_precision": "fp32",
        "threads": "1",
        "prefill_chunk": "32",
        "chunked_prefill": "on",
        "prefix_caching": "off",
    }
    assert expected.items() <= ready.settings.items()
    assert ready.sampling is not None and "min_p" not in ready.sampling
    assert {"temperature", "top_p", "top_k", "repetition_penalty", "seed", "logprobs"} <= set(ready.sampling)


def test_the_answer_is_the_models_and_characters_come_whole(host: EngineClient) -> None:
    generation = host.submit(messages=user("Say hello " * 20), sampling=Sampling(max_tokens=50))
    events = list(generation)
    answer = generation.result(1)
    assert answer.text == markov.ANSWER
    assert list(answer.ids) == markov.answer_ids()
    assert answer.reason == "stop" and answer.logprobs is None
    parts = [event.text for event in events if isinstance(event, Tokens)]
    assert not any("\ufffd" in part for part in parts)
    assert answer.usage is not None and answer.usage.output_tokens == len(answer.ids)
    assert answer.usage.input_tokens > 200, "several pieces of 32"
    assert {"prefill_ms", "decode_ms", "host_ttft_ms", "host_queue_ms"} <= set(answer.engine_timings_ms)
    counted = host.count(messages=user("Say hello " * 20)).result(30)
    assert counted.tokens == answer.usage.input_tokens and counted.limit == markov.MAX_SEQ_LEN - 1


def test_fixed_length_goes_on_after_end_tokens_and_logprobs_are_the_models(host: EngineClient) -> None:
    sampling = Sampling(max_tokens=40, ignore_eos=True, logprobs=True)
    answer = host.submit(prompt="x", sampling=sampling).result(30)
    assert (answer.reason, answer.output_tokens) == ("length", 40)
    assert list(answer.ids) == (markov.answer_ids() * 4)[:40]
    assert answer.logprobs is not None and len(answer.logprobs) == 40
    weights = math.exp(markov_onnx.BEST) + math.exp(markov_onnx.SECOND_BEST) + VOCABULARY - 2
    assert answer.logprobs == pytest.approx([markov_onnx.BEST - math.log(weights)] * 40, abs=1e-4)


def test_a_stop_string_spread_over_tokens_ends_the_answer_before_it(host: EngineClient) -> None:
    answer = host.submit(prompt="x", sampling=Sampling(max_tokens=50, stop=("nothing", "🎉 wor"))).result(30)
    assert (answer.text, answer.reason) == ("Hello ", "stop")
    wait_for_stats(host, is_idle)


def test_sampling_follows_its_seed(host: EngineClient) -> None:
    def draw(**settings: Any) -> tuple[int, ...]:
        sampling = Sampling(max_tokens=20, ignore_eos=True, **settings)
        return host.submit(prompt="x", sampling=sampling).result(30).ids

    greedy = draw()
    assert draw(seed=7) == greedy
    drawn = draw(temperature=2.0, seed=7)
    assert drawn != greedy
    assert draw(temperature=2.0, seed=7) == drawn
    assert draw(temperature=2.0, seed=8) != drawn
    assert draw(temperature=2.0) != draw(temperature=2.0), "without a seed each request draws its own"
    assert draw(temperature=2.0, top_k=1) == draw(temperature=2.0, top_p=1e-6) == greedy
    assert len(set(draw(temperature=2.0, seed=7)) | set(drawn)) > 12, "no top-k is left from the library's default"
    penalized = Sampling(max_tokens=12, ignore_eos=True, repetition_penalty=50.0)
    assert host.submit(prompt="x", sampling=penalized).result(30).text == markov.ANSWER + markov.SECOND


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": "x" * 600}, "600 tokens and the engine's longest sequence is 512"),
        ({"prompt": ""}, "empty"),
        ({"ids": [1, 10**6]}, "token id 1000000 is not in the vocabulary"),
        ({"prompt": "x", "sampling": Sampling(temperature=1.0, min_p=0.5)}, "min_p"),
        ({"prompt": "x", "sampling": Sampling(temperature=1.0, seed=2**40)}, "seed"),
    ],
)
def test_a_bad_request_is_refused_in_words_and_the_host_lives(
    host: EngineClient, given: dict[str, Any], words: str
) -> None:
    assert words in refused(host, **given)
    assert host.submit(prompt="x").result(30).text == markov.ANSWER


def test_an_abort_is_answered_at_once_and_frees_its_cache(host: EngineClient) -> None:
    sampling = Sampling(max_tokens=400, ignore_eos=True)
    generations = [host.submit(prompt="x" * 90, sampling=sampling) for _ in range(12)]
    generations[0].event(0, 10)
    begin = time.monotonic()
    for generation in generations:
        generation.abort()
    answers = [generation.result(5) for generation in generations]
    assert time.monotonic() - begin < 0.3
    assert {answer.reason for answer in answers} == {"abort"}
    assert any(answer.output_tokens == 0 for answer in answers), "one in the queue was aborted too"
    stats = wait_for_stats(host, is_idle)
    assert stats.memory_bytes["kv_cache"] == 0 < stats.memory_bytes["process"]
    assert host.submit(prompt="x").result(30).text == markov.ANSWER


def test_idle_uses_no_processor_time(host: EngineClient) -> None:
    host.submit(prompt="x").result(30)
    assert idle_processor_s(host, 1.0) < 0.05


def test_requests_take_turns_within_the_memory_for_their_caches(onnx_python: str, engine: Path, tmp_path: Path) -> None:
    """Eight of them, of which memory holds three: all are right, none waits for another's whole answer."""
    seen: list[Stats] = []
    tokens, chain = 66 + 9, tuple(markov.answer_ids() * 6)
    before = files_of(engine)
    log = tmp_path / "log"
    with serving(onnx_python, engine, log, seen.append, kv_cache_bytes=4 * tokens * PER_TOKEN, unheard_of=1) as client:
        client.set_stats_interval(0.001)
        assert client.ready.limits["kv_tokens"] == 2 * tokens
        sampling = Sampling(max_tokens=66, ignore_eos=True)
        generations = [client.submit(prompt=f"request {n}", sampling=sampling) for n in range(8)]
        assert [generation.result(60).ids for generation in generations] == [chain] * 8
        wait_for_stats(client, is_idle)
        assert f"holds {2 * tokens}" in refused(client, prompt="x" * 2 * tokens)
        cut = client.submit(prompt="x" * 100, sampling=Sampling(max_tokens=400, ignore_eos=True)).result(60)
        assert (cut.reason, cut.output_tokens) == ("length", 2 * tokens - 100)
    assert max(stats.requests_active or 0 for stats in seen) == 3
    assert max(stats.batch or 0 for stats in seen) == 3
    assert max(stats.requests_queued or 0 for stats in seen) >= 4
    held = max(stats.memory_bytes["kv_cache"] for stats in seen)
    assert 2 * tokens * PER_TOKEN < held <= 3 * tokens * PER_TOKEN and held % PER_TOKEN == 0
    assert 0.5 < max(stats.kv_share or 0.0 for stats in seen) <= 0.75
    assert seen[-1].kv_blocks_used is None and seen[-1].iteration_ms is not None
    assert seen[-1].context_tokens is not None and seen[-1].context_tokens >= 8 * 9
    assert files_of(engine) == before and "unheard_of" in log.read_text()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"device": "toaster"}, "bad-settings"),
        ({"kv_cache_bytes": 100}, "bad-settings"),
        ({"kv_cache_bytes": 2**50}, "out-of-memory"),
        ({"device": "rtx"}, "not-an-rtx-engine"),
    ],
)
def test_settings_that_cannot_be_are_told(
    onnx_python: str, engine: Path, tmp_path: Path, settings: dict[str, Any], code: str
) -> None:
    failure = failure_of(serving(onnx_python, engine, tmp_path / "log", **settings))
    assert failure.code == code and failure.fix


def test_a_gpu_without_the_wheels_for_it_is_told(
    onnx_python: str, engine: Path, tmp_path: Path, with_gpu: Callable[..., None]
) -> None:
    with_gpu("NVIDIA H100 80GB HBM3,9.0")
    env = {"PATH": os.environ["PATH"]}
    failure = failure_of(serving(onnx_python, engine, tmp_path / "log", env=env, device="cuda"))
    assert failure.code == "no-cuda-wheel" and "onnxruntime-genai-cuda" in failure.evidence


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("model.onnx", "bad-engine"),
        ("tokenizer.json", "no-tokenizer"),
        ("genai_config.json", "bad-engine"),
        ("model.onnx.data", "missing-onnx-data"),
        ("cut the data", "missing-onnx-data"),
        ("cut the model", "engine-load-failed"),
    ],
)
def test_a_damaged_engine_is_told(onnx_python: str, engine: Path, tmp_path: Path, damage: str, code: str) -> None:
    broken = tmp_path / "engine"
    shutil.copytree(engine, broken)
    if damage.startswith("cut"):
        name = "model.onnx" if damage == "cut the model" else "model.onnx.data"
        (broken / name).write_bytes((engine / name).read_bytes()[:1000])
    else:
        (broken / damage).unlink()
    assert failure_of(serving(onnx_python, broken, tmp_path / "log")).code == code


class TestBareProtocol(BareProtocol):
    """Of a host that takes its requests in turn."""

    @pytest.fixture
    def bare(self, onnx_python: str, engine: Path, tmp_path: Path) -> Iterator[Bare]:
        spec = command(onnx_python, engine).spec
        started = Bare((onnx_python, "-m", "workbench.workers.onnxruntime.host"), spec, tmp_path / "bare.log")
        yield started
        started.close()


# Build and score


def test_build_takes_the_checkpoint_and_describes_what_it_tried(known: Path) -> None:
    notes = json.loads((known / "engine" / "engine.json").read_text())
    assert notes["toolchain"] == "onnxruntime" and notes["device"] == "auto"
    assert notes["kv_bytes_per_token"] == PER_TOKEN and notes["limits"] == {"max_seq_len": markov.MAX_SEQ_LEN}
    assert notes["trial"]["answer"] == markov.ANSWER and notes["trial"]["device"] == "CPU"
    assert {"onnxruntime", "onnxruntime-genai"} <= set(notes["versions"])
    assert notes["precision"] == "fp32"
    assert sorted(path.name for path in (known / "onnx").iterdir()) == sorted(
        path.name for path in (known / "engine").iterdir() if path.name != "engine.json"
    )


def test_build_tells_what_cannot_be_built(known: Path, run_onnx: RunWorker, tmp_path: Path) -> None:
    def code(out: str, checkpoint: Path, **settings: Any) -> str:
        step = {"inputs": {"checkpoint": str(checkpoint)}, "settings": settings, "output": str(tmp_path / out)}
        return error_of(run_onnx("onnxruntime.build", step)).code

    assert code("a", known / "onnx", device="tpu") == "bad-setting"
    shutil.copytree(known / "onnx", tmp_path / "onnx")
    (tmp_path / "onnx" / "model.onnx.data").unlink()
    assert code("b", tmp_path / "onnx") == "missing-onnx-data"


def scored(run_onnx: RunWorker, engine: Path, folder: Path, questions: Questions, **settings: Any) -> tuple[Any, Any]:
    """The scores and the sequences of a baseline."""
    folder.mkdir()
    (folder / "questions.json").write_text(questions.model_dump_json())
    inputs = {"engine": str(engine), "questions": str(folder / "questions.json")}
    out = folder / "score"
    result_of(run_onnx("onnxruntime.score", {"inputs": inputs, "settings": settings, "output": str(out)}))
    scores = Scores.model_validate_json((out / "scores.json").read_text())
    return scores, Sequences.model_validate_json((out / "sequences.json").read_text())


def test_score_is_that_of_the_known_model(run_onnx: RunWorker, engine: Path, tmp_path: Path) -> None:
    questions = Questions(
        passages=(Text(name="bytes", text="x" * 40),),
        prompts=(Text(name="greeting", text="Hi"),),
        answer_tokens=len(markov.answer_ids()),
        window_tokens=16,
    )
    scores, sequences = scored(run_onnx, engine, tmp_path / "s", questions, max_batch_size=4)
    assert scores.settings["device"] == "cpu" and not scores.not_reported
    assert list(sequences.prompts[0].answer) == markov.answer_ids()
    passage, weights = scores.passages[0], math.exp(markov_onnx.BEST) + math.exp(markov_onnx.SECOND_BEST)
    assert passage.tokens == 39
    # `x` has the logit 0 after `x`.
    assert passage.nll == pytest.approx(39 * math.log(weights + VOCABULARY - 2), rel=1e-5)


def test_answers_in_turn_with_cut_prompts_are_those_of_the_model_alone(
    run_onnx: RunWorker, onnx_python: str, tiny_llama_onnx: TinyOnnx, tmp_path: Path
) -> None:
    """A converted Llama, whose every token looks back at all before it: built, scored, and served."""
    step = {"inputs": {"checkpoint": str(tiny_llama_onnx.fp32)}, "output": str(tmp_path / "engine")}
    built = result_of(run_onnx("onnxruntime.build", step))
    assert built["trial"]["answer"] and built["check"] is not None
    prompts = tuple(Text(name=str(n), text="the quick brown fox " * n) for n in (1, 3, 5))
    questions = Questions(passages=(), prompts=prompts, answer_tokens=24, window_tokens=64)
    _, sequences = scored(run_onnx, tmp_path / "engine", tmp_path / "s", questions)
    with serving(onnx_python, tmp_path / "engine", tmp_path / "log", prefill_chunk=11) as client:
        asked = [
            client.submit(ids=one.ids[: one.prompt_tokens], sampling=Sampling(max_tokens=24))
            for one in sequences.prompts
        ]
        answers = [generation.result(60).ids for generation in asked]
    assert answers == [tuple(one.answer) for one in sequences.prompts]
    assert len(set(answers)) == 3 and all(len(set(answer)) > 5 for answer in answers)
