"""A keyring backend that keeps its entries in the file that WORKBENCH_TEST_KEYRING names: a system without a desktop
has none, and a person's own must not be touched.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

VARIABLE = "WORKBENCH_TEST_KEYRING"
BACKEND = "tests.fakes.file_keyring.FileKeyring"


class FileKeyring(KeyringBackend):
    """Chosen by PYTHON_KEYRING_BACKEND, or `keyring.set_keyring`."""

    priority = 0.1  # type: ignore[assignment]
    name = "the test's keyring"

    def _path(self) -> Path:
        path = Path(os.environ[VARIABLE])
        if path.name == "locked":
            raise KeyringLocked("the collection is locked")
        return path

    def _read(self) -> dict[str, str]:
        path = self._path()
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def get_password(self, service: str, username: str) -> str | None:
        return self._read().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._path().write_text(json.dumps({**self._read(), f"{service}/{username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        entries = self._read()
        if entries.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError("no such entry")
        self._path().write_text(json.dumps(entries))
