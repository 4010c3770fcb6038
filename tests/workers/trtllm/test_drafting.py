"""Speculative decoding in the TensorRT-LLM host, against the stand-in: built in, told at load, counted by answer."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import trtllm
from tests.fakes.trtllm_checkpoints import write_checkpoint
from tests.workers.conftest import RunWorker, result_of
from tests.workers.trtllm.test_host import LIMITS, SAYS, serving
from workbench.core.errors import StepFailedError
from workbench.core.messages import Drafted, Sampling
from workbench.workers.hosts.drafting import DraftCount
from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm.common import EngineConfig
from workbench.workers.trtllm.drafting import DraftSettings, count_record, drafted_of, speculative_config

LOOKAHEAD = {"mode": "lookahead", "window_size": 4, "ngram_size": 3, "verification_set": 4}
"""Needs (3 - 2) + (4 - 1 + 4)(3 - 1) = 15 draft tokens."""


@pytest.fixture(scope="module")
def engine(run_worker: RunWorker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built for lookahead decoding with 15 draft tokens a pass."""
    folder = tmp_path_factory.mktemp("engine")
    checkpoint = write_checkpoint(folder / "checkpoint")
    flags = {**LIMITS, "speculative_decoding_mode": "lookahead_decoding", "max_draft_len": 15}
    spec = {
        "inputs": {"checkpoint": str(checkpoint)},
        "settings": {"argv_flags": flags},
        "output": str(folder / "engine"),
    }
    result_of(run_worker("trtllm.build", spec, timeout_s=60, env=trtllm.environment(seconds=0)))
    return folder / "engine"


@pytest.mark.slow
def test_guesses_are_counted_by_answer_and_in_stats(engine: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    with serving(engine, tmp_path / "log", on_stats=heard.append, kv_blocks=100, speculative=LOOKAHEAD) as client:
        assert client.ready.settings["speculative"] == "lookahead" and client.ready.settings["draft_tokens"] == "15"
        client.set_stats_interval(0.01)
        answer = client.submit(prompt="Hello", sampling=Sampling(max_tokens=64)).result(30)
        assert answer.failure is None and answer.text == SAYS, "guesses change no answer"
        drafted = answer.drafted
        assert drafted is not None and drafted.accepted_tokens and drafted.draft_tokens
        # The stand-in keeps two guesses a pass: three tokens a response, but for the first and the last.
        assert max(chunk.tokens for chunk in answer.chunks) == 3
        assert drafted.accepted_tokens <= answer.output_tokens - 1 < drafted.draft_tokens
        deadline = 100
        while deadline and not (heard and (heard[-1].accepted_tokens or 0) >= drafted.accepted_tokens):
            client.submit(prompt="Hello", sampling=Sampling(max_tokens=8)).result(30)
            deadline -= 1
        assert heard[-1].accepted_tokens >= drafted.accepted_tokens and heard[-1].draft_passes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({**LOOKAHEAD, "window_size": 8}, "15 draft tokens a pass, 23 are asked for"),
        ({"mode": "medusa", "draft_tokens": 15}, "not built for speculative decoding by medusa"),
    ],
)
def test_what_the_engine_was_not_built_for_is_refused_before_it_is_loaded(
    engine: Path, tmp_path: Path, settings: dict[str, Any], seen: str
) -> None:
    with pytest.raises(StepFailedError) as caught, serving(engine, tmp_path / "log", speculative=settings):
        pass
    assert seen in caught.value.what and caught.value.failure.fix


def _config(mode: int, draft_len: int) -> EngineConfig:
    return EngineConfig("1.2.1", {}, {"speculative_decoding_mode": mode, "max_draft_len": draft_len})


@pytest.mark.parametrize(
    ("mode", "settings", "kind", "fields"),
    [
        (8, {**LOOKAHEAD}, "LookaheadDecodingConfig", {"max_window_size": 4, "max_verification_set_size": 4}),
        (
            4,
            {"mode": "medusa", "choices": [[0], [0, 0]], "heads": 4},
            "MedusaDecodingConfig",
            {"max_draft_len": 63, "medusa_choices": [[0], [0, 0]], "num_medusa_heads": 4},
        ),
        (
            32,
            {"mode": "eagle", "draft_tokens": 31},
            "EagleDecodingConfig",
            {"max_draft_len": 31, "eagle_choices": None, "speculative_model_dir": "/e"},
        ),
    ],
)
def test_each_mode_has_its_class_of_the_library(
    monkeypatch: pytest.MonkeyPatch, mode: int, settings: dict[str, Any], kind: str, fields: dict[str, Any]
) -> None:
    monkeypatch.syspath_prepend(str(trtllm.SITE))
    before = set(sys.modules)
    try:
        made = speculative_config(_config(mode, 63), DraftSettings.model_validate(settings), "/e")
    finally:
        for name in set(sys.modules) - before:
            if name.startswith("tensorrt_llm"):
                del sys.modules[name]
    assert type(made).__name__ == kind
    assert {name: getattr(made, name) for name in fields} == fields


def test_fewer_guesses_than_the_engine_was_built_for_fit_and_more_do_not() -> None:
    with pytest.raises(WorkerError) as caught:
        speculative_config(_config(4, 31), DraftSettings(mode="medusa", draft_tokens=32), "/e")
    assert caught.value.code == "bad-settings" and "31 draft tokens" in str(caught.value)
    assert speculative_config(_config(1, 0), None, "/e") is None


def test_records_without_guesses_count_nothing() -> None:
    count = DraftCount()
    count_record(count, {"specDecodingStats": None})
    assert count.message is None, "not reported is not zero"
    stats = {"numDraftTokens": 10, "numAcceptedTokens": 4, "numRequestsWithDraftTokens": 2}
    count_record(count, {"specDecodingStats": stats})
    count_record(count, {"specDecodingStats": stats})
    assert count.message == Drafted(draft_tokens=20, accepted_tokens=8, passes=4)


@pytest.mark.parametrize(
    ("drafted", "accepted", "told"),
    [(0, 0, None), (30, 12, Drafted(draft_tokens=30, accepted_tokens=12)), (0, 5, Drafted(accepted_tokens=5))],
)
def test_an_answers_guesses_are_those_that_the_library_measured(
    drafted: int, accepted: int, told: Drafted | None
) -> None:
    found = SimpleNamespace(total_draft_tokens=drafted, total_accepted_draft_tokens=accepted)
    output = SimpleNamespace(request_perf_metrics=SimpleNamespace(speculative_decoding=found))
    assert drafted_of(output) == told
    assert drafted_of(SimpleNamespace(request_perf_metrics=None)) is None
