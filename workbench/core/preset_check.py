"""Refusing a preset in words: file, line, the key as written, what is wanted and the nearest right name."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from workbench.core.errors import BadInputError
from workbench.core.preset_schema import CONFLICT, Preset
from workbench.core.toml_words import KeyPath as KeyPath
from workbench.core.toml_words import Origin as Origin
from workbench.core.toml_words import clean as clean
from workbench.core.toml_words import dotted as dotted
from workbench.core.toml_words import key_lines as key_lines
from workbench.core.toml_words import line_of as line_of
from workbench.core.toml_words import looks_secret as looks_secret
from workbench.core.toml_words import show_value as show_value
from workbench.core.toml_words import shown_argv as shown_argv

_SPOKEN = {
    "float32": "fp32",
    "float16": "fp16",
    "f16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "u8": "int8",
    "w8a16": "int8",
    "w4a16": "int4",
    "w8a8": "int8_sq",
    "smoothquant": "int8_sq",
    "awq": "int4_awq",
    "gptq": "int4_gptq",
    "fp4": "nvfp4",
    "tensorrt": "tensorrt_llm",
    "trtllm": "tensorrt_llm",
    "trt-llm": "tensorrt_llm",
    "tensorrt-rtx": "tensorrt_rtx",
    "trt-rtx": "tensorrt_rtx",
    "trtrtx": "tensorrt_rtx",
    "rtx": "tensorrt_rtx",
    "onnx": "onnxruntime",
    "onnxruntime-genai": "onnxruntime",
    "ort": "onnxruntime",
    "torch": "pytorch",
}
"""Other names that people use for a choice."""

# --- the schema as keys ---


@functools.cache
def known_keys() -> Mapping[KeyPath, bool]:
    """All keys of a preset -> whether it is a table."""
    keys: dict[KeyPath, bool] = {("schema",): False}
    for name, field in Preset.model_fields.items():
        kind = field.annotation
        is_table = isinstance(kind, type) and issubclass(kind, BaseModel)
        keys[(name,)] = is_table
        if is_table and isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= {(name, inner): False for inner in kind.model_fields}
    return keys


def is_free(path: KeyPath) -> bool:
    """Whether this is a flag of the toolchain: a key below `build.flags`."""
    return len(path) > 2 and path[:2] == ("build", "flags")


def nearest_key(path: Sequence[str], *, table: bool = False) -> str:
    """The key (or table) that was most likely meant by an unknown one; "" when none is near."""
    asked = [part.lower().replace("-", "_")[:80] for part in path]
    in_known_table = len(path) > 1 and known_keys().get((path[0],), False)
    best, best_score = "", 0.0
    for known, is_table in known_keys().items():
        if is_table != table:
            continue
        name = _likeness(asked[-1], known[-1])
        whole = 0.0 if in_known_table else _likeness(".".join(asked), ".".join(known))
        # The right name in the wrong table counts for more than a name that is like it in the right one.
        score = 0.8 * name + 0.2 * _likeness("".join(asked[:-1]), "".join(known[:-1])) if name >= 0.6 else 0.0
        score = max(score, whole if whole >= 0.7 else 0.0)
        if score > best_score:
            best, best_score = ".".join(known), score
    return best


def _likeness(one: str, other: str) -> float:
    """0 to 1: 1 for equal texts."""
    return 1.0 if one == other else difflib.SequenceMatcher(None, one, other).ratio()


@functools.cache
def _json_schema() -> dict[str, Any]:
    return Preset.model_json_schema()


def field_schema(path: KeyPath) -> dict[str, Any]:
    """The JSON schema of a key; {} for an unknown one."""
    node: dict[str, Any] = _json_schema()
    for part in path:
        node = _resolved(node).get("properties", {}).get(part, {})
    return node


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if len(node.get("allOf", [])) == 1:  # how Pydantic up to 2.8 writes a reference that has siblings
        node = node["allOf"][0]
    if "$ref" in node:
        name = str(node["$ref"]).rsplit("/", 1)[-1]
        return dict(_json_schema()["$defs"][name])
    return node


def _alternatives(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [_resolved(part) for part in node.get("anyOf", [node])]


def is_optional(path: KeyPath) -> bool:
    """Whether the key may be left empty (None)."""
    return any(part.get("type") == "null" for part in _alternatives(field_schema(path)))


def choices(path: KeyPath) -> list[Any]:
    """The values that a key can have where they are few; [] where they are not."""
    return [value for part in _alternatives(field_schema(path)) for value in part.get("enum", [])]


def wanted(path: KeyPath) -> str:
    """In words, what a key takes: `a whole number from 1 to 64`."""
    if is_free(path):
        return "text, a number, true or false, or a list of them"
    said = [_wanted_one(part) for part in _alternatives(field_schema(path))]
    return " or ".join(text for text in said if text)


def _wanted_one(node: dict[str, Any]) -> str:
    if "enum" in node:
        return "one of " + ", ".join(show_value(value) for value in node["enum"])
    if "const" in node:
        return show_value(node["const"])
    kind = node.get("type")
    low = node.get("minimum", node.get("exclusiveMinimum"))
    span = ""
    if low is not None and "maximum" in node:
        span = f" {'above' if 'exclusiveMinimum' in node else 'from'} {low:g} to {node['maximum']:g}"
        if kind == "integer":
            span = f" from {low} to {node['maximum']}"
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "object": "a table",
    }
    if kind == "string":
        return f"text of at most {node['maxLength']} characters" if "maxLength" in node else "text"
    if kind == "array":
        return "a list of text, not empty"
    return words[kind] + span if kind in words else ""


def _kind_of(value: Any) -> str:
    """Name of a value's kind in brackets, where seeing the value does not tell it."""
    return " (text)" if isinstance(value, str) else ""


