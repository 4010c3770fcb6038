"""API keys: read from the environment or the system's keyring when they are needed, and written nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from workbench.core.endpoint import KEYRING_SERVICE, KeySource
from workbench.core.errors import BadInputError, BlockedError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 16_384
T = TypeVar("T")


class Secret(str):
    """A text that does not show itself in a `repr`, such as that of a dataclass or of a test's comparison."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'•••'"


def key_of(source: KeySource, environ: Mapping[str, str]) -> Secret | None:
    """The key, None where none is wanted. May ask the system's keyring, which may ask the person: not for a GUI thread.

    Raises BlockedError when it is not there, BadInputError when it cannot be a key.
    """
    if source.source == "none":
        return None
    if source.source == "env":
        value = environ.get(source.name, "")
        if not value:
            state = "empty" if source.name in environ else "not set"
            raise BlockedError(
                "The endpoint's key is not set.",
                evidence=f"the environment variable {source.name} is {state}",
                fix=f"Set {source.name} and start the workbench again, or keep the key in the keyring.",
                code="no-key",
            )
        return checked_key(value)
    found = _keyring(lambda ring: ring.get_password(KEYRING_SERVICE, source.name))
    if not found:
        raise BlockedError(
            "The endpoint's key is not in the keyring.",
            evidence=f"service {KEYRING_SERVICE}, entry {source.name}",
            fix=f"Store it: workbench endpoint key {source.name}",
            code="no-key",
        )
    return checked_key(found)


def store_key(name: str, key: str) -> str:
    """Put a key into the keyring; the keyring's name. Raises BadInputError, BlockedError."""
    secret = checked_key(key)
    _keyring(lambda ring: ring.set_password(KEYRING_SERVICE, name, str(secret)))
    return keyring_name()


def remove_key(name: str) -> bool:
    """Take a key out of the keyring; False: it was not there. Raises BlockedError."""

    def remove(ring: _Ring) -> bool:
        if ring.get_password(KEYRING_SERVICE, name) is None:
            return False
        ring.delete_password(KEYRING_SERVICE, name)
        return True

    return _keyring(remove)


def keyring_name() -> str:
    """Which keyring is used here, in its own words. Raises BlockedError when there is none."""

    def name(ring: _Ring) -> str:
        backend = ring.get_keyring()
        return str(getattr(backend, "name", type(backend).__name__))

    return _keyring(name)


def checked_key(key: str) -> Secret:
    """The key without white space around it. Raises BadInputError for what no header can carry."""
    key = key.strip()
    if not key or len(key) > _LONGEST or not key.isascii() or not key.isprintable():
        raise BadInputError(
            "This cannot be a key.",
            evidence="it is empty" if not key else "a key is printable ASCII text on one line, of 16 KiB at most",
            fix="Copy the key again, without anything around it.",
            code="bad-key",
        )
    return Secret(key)


def checked_variable(name: str, option: str = "--key-env") -> str:
    """A name that an environment variable can have. Raises BadInputError, which shows nothing of a pasted key."""
    if _VARIABLE.fullmatch(name) is None or len(name) > 100:
        raise BadInputError(
            f"{option} takes the name of an environment variable, not a key.",
            evidence="a name has letters, digits and underscores only",
            fix="Put the key into a variable, such as OPENAI_API_KEY, and give its name.",
            code="bad-variable",
        )
    return name


class _Ring(Protocol):
    """What is used of the package `keyring`."""

    def get_password(self, service: str, name: str) -> str | None: ...
    def set_password(self, service: str, name: str, value: str) -> None: ...
    def delete_password(self, service: str, name: str) -> None: ...
    def get_keyring(self) -> object: ...


def _keyring(work: Callable[[_Ring], T]) -> T:
    """Do something with the keyring. Raises BlockedError in words; what the keyring says never holds the key."""
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise _no_keyring("the package keyring is not installed") from error
    try:
        return work(keyring)
    except keyring.errors.NoKeyringError as error:
        raise _no_keyring("no keyring service runs here, as on a machine without a desktop") from error
    except keyring.errors.KeyringError as error:
        words = str(error).strip().splitlines()
        raise _no_keyring(words[0][:200] if words else type(error).__name__) from error
    except Exception as error:  # backends raise what their service's library raises
        raise _no_keyring(type(error).__name__) from error


def _no_keyring(why: str) -> BlockedError:
    return BlockedError(
        "The system's keyring cannot be used.",
        evidence=why,
        fix="Unlock it, or keep the key in an environment variable: workbench endpoint add … --key-env NAME.",
        code="no-keyring",
    )
