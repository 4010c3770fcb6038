"""The preset schema as a list of fields that a form can be made from, so that a new field needs no code of its own."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from workbench.core.precision import KvPrecision, Precision
from workbench.core.preset_check import KeyPath, Problem, field_schema, known_keys, problems_of
from workbench.core.preset_schema import Preset

FieldKind = Literal["choice", "switch", "whole", "number", "text", "path", "lines", "flags"]


@dataclass(frozen=True)
class PresetField:
    """One key of a preset: how it is called, what it takes, and what stands there when nothing was chosen."""

    path: KeyPath
    title: str
    help: str
    unit: str
    kind: FieldKind
    optional: bool
    """Whether it may be left empty; it is then None."""
    default: Any
    """As in `Preset.to_data()`; None for an empty one and for one that is required."""
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    """Whether the value must be above `low`, not equal to it."""
    rare: bool = False
    empty_words: str = ""
    """What an empty value means, in words: "the model's own"."""


@dataclass(frozen=True)
class FieldGroup:
    """A table of the preset; "" is the preset's own keys."""

    name: str
    title: str
    help: str
    fields: tuple[PresetField, ...]


@functools.cache
def preset_groups() -> tuple[FieldGroup, ...]:
    """All fields by table, in the order of the schema."""
    tables: list[FieldGroup] = []
    own: list[PresetField] = []
    for name, info in Preset.model_fields.items():
        if known_keys()[(name,)]:
            kind = info.annotation
            assert kind is not None
            inner = tuple(_field((name, key), sub) for key, sub in kind.model_fields.items())
            tables.append(FieldGroup(name, info.title or name, info.description or "", inner))
        else:
            own.append(_field((name,), info))
    return (FieldGroup("", "Preset", "", tuple(own)), *tables)


@functools.cache
def fields_by_path() -> Mapping[KeyPath, PresetField]:
    return {field.path: field for group in preset_groups() for field in group.fields}


def _field(path: KeyPath, info: FieldInfo) -> PresetField:
    parts = field_schema(path)
    alternatives = [_plain(part) for part in parts.get("anyOf", [parts])]
    named = [part for part in alternatives if part.get("type") != "null"]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    choices = _choices(named)
    first = named[0]
    low = first.get("minimum", first.get("exclusiveMinimum"))
    text = info.description or ""
    empty = re.search(r"None: ([^.]*)\.", text)
    default = None if info.is_required() or info.default_factory is not None else info.default
    return PresetField(
        path=path,
        title=info.title or path[-1],
        help=text,
        unit=str(extra.get("unit", "")),
        kind=_kind(first, choices, str(extra.get("kind", ""))),
        optional=len(named) < len(alternatives),
        default=getattr(default, "value", default),
        choices=choices,
        low=low,
        high=first.get("maximum"),
        open_low="exclusiveMinimum" in first,
        rare=bool(extra.get("rare", False)),
        empty_words=empty[1] if empty else "",
    )


def _plain(node: dict[str, Any]) -> dict[str, Any]:
    """Without the reference that enums are behind."""
    reference = node.get("$ref") or (node.get("allOf") or [{}])[0].get("$ref")
    if not reference:
        return node
    name = str(reference).rsplit("/", 1)[-1]
    found: dict[str, Any] = _definitions()[name]
    return found


@functools.cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = Preset.model_json_schema()["$defs"]
    return found


def _choices(named: list[dict[str, Any]]) -> tuple[Any, ...]:
    found: list[Any] = []
    for part in named:
        found += part.get("enum", [part["const"]] if "const" in part else [])
    if found and any(part.get("type") == "boolean" for part in named):
        found += [True, False]
    return tuple(found)


def _kind(node: dict[str, Any], choices: tuple[Any, ...], asked: str) -> FieldKind:
    if choices:
        return "choice"
    if asked == "path":
        return "path"
    kinds: dict[str, FieldKind] = {
        "boolean": "switch",
        "integer": "whole",
        "number": "number",
        "array": "lines",
        "object": "flags",
    }
    return kinds.get(str(node.get("type", "")), "text")


_CHOICE_WORDS: dict[KeyPath, Mapping[Any, str]] = {
    ("precision", "weights"): {p.value: p.title for p in Precision},
    ("precision", "kv_cache"): {p.value: p.title for p in KvPrecision},
    ("precision", "group_size"): {-1: "A whole channel"},
    ("precision", "method"): {"rtn": "Round to nearest", "awq": "AWQ", "gptq": "GPTQ"},
    ("build", "flags", "profiles"): {"prefill+decode": "Prefill and decode", "one": "One for both"},
    ("build", "flags", "device"): {"cpu": "CPU", "cuda": "CUDA"},
    ("build", "flags", "attention"): {"sdpa": "SDPA"},
    ("model", "converter"): {"modelopt": "ModelOpt", "tensorrt_llm": "TensorRT-LLM"},
}


def choice_words(field: PresetField, value: Any) -> str:
    """How a choice is called for people: "guaranteed_no_evict" is "Guaranteed no evict"."""
    known = _CHOICE_WORDS.get(field.path, {})
    if not isinstance(value, bool) and value in known:
        return known[value]
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if value == "auto":
        return "Automatic"
    if isinstance(value, str) and field.path[-1] not in ("gpu",):
        text = value.replace("_", " ").replace("-", " ")
        return text[:1].upper() + text[1:]
    return str(value)


def value_at(data: Mapping[str, Any], field: PresetField) -> Any:
    """The field's value in `Preset.to_data()`, its default where the data has none."""
    node: Any = data
    for part in field.path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return field.default if node is None else node


def with_values(preset: Preset, values: Mapping[KeyPath, Any]) -> tuple[Preset | None, tuple[Problem, ...]]:
    """The preset with values put over it; None clears a key. Either the new preset, or all that is wrong with it."""
    data = preset.to_data()
    del data["schema"]
    for path, value in values.items():
        table = data
        for part in path[:-1]:
            table = table.setdefault(part, {})
        if value is None:
            table.pop(path[-1], None)
        else:
            table[path[-1]] = value
    try:
        return Preset.model_validate(data).with_origin(preset.id, preset.source), ()
    except ValidationError as error:
        return None, tuple(problems_of(error, data))


def overrides_between(before: Preset, after: Preset) -> tuple[str, ...]:
    """The `--set` items that make `after` of `before`, in the order of the schema."""
    import json

    def words(value: Any) -> str:
        return "none" if value is None else json.dumps(value, ensure_ascii=False)

    old, new = before.to_data(), after.to_data()
    items = []
    for group in preset_groups():
        for field in group.fields:
            was, now = value_at(old, field), value_at(new, field)
            if was == now:
                continue
            name = ".".join(field.path)
            if field.kind == "flags":
                items += [f"{name}.{flag}={words(value)}" for flag, value in now.items() if was.get(flag) != value]
                items += [f"{name}.{flag}=" for flag in was if flag not in now]
            else:
                items.append(f"{name}={now if isinstance(now, str) else words(now)}")
    return tuple(items)
