"""The tree of a conversation: what is shown, what is sent, and that nothing said is lost on the way to a file."""

from __future__ import annotations

import json
import math

import pytest

from workbench.core.answer import AnswerRecord, EngineRef, Piece
from workbench.core.conversation import CONVERSATION_SCHEMA, Conversation, Turn
from workbench.core.conversation_text import markdown
from workbench.core.errors import BadInputError, Failure
from workbench.core.messages import Finished, Sampling, Tokens, Usage
from workbench.core.metrics import Chunk

ENGINE = EngineRef(name="demo-int8", toolchain="openvino", precision="int8")


def record(text: str = "yes", reason: str = "stop", **more: object) -> AnswerRecord:
    pieces = tuple(Piece(10.1 + 0.01 * i, 1, c, (i,)) for i, c in enumerate(text))
    return AnswerRecord.model_validate({"reason": reason, "t0_s": 10.0, "pieces": pieces, "engine": ENGINE, **more})


def talk(*texts: str) -> Conversation:
    """Message, answer, message ... from time 100 on, a second each."""
    found = Conversation(id="c", created_at=99.0)
    for number, text in enumerate(texts):
        found = found.say(text, 100.0 + number) if number % 2 == 0 else found.answered(text, record(text), 100 + number)
    return found


def texts(conversation: Conversation) -> list[str]:
    return [turn.text for turn in conversation.path()]


def test_turns_follow_each_other_and_are_sent_after_the_system_prompt() -> None:
    talked = talk("hello", "hi", "why?").with_system("be short")
    assert texts(talked) == ["hello", "hi", "why?"]
    assert [(m.role, m.content) for m in talked.messages()] == [
        ("system", "be short"),
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", "why?"),
    ]
    assert talked.changed_at == 102.0 and talked.shown_title == "hello"


def test_a_method_leaves_the_old_conversation_as_it_was() -> None:
    before = talk("a", "b")
    stored = before.to_json()
    before.say("c", 1.0).answered("d", None, 2.0).edit("t1", "e", 3.0).choose("t1").with_system("x").renamed("y")
    assert before.to_json() == stored


def test_an_edit_is_a_branch_and_choosing_walks_to_the_newest_leaf() -> None:
    talked = talk("a", "b", "c", "d")
    edited = talked.edit("t1", "A", 110.0).answered("B", record("B"), 111.0)
    assert texts(edited) == ["A", "B"]
    assert [turn.text for turn in edited.siblings("t1")] == ["a", "A"]
    back = edited.choose("t1")
    assert texts(back) == ["a", "b", "c", "d"]
    again = back.regenerate("t4").answered("D", record("D"), 112.0)
    assert texts(again) == ["a", "b", "c", "D"]
    assert texts(again.choose("t4")) == ["a", "b", "c", "d"]
    # From the first message on, the newest leaf is the answer made last.
    assert texts(again.choose("t5").choose("t1")) == ["a", "b", "c", "D"]
    assert [turn.id for turn in again.leaves] == ["t4", "t6", "t7"]


def test_regenerate_sends_the_same_messages_again() -> None:
    talked = talk("a", "b", "c", "d")
    assert talked.regenerate("t4").messages() == talk("a", "b", "c").messages()
    assert talked.regenerate("t3").leaf == "t3"


def test_an_answer_that_comes_late_does_not_take_the_person_away() -> None:
    asked = talk("a", "b").say("c", 110.0)
    elsewhere = asked.edit("t1", "A", 111.0)
    answered = elsewhere.answered("d", record("d"), 112.0, to="t3")
    assert answered.leaf == elsewhere.leaf
    assert texts(answered.choose("t3")) == ["a", "b", "c", "d"]


def test_a_message_that_got_no_answer_is_not_sent_again() -> None:
    refused = talk("a", "b").say("too long", 110.0).answered("", record("", "error"), 111.0)
    assert [m.content for m in refused.say("short", 112.0).messages()] == ["a", "b", "short"]
    cut = talk("a", "b").say("c", 110.0).answered("half", record("half", "error"), 111.0)
    assert [m.content for m in cut.say("d", 112.0).messages()] == ["a", "b", "c", "half", "d"]
    never = talk("a").say("b", 110.0)
    assert [m.content for m in never.messages()] == ["b"]
    silent = talk("a").answered("", record("", "stop"), 110.0).say("b", 111.0)
    assert [m.content for m in silent.messages()] == ["a", "", "b"], "an empty answer is an answer"


def test_raw_texts_stand_alone() -> None:
    raw = Conversation(id="r", mode="raw").say("Once upon", 1.0).answered(" a time", record(" a time"), 2.0)
    second = raw.say("Twice upon", 3.0)
    assert texts(second) == ["Twice upon"] and second.prompt() == "Twice upon"
    assert [turn.text for turn in second.siblings("t1")] == ["Once upon", "Twice upon"]
    assert second.choose("t1").prompt() == "Once upon"


