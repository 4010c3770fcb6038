"""Fixtures that every test may use; no test ever touches the person's own state."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.core.home import HOME_VARIABLE, Home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Else the run ends with one process at work and the others idle.
    items.sort(key=lambda item: item.get_closest_marker("early") is None)


def pytest_collection_finish() -> None:
    # Thousands of collected tests and all that they import stay to the end: no collection of cycles, and no look for
    # what a test left behind, need walk over them again.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    # What a file's tests imported and keep is the next files' ballast in the same way: after a few hundred tests of the
    # window, each further one looked for a quarter of a second through what those before had left.
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("WORKBENCH_SITE", str(tmp_path / "no-site"))
    # Workers set these for themselves, and some tests run a worker's work in this process.
    for name in ("TRANSFORMERS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()
