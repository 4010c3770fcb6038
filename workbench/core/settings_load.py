"""Settings read in layers: what ships, below the site's files, below the user's own, with what the site has locked.

A lock holds for the user's file; site files are all the administrator's, and the later one wins among them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.errors import BlockedError, Failure
from workbench.core.home import Home
from workbench.core.settings_layers import Layer, expand_folder, read_layer, site_folder
from workbench.core.settings_schema import Settings, setting_fields, settings_from
from workbench.core.toml_words import PASSWORD

DEFAULT = "default"
"""Origin of what no file sets."""
SETTINGS_FILE = "settings.toml"


@dataclass(frozen=True)
class LoadedSettings:
    """The settings that hold, where each comes from, what is locked, and what is wrong in the files."""

    values: Settings
    origins: Mapping[str, str]
    """Dotted key -> path of the file that sets it (the last one of a list that adds up), or "default"."""
    locked: Mapping[str, str]
    """Dotted key or table -> the site file that locks it."""
    problems: tuple[Failure, ...] = ()
    entries: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """For lists that add up: each entry with its origin."""
    own: Mapping[str, Any] = field(default_factory=dict)
    """What the user's file sets, locked or not."""
    path: Path = Path(SETTINGS_FILE)
    """The user's file."""


def lock_of(loaded: LoadedSettings, key: str) -> str:
    """The site file that locks a setting or a table above it; "" when it is free."""
    words = key.split(".")
    for end in range(len(words), 0, -1):
        if found := loaded.locked.get(".".join(words[:end])):
            return found
    return ""


def is_locked(loaded: LoadedSettings, key: str) -> bool:
    return bool(lock_of(loaded, key))


# --- reading ---

_Stamp = tuple[tuple[str, int, int, int], ...]
_cache: dict[tuple[str, str], tuple[_Stamp, LoadedSettings]] = {}
_cache_lock = threading.Lock()
_CACHE_ENTRIES = 64


def load_settings(home: Home, environ: Mapping[str, str] | None = None) -> LoadedSettings:
    """The settings that hold now. Never raises: a file that cannot be used is a problem, and the rest counts."""
    folder = site_folder(os.environ if environ is None else environ)
    own = home.root / SETTINGS_FILE
    site_files, trouble = _site_files(folder)
    stamp = (*_stamp([*site_files, own]), *((failure.what, 0, 0, 0) for failure in trouble))
    slot = (str(folder), str(own))
    with _cache_lock:
        known = _cache.get(slot)
    if known is not None and known[0] == stamp:
        return known[1]
    layers = [read_layer(path, is_site=True) for path in site_files]
    loaded = _merged(layers, read_layer(own, is_site=False), trouble)
    with _cache_lock:
        if len(_cache) >= _CACHE_ENTRIES:
            _cache.clear()
        _cache[slot] = (stamp, loaded)
    return loaded


def site_home(environ: Mapping[str, str]) -> Path | None:
    """The root of this user's state where the site says so. Never raises."""
    found = ""
    for path in _site_files(site_folder(environ))[0]:
        found = read_layer(path, is_site=True).values.get("folders.home", found)
    return expand_folder(found) if found else None


def _site_files(folder: Path) -> tuple[list[Path], list[Failure]]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml" and path.name[0] != "."), []
    except FileNotFoundError:
        return [], []
    except OSError as error:
        what = f"The site's settings in {folder} cannot be listed: {error.strerror or error}."
        return [], [Failure(code="bad-settings", what=what, fix="Let everybody read that folder.", exit_code=2)]


def _stamp(paths: list[Path]) -> _Stamp:
    found = []
    for path in paths:
        try:
            seen = path.stat()
            # The time of change tells of another owner or mode, too.
            found.append((str(path), seen.st_ctime_ns, seen.st_size, seen.st_ino))
        except OSError as error:
            found.append((str(path), 0, 0, error.errno or 1))
    return tuple(found)


def _merged(site: list[Layer], own: Layer, trouble: list[Failure]) -> LoadedSettings:
    locked = {entry: str(layer.path) for layer in reversed(site) for entry in layer.locked}
    values: dict[str, Any] = {}
    origins = dict.fromkeys(setting_fields(), DEFAULT)
    entries: dict[str, list[tuple[str, str]]] = {
        key: [(text, DEFAULT) for text in field_.default] for key, field_ in setting_fields().items() if field_.adds_up
    }
    problems = [*trouble, *(problem for layer in site for problem in layer.problems), *own.problems]
    free = LoadedSettings(Settings(), origins, locked)
    for layer in [*site, own]:
        for key, value in layer.values.items():
            if layer is own and (lock := lock_of(free, key)):
                what = f"{own.path}: {key} does not count, as the administrator has locked it."
                fix = f"Ask the administrator, or take it out: `workbench settings unset {key}`."
                problems.append(Failure(code="locked", what=what, evidence=f"locked by {lock}", fix=fix, exit_code=3))
                continue
            if key in entries:
                have = {text for text, _ in entries[key]}
                new = [text for text in dict.fromkeys(value) if text not in have]
                entries[key] += [(text, str(layer.path)) for text in new]
                values[key] = tuple(text for text, _ in entries[key])
            else:
                values[key] = value
            origins[key] = str(layer.path)
    kept = {key: tuple(found) for key, found in entries.items()}
    return LoadedSettings(settings_from(values), origins, locked, tuple(problems), kept, dict(own.values), own.path)


def is_offline(home: Home, environ: Mapping[str, str] | None = None) -> bool:
    """Whether the settings forbid to fetch anything. Never raises."""
    return load_settings(home, environ).values.network.offline


def refuse_offline(home: Home, what: str, fix: str, environ: Mapping[str, str] | None = None) -> None:
    """Raises BlockedError (code "offline") with the file that says so, where the settings forbid the network."""
    loaded = load_settings(home, environ)
    if loaded.values.network.offline:
        said = f"network.offline is true in {loaded.origins['network.offline']}"
        raise BlockedError(what, evidence=said, fix=fix, code="offline")


def shown_setting(value: Any) -> str:
    """A value in a line, without passwords; empty ones are said so."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "\n".join(PASSWORD.sub("…@", str(entry)) for entry in value) or "none"
    return PASSWORD.sub("…@", str(value)) or "none"
