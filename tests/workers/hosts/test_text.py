"""Detokenizing, stop strings and chat templates of the engine hosts, against transformers where it is the
measure.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import markov
from workbench.workers.hosts.text import (
    ByteLevelDetokenizer,
    ChatTemplate,
    StopFinder,
    TemplateError,
    WindowDetokenizer,
    byte_alphabet,
    byte_pieces,
    detokenizers,
    load_chat_template,
)

TEXTS = st.text(alphabet=st.sampled_from("ab \n🎉👩‍🚀é你\ufffd"), max_size=30)
PIECES = [bytes([byte]) for byte in range(256)]


def decode_bytes(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


@given(TEXTS, st.integers(1, 5))
def test_streamed_text_is_the_text_and_holds_no_half_characters(text: str, step: int) -> None:
    ids = list(text.encode())
    for detokenizer in (ByteLevelDetokenizer(PIECES), WindowDetokenizer(decode_bytes)):
        parts = [detokenizer.feed(ids[i : i + step]) for i in range(0, len(ids), step)]
        parts.append(detokenizer.flush())
        assert "".join(parts) == text
        if "\ufffd" not in text:
            assert not any("\ufffd" in part for part in parts)


def test_a_character_comes_with_its_last_token() -> None:
    for detokenizer in (ByteLevelDetokenizer(PIECES), WindowDetokenizer(decode_bytes)):
        assert [detokenizer.feed([byte]) for byte in "a🎉b".encode()] == ["a", "", "", "", "🎉", "b"]


def test_an_unfinished_character_shows_at_the_end_only() -> None:
    for detokenizer in (ByteLevelDetokenizer(PIECES), WindowDetokenizer(decode_bytes)):
        assert [detokenizer.feed([byte]) for byte in b"a\xf0\x9f"] == ["a", "", ""]
        assert detokenizer.flush() == "\ufffd"


def test_a_stream_of_invalid_bytes_is_not_held_for_ever() -> None:
    detokenizer = WindowDetokenizer(decode_bytes)
    text = "".join(detokenizer.feed([0xFF]) for _ in range(100))
    assert len(text) >= 80
    assert set(text) == {"\ufffd"}


def test_tokens_outside_the_vocabulary_add_nothing() -> None:
    assert ByteLevelDetokenizer([b"a"]).feed([0, 7, -1, 0]) == "aa"


def test_the_byte_alphabet_is_gpt2s() -> None:
    alphabet = byte_alphabet()
    assert len(alphabet) == 256
    assert sorted(alphabet.values()) == list(range(256))
    assert (alphabet["A"], alphabet["\u0120"], alphabet["\u010a"]) == (65, 32, 10)


def test_pieces_come_from_byte_level_tokenizers_only(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    assert byte_pieces(file) is None
    file.write_text("[]")
    assert byte_pieces(file) is None
    data = {
        "decoder": {"type": "ByteLevel"},
        "model": {"vocab": {"Hi": 0, "\u0120you": 1}},
        "added_tokens": [
            {"id": 2, "content": "<s>", "special": True},
            {"id": 3, "content": "né", "special": False},
        ],
    }
    file.write_text(json.dumps(data))
    assert byte_pieces(file) == [b"Hi", b" you", b"", "né".encode()]
    assert isinstance(detokenizers(tmp_path, decode_bytes)(), ByteLevelDetokenizer)
    data["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}]}
    file.write_text(json.dumps(data))
    assert byte_pieces(file) is None
    assert isinstance(detokenizers(tmp_path, decode_bytes)(), WindowDetokenizer)


# Stop strings


@given(
    st.text("abc", max_size=20),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.integers(1, 4),
)
def test_stop_strings_cut_where_they_would_cut_the_whole_text(text: str, stops: list[str], step: int) -> None:
    finder = StopFinder(stops)
    sent, stopped = "", False
    for start in range(0, len(text), step):
        part, stopped = finder.feed(text[start : start + step])
        sent += part
        if stopped:
            break
    if not stopped:
        part, stopped = finder.feed("", last=True)
        sent += part
    if stopped:
        assert any(text.startswith(sent + stop) for stop in stops)
        assert not any(stop in sent for stop in stops)
    else:
        assert sent == text
        assert not any(stop in text for stop in stops)


def test_text_that_may_become_a_stop_string_is_held_back() -> None:
    finder = StopFinder(["</answer>"])
    assert finder.feed("42 </an") == ("42 ", False)
    assert finder.feed("other") == ("</another", False)
    assert finder.feed(" </answer") == (" ", False)
    assert finder.feed("", last=True) == ("</answer", False)


# Chat templates

LLAMA3 = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim "
    "+ '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
ODD = """
{%- set ns = namespace(found=false) %}
{% for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {% generation %}{{ message | tojson }}{% endgeneration %}
    {%- if loop.index > 5 %}{% break %}{% endif %}
{% endfor %}
{% if tools is none and documents is none %}{{ eos_token }}{% endif %}
{{ strftime_now('%Y') | length }}
"""
CONVERSATIONS = [
    [{"role": "user", "content": 'What is 2 < 3 & "why"? 🎉 {{ no }}'}],
    [
        {"role": "system", "content": "  Be brief.\n"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello é"},
        {"role": "user", "content": ""},
    ],
]


@pytest.mark.slow
@pytest.mark.parametrize("template", [markov.CHAT_TEMPLATE, LLAMA3, ODD], ids=["smollm2", "llama3", "odd"])
@pytest.mark.filterwarnings("default")
def test_a_template_gives_exactly_what_transformers_gives(tmp_path: Path, template: str) -> None:
    from transformers import AutoTokenizer

    markov.write_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ours = load_chat_template(tmp_path)
    assert ours is not None
    for turns in CONVERSATIONS:
        theirs = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert ours.render(turns) == theirs


def test_a_template_in_tokenizer_config_counts_when_there_is_no_file(tmp_path: Path) -> None:
    assert load_chat_template(tmp_path) is None
    config = {"chat_template": "{{ bos_token }}one", "bos_token": {"content": "<s>"}, "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = load_chat_template(tmp_path)
    assert template is not None and template.render([]) == "<s>one"
    config["chat_template"] = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "two"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = load_chat_template(tmp_path)
    assert template is not None and template.render([]) == "two"
    (tmp_path / "chat_template.jinja").write_text("three")
    template = load_chat_template(tmp_path)
    assert template is not None and template.render([]) == "three"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for x in range(10**9) %}x{% endfor %}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_that_fails_or_reaches_out_is_an_error(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source, {}).render([])


def test_a_template_that_is_broken_says_where() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        ChatTemplate("fine\n{% if %}", {})
