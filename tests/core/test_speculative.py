"""Speculative decoding without a library: sizes by formula, rates, tokenizers, presets and what is advised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.core.errors import BadInputError
from workbench.core.preset import Preset, apply_overrides, find_preset, parse_preset
from workbench.core.preset_speculative import SpeculativeTable
from workbench.core.speculative import (
    acceptance_rate,
    build_mode,
    draft_len,
    draft_precision,
    lookahead_draft_len,
    tokenizer_problem,
    tokens_a_pass,
    why_not,
)


@pytest.mark.parametrize(
    ("window", "ngram", "verification", "expected"),
    [(4, 3, 4, 15), (1, 1, 1, 0), (1, 2, 0, 0), (8, 8, 8, 111), (7, 7, 7, 83)],
)
def test_lookahead_needs_as_many_draft_tokens_as_the_executor_computes(
    window: int, ngram: int, verification: int, expected: int
) -> None:
    assert lookahead_draft_len(window, ngram, verification) == expected


def test_rates_of_nothing_are_not_reported() -> None:
    assert acceptance_rate(10, 4) == 0.4
    assert acceptance_rate(0, 0) is None and acceptance_rate(None, 4) is None and acceptance_rate(10, None) is None
    assert tokens_a_pass(8, 4) == 3.0 and tokens_a_pass(0, 4) == 1.0
    assert tokens_a_pass(8, 0) is None and tokens_a_pass(None, 4) is None


def test_how_many_guesses_a_mode_takes_where_nothing_is_said() -> None:
    assert draft_len(SpeculativeTable()) == 0
    assert draft_len(SpeculativeTable(mode="draft_target")) == 5
    assert draft_len(SpeculativeTable(mode="lookahead")) == 15
    assert draft_len(SpeculativeTable(mode="medusa")) == 63
    assert draft_len(SpeculativeTable(mode="eagle", draft_tokens=31)) == 31


def test_a_draft_is_a_precision_or_a_folder() -> None:
    assert draft_precision(SpeculativeTable(mode="draft_target", draft="int4")) == "int4"
    assert draft_precision(SpeculativeTable(mode="draft_target", draft="./int4")) == ""
    assert draft_precision(SpeculativeTable(mode="eagle", draft="int4")) == "", "heads are a folder whatever its name"


def test_toolchains_say_what_they_can() -> None:
    assert why_not("openvino", "none") == why_not("pytorch", "none") == ""
    assert "draft_target and prompt_lookup" in why_not("openvino", "eagle")
    assert "checks no guesses" in why_not("pytorch", "draft_target")
    assert build_mode("lookahead") == "lookahead_decoding" and build_mode("prompt_lookup") == ""


# --- presets

OLD = 'schema = 1\ntitle = "t"\ngoal = "latency"\ntoolchain = "openvino"\n\n[precision]\nweights = "int8"\n'


def test_a_preset_of_before_loads_unchanged_and_says_none() -> None:
    preset = parse_preset(OLD, "old.toml")
    assert preset.speculative == SpeculativeTable() and preset.speculative.mode == "none"


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        ('mode = "draft"', 'must be one of "none", "draft_target"'),
        ('mode = "lookahead"\nheads = 3', "speculative.heads means nothing to lookahead; it is for medusa and eagle"),
        ('mode = "prompt_lookup"\ndraft = "x"', "speculative.draft means nothing to prompt_lookup"),
        ('mode = "draft_target"\ndraft = "x"\ndraft_tokens = 0', "from 1 to 256"),
        ('mode = "medusa"\ndraft = "x"\nchoices = "[[0], []]"', "not a JSON list of paths"),
        ('mode = "medusa"\ndraft = "x"\nchoices = "[[0], [true]]"', "not a JSON list of paths"),
        ('mod = "eagle"', "Nearest: speculative.mode"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(lines: str, seen: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_preset(f"{OLD}\n[speculative]\n{lines}\n", "p.toml")
    assert seen in caught.value.what and "p.toml, line " in caught.value.what


def test_the_gallery_has_every_mode() -> None:
    modes = {
        find_preset(name).speculative.mode
        for name in (
            "cpu-speculative-draft", "cpu-speculative-lookup", "llama-3.1-8b-fp8-lookahead-h100",
            "llama-3.1-8b-bf16-eagle-h100", "llama-3.1-8b-bf16-medusa-h100", "llama-3.3-70b-fp8-draft-target-4xh100",
        )
    }  # fmt: skip
    assert modes == {"draft_target", "prompt_lookup", "lookahead", "eagle", "medusa"}


def test_a_mode_can_be_set_and_taken_off_again() -> None:
    on = apply_overrides(find_preset("cpu-fp16"), ["speculative.mode=draft_target", "speculative.draft=int4"])
    assert on.speculative.draft == "int4"
    off = apply_overrides(on, ["speculative.mode=none"])
    assert off.speculative.mode == "none" and isinstance(off, Preset)


# --- tokenizers


def tokenizer(folder: Path, vocabulary: dict[str, int], **more: Any) -> Path:
    folder.mkdir()
    data = {"model": {"type": "BPE", "vocab": vocabulary, "merges": []}, "added_tokens": [], **more}
    (folder / "tokenizer.json").write_text(json.dumps(data))
    return folder


def test_tokenizers_are_held_against_each_other_by_their_tokens(tmp_path: Path) -> None:
    one = tokenizer(tmp_path / "a", {"a": 0, "b": 1})
    same = tokenizer(tmp_path / "b", {"b": 1, "a": 0}, padding={"strategy": "BatchLongest"}, truncation=None)
    other = tokenizer(tmp_path / "c", {"a": 1, "b": 0})
    assert tokenizer_problem(one, same) == "", "padding changes no token's number"
    assert "other tokens" in tokenizer_problem(one, other)


def test_the_same_tokens_written_by_another_version_are_the_same(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}}
    level = {"type": "ByteLevel", "add_prefix_space": False}
    end = {"id": 3, "content": "<end>"}
    old = tokenizer(tmp_path / "old", {}, model={**model, "merges": ["a b"]}, pre_tokenizer=level, added_tokens=[end])
    new = tokenizer(
        tmp_path / "new", {}, model={**model, "merges": [["a", "b"]], "ignore_merges": False},
        pre_tokenizer={**level, "use_regex": True}, added_tokens=[{**end, "special": True}],
    )  # fmt: skip
    other = tokenizer(tmp_path / "end", {}, model={**model, "merges": ["a b"]}, added_tokens=[{**end, "id": 4}])
    assert tokenizer_problem(old, new) == ""
    assert "other tokens" in tokenizer_problem(old, other)


def test_tokens_of_a_unigram_model_are_numbered_in_order(tmp_path: Path) -> None:
    def unigram(name: str, *tokens: tuple[str, float]) -> Path:
        return tokenizer(tmp_path / name, {}, model={"type": "Unigram", "vocab": [list(token) for token in tokens]})

    one = unigram("one", ("a", -1.0), ("b", -2.0))
    assert tokenizer_problem(one, unigram("scores", ("a", -1.5), ("b", -2.0))) == ""
    assert "other tokens" in tokenizer_problem(one, unigram("turned", ("b", -1.0), ("a", -2.0)))


def test_without_tokenizers_the_vocabulary_size_decides(tmp_path: Path) -> None:
    for name, size in (("a", 32000), ("b", 32064)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"pretrained_config": {"vocab_size": size}}))
    (tmp_path / "none").mkdir()
    assert tokenizer_problem(tmp_path / "a", tmp_path / "b") == "vocabularies of 32,000 and 32,064 tokens"
    assert tokenizer_problem(tmp_path / "a", tmp_path / "none") == "", "nothing speaks against it"
