"""The engine client against a host without an engine: what streams, what fails and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from workbench.core.errors import BadInputError, StepFailedError
from workbench.core.messages import ChatTurn, Finished, Message, Phase, Sampling, StepSpec, Tokens
from workbench.jobs.came import Came
from workbench.jobs.engine import EngineClient, HostCommand

HOST = Path(__file__).parents[1] / "fakes" / "host.py"
ROOT = Path(__file__).parents[2]


def command(**settings: Any) -> HostCommand:
    return HostCommand(argv=(sys.executable, str(HOST)), spec=StepSpec(worker="fake.host", settings=settings))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "host.log"


def pid_of(client: EngineClient) -> int:
    assert client.hello is not None
    return client.hello.pid


def gone(pid: int, timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def client(log: Path) -> Iterator[EngineClient]:
    with EngineClient.start(command(tokens_per_s=100), log, timeout_s=30) as started:
        yield started


def test_ready_carries_limits_and_blocks(client: EngineClient) -> None:
    assert client.ready.limits == {"max_seq_len": 100}
    assert (client.ready.kv_blocks_total, client.ready.kv_block_tokens) == (10, 32)
    assert client.failure is None


def test_an_answer_streams_and_is_timed(client: EngineClient) -> None:
    generation = client.submit(prompt="hello", sampling=Sampling(max_tokens=6, logprobs=True))
    events = list(generation)
    answer = generation.result(5)
    assert answer.text == "one two three one two three "
    assert [event.text for event in events if isinstance(event, Tokens)] == ["one ", "two ", "three "] * 2
    assert isinstance(events[-1], Finished)
    assert answer.ids == (0, 1, 2, 3, 4, 5)
    assert answer.logprobs == (-0.5,) * 6
    assert answer.reason == "length"
    assert answer.failure is None
    assert answer.usage is not None and answer.usage.output_tokens == 6
    assert answer.engine_timings_ms == {"ttft_ms": 1.5}
    assert len(answer.chunks) == answer.output_tokens == 6, "the empty first message is no chunk"
    assert answer.itl_ms == pytest.approx(10, abs=6)
    assert answer.ttft_ms is not None and answer.latency_ms is not None
    assert 0 < answer.ttft_ms < answer.latency_ms
    assert answer.output_tok_s == pytest.approx(1000 / answer.itl_ms)
    assert answer.raise_for_failure() is answer
    with pytest.raises(IndexError):
        generation.event(99, 1)


def test_no_logprobs_is_none_and_not_empty(client: EngineClient) -> None:
    assert client.submit(ids=[1, 2], sampling=Sampling(max_tokens=1)).result(5).logprobs is None


def test_many_requests_at_once_from_many_threads(client: EngineClient) -> None:
    answers = []

    def ask() -> None:
        turns = [ChatTurn(role="user", content="hi")]
        answers.append(client.submit(messages=turns, sampling=Sampling(max_tokens=20)).result(20))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.output_tokens for answer in answers] == [20] * 16
    ends = time.monotonic() + 10  # figures come at an interval, so the last may follow the last answer
    while time.monotonic() < ends and (client.stats is None or client.stats.generated_tokens != 320):
        time.sleep(0.01)
    assert client.stats is not None and client.stats.generated_tokens == 320


def test_several_readers_see_all_events(client: EngineClient) -> None:
    generation = client.submit(prompt="x", sampling=Sampling(max_tokens=10))
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(list(generation)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert counts == [11, 11, 11]


def test_news_are_told_as_they_come_and_the_end_too(client: EngineClient) -> None:
    generation = client.submit(prompt="x", sampling=Sampling(max_tokens=30))
    seen: list[int] = []
    ended = threading.Event()

    def look() -> None:
        seen.append(len(generation.take(0)))
        if generation.done:
            ended.set()

    generation.when_news(look)
    assert ended.wait(5)
    assert seen[-1] == 31 and seen == sorted(seen) and len(seen) > 2, "thirty tokens and the end, not all at once"
    late: list[bool] = []
    generation.when_news(lambda: late.append(True))
    assert late == [True], "what has come already is told at once"


def test_abort_ends_an_answer_and_keeps_what_came(client: EngineClient) -> None:
    generation = client.submit(prompt="x", sampling=Sampling(max_tokens=10_000))
    assert generation.event(2, 5) is not None
    generation.abort()
    answer = generation.result(5)
    assert answer.reason == "abort"
    assert answer.failure is None
    assert answer.text.startswith("one two three ")
    generation.abort()  # nothing to do any more


@pytest.mark.slow
def test_a_result_that_is_not_there_yet_times_out_and_goes_on(client: EngineClient) -> None:
    generation = client.submit(prompt="x", sampling=Sampling(max_tokens=50))
    with pytest.raises(StepFailedError) as caught:
        generation.result(0.05)
    assert caught.value.failure.code == "timeout"
    assert generation.result(10).output_tokens == 50


def test_a_refused_request_says_why(client: EngineClient) -> None:
    answer = client.submit(prompt="bad").result(5)
    assert answer.reason == "error"
    assert answer.text == ""
    assert answer.ttft_ms is None
    assert answer.failure is not None and answer.failure.what == "the prompt is bad"
    with pytest.raises(BadInputError, match="the prompt is bad"):
        answer.raise_for_failure()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "exactly one"),
        ({"prompt": "x", "ids": [1]}, "exactly one"),
        ({"prompt": "x" * (8 * 2**20)}, "too long"),
        ({"prompt": "half a pair: \ud83c"}, "Unicode"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(client: EngineClient, given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        client.submit(**given)
    assert client.submit(prompt="x", sampling=Sampling(max_tokens=1)).result(5).failure is None


def test_stats_reach_the_callback_and_its_faults_do_no_harm(log: Path) -> None:
    seen: list[Message] = []

    def note(message: Message) -> None:
        seen.append(message)
        raise RuntimeError("a fault in the callback")

    with EngineClient.start(command(), log, timeout_s=30, on_stats=note) as client:
        assert client.submit(prompt="x", sampling=Sampling(max_tokens=3)).result(5).failure is None
    assert len(seen) >= 2
    assert "a fault in the callback" in log.read_text()


def test_load_messages_reach_the_caller(log: Path) -> None:
    seen: list[Message] = []
    with EngineClient.start(command(stderr="loading weights"), log, on_load=seen.append, timeout_s=30):
        pass
    assert [message.name for message in seen if isinstance(message, Phase)] == ["load"]
    assert "loading weights" in log.read_text()


# How it ends


def test_close_ends_the_host_and_its_children(log: Path) -> None:
    client = EngineClient.start(command(child=True), log, timeout_s=30)
    host = pid_of(client)
    assert client.hello is not None
    child = int(client.hello.versions["child"])
    generation = client.submit(prompt="x", sampling=Sampling(max_tokens=10**6))
    generation.event(0, 5)
    begin = time.monotonic()
    client.close()
    assert time.monotonic() - begin < 3
    assert gone(host) and gone(child)
    answer = generation.result(1)
    assert answer.failure is not None and answer.failure.code == "closed"
    assert answer.text
    with pytest.raises(StepFailedError, match="closed"):
        client.submit(prompt="x")
    client.close()


@pytest.mark.slow
def test_close_kills_a_host_that_ignores_everything(log: Path) -> None:
    client = EngineClient.start(command(ignore_end=True, child=True), log, timeout_s=30)
    assert client.hello is not None
    host, child = client.hello.pid, int(client.hello.versions["child"])
    client.close(grace_s=0.3)
    assert gone(host) and gone(child)


def test_death_in_the_middle_of_answers_ends_them_with_words_and_keeps_the_text(log: Path) -> None:
    with EngineClient.start(command(die_after=6, child=True, stderr="started"), log, timeout_s=30) as client:
        assert client.hello is not None
        child = int(client.hello.versions["child"])
        generations = [client.submit(prompt="x", sampling=Sampling(max_tokens=100)) for _ in range(2)]
        answers = [generation.result(10) for generation in generations]
        assert sum(answer.output_tokens for answer in answers) == 6
        for answer in answers:
            assert answer.reason == "error"
            assert answer.failure is not None
            assert "killed" in answer.failure.what
            assert "SIGKILL" in answer.failure.evidence
            assert "about to die" in answer.failure.evidence
        assert any(answer.text.startswith("one two ") for answer in answers)
        assert list(generations[0])[-1] == Finished(
            request=generations[0].request, reason="error", message=answers[0].failure.what
        )
        with pytest.raises(StepFailedError, match="killed"):
            client.submit(prompt="x")
        assert gone(child), "children of a dead host must not live on"


def test_an_end_without_a_word_is_a_failure_too(log: Path) -> None:
    with EngineClient.start(command(die_after=2, die_quietly=True), log, timeout_s=30) as client:
        answer = client.submit(prompt="x").result(10)
        assert answer.failure is not None
        assert answer.output_tokens == 2
        assert "exit code 0" in answer.failure.evidence


def test_a_failed_load_is_told_in_the_hosts_words(log: Path) -> None:
    with pytest.raises(StepFailedError) as caught:
        EngineClient.start(command(fail_load="the engine is broken"), log, timeout_s=30)
    failure = caught.value.failure
    assert (failure.code, failure.what) == ("bad-engine", "the engine is broken")
    assert (failure.evidence, failure.fix) == ("the cause", "the hint")


def test_early_death_shows_the_last_lines(log: Path) -> None:
    argv = (
        sys.executable,
        "-c",
        "import sys; input(); print('no such library', file=sys.stderr); sys.exit(7)",
    )
    with pytest.raises(StepFailedError) as caught:
        EngineClient.start(HostCommand(argv=argv, spec=StepSpec(worker="x")), log, timeout_s=30)
    assert "exit code 7" in caught.value.evidence
    assert "no such library" in caught.value.evidence


def test_a_program_that_is_not_there(log: Path) -> None:
    with pytest.raises(StepFailedError, match="could not be started"):
        EngineClient.start(HostCommand(argv=("/no/such/program",), spec=StepSpec(worker="x")), log)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="could not be started"):
        EngineClient.start(command(), tmp_path / "missing" / "host.log")


@pytest.mark.slow
def test_not_ready_in_time(log: Path) -> None:
    with pytest.raises(StepFailedError) as caught:
        EngineClient.start(command(never_ready=True, stderr="still loading"), log, timeout_s=1.0)
    assert caught.value.failure.code == "timeout"
    assert "still loading" in caught.value.evidence
    assert not [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def test_another_protocol_version_is_refused(log: Path) -> None:
    with pytest.raises(StepFailedError) as caught:
        EngineClient.start(command(protocol=99), log, timeout_s=30)
    assert caught.value.failure.code == "protocol"


def test_some_rubbish_is_tolerated_and_noted(log: Path) -> None:
    settings = {
        "rubbish_after": 2,
        "load_lines": ["Welcome to the machine", "{}", "[1]", '{"type":"tokens"}'],
    }
    with EngineClient.start(command(**settings), log, timeout_s=30) as client:
        assert client.submit(prompt="x", sampling=Sampling(max_tokens=5)).result(5).output_tokens == 5
    text = log.read_text()
    assert "Welcome to the machine" in text
    assert "not a message, line 2" in text


def test_too_much_rubbish_ends_the_host(log: Path) -> None:
    with EngineClient.start(command(rubbish_after=2, rubbish_lines=5000), log, timeout_s=30) as client:
        answer = client.submit(prompt="x").result(10)
        assert answer.failure is not None and answer.failure.code == "rubbish"
        assert answer.output_tokens == 2
        assert gone(pid_of(client))
    assert len(log.read_text().splitlines()) < 200


def test_a_line_over_the_limit_ends_the_host(log: Path) -> None:
    with EngineClient.start(command(long_line_after=2), log, timeout_s=30) as client:
        answer = client.submit(prompt="x").result(10)
        assert answer.failure is not None and answer.failure.code == "line-too-long"


def test_a_flood_of_tokens_ends_the_host(log: Path) -> None:
    with EngineClient.start(command(flood=True), log, timeout_s=30) as client:
        answer = client.submit(prompt="x", sampling=Sampling(max_tokens=10)).result(10)
        assert answer.failure is not None and answer.failure.code == "flood"
        assert gone(pid_of(client))


@pytest.mark.parametrize("first", [2**31 - 2, 2**62, 2**63 - 2, 2**200, -1], ids=["31", "62", "63", "200", "minus"])
def test_ids_that_no_vocabulary_has_end_the_host_and_what_came_before_is_kept(log: Path, first: int) -> None:
    with EngineClient.start(command(first_id=first), log, timeout_s=30) as client:
        generation = client.submit(prompt="x", sampling=Sampling(max_tokens=10))
        answer = generation.result(10)
        assert answer.failure is not None and answer.failure.code == "flood"
        assert "ids that no vocabulary has" in answer.failure.what
        good = tuple(range(first, 2**31)) if 0 <= first < 2**31 else ()
        assert (answer.ids, answer.output_tokens, answer.text) == (good, len(good), "one two "[: 4 * len(good)])
        events = generation.take(0)
        assert len(events) == len(good) + 1 and isinstance(events[-1], Finished) and events[-1].reason == "error"
        assert generation.news(0)[0].tokens == len(good) and generation.chunks == answer.chunks
        assert gone(pid_of(client))


@pytest.mark.slow
def test_a_host_that_goes_silent_is_ended(log: Path) -> None:
    with EngineClient.start(command(go_silent_after=3), log, timeout_s=30, silence_s=1.0) as client:
        answer = client.submit(prompt="x").result(10)
        assert answer.failure is not None and answer.failure.code == "hung"
        assert answer.output_tokens == 3


@pytest.mark.slow
def test_a_host_that_does_not_read_blocks_nobody(log: Path) -> None:
    client = EngineClient.start(command(stop_reading=True), log, timeout_s=30)
    begin = time.monotonic()
    prompt = "x" * (4 * 2**20)
    with pytest.raises(StepFailedError) as caught:
        for _ in range(40):
            client.submit(prompt=prompt)
    assert caught.value.failure.code == "hung"
    client.close(grace_s=0.5)
    assert time.monotonic() - begin < 10
    assert gone(pid_of(client))


OWNER = """
import sys, time
from pathlib import Path
root, log, code = sys.argv[1:]
sys.path.insert(0, root)
from workbench.core.messages import StepSpec
from workbench.jobs.came import Came
from workbench.jobs.engine import EngineClient, HostCommand
command = HostCommand(argv=(sys.executable, "-c", code), env={"PYTHONPATH": root}, spec=StepSpec(worker="x"))
client = EngineClient.start(command, Path(log), timeout_s=30)
print(client.hello.pid, flush=True)
time.sleep(3600)
"""

DEAF_WORKER = """
import time
from workbench.core.messages import Ready
from workbench.workers.protocol import run_worker
def work(spec, channel):
    channel.send(Ready())
    time.sleep(3600)
