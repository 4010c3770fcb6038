"""`workbench settings …`: what holds, where it comes from, what is locked; and change one's own."""

from __future__ import annotations

import os
from typing import Any

from rich.table import Table

from workbench.cli.context import Context
from workbench.core.errors import BadInputError
from workbench.core.settings import (
    DEFAULT,
    LoadedSettings,
    SettingField,
    check_setting,
    load_settings,
    lock_of,
    parse_setting,
    save_setting,
    setting_fields,
    setting_tables,
    shown_setting,
    site_folder,
    value_at,
)


def run_list(context: Context, *, everything: bool) -> None:
    """`everything`: those of toolchains that nobody set, too."""
    loaded = load_settings(context.home)
    _tell_problems(context, loaded)
    rows = [_row(loaded, field) for field in setting_fields().values()]
    if context.as_json:
        data = {"settings": rows, "problems": [problem.model_dump() for problem in loaded.problems]}
        context.result(_without_passwords(data))  # as the table: it is sent to others; `get` has them
        return
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "value", "from", "locked by"):
        table.add_column(column, no_wrap=column == "setting", overflow="fold")
    for row in rows:
        if everything or not row["key"].startswith("toolchains.") or row["from"] != DEFAULT or row["locked_by"]:
            table.add_row(row["key"], shown_setting(row["value"]), row["from"], row["locked_by"])
    context.out.print(table)


def _without_passwords(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _without_passwords(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_without_passwords(value) for value in data]
    return shown_setting(data) if isinstance(data, str) and data else data


def _row(loaded: LoadedSettings, field: SettingField) -> dict[str, Any]:
    value = value_at(loaded.values, field.key)
    row: dict[str, Any] = {
        "key": field.key,
        "value": list(value) if isinstance(value, tuple) else value,
        "from": loaded.origins[field.key],
        "locked_by": lock_of(loaded, field.key),
    }
    if field.adds_up:
        row["entries"] = [{"value": text, "from": origin} for text, origin in loaded.entries.get(field.key, ())]
    return row


def run_get(context: Context, key: str) -> None:
    loaded = load_settings(context.home)
    _tell_problems(context, loaded)
    row = _row(loaded, _field(key))
    value = row["value"]
    text = "\n".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value
    context.note(f"from {row['from']}" + (f", locked by {row['locked_by']}" if row["locked_by"] else ""))
    context.result(row, text)


def run_set(context: Context, key: str, words: list[str]) -> None:
    field = _field(key)
    if not words:
        raise BadInputError(f"{key} is to be set to nothing.", fix=f"`workbench settings unset {key}` takes it back.")
    value = parse_setting(field, words)
    loaded = save_setting(context.home, os.environ, key, value)
    row = _row(loaded, field)
    context.result(row, f"{key} is {shown_setting(row['value'])}")


def run_unset(context: Context, key: str) -> None:
    field = _field(key)
    loaded = save_setting(context.home, os.environ, key, None)
    row = _row(loaded, field)
    context.result(row, f"{key} is {shown_setting(row['value'])}, from {row['from']}")


def run_path(context: Context) -> None:
    loaded = load_settings(context.home)
    folder = site_folder(os.environ)
    files = sorted({str(path) for path in folder.glob("*.toml")} if folder.is_dir() else ())
    data = {"own": str(loaded.path), "site": str(folder), "site_files": files}
    lines = [f"yours  {loaded.path}" + ("" if loaded.path.exists() else " (not there yet)")]
    lines.append(f"site   {folder}" + ("" if files else " (no settings there)"))
    lines += [f"       {path}" for path in files]
    context.result(data, "\n".join(lines))


def _field(key: str) -> SettingField:
    """Raises BadInputError with the nearest right name."""
    field = setting_fields().get(key)
    if field is None:
        check_setting(key, None)
        raise AssertionError(f"{key} in {setting_tables()}")
    return field


def _tell_problems(context: Context, loaded: LoadedSettings) -> None:
    """The others are told by every command."""
    for problem in (each for each in loaded.problems if each.code == "locked"):
        context.note(" ".join(problem.lines()))
