"""The PyTorch host on a tiny random Llama, beside transformers' own `generate`, and on the CPU alone."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import TINY
from tests.workers.hosts.harness import ROOT, failure_of, idle_processor_s, is_idle, refused, user, wait_for_stats
from workbench.core.messages import Sampling, Stats, StepSpec, Tokens
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.workers.hosts.text import load_chat_template

LACKING = [name for name in ("torch", "transformers") if not importlib.util.find_spec(name)]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(LACKING), reason=f"not installed here: {LACKING}")]
PATHS = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
DEVICE = os.environ.get("WORKBENCH_TEST_DEVICE", "cpu")
ARGV = (sys.executable, "-m", "workbench.workers.pytorch.host")
MAX_SEQ_LEN = 512
BLOCK = 16
KV_BYTES = 4_000_000
PROMPTS = ("a", "The quick brown fox", "0123456789" * 12)

_GENERATE = """
import json, sys, torch, transformers
folder, prompts, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
found = []
for prompt in prompts:
    ids = torch.tensor([tokenizer.encode(prompt)])
    out = model.generate(ids, do_sample=False, min_new_tokens=count, max_new_tokens=count, pad_token_id=1,
                         output_scores=True, return_dict_in_generate=True, output_logits=True)
    new = out.sequences[0, ids.shape[1]:]
    scores = [float(torch.log_softmax(step[0], -1)[token]) for step, token in zip(out.logits, new)]
    found.append([new.tolist(), scores])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def model(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model without an end token, so that its greedy answers are as long as asked for."""
    folder = shutil.copytree(tiny_llama, tmp_path_factory.mktemp("pytorch") / "model")
    for name in ("config.json", "generation_config.json"):
        data = json.loads((folder / name).read_bytes())
        (folder / name).write_text(json.dumps({**data, "eos_token_id": TINY["vocabulary"] - 1}))
    return folder


@pytest.fixture(scope="module")
def expected(model: Path) -> list[tuple[list[int], list[float]]]:
    """Greedy answers of 24 tokens and their log probabilities, by transformers' generate."""
    argv = [sys.executable, "-c", _GENERATE, str(model), json.dumps(PROMPTS), "24"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [(ids, scores) for ids, scores in json.loads(done.stdout)]


def spec(model: Path, **settings: Any) -> StepSpec:
    return StepSpec(worker="pytorch.host", inputs={"engine": str(model)}, settings=settings)


@contextlib.contextmanager
def serving(
    model: Path, log: Path, on_stats: Callable[[Stats], None] | None = None, **settings: Any
) -> Iterator[EngineClient]:
    settings = {"device": DEVICE, "dtype": "float32", "kv_block_tokens": BLOCK, **settings}
    command = HostCommand(argv=ARGV, env={"PYTHONPATH": PATHS}, spec=spec(model, **settings))
    with EngineClient.start(command, log, timeout_s=180, on_stats=on_stats) as client:
        yield client


@pytest.fixture(scope="module")
def host(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    log = tmp_path_factory.mktemp("host") / "host.log"
    with serving(model, log, kv_cache_bytes=KV_BYTES, max_batch_size=4) as client:
        yield client


def long(count: int = 400, **more: Any) -> Sampling:
    return Sampling(max_tokens=count, ignore_eos=True, **more)


def test_ready_says_what_the_engine_can_take_and_stats_what_it_holds(host: EngineClient) -> None:
    ready = host.ready
    assert ready.limits["max_seq_len"] == MAX_SEQ_LEN and ready.limits["max_batch_size"] == 4
    assert ready.chat_template is True and ready.kv_block_tokens == BLOCK
    assert ready.sampling == ("max_tokens", "stop", "ignore_eos", "logprobs")
    assert ready.load_seconds is not None and ready.load_seconds > 0
    head = TINY["hidden"] // TINY["heads"]
    block_bytes = 2 * TINY["layers"] * BLOCK * TINY["kv_heads"] * head * 4
    assert ready.kv_blocks_total == KV_BYTES // block_bytes
    host.submit(prompt="x", sampling=Sampling(max_tokens=2)).result(60)
    stats = wait_for_stats(host, is_idle)
    assert stats.kv_blocks_total == stats.kv_blocks_free == ready.kv_blocks_total
    # The library keeps two blocks of padding beside the pool.
    assert stats.memory_bytes["kv_pool"] == (ready.kv_blocks_total + 2) * block_bytes
    weights = 2 * TINY["vocabulary"] * TINY["hidden"] + TINY["hidden"]
    weights += TINY["layers"] * (
        2 * TINY["hidden"]
        + TINY["hidden"] * (2 * TINY["hidden"] + 2 * TINY["kv_heads"] * head + 3 * TINY["intermediate"])
    )
    assert 0 <= stats.memory_bytes["weights"] - 4 * weights < 4096, "all weights once, and the small buffers"
    assert stats.memory_bytes["process"] > 10**8
    held = {"gpu", "activations"} if DEVICE != "cpu" else set()
    assert set(stats.memory_bytes) == {"weights", "kv_pool", "process"} | held
    assert stats.kv_blocks_reused is None


def test_greedy_answers_and_log_probabilities_are_generates(
    host: EngineClient, expected: list[tuple[list[int], list[float]]]
) -> None:
    sampling = Sampling(max_tokens=24, ignore_eos=True, logprobs=True)
    generations = [host.submit(prompt=prompt, sampling=sampling) for prompt in PROMPTS]
    for generation, (ids, scores) in zip(generations, expected, strict=True):
        answer = generation.result(120)
        assert (list(answer.ids), answer.reason) == (ids, "length")
        assert answer.logprobs == pytest.approx(scores, abs=1e-3)
        assert answer.usage is not None and answer.usage.output_tokens == 24 == answer.output_tokens
        assert {"queue_ms", "inference_ms", "host_ttft_ms", "host_queue_ms"} <= set(answer.engine_timings_ms)
    assert host.submit(prompt="a", sampling=long(4)).result(60).logprobs is None


def test_tokens_come_one_by_one_and_make_up_the_text(host: EngineClient) -> None:
    generation = host.submit(prompt="stream", sampling=long(32))
    parts = [event for event in generation if isinstance(event, Tokens)]
    answer = generation.result(1)
    assert len(parts) >= 24, "an iteration is sent when it is done"
    assert "".join(part.text for part in parts) == answer.text
    assert sum(len(part.ids) for part in parts) == 32


def test_a_prompt_is_counted_with_its_template_as_it_is_used(host: EngineClient, model: Path) -> None:
    from tokenizers import Tokenizer

    template = load_chat_template(model)
    assert template is not None
    text = template.render([{"role": "user", "content": "Grüße 🎉"}])
    tokens = len(Tokenizer.from_file(str(model / "tokenizer.json")).encode(text, add_special_tokens=False).ids)
    counted = host.count(messages=user("Grüße 🎉")).result(30)
    answer = host.submit(messages=user("Grüße 🎉"), sampling=long(1)).result(60)
    assert answer.usage is not None and counted.tokens == answer.usage.input_tokens == tokens
    assert counted.limit == MAX_SEQ_LEN - 1 and not counted.problem
    assert "tokens" in host.count(prompt="x" * 2000).result(30).problem


def test_an_end_token_and_a_stop_string_end_the_answer(
    model: Path, tmp_path: Path, expected: list[tuple[list[int], list[float]]], host: EngineClient
) -> None:
    ids = expected[1][0]
    end = next(token for place, token in enumerate(ids) if place >= 3 and token not in ids[:place])
    ending = shutil.copytree(model, tmp_path / "ending")
    data = json.loads((ending / "generation_config.json").read_bytes())
    (ending / "generation_config.json").write_text(json.dumps({**data, "eos_token_id": [end, 1]}))
    with serving(ending, tmp_path / "log", kv_blocks=32) as client:
        answer = client.submit(prompt=PROMPTS[1], sampling=Sampling(max_tokens=24)).result(60)
        assert (list(answer.ids), answer.reason) == (ids[: ids.index(end) + 1], "stop")
    whole = host.submit(prompt=PROMPTS[1], sampling=long(24)).result(60).text
    middle = next(whole[n : n + 3] for n in range(4, len(whole)) if whole.find(whole[n : n + 3]) == n)
    cut = host.submit(prompt=PROMPTS[1], sampling=long(24, stop=(middle,))).result(60)
    assert (cut.text, cut.reason) == (whole[: whole.index(middle)], "stop")
    wait_for_stats(host, is_idle)


def test_more_requests_than_the_batch_holds_are_queued_and_all_right(model: Path, tmp_path: Path) -> None:
    seen: list[Stats] = []
    with serving(model, tmp_path / "log", seen.append, kv_cache_bytes=KV_BYTES, max_batch_size=4) as client:
        client.set_stats_interval(0.01)
        alone = client.submit(prompt="request", sampling=long(40)).result(60)
        begun = len(seen)
        timed = [stats.iteration_ms for stats in seen if stats.iteration_ms is not None and stats.requests_active]
        assert alone.itl_ms is not None and timed
        assert sorted(timed)[len(timed) // 2] == pytest.approx(alone.itl_ms, rel=0.5), "an iteration makes a token"
        generations = [client.submit(prompt="request", sampling=long(40)) for _ in range(12)]
        answers = [generation.result(120) for generation in generations]
        assert {answer.ids for answer in answers} == {alone.ids}
        wait_for_stats(client, is_idle)
    busy = seen[begun:]
    assert max(stats.requests_active or 0 for stats in busy) == 4
    assert max(stats.requests_queued or 0 for stats in busy) >= 4
    assert 4 <= max(stats.kv_blocks_used or 0 for stats in busy) <= 4 * 4
    assert all(stats.kv_blocks_used + stats.kv_blocks_free == stats.kv_blocks_total for stats in seen)  # type: ignore[operator]
    assert seen[-1].generated_tokens == 13 * 40 and seen[-1].context_tokens == 13 * len("request")


def test_a_full_pool_makes_requests_wait_and_cuts_none(model: Path, tmp_path: Path) -> None:
    seen: list[Stats] = []
    with serving(model, tmp_path / "log", seen.append, kv_blocks=10, max_num_batched_tokens=32) as client:
        client.set_stats_interval(0.01)
        answers = [client.submit(prompt="x" * 70, sampling=long(60)) for _ in range(3)]
        results = [generation.result(120) for generation in answers]
        assert {(answer.reason, answer.output_tokens) for answer in results} == {("length", 60)}
        assert len({answer.ids for answer in results}) == 1
        assert "200 tokens and the KV pool holds 158" in refused(client, prompt="x" * 200)
        cut = client.submit(prompt="x" * 150, sampling=long()).result(60)
        assert (cut.reason, cut.output_tokens) == ("length", 8)
    assert max(stats.requests_queued or 0 for stats in seen) >= 1
    assert "400 tokens asked for, there is room for 8" in (tmp_path / "log").read_text()


def test_an_abort_is_answered_at_once_and_frees_its_blocks(host: EngineClient) -> None:
    generations = [host.submit(prompt="x" * 50, sampling=long()) for _ in range(12)]
    generations[0].event(0, 30)
    begin = time.monotonic()
    for generation in generations:
        generation.abort()
    answers = [generation.result(10) for generation in generations]
    assert time.monotonic() - begin < 0.3
    assert {answer.reason for answer in answers} == {"abort"}
    assert any(answer.output_tokens == 0 for answer in answers), "one in the queue was aborted too"
    assert host.submit(prompt="x", sampling=long(4)).result(60).output_tokens == 4
    wait_for_stats(host, is_idle)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": "x" * 600}, "600 tokens and the engine's longest sequence is 512"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"prompt": ""}, "empty"),
        ({"ids": [1, 10**6]}, "token id 1000000 is not in the vocabulary"),
        ({"messages": []}, "conversation is empty"),
        ({"prompt": "x", "sampling": Sampling(temperature=0.7)}, "answers greedily and temperature is 0.7"),
        ({"prompt": "x", "sampling": Sampling(repetition_penalty=1.2)}, "no repetition penalty"),
    ],
)
def test_a_bad_request_is_refused_in_words_and_the_host_lives(
    host: EngineClient, given: dict[str, Any], words: str
) -> None:
    assert words in refused(host, **given)
    assert host.submit(prompt="x", sampling=long(2)).result(60).output_tokens == 2


def test_idle_uses_little_processor_time(host: EngineClient) -> None:
    host.submit(prompt="x", sampling=long(2)).result(60)
    assert idle_processor_s(host, 2.0) < 0.1, "the library looks ten times a second"


def test_drawing_needs_a_library_that_draws_for_each_request(model: Path, tmp_path: Path) -> None:
    import dataclasses

    from transformers import ContinuousBatchingConfig

    if "per_request_processors" not in {field.name for field in dataclasses.fields(ContinuousBatchingConfig)}:
        failure = failure_of(serving(model, tmp_path / "log", kv_blocks=32, do_sample=True))
        assert failure.code == "bad-settings" and "transformers" in failure.fix
        return
    with serving(model, tmp_path / "log", kv_blocks=64, do_sample=True) as client:

        def draw(**settings: Any) -> tuple[int, ...]:
            return client.submit(prompt="x", sampling=long(30, **settings)).result(60).ids

        greedy = draw()
        assert draw() == draw(temperature=2.0, top_k=1) == draw(temperature=2.0, top_p=1e-6) == greedy
        assert len({draw(temperature=3.0) for _ in range(3)}) == 3
        assert client.ready.sampling is not None and "temperature" in client.ready.sampling
        assert "seed" in refused(client, prompt="x", sampling=Sampling(temperature=1.0, seed=3))


def test_settings_reach_the_engine(model: Path, tmp_path: Path) -> None:
    settings = {"prefix_caching": True, "attention": "eager", "num_threads": 1, "max_seq_len": 64, "unheard_of": 1}
    with serving(model, tmp_path / "log", kv_blocks=40, **settings) as client:
        first = client.submit(prompt="x" * 40, sampling=long(20)).result(60)
        assert client.submit(prompt="x" * 40, sampling=long(20)).result(60).ids == first.ids
        assert "longest sequence is 64" in refused(client, prompt="x" * 64)
        wait_for_stats(client, is_idle)
    assert "unheard_of" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"kv_cache_bytes": -1}, "bad-settings"),
        ({"kv_cache_bytes": 100}, "bad-settings"),
        ({"kv_blocks": 1, "kv_block_tokens": 4}, "bad-settings"),
        ({"kv_cache_bytes": 2**50}, "out-of-memory"),
        ({"dtype": "int3"}, "bad-settings"),
        ({"device": "toaster"}, "no-device"),
    ],
)
def test_settings_that_cannot_be_are_told(model: Path, tmp_path: Path, settings: dict[str, Any], code: str) -> None:
    failure = failure_of(serving(model, tmp_path / "log", **settings))
    assert failure.code == code and failure.fix


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("config.json", "bad-engine"),
        ("model.safetensors", "bad-engine"),
        ("cut the weights", "bad-engine"),
        ("tokenizer.json", "no-tokenizer"),
    ],
)
def test_a_damaged_folder_is_told(model: Path, tmp_path: Path, damage: str, code: str) -> None:
    broken = shutil.copytree(model, tmp_path / "broken")
    if damage == "cut the weights":
        (broken / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:1000])
    else:
        (broken / damage).unlink()
    assert failure_of(serving(broken, tmp_path / "log", kv_blocks=8)).code == code
