"""Bursts: rows that follow the engine, figures by the formulas, refusals and deaths in words, and prompts of files."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.jobs.test_engine import command
from workbench.core import metrics
from workbench.core.answer import AnswerRecord, EngineRef
from workbench.core.errors import BadInputError, Failure
from workbench.core.home import Home
from workbench.core.messages import ChatTurn, Finished, Sampling, Tokens, Usage
from workbench.jobs.burst import MOST_REQUESTS, Burst, Prompt, read_prompts
from workbench.jobs.engine import EngineClient
from workbench.jobs.generation import Generation
from workbench.store.bursts import export_burst, keep_burst


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.005)


def ended(burst: Burst) -> bool:
    return not any(row.open for row in burst.rows())


class Wire:
    """The client's door without a host: real generations, fed by hand."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.made: list[Generation] = []
        self.aborted: list[str] = []

    def submit(
        self,
        messages: Sequence[ChatTurn] | None = None,
        prompt: str | None = None,
        sampling: Sampling | None = None,
    ) -> Generation:
        assert sampling is not None
        self.asked.append({"messages": messages, "prompt": prompt, "sampling": sampling})
        self.made.append(Generation(f"r{len(self.made)}", sampling, self.aborted.append))
        return self.made[-1]


def tokens(text: str, *ids: int, request: str = "r0", logprobs: list[float] | None = None) -> Tokens:
    return Tokens(request=request, text=text, ids=list(ids), logprobs=logprobs)


def on_wire(count: int = 1, prompts: Sequence[str | Prompt] = ("hi",), **more: Any) -> tuple[Burst, Wire]:
    wire = Wire()
    burst = Burst(wire, prompts, count, **more)  # type: ignore[arg-type]
    burst.start()
    return burst, wire


def test_sixteen_at_once_over_a_host(tmp_path: Path) -> None:
    with EngineClient.start(command(tokens_per_s=200), tmp_path / "log") as client:
        burst = Burst(client, ["one", "two", "three"], 16, Sampling(max_tokens=20), chat=False)
        assert [row.state for row in burst.rows()] == ["waiting"] * 16
        burst.start()
        until(lambda: burst.summary().active == 16)
        until(lambda: ended(burst))
        rows = burst.rows()
    assert [row.prompt for row in rows] == (["one", "two", "three"] * 6)[:16]
    assert {(row.state, row.output_tokens, row.input_tokens, row.reason) for row in rows} == {("done", 20, 3, "length")}
    assert rows[0].text == ("one two three " * 7)[: len(rows[0].text)]
    summary = burst.summary(rows)
    assert (summary.done, summary.total, summary.output_tokens, summary.input_tokens) == (16, 16, 320, 48)
    assert summary.ended and summary.ttft_rows == 16
    assert summary.ttft_p50_ms is not None and summary.ttft_p95_ms is not None
    assert 0 < summary.ttft_p50_ms <= summary.ttft_p95_ms
    again = burst.summary()
    assert again.elapsed_s == summary.elapsed_s, "it stands still once all have ended"
    for row in rows:
        assert row.ttft_ms is not None and row.latency_ms is not None and row.output_tok_s is not None
        assert row.latency_ms <= summary.elapsed_s * 1000 + 1


