"""A job's log as the window reads it: by line number, in windows, whatever its length.

The index keeps the number of lines before each block of 64 KiB, and the numbers of warnings and errors. A block is
searched for a level only when it holds a word of one, so a flood is counted about as fast as it is read.
"""

from __future__ import annotations

import re
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from PySide6.QtCore import QRegularExpression

from workbench.ui.models.log_lines import TOKENS, LogLine, parse

BLOCK_BYTES = 64 * 1024
STEP_SECONDS = 0.15
"""How long one call of `advance` works, so that first lines are shown soon."""
_LONGEST_BYTES = 8 * 2**20
COPY_LINES = 100_000
Filter = Literal["all", "info", "warning", "error"]
_TOKEN = re.compile(b"|".join(re.escape(token) for token in TOKENS))


@dataclass(frozen=True)
class LogCounts:
    """The log as far as it is read. `complete` is False while there is more of it to read."""

    lines: int = 0
    warnings: int = 0
    errors: int = 0
    harmless: int = 0
    read_bytes: int = 0
    complete: bool = True


@dataclass(frozen=True)
class LogWindow:
    """The lines of some rows under a filter, and how many rows there are."""

    first: int
    lines: tuple[LogLine, ...]
    rows: int
    counts: LogCounts
    filter: Filter = "all"
    found: int = 0
    """Lines that match the search so far."""
    problem: str = ""
    """Why the search cannot be done."""


