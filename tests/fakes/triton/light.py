"""`transformers.AutoTokenizer` by the tokenizers library alone, for tests that are not about tokenizers."""

from __future__ import annotations

import contextlib
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class AutoTokenizer:
    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        self.eos_token_id = self._fast.token_to_id(config["eos_token"])
        self.bos_token_id = self._fast.token_to_id(config["bos_token"]) if config.get("bos_token") else None
        self.pad_token_id = self._fast.token_to_id(config["pad_token"])

    @classmethod
    def from_pretrained(cls, folder: str, *, trust_remote_code: bool = False) -> AutoTokenizer:
        assert trust_remote_code is False
        return cls(Path(folder))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(self._fast.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(
        self, ids: list[int], *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        assert clean_up_tokenization_spaces is False
        text: str = self._fast.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text


@contextlib.contextmanager
def light_transformers() -> Iterator[None]:
    """While models are loaded."""
    module: Any = types.ModuleType("transformers")
    module.AutoTokenizer = AutoTokenizer
    before = sys.modules.get("transformers")
    sys.modules["transformers"] = module
    try:
        yield
    finally:
        sys.modules.pop("transformers")
        if before is not None:
            sys.modules["transformers"] = before
