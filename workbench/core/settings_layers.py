"""One file of settings read: what it sets, what it locks, and what is wrong in it. The rest of it still counts."""

from __future__ import annotations

import difflib
import getpass
import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.core.errors import Failure
from workbench.core.home import expanded
from workbench.core.settings_schema import SETTINGS_SCHEMA, adapter_of, setting_fields, setting_tables
from workbench.core.toml_words import Origin, clean, looks_secret, show_value
from workbench.core.trust import distrust

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SITE_VARIABLE = "WORKBENCH_SITE"
SITE_FOLDER = Path("/etc/engine-workbench")
GIT_PREFIXES = ("git+https://", "git+ssh://", "git+file://")
_MAX_BYTES = 256 * 1024
_SAY_WHAT_RUNS = ("toolchains.", "folders.toolchains", "folders.home", "network.package_index",
                  "network.extra_package_indexes", "network.wheels")  # fmt: skip
"""Settings that name programs, or where programs are taken from: they count from files that nobody else can write."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: Mapping[int, Migration] = {}
"""Schema -> what makes its data those of the next schema."""


@dataclass(frozen=True)
class Layer:
    """What one file says. `schema` is the one it was written for; 0: it could not be read."""

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    locked: tuple[str, ...] = ()
    problems: tuple[Failure, ...] = ()
    schema: int = SETTINGS_SCHEMA


def site_folder(environ: Mapping[str, str]) -> Path:
    """Where the site's settings are: the folder that WORKBENCH_SITE names, else the usual one."""
    named = environ.get(SITE_VARIABLE, "")
    return expanded(named) if named else SITE_FOLDER


def expand_folder(text: str) -> Path:
    """A folder as it is written in settings: {user} and ~ are the one who runs this."""
    if "{user}" in text:
        text = text.replace("{user}", user_name())
    return expanded(text)


