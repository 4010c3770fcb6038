"""The end of a process in words: what to do is that of the process, a job's step or an engine's host."""

from __future__ import annotations

import signal

import pytest

from workbench.jobs.outcome import Advice, Outcome, explain

HOST = Advice(again="Load the engine again.", with_less="Load a smaller one.", log="The engine's log")
ENDS = [
    (Outcome(None, signal.SIGKILL, oom_kills=1), "out-of-memory"),
    (Outcome(None, signal.SIGKILL), "killed"),
    (Outcome(None, signal.SIGSEGV), "crashed"),
    (Outcome(None, signal.SIGTERM), "killed"),
    (Outcome(0), "no-result"),
    (Outcome(3), "failed"),
]


@pytest.mark.parametrize(("outcome", "code"), ENDS)
def test_an_engines_host_is_not_told_what_a_job_is(outcome: Outcome, code: str) -> None:
    said = explain(outcome, "The engine host", "last words", HOST)
    assert said.code == code and said.what.startswith("The engine host ")
    words = " ".join(said.lines())
    for of_a_job in ("Retry", "retry", "step", "job", "worker"):
        assert of_a_job not in words
    assert any(part in said.fix for part in (HOST.again, HOST.with_less, HOST.log))


def test_a_job_may_be_tried_again_from_where_it_was() -> None:
    assert "finished steps are reused" in explain(Outcome(None, signal.SIGKILL), "Build").fix
    assert "retry" in explain(Outcome(None, signal.SIGKILL, oom_kills=1), "Build").fix
    assert "The job's log" in explain(Outcome(3), "Build").fix
