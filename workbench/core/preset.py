"""Presets on disk and on the command line: read, find, list, override and save them.

The schema is workbench.core.preset_schema; how a preset is refused is workbench.core.preset_check.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import re
import secrets
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.core.data import data_folder
from workbench.core.errors import BadInputError, Failure, WorkbenchError
from workbench.core.older_file import keep_older
from workbench.core.precision import Precision
from workbench.core.preset_check import (
    KeyPath,
    Origin,
    Problem,
    clean,
    dotted,
    is_free,
    is_optional,
    known_keys,
    looks_secret,
    problems_of,
    refusal,
    show_value,
    unknown_key,
    validate,
)
from workbench.core.preset_schema import SCHEMA_VERSION, Preset, migrate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "MAX_PRESET_BYTES",
    "SCHEMA_VERSION",
    "BrokenPreset",
    "Preset",
    "PresetList",
    "apply_overrides",
    "find_preset",
    "gallery_folders",
    "is_preset_id",
    "list_presets",
    "load_preset",
    "parse_preset",
    "preset_from_data",
    "preset_id_of",
    "preset_to_toml",
    "save_preset",
]

MAX_PRESET_BYTES = 256 * 1024
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_preset_id(name: str) -> bool:
    """Whether a preset can have this id: its file's name without `.toml`."""
    return _ID.fullmatch(name) is not None


def parse_preset(text: str, source: str | Path, *, preset_id: str = "") -> Preset:
    """TOML text -> Preset. `source` is how messages call it.

    Raises BadInputError naming source, line, key and the nearest right name.
    """
    name = clean(str(source), 300)
    data = _parse_toml(text, name)
    return _from_data(data, Origin(name, text)).with_origin(preset_id, None)


def preset_from_data(data: Mapping[str, Any], *, name: str = "preset", preset_id: str = "") -> Preset:
    """The inverse of Preset.to_data(), for presets kept in plans and forms. Raises BadInputError."""
    return _from_data(dict(data), Origin(clean(name, 300))).with_origin(preset_id, None)


def load_preset(path: Path) -> Preset:
    """Read a preset file; its id is that of `preset_id_of`. Raises BadInputError."""
    path = Path(path)
    preset = parse_preset(_read(path), path)
    return preset.with_origin(preset_id_of(path), path)


def preset_id_of(path: Path) -> str:
    """The id of a preset by its file: the name without `.toml`, or without `.preset.toml`, by which desktops know
    presets among other TOML files."""
    return path.stem.removesuffix(".preset") or path.stem


