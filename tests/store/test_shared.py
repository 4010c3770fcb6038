"""Engines in the settings' folders are found and used like one's own, and nothing in those folders ever changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from tests.cli.command import start, workbench
from tests.fakes.plans import scripted_plan, scripted_step
from tests.ui.test_engines import CPU, make_engine
from workbench.core.artifact import VERIFY_FILE, own_record, read_provenance, verification
from workbench.core.errors import BlockedError
from workbench.core.home import Home
from workbench.core.sharing import refuse_shared, root_of, shared_roots
from workbench.jobs import client
from workbench.store.notes import Note, write_note
from workbench.store.store import Store
from workbench.toolchains.planner import step_states
from workbench.ui.models.engines import fingerprint, move_to_trash, read_detail, read_rows
from workbench.ui.pages.engines.table import NAME, EnginesModel, cell


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of the lab's engines: one directly in it, one as a home has them."""
    found = tmp_path / "lab"
    make_engine(found, "direct")
    make_engine(found / "engines", "below", "int4")
    (found / "notes").mkdir()
    (found / "engines" / "half.partial").mkdir()
    return found


def share(home: Home, *roots: Path) -> None:
    folders = ", ".join(f'"{root}"' for root in roots)
    (home.root / "settings.toml").write_text(f"schema = 1\n[folders]\nengines = [{folders}]\n")


def state_of(root: Path) -> dict[str, tuple[object, ...]]:
    """All that could change below a folder."""
    found = {}
    for path in (root, *sorted(root.rglob("*"))):
        seen = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_nlink, seen.st_size, seen.st_mtime_ns, content)
    return found


def test_they_are_listed_marked_and_left_alone(home: Home, root: Path) -> None:
    own = make_engine(home.artifacts / "engines", "mine")
    share(home, root, home.root)
    before = state_of(root)
    assert shared_roots(home) == (root.resolve(),) and root_of(home, own) == ""
    with Store.open(home) as store:
        assert store.sync()["artifacts"] == 3
        found = {each.path.name: each for each in store.artifacts("engine")}
        assert {name: each.shared for name, each in found.items()} == {
            "direct": str(root), "below": str(root), "mine": "",
        }  # fmt: skip
        assert store.sync()["artifacts"] == 0
        assert str(root / "engines" / "below") in store.paths_with_key(found["below"].provenance.key)
    rows = {row.path.name: row for row in read_rows(home, CPU).rows}
    assert rows["direct"].shared == str(root) and not rows["mine"].shared and rows["direct"].usable
    assert cell(rows["direct"], NAME).endswith("(shared)") and "shared" not in cell(rows["mine"], NAME)
    model = EnginesModel()
    model.take((rows["direct"],))
    assert "never changed" in str(model.data(model.index(0, NAME), Qt.ItemDataRole.ToolTipRole))
    with pytest.raises(BlockedError, match="shared engine and is not moved") as caught:
        move_to_trash(home, rows["direct"])
    assert caught.value.failure.code == "shared-engine" and str(root) in caught.value.evidence
    write_note(home, rows["direct"].key, Note(text="good", tags=("lab",)))
    assert read_detail(home, rows["direct"]).note.tags == ("lab",)
    assert {row.path.name: row.tags for row in read_rows(home, CPU).rows}["direct"] == ("lab",)
    assert state_of(root) == before


def test_they_come_and_go_with_the_settings(home: Home, root: Path, tmp_path: Path) -> None:
    share(home, root)
    with Store.open(home) as store:
        store.sync()
        assert len(store.artifacts()) == 2
        marks = fingerprint(home, ())
        make_engine(root, "third")
        assert fingerprint(home, ()) != marks, "the window looks again"
        store.sync()
        assert len(store.artifacts()) == 3
        link = tmp_path / "link"
        link.symlink_to(root)
        share(home, link)
        store.sync()
        assert len(store.artifacts()) == 3, "by another name it is the same folder"
        share(home)
        store.sync()
        assert store.artifacts() == []
    assert root_of(home, root / "direct") == ""
    refuse_shared(home, root / "direct", "removed")


def test_a_folder_that_may_not_be_read_is_left_out(home: Home, root: Path) -> None:
    share(home, root / "nothing", root)
    (root / "a").symlink_to("x" * 300)  # fails when it is looked at, for root too; what comes behind it counts
    (root / "engines").chmod(0)
    try:
        with Store.open(home) as store:
            store.sync()
            names = {each.path.name for each in store.artifacts()}
        assert names == ({"direct", "below"} if os.getuid() == 0 else {"direct"})
    finally:
        (root / "engines").chmod(0o755)


def test_of_the_same_engine_ones_own_comes_first(home: Home, root: Path) -> None:
    own = make_engine(home.artifacts / "engines", "direct", created_at=1.0)
    share(home, root)
    with Store.open(home) as store:
        store.sync()
        assert store.paths_with_key(read_provenance(own).key) == (str(own), str(root / "direct"))


@pytest.mark.slow
def test_what_ones_own_job_made_in_a_shared_folder_stays_when_it_is_shared_no_more(home: Home, root: Path) -> None:
    share(home, root)
    made = scripted_step(home, "convert", [["write", "w", "x"]], out=root / "made")
    assert client.wait(client.start(home, scripted_plan(made)), 60).status == "done"
    with Store.open(home) as store:
        store.sync()
        assert {each.path.name: each.shared for each in store.artifacts()}["made"] == str(root)
        share(home)
        store.sync()
        assert [(each.path.name, each.shared, each.missing) for each in store.artifacts()] == [("made", "", "")]


