"""The tokenizer of a model: prompts to ids, ids to text, and text as it comes, without a character cut in two."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import AutoTokenizer

UNFINISHED = "\ufffd"
"""What a decoder puts where the bytes of a character are not all there yet."""
LONGEST_CHARACTER = 8
"""Tokens that one character may take; with more, the bytes are none."""


def load(parameters):
    """The tokenizer that the model's parameters name."""
    return AutoTokenizer.from_pretrained(
        parameters["tokenizer_dir"], trust_remote_code=parameters.get("trust_remote_code") == "true"
    )


def read_parameters(config):
    """Parameters of config.pbtxt, as text."""
    return {name: value["string_value"] for name, value in config.get("parameters", {}).items()}


def end_ids(parameters):
    """All ids that end an answer, as the model's generation_config.json says; chat models may have several."""
    try:
        told = json.loads((Path(parameters["tokenizer_dir"]) / "generation_config.json").read_text("utf-8"))
        ids = told["eos_token_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [one for one in (ids if isinstance(ids, list) else [ids]) if type(one) is int and one >= 0]


def decode(tokenizer, ids, skip_special_tokens=True):
    """The text as the ids say it. Tidying of spaces is off: it takes back what was already streamed."""
    return tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)


def prompt_ids(tokenizer, prompt, add_special_tokens=True):
    """Ids of a prompt. A chat template may have written the first token already: it is not put there twice."""
    ids = tokenizer.encode(prompt, add_special_tokens=add_special_tokens)
    first = tokenizer.bos_token_id
    return ids[1:] if first is not None and ids[:2] == [first, first] else ids


def word_ids(tokenizer, word):
    """Ids of a word as it stands inside a text: without what a tokenizer puts before the first word."""
    plain = tokenizer.encode(word, add_special_tokens=False)
    before = tokenizer.encode("!", add_special_tokens=False)
    inside = tokenizer.encode("!" + word, add_special_tokens=False)
    return inside[len(before) :] if inside[: len(before)] == before and len(inside) > len(before) else plain


class Stream:
    """Ids that come a few at a time -> text, of which nothing is taken back.

    Text is held back while its last character is unfinished, and while it may be the beginning of a stop word.
    """

    def __init__(self, tokenizer, stop_words=(), skip_special_tokens=True):
        self._tokenizer = tokenizer
        self._stops = [word for word in stop_words if word]
        self._skip = skip_special_tokens
        self._ids = []
        self._shown = 0  # ids whose text was given
        self._before = 0  # where decoding begins: a few ids earlier, since spaces depend on what stands before
        self._held = ""
        self.stopped = False

    def feed(self, ids):
        """The text that is certain now."""
        if self.stopped:
            return ""
        self._ids.extend(int(token) for token in ids)
        return self._after_stops(self._new_text(last=False), last=False)

    def end(self):
        """What was held back."""
        return "" if self.stopped else self._after_stops(self._new_text(last=True), last=True)

    def _decode(self, ids):
        return decode(self._tokenizer, ids, self._skip)

    def _new_text(self, last):
        known = self._decode(self._ids[self._before : self._shown])
        waiting = len(self._ids) - self._shown
        for held in range(min(LONGEST_CHARACTER, waiting)):
            upto = len(self._ids) - held
            text = self._decode(self._ids[self._before : upto])
            if last or not text.endswith(UNFINISHED):
                break
        else:
            if waiting < LONGEST_CHARACTER:
                return ""
            upto = len(self._ids)
            text = self._decode(self._ids[self._before :])
        self._before, self._shown = self._shown, upto
        return text[len(known) :]

    def _after_stops(self, text, last):
        text = self._held + text
        self._held = ""
        found = min((at for at in (text.find(word) for word in self._stops) if at >= 0), default=-1)
        if found >= 0:
            self.stopped = True
            return text[:found]
        if last:
            return text
        keep = max((_overlap(text, word) for word in self._stops), default=0)
        if keep:
            text, self._held = text[:-keep], text[-keep:]
        return text


def _overlap(text, word):
    """How many of the last characters of a text begin a word."""
    for size in range(min(len(word) - 1, len(text)), 0, -1):
        if text.endswith(word[:size]):
            return size
    return 0
