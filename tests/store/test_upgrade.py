"""A store of an older version is brought up to date after a copy, one of a newer version is read and never written."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import start
from tests.fakes.old_home import old_home, old_store, store_samples, versions
from workbench.core.artifact import read_provenance
from workbench.core.digest import file_stamp
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.jobs.client import all_jobs
from workbench.store.migrations import MIGRATIONS, NAMES
from workbench.store.report import store_problems, store_report
from workbench.store.store import Store
from workbench.store.upgrade import newer_store, open_to_read, refuse_newer_store
from workbench.ui.app import home_problem
from workbench.ui.models.doctor import DoctorRow, _store

NEWEST = store_samples()[-1]


def number_of(sample: Path) -> int:
    found = re.fullmatch(r"store-m(\d{3})", sample.stem)
    assert found
    return int(found[1])


def dump(path: Path) -> list[str]:
    with contextlib.closing(open_to_read(path)) as db:
        return list(db.iterdump())


def backups(home: Home) -> list[Path]:
    return sorted((home.root / "backups").glob("store-*.sqlite"))


def test_every_migration_has_a_sample_of_the_form_before_it() -> None:
    kept = {number_of(sample) for sample in store_samples()}
    lacking = [name for number, name in enumerate(NAMES) if number and number not in kept]
    assert not lacking, f"keep a store as it is before {lacking}: see tests/data/old/README.md"


@pytest.mark.parametrize("sample", store_samples(), ids=lambda path: path.stem)
def test_an_old_store_is_copied_and_brought_up_to_date(home: Home, sample: Path) -> None:
    old_store(home, sample)
    before = dump(home.database)
    with Store.open(home) as store:
        assert sample.stem[6:] in store.notice and NAMES[-1] in store.notice
        (kept,) = backups(home)
        assert str(kept.relative_to(home.root)) in store.notice
        assert dump(kept) == before and kept.stat().st_mode & 0o777 == 0o600
        found = store.remembered()
        assert {"convert", "box"} < {each.provenance.name for each in found} and len(found) == 3
        assert not any(each.shared for each in found)
        if number_of(sample) >= 3:
            assert [state.status for state in store.jobs()].count("done") == 2 and len(store.jobs()) == 3
    with contextlib.closing(open_to_read(home.database)) as db:
        assert {row[0] for row in db.execute("SELECT name FROM migrations")} == set(NAMES)
        fresh = Home(home.root.with_name("fresh")).make()
        Store.open(fresh).close()
        with contextlib.closing(open_to_read(fresh.database)) as new:
            shape = "SELECT name FROM sqlite_master ORDER BY name"
            assert db.execute(shape).fetchall() == new.execute(shape).fetchall()
    with Store.open(home) as store:
        assert store.notice == "" and backups(home) == [kept], "only once"


@pytest.mark.parametrize("version", versions())
def test_a_whole_old_home_is_there_afterwards(tmp_path: Path, version: str) -> None:
    home = old_home(tmp_path / "home", version)
    with Store.open(home) as store:
        assert store.sync()["jobs"] >= 1
        found = store.artifacts()
        assert len(found) == 3 and not [each.missing for each in found if each.missing]
        assert len(store.jobs()) == 3


def test_the_newest_two_copies_are_kept(home: Home) -> None:
    for sample in (store_samples()[0], *store_samples()[-2:]):
        home.database.unlink(missing_ok=True)
        old_store(home, sample)
        Store.open(home).close()
    assert [path.name.split("-")[1] for path in backups(home)] == [
        NAMES[number_of(s) - 1] for s in store_samples()[-2:]
    ]


def test_the_copy_just_made_stays_though_others_are_named_later(home: Home) -> None:
    old_store(home, NEWEST)
    folder = home.root / "backups"
    folder.mkdir()
    earlier = [f"store-{NAMES[0]}-209901{day:02}-000000000.sqlite" for day in (1, 2)]  # when the clock was wrong
    for name in (*earlier, "store-mine.sqlite", "store-of-us.sqlite"):
        (folder / name).touch()
    with Store.open(home) as store:
        left = {path.name for path in backups(home)}
        assert left > {earlier[1], "store-mine.sqlite", "store-of-us.sqlite"} and len(left) == 4
        assert any(name in store.notice for name in left), store.notice


# --- what goes wrong in between


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from workbench.core.home import Home
from workbench.store.upgrade import bring_up_to_date
home, word = Home(Path(sys.argv[1])), sys.argv[2]
db = sqlite3.connect(home.database, isolation_level=None)
db.set_trace_callback(lambda said: os.kill(os.getpid(), signal.SIGKILL) if said.startswith(word) else None)
bring_up_to_date(home, db)
"""


