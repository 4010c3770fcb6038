"""One log line in its parts: when, how grave, who says it, and which warnings mean nothing. Guessed from the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workbench.core.trtllm.log_lines import harmless as trtllm_harmless
from workbench.core.trtllm.log_lines import parse_line

Level = Literal["debug", "info", "warning", "error"]

MAX_CHARS = 4000
"""A longer line is shown up to here."""
TOKENS = (b"warn", b"error", b"[w]", b"[e]", b"[f]", b"exception", b"fatal", b"critical", b"deprecated", b"traceback")
"""A line without any of these (in small letters) is neither a warning nor an error."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_STEP = re.compile(r"^\[([A-Za-z][\w.:-]{0,40})\] (?:(debug|info|warning|error): )?(.*)$")
_STAMP = re.compile(r"^\d\d/\d\d/\d{4}-(\d\d:\d\d:\d\d)")
_PYTHON_LOG = re.compile(r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL):([\w.-]{1,40}):(.*)$")
_PYTHON_WARNING = re.compile(r"^(?:.{0,300}/)?(?:site-packages/)?(\w+)?[^:]{0,300}\.py:\d+: (\w*Warning: .*)$")
_BRACKET = re.compile(r"^\[?(WARNING|WARN|ERROR|FATAL)\]?[: ]+(.*)$", re.IGNORECASE)
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception): |^Traceback \(most recent|^Exception: ")
_DEPRECATED = re.compile(r"is deprecated|Deprecat|FutureWarning")
_SAFE = re.compile(
    r"TracerWarning|is deprecated|DeprecationWarning|FutureWarning|PendingDeprecation|unrecognized\. Using"
)
_OWN = {"job"}
"""What the job itself says when it ends; the card says the same."""


@dataclass(frozen=True)
class LogLine:
    """A line as it is shown. `number` counts from 1; `spans` are the matches of the search: first and last + 1."""

    number: int
    text: str
    level: Level = "info"
    source: str = ""
    time: str = ""
    """Hours, minutes, seconds as printed; empty where the line has none."""
    harmless: str = ""
    """The known text of a warning that means nothing."""
    folded: int = 0
    """How many harmless lines this one stands for; 0: it stands for itself."""
    spans: tuple[tuple[int, int], ...] = ()


def clean(raw: bytes) -> str:
    """Bytes of a line -> what a terminal would show of it: bars that redraw themselves leave their last state."""
    part = raw[-4 * MAX_CHARS :] if b"\r" in raw else raw[: 4 * MAX_CHARS]
    text = part.decode("utf-8", "replace")
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    text = text.rstrip().expandtabs(4)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def parse(number: int, raw: bytes) -> LogLine:
    """A line in its parts; any text is taken."""
    text = clean(raw)
    source, level = "", ""
    if (match := _STEP.match(text)) and match[1] not in ("TRT", "TRT-LLM", "TensorRT-LLM", "WARNING", "ERROR", "INFO"):
        source, level, text = match[1], match[2] or "info", match[3]
        if source in _OWN:
            return LogLine(number, text, "info", "workbench")
        if match[2]:
            return LogLine(number, text, level, source, harmless=_harmless(text) if level == "warning" else "")  # type: ignore[arg-type]
    known = parse_line(text)
    if known.origin != "other":
        stamp = _STAMP.match(known.stamp)
        who = {"python": "TRT-LLM", "tensorrt": "TRT", "runtime": "TRT-LLM", "banner": "TRT-LLM"}[known.origin]
        fine = trtllm_harmless(known.text) if known.level == "warning" else ""
        return LogLine(number, known.text, known.level, who, stamp[1] if stamp else "", fine)
    if match := _PYTHON_LOG.match(text):
        word = match[1].lower()
        found: Level = "error" if word == "critical" else word  # type: ignore[assignment]
        return LogLine(number, match[3], found, match[2], harmless=_harmless(match[3]) if found == "warning" else "")
    if match := _PYTHON_WARNING.match(text):
        return LogLine(number, text, "warning", "Python", harmless=_harmless(match[2]))
    if match := _BRACKET.match(text):
        return LogLine(number, text, "warning" if match[1].lower().startswith("warn") else "error", source)
    if _EXCEPTION.match(text):
        return LogLine(number, text, "error", source or "Python")
    if _DEPRECATED.search(text):
        return LogLine(number, text, "warning", source, harmless=_harmless(text))
    return LogLine(number, text, "info", source)


def _harmless(text: str) -> str:
    if found := trtllm_harmless(text):
        return found
    match = _SAFE.search(text)
    return (
        {"is deprecated": "deprecated", "unrecognized. Using": "default used"}.get(match[0], match[0]) if match else ""
    )