run_worker("x", work, reads_commands=True)
"""


def test_the_host_dies_with_its_client_even_when_it_does_not_listen(log: Path) -> None:
    argv = [sys.executable, "-c", OWNER, str(ROOT), str(log), DEAF_WORKER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        host = int(owner.stdout.readline())
        assert psutil.pid_exists(host)
        os.kill(owner.pid, 9)
        owner.wait()
        assert gone(host)


def test_the_host_outlives_the_thread_that_asked_for_it(log: Path) -> None:
    started: list[EngineClient] = []
    thread = threading.Thread(target=lambda: started.append(EngineClient.start(command(), log, timeout_s=30)))
    thread.start()
    thread.join()
    with started[0] as client:
        time.sleep(0.3)
        assert client.submit(prompt="x", sampling=Sampling(max_tokens=2)).result(5).failure is None


def test_a_prompt_is_counted_before_it_is_sent(client: EngineClient) -> None:
    turns = (ChatTurn(role="system", content="be short"), ChatTurn(role="user", content="one two three"))
    answer = client.count(messages=turns).result(5)
    assert (answer.tokens, answer.limit, answer.problem) == (7, 99, "")
    long = client.count(prompt="word " * 120).result(5)
    assert long.tokens == 120 and "120 tokens" in long.problem
    with pytest.raises(BadInputError):
        client.count()


def test_a_count_that_waits_ends_with_the_host(log: Path) -> None:
    with EngineClient.start(command(stop_reading=True), log, timeout_s=30) as client:
        waiting = client.count(prompt="hello")
        os.kill(pid_of(client), 9)
        with pytest.raises(StepFailedError):
            waiting.result(5)
        with pytest.raises(StepFailedError):
            client.count(prompt="again")


def test_events_are_taken_in_one_go_without_waiting(client: EngineClient) -> None:
    generation = client.submit(prompt="hello", sampling=Sampling(max_tokens=4))
    assert len(generation.take(0)) <= 1
    generation.result(5)
    events = generation.take(0)
    assert [type(event).__name__ for event in events] == ["Tokens"] * 4 + ["Finished"]
    assert generation.take(4) == events[4:] and generation.take(99) == ()


def test_what_came_is_kept_in_columns_and_given_back_as_it_was() -> None:
    events = [
        Tokens(t=1.0, request="r", text="a", ids=[5], logprobs=[-0.5]),
        Tokens(t=2.0, request="r", text="", ids=[], logprobs=None),
        Tokens(t=3.0, request="r", text="bc", ids=[6, 7], logprobs=[-1.0, -2.0]),
        Tokens(t=4.0, request="r", text="d", ids=[8]),
        Tokens(t=5.0, request="r", text="e", ids=[2**40], logprobs=[float("-inf")]),
    ]
    came = Came("r")
    for at, event in enumerate(events):
        came.add(event, 10.0 + at)
    assert [came.event(number) for number in range(len(came))] == events
    assert (
        came.chunks() == ((10.0, 1), (11.0, 0), (12.0, 2), (13.0, 1), (14.0, 1))
        and came.chunks(3, 99) == came.chunks()[3:]
    )
    assert (came.text, came.tokens, came.ids) == ("abcde", 5, (5, 6, 7, 8, 2**40))
    assert came.logprobs == (-0.5, -1.0, -2.0, float("-inf"))
    with pytest.raises(OverflowError):
        came.add(Tokens(t=6.0, request="r", text="lost", ids=[1, 2**63], logprobs=[-1.0, -1.0]), 15.0)
    came.add(Tokens(t=7.0, request="r", text="f", ids=[9]), 16.0)
    assert [came.event(number) for number in range(len(came))] == [
        *events,
        Tokens(t=7.0, request="r", text="f", ids=[9]),
    ]
    assert (came.text, came.tokens, came.logprobs) == ("abcdef", 6, (-0.5, -1.0, -2.0, float("-inf")))
