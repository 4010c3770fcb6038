"""The tokenizer's part of an exported repository, by tokenizers that do what some models' do."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.triton.light import light_transformers
from workbench.core.data import resource


@pytest.fixture(scope="module")
def texts() -> Iterator[Any]:
    with light_transformers():
        spec = importlib.util.spec_from_file_location("triton_text", resource("deploy/triton/triton_text.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


class Tidying:
    """Words as ids; it tidies spaces as the settings of Llama 3's tokenizer say, unless it is asked not to."""

    words = ("<s>", "do", " n", "'t", " it", " .")
    bos_token_id: int | None = 0

    def decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool = True) -> str:
        text = "".join(self.words[token] for token in ids if token or not skip_special_tokens)
        return text.replace(" n't", "n't").replace(" .", ".") if clean_up_tokenization_spaces else text

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids = [0] * text.count("<s>") + [1]
        return [0, *ids] if add_special_tokens else ids


def test_what_was_streamed_is_the_whole_text(texts: Any) -> None:
    ids = [1, 2, 3, 4, 5]
    stream = texts.Stream(Tidying())
    pieces = [stream.feed([token]) for token in ids] + [stream.end()]
    assert "".join(pieces) == texts.decode(Tidying(), ids) == "do n't it ."


@pytest.mark.parametrize(
    ("told", "ids"),
    [
        ('{"eos_token_id": [1, 106]}', [1, 106]),
        ('{"eos_token_id": 2}', [2]),
        ('{"eos_token_id": null}', []),
        ("[]", []),
        ("{", []),
        (None, []),
    ],
)
def test_the_ends_are_those_that_the_model_names(texts: Any, tmp_path: Path, told: str | None, ids: list[int]) -> None:
    if told is not None:
        (tmp_path / "generation_config.json").write_text(told)
    assert texts.end_ids({"tokenizer_dir": str(tmp_path)}) == ids


@pytest.mark.parametrize(("prompt", "ids"), [("x", [0, 1]), ("<s>x", [0, 1]), ("<s><s>x", [0, 0, 1])])
def test_a_first_token_of_the_chat_template_is_not_put_there_twice(texts: Any, prompt: str, ids: list[int]) -> None:
    assert texts.prompt_ids(Tidying(), prompt) == ids
    tokenizer = Tidying()
    tokenizer.bos_token_id = None
    assert len(texts.prompt_ids(tokenizer, "<s>x")) == 3