@pytest.mark.parametrize("text", ["", "   \n"])
def test_an_empty_message_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="empty"):
        talk("a", "b").say(text, 1.0)
    with pytest.raises(BadInputError, match="empty"):
        talk("a", "b").edit("t1", text, 1.0)


def test_what_makes_no_sense_is_refused_in_words() -> None:
    with pytest.raises(BadInputError, match="Only your own"):
        talk("a", "b").edit("t2", "B", 1.0)
    with pytest.raises(BadInputError, match="no message to answer"):
        talk("a", "b").answered("c", None, 1.0)
    with pytest.raises(BadInputError, match="no turn 't9'"):
        talk("a", "b").choose("t9")
    with pytest.raises(BadInputError, match="no turn 't9'"):
        talk("a").path("t9")


HARD = [
    "a\0b\0",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301",
    "שלום עולם \u202eabc\u202c مرحبا",
    '"quotes" \\n \r\n\t\x1b[31m \u2028 \ufeff',
    "```python\nprint('x')\n```",
    "x" * 2_000_000,
    "é" * 700_000 + "\0",
]


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_hard_texts_survive_the_file(text: str) -> None:
    kept = talk(text).answered(text, record(), 101.0).with_system(text)
    again = Conversation.from_json(kept.to_json().encode())
    assert again == kept
    assert again.turns[0].text == again.turns[1].text == again.system == text
    assert again.messages() == kept.messages()
    assert len(kept.shown_title) <= 60 and kept.shown_title.isprintable()


def test_half_a_character_becomes_one_that_can_be_sent() -> None:
    said = Conversation(id="c").say("a\ud83d b\udcff c\ud83d\ude00", 1.0)
    assert said.turns[0].text == "a\ufffd b\ufffd c😀"
    assert Conversation.from_json(said.to_json().encode()) == said


def test_an_answer_keeps_its_raw_timings_and_computes_its_figures() -> None:
    events = [
        Tokens(request="r1", text="o", ids=[5], logprobs=[-0.5]),
        Tokens(request="r1", text="ne tw", ids=[6, 7], logprobs=[-0.25, -math.inf]),
        Tokens(request="r1", text="o", ids=[8], logprobs=[0.0]),
        Finished(
            request="r1", reason="length", usage=Usage(input_tokens=12, output_tokens=4), timings={"ttft_ms": 9.5}
        ),
    ]
    chunks = [Chunk(10.25, 1), Chunk(10.35, 2), Chunk(10.55, 1)]
    made = AnswerRecord.from_events(
        events, t0_s=10.0, chunks=chunks, sampling=Sampling(max_tokens=4, stop=("x",)), engine=ENGINE
    )
    kept = Conversation.from_json(talk("a").answered(made.text, made, 1.0).to_json()).turns[1]
    assert kept.answer == made and kept.text == "one two"
    answer = kept.answer
    assert answer is not None
    assert answer.chunks == tuple(chunks)
    assert answer.ttft_ms == pytest.approx(250) and answer.itl_ms == pytest.approx(100)
    assert answer.latency_ms == pytest.approx(550) and answer.output_tok_s == pytest.approx(10)
    assert (answer.input_tokens, answer.output_tokens, answer.count_source) == (12, 4, "engine ids")
    assert answer.ids == (5, 6, 7, 8) and answer.logprobs == (-0.5, -0.25, -math.inf, 0.0)
    assert answer.cut and answer.sampling.stop == ("x",) and answer.engine_timings_ms == {"ttft_ms": 9.5}
    stored = json.loads(talk("a").answered(made.text, made, 1.0).to_json())
    assert "ttft_ms" not in stored["turns"][1]["answer"], "figures are computed, not stored"


def test_what_is_not_reported_stays_unknown() -> None:
    none = record("", "abort")
    assert (none.ttft_ms, none.itl_ms, none.output_tok_s, none.input_tokens, none.logprobs) == (None,) * 5
    assert none.output_tokens == 0
    server = AnswerRecord(
        reason="stop",
        pieces=(Piece(1.0, 0, "hello"),),
        usage=Usage(input_tokens=3, output_tokens=2),
        count_source="server usage",
    )
    assert server.output_tokens == 2 and server.ttft_ms is None
    assert AnswerRecord(reason="stop", pieces=(Piece(1.0, 0, "hello"),)).output_tokens is None


def test_a_newer_file_and_fields_of_later_versions() -> None:
    data = json.loads(talk("a", "b").to_json())
    data["colour"] = "blue"
    data["turns"][1]["answer"]["sampling"]["xtc"] = 0.5
    assert Conversation.from_json(json.dumps(data)) == talk("a", "b")
    data["schema_version"] = CONVERSATION_SCHEMA + 1
    data["turns"] = "another form"
    with pytest.raises(BadInputError, match="newer Engine Workbench") as caught:
        Conversation.from_json(json.dumps(data), name="x.json")
    assert str(CONVERSATION_SCHEMA + 1) in caught.value.evidence