def user_name() -> str:
    """By the user database; a variable of the environment may say anything."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        try:
            return re.sub(r"[^\w.-]", "_", getpass.getuser()) or str(os.getuid())
        except (OSError, KeyError):
            return str(os.getuid())


def read_layer(path: Path, *, is_site: bool, migrations: Mapping[int, Migration] = MIGRATIONS) -> Layer:
    """A file's settings. Never raises: what cannot be used is told in `problems`. A missing file sets nothing."""
    try:
        text = _text_of(path)
    except FileNotFoundError:
        return Layer(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fix = "Check the file and its permissions: everybody must be able to read a site's settings."
        return Layer(path, problems=(_failure(f"{path} cannot be read: {reason}.", fix=fix),), schema=0)
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        said = clean(str(error), 160)
        shown = "not TOML" if looks_secret(said) else f"not TOML: {said}"
        fix = 'Write key = value, with text in quotes: theme = "dark". Nothing in this file counts until then.'
        return Layer(path, problems=(_failure(f"{path}: {shown}.", fix=fix),), schema=0)
    return _layer_of(path, data, Origin(str(path), text), is_site, migrations)


def _text_of(path: Path) -> str:
    """Raises OSError and ValueError."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait
        raise ValueError("it is not an ordinary file")
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES // 1024} KiB")
    return raw.decode("utf-8-sig")


def _layer_of(
    path: Path, data: dict[str, Any], origin: Origin, is_site: bool, migrations: Mapping[int, Migration]
) -> Layer:
    schema = data.pop("schema", SETTINGS_SCHEMA)
    where = origin.at(("schema",))
    newest = max([SETTINGS_SCHEMA, *(number + 1 for number in migrations)])
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        what = f"{where}: schema is {show_value(schema)}, but must be a whole number from 1."
        return Layer(path, problems=(_failure(what, fix=f"Write schema = {SETTINGS_SCHEMA}."),), schema=0)
    if schema > newest:
        what = f"{where}: these settings have schema {schema}; this program knows up to {newest}."
        fix = "Update the program, or take out what is newer and write an older schema. The file is left as it is."
        return Layer(path, problems=(_failure(what, fix=fix, code="newer-settings"),), schema=schema)
    for number in range(schema, newest):
        if number in migrations:
            data = migrations[number](data)
    problems: list[Failure] = []
    locked: list[str] = []
    if "locked" in data:
        locked = _locked(data.pop("locked"), origin, is_site, problems)
    values: dict[str, Any] = {}
    _walk((), data, origin, is_site, values, problems)
    if why := distrust(path):
        for key in [key for key in values if key.startswith(_SAY_WHAT_RUNS)]:
            del values[key]
            what = f"{path}: {key} does not count, as it says what runs here, and {why}."
            fix = "Its owner must be root or you, and nobody else may write to it: `chown`, then `chmod go-w`."
            problems.append(_failure(what, fix=fix))
    return Layer(path, values, tuple(locked), tuple(problems), schema)


def _locked(said: Any, origin: Origin, is_site: bool, problems: list[Failure]) -> list[str]:
    where = origin.at(("locked",))
    if not is_site:
        what = f"{where}: locked can stand in the site's settings alone."
        problems.append(_failure(what, fix="Take it out."))
        return []
    if isinstance(said, str):
        said = [said]  # meant so beyond doubt, and a lock that is not heard is worse than a loose hand
    if not isinstance(said, list):
        what = f"{where}: locked is {show_value(said)}, but must be a list of settings and tables."
        problems.append(_failure(what, fix='Write locked = ["network.offline", "folders"].'))
        return []
    found: list[str] = []
    for entry in said:
        if isinstance(entry, str) and (entry in setting_fields() or entry in setting_tables()):
            found.append(entry)
            continue
        near = (nearest_setting(entry) or nearest_setting(entry, table=True)) if isinstance(entry, str) else ""
        what = f"{where}: {show_value(entry)} in locked is no setting." + (f" Nearest: {near}" if near else "")
        fix = f'Write "{near}", or take it out.' if near else "Take it out: `workbench settings` lists them."
        problems.append(_failure(what, fix=fix))
    return found


def _walk(
    above: tuple[str, ...],
    data: Mapping[str, Any],
    origin: Origin,
    is_site: bool,
    values: dict[str, Any],
    problems: list[Failure],
) -> None:
    for name, value in data.items():
        path = (*above, name)
        key = ".".join(path)
        where = origin.at(path)
        if key in setting_fields():
            failure = _refused(key, value, where, is_site)
            if failure is None:
                values[key] = tuple(value) if isinstance(value, list) else value
            else:
                problems.append(failure)
        elif key in setting_tables() and isinstance(value, Mapping):
            _walk(path, value, origin, is_site, values, problems)
        elif key in setting_tables():
            what = f"{where}: {key} is {show_value(value)}, but must be a table."
            problems.append(_failure(what, fix=f"Write [{key}] with its settings below it."))
        else:
            near = nearest_setting(key, table=isinstance(value, Mapping))
            what = f"{where}: {clean(key, 80)} is no setting." + (f" Nearest: {near}" if near else "")
            fix = f"Write {near}, or take it out." if near else "Take it out: `workbench settings` lists them."
            problems.append(_failure(what, fix=fix))


def _refused(key: str, value: Any, where: str, is_site: bool) -> Failure | None:
    if setting_fields()[key].site_only and not is_site:
        what = f"{where}: {key} can be set for the whole site alone."
        return _failure(what, fix="Take it out; WORKBENCH_HOME moves the state of one user.")
    wrong = wrong_value(key, value)
    return _failure(f"{where}: {wrong[0]}", fix=wrong[1]) if wrong else None


def wrong_value(key: str, value: Any) -> tuple[str, str] | None:
    """What is wrong with a value and what to do about it; None: it can be used. Lists may be lists or tuples."""
    field_ = setting_fields()[key]
    if isinstance(value, (list, tuple)):
        value = tuple(value)
    try:
        adapter_of(key).validate_python(value)
    except ValidationError:
        shown = "a list" if isinstance(value, tuple) else show_value(value)
        what = f"{key} is {shown}, but must be {field_.wanted}."
        if isinstance(value, str) and field_.choices:
            near = difflib.get_close_matches(value.lower()[:40], field_.choices, 1, 0.4)
            what += f" Nearest: {near[0]}" if near else ""
        return what, f"Set it to {field_.wanted}, or take it out."
    if field_.kind in ("folder", "file", "folders"):
        for folder in value if isinstance(value, tuple) else (value,):
            if folder and not _is_full(folder, git=key == "folders.presets"):
                what = f"{key}: {show_value(folder)} is not a full path."
                also = ", or git+https:// for a repository" if key == "folders.presets" else ""
                return what, f"Begin it with / or ~/{also}."
    return None


def _is_full(folder: str, *, git: bool) -> bool:
    if "\0" in folder or "\n" in folder:
        return False
    return folder.startswith(("/", "~")) or (git and folder.startswith(GIT_PREFIXES))


def nearest_setting(asked: str, *, table: bool = False) -> str:
    """The setting (or table) most likely meant; "" when none is near."""
    asked = asked.lower().replace("-", "_")[:80]
    names = sorted(setting_tables()) if table else [*setting_fields()]
    near = difflib.get_close_matches(asked, names, n=1, cutoff=0.7)
    if near:
        return near[0]
    last = {name.rsplit(".", 1)[-1]: name for name in reversed(names)}
    close = difflib.get_close_matches(asked.rsplit(".", 1)[-1], list(last), n=1, cutoff=0.75)
    return last[close[0]] if close else ""


def _failure(what: str, *, fix: str = "", code: str = "bad-settings") -> Failure:
    return Failure(code=code, what=what, fix=fix, exit_code=2)
