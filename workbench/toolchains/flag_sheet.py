"""A toolchain's build flags as a preset sets them, in rows that front ends show without knowing the toolchain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.core.preset import Preset
from workbench.core.preset_schema import LimitsTable, ParallelTable, PrecisionTable
from workbench.toolchains.tensorrt_llm.flag_rules import check_flags
from workbench.toolchains.tensorrt_llm.flag_table import (
    Flag,
    FlagProblem,
    bare,
    find_flag,
    flag_table,
    settings_of,
    unknown_flag,
)
from workbench.toolchains.tensorrt_llm.flags import OWN_FLAGS, settings_from_preset

__all__ = [
    "FlagKind",
    "FlagProblem",
    "FlagRow",
    "flag_problems",
    "flag_sheet",
    "value_words",
    "with_flag",
    "without_flags",
]

FlagKind = Literal["switch", "choice", "integer", "text", "texts", "path", "unknown"]
"""As flag_table.FlagType; `unknown` is a name that the preset has and the toolchain does not."""
_SAID = {True: "enable", False: "disable"}
"""How the program writes a toggle that a preset may write as true or false."""


@dataclass(frozen=True)
class FlagRow:
    """One flag of the build, with what the preset makes of it."""

    name: str
    kind: FlagKind
    value: Any
    """What the build gets, as the preset writes it; None: not set."""
    default: Any
    """The program's own; None: not set."""
    default_words: str
    help: str
    group: str = ""
    changed: bool = False
    """Whether value and default differ."""
    from_flags: bool = False
    """Whether [build.flags] of the preset names it."""
    set_by: str = ""
    """Title of the preset's other setting that the value comes from; empty: [build.flags], or the default."""
    inherited: Any = None
    """What it would be without [build.flags]: that other setting's value, else the default."""
    locked: str = ""
    """Why it cannot be set in [build.flags] and where it can; empty: it can."""
    choices: tuple[str, ...] = ()
    choices_open: bool = False
    """Whether other values than `choices` are taken too."""
    wants: str = ""
    """What a value must be, in words."""
    unit: str = ""
    note: str = ""


def flag_sheet(preset: Preset) -> tuple[FlagRow, ...]:
    """Every flag of the preset's toolchain, in its own order, after names that are none; empty for a toolchain whose
    build has no flags. Wrong values are kept as they are: `flag_problems` tells them."""
    if preset.toolchain != "tensorrt_llm":
        return ()
    given: dict[str, Any] = {}
    unknown = []
    for name, value in preset.build.flags.items():
        flag = find_flag(name)
        if flag is not None:
            given.setdefault(flag.name, value)
        elif bare(name) not in given:
            unknown.append(_unknown_row(name, value))
    inherited = _inherited(preset)
    return (*unknown, *(_row(flag, given, inherited) for flag in flag_table()))


def flag_problems(
    preset: Preset, *, compute_capability: tuple[int, int] | None = None, architecture: str | None = None
) -> tuple[FlagProblem, ...]:
    """All that is wrong with a preset's flags, those that block first.

    `compute_capability` is the GPU's that builds, `architecture` the model's (config.json); None: not known, and not
    judged.
    """
    if preset.toolchain != "tensorrt_llm":
        return ()
    valid, problems = settings_of(preset.build.flags)
    for name in list(valid):
        if locked := _locked(name):
            problems.append(_locked_problem(name, locked))
            del valid[name]
    found = check_flags(
        {**_inherited(preset), **valid},
        compute_capability,
        preset.precision.weights,
        kv_cache=preset.precision.kv_cache,
        architecture=architecture,
        tp=preset.parallel.tp,
        pp=preset.parallel.pp,
    )
    # What the precision is refused for is no flag's fault, and said where the precision is chosen.
    problems += [problem for problem in found if problem.code != "not-supported"]
    return tuple(sorted(problems, key=lambda problem: not problem.blocks))


def with_flag(preset: Preset, name: str, value: Any | None) -> Preset:
    """The preset with a flag of [build.flags] set, or for None taken out, under whichever of its names it was there.

    A value that the build would get without it is taken out too. The value is not checked: `flag_problems` does.
    """
    flag = find_flag(name)
    flags = {
        known: kept
        for known, kept in preset.build.flags.items()
        if known != name and (flag is None or find_flag(known) != flag)
    }
    if value is not None:
        without = _inherited(preset).get(flag.name, flag.default) if flag is not None else None
        if not _same(value, without):
            flags[flag.name if flag is not None else name] = value
    return preset.model_copy(update={"build": preset.build.model_copy(update={"flags": flags})})


def without_flags(preset: Preset) -> Preset:
    """The preset with an empty [build.flags]."""
    return preset.model_copy(update={"build": preset.build.model_copy(update={"flags": {}})})


def _inherited(preset: Preset) -> dict[str, Any]:
    """Flags that the preset's other settings set."""
    return dict(settings_from_preset(without_flags(preset)))


def _row(flag: Flag, given: Mapping[str, Any], inherited: Mapping[str, Any]) -> FlagRow:
    without = inherited.get(flag.name, flag.default)
    value = given.get(flag.name, without)
    if flag.is_toggle and isinstance(value, bool):
        value = _SAID[value]
    default_words = flag.default_note or "not set" if flag.default is None else _words(flag.default)
    return FlagRow(
        name=flag.name,
        kind=flag.type,
        value=value,
        default=flag.default,
        default_words=default_words,
        help=flag.help,
        group=flag.group,
        changed=not _same(value, flag.default),
        from_flags=flag.name in given,
        set_by=_setter(flag.name) if flag.name in inherited and flag.name not in given else "",
        inherited=without,
        locked=_locked(flag.name),
        choices=flag.choices,
        choices_open=flag.choices_open,
        wants=flag.wants,
        unit=flag.unit,
        note=flag.note,
    )


def _unknown_row(name: str, value: Any) -> FlagRow:
    problem = unknown_flag(name)
    return FlagRow(name, "unknown", value, None, "", problem.what, changed=True, from_flags=True, locked=problem.fix)


def _same(value: Any, other: Any) -> bool:
    """Whether two values say the same to the build: true is enable, and a list may be a tuple."""

    def plain(each: Any, beside: Any) -> Any:
        if isinstance(each, bool) and isinstance(beside, str):
            return _SAID[each]
        return tuple(each) if isinstance(each, list) else each

    one, two = plain(value, other), plain(other, value)
    return type(one) is type(two) and bool(one == two)


def _setter(name: str) -> str:
    """Title of the setting of a preset that a flag follows."""
    if name in LimitsTable.model_fields:
        return str(LimitsTable.model_fields[name].title)
    if name == "workers":
        return str(ParallelTable.model_fields["tp"].title)
    # Attention follows from the precision of the cache, the plugin of NVFP4 from that of the weights.
    return str(PrecisionTable.model_fields["weights" if name == "gemm_plugin" else "kv_cache"].title)


def _locked(name: str) -> str:
    if name in OWN_FLAGS:
        return f"Not the preset's to set: {OWN_FLAGS[name]}."
    if name in LimitsTable.model_fields:
        return f"Set it with {LimitsTable.model_fields[name].title} in the engine limits (limits.{name})."
    return ""


def _locked_problem(name: str, locked: str) -> FlagProblem:
    return FlagProblem(
        code="flag-set-elsewhere",
        flag=name,
        what=f"--{name} cannot stand among the flags. {locked}",
        evidence=f"build.flags.{name}",
        fix="Take it out.",
        exit_code=2,
    )


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)


def value_words(value: Any) -> str:
    """A flag's value as people read it; empty for one that is not set."""
    return "" if value is None else _words(value)
