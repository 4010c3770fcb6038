"""What is known of a build while its flags are checked, and the form of a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.core.precision import KvPrecision, Precision
from workbench.toolchains.tensorrt_llm.flag_table import FlagProblem, Value, find_flag


@dataclass(frozen=True)
class Case:
    """What is known of a build. `given` are the flags that were set, `value` fills in defaults."""

    given: dict[str, Value]
    capability: tuple[int, int] | None
    precision: Precision | None
    kv_cache: KvPrecision
    architecture: str | None
    ranks: int
    tp: int
    gpus: int | None

    def value(self, name: str) -> Any:
        if name in self.given:
            return self.given[name]
        flag = find_flag(name)
        return flag.default if flag else None

    def number(self, name: str) -> int | None:
        value = self.value(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def is_on(self, name: str) -> bool:
        """Whether the flag was set, and to something that switches it on."""
        return name in self.given and self.given[name] not in (False, "disable", "disabled", 0)

    def family(self, *names: str) -> bool | None:
        """Whether the architecture is one of these; None when it is not known."""
        return None if self.architecture is None else self.architecture.startswith(names)


def problem(
    case: Case,
    name: str,
    code: str,
    what: str,
    fix: str,
    *,
    blocks: bool = True,
    exit_code: int = 2,
    evidence: str = "",
) -> FlagProblem:
    default = "" if name in case.given else " (default)"
    return FlagProblem(
        code=code,
        flag=name,
        what=what,
        evidence=evidence or f"--{name} {shown(case.value(name))}{default}",
        fix=fix,
        blocks=blocks,
        exit_code=exit_code,
    )


def shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "set" if value else "not set"
    return " ".join(value) if isinstance(value, tuple) else str(value)