# --- from Pydantic's errors to words ---


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the key, a sentence, what to do. `has_line`: the key stands in the text."""

    path: KeyPath
    what: str
    fix: str
    has_line: bool = True


def validate(data: Mapping[str, Any], origin: Origin) -> Preset:
    """Data without `schema` -> Preset. Raises BadInputError: the first problem, others as evidence."""
    try:
        return Preset.model_validate(data)
    except ValidationError as error:
        raise refusal(list(problems_of(error, data)), origin) from None


def refusal(problems: Sequence[Problem], origin: Origin) -> BadInputError:
    """All problems as one error: the first in full, the others as evidence."""

    def say(problem: Problem) -> str:
        return f"{origin.at(problem.path) if problem.has_line else origin.name}: {problem.what}"

    first, others = problems[0], problems[1:]
    more = [say(problem) for problem in others[:4]]
    if len(others) > 4:
        more.append(f"and {len(others) - 4} more")
    return BadInputError(say(first), evidence=" · ".join(more), fix=first.fix, code="bad-preset")


def unknown_key(path: KeyPath, value: Any = None) -> Problem:
    """The problem of a key that presets do not have."""
    table = isinstance(value, dict)
    near = nearest_key(path, table=table) or (nearest_key(path) if table else "")
    what = f"{dotted(path)} is not a preset {'table' if table else 'key'}."
    if near:
        return Problem(path, f"{what} Nearest: {near}", f"Write {near}, or take it out.")
    return Problem(path, what, "Take it out.")


def wrong_value(path: KeyPath, value: Any) -> Problem:
    """The problem of a value that its key does not take."""
    secret = is_free(path) and looks_secret(path[-1])
    shown = "a value that is not shown here" if secret else show_value(value) + _kind_of(value)
    what = f"{dotted(path)} is {shown}, but must be {wanted(path)}."
    if isinstance(value, str):
        names = [choice for choice in choices(path) if isinstance(choice, str)]
        spoken = _SPOKEN.get(value.lower())
        near = [spoken] if spoken in names else difflib.get_close_matches(value.lower()[:40], names, 1, 0.4)
        if near:
            what += f" Nearest: {near[0]}"
    return Problem(path, what, _help(path))


def _help(path: KeyPath) -> str:
    text = str(field_schema(path[:2]).get("description", ""))
    return f"{dotted(path[:2])}: {text}" if text else ""


def problems_of(error: ValidationError, data: Mapping[str, Any], *, rules: bool = True) -> Iterator[Problem]:
    """One problem a key, in the order of the schema; alternatives of a union count once.

    Without `rules`, those that lie among several keys are left out.
    """
    seen: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        loc = tuple(str(part) for part in detail["loc"])
        kind = detail["type"]
        if kind == CONFLICT:
            context = detail.get("ctx", {})
            if context["key"] and not rules:
                continue
            path = (*loc, context["key"]) if context["key"] else loc
            yield Problem(path, f"{context['message']}.", _help(path))
            continue
        if kind == "extra_forbidden":
            yield unknown_key(loc, detail["input"])
            continue
        path = _key_of(loc)
        if path in seen:
            continue
        seen.add(path)
        if kind == "missing":
            what = f"{dotted(path)} is missing; it must be {wanted(path)}."
            if known_keys().get(path):
                what = f"the table [{dotted(path)}] is missing."
            yield Problem(path, what, _help(path), has_line=False)
        else:
            yield wrong_value(path, _value_at(data, path))


def _key_of(loc: KeyPath) -> KeyPath:
    """A Pydantic location without the parts that name a union's alternative or a place in a list."""
    if is_free(loc):
        return loc[:3]
    keys = known_keys()
    for end in range(len(loc), 0, -1):
        if loc[:end] in keys:
            return loc[:end]
    return loc


def _value_at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data