def test_figures_are_those_of_the_formulas() -> None:
    burst, wire = on_wire(2)
    first, second = wire.made
    t0 = first.t0_s
    first.add(tokens("", request="r0"), t0 + 0.05)
    first.add(tokens("a", 1), t0 + 0.1)
    first.add(tokens("", 2), t0 + 0.15)
    first.add(tokens("bc", 3, 4), t0 + 0.3)
    row, other = burst.rows()
    assert (row.state, row.text, row.output_tokens, row.latency_ms, row.input_tokens) == (
        "active",
        "abc",
        4,
        None,
        None,
    )
    assert row.ttft_ms == pytest.approx(100)
    assert row.output_tok_s == pytest.approx(metrics.output_tok_s(first.chunks))
    assert (other.state, other.ttft_ms, other.output_tokens) == ("waiting", None, 0)
    assert burst.summary().output_tok_s == pytest.approx(4 / 0.3)
    assert burst.rows()[0] is row and burst.rows()[1] is other, "nothing came: the same rows"
    second.add(tokens("x", 9, request="r1"), t0 + 0.5)
    first.add(Finished(request="r0", reason="stop", usage=Usage(input_tokens=7, output_tokens=4)), t0 + 0.6)
    second.add(Finished(request="r1", reason="length", usage=Usage(input_tokens=7, output_tokens=1)), t0 + 0.6)
    row, other = burst.rows()
    for found, generation in ((row, first), (other, second)):
        answer = generation.result(0)
        assert found.ttft_ms == pytest.approx(answer.ttft_ms)
        assert found.latency_ms == pytest.approx(answer.latency_ms)
        assert found.output_tok_s == (None if answer.output_tok_s is None else pytest.approx(answer.output_tok_s))
        assert (found.output_tokens, found.text) == (answer.output_tokens, answer.text)
    summary = burst.summary()
    assert summary.output_tok_s == pytest.approx(5 / 0.5), "from the first t0 to the last token, of all rows"
    assert summary.ttft_p50_ms == pytest.approx((100 + (t0 + 0.5 - second.t0_s) * 1000) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_looked_at_often_or_once_a_row_is_the_same(seed: int) -> None:
    random = Random(seed)
    often, wire = on_wire()
    generation = wire.made[0]
    once = Burst(wire, ["hi"], 1)  # type: ignore[arg-type]
    once._requests[0].generation = generation
    for step in range(60):
        ids = [random.randrange(9)] * random.choice((0, 0, 1, 1, 3))
        generation.add(tokens("ab"[: random.randrange(3)], *ids), generation.t0_s + step / 10)
        if random.random() < 0.4:
            often.rows()
    generation.add(Finished(request="r0", reason="stop"), generation.t0_s + 7)
    row = often.rows()[0]
    assert row == once.rows()[0]
    answer = generation.result(0)
    assert (row.text, row.output_tokens) == (answer.text, answer.output_tokens)
    assert (row.ttft_ms, row.latency_ms) == (answer.ttft_ms, answer.latency_ms)
    assert row.output_tok_s == pytest.approx(answer.output_tok_s)


def test_what_is_not_reported_is_none() -> None:
    burst, wire = on_wire()
    wire.made[0].add(tokens("text without ids"), time.monotonic())
    row = burst.rows()[0]
    assert (row.state, row.output_tokens, row.ttft_ms) == ("active", None, None)
    wire.made[0].add(Finished(request="r0", reason="stop"), time.monotonic())
    row = burst.rows()[0]
    assert (row.state, row.output_tokens, row.input_tokens, row.latency_ms) == ("done", None, None, None)
    summary = burst.summary()
    assert (summary.output_tokens, summary.output_tok_s, summary.input_tokens) == (None, None, None)
    assert (summary.ttft_p50_ms, summary.ttft_rows) == (None, 0)


def test_each_request_has_its_own_seed() -> None:
    _, wire = on_wire(3, sampling=Sampling(seed=41, temperature=0.7))
    assert [asked["sampling"].seed for asked in wire.asked] == [41, 42, 43]
    assert {asked["sampling"].temperature for asked in wire.asked} == {0.7}
    _, wire = on_wire(2, sampling=Sampling(seed=2**63 - 1))
    assert [asked["sampling"].seed for asked in wire.asked] == [2**63 - 1, 0]
    _, wire = on_wire(2)
    assert [asked["sampling"].seed for asked in wire.asked] == [None, None]


def test_a_text_goes_as_a_message_or_as_it_is_and_a_conversation_as_it_stands() -> None:
    turns = (
        ChatTurn(role="user", content="a"),
        ChatTurn(role="assistant", content="b"),
        ChatTurn(role="user", content="c"),
    )
    own = (ChatTurn(role="system", content="mine"), ChatTurn(role="user", content="d"))
    prompts = ["hi", Prompt("c", turns), Prompt("d", own), Prompt("e", system="its own")]
    _, wire = on_wire(4, prompts, system="be short")
    sent = [[(turn.role, turn.content) for turn in asked["messages"]] for asked in wire.asked]
    assert sent == [
        [("system", "be short"), ("user", "hi")],
        [("system", "be short"), ("user", "a"), ("assistant", "b"), ("user", "c")],
        [("system", "mine"), ("user", "d")],
        [("system", "its own"), ("user", "e")],
    ]
    _, wire = on_wire(2, prompts, system="be short", chat=False)
    assert wire.asked[0]["prompt"] == "hi" and wire.asked[0]["messages"] is None
    assert wire.asked[1]["prompt"] is None and len(wire.asked[1]["messages"]) == 4


def test_a_refused_request_is_a_failed_row_and_the_others_go_on(tmp_path: Path) -> None:
    with EngineClient.start(command(), tmp_path / "log") as client:
        half = "half a character \ud800"
        burst = Burst(client, ["good", "bad", half], 6, Sampling(max_tokens=5), chat=False)
        burst.start()
        until(lambda: ended(burst))
    rows = burst.rows()
    assert [row.state for row in rows] == ["done", "failed", "failed"] * 2
    assert rows[1].failure is not None and rows[1].failure.what == "the prompt is bad"
    assert rows[2].failure is not None and "not valid Unicode" in rows[2].failure.what
    assert (burst.summary().done, burst.summary().failed) == (2, 4)
    assert burst.summary().output_tokens == 10
    kept = json.loads(burst.to_json().encode())
    assert kept["rows"][2]["prompt"] == "half a character \ufffd", "what no file takes does not lose the others"


def test_the_hosts_death_fails_what_is_open_and_what_streamed_stays(tmp_path: Path) -> None:
    with EngineClient.start(command(tokens_per_s=100, die_after=50), tmp_path / "log") as client:
        burst = Burst(client, ["x"], 16, Sampling(max_tokens=1000), chat=False)
        burst.start()
        until(lambda: ended(burst))
        rows = burst.rows()
        assert client.failure is not None
        assert {row.failure for row in rows} == {client.failure}
        after = Burst(client, ["x"], 3, chat=False)
        after.start()
    assert {row.state for row in rows} == {"failed"}
    assert all(row.text.startswith("one ") for row in rows[:8])
    assert {row.state for row in after.rows()} == {"failed"}
    assert after.summary().elapsed_s == 0 and after.summary().failed == 3
    kept = json.loads(burst.to_json())
    assert kept["rows"][0]["failure"]["what"] == client.failure.what
    assert kept["rows"][0]["answer"]["pieces"], "what streamed is kept with its times"


def test_stop_aborts_all_and_keeps_what_came(tmp_path: Path) -> None:
    with EngineClient.start(command(tokens_per_s=100), tmp_path / "log") as client:
        burst = Burst(client, ["x"], 8, Sampling(max_tokens=100_000), chat=False)
        burst.start()
        until(lambda: all(row.text for row in burst.rows()))
        burst.stop()
        until(lambda: ended(burst))
    rows = burst.rows()
    assert {(row.state, row.reason, row.failure) for row in rows} == {("stopped", "abort", None)}
    assert all(row.text for row in rows)
    assert burst.summary().stopped == 8


def test_stopped_before_it_began_nothing_is_sent() -> None:
    wire = Wire()
    burst = Burst(wire, ["x"], 4)  # type: ignore[arg-type]
    burst.stop()
    burst.start()
    assert not wire.made
    assert [row.state for row in burst.rows()] == ["stopped"] * 4
    assert burst.summary().ended


@pytest.mark.parametrize("count", [0, MOST_REQUESTS + 1, -1])
def test_counts_out_of_range(count: int) -> None:
    with pytest.raises(BadInputError, match="1 to 64"):
        on_wire(count)


def test_nothing_to_send() -> None:
    for prompts in ([], ["  \n"], ["x", ""]):
        with pytest.raises(BadInputError, match="prompt is empty"):
            on_wire(2, prompts)
    on_wire(1, ["x", ""])  # the empty one is not reached


def test_everything_is_kept_with_its_raw_timings(tmp_path: Path) -> None:
    ref = EngineRef(name="demo", toolchain="openvino", precision="int8")
    given = ["a\u2028b \U0001f600", Prompt("c", (ChatTurn(role="user", content="c"),))]
    burst, wire = on_wire(3, given, sampling=Sampling(seed=5), source="list.txt", engine=ref)
    first = wire.made[0]
    first.add(tokens("\u05e9\u05dc", 1, 2, logprobs=[-0.25, -math.inf]), first.t0_s + 0.25)
    first.add(Finished(request="r0", reason="stop", usage=Usage(input_tokens=4, output_tokens=2)), first.t0_s + 0.3)
    wire.made[1].fail(Failure(code="killed", what="The host was killed."))
    wire.made[2].add(tokens("half", 7, request="r2"), wire.made[2].t0_s + 1.0)  # still open when it is written
    text = burst.to_json()
    kept = json.loads(text)
    assert (kept["kind"], kept["schema_version"], kept["source"], kept["count"]) == ("burst", 1, "list.txt", 3)
    assert kept["engine"]["name"] == "demo" and kept["sampling"]["seed"] == 5
    assert [row["prompt"] for row in kept["rows"]] == [given[0], "c", given[0]]
    assert kept["rows"][1]["messages"] == [{"role": "user", "content": "c"}]
    assert [row["seed"] for row in kept["rows"]] == [5, 6, 7]
    answer = AnswerRecord.model_validate(kept["rows"][0]["answer"])
    assert answer.ttft_ms == pytest.approx(250, abs=0.01) and answer.text == "\u05e9\u05dc"
    assert answer.logprobs == (-0.25, -math.inf) and answer.ids == (1, 2)
    assert kept["rows"][1]["failure"]["what"] == "The host was killed."
    assert kept["rows"][2]["answer"]["reason"] == "abort" and kept["rows"][2]["answer"]["pieces"][0][2] == "half"
    path = keep_burst(Home(tmp_path), burst.id, text)
    assert path.parent == tmp_path / "bursts" and path.read_text("utf-8") == text
    assert path.stat().st_mode & 0o777 == 0o600
    assert keep_burst(Home(tmp_path), burst.id, text) == path and len(list(path.parent.iterdir())) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="could not be written"):
        keep_burst(Home(tmp_path / "file"), burst.id, text)
    with pytest.raises(BadInputError, match="could not be written"):
        export_burst(tmp_path / "no" / "such.json", text)