class LogReader:
    """Reads one log. All methods may be called from any thread, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Forget all that was read: the file was begun anew."""
        self._at = 0
        self._lines = 0
        self._block_start: array[int] = array("Q")
        self._block_lines: array[int] = array("Q")
        self._warnings: array[int] = array("I")
        self._errors: array[int] = array("I")
        self._harmless: array[int] = array("I")
        self._loud: array[int] = array("I")
        self._folded: array[int] = array("I")
        """Harmless lines that are not the first of their run."""
        self._shown_runs: set[int] = set()
        self._search: QRegularExpression | None = None
        self._pattern = ""
        self._found: array[int] = array("I")
        self._searched_block = 0
        self._problem = ""

    # -- reading on

    def advance(self, seconds: float = STEP_SECONDS) -> LogCounts:
        """Read and search what came since the last call, for about `seconds` at most."""
        deadline = time.monotonic() + seconds
        complete = True
        with self._lock:
            try:
                with self.path.open("rb") as log:
                    if log.seek(0, 2) < self._at:
                        self.clear()
                    log.seek(self._at)
                    while self._read_block(log):
                        if time.monotonic() > deadline:
                            complete = False
                            break
                    complete = self._advance_search(log, deadline) and complete
            except OSError:
                return self._counts(True)
            return self._counts(complete)

    def _read_block(self, log: BinaryIO) -> bool:
        """Take the next whole lines; the last line may still be being written. False when there are none."""
        data = log.read(BLOCK_BYTES)
        cut = data.rfind(b"\n") + 1
        while not cut and len(data) < _LONGEST_BYTES and (more := log.read(BLOCK_BYTES)):
            data += more
            cut = data.rfind(b"\n") + 1
        if not cut:
            if len(data) < _LONGEST_BYTES:
                return False
            self._take(data, 1)  # a line without end is cut
        else:
            self._take(data[:cut], 0)
        log.seek(self._at)
        return True

    def _counts(self, complete: bool) -> LogCounts:
        return LogCounts(self._lines, len(self._warnings), len(self._errors), len(self._harmless), self._at, complete)

    def _take(self, data: bytes, more_lines: int) -> None:
        self._block_start.append(self._at)
        self._block_lines.append(self._lines)
        low = data.lower()
        if any(token in low for token in TOKENS):
            self._classify(data, low)
        self._lines += data.count(b"\n") + more_lines
        self._at += len(data)

    def _classify(self, data: bytes, low: bytes) -> None:
        number, counted, past = self._lines, 0, 0
        for match in _TOKEN.finditer(low):
            if match.start() < past:
                continue
            start = data.rfind(b"\n", 0, match.start()) + 1
            past = data.find(b"\n", match.start()) + 1
            number += data.count(b"\n", counted, start)
            counted = start
            line = parse(number, data[start : past - 1])
            if line.harmless:
                if self._harmless and self._harmless[-1] == number - 1:
                    self._folded.append(number)
                self._harmless.append(number)
                self._loud.append(number)
            elif line.level in ("warning", "error"):
                (self._warnings if line.level == "warning" else self._errors).append(number)
                self._loud.append(number)

    # -- rows under a filter

    def _hidden(self, kind: Filter) -> Sequence[int]:
        if kind == "info":
            return self._loud
        if not self._shown_runs:
            return self._folded
        return [n for n in self._folded if self._run_start(n) not in self._shown_runs]

    def _run_start(self, number: int) -> int:
        place = bisect_left(self._harmless, number)
        while place and self._harmless[place - 1] == self._harmless[place] - 1:
            place -= 1
        return self._harmless[place]

    def _run_length(self, number: int) -> int:
        """Lines of the folded run that begins with this one; 0 when none does, or when it is unfolded."""
        at = last = bisect_left(self._harmless, number)
        if number in self._shown_runs or at == len(self._harmless) or self._run_start(number) != number:
            return 0
        while last + 1 < len(self._harmless) and self._harmless[last + 1] == self._harmless[last] + 1:
            last += 1
        return last - at + 1

    def rows(self, kind: Filter) -> int:
        """How many rows there are under a filter."""
        with self._lock:
            if kind in ("warning", "error"):
                return len(self._warnings if kind == "warning" else self._errors)
            return self._lines - len(self._hidden(kind))

    def line_of(self, kind: Filter, row: int) -> int:
        """Line number from 0 of a row."""
        with self._lock:
            if kind in ("warning", "error"):
                return (self._warnings if kind == "warning" else self._errors)[row]
            hidden = self._hidden(kind)
            # The k-th hidden line has (hidden[k] - k) shown lines before it, which only grows with k.
            low, high = 0, len(hidden)
            while low < high:
                middle = (low + high) // 2
                if hidden[middle] - middle <= row:
                    low = middle + 1
                else:
                    high = middle
            return row + low

    def row_of(self, kind: Filter, line: int) -> int:
        """The row of a line number from 0, or the nearest after it that is shown."""
        with self._lock:
            if kind in ("warning", "error"):
                return bisect_left(self._warnings if kind == "warning" else self._errors, line)
            hidden = self._hidden(kind)
            row = line - bisect_left(hidden, line)
            # A line in a fold is shown by the first of its run.
            if kind == "all" and (at := bisect_left(hidden, line)) < len(hidden) and hidden[at] == line:
                row = self.row_of(kind, self._run_start(line))
            return min(row, max(self.rows(kind) - 1, 0))

    def unfold(self, number: int) -> None:
        """Show or fold again the harmless lines of the run that line `number` (from 1) stands for."""
        with self._lock:
            self._shown_runs ^= {number - 1}

    def window(self, kind: Filter, first: int, count: int, *, end: bool = False) -> LogWindow:
        """`count` rows from `first` on; with `end` the last ones, wherever they begin."""
        with self._lock:
            rows = self.rows(kind)
            first = max(rows - count, 0) if end else max(min(first, rows), 0)
            numbers = [self.line_of(kind, row) for row in range(first, min(first + count, rows))]
            lines = [self._dress(parse(n + 1, raw), kind) for n, raw in zip(numbers, self._raw(numbers), strict=True)]
            counts = self._counts(True)
            return LogWindow(first, tuple(lines), rows, counts, kind, len(self._found), self._problem)

    def _dress(self, line: LogLine, kind: Filter) -> LogLine:
        if kind == "all" and line.harmless:
            line = replace(line, folded=self._run_length(line.number - 1))
        if self._search is not None:
            spans = []
            found = self._search.globalMatch(line.text)
            while found.hasNext() and len(spans) < 50:
                match = found.next()
                if match.capturedLength():
                    spans.append((match.capturedStart(), match.capturedEnd()))
            line = replace(line, spans=tuple(spans))
        return line

    def _raw(self, numbers: Sequence[int]) -> list[bytes]:
        """The bytes of lines (from 0, ascending)."""
        if not numbers:
            return []
        out: list[bytes] = []
        try:
            with self.path.open("rb") as log:
                block, lines = -1, []
                for number in numbers:
                    place = bisect_right(self._block_lines, number) - 1
                    if place != block:
                        block, lines = place, self._block(log, place).split(b"\n")
                    out.append(lines[number - self._block_lines[place]])
        except (OSError, IndexError):
            out += [b""] * (len(numbers) - len(out))
        return out

    def _block(self, log: BinaryIO, place: int) -> bytes:
        start = self._block_start[place]
        end = self._block_start[place + 1] if place + 1 < len(self._block_start) else self._at
        log.seek(start)
        return log.read(end - start)

    # -- searching

    def set_search(self, pattern: str) -> str:
        """Search for a regular expression from now on; what is wrong with it, or an empty string."""
        with self._lock:
            if pattern == self._pattern:
                return self._problem
            self._pattern, self._problem, self._search = pattern, "", None
            self._found, self._searched_block = array("I"), 0
            if pattern:
                options = QRegularExpression.PatternOption.MultilineOption
                if pattern == pattern.lower():
                    options |= QRegularExpression.PatternOption.CaseInsensitiveOption
                search = QRegularExpression(pattern, options)
                if search.isValid():
                    search.optimize()
                    self._search = search
                else:
                    self._problem = search.errorString()
            return self._problem

    def _advance_search(self, log: BinaryIO, deadline: float) -> bool:
        """Search the blocks that are new; False when time is over before the last.

        Qt's engine gives up on patterns that backtrack without end, and does not hold up other threads.
        """
        while self._search is not None and self._searched_block < len(self._block_start):
            if time.monotonic() > deadline:
                return False
            self._search_block(self._block(log, self._searched_block), self._searched_block)
            self._searched_block += 1
        return True

    def _search_block(self, data: bytes, place: int) -> None:
        assert self._search is not None
        first = self._block_lines[place]
        text = data.decode("latin-1" if data.isascii() else "utf-8", "replace")
        if not data.isascii() and max(text) > "\uffff":
            text = re.sub("[\U00010000-\U0010ffff]", "?", text)  # Qt counts those twice
        found = self._search.globalMatch(text)
        if not found.isValid():
            self._problem, self._search = "The pattern takes too long; make it simpler.", None
            return
        counted, number, last = 0, first, -1
        while found.hasNext():
            match = found.next()
            start = match.capturedStart()
            if not match.capturedLength():
                continue
            number += text.count("\n", counted, start)
            counted = start
            if number != last:
                self._found.append(number)
                last = number

    def find_next(self, line: int, step: int) -> tuple[int, int, int] | None:
        """From line number `line` (from 0; -1 before the first) to the next (+1) or previous (-1) match, round the end.

        Gives (place among the matches from 0, line number, number of matches), None without a match.
        """
        with self._lock:
            if not self._found:
                return None
            place = bisect_right(self._found, line) if step > 0 else bisect_left(self._found, line) - 1
            place %= len(self._found)
            return place, self._found[place], len(self._found)

    def find_failure(self, evidence: str) -> int | None:
        """The line number (from 1) that a failure's evidence speaks of; None when the log does not hold it.

        Evidence may have several parts ("exit code 1; last line: ..."): the part that is found last in the log counts.
        """
        _, _, last = evidence.rpartition("last line: ")
        parts = [evidence, last, *re.split(r"; | / ", evidence)]
        for part in dict.fromkeys(part.strip().removesuffix("…") for part in parts):
            if len(part) >= 4 and (line := self.find_text(part)) is not None:
                return line + 1
        with self._lock:
            return self._errors[-1] + 1 if self._errors else None

    def find_text(self, wanted: str) -> int | None:
        """The last line (from 0) that holds a text which the job itself did not write as its closing words."""
        needle = wanted.strip().encode("utf-8", "replace")[:200]
        if not needle:
            return None
        with self._lock:
            try:
                with self.path.open("rb") as log:
                    for place in range(len(self._block_start) - 1, -1, -1):
                        data = self._block(log, place)
                        at = data.rfind(needle)
                        while at >= 0:
                            start = data.rfind(b"\n", 0, at) + 1
                            if not data.startswith(b"[job] ", start):
                                return self._block_lines[place] + data.count(b"\n", 0, at)
                            at = data.rfind(needle, 0, start)
            except OSError:
                return None
        return None

    def text(self, kind: Filter, first: int, last: int) -> str:
        """The text of rows from `first` to `last`, as the log has it; at most COPY_LINES."""
        with self._lock:
            last = min(last, first + COPY_LINES - 1, self.rows(kind) - 1)
            numbers = [self.line_of(kind, row) for row in range(first, last + 1)]
            return "\n".join(raw.decode("utf-8", "replace") for raw in self._raw(numbers))
