"""Follows the log of `trtllm-build`: phases with shares of the whole, memory figures, remaining time, harmless lines.

Phases are those of TensorRT-LLM 0.14 to 1.2 (format strings of builder.py and build.py, logs quoted in its issue
threads). Shares are estimates from few logs, so the remaining time is a range. Failures are in
workbench.core.trtllm.failures; `explain_failure` is theirs.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from typing import Literal

from workbench.core.trtllm.failures import explain_failure as explain_failure
from workbench.core.trtllm.log_lines import BANNER, ParsedLine, harmless, parse_line, parse_progress_bar, split_lines
from workbench.core.units import Range, format_duration

LineKind = Literal["phase", "memory", "setting", "progress", "closing", "harmless", "warning", "error", "other"]

_KEPT_ERRORS = 50
_KEPT_NAMES = 200
_GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True)
class BuildPhase:
    """A phase of a build. `share` of one rank's time, 0 to 1; `marks`: each of these lines is a step in it."""

    name: str
    title: str
    share: float
    ends: re.Pattern[str]
    """The line that ends it."""
    begins: re.Pattern[str] | None = None
    once: bool = False
    """Once a process, not once a rank."""
    marks: tuple[re.Pattern[str], ...] = ()


def _re(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


_COMPILE_MARKS = tuple(
    re.compile(text)
    for text in (
        "Global timing cache in use",
        "Compiler backend is used during engine build",
        r"\[GraphReduction\]",
        r"Detected (\d+) inputs and (\d+) output network tensors",
        r"Total Host Persistent Memory: (\d+)",
        r"Total Device Persistent Memory: (\d+)",
        r"(?:Total|Max) Scratch Memory: (\d+)",
        r"\[BlockAssignment\] Started assigning block shifts\. This will take (\d+) steps",
        r"Total Activation Memory: (\d+)(?: bytes)?",
        r"Total Weights Memory: (\d+)(?: bytes)?",
    )
)

PHASES: tuple[BuildPhase, ...] = (
    BuildPhase("import", "Load TensorRT-LLM", 0.02, BANNER, once=True),
    BuildPhase("settings", "Read settings", 0.01, _re(r"Set (?:PluginConfig\.)?(\w+) to (.*)\."), once=True),
    BuildPhase(
        "limits",
        "Check sizes",
        0.02,
        _re(
            r"max_seq_len is not specified, using deduced value (\d+)",
            "Specifying a .max_num_tokens. larger than 16384",
            "shouldn't be greater than",
        ),
        once=True,
    ),
    BuildPhase(
        "start",
        "Start TensorRT",
        0.05,
        _re("Init builder kernel library"),
        begins=_re(r"\[MemUsageChange\] Init CUDA"),
    ),
    BuildPhase("network", "Make the network", 0.10, _re("Total time of constructing network from module object")),
    BuildPhase("profiles", "Optimisation profiles", 0.02, _re("Total optimization profiles added: ")),
    BuildPhase("weights", "Load weights", 0.03, _re("Total time to initialize the weights in network ")),
    BuildPhase(
        "compile",
        "Compile the engine",
        0.55,
        _re("Engine generation completed in "),
        begins=_re("Build TensorRT engine "),
        marks=_COMPILE_MARKS,
    ),
    BuildPhase(
        "timing-cache",
        "Keep timings",
        0.02,
        _re("Build phase peak memory: "),
        begins=_re(r"Serialized \d+ timing cache entries"),
    ),
    BuildPhase(
        "write",
        "Write the engine",
        0.18,
        _re("Engine serialized. Total time: "),
        begins=_re(r"Serializing engine to (.+)\.\.\."),
    ),
)
"""Phases of one rank in order; their shares add up to 1."""

_PLACE = {phase.name: index for index, phase in enumerate(PHASES)}
_CLOSING = re.compile(r"Total time of building all engines: (\d\d):(\d\d):(\d\d)")
_SERIALIZING = re.compile(r"Serializing engine to (.+)\.\.\.")
_RANK_FILE = re.compile(r"rank(\d{1,9})\.engine$")
_SETTING = re.compile(r"Set (?:PluginConfig\.)?(\w{1,80}) to (.{0,200})\.$")
_DEDUCED = re.compile(r"max_seq_len is not specified, using deduced value (\d{1,12})")
_NOW = re.compile(r"\[MemUsageChange\].*now: CPU (\d{1,12}), GPU (\d{1,12}) \(MiB\)")

# What log lines say, name by name. The last line says "peak" and "MB", but prints resident memory at that moment in
# units of 2**20 bytes (builder.py).
_FIGURES: tuple[tuple[re.Pattern[str], tuple[str, ...], int], ...] = (
    (_NOW, ("host_now", "gpu_now"), _MIB),
    (re.compile(r"Total Host Persistent Memory: (\d{1,18})"), ("host_persistent",), 1),
    (re.compile(r"Total Device Persistent Memory: (\d{1,18})"), ("gpu_persistent",), 1),
    (re.compile(r"(?:Total|Max) Scratch Memory: (\d{1,18})"), ("gpu_scratch",), 1),
    (re.compile(r"Total Activation Memory: (\d{1,18})"), ("gpu_activations",), 1),
    (re.compile(r"Total Weights Memory: (\d{1,18})"), ("gpu_weights",), 1),
    (
        re.compile(
            r"\[MemUsageStats\] Peak memory usage of TRT CPU/GPU memory allocators: "
            r"CPU (\d{1,12}) MiB, GPU (\d{1,12}) MiB"
        ),
        ("host_allocator_peak", "gpu_allocator_peak"),
        _MIB,
    ),
    (
        re.compile(r"Peak memory usage during Engine building and serialization: CPU: (\d{1,12}) MiB"),
        ("host_compile_peak",),
        _MIB,
    ),
    (
        re.compile(r"Build phase peak memory: ([\d.]{1,18}) MB, children: ([\d.]{1,18}) MB"),
        ("host_rss", "host_children_rss"),
        _MIB,
    ),
)
_LATEST = ("host_now", "gpu_now")


@dataclass(frozen=True)
class Fed:
    """What one line was. `name` is the phase, figure, setting or harmless text that it is about."""

    kind: LineKind
    line: ParsedLine
    name: str = ""


class BuildLog:
    """The state of a build, fed with its log line by line; it never raises on any text.

    `ranks` engines are built, at most `workers` at a time. Ranks do not mark their lines, so marks are counted:
    a phase is done for as many ranks as its last line was seen, and for as many as any later phase was.
    """

    def __init__(self, ranks: int = 1, workers: int = 1) -> None:
        self.ranks = max(ranks, 1)
        self.workers = max(workers, 1)
        self.version = ""
        """TensorRT-LLM's, from its banner."""
        self.memory_gib: dict[str, float] = {}
        """Figures by name in GiB, of the largest rank; `host_now` and `gpu_now` are the last ones seen."""
        self.settings: dict[str, str] = {}
        """Settings as trtllm-build resolved them."""
        self.harmless: dict[str, int] = {}
        """Harmless texts, and how often each was seen."""
        self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self.warnings: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self.ranks_written: set[int] = set()
        self.closed = False
        """Whether the closing line was seen: all ranks done."""
        self.total_s: int | None = None
        """Seconds that the closing line says (it counts modulo 24 hours)."""
        self._ended = [0] * len(PHASES)
        self._begun = [0] * len(PHASES)
        self._marks: list[dict[int, int]] = [{} for _ in PHASES]
        self._writing: deque[int] = deque(maxlen=64)
        self._share = 0.0
        self._shown = 0.0
        self._current = 0
        self._now_s = 0.0
        self._phase_since_s = 0.0
        self._phase_since_share = 0.0
        self._compile_share: float | None = None

    # --- feeding ---

    def feed(self, text: str, elapsed_s: float | None = None) -> list[Fed]:
        """Take raw output, one or more lines; what each line was. `elapsed_s` counts from the build's start."""
        if elapsed_s is not None and math.isfinite(elapsed_s):
            self._now_s = max(self._now_s, elapsed_s)
        return [self._one(line) for line in split_lines(text)]

    def note_compile_share(self, share: float) -> None:
        """The real share of the compile phase, 0 to 1, where a progress monitor gives it."""
        if math.isfinite(share):
            self._compile_share = min(max(share, 0.0), 1.0)
            self._update()

    def _one(self, line: str) -> Fed:
        parsed = parse_line(line)
        text = parsed.text
        if known := harmless(text):
            self.harmless[known] = self.harmless.get(known, 0) + 1
            return Fed("harmless", parsed, known)
        if closing := _CLOSING.search(text):
            hours, minutes, seconds = (int(part) for part in closing.groups())
            self.closed, self.total_s = True, hours * 3600 + minutes * 60 + seconds
            self._update()
            return Fed("closing", parsed)
        if banner := BANNER.match(text):
            self.version = banner[1]
        figure = self._figure(text)
        setting = self._setting(text)
        phase = self._phase_mark(text)
        if parsed.level == "error":
            self.errors.append(line)
            return Fed("error", parsed)
        if setting:
            return Fed("setting", parsed, setting)
        if phase:
            return Fed("phase", parsed, phase)
        if figure:
            return Fed("memory", parsed, figure)
        if parsed.level == "warning":
            self.warnings.append(line)
            return Fed("warning", parsed)
        if bar := parse_progress_bar(text):
            return Fed("progress", parsed, bar.title)
        return Fed("other", parsed)

    def _figure(self, text: str) -> str:
        for pattern, names, unit in _FIGURES:
            match = pattern.search(text)
            if match is None:
                continue
            for name, value in zip(names, match.groups(), strict=True):
                try:
                    gib = float(value) * unit / _GIB
                except ValueError:
                    continue
                old = self.memory_gib.get(name, 0.0)
                self.memory_gib[name] = gib if name in _LATEST else max(gib, old)
            return names[0]
        return ""

    def _setting(self, text: str) -> str:
        name, value = "", ""
        if match := _SETTING.search(text):
            name, value = match[1], match[2]
        elif match := _DEDUCED.search(text):
            name, value = "max_seq_len", match[1]
        if name and (name in self.settings or len(self.settings) < _KEPT_NAMES):
            self.settings[name] = value
        return name

    def _phase_mark(self, text: str) -> str:
        """Count what `text` marks; the phase that it ends or begins, or ""."""
        hit = ""
        for index, phase in enumerate(PHASES):
            if phase.ends.search(text):
                # "Engine serialized" does not name its rank: they end in the order in which they began.
                if phase.name == "write" and self._writing:
                    self.ranks_written.add(self._writing.popleft())
                self._ended[index] += 1
                hit = phase.name
                if phase.name == "write":
                    self._forget_repeats()
            elif phase.begins is not None and phase.begins.search(text):
                self._begun[index] += 1
                hit = phase.name
            else:
                for place, mark in enumerate(phase.marks):
                    if mark.search(text):
                        self._marks[index][place] = self._marks[index].get(place, 0) + 1
                        self._begun[index] = max(self._begun[index], self._marks[index][place])
                        self._update()
                        return ""
        if (match := _SERIALIZING.search(text)) and (rank := _RANK_FILE.search(match[1])):
            self._writing.append(int(rank[1]))
        if hit:
            self._update()
        return hit

    # --- reading ---

    @property
    def phase(self) -> BuildPhase:
        """The phase that runs now; of ranks that are built side by side, the least far one's."""
        return PHASES[self._current]

    @property
    def phase_index(self) -> int:
        """Place of the phase, from 1."""
        return self._current + 1

    @property
    def ranks_done(self) -> int:
        """Ranks whose engine file is written."""
        return self.ranks if self.closed else min(self._ended[_PLACE["write"]], self.ranks)

    @property
    def harmless_count(self) -> int:
        return sum(self.harmless.values())

    @property
    def share_done(self) -> float:
        """Share of the whole that is known to be done, 0 to 1; it never goes back."""
        return self._share

    def share(self, elapsed_s: float | None = None) -> float:
        """A point for a progress bar: what is done, and of the current phase as much as its length so far suggests.

        The current phase approaches its end and does not reach it: the phase's own line does that. Never less
        than `share_done`, and never less than it has said before.
        """
        now = self._now_s if elapsed_s is None or not math.isfinite(elapsed_s) else max(elapsed_s, self._now_s)
        left = self._phase_left()
        at = self._share
        if not self.closed and left > 0 and self._phase_since_share > 0 and self._phase_since_s > 0:
            expected_s = left * self._phase_since_s / self._phase_since_share
            spent_s = max(now - self._phase_since_s, 0.0)
            at = min(at + left * (1.0 - math.exp(-spent_s / max(expected_s, 0.001))), 1.0)
        self._shown = max(self._shown, at)
        return self._shown

    def remaining(self, elapsed_s: float) -> Range | None:
        """Time to go, in seconds, from the shares and the time so far; None before there is a share to go by.

        From: the current phase is at its end. To: it has just begun.
        """
        if self.closed:
            return Range.seconds(0, 0, formula="the closing line was seen", source="log of trtllm-build")
        if self._share < 0.02 or not math.isfinite(elapsed_s) or elapsed_s <= 0:
            return None
        best = min(self._share + self._phase_left(), 1.0)
        low, high = (elapsed_s * (1.0 - share) / share for share in (best, self._share))
        return Range.seconds(
            max(low, 0.0),
            max(high, low, 0.0),
            formula=f"{format_duration(elapsed_s)} x (1 - share) / share, share {self._share:.0%} to {best:.0%}",
            source="shares of the phases of trtllm-build, estimated from few logs",
        )

    # --- counting ---

    def _most(self) -> int:
        """Ranks that can have begun. No more than `workers` are ahead of those that are written: a line said twice
        is no second rank."""
        return min(self._ended[_PLACE["write"]] + self.workers, self.ranks)

    def _forget_repeats(self) -> None:
        """A rank is written: of the counts keep what the other ranks under way can have made."""
        most = self._ended[_PLACE["write"]] + self.workers - 1
        self._ended = [min(count, most) for count in self._ended]
        self._begun = [min(count, most) for count in self._begun]
        self._marks = [{place: min(count, most) for place, count in marks.items()} for marks in self._marks]

    def _counts(self) -> list[int]:
        """Ranks for which each phase is over."""
        counts, later = [0] * len(PHASES), 0
        most = self._most()
        for index in range(len(PHASES) - 1, -1, -1):
            phase = PHASES[index]
            # What has begun has all before it behind it.
            later = max(later, self._ended[index])
            counts[index] = min(later, most)
            if phase.once and later:
                counts[index] = self.ranks
            later = max(later, self._begun[index])
        return counts

    def _update(self) -> None:
        if self.closed:
            self._share, self._current = 1.0, len(PHASES) - 1
            return
        counts, most = self._counts(), self._most()
        done = 0.0
        for index, phase in enumerate(PHASES):
            done += phase.share * counts[index] / self.ranks
            active = min(self._begun[index], most) - counts[index]
            if active > 0 and phase.marks:
                seen = sum(1 for count in self._marks[index].values() if count > counts[index])
                steps = seen / (len(phase.marks) + 1)
                if self._compile_share is not None and self.ranks == 1:
                    steps = max(steps, self._compile_share)
                done += phase.share * steps / self.ranks
        current = next((i for i, count in enumerate(counts) if count < most), len(PHASES) - 1)
        done = min(done, 1.0)
        if current != self._current or done > self._share:
            self._phase_since_s = self._now_s
            self._phase_since_share = max(done, self._share)
        self._share = max(self._share, done)
        self._current = current

    def _phase_left(self) -> float:
        """Share that the current phase still has to give."""
        counts = self._counts()
        before = sum(phase.share * counts[index] / self.ranks for index, phase in enumerate(PHASES))
        whole = PHASES[self._current].share / self.ranks
        return max(min(before + whole, 1.0) - self._share, 0.0)
