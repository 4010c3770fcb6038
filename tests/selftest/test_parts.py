"""The parts of the self-test by themselves: manifest, room, report, tiny model, runner."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fakes.plans import ROOT
from tests.ui.test_engines import make_engine
from workbench.core.errors import BadInputError, Failure
from workbench.core.home import Home
from workbench.core.model import read_model
from workbench.selftest.all import all_checks, chosen_checks
from workbench.selftest.checks import BrokenError, Check, NotRunError, run_checks
from workbench.selftest.manifest import MANIFEST_FILE, compare, write_manifest
from workbench.selftest.of_state import home_folder, nothing_left, program_marks, queue, store, worker
from workbench.selftest.report import Finding, Scrubber
from workbench.selftest.room import Room
from workbench.selftest.tiny_model import write_tiny_model
from workbench.store.store import Store


def test_a_manifest_shows_what_changed_and_sha256sum_reads_it(tmp_path: Path) -> None:
    for name in ("bin/workbench", "runtime/lib/a.py", "runtime/lib/b.py", "share/doc/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "bin" / "again").symlink_to("workbench")
    assert write_manifest(tmp_path) == tmp_path / MANIFEST_FILE
    subprocess.run(["sha256sum", "-c", "--quiet", MANIFEST_FILE], cwd=tmp_path, check=True)
    whole = compare(tmp_path)
    assert (whole.files, whole.changed, whole.missing, whole.unknown) == (3, (), (), ())
    (tmp_path / "share" / "doc" / "x").unlink()  # a package puts it elsewhere
    assert compare(tmp_path) == whole
    (tmp_path / "runtime" / "lib" / "a.py").write_text("other")
    (tmp_path / "runtime" / "lib" / "b.py").unlink()
    (tmp_path / "runtime" / "lib" / "new.pyc").touch()
    found = compare(tmp_path)
    assert found.changed == ("runtime/lib/a.py",) and found.missing == ("runtime/lib/b.py",)
    assert found.unknown == ("runtime/lib/new.pyc",)
    (tmp_path / MANIFEST_FILE).write_text("rubbish\n")
    with pytest.raises(ValueError, match="no line of a list"):
        compare(tmp_path)


def test_a_manifest_is_the_same_twice(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("z", "a", "m"):
        (tmp_path / "bin" / name).write_text(name)
    first = write_manifest(tmp_path).read_bytes()
    assert write_manifest(tmp_path).read_bytes() == first
    assert [line.split()[1] for line in first.decode().splitlines()] == ["bin/a", "bin/m", "bin/z"]


def test_a_room_is_taken_away_with_what_runs_in_it(tmp_path: Path) -> None:
    before = dict(os.environ)
    real = Home(tmp_path / "real")
    (real.environments / "openvino").mkdir(parents=True)
    (real.root / "settings.toml").write_text("schema = 1\n")
    with Room(real=real) as room:
        root = room.root
        assert os.environ["WORKBENCH_HOME"] == str(root / "home")
        assert Path(tempfile.gettempdir()) == room.temporary
        assert (room.home.environments / "openvino").is_dir(), "the person's toolchains are found"
        assert (room.home.root / "settings.toml").is_file()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        ends = time.monotonic() + 10
        while [each.pid for each in room.processes()] != [child.pid] and time.monotonic() < ends:
            time.sleep(0.01)
        assert [each.pid for each in room.processes()] == [child.pid]
    assert child.wait(10) == -9
    assert not root.exists() and dict(os.environ) == before
    assert (real.environments / "openvino").is_dir(), "the link was taken away, not what it leads to"


def test_no_room_without_a_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(BadInputError) as caught, Room(real=Home(tmp_path / "real")):
        pass
    assert caught.value.failure.code == "no-temporary-folder" and "TMPDIR" in caught.value.fix


def test_each_end_of_a_check_is_told_and_none_stops_the_next(tmp_path: Path) -> None:
    def broken(room: Room) -> str:
        raise BrokenError("It is broken.", evidence="a line\nanother", fix="Mend it.")

    def absent(room: Room) -> str:
        raise NotRunError("not here")

    def fault(room: Room) -> str:
        raise ZeroDivisionError("by zero")

    def hangs(room: Room) -> str:
        subprocess.run([sys.executable, "-m", "timeit", "-n1", "-r1", "-s", "import time", "time.sleep(600)"])
        return "it should not come to this"

    checks = (
        Check("a", "Broken", 5, broken),
        Check("b", "Absent", 5, absent),
        Check("c", "Fault", 5, fault),
        Check("d", "Hangs", 0.3, hangs),
        Check("e", "Long", 5, lambda room: "never", long=True),
        Check("f", "Fine", 5, lambda room: f"in {room.root}"),
    )
    told: list[str] = []
    with Room(real=Home(tmp_path / "real")) as room:
        report = run_checks(
            checks, room, quick=True, began=lambda check: told.append(check.name), ended=lambda f: told.append(f.status)
        )
        assert not room.processes(), "what hung was ended"
    assert told == ["a", "failed", "b", "not run", "c", "failed", "d", "failed", "e", "not run", "f", "ok"]
    assert not report.ok and [each.name for each in report.failed] == ["a", "c", "d"]
    text = "\n".join(report.lines())
    assert "FAILED  Broken" in text and "seen: another" in text and "to do: Mend it." in text
    assert "ZeroDivisionError" in text and "not done after 0.3 s" in text and "in TEMP" in text
    assert "what ran then: timeit" in text and "--patience" in text
    assert report.verdict().startswith("The self-test FAILED: 1 ok, 3 failed, 2 not run")


def test_what_was_not_run_is_not_called_ok_and_does_not_count(tmp_path: Path) -> None:
    def absent(room: Room) -> str:
        raise NotRunError("not here")

    with Room(real=Home(tmp_path / "real")) as room:
        report = run_checks((Check("b", "Absent", 5, absent),), room)
    assert report.ok and report.verdict().startswith("The self-test passed: 0 ok, 0 failed, 1 not run")


def test_a_report_names_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/anna.lee")
    monkeypatch.setattr("socket.gethostname", lambda: "lab-box-7.uni.example")
    monkeypatch.setattr("pwd.getpwuid", lambda number: SimpleNamespace(pw_name="mia"))
    scrubber = Scrubber({"/tmp/room-1": "TEMP"})
    scrub = scrubber.text
    failure = Failure(code="x", what="mia failed", evidence="/home/anna.lee/log", fix="Ask mia@lab-box-7.uni.example.")
    found = scrubber.finding(Finding(name="x", title="X", status="failed", words="mia", seconds=0.0, failure=failure))
    assert found.lines()[0].endswith("  USER") and found.failure is not None
    assert (found.failure.what, found.failure.evidence) == ("USER failed", "~/log")
    assert found.failure.fix == "Ask USER@HOST."
    assert scrub("on lab-box-7.") == "on HOST." and scrub("/data/mia/mias") == "/data/USER/mias"
    assert scrub("/home/anna.lee/x and /tmp/room-1/home on lab-box-7") == "~/x and TEMP/home on HOST"
    assert scrub("/home/anna.leeds/x") == "/home/anna.leeds/x"
    assert scrub("https://anna:pass%40word@index.lab/simple") == "https://index.lab/simple"
    assert scrub("with sk-abcdefgh12345 and hf_ABCDEFGH1234") == "with SECRET and SECRET"


def test_a_finding_is_one_line_for_people() -> None:
    found = Finding(name="x", title="Window", status="ok", words="painted", seconds=1.25)
    assert found.lines() == ["ok      Window                       1.2 s  painted"]


def test_the_tiny_model_is_a_model_and_always_the_same(tmp_path: Path) -> None:
    one, two = write_tiny_model(tmp_path / "one"), write_tiny_model(tmp_path / "two")
    spec = read_model(one)
    assert (spec.architecture, spec.layers, spec.heads, spec.kv_heads) == ("LlamaForCausalLM", 2, 4, 2)
    assert spec.weight_bytes == 2 * spec.parameters == (one / "model.safetensors").stat().st_size - _header(one)
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


def _header(folder: Path) -> int:
    return 8 + int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")


def test_a_worker_answers(tmp_path: Path) -> None:
    with Room(real=Home(tmp_path / "real")) as room:
        assert "unharmed" in worker(room)


def test_a_checkout_has_no_marks() -> None:
    assert program_marks() == {}


def test_what_is_left_behind_is_told(tmp_path: Path) -> None:
    with Room(real=Home(tmp_path / "real")) as room:
        assert "nothing runs" in nothing_left(room, {})
        with pytest.raises(BrokenError, match="own folder") as caught:
            nothing_left(room, {"a file that is gone": (0, 0)})
        assert "a file that is gone" in caught.value.evidence
        waits = [sys.executable, "-c", "input('ready')"]
        child = subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.read(5) == b"ready"
        with pytest.raises(BrokenError, match="left running") as caught:
            nothing_left(room, {})
        assert "input" in caught.value.evidence
    child.communicate(timeout=10)


@pytest.mark.slow
def test_libraries_for_a_screen_are_really_loaded(tmp_path: Path) -> None:
    """With another Qt, in a folder of its own; a module that lies in the working folder is not taken for Python's."""
    plugins = tmp_path / "lib" / "PySide6" / "Qt" / "plugins" / "platforms"
    plugins.mkdir(parents=True)
    (tmp_path / "lib" / "PySide6" / "__init__.py").touch()
    (plugins / "libqxcb.so").write_bytes(b"no library")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "ctypes.py").write_text("raise SystemExit('the module of the working folder was run')\n")
    ask = tmp_path / "ask.py"
    ask.write_text(
        "from workbench.core.errors import WorkbenchError\n"
        "from workbench.selftest.checks import NotRunError\n"
        "from workbench.selftest.of_window import screen\n"
        "try: print('ok:', screen(None))\n"
        "except NotRunError as error: print('not run:', error)\n"
        "except WorkbenchError as error: print('failed:', error.evidence)\n"
    )

    def said(**screens: str) -> str:
        environ = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        environ["PYTHONPATH"] = os.pathsep.join((str(tmp_path / "lib"), str(ROOT)))
        done = subprocess.run(
            [sys.executable, str(ask)], cwd=tmp_path / "here", env=environ | screens, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        return done.stdout or done.stderr

    assert said().startswith("not run:") and "no screen here" in said()
    failed = said(DISPLAY=":0")
    assert failed.startswith("failed: X11:") and "libqxcb.so" in failed and "Wayland: Qt's part" in failed
    (plugins / "libqxcb.so").unlink()
    (plugins / "libqxcb.so").symlink_to(_a_library())
    assert said(DISPLAY=":0").startswith("ok: X11 can be used. Not Wayland")


def _a_library() -> Path:
    """Some library that can be loaded."""
    import _ctypes

    return Path(_ctypes.__file__)


@pytest.mark.slow
def test_where_loopback_is_down_the_server_is_not_called_ok(tmp_path: Path) -> None:
    """In a network namespace in which nobody brought it up."""
    ask = (
        "from workbench.selftest.checks import NotRunError\n"
        "from workbench.selftest.of_engine import server\n"
        "class Room: engine = None\n"
        "try: print(server(Room()))\n"
        "except NotRunError as error: print('not run:', error)\n"
    )
    inside = ["unshare", "-rn", sys.executable, "-c", ask]
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    done = subprocess.run(inside, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("not run: the loopback network of this machine is down"), done.stderr


def test_a_check_that_there_is_not_is_refused() -> None:
    assert chosen_checks(["store, window", "presets"]) == ("presets", "store", "window")
    assert chosen_checks([]) == tuple(check.name for check in all_checks({}))
    with pytest.raises(BadInputError, match="no check 'stor'"):
        chosen_checks(["stor"])


def test_the_persons_store_is_looked_at_and_nothing_is_written(tmp_path: Path) -> None:
    real = Home(tmp_path / "real").make()
    real.database.touch()  # as a start that was killed leaves it
    with Room(real=real) as room:
        assert "store" not in home_folder(room).replace(str(tmp_path), "")
    Store.open(real).close()
    with Room(real=real) as room:
        before = sorted(path.name for path in real.root.iterdir())
        assert "its store is whole" in home_folder(room)
        with Store.open(real):
            assert "its store is whole" in home_folder(room), "also while it is open"
        assert sorted(path.name for path in real.root.iterdir()) == before
        db = sqlite3.connect(real.database)
        with db:
            db.execute("INSERT INTO migrations VALUES ('m999_of_tomorrow', 0.0)")
        db.close()
        with pytest.raises(BrokenError, match="newer") as caught:
            home_folder(room)
        assert "m999_of_tomorrow" in caught.value.evidence


@pytest.mark.slow
def test_engines_that_the_settings_share_are_none_of_the_self_tests(tmp_path: Path) -> None:
    """An ordinary user's report on a machine whose site names engine folders."""
    engine = make_engine(tmp_path / "lab", "shared")
    (engine / "model.bin").unlink()  # and one of them is not whole
    real = Home(tmp_path / "real").make()
    (real.root / "settings.toml").write_text(f'[folders]\nengines = ["{tmp_path / "lab"}"]\n')
    with Room(real=real) as room:
        assert "written, whole" in store(room)
        assert "reused" in queue(room)