def test_what_was_closed_after_it_was_listed_is_said_to_be_away(home: Home, root: Path) -> None:
    share(home, root)
    with Store.open(home) as store:
        store.sync()
        for closed in (root / "direct", root / "engines" / "below" / "provenance.json"):
            closed.rename(home.root / f"{closed.name}.old")
            closed.symlink_to("x" * 300)  # fails when it is looked at, for root too
        store.sync()
        assert {each.path.name: each.missing for each in store.artifacts()} == {
            "direct": "the folder is gone", "below": "provenance.json is missing",
        }  # fmt: skip
    assert not any(row.usable for row in read_rows(home, CPU).rows if row.path.name in ("direct", "below"))


@pytest.mark.slow
def test_a_build_reuses_what_is_shared_and_writes_nothing_there(home: Home, tmp_path: Path) -> None:
    theirs = Home(tmp_path / "theirs").make()
    made = scripted_step(theirs, "convert", [["write", "w", "x"]])
    assert client.wait(client.start(theirs, scripted_plan(made)), 60).status == "done"
    shared = theirs.artifacts
    share(home, shared)
    with Store.open(home) as store:
        store.sync()
        (path,) = store.paths_with_key(made.key)
    for folder in (shared, *shared.rglob("*")):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    before = state_of(shared)
    again = scripted_step(home, "convert", [["write", "w", "x"]], alternates=(path,))
    look = scripted_step(
        home, "verify", [["log", "looked"]], after="convert", kind="verify", folder=False, record=VERIFY_FILE
    )
    assert again.key == made.key and dict(step_states([again, look], home)) == {"convert": "reused", "verify": "to do"}
    state = client.wait(client.start(home, scripted_plan(again, look)), 60)
    assert [step.status for step in state.steps] == ["reused", "done"], state.failure
    assert state.steps[0].artifact == path
    assert own_record(home, Path(path), VERIFY_FILE).is_file()
    provenance = read_provenance(Path(path))
    assert verification(Path(path), provenance) is None and verification(Path(path), provenance, home) is not None
    assert dict(step_states([again, look], home)) == {"convert": "reused", "verify": "reused"}
    state = client.wait(client.start(home, scripted_plan(again, look)), 60)
    assert [step.status for step in state.steps] == ["reused", "reused"]
    assert state_of(shared) == before


@pytest.mark.slow
def test_the_command_line_marks_them_and_removes_none(home: Home, root: Path) -> None:
    share(home, root)
    before = state_of(root)
    shown = workbench("engines", "show", "direct", "--json").json
    assert (shown["shared"], shown["path"]) == (str(root), str(root / "direct"))
    listed, refused = both(start("engines"), start("engines", "rm", str(root / "direct"), "--yes"))
    assert f"{root}/direct (shared)" in listed[1]
    assert refused[0] == 3 and "shared engine" in refused[2] and "folders.engines" in refused[2]
    assert state_of(root) == before


def both(*started: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    said = [process.communicate(timeout=120) for process in started]
    return [(process.returncode, *words) for process, words in zip(started, said, strict=True)]


def test_a_home_that_a_link_leads_to_is_no_shared_folder(home: Home, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home.root)
    engine = make_engine(home.artifacts / "engines", "mine")
    roots = (home.root.parent.resolve(),)
    assert root_of(Home(link), engine, roots) == "" and root_of(Home(link), tmp_path / "other", roots) == str(roots[0])


_SILENT = """
import sys, time
silent = sys.argv[2]
held = False


def hold(event, values):
    if held and event in ("os.scandir", "os.listdir") and str(values[0]).startswith(silent):
        time.sleep(120)


sys.addaudithook(hold)
from pathlib import Path
from workbench.core.home import Home
from workbench.core.sharing import shared_roots
from workbench.store.store import Store
from workbench.ui.models.engines import fingerprint

home = Home(Path(sys.argv[1]))
with Store.open(home) as store:
    store.sync()
    key = next(each.provenance.key for each in store.artifacts() if each.path.name == "direct")
    held = True
    began = time.monotonic()
    store.sync()
    said = {each.path.name: each.missing for each in store.artifacts("engine")}
    print(said, store.paths_with_key(key), shared_roots(home))
    fingerprint(home, tuple(Path(silent) / name for name in ("direct", "x")))
    print(time.monotonic() - began)
    held = False
print("end")
"""


@pytest.mark.slow
def test_a_folder_that_does_not_answer_holds_nothing_up_and_is_not_forgotten(home: Home, root: Path) -> None:
    """As on a network that is gone: whoever looks into it waits for two minutes."""
    make_engine(home.artifacts / "engines", "mine")
    share(home, root)
    done = subprocess.run(
        [sys.executable, "-c", _SILENT, str(home.root), str(root)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    said, seconds, _ = done.stdout.splitlines()
    assert said == f"{{'mine': '', 'below': '{root} does not answer', 'direct': '{root} does not answer'}} () ()", said
    assert float(seconds) < 6
    with Store.open(home) as store:
        store.sync()
        assert {each.path.name: each.missing for each in store.artifacts("engine")}["direct"] == ""
