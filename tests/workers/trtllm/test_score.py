"""The TensorRT-LLM score worker against the stand-in, which keeps no logits: agreement is measured by its tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import trtllm
from tests.fakes.trtllm_checkpoints import write_checkpoint
from tests.workers.conftest import RunWorker, phases_of, result_of
from workbench.core.measure.scores import Questions, Scores, Sequences, Text
from workbench.workers.trtllm.score import NO_LOGITS

pytestmark = pytest.mark.slow
LIMITS = {"max_batch_size": 4, "max_seq_len": 512, "max_num_tokens": 256}
QUESTIONS = Questions(
    passages=(Text(name="one", text="Some text of a passage."),),
    prompts=(Text(name="p", text="Say hello"), Text(name="q", text="Say it again")),
    answer_tokens=6,
)


def test_agreement_is_measured_and_the_rest_is_not_reported(run_worker: RunWorker, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    build = {
        "inputs": {"checkpoint": str(checkpoint)},
        "settings": {"argv_flags": LIMITS},
        "output": str(tmp_path / "engine"),
    }
    env = trtllm.environment(seconds=0)
    result_of(run_worker("trtllm.build", build, timeout_s=60, env=env))
    (tmp_path / "questions.json").write_text(QUESTIONS.model_dump_json(), "utf-8")
    inputs = {"engine": str(tmp_path / "engine"), "questions": str(tmp_path / "questions.json")}
    found = []
    for name in ("baseline", "variant"):
        out = tmp_path / name
        messages = run_worker("trtllm.score", {"inputs": inputs, "output": str(out)}, timeout_s=120, env=env)
        assert result_of(messages)["prompts"] == 2
        assert phases_of(messages)[-3:] == ["text", "prompts", "tasks"]
        found.append(Scores.model_validate_json((out / "scores.json").read_text("utf-8")))
        inputs["baseline"] = str(tmp_path / "baseline")
    sequences = Sequences.model_validate_json((tmp_path / "baseline" / "sequences.json").read_text("utf-8"))
    first = sequences.prompts[0].answer[0]
    assert all(len(prompt.answer) == 6 for prompt in sequences.prompts)
    for scores in found:
        assert not scores.passages and scores.not_reported["perplexity"] == NO_LOGITS
        assert scores.not_reported["kl_nats"] == NO_LOGITS and scores.prompts[0].kl_nats is None
        assert scores.settings["kv_cache_precision"] and scores.settings["scheduler"] == "guaranteed_no_evict"
    # To every prefix the stand-in says the beginning of its one answer, so only those positions agree.
    for prompt, result in zip(sequences.prompts, found[1].prompts, strict=True):
        assert list(result.agreed) == [token == first for token in prompt.answer]
