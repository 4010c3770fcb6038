"""A user's settings changed: one at a time, with the file's comments kept, and never against a lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.core.settings_layers import GIT_PREFIXES, Layer, nearest_setting, read_layer, wrong_value
from workbench.core.settings_load import SETTINGS_FILE, LoadedSettings, load_settings, lock_of
from workbench.core.settings_schema import SETTINGS_SCHEMA, SettingField, setting_fields

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PATIENCE_S = 10.0
_SWITCH = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def save_setting(home: Home, environ: Mapping[str, str] | None, key: str, value: Any | None) -> LoadedSettings:
    """Set one setting in the user's file, or with None take it out again; comments there are kept.

    Of a list that adds up, `value` is the user's own part. Raises BlockedError (code "locked", or "newer-settings" for
    a file that a newer program wrote) and BadInputError.
    """
    check_setting(key, value)
    loaded = load_settings(home, environ)
    if value is not None and (lock := lock_of(loaded, key)):  # what does not count may be taken out
        raise BlockedError(
            f"{key} is locked by the administrator.",
            evidence=f"locked by {lock}",
            fix="Ask the administrator of this machine to change it.",
            code="locked",
        )
    path = home.root / SETTINGS_FILE
    home.make()
    with _alone(path):
        _write_private(path, _changed(path, _text_to_change(path), key, value))
    return load_settings(home, environ)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other programs and threads from changing the file meanwhile, where the file system can, for ten seconds."""
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(path.with_name(f".{path.name}.lock").open("w"))
            end = time.monotonic() + _PATIENCE_S
            while time.monotonic() < end:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.01)
        except OSError:
            pass  # no locks there, or no room: writing says what is wrong
        yield


def _changed(path: Path, old: str, key: str, value: Any | None) -> str:
    """The file's text with one setting changed. Raises BadInputError for a file that is too odd for that."""
    import tomlkit  # 20 ms that only saving needs

    try:
        document: Any = tomlkit.parse(old or f"schema = {SETTINGS_SCHEMA}\n")
        _put(document, key.split("."), list(value) if isinstance(value, tuple) else value)
        text = tomlkit.dumps(document)
        tomllib.loads(text)
    except Exception as error:  # tomlkit's own errors are of many kinds; all mean the same
        raise BadInputError(
            f"{key} cannot be changed in {path} as the file is written.",
            evidence=f"{type(error).__name__}: {error}"[:200],
            fix="Change it there by hand.",
            code="bad-settings",
        ) from None
    return text


def check_setting(key: str, value: Any | None) -> None:
    """Whether a user may set this to that, locks apart. Raises BadInputError with the nearest right name."""
    field_ = setting_fields().get(key)
    if field_ is None:
        near = nearest_setting(key)
        below = [name for name in setting_fields() if name.startswith(f"{key}.")]
        said = f'There is no setting "{key[:80]}".' + (f" Nearest: {near}" if near and not below else "")
        fix = f"Name one of: {', '.join(below)}." if below else "`workbench settings` lists them."
        raise BadInputError(said, fix=fix, code="no-such-setting")
    if field_.site_only:
        raise BadInputError(
            f"{key} can be set for the whole site alone.",
            fix="Ask the administrator; WORKBENCH_HOME moves the state of one user.",
            code="bad-settings",
        )
    if value is not None and (wrong := wrong_value(key, value)):
        raise BadInputError(wrong[0], fix=wrong[1], code="bad-settings")


def parse_setting(field_: SettingField, words: Sequence[str]) -> Any:
    """A value as it is typed: `true`, a path, or for a list each of its entries. Raises BadInputError.

    A folder that is typed without a slash in front is taken from the working folder.
    """
    if field_.is_list:
        found = [_typed_path(field_, word) for word in words if word]
        return tuple(dict.fromkeys(found))
    if len(words) != 1:
        raise BadInputError(
            f"{field_.key} takes one value, and {len(words)} are given.",
            fix="Put quotes around it.",
            code="bad-settings",
        )
    if field_.kind == "switch":
        value = _SWITCH.get(words[0].strip().lower())
        if value is None:
            raise BadInputError(
                f'{field_.key} is "{words[0][:40]}", but must be true or false.',
                fix=f"Give {field_.wanted}.",
                code="bad-settings",
            )
        return value
    return _typed_path(field_, words[0])


def _typed_path(field_: SettingField, word: str) -> str:
    is_path = field_.kind in ("folder", "file", "folders")
    if not is_path or not word or word.startswith(("/", "~", "{", *GIT_PREFIXES)) or "://" in word:
        return word
    return str(Path.cwd() / word)


def _text_to_change(path: Path) -> str:
    """The user's file as it may be changed. Raises BlockedError and BadInputError for one that must be left alone."""
    layer = read_layer(path, is_site=False)
    if layer.schema > SETTINGS_SCHEMA:
        raise BlockedError(layer.problems[0].what, fix=layer.problems[0].fix, code="newer-settings")
    if layer.schema == 0:
        first = layer.problems[0]
        raise BadInputError(first.what, fix=f"Mend or remove {path}: it is not changed as it is.", code=first.code)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _not_written(path, error) from None
    if layer.schema < SETTINGS_SCHEMA:
        return _migrated(path, text, layer)
    return text


def _migrated(path: Path, text: str, layer: Layer) -> str:
    """A file of an older schema in today's form; the old one is kept beside it."""
    import tomlkit

    _write_private(path.with_name(f"{path.name}.schema-{layer.schema}.bak"), text)
    document: Any = tomlkit.document()
    document["schema"] = SETTINGS_SCHEMA
    for key, value in layer.values.items():
        _put(document, key.split("."), list(value) if isinstance(value, tuple) else value)
    return tomlkit.dumps(document)


def _put(document: Any, words: list[str], value: Any | None) -> None:
    import tomlkit

    table = document
    for word in words[:-1]:
        if word not in table:
            if value is None:
                return
            table[word] = tomlkit.table(is_super_table=word == "toolchains")
        table = table[word]
    if value is None:
        if words[-1] in table:
            del table[words[-1]]
    elif isinstance(value, list):
        array = tomlkit.array()
        array.extend(value)
        array.multiline(len(value) > 1)
        table[words[-1]] = array
    else:
        table[words[-1]] = value


def _write_private(path: Path, text: str) -> None:
    """All or nothing. A link stays one: what it points to is written. Raises BadInputError."""
    temporary = path
    try:
        target = path.resolve()
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(3)}.new")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:  # noqa: PTH123
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
    except (OSError, RuntimeError) as error:
        if temporary != path:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise _not_written(path, error) from None


def _not_written(path: Path, error: Exception) -> BadInputError:
    return BadInputError(
        f"{path} cannot be written.",
        evidence=str(error),
        fix="Check that you may write there and that the disk has room.",
        code="settings-not-written",
    )