def _read(path: Path) -> str:
    shown = clean(str(path), 300)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise BadInputError(
                f"{shown} is a folder, not a preset file.",
                fix="Name a .toml file, or a preset by its id: `workbench presets` lists them.",
                code="bad-preset",
            )
        if not stat.S_ISREG(mode):
            raise BadInputError(f"{shown} is not an ordinary file.", fix="Name a .toml file.", code="bad-preset")
        with path.open("rb") as file:
            raw = file.read(MAX_PRESET_BYTES + 1)
    except FileNotFoundError:
        raise BadInputError(
            f"There is no preset file {shown}.", fix="Check the path.", code="preset-not-found"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInputError(
            f"{shown} cannot be read: {reason}.", fix="Check the path and its permissions.", code="bad-preset"
        ) from None
    if len(raw) > MAX_PRESET_BYTES:
        raise BadInputError(
            f"{shown} is larger than {MAX_PRESET_BYTES // 1024} KiB, so it is not a preset.",
            fix="Check the path: a preset is a short TOML file.",
            code="bad-preset",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInputError(
            f"{shown}, line {line}: not UTF-8 text.",
            evidence=f"byte 0x{raw[error.start]:02x} at offset {error.start}",
            fix="Save the file as UTF-8.",
            code="bad-preset",
        ) from None


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = tomllib.loads(text)
        return data
    except RecursionError:
        raise BadInputError(f"{name}: nested too deeply to be a preset.", code="bad-preset") from None
    except ValueError as error:
        said = str(error)
        place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", said)
        lines = text.split("\n")
        number = int(place[1]) if place and place[1] else max(len(lines) - (lines[-1] == ""), 1)
        reason = clean(said[: place.start()] if place else said, 160)
        shown = lines[number - 1].strip() if number <= len(lines) else ""
        column = f" (column {place[2]})" if place and place[2] else ""
        raise BadInputError(
            f"{name}, line {number}: not TOML: {'' if looks_secret(reason) else reason}{column}.",
            evidence="" if looks_secret(shown) else clean(shown, 80),
            fix='Write key = value, with text in quotes: weights = "int8".',
            code="bad-preset",
        ) from None


def _from_data(data: dict[str, Any], origin: Origin) -> Preset:
    version = data.pop("schema", None)
    if version is None:
        raise BadInputError(
            f"{origin.name}: schema is missing; it says which version of presets the file is written for.",
            fix=f"Write schema = {SCHEMA_VERSION} as the first line.",
            code="bad-preset",
        )
    where = origin.at(("schema",))
    if isinstance(version, bool) or not isinstance(version, int):
        raise BadInputError(
            f"{where}: schema is {show_value(version)}, but must be a whole number.",
            fix=f"Write schema = {SCHEMA_VERSION}.",
            code="bad-preset",
        )
    try:
        data = migrate(data, version)
    except BadInputError as error:
        raise BadInputError(f"{where}: {error.what}", fix=error.fix, code=error.failure.code) from None
    return validate(data, origin)


# --- finding ---


@dataclass(frozen=True)
class BrokenPreset:
    """A file in a gallery that is not a preset."""

    path: Path
    failure: Failure


@dataclass(frozen=True)
class PresetList:
    """What the folders hold: presets by id, and beside them the files that cannot be used."""

    presets: tuple[Preset, ...]
    broken: tuple[BrokenPreset, ...]


def gallery_folders() -> tuple[Path, ...]:
    """Where the shipped presets are; empty when there are none."""
    try:
        return (data_folder("presets"),)
    except BadInputError:
        return ()


def _files(folders: Sequence[Path]) -> dict[str, Path]:
    """Preset files by id; the first folder that has an id wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            paths = Path(folder).glob("*.toml")
            for path in sorted(paths, key=lambda path: (path.stem.endswith(".preset"), path.name)):
                if not path.name.startswith("."):
                    found.setdefault(preset_id_of(path), path)
    return found


def list_presets(folders: Sequence[Path] | None = None) -> PresetList:
    """All presets of the folders (by default the shipped gallery), by id. A bad file raises nothing."""
    good: list[Preset] = []
    broken: list[BrokenPreset] = []
    for _, path in sorted(_files(gallery_folders() if folders is None else folders).items()):
        try:
            good.append(load_preset(path))
        except WorkbenchError as error:
            broken.append(BrokenPreset(path, error.failure))
    return PresetList(tuple(good), tuple(broken))


def find_preset(id_or_path: str | Path, folders: Sequence[Path] | None = None) -> Preset:
    """A preset by its id in `folders` (the shipped gallery by default), or by the path of its file.

    What has a slash or ends in `.toml` is a path. Raises BadInputError, with the id nearest to an unknown.
    """
    asked = str(id_or_path)
    if isinstance(id_or_path, Path) or "/" in asked or asked.endswith(".toml"):
        return load_preset(Path(asked).expanduser() if asked.startswith("~/") else Path(asked))
    files = _files(gallery_folders() if folders is None else folders)
    if asked in files:
        return load_preset(files[asked])
    near = difflib.get_close_matches(asked.lower()[:100], list(files), n=1, cutoff=0.4)
    raise BadInputError(
        f'There is no preset "{clean(asked, 80)}".' + (f" Nearest: {near[0]}" if near else ""),
        evidence=f"presets: {', '.join(sorted(files)) or 'none found'}",
        fix="Name one of these, or the path of a .toml file.",
        code="preset-not-found",
    )


# --- overriding ---


def apply_overrides(preset: Preset, overrides: Sequence[str]) -> Preset:
    """The preset with `key=value` items put over it, as in `precision.weights=int4`; the last of a key wins.

    A value is read as TOML, then as bare text, whichever its key takes; `none` clears an optional key, and nothing
    after the `=` takes a flag of [build.flags] out. A relative calibration.file is taken from the working folder,
    where it was typed, and so is a folder of speculative.draft that is there. Raises BadInputError.
    """
    data = preset.to_data()
    del data["schema"]
    for item in overrides:
        key, equals, raw = item.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        if not equals or not all(path):
            raise BadInputError(
                f"--set {clean(key)}: not key=value.",
                fix="Write it as in --set precision.weights=int4.",
                code="bad-override",
            )
        _check_settable(path)
        value = _override_value(data, path, raw.strip())
        if path == ("calibration", "file") and isinstance(value, str) and not value.startswith("~"):
            value = str(Path.cwd() / value)
        if path == ("speculative", "draft") and isinstance(value, str) and value not in tuple(Precision):
            # Absolute ones are not looked at, on whatever disk they are; a name may be that of an engine.
            typed = Path.cwd() / value
            value = str(typed) if not Path(value).is_absolute() and typed.is_dir() else value
        _put(data, path, value)
    return validate(data, Origin("--set")).with_origin(preset.id, preset.source)


def _check_settable(path: KeyPath) -> None:
    if path == ("schema",):
        raise BadInputError("--set: schema says how the file is written and cannot be set.", code="bad-override")
    if is_free(path):
        return
    is_table = known_keys().get(path)
    if is_table is None:
        raise refusal([unknown_key(path)], Origin("--set"))
    if is_table or path == ("build", "flags"):
        inner = [".".join(key) for key in known_keys() if key[: len(path)] == path and len(key) > len(path)]
        raise BadInputError(
            f"--set: {dotted(path)} is a table and has no value of its own.",
            fix="Set one of its keys: " + (", ".join(inner) or "build.flags.NAME=VALUE"),
            code="bad-override",
        )


def _override_value(data: dict[str, Any], path: KeyPath, raw: str) -> Any:
    """The first reading of `raw` that the key takes. Rules among several keys are left for later."""
    if (raw.lower() in ("none", "null", "") and is_optional(path)) or (not raw and is_free(path)):
        return None
    readings: list[Any] = []
    if "\n" not in raw and "\r" not in raw:
        with contextlib.suppress(ValueError, RecursionError):
            parsed = tomllib.loads(f"x = {raw}")
            readings += [parsed["x"]] if set(parsed) == {"x"} else []
    readings.append(raw)
    refused: list[Problem] = []
    for reading in readings:
        trial = {name: dict(value) if isinstance(value, dict) else value for name, value in data.items()}
        _put(trial, path, reading)
        try:
            Preset.model_validate(trial)
        except ValidationError as error:
            own = [problem for problem in problems_of(error, trial, rules=False) if problem.path == path]
            refused += own
            if own:
                continue
        return reading
    raise refusal(refused[:1], Origin("--set"))


def _put(data: dict[str, Any], path: KeyPath, value: Any) -> dict[str, Any]:
    """Set or, for None, remove a key in nested data. A flag's name may hold dots: the rest of the path."""
    if is_free(path):
        path = (*path[:2], ".".join(path[2:]))
    table = data
    for part in path[:-1]:
        table[part] = dict(table.get(part) or {})
        table = table[part]
    if value is None:
        table.pop(path[-1], None)
    else:
        table[path[-1]] = value
    return data


# --- saving ---


def preset_to_toml(preset: Preset, existing: str = "") -> str:
    """The preset as TOML text. With the text of an existing file, its comments, order and layout are kept."""
    import tomlkit  # 20 ms that only saving needs

    if existing:
        with contextlib.suppress(Exception):  # tomlkit's own errors are of many kinds; all mean: write it afresh
            document = tomlkit.parse(existing)
            _update(document, preset.to_data(), _defaults())
            text = tomlkit.dumps(document)
            if parse_preset(text, "the new text").to_data() == preset.to_data():
                return text
    document = tomlkit.document()
    for key, value in preset.to_data().items():
        if value != {} and value != {"flags": {}}:
            document.add(key, value)
    return tomlkit.dumps(document)


def _update(document: Any, data: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Make a TOML table say `data`, touching only what differs; defaults that it leaves out stay out."""
    for key in [key for key in document if key not in data]:
        del document[key]
    for key, value in data.items():
        inner = defaults.get(key)
        if key not in document:
            if isinstance(value, dict) and isinstance(inner, Mapping):
                value = {name: part for name, part in value.items() if part != inner.get(name)}
            if value != inner and value != {}:
                document[key] = value
        elif isinstance(value, dict) and isinstance(document[key], Mapping):
            _update(document[key], value, inner if isinstance(inner, Mapping) else {})
        elif document[key] != value or type(value) is not _plain_type(document[key]):
            document[key] = value


def _plain_type(item: Any) -> type:
    """Python's type of a tomlkit item: 1, 1.0 and true are equal in Python and not in TOML."""
    return type(item.unwrap() if hasattr(item, "unwrap") else item)


def _schema_of(data: Mapping[str, Any]) -> int:
    """The schema that a file says it has; today's where it says nothing that counts."""
    found = data.get("schema")
    return found if isinstance(found, int) and not isinstance(found, bool) else SCHEMA_VERSION


@functools.cache
def _defaults() -> dict[str, Any]:
    least = {"title": "x", "goal": "try-it", "toolchain": "openvino", "precision": {"weights": "int8"}}
    data = Preset.model_validate(least).to_data()
    for required in ("title", "goal", "toolchain", "schema"):
        del data[required]
    del data["precision"]["weights"]
    return data


def save_preset(preset: Preset, path: Path) -> Preset:
    """Write a preset file, all or nothing; comments of an existing one are kept, and one of an older schema is copied
    to `NAME.toml.schema-N.bak` first. Returns it with its new id.

    Raises BadInputError when the name is no id, what stands there is of a newer version, or it cannot be written.
    """
    path = Path(path)
    shown = clean(str(path), 300)
    if path.suffix != ".toml" or not _ID.fullmatch(preset_id_of(path)):
        raise BadInputError(
            f"{shown} is not a name for a preset.",
            fix="End it in .toml, and use letters, digits, dots, dashes and underscores before that.",
            code="bad-preset-name",
        )
    existing, schema = "", SCHEMA_VERSION
    with contextlib.suppress(OSError):
        target = path.resolve()
        if target.exists():
            existing = _read(target)
            schema = _schema_of(_parse_toml(existing, shown))
    if schema > SCHEMA_VERSION:
        raise BadInputError(
            f"{shown} was written by a newer Engine Workbench and is left as it is.",
            evidence=f"it has schema {schema}, and this version knows schemas up to {SCHEMA_VERSION}",
            fix="Save under another name, or update this program.",
            code="newer-preset",
        )
    temporary = path.parent / f".{path.stem}.{secrets.token_hex(6)}.partial"
    try:
        target = path.resolve()
        if schema < SCHEMA_VERSION:
            keep_older(target, existing.encode("utf-8"), schema)
        temporary = target.parent / temporary.name
        content = preset_to_toml(preset, existing).encode("utf-8")
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInputError(
            f"{shown} cannot be written: {clean(reason, 160)}.",
            fix="Choose a folder that exists and may be written to.",
            code="preset-not-saved",
        ) from None
    return preset.with_origin(preset_id_of(path), path)
