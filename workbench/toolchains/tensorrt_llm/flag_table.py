"""The table of trtllm-build's flags (flags.json, gone_flags.json) as frozen models, and what a value of each may be."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.errors import Failure

FlagType = Literal["integer", "text", "path", "choice", "switch", "texts"]
Value = bool | int | str | tuple[str, ...]
Settings = Mapping[str, Any]
"""Flag names (with or without `--`) and values; a value of None is as if the flag was not there."""

_MAX_SHOWN = 80
_ENABLE = ("enable", "disable")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Needs(_Frozen):
    """What another flag must be for this one to work."""

    flag: str
    values: tuple[str, ...] = ()
    """Any of these; empty: any value at all."""
    blocks: bool
    """Whether the build fails without; else this flag does nothing."""
    why: str


class GpuRule(_Frozen):
    """Compute capabilities on which a flag works."""

    values: tuple[str, ...] = ()
    """Values that the rule is for; empty: all that switch the flag on."""
    least: tuple[int, int] | None = None
    most: tuple[int, int] | None = None
    excluded: tuple[tuple[int, int], ...] = Field(default=(), alias="except")
    blocks: bool
    reason: str

    def allows(self, capability: tuple[int, int]) -> bool:
        if self.least is not None and capability < self.least:
            return False
        if self.most is not None and capability > self.most:
            return False
        return capability not in self.excluded


class Flag(_Frozen):
    """One flag of trtllm-build, 1.2 line."""

    name: str
    """Without `--`."""
    type: FlagType
    default: bool | int | str | None
    """None: not set; `default_note` or `help` says what happens then."""
    choices: tuple[str, ...] = ()
    group: str
    help: str
    source: str
    """Files of TensorRT-LLM that it was read from, by their keys in flags.json."""
    unit: str = ""
    minimum: int | None = None
    default_note: str = ""
    choices_open: bool = False
    """The list of choices is known not to be complete."""
    aliases: tuple[str, ...] = ()
    deprecated: bool = False
    depends: tuple[Needs, ...] = Field(default=(), alias="needs")
    gpu_rules: tuple[GpuRule, ...] = ()
    note: str = ""
    """How the flag differs from what older guides say."""

    @property
    def is_toggle(self) -> bool:
        """Whether it takes enable or disable (never a bare flag)."""
        return self.choices == _ENABLE

    @property
    def wants(self) -> str:
        """What a value must be, in words."""
        if self.type == "switch":
            return "true or false"
        if self.type == "integer":
            return f"a whole number from {self.minimum}" if self.minimum is not None else "a whole number"
        if self.type == "texts":
            return "one or more of " + ", ".join(self.choices) if self.choices else "a list of text"
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return "a path" if self.type == "path" else "text"


class GoneFlag(_Frozen):
    """A name that guides use and trtllm-build 1.2 does not have."""

    name: str
    what: str
    today: str
    use: str | None = None
    """Key of a preset that does it today."""
    elsewhere: bool = False
    """It exists, but in another step or at run time."""


class FlagProblem(Failure):
    """Something that is wrong with a flag. `blocks`: the build would fail or be refused; else the flag does nothing,
    or not what one would think."""

    flag: str
    blocks: bool = True


@functools.cache
def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((Path(__file__).with_name(name)).read_text("utf-8"))
    return data


@functools.cache
def flag_table() -> tuple[Flag, ...]:
    """All flags, in the order of `trtllm-build --help`."""
    notes = {entry["name"]: entry["note"] for entry in _read("gone_flags.json")["notes"]}
    return tuple(
        Flag.model_validate({**entry, "note": notes.get(entry["name"], "")}) for entry in _read("flags.json")["flags"]
    )


@functools.cache
def gone_flags() -> tuple[GoneFlag, ...]:
    """Names that are not flags, or no longer."""
    return tuple(GoneFlag.model_validate(entry) for entry in _read("gone_flags.json")["gone"])


@functools.cache
def _by_name() -> dict[str, Flag]:
    return {name: flag for flag in flag_table() for name in (flag.name, *flag.aliases)}


@functools.cache
def _gone_by_name() -> dict[str, GoneFlag]:
    return {gone.name: gone for gone in gone_flags()}


@functools.cache
def _internal() -> frozenset[str]:
    return frozenset(text.split(" ")[0] for text in _read("flags.json")["not_on_cli_but_in_plugin_config"])


def bare(name: str) -> str:
    """A flag's name without leading dashes."""
    return name[:_MAX_SHOWN].strip().lstrip("-")


def find_flag(name: str) -> Flag | None:
    """The flag of this name or alias, exactly; trtllm-build itself would take any unique beginning."""
    return _by_name().get(bare(name))


