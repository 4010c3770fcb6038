"""Speculative decoding in the OpenVINO host: what a pass counts for, and real engines that guess for each other."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import markov
from tests.workers.hosts.harness import ROOT, is_idle, user, wait_for_stats
from workbench.core.errors import StepFailedError
from workbench.core.messages import Drafted, Sampling, StepSpec
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.workers.hosts.common import Request
from workbench.workers.hosts.drafting import DraftCount
from workbench.workers.openvino.drafting import DraftSettings, count_pass, pipeline_properties
from workbench.workers.protocol import WorkerError

ARGV = (sys.executable, "-m", "workbench.workers.openvino.host")


def a_request(generated: int, most: int = 60) -> Request:
    made: Any = Request("r", [1, 2], Sampling(), SimpleNamespace(max_new_tokens=most), None, None, 0.0)  # type: ignore[arg-type]
    made.output_tokens = generated
    return made  # type: ignore[no-any-return]


def counted(mode: str, *passes: tuple[int, int]) -> Drafted | None:
    """What passes with (tokens so far, new tokens) count for."""
    settings = DraftSettings(mode=mode, draft_tokens=5)  # type: ignore[arg-type]
    count = DraftCount()
    for generated, new in passes:
        count_pass(settings, a_request(generated), new, (count,))
    return count.message


def test_a_pass_brings_its_guesses_and_one_token() -> None:
    assert counted("draft_target", (1, 6), (7, 1), (8, 3)) == Drafted(draft_tokens=15, accepted_tokens=7, passes=3)


def test_the_first_tokens_come_of_the_prompt_and_guess_nothing() -> None:
    assert counted("draft_target", (0, 1)) is None


def test_fewer_guesses_are_made_where_the_answer_ends() -> None:
    # Of 60 tokens, 3 are left after 57: two can be guessed, the last is always the engine's own.
    assert counted("draft_target", (57, 2)) == Drafted(draft_tokens=2, accepted_tokens=1, passes=1)
    assert counted("draft_target", (59, 1)) is None


def test_a_lookup_does_not_tell_how_many_it_found() -> None:
    assert counted("prompt_lookup", (1, 4), (5, 1)) == Drafted(draft_tokens=None, accepted_tokens=3, passes=2)


def test_the_libraries_own_count_of_a_run_is_ours() -> None:
    """Tokens of each pass of a run with the demo model, and what OpenVINO GenAI printed of it: 103 guesses, 34.0 %.

    Its answer of 60 tokens ended with the last pass, which neither counts.
    """
    sizes = [1, 6, 6, 1, 4, 3, 4, 3, 1, 2, 1, 3, 1, 3, 1, 2, 6, 1, 3, 1, 3, 1]
    assert sum(sizes) + 3 == 60
    passes = [(sum(sizes[:at]), new) for at, new in enumerate(sizes)]
    found = counted("draft_target", *passes)
    assert found == Drafted(draft_tokens=103, accepted_tokens=35, passes=21)
    assert found.accepted_tokens / found.draft_tokens == pytest.approx(0.339806, abs=1e-6)  # type: ignore[operator]


def test_settings_without_a_draft_are_refused_in_words(tmp_path: Path) -> None:
    settings = DraftSettings(mode="draft_target")
    with pytest.raises(WorkerError, match="has no draft"):
        pipeline_properties(settings, None, None, "CPU")
    with pytest.raises(WorkerError, match="holds no OpenVINO engine"):
        pipeline_properties(settings, tmp_path, None, "CPU")
    assert pipeline_properties(DraftSettings(mode="prompt_lookup"), None, None, "CPU") == {"prompt_lookup": True}


# --- on a real engine whose greedy answer is known


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An engine, and another one of the same weights to guess for it: all that it guesses holds."""
    engine, draft = markov.shared_engine(tmp_path_factory), tmp_path_factory.mktemp("engines") / "draft"
    shutil.copytree(engine, draft)
    return engine, draft


@contextlib.contextmanager
def drafted_host(engine: Path, log: Path, draft: Path | None, **settings: Any) -> Iterator[EngineClient]:
    inputs = {"engine": str(engine), **({"draft": str(draft)} if draft is not None else {})}
    given = {"kv_cache_bytes": 4_000_000, "max_batch_size": 4, **settings}
    spec = StepSpec(worker="openvino.host", inputs=inputs, settings=given)
    command = HostCommand(argv=ARGV, env={"PYTHONPATH": str(ROOT)}, spec=spec)
    with EngineClient.start(command, log, timeout_s=120) as client:
        yield client


