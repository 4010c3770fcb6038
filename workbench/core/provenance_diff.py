"""What differs between two artefacts' provenance, and only that: settings, versions, inputs, machines, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core.artifact import Provenance, StepRecord

ABSENT = ""
"""A side that lacks the entry."""


@dataclass(frozen=True)
class Difference:
    """One entry that is not the same on both sides, each as text; ABSENT where a side lacks it."""

    section: str
    name: str
    first: str
    second: str


def differences(first: Provenance, second: Provenance) -> tuple[Difference, ...]:
    """Entries that differ, in order of the sections. Times and folders that only say when and where are left out
    of the steps; the files are compared by their SHA-256."""
    left, right = _facts(first), _facts(second)
    found = []
    for key in dict.fromkeys([*left, *right]):
        one, other = left.get(key, ABSENT), right.get(key, ABSENT)
        if one != other:
            found.append(Difference(key[0], key[1], one, other))
    seen = list(dict.fromkeys(each.section for each in found))
    place = {name: (_SECTIONS.index(name.split(" ")[0]), number) for number, name in enumerate(seen)}
    return tuple(sorted(found, key=lambda each: place[each.section]))


_SECTIONS = ("Engine", "Preset", "Model", "Machine", "Step", "Result", "Files")
"""First words of the sections, in their order."""


def _facts(provenance: Provenance) -> dict[tuple[str, str], str]:
    facts: dict[tuple[str, str], str] = {}

    def put(section: str, value: Mapping[str, Any]) -> None:
        for name, text in flat(value).items():
            facts[section, name] = text

    put(
        "Engine",
        {
            "toolchain": provenance.toolchain,
            "precision": provenance.precision,
            "preset": provenance.preset_id,
            "workbench": provenance.workbench,
        },
    )
    put("Preset", {k: v for k, v in provenance.preset.items() if k not in ("title", "description", "goal", "schema")})
    if provenance.model is not None:
        put("Model", provenance.model.model_dump(exclude={"path"}))
    put("Machine", provenance.machine.model_dump(exclude={"memory_bytes", "cpu"}))
    for name, step in _numbered(provenance.steps):
        put(f"Step {name}", {"command": " ".join(step.argv), "settings": step.settings, "versions": step.versions})
        put(f"Result of {name}", step.result)
    for entry in provenance.files:
        facts["Files (SHA-256)", entry.path] = entry.sha256[:16]
    return facts


def _numbered(steps: Sequence[StepRecord]) -> list[tuple[str, StepRecord]]:
    """Steps by their kind, so that those of two precisions stand beside each other; a second one gets a number."""
    seen: dict[str, int] = {}
    named = []
    for step in steps:
        seen[step.kind] = seen.get(step.kind, 0) + 1
        named.append((step.kind if seen[step.kind] == 1 else f"{step.kind} {seen[step.kind]}", step))
    return named


def flat(value: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested values as `a.b` -> text; lists are joined with commas."""
    found: dict[str, str] = {}
    for key, entry in value.items():
        name = f"{before}{key}"
        if isinstance(entry, Mapping):
            found |= flat(entry, f"{name}.")
        elif isinstance(entry, list | tuple):
            found[name] = ", ".join(str(one) for one in entry)
        elif entry is not None:
            found[name] = str(entry)
    return found