def unknown_flag(name: str) -> FlagProblem:
    """The problem of a name that is no flag: today's way where it was one, else the nearest."""
    shown = bare(name)
    if gone := _gone_by_name().get(shown.replace("-", "_")):
        return FlagProblem(
            code="gone-flag",
            flag=gone.name,
            what=f"--{gone.name} is not a flag of trtllm-build 1.2: {gone.what}.",
            evidence=f"build.flags.{shown}",
            fix=gone.today,
            exit_code=2,
        )
    if shown in _internal():
        return FlagProblem(
            code="internal-flag",
            flag=shown,
            what=f"{shown} is in the engine's plugin settings, but not a flag: trtllm-build sets it by itself.",
            evidence=f"build.flags.{shown}",
            fix="Take it out.",
            exit_code=2,
        )
    near = nearest_flag(shown)
    return FlagProblem(
        code="unknown-flag",
        flag=shown,
        what=f"{shown!r} is not a flag of trtllm-build 1.2." + (f" Nearest: {near}" if near else ""),
        evidence=f"build.flags.{shown}",
        fix=f"Write {near}, or take it out." if near else "Take it out.",
        exit_code=2,
    )


def nearest_flag(name: str) -> str:
    """The flag that was most likely meant; "" when none is near."""
    asked = bare(name).lower().replace("-", "_")
    if not asked:
        return ""
    begun = [known for known in _by_name() if known.startswith(asked)]
    if len(begun) == 1:
        return begun[0]
    near = difflib.get_close_matches(asked, [*_by_name(), *_gone_by_name()], n=3, cutoff=0.6)
    return next((known for known in near if known in _by_name()), "")


def check_value(flag: Flag, value: Any) -> tuple[Value | None, FlagProblem | None]:
    """A value as given -> as trtllm-build takes it, or what is wrong with it.

    True and False become enable and disable where the flag takes those; one text does for a list of one. A switch
    keeps True and False.
    """
    taken = _taken(flag, value)
    if taken is None:
        return None, _wrong(flag, value)
    texts = taken if isinstance(taken, tuple) else (taken,) if isinstance(taken, str) else ()
    for text in texts:
        if text.startswith("-") or "\0" in text or not text.strip():
            return None, _wrong(flag, value)
        if flag.choices and text not in flag.choices:
            problem = _wrong(flag, text)
            if not flag.choices_open:
                return None, problem
            return taken, problem.model_copy(update={"blocks": False, "code": "unlisted-flag-value"})
    return taken, None


def _taken(flag: Flag, value: Any) -> Value | None:
    if flag.type == "switch":
        return value if isinstance(value, bool) else None
    if flag.type == "integer":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole and (flag.minimum is None or value >= flag.minimum) and value < 2**31 else None
    if flag.type == "texts":
        items: Sequence[Any] = [value] if isinstance(value, str) else value
        if isinstance(items, list | tuple) and items and all(isinstance(item, str) for item in items):
            return tuple(items)
        return None
    if isinstance(value, bool):
        return _ENABLE[0 if value else 1] if flag.is_toggle else None
    return value if isinstance(value, str) else None


def _wrong(flag: Flag, value: Any) -> FlagProblem:
    shown = repr(value)
    shown = shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 1] + "…"
    what = f"--{flag.name} is {shown}, but must be {flag.wants}."
    if isinstance(value, str) and flag.choices:
        near = difflib.get_close_matches(_spoken(value), flag.choices, n=1, cutoff=0.4)
        what += f" Nearest: {near[0]}" if near else ""
    return FlagProblem(
        code="bad-flag-value",
        flag=flag.name,
        what=what,
        evidence=f"build.flags.{flag.name}",
        fix=f"{flag.name}: {flag.help}.",
        exit_code=2,
    )


def _spoken(value: str) -> str:
    """Other ways to say a choice: `fp16`, `bf16`, `on`."""
    said = value.lower()[:_MAX_SHOWN]
    words = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32", "float": "float32"}
    words |= {"on": "enable", "true": "enable", "yes": "enable", "enabled": "enable"}
    words |= {"off": "disable", "false": "disable", "no": "disable", "none": "disable", "disabled": "disable"}
    return words.get(said, said)


def settings_of(settings: Settings) -> tuple[dict[str, Value], list[FlagProblem]]:
    """Settings as given -> flags by their proper names with values as trtllm-build takes them, in the table's order,
    and all that is wrong. What is wrong is left out of the flags."""
    found: dict[str, Value] = {}
    problems: list[FlagProblem] = []
    for name, given in settings.items():
        if given is None:
            continue
        flag = find_flag(str(name))
        if flag is None:
            problems.append(unknown_flag(str(name)))
            continue
        value, problem = check_value(flag, given)
        if problem is not None:
            problems.append(problem)
        if value is None:
            continue
        if flag.name in found and found[flag.name] != value:
            problems.append(
                FlagProblem(
                    code="flag-said-twice",
                    flag=flag.name,
                    what=f"--{flag.name} is given twice, as {found[flag.name]!r} and as {bare(str(name))} {value!r}.",
                    evidence=f"build.flags.{flag.name}",
                    fix=f"Keep {flag.name} alone.",
                    exit_code=2,
                )
            )
            continue
        found[flag.name] = value
    return {flag.name: found[flag.name] for flag in flag_table() if flag.name in found}, problems