@pytest.mark.slow
def test_a_draft_changes_no_answer_and_what_it_guessed_is_told(engines: tuple[Path, Path], tmp_path: Path) -> None:
    engine, draft = engines
    settings = {"mode": "draft_target", "draft_tokens": 4}
    with drafted_host(engine, tmp_path / "log", draft, speculative=settings) as host:
        assert host.ready.settings["speculative"] == "draft_target" and host.ready.settings["draft"] == "draft"
        asked = [host.submit(messages=user("Say hello"), sampling=Sampling(max_tokens=50)) for _ in range(3)]
        for answer in (one.result(60) for one in asked):
            assert answer.text == markov.ANSWER and list(answer.ids) == markov.answer_ids() and answer.reason == "stop"
            assert answer.drafted is not None and answer.drafted.draft_tokens
            assert answer.drafted.accepted_tokens == answer.drafted.draft_tokens, "it guesses as the engine answers"
        assert max(chunk.tokens for chunk in answer.chunks) == 5, "four guesses and a token of its own in one pass"
        stats = wait_for_stats(host, lambda s: is_idle(s) and bool(s.draft_tokens))
        assert stats.accepted_tokens == stats.draft_tokens and stats.draft_passes
        assert stats.draft_tokens == sum(one.result(1).drafted.draft_tokens for one in asked)  # type: ignore[union-attr]
        # Past an end token the draft goes on guessing as the engine goes on answering, so that no pass is cut short.
        most = 3 * len(markov.answer_ids())
        past = host.submit(messages=user("Say hello"), sampling=Sampling(max_tokens=most, ignore_eos=True)).result(60)
        assert past.output_tokens == most and past.drafted is not None and past.drafted.draft_tokens
        assert past.drafted.accepted_tokens == past.drafted.draft_tokens
        # A stop string amid what a pass brought, sampling, log probabilities, and a request that is given up.
        cut = host.submit(prompt="x", sampling=Sampling(max_tokens=200, ignore_eos=True, stop=(" ",))).result(60)
        assert cut.reason == "stop" and " " not in cut.text
        drawn = host.submit(prompt="x", sampling=Sampling(max_tokens=12, temperature=1.0, seed=3)).result(60)
        assert drawn.failure is None
        told = host.submit(prompt="x", sampling=Sampling(max_tokens=9, ignore_eos=True, logprobs=True)).result(60)
        assert told.logprobs is not None and len(told.logprobs) == len(told.ids) == 9
        long = host.submit(prompt="x", sampling=Sampling(max_tokens=200, ignore_eos=True))
        long.event(0)
        long.abort()
        assert long.result(60).reason == "abort"
        assert wait_for_stats(host, is_idle).kv_blocks_used == 0


@pytest.mark.slow
def test_a_lookup_finds_what_repeats_and_does_not_say_what_it_refused(
    engines: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = {"mode": "prompt_lookup", "draft_tokens": 4, "ngram_size": 2}
    with drafted_host(engines[0], tmp_path / "log", None, speculative=settings) as host:
        sampling = Sampling(max_tokens=3 * len(markov.answer_ids()), ignore_eos=True)
        answer = host.submit(messages=user("Say hello"), sampling=sampling).result(60)
        drafted = answer.drafted
        assert drafted is not None and drafted.accepted_tokens and drafted.passes and drafted.draft_tokens is None
        # What does not end an answer brings one token and the guesses that were kept; the last pass is not counted.
        known = drafted.accepted_tokens + drafted.passes + 1
        assert 0 <= answer.output_tokens - known <= 5


@pytest.mark.slow
def test_a_draft_that_is_not_there_is_refused_in_words(engines: tuple[Path, Path], tmp_path: Path) -> None:
    engine = engines[0]
    (tmp_path / "none").mkdir()
    with pytest.raises(StepFailedError) as caught:
        with drafted_host(engine, tmp_path / "log", tmp_path / "none", speculative={"mode": "draft_target"}):
            pass
    assert caught.value.failure.code == "bad-draft" and "holds no OpenVINO engine" in caught.value.what
    with pytest.raises(StepFailedError) as caught:
        with drafted_host(engine, tmp_path / "log", None, speculative={"mode": "draft_target"}):
            pass
    assert caught.value.failure.code == "bad-settings"
    broken = shutil.copytree(engines[1], tmp_path / "broken")
    (broken / "openvino_model.bin").write_bytes(b"")
    with pytest.raises(StepFailedError, match="cannot load the draft") as caught:
        with drafted_host(engine, tmp_path / "log", broken, speculative={"mode": "draft_target"}):
            pass
    assert caught.value.failure.code == "bad-draft" and str(broken) in caught.value.failure.evidence