@pytest.mark.parametrize("word", ["ALTER TABLE", "INSERT INTO migrations", "COMMIT"])
def test_killed_in_the_middle_nothing_is_half_done(home: Home, word: str) -> None:
    old_store(home, NEWEST)
    before = dump(home.database)
    done = subprocess.run([sys.executable, "-c", KILLED, str(home.root), word], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert dump(home.database) == before
    (home.root / "backups" / ".store-m004-x.sqlite.1.new").write_bytes(b"left by one that was killed")
    with Store.open(home) as store:
        assert len(store.remembered()) == 3
    assert len(backups(home)) == 2 and not list((home.root / "backups").glob(".*")), "of both starts"


FULL = """
import resource, signal, sys
from pathlib import Path
from workbench.core.errors import WorkbenchError
from workbench.core.home import Home
from workbench.store.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    Store.open(Home(Path(sys.argv[1])))
except WorkbenchError as error:
    print(error.failure.code, error.failure.what)
"""


def test_without_room_for_the_copy_it_is_left_as_it_is(home: Home) -> None:
    old_store(home, NEWEST)
    before = dump(home.database)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(home.root)], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout.startswith("store-not-upgraded The store is of an older Engine Workbench"), done.stderr
    assert dump(home.database) == before and not backups(home)
    with Store.open(home) as store:
        assert len(store.remembered()) == 3, "with room it goes on"


