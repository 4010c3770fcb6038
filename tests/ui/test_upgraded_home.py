"""The window over a home of an older version, and over one whose store is of a newer version."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from tests.fakes.old_home import old_home, versions
from tests.ui.conftest import OpenWindow
from workbench.core.errors import BlockedError
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.jobs.client import all_jobs
from workbench.jobs.folder import JobFolder
from workbench.store.store import Store
from workbench.ui.app import home_problem
from workbench.ui.models.adding import NewServer, add_server
from workbench.ui.models.doctor import read_doctor
from workbench.ui.models.engines import move_to_trash, read_rows
from workbench.ui.models.fixes import start_again
from workbench.ui.pages.doctor.making import start_making
from workbench.ui.pages.engines import EnginesPage
from workbench.ui.pages.jobs.page import _retry

WAIT_MS = 20_000


def make_newer(home: Home) -> bytes:
    Store.open(home).close()
    with contextlib.closing(sqlite3.connect(home.database)) as db:
        db.execute("INSERT INTO migrations VALUES ('m999_future', 0)")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home.database.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("version", versions())
def test_what_an_older_version_kept_is_shown(
    version: str, app_home: Home, open_window: OpenWindow, qtbot: QtBot
) -> None:
    window = open_window(home=old_home(app_home.root, version))
    page = window.page("engines")
    assert isinstance(page, EnginesPage) and page.isVisible(), "the page that was open last"
    qtbot.waitUntil(lambda: page.model.rowCount() == 2 and all(row.looked for row in page.model.rows), timeout=WAIT_MS)
    assert {row.missing for row in page.model.rows} == {""}
    assert [notice.text for notice in window.session.notices.kept if notice.level == "error"] == []
    assert list((app_home.root / "backups").glob("store-m004*.sqlite"))
    assert window.session.state.table("page.build").get("preset") == "demo"


def test_with_a_newer_store_all_is_shown_and_nothing_begun(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", versions()[-1])
    content = make_newer(home)
    problem = home_problem(home)
    assert problem is not None and "newer Engine Workbench" in problem.what and "nothing is built" in problem.what
    rows = read_rows(home, "cpu-1")
    assert len(rows.rows) == 2 and "newer Engine Workbench" in rows.notice
    failed = next(JobFolder(home.jobs / state.id) for state in all_jobs(home) if state.status == "failed")
    server = NewServer(name="other", url="http://127.0.0.1:9/v1", model="m", api="chat")
    for begin in (
        lambda: move_to_trash(home, rows.rows[0]),
        lambda: add_server(home, server),
        lambda: start_again(home, read_host(), failed, ()),
        lambda: _retry(home, failed),
        lambda: start_making(home, "modelopt", None),
    ):
        with pytest.raises(BlockedError) as caught:
            begin()
        assert caught.value.failure.code == "newer-store"
    store = next(row for row in read_doctor(home).rows if row.name == "Store")
    assert store.state == "err" and "read only" in store.text and "newer Engine Workbench" in store.what and store.fix
    assert home.database.read_bytes() == content and not (home.artifacts / "engines" / "other").exists()