def _broken() -> list[tuple[str, str]]:
    whole = json.loads(talk("a", "b").to_json())

    def but(change: str, value: object, turn: int | None = None) -> str:
        data = json.loads(json.dumps(whole))
        (data if turn is None else data["turns"][turn])[change] = value
        return json.dumps(data)

    return [
        ("", "EOF"),
        ("[]", "object"),
        ('{"schema": 1}', "schema_version"),
        ('{"schema_version": "1"}', "schema_version"),
        (talk("a", "b").to_json()[:-40], ""),
        ("[" * 100_000, ""),
        (but("leaf", "t9"), "t9"),
        (but("id", "t1", 1), "two turns"),
        (but("parent", "t7", 1), "t7"),
        (but("parent", "t2", 0), "t2"),
        (but("parent", None, 1), "answers no message"),
        (but("role", "robot", 0), "role"),
        (but("text", 3, 0), "text"),
        (but("id", 5), "id"),
    ]


@pytest.mark.parametrize(("data", "shows"), _broken(), ids=range(len(_broken())))
def test_a_damaged_file_is_said(data: str, shows: str) -> None:
    with pytest.raises(BadInputError, match=r"x\.json is not a conversation, or is damaged") as caught:
        Conversation.from_json(data, name="x.json")
    assert shows in caught.value.evidence and caught.value.evidence


def test_bytes_that_are_no_text_are_said() -> None:
    with pytest.raises(BadInputError, match="damaged"):
        Conversation.from_json(b"\xff\xfe\x00{")


# For people to read

CODE = "Look:\n\n```python\ndef f():\n    return '# not a heading'\n```\n\nDone."


def test_markdown_has_turns_figures_and_each_definition_once() -> None:
    usage = Usage(input_tokens=1234, output_tokens=3)
    shown = (
        talk("What is *this*?")
        .renamed("Trial #1")
        .with_system("Be\n\nshort")
        .answered(CODE, record("yes", usage=usage, kv_blocks_used=7, kv_blocks_total=2048), 101.0)
        .say("And?", 102.0)
        .answered("more", record("yes", "length", sampling=Sampling(max_tokens=3, temperature=0.7)), 103.0)
    )
    text = markdown(shown)
    assert text.startswith("# Trial \\#1\n")
    assert "> Be\n>\n> short" in text
    assert CODE in text
    assert text.index("What is *this*?") < text.index("## Answer 1") < text.index("And?") < text.index("## Answer 2")
    speed, counts = "TTFT 100 ms · speed 100.0 tok/s", "in 1,234 tokens · out 3 tokens"
    assert f"*{speed} · {counts} · stopped at end of turn · KV 7 of 2,048 blocks*" in text.splitlines()
    assert "in not reported" in text and "stopped by the limit of 3 tokens" in text
    assert "Engine demo-int8 (openvino, int8); sampling: greedy, at most 128 tokens." in text
    assert "temperature 0.7, at most 3 tokens" in text
    for word in ("TTFT", "speed", "in", "out", "stopped", "KV"):
        assert text.count(f"- **{word}**: ") == 1
    assert "other" not in text.split("---")[0]


def test_markdown_counts_what_it_does_not_show() -> None:
    talked = talk("a", "b").regenerate("t2").answered("B", record("B"), 110.0).edit("t1", "A", 111.0)
    text = markdown(talked.answered("C", record("C"), 112.0).choose("t2"))
    assert "1 other version of this message" in text and "1 other version of this answer" in text
    assert "2 other branches" in text


def test_markdown_tells_a_failure() -> None:
    failure = Failure(code="killed", what="The engine host was killed.", evidence="signal 9", fix="Load it again.")
    text = markdown(talk("a").answered("half", record("half", "error", failure=failure), 101.0))
    assert "> The engine host was killed." in text and "> To do: Load it again." in text and "by a failure" in text


@pytest.mark.parametrize(
    ("text", "closing"),
    [
        ("```\ncode", "\n```"),
        ("````c\n```\nstill", "\n````"),
        ("~~~\n```", "\n~~~"),
        ("```\na\n```  \nb", ""),
        ("```inline``` text", ""),
        ("a ``` b", ""),
        ("    ```\nindented code", ""),
        ("```\n``` no closing", "\n```"),
    ],
)
def test_an_open_fence_ends_with_its_answer(text: str, closing: str) -> None:
    shown = markdown(talk("q").answered(text, record("x", "length"), 101.0))
    assert f"{text}{closing}\n\n*TTFT" in shown


def test_a_raw_export_says_what_it_is() -> None:
    raw = Conversation(id="r", mode="raw", system="not sent").say("Once\0", 1.0).answered(" more", record(" more"), 2.0)
    text = markdown(raw)
    assert "Raw completion" in text and "## Continuation" in text and "not sent" not in text
    assert "\0" not in text and "Once␀" in text


def test_a_turn_without_a_record_is_shown_too() -> None:
    kept = Conversation(
        id="c",
        turns=(
            Turn(id="t1", role="user", text="a", created_at=1),
            Turn(id="t2", parent="t1", role="assistant", text="b", created_at=2),
        ),
        leaf="t2",
    )
    assert "## Answer 1\n\nb\n" in markdown(kept) and "TTFT" not in markdown(kept)
