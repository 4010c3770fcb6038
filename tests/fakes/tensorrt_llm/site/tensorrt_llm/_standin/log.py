"""Writes lines of the documented grammar: who says it, stamp, level."""

from __future__ import annotations

import sys
import time

_LEVELS = {"internal_error": 0, "error": 1, "warning": 2, "info": 3, "verbose": 4, "debug": 4, "trace": 5}
_LETTERS = {"F": 0, "E": 1, "W": 2, "I": 3, "V": 4, "D": 4}
_WORDS = {"ERROR": 1, "WARNING": 2, "INFO": 3, "DEBUG": 4, "TRACE": 5}


class Log:
    """Python lines go to standard error, those of TensorRT and the C++ runtime to standard output."""

    def __init__(self, level: str = "info") -> None:
        self.level = _LEVELS[level]

    def python(self, text: str, letter: str = "I") -> None:
        if _LETTERS[letter] <= self.level:
            print(f"[{_stamp()}] [TRT-LLM] [{letter}] {text}", file=sys.stderr, flush=True)

    def tensorrt(self, text: str, letter: str = "I") -> None:
        if _LETTERS[letter] <= self.level:
            print(f"[{_stamp()}] [TRT] [{letter}] {text}", flush=True)

    def runtime(self, text: str, word: str = "INFO") -> None:
        if _WORDS[word] <= self.level:
            print(f"[TensorRT-LLM][{word}] {text}", flush=True)

    def raw(self, line: str) -> None:
        """A line of the failure table: `E TRT text`, `C WORD text` (runtime), or `P text` (as it is)."""
        head, _, rest = line.partition(" ")
        if head == "P":
            print(rest, file=sys.stderr, flush=True)
        elif head == "C":
            word, _, text = rest.partition(" ")
            self.runtime(text, word)
        else:
            who, _, text = rest.partition(" ")
            (self.tensorrt if who == "TRT" else self.python)(text, head)


def _stamp() -> str:
    return time.strftime("%m/%d/%Y-%H:%M:%S")
