"""The table of build flags, without its widgets: rows of a preset, problems by flag, values from what was typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.core.preset import Preset
from workbench.toolchains.flag_sheet import (
    FlagProblem,
    FlagRow,
    flag_problems,
    flag_sheet,
    value_words,
    with_flag,
    without_flags,
)

OFF, ON = "off", "on"


@dataclass(frozen=True)
class FlagTable:
    """The flags of a preset and what is wrong with them; every change makes a new one."""

    preset: Preset
    rows: tuple[FlagRow, ...] = ()
    problems: tuple[FlagProblem, ...] = ()
    compute_capability: tuple[int, int] | None = None
    architecture: str | None = None
    by_flag: dict[str, FlagProblem] = field(default_factory=dict)
    """The gravest problem of each flag."""

    @property
    def flags(self) -> dict[str, Any]:
        """[build.flags] as they stand."""
        return dict(self.preset.build.flags)

    @property
    def changed(self) -> int:
        """Flags that differ from the program's own defaults."""
        return sum(1 for row in self.rows if row.changed)

    @property
    def refused(self) -> tuple[FlagProblem, ...]:
        """Problems of [build.flags] that would keep the preset from being built."""
        named = {row.name for row in self.rows if row.from_flags}
        return tuple(problem for problem in self.problems if problem.blocks and problem.flag in named)

    def row(self, name: str) -> FlagRow | None:
        return next((row for row in self.rows if row.name == name), None)

    def with_value(self, name: str, value: Any | None) -> FlagTable:
        """One flag set; None: as it is without [build.flags]."""
        return self._of(with_flag(self.preset, name, value))

    def reset(self) -> FlagTable:
        """All flags as they are without [build.flags]."""
        return self._of(without_flags(self.preset))

    def _of(self, preset: Preset) -> FlagTable:
        return flag_table_of(preset, compute_capability=self.compute_capability, architecture=self.architecture)


def flag_table_of(
    preset: Preset, *, compute_capability: tuple[int, int] | None = None, architecture: str | None = None
) -> FlagTable:
    """The table of a preset; see toolchains.flag_sheet."""
    problems = flag_problems(preset, compute_capability=compute_capability, architecture=architecture)
    by_flag: dict[str, FlagProblem] = {}
    for problem in problems:
        by_flag.setdefault(problem.flag, problem)
    return FlagTable(preset, flag_sheet(preset), problems, compute_capability, architecture, by_flag)


def flags_of(preset: Preset) -> tuple[FlagRow, ...]:
    """Rows of all flags; empty for a toolchain whose build has none."""
    return flag_sheet(preset)


def flags_summary(preset: Preset) -> str:
    """`67 flags, 3 changed`; empty for a toolchain whose build has none."""
    return summary_of(flag_sheet(preset))


def summary_of(rows: Sequence[FlagRow]) -> str:
    if not rows:
        return ""
    changed = sum(1 for row in rows if row.changed)
    return f"{len(rows)} flags, {changed or 'none'} changed"


def value_from_text(row: FlagRow, text: str) -> Any | None:
    """What was typed or chosen as a value of the flag's type; None for nothing. Text that is no such value stays text,
    so that the check can say what is wrong with it."""
    text = text.strip()
    if not text:
        return None
    if row.kind == "switch" and text in (ON, OFF):
        return text == ON
    if row.kind == "integer":
        plain = text.replace("\N{NARROW NO-BREAK SPACE}", "").replace(" ", "")
        return int(plain) if plain.lstrip("+-").isdecimal() and len(plain) < 12 else text
    if row.kind == "texts":
        return text.replace(",", " ").split()
    return text


def offered(row: FlagRow) -> tuple[str, ...]:
    """The values to choose from; empty where one types."""
    if row.kind == "switch":
        return (ON, OFF)
    return row.choices if row.kind == "choice" else ()


def shown_value(row: FlagRow) -> str:
    """The Value cell's text: whole numbers with U+202F between the thousands."""
    if row.value is None:
        return row.default_words or "not set"
    return grouped(row.value)


def shown_default(row: FlagRow) -> str:
    return row.default_words if row.default is None else grouped(row.default)


def grouped(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return value_words(value)


def problem_lines(row: FlagRow, problem: FlagProblem | None) -> list[str]:
    """What is wrong with a flag and what to do, in lines."""
    if problem is None:
        return []
    # Where there is nothing better to do, the fix is the flag's help, which stands below anyway.
    return [problem.what, problem.fix] if problem.fix and row.help not in problem.fix else [problem.what]


def details(row: FlagRow) -> list[str]:
    """All about one flag, in lines."""
    lines = [f"{row.help}." if row.help and not row.help.endswith(".") else row.help]
    if row.kind != "unknown":
        unit = f" ({row.unit})" if row.unit else ""
        lines.append(f"Takes {row.wants}{unit}; default {shown_default(row)}.")
    where = [f"Set by {row.set_by}." if row.set_by else "", row.locked]
    lines.append(" ".join(part for part in where if part))
    lines.append(row.note)
    return [line for line in lines if line]


def matches(row: FlagRow, words: Sequence[str]) -> bool:
    """Whether every word (in lower case) is in the flag's name, help, group or value; dashes stand for underscores."""
    text = f"{row.name} {row.name.replace('_', ' ')} {row.help} {row.group} {value_words(row.value)}".casefold()
    return all(word.lstrip("-").replace("-", "_") in text or word in text for word in words)
