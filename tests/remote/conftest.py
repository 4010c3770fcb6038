"""A real sshd, and what a relay needs, for the tests of other machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.sshd import Sshd, missing
from tests.remote.relays import processes_below, wait_until, worker_code
from workbench.core.home import Home


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read by all tests, changed by none."""
    folder = tmp_path_factory.mktemp("workers")
    return worker_code(Home(folder / "home").make(), folder / "code")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    if missing():
        pytest.skip(f"not on this machine: {', '.join(missing())}")
    server = Sshd(tmp_path / "sshd")
    try:
        yield server
    finally:
        server.stop()
        # A run outlives its connection, so what a test leaves behind would outlive the tests.
        left = processes_below(str(server.folder))
        for process in left:
            process.kill()
        wait_until(lambda: not processes_below(str(server.folder)))
