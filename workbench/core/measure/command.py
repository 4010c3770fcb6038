"""Workloads and loads as a command line writes them, both ways: what a person typed, and the command that repeats a
run.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from workbench.core.errors import BadInputError
from workbench.core.measure.load import Limits, Load
from workbench.core.measure.workload import WORKLOADS, Lengths, Workload

_NUMBER = r"[0-9][0-9_,]*(?:\.[0-9]+)?"
_FORMS = "512, 128..1024, 512~64, lognormal:512~300 or 64,128,256"


def parse_lengths(text: str) -> Lengths:
    """`512` fixed, `128..1024` uniform, `512~64` normal (mean and standard deviation), `lognormal:512~300`,
    `64,128,256` drawn from. Raises BadInputError.
    """
    given = text.strip().replace(" ", "")
    try:
        if re.fullmatch(_NUMBER.replace(",", ""), given):
            return Lengths(kind="fixed", mean=_number(given))
        if match := re.fullmatch(rf"({_NUMBER})\.\.({_NUMBER})", given):
            return Lengths(kind="uniform", low=int(_number(match[1])), high=int(_number(match[2])))
        if match := re.fullmatch(rf"(normal:|lognormal:)?({_NUMBER})~({_NUMBER})", given):
            kind = "lognormal" if match[1] == "lognormal:" else "normal"
            return Lengths(kind=kind, mean=_number(match[2]), stdev=_number(match[3]))
        if "," in given:
            return Lengths(kind="values", values=tuple(int(part) for part in given.split(",") if part))
    except (ValueError, ValidationError) as error:
        raise _bad_lengths(text, _reason(error)) from error
    raise _bad_lengths(text, "")


def lengths_text(lengths: Lengths) -> str:
    """What `parse_lengths` reads as the same. Limits that only a file can say are left out."""
    if lengths.kind == "uniform":
        return f"{lengths.low}..{lengths.high}"
    if lengths.kind == "values":
        return ",".join(str(value) for value in lengths.values) + ("," if len(lengths.values) == 1 else "")
    if lengths.kind == "fixed":
        return f"{lengths.mean:g}"
    head = "lognormal:" if lengths.kind == "lognormal" else ""
    return f"{head}{lengths.mean:g}~{lengths.stdev:g}"


def parse_levels(text: str, name: str) -> tuple[float, ...]:
    """`1,8,32`, or `1..128` for doubling from one to the other. Raises BadInputError."""
    given = text.strip().replace(" ", "")
    try:
        if match := re.fullmatch(r"([0-9.]+?)\.\.([0-9.]+)", given):
            low, high = float(match[1]), float(match[2])
            if not 0 < low <= high:
                raise ValueError
            steps = [low * 2**n for n in range(int(math.log2(high / low)) + 1)]
            return tuple(steps if steps[-1] == high else [*steps, high])
        levels = tuple(float(part) for part in given.split(",") if part)
        if not levels or any(not math.isfinite(level) or level <= 0 for level in levels):
            raise ValueError
    except ValueError as error:
        raise BadInputError(
            f"{name} is not a list of numbers above 0.",
            evidence=f"{name} {text!r}",
            fix=f"Write {name} 1,8,32, or {name} 1..128 for every doubling.",
            code="bad-levels",
        ) from error
    return tuple(dict.fromkeys(levels))


@dataclass(frozen=True)
class Typed:
    """Options as they were given; None: not given."""

    workload: str = "chat"
    input: str | None = None
    output: str | None = None
    file: str | None = None
    trace: str | None = None
    fixed_output: bool | None = None
    prefix: int | None = None
    prefix_groups: int | None = None
    distinct: int | None = None
    chat: bool | None = None
    temperature: float | None = None
    seed: int | None = None
    concurrency: str | None = None
    rate: str | None = None
    arrival: str | None = None
    speed: str | None = None
    duration_s: float | None = None
    requests: int | None = None
    warmup_s: float | None = None
    warmup_requests: int | None = None
    repeats: int | None = None
    timeout_s: float | None = None
    cancel_share: float | None = None
    ttft_limit_ms: float | None = None
    itl_limit_ms: float | None = None
    latency_limit_ms: float | None = None
    stop_saturated: bool | None = None
    drain_s: float | None = None


def workload_from(typed: Typed) -> Workload:
    """The workload: a shipped one, or one from a TOML file, changed by the options. Raises BadInputError."""
    base = _named(typed.workload)
    changes: dict[str, Any] = {
        "input": None if typed.input is None else parse_lengths(typed.input),
        "output": None if typed.output is None else parse_lengths(typed.output),
        "fixed_output": typed.fixed_output,
        "shared_prefix_tokens": typed.prefix,
        "prefix_groups": typed.prefix_groups,
        "prompts": typed.distinct,
        "chat": typed.chat,
        "temperature": typed.temperature,
        "seed": typed.seed,
    }
    if typed.file is not None and typed.trace is not None:
        raise _clash("--file", "--trace")
    for kind, path in (("file", typed.file), ("trace", typed.trace)):
        if path is not None:
            changes |= {"kind": kind, "file": str(Path(path).expanduser().absolute()), "name": Path(path).name}
    data = base.model_dump() | {name: value for name, value in changes.items() if value is not None}
    return _made(Workload, data, "The workload")


def load_from(typed: Typed, *, levels: tuple[float, ...] = (1.0, 8.0, 32.0), duration_s: float = 30.0) -> Load:
    """The load; `levels` and `duration_s` are taken where nothing is given. Raises BadInputError."""
    given = [
        name
        for name, value in (("--concurrency", typed.concurrency), ("--rate", typed.rate), ("--trace", typed.trace))
        if value is not None
    ]
    if len(given) > 1:
        raise _clash(given[0], given[1])
    data: dict[str, Any] = {"arrival": "closed", "levels": levels}
    if typed.concurrency is not None:
        data["levels"] = parse_levels(typed.concurrency, "--concurrency")
    elif typed.rate is not None:
        arrival = typed.arrival or "poisson"
        if arrival not in ("poisson", "constant"):
            raise BadInputError(
                "--arrival is poisson or constant.", evidence=f"--arrival {arrival}", code="bad-arrival"
            )
        data |= {"arrival": arrival, "levels": parse_levels(typed.rate, "--rate")}
    elif typed.trace is not None:
        data |= {"arrival": "trace", "levels": parse_levels(typed.speed or "1", "--speed")}
    if typed.arrival is not None and typed.rate is None:
        raise BadInputError("--arrival goes with --rate.", fix="Say --rate 2,4, too.", code="bad-arrival")
    if typed.duration_s is None and typed.requests is None and typed.trace is None:
        data["duration_s"] = duration_s
    limits = {"ttft_ms": typed.ttft_limit_ms, "itl_ms": typed.itl_limit_ms, "latency_ms": typed.latency_limit_ms}
    same = (
        "duration_s", "requests", "warmup_s", "warmup_requests", "repeats", "timeout_s", "cancel_share",
        "stop_saturated", "drain_s", "seed",
    )  # fmt: skip
    data |= {name: getattr(typed, name) for name in same if getattr(typed, name) is not None}
    data["limits"] = _made(Limits, {name: value for name, value in limits.items() if value is not None}, "The limits")
    return _made(Load, data, "The load")


def load_arguments(workload: Workload, load: Load) -> tuple[str, ...]:
    """The options that give the same workload and load again, nothing that is the default."""
    base = WORKLOADS.get(workload.name) or WORKLOADS["chat"]
    found: list[str] = []

    def say(option: str, value: Any) -> None:
        found.extend((option, f"{value:g}" if isinstance(value, float) else str(value)))

    if workload.kind in ("file", "trace"):
        say(f"--{workload.kind}", workload.file)
    else:
        say("--workload", base.name)
    own = workload.kind in ("file", "trace")
    chat = WORKLOADS["chat"] if own else base
    if workload.input != chat.input:
        say("--input", lengths_text(workload.input))
    if workload.output != chat.output:
        say("--output", lengths_text(workload.output))
    for option, name in (
        ("--prefix", "shared_prefix_tokens"),
        ("--prefix-groups", "prefix_groups"),
        ("--distinct", "prompts"),
        ("--temperature", "temperature"),
    ):
        if getattr(workload, name) != getattr(chat, name):
            say(option, getattr(workload, name))
    if workload.fixed_output != chat.fixed_output:
        found.append("--fixed-output" if workload.fixed_output else "--no-fixed-output")
    if workload.chat != chat.chat:
        found.append("--chat" if workload.chat else "--raw")
    levels = ",".join(f"{level:g}" for level in load.levels)
    if load.arrival == "closed":
        say("--concurrency", levels)
    elif load.arrival == "trace":
        say("--speed", levels)
    else:
        say("--rate", levels)
        say("--arrival", load.arrival)
    usual = Load(duration_s=1.0)
    for option, name in (
        ("--duration", "duration_s"),
        ("--requests", "requests"),
        ("--warmup", "warmup_s"),
        ("--warmup-requests", "warmup_requests"),
        ("--repeats", "repeats"),
        ("--timeout", "timeout_s"),
        ("--cancel", "cancel_share"),
        ("--drain", "drain_s"),
    ):
        value = getattr(load, name)
        if value is not None and (name == "duration_s" or value != getattr(usual, name)):
            say(option, value)
    for option, limit in (
        ("--ttft-limit", load.limits.ttft_ms),
        ("--itl-limit", load.limits.itl_ms),
        ("--latency-limit", load.limits.latency_ms),
    ):
        if limit is not None:
            say(option, limit)
    if not load.stop_saturated:
        found.append("--keep-going")
    if workload.seed != usual.seed or load.seed != usual.seed:
        say("--seed", workload.seed)
    return tuple(found)


def bench_command(
    engines: Sequence[str],
    workload: Workload,
    load: Load,
    *,
    alternated: bool = False,
    overrides: Sequence[str] = (),
) -> tuple[str, ...]:
    """`workbench bench ...` that measures the same again."""
    more = ["--ab"] if alternated else []
    for override in overrides:
        more += ["--set", override]
    return ("workbench", "bench", *engines, *load_arguments(workload, load), *more)


def _named(name: str) -> Workload:
    if name in WORKLOADS:
        return WORKLOADS[name]
    path = Path(name).expanduser()
    if path.suffix == ".toml" and path.is_file():
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadInputError(
                f"The workload file cannot be read: {path}", evidence=str(error), code="bad-workload"
            ) from error
        if data.get("file") and not Path(str(data["file"])).is_absolute():
            data["file"] = str(path.parent.absolute() / str(data["file"]))
        return _made(Workload, {"name": path.stem, **data}, f"The workload file {path.name}")
    raise BadInputError(
        f"There is no workload called {name!r}.",
        evidence=f"shipped: {', '.join(WORKLOADS)}",
        fix="Name one of these, or a .toml file; --file takes prompts of your own.",
        code="no-such-workload",
    )


_M = TypeVar("_M", bound=BaseModel)


def _made(kind: type[_M], data: dict[str, Any], what: str) -> _M:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(
            f"{what} makes no sense.",
            evidence=f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}",
            code="bad-load",
        ) from error


def _number(text: str) -> float:
    return float(text.replace("_", "").replace(",", ""))


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
    return str(error)


def _bad_lengths(text: str, why: str) -> BadInputError:
    return BadInputError(
        "That is not a length in tokens.",
        evidence=f"{text!r}{': ' + why if why else ''}",
        fix=f"Write {_FORMS}.",
        code="bad-lengths",
    )


def _clash(first: str, second: str) -> BadInputError:
    return BadInputError(f"{first} and {second} exclude each other.", fix="Give one of them.", code="clash")
