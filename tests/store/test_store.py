"""The store is an index: it finds what is in the folders, and can always be made anew from them."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.plans import scripted_plan, scripted_step
from workbench.core.digest import file_stamp
from workbench.core.home import Home
from workbench.jobs import client
from workbench.store.migrations import MIGRATIONS, migrate
from workbench.store.store import Store


def one_job(home: Home, out: Path | None = None) -> tuple[str, str]:
    step = scripted_step(home, "convert", [["write", "w", "x"]], out=out)
    folder = client.start(home, scripted_plan(step))
    state = client.wait(folder, 60)
    assert state.status == "done"
    return folder.id, state.artifacts[0]


def test_sync_finds_jobs_and_artefacts_once(home: Home, tmp_path: Path) -> None:
    job, path = one_job(home, out=tmp_path / "mine")
    with Store.open(home) as store:
        assert store.sync() == {"jobs": 1, "artifacts": 1}
        assert store.sync() == {"jobs": 0, "artifacts": 0}
        stored = store.artifacts()
        assert [str(a.path) for a in stored] == [path] and not stored[0].missing
        assert store.paths_with_key(stored[0].provenance.key) == (path,)
        assert [s.id for s in store.jobs()] == [job]
        assert store.jobs()[0].steps[0].artifact == path


def test_artefacts_that_lost_files_or_went_are_said(home: Home) -> None:
    _, path = one_job(home)
    with Store.open(home) as store:
        store.sync()
        (Path(path) / "w").write_bytes(b"")
        assert "has 0 bytes, not 1" in store.artifacts()[0].missing
        (Path(path) / "w").unlink()
        assert "w is missing" in store.artifacts()[0].missing
        Path(path).rename(Path(path).with_name("elsewhere"))
        assert store.artifacts()[0].missing == "the folder is gone"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["header", "middle", "empty-pages"])
def test_a_damaged_store_is_kept_aside_and_rebuilt(home: Home, tmp_path: Path, where: str) -> None:
    _, path = one_job(home, out=tmp_path / "outside")
    with Store.open(home) as store:
        store.sync()
        for number in range(200):
            store.remember_digest(file_stamp(Path(path) / "w").model_copy(update={"path": f"/f{number}"}), "0" * 64)
    data = bytearray(home.database.read_bytes())
    begin, length = {"header": (0, 100), "middle": (4096, 8192), "empty-pages": (4096, len(data) - 4096)}[where]
    data[begin : begin + length] = b"\xa5" * length
    home.database.write_bytes(data)
    with Store.open(home) as store:
        found = store.artifacts()
        assert [str(a.path) for a in found] == [path], "also one outside the home, known from its job"
        assert "kept as" in store.notice and "1 artefacts, 1 jobs" in store.notice
    kept = [p for p in home.root.glob("store-damaged-*.sqlite")]
    assert len(kept) == 1 and kept[0].read_bytes() == bytes(data)
    with Store.open(home) as store:
        assert store.notice == "" and len(store.artifacts()) == 1


def test_digests_hold_for_one_state_of_a_file(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_text("one")
    with Store.open(home) as store:
        stamp = file_stamp(file)
        assert store.known_digest(stamp) is None
        store.remember_digest(stamp, "a" * 64)
        assert store.known_digest(stamp) == "a" * 64
        file.write_text("two")
        assert store.known_digest(file_stamp(file)) is None


def test_migrations_have_names_in_order_and_each_upgrades_the_one_before() -> None:
    names = [m.__name__ for m in MIGRATIONS]
    assert [name[:4] for name in names] == [f"m{n:03d}" for n in range(1, len(names) + 1)]
    for applied in range(len(MIGRATIONS)):
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)")
        for migration in MIGRATIONS[:applied]:
            migration(db)
            db.execute("INSERT INTO migrations VALUES (?, 0)", (migration.__name__,))
        assert migrate(db) == names[applied:]
        assert migrate(db) == []
        db.close()


OPEN = """
import sys
from pathlib import Path
from workbench.core.home import Home
from workbench.store.store import Store
with Store.open(Home(Path(sys.argv[1]))) as store:
    for _ in range(20):
        store.sync(everything=True)
    print(len(store.artifacts()), store.notice)
"""


@pytest.mark.slow
def test_several_processes_share_a_store(home: Home) -> None:
    one_job(home)
    home.database.unlink(missing_ok=True)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(home.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.split() == ["1"]


@pytest.mark.slow
def test_a_job_that_was_cancelled_and_retried_is_found_again(home: Home, tmp_path: Path) -> None:
    go = tmp_path / "go"
    step = scripted_step(home, "convert", [["wait_for", str(go)], ["write", "w", "x"]], out=tmp_path / "out")
    folder = client.start(home, scripted_plan(step))
    assert client.cancel(folder) and client.wait(folder, 60).status == "cancelled"
    with Store.open(home) as store:
        store.sync()
        assert [s.status for s in store.jobs()] == ["cancelled"]
        go.touch()
        client.retry(folder)
        assert client.wait(folder, 60).status == "done"
        store.sync()
        assert [s.status for s in store.jobs()] == ["done"]
        assert [a.path for a in store.artifacts()] == [tmp_path / "out"]


@pytest.mark.slow
def test_another_artefact_at_a_known_path_is_read_again(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Store.open(home) as store:
        keys = []
        for letter in ("x", "yy"):
            shutil.rmtree(out, ignore_errors=True)
            step = scripted_step(home, "convert", [["write", "w", letter]], out=out)
            assert client.wait(client.start(home, scripted_plan(step)), 60).status == "done"
            store.sync()
            keys.append(store.artifacts()[0].provenance.key)
            assert not store.artifacts()[0].missing
        assert keys[0] != keys[1] and store.paths_with_key(keys[0]) == ()


def test_the_store_is_its_owners_alone(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    root.mkdir(mode=0o755)
    with Store.open(Home(root).make()) as store:
        store.sync()
        assert {oct(p.stat().st_mode & 0o777) for p in root.glob("store.sqlite*")} == {"0o600"}
