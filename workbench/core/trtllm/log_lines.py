"""The grammar of TensorRT-LLM's log lines: who says a line, how grave it is, and which warnings mean nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Origin = Literal["banner", "python", "tensorrt", "runtime", "other"]
Level = Literal["debug", "info", "warning", "error"]

_MAX_LINE = 4000
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_STAMP = r"\[(\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\]"
_PYTHON = re.compile(rf"^{_STAMP} \[TRT-LLM\] (?:\[(?:MPI_Rank|RANK) (\d{{1,9}})\] )?\[([FEWIVD])\] (.*)$")
_TENSORRT = re.compile(rf"^{_STAMP} \[TRT\] \[([FEWIV])\] (.*)$")
_RUNTIME = re.compile(r"^\[TensorRT-LLM\]\[(TRACE|DEBUG|INFO|WARNING|ERROR)\] (.*)$")
BANNER = re.compile(r"^\[TensorRT-LLM\] TensorRT-LLM version: (\S+)")
_LETTER: dict[str, Level] = {
    "F": "error", "E": "error", "W": "warning", "I": "info", "V": "debug", "D": "debug",
}  # fmt: skip
_WORD: dict[str, Level] = {
    "TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error",
}  # fmt: skip


@dataclass(frozen=True)
class ParsedLine:
    """One log line, its head taken off. `stamp` is local time without a zone, as printed."""

    origin: Origin
    level: Level
    text: str
    stamp: str = ""
    rank: int | None = None


def split_lines(text: str) -> list[str]:
    """Text -> lines; progress bars redraw with a carriage return, so that splits too. Colours are taken out."""
    return [line.rstrip()[:_MAX_LINE] for line in re.split(r"[\r\n]", _ANSI.sub("", text)) if line.strip()]


def parse_line(line: str) -> ParsedLine:
    """One line, without line ends -> its parts. Any text is taken; what has no known head is `other`, `info`."""
    line = line[:_MAX_LINE]
    if match := _PYTHON.match(line):
        rank = None if match[2] is None else int(match[2])
        return ParsedLine("python", _LETTER[match[3]], match[4], match[1], rank)
    if match := _TENSORRT.match(line):
        return ParsedLine("tensorrt", _LETTER[match[2]], match[3], match[1])
    if match := _RUNTIME.match(line):
        return ParsedLine("runtime", _WORD[match[1]], match[2])
    if BANNER.match(line):
        return ParsedLine("banner", "info", line)
    return ParsedLine("other", "info", line)


@dataclass(frozen=True)
class ProgressBar:
    """A tqdm bar as printed."""

    title: str
    done: int
    total: int


_TQDM = re.compile(r"(\d{1,3})%\|[^|]{0,200}\|\s{0,20}(\d{1,12})/(\d{1,12})")


def parse_progress_bar(line: str) -> ProgressBar | None:
    """A line with a tqdm bar -> what it says; None for any other line."""
    match = _TQDM.search(line[:_MAX_LINE])
    if match is None:
        return None
    return ProgressBar(line[: match.start()].strip().rstrip(":").strip(), int(match[2]), int(match[3]))


HARMLESS: tuple[str, ...] = (
    "Unused Input: position_ids",
    "[RemoveDeadLayers]",
    "padding removal and fMHA are both enabled, max_input_len is not required",
    "opt_num_tokens is not set",
    "Invalid timing cache, using freshly created one",
    "FP8 Context FMHA is disabled because",
    "Overriding paged_state to False",
    "Overriding reduce_fusion to False",
    "Option --gather_generation_logits is deprecated",
    "The build_config is ignored for model format of TLLM_ENGINE",
    "Implicitly setting ",
)
"""Texts of warnings that mean nothing for the result."""
_SKIPPED_TACTIC = re.compile(r"[Ss]kipping tactic .{0,80}due to insufficient memory")


def harmless(text: str) -> str:
    """The known text, when a line holds a warning that means nothing for the result; else ""."""
    for known in HARMLESS:
        if known in text:
            return known.strip()
    # One tactic that did not fit is not chosen; the build goes on with others.
    return "skipping tactic due to insufficient memory" if _SKIPPED_TACTIC.search(text) else ""
