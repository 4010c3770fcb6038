"""What can be set for this program: one declaration a setting, from which files, command line and page are made."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

SETTINGS_SCHEMA = 1
TOOLCHAIN_NAMES = ("openvino", "onnxruntime", "pytorch", "tensorrt_rtx", "tensorrt_llm", "modelopt")
"""Whose environments can be named: those of workbench.toolchains, and ModelOpt's beside them."""

SettingKind = Literal["switch", "choice", "text", "folder", "file", "folders", "lines"]


def _setting(default: Any, title: str, text: str, kind: SettingKind, *, site_only: bool = False) -> Any:
    extra: dict[str, Any] = {"kind": kind, "site_only": site_only}
    return Field(default, title=title, description=text, json_schema_extra=extra)


class SettingsTable(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class Folders(SettingsTable):
    """[folders]"""

    home: str = _setting(
        "",
        "Data of each user",
        "Where a user's jobs, engines and conversations are kept; {user} and ~ are that user's. Set by the "
        "administrator alone. Empty: the platform's own folder for data.",
        "folder",
        site_only=True,
    )
    models: tuple[str, ...] = _setting(
        (),
        "Model folders",
        "Folders that hold model folders, read only: one can be given by its name.",
        "folders",
    )
    engines: tuple[str, ...] = _setting(
        (), "Engine folders", "Folders of finished engines that several users share, read only.", "folders"
    )
    presets: tuple[str, ...] = _setting(
        (),
        "Preset folders",
        "Folders of preset files, or Git repositories of them: git+https://, git+ssh:// or git+file:// with the "
        "address, and @branch behind it where wanted.",
        "folders",
    )
    toolchains: tuple[str, ...] = _setting(
        ("/opt/engine-workbench-toolchains",),
        "Toolchain folders",
        "Folders with environments that the administrator made: TOOLCHAIN/NAME/bin/python below each.",
        "folders",
    )


class Network(SettingsTable):
    """[network]"""

    offline: bool = _setting(
        False, "Offline", "Nothing is looked up on or fetched from Hugging Face or a package index.", "switch"
    )
    package_index: str = _setting(
        "",
        "Package index",
        "The address that toolchain packages are fetched from. Empty: the one that pip is set to.",
        "text",
    )
    extra_package_indexes: tuple[str, ...] = _setting(
        (), "More package indexes", "Addresses that are asked besides the package index.", "lines"
    )
    wheels: str = _setting(
        "", "Folder of wheels", "Toolchains are installed from the wheels in this folder, without a network.", "folder"
    )


class Serving(SettingsTable):
    """[serving]"""

    allow_network: bool = _setting(
        True,
        "Serve to the network",
        "Other machines may reach the servers that are started here. Off: servers listen on this machine alone.",
        "switch",
    )


class WindowSettings(SettingsTable):
    """[window]"""

    theme: Literal["system", "dark", "light"] = _setting(
        "system", "Theme", "Colours of the window; system follows the desktop.", "choice"
    )


class ToolchainSettings(SettingsTable):
    """[toolchains.NAME]"""

    python: str = _setting(
        "", "Interpreter", "The Python of the environment to use. Empty: the newest that is usable.", "file"
    )
    prefix: tuple[str, ...] = _setting(
        (),
        "Container command",
        "Runs the toolchain inside a container image: the words of the command one by one, the last of them the "
        "interpreter, such as python3. Empty: no container.",
        "lines",
    )


_TABLES: dict[str, type[SettingsTable]] = {
    "folders": Folders,
    "network": Network,
    "serving": Serving,
    "window": WindowSettings,
}


class Settings(SettingsTable):
    """All settings, as they hold now."""

    schema_version: int = Field(SETTINGS_SCHEMA, alias="schema")
    folders: Folders = Field(default_factory=Folders)
    network: Network = Field(default_factory=Network)
    serving: Serving = Field(default_factory=Serving)
    window: WindowSettings = Field(default_factory=WindowSettings)
    toolchains: dict[str, ToolchainSettings] = Field(default_factory=dict)


@dataclass(frozen=True)
class SettingField:
    """One setting: its dotted key, what a form says of it, and what it takes."""

    key: str
    title: str
    text: str
    kind: SettingKind
    default: Any
    choices: tuple[str, ...] = ()
    site_only: bool = False

    @property
    def is_list(self) -> bool:
        return self.kind in ("folders", "lines")

    @property
    def adds_up(self) -> bool:
        """Whether the files' lists are put together rather than the later one taken."""
        return self.kind == "folders"

    @property
    def wanted(self) -> str:
        """In words, what the setting takes."""
        if self.kind == "switch":
            return "true or false"
        if self.kind == "choice":
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        return "a list of texts" if self.is_list else "text"


@functools.cache
def setting_fields() -> Mapping[str, SettingField]:
    """Dotted key -> field, in the order in which they are shown."""
    tables = _TABLES | {f"toolchains.{name}": ToolchainSettings for name in TOOLCHAIN_NAMES}
    found: dict[str, SettingField] = {}
    for table, model in tables.items():
        for name, field in model.model_fields.items():
            extra: Any = field.json_schema_extra
            is_choice = typing.get_origin(field.annotation) is Literal
            found[f"{table}.{name}"] = SettingField(
                key=f"{table}.{name}",
                title=field.title or name,
                text=field.description or "",
                kind=extra["kind"],
                default=field.default,
                choices=typing.get_args(field.annotation) if is_choice else (),
                site_only=extra["site_only"],
            )
    return types.MappingProxyType(found)


@functools.cache
def setting_tables() -> frozenset[str]:
    """`folders`, `toolchains`, `toolchains.openvino` and so on: what has keys below it."""
    parts = [key.split(".") for key in setting_fields()]
    return frozenset(".".join(words[:end]) for words in parts for end in range(1, len(words)))


@functools.cache
def adapter_of(key: str) -> TypeAdapter[Any]:
    """What checks a setting's value. Lists are given as tuples."""
    *tables, name = key.split(".")
    model = ToolchainSettings if tables[0] == "toolchains" else _TABLES[tables[0]]
    kind: Any = model.model_fields[name].annotation
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Dotted keys with checked values -> Settings; what is not named keeps its default."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *tables, name = key.split(".")
        table = nested
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value
    return Settings.model_validate(nested)


def value_at(settings: Settings, key: str) -> Any:
    """The value of a dotted key."""
    node: Any = settings
    words = key.split(".")
    if words[0] == "toolchains":
        node = settings.toolchains.get(words[1], ToolchainSettings())
        words = words[2:]
    for word in words:
        node = getattr(node, word)
    return node