# -- prompts of files


def file(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(path: Path) -> list[str]:
    return [prompt.text for prompt in read_prompts(path)]


def test_a_text_file_is_a_prompt_a_line(tmp_path: Path) -> None:
    content = "\ufeffone\r\n\r\n  two \nthree\u2028still three\x0b\n\n"
    assert texts(file(tmp_path, "p.TXT", content)) == ["one", "  two ", "three\u2028still three\x0b"]


def test_a_text_file_with_dividers_is_a_prompt_a_block(tmp_path: Path) -> None:
    content = "---\nfirst\n\nmore of it\n---  \n\n---\nsecond -- not --- a divider\n"
    assert texts(file(tmp_path, "p.txt", content)) == ["first\n\nmore of it", "second -- not --- a divider"]


def test_json_lines_hold_prompts_texts_and_conversations(tmp_path: Path) -> None:
    lines = [
        {"prompt": "a", "id": 1},
        {"text": "b"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "c", "name": "x"}]},
        "d",
    ]
    found = read_prompts(file(tmp_path, "p.jsonl", "\n\n".join(map(json.dumps, lines)) + "\n"))
    assert [prompt.text for prompt in found] == ["a", "b", "c", "d"]
    assert [turn.role for turn in found[2].turns] == ["system", "user"]
    assert found[0].turns == ()
    assert read_prompts(file(tmp_path, "p.json", json.dumps(lines))) == found
    assert read_prompts(file(tmp_path, "p.json", "\r\n" + json.dumps(lines, indent=1) + "\n")) == found


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("p.txt", "", "p.txt"),
        ("p.txt", "\n \n---\n", "p.txt"),
        ("p.csv", "a,b", "p.csv"),
        ("p.txt", b"good\nb\x00d", "line 2"),
        ("p.txt", b"good\nlatin \xe9\n", "line 2: byte 0xe9"),
        ("p.txt", "x".encode("utf-16"), "UTF-16"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2, column 12"),
        ("p.jsonl", '{"prompt": "a"}\n\n{"prompt": " "}', "line 3"),
        ("p.jsonl", '{"prompt": "a"}\n{"question": "b"}', "line 2: an object with 'question'"),
        ("p.jsonl", '{"prompt": 7}', "line 1: 'prompt' is a number"),
        ("p.jsonl", "[1]", "line 1: a list"),
        ("p.jsonl", "{}", "line 1: an empty object"),
        ("p.jsonl", '{"messages": []}', "line 1"),
        ("p.jsonl", '{"messages": [{"role": "wizard", "content": "x"}]}', "line 1: role"),
        ("p.jsonl", '{"messages": [{"role": "user", "content": [1]}]}', "line 1: content"),
        ("p.jsonl", '{"prompt": "a\\u0000b"}', "line 1"),
        ("p.jsonl", '{"prompt": "ok"}\n{"text": "\\ud83d"}', "line 2: half of a surrogate pair"),
        ("p.jsonl", "[" * 100_000, "line 1"),
        ("p.json", '{"prompt": "a"}', "an object"),
        ("p.json", '["a",\n "b",\n]', "line 3"),
        ("p.json", '["a"\n "b"]', "line 2, column 2: Expecting ','"),
        ("p.json", '["a"] x', "Extra data"),
        ("p.json", '["a"', "line 1, column 5"),
        ("p.json", " [ ] ", "p.json"),
        ("p.json", "", "line 1, column 1"),
        ("p.json", "[" * 100_000, "line 1"),
        ("p.json", '["a", null]', "item 2: null"),
        ("p.json", '["a", ""]', "item 2"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, seen: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        read_prompts(file(tmp_path, name, content))
    assert seen in caught.value.evidence, caught.value.failure


def test_limits_of_a_file(tmp_path: Path) -> None:
    assert len(read_prompts(file(tmp_path, "p.txt", "x\n" * 10_000))) == 10_000
    with pytest.raises(BadInputError, match="too many prompts"):
        read_prompts(file(tmp_path, "p.txt", "x\n" * 10_001))
    with (tmp_path / "large.txt").open("wb") as sparse:
        sparse.truncate(64 * 2**20 + 1)
    with pytest.raises(BadInputError, match="too large"):
        read_prompts(tmp_path / "large.txt")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    for name in ("pipe.txt", "folder.txt", "absent.txt", "a\0b.txt"):
        with pytest.raises(BadInputError):
            read_prompts(tmp_path / name)