def test_a_damaged_old_store_is_kept_aside_and_rebuilt(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", versions()[-1])
    data = bytearray(home.database.read_bytes())
    data[4096:20000] = b"\xa5" * (20000 - 4096)
    home.database.write_bytes(data)
    with Store.open(home) as store:
        assert len(store.artifacts()) == 3 and len(store.jobs()) == 3 and "was damaged" in store.notice
    assert len(list(home.root.glob("store-damaged-*.sqlite"))) == 1 and len(backups(home)) == 1


@pytest.mark.slow
def test_several_programs_bring_it_up_to_date_once(home: Home) -> None:
    old_store(home, NEWEST)
    code = "import sys; from pathlib import Path; from workbench.core.home import Home\n"
    code += "from workbench.store.store import Store\nprint('ready', flush=True)\nsys.stdin.readline()\n"
    code += "with Store.open(Home(Path(sys.argv[1]))) as s: print(s.notice)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code, str(home.root)], **pipes) for _ in range(4)]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:  # all at once
        assert process.stdin is not None and process.stdin.write("\n") and process.stdin.flush() is None
    said = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert len([each for each in said if each]) == 1 and len(backups(home)) == 1


# --- newer ones


def make_newer(home: Home, *changes: str) -> bytes:
    """As a newer version leaves it: one more migration, which added a table; the file's bytes."""
    Store.open(home).close()
    with contextlib.closing(sqlite3.connect(home.database)) as db:
        db.execute("INSERT INTO migrations VALUES ('m999_future', 0)")
        db.execute("CREATE TABLE future (x TEXT)")
        for change in changes:
            db.execute(change)
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home.database.read_bytes()


def test_a_newer_store_is_read_and_never_written(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", versions()[-1])
    content = make_newer(home)
    with Store.open(home) as store:
        assert store.newer is not None and store.newer.code == "newer-store" and "m999_future" in store.newer.evidence
        assert "newer Engine Workbench" in store.notice
        first, *_ = store.artifacts("engine")
        assert len(store.artifacts()) == 3 and len(store.jobs()) == 3
        assert store.paths_with_key(first.provenance.key) == (str(first.path),)
        assert store.sync(everything=True) == {"jobs": 0, "artifacts": 0}
        for write in (
            store.refuse_newer,
            lambda: store.add_artifact(first.path, read_provenance(first.path)),
            lambda: store.forget_artifact(first.path),
            lambda: refuse_newer_store(home),
        ):
            with pytest.raises(BlockedError, match="newer Engine Workbench") as caught:
                write()
            assert caught.value.failure.code == "newer-store" and caught.value.exit_code == 3
        stamp = file_stamp(first.path / "engine.json")
        store.remember_digest(stamp, "a" * 64)
        assert store.known_digest(stamp) is None
        report = store_report(store, store.jobs())
        problem, *_ = store_problems(report)
        assert "newer Engine Workbench" in problem["what"] and "Update this program" in problem["fix"]
    assert home.database.read_bytes() == content
    failure = home_problem(home)
    assert failure is not None and failure.code == "newer-store"


@pytest.mark.slow
def test_the_command_line_lists_and_builds_nothing(tmp_path: Path, home: Home) -> None:
    old_home(home.root, versions()[-1])
    content = make_newer(home)
    jobs = {path.name for path in home.jobs.iterdir()}
    failed = next(state.id for state in all_jobs(home) if state.status == "failed")
    commands = (
        ("engines", "list", "--all"),
        ("build", "demo", "--model", str(tmp_path)),
        ("jobs", "retry", failed),
        ("engines", "rm", "convert", "--all", "--yes"),
        ("endpoint", "remove", "box", "--yes"),
    )
    started = [start(*words) for words in commands]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 3, 3, 3, 3], said
    assert "newer Engine Workbench" in said[0][1] and "convert" in said[0][0]
    assert all("error: The store was written by a newer" in err for _, err in said[1:])
    assert {path.name for path in home.jobs.iterdir()} == jobs and home.database.read_bytes() == content


def test_doctor_says_that_it_is_read_only(home: Home) -> None:
    make_newer(home)
    row, *_ = doctor_store_rows(home)
    assert row.state == "err" and "read only" in row.text and "Update this program" in row.fix


def doctor_store_rows(home: Home) -> list[DoctorRow]:
    with Store.open(home) as store:
        return list(_store({"home": str(home.root), "store": store_report(store, all_jobs(home))}))


def test_a_newer_store_of_another_shape_says_so_and_stays(home: Home) -> None:
    content = make_newer(home, "ALTER TABLE artifacts RENAME TO things", "ALTER TABLE jobs RENAME COLUMN state TO s")
    with Store.open(home) as store:
        for read in (store.artifacts, store.jobs):
            with pytest.raises(BadInputError, match="this one cannot read it") as caught:
                read()
            assert caught.value.failure.code == "newer-store"
    assert home.database.read_bytes() == content and not list(home.root.glob("store-damaged-*"))


def test_a_newer_store_is_read_where_nothing_can_be_put_beside_it(home: Home) -> None:
    content = make_newer(home)
    Path(f"{home.database}-shm").symlink_to("x" * 300)  # in the way of what is made beside it
    with Store.open(home) as store:
        assert store.newer is not None and store.artifacts() == store.jobs() == []
    assert home.database.read_bytes() == content


def test_a_store_of_today_is_not_newer(home: Home) -> None:
    assert newer_store(home) is None
    Store.open(home).close()
    assert newer_store(home) is None and home_problem(home) is None
    refuse_newer_store(home)
    assert len(MIGRATIONS) == len(NAMES)


def test_what_is_opened_to_read_cannot_be_written_whatever_asks_for_it(home: Home) -> None:
    Store.open(home).close()
    with contextlib.closing(open_to_read(home.database)) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("DELETE FROM jobs")
