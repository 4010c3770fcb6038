"""The settings as rows of a page: value, where it comes from, what is locked, and which folders are really there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.errors import Failure
from workbench.core.galleries import commit_of, preset_repositories
from workbench.core.home import Home
from workbench.core.reach import answering
from workbench.core.settings import (
    DEFAULT,
    GIT_PREFIXES,
    LoadedSettings,
    SettingField,
    Settings,
    expand_folder,
    load_settings,
    lock_of,
    save_setting,
    setting_fields,
    value_at,
)
from workbench.toolchains.preset_sources import PresetSource, preset_sources, update_presets, without_password

GROUPS: tuple[tuple[str, str], ...] = (
    ("folders", "Folders"),
    ("network", "Network"),
    ("serving", "Serving"),
    ("window", "Window"),
    ("toolchains.openvino", "OpenVINO"),
    ("toolchains.onnxruntime", "ONNX Runtime"),
    ("toolchains.pytorch", "PyTorch"),
    ("toolchains.tensorrt_rtx", "TensorRT-RTX"),
    ("toolchains.tensorrt_llm", "TensorRT-LLM"),
    ("toolchains.modelopt", "ModelOpt"),
)
"""Tables of the settings in the page's order, with their titles."""


@dataclass(frozen=True)
class Entry:
    """One entry of a list."""

    text: str
    own: bool
    """The user's file has it; all others stay."""
    origin: str
    """In words: `as shipped`, `yours`, or `set in` the site's file."""
    note: str = ""
    """What there is to know of it: `at 12ab…`, `not there`."""


@dataclass(frozen=True)
class SettingRow:
    """One setting as the page shows it."""

    field: SettingField
    value: Any
    origin: str
    """DEFAULT, or the file that set it."""
    own: bool
    """The user's file sets it, and it counts."""
    locked_by: str
    entries: tuple[Entry, ...] = ()
    own_value: tuple[str, ...] = ()
    """What a change of a list goes on from: of one that adds up, the user's part."""

    @property
    def can_edit(self) -> bool:
        return not self.locked_by and not self.field.site_only

    @property
    def origin_words(self) -> str:
        """The line below the editor."""
        if self.locked_by:
            return f"Locked by the administrator in {self.locked_by}"
        if self.own:
            return "Set by you"
        if self.field.site_only and self.origin == DEFAULT:
            return "For the administrator to set"
        return "As shipped" if self.origin == DEFAULT else f"Set for all users in {self.origin}"


@dataclass(frozen=True)
class SettingsView:
    """All that the page shows."""

    rows: tuple[SettingRow, ...] = ()
    problems: tuple[Failure, ...] = ()
    path: str = ""
    has_repositories: bool = False
    values: Settings = field(default_factory=Settings)

    def row(self, key: str) -> SettingRow:
        """Raises StopIteration for what is no setting."""
        return next(row for row in self.rows if row.field.key == key)


def read_settings(home: Home) -> SettingsView:
    """Settings, folders and commits; reads disks, maybe of a network: never on the GUI thread."""
    loaded = load_settings(home)
    sources = {source.entry: source for source in preset_sources(home) if source.entry}
    rows = tuple(_row(loaded, each, sources) for each in setting_fields().values())
    return SettingsView(rows, loaded.problems, str(loaded.path), bool(preset_repositories(home)), loaded.values)


def change_setting(home: Home, key: str, value: Any | None) -> SettingsView:
    """Save one, or with None take it back. Raises BadInputError, BlockedError."""
    save_setting(home, None, key, value)
    return read_settings(home)


@dataclass(frozen=True)
class Updated:
    """What came of fetching preset repositories."""

    words: tuple[str, ...]
    failures: tuple[Failure, ...]
    view: SettingsView


def fetch_presets(home: Home) -> Updated:
    """Bring the Git repositories of presets. Raises BadInputError when there is none."""
    made = update_presets(home)
    words = tuple(f"{without_password(one.repository.entry)}: {one.words}" for one in made if one.failure is None)
    return Updated(words, tuple(one.failure for one in made if one.failure is not None), read_settings(home))


def _row(loaded: LoadedSettings, setting: SettingField, sources: Mapping[str, PresetSource]) -> SettingRow:
    origin = loaded.origins[setting.key]
    value = value_at(loaded.values, setting.key)
    whole = value if isinstance(value, tuple) else ()
    own = loaded.own.get(setting.key, ()) if setting.adds_up else whole
    from_where = loaded.entries.get(setting.key, ()) if setting.adds_up else [(text, origin) for text in whole]
    entries = tuple(
        Entry(
            text=text,
            own=place == str(loaded.path),
            origin="as shipped" if place == DEFAULT else "yours" if place == str(loaded.path) else f"set in {place}",
            note=_note(setting, text, sources) if setting.adds_up else "",
        )
        for text, place in from_where
    )
    return SettingRow(
        field=setting,
        value=value,
        origin=origin,
        own=origin == str(loaded.path),
        locked_by=lock_of(loaded, setting.key),
        entries=entries,
        own_value=tuple(own) if isinstance(own, tuple) else (),
    )


def _note(setting: SettingField, text: str, sources: Mapping[str, PresetSource]) -> str:
    if text.startswith(GIT_PREFIXES):
        source = sources.get(without_password(text))
        return f"at {source.commit[:12]}" if source is not None and source.commit else "not fetched yet"
    folder = expand_folder(text)
    if not answering((folder,)):
        return "does not answer"
    if not _is_there(folder):
        return "" if text in (setting.default or ()) else "not there"
    commit = commit_of(folder) if setting.key == "folders.presets" else ""
    return f"at {commit[:12]}" if commit else ""


def _is_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:
        return False
