"""What a far side meets, and what stands between: full disks, odd folders, a cancel at the wrong moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.remote.relays import processes_below, wait_until
from workbench.core.errors import BadInputError
from workbench.core.target import Target
from workbench.remote import ready, rsync
from workbench.remote.far import Far
from workbench.remote.here import HereTransport
from workbench.remote.paths import walk
from workbench.remote.relay import _Cancel, _Stopped
from workbench.workers import keeper as keeper_module

NEAR = Target(name="near", kind="here", folder="/far")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        for process in processes_below(str(place)):
            process.kill()
        wait_until(lambda: not processes_below(str(place)))
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> None:
    handle = os.open(disk / "fill", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(handle, b"x" * 4096):
            pass
    except OSError:
        os.close(handle)


def test_a_disk_that_becomes_full_does_not_take_the_workers_last_words(small_disk: Path) -> None:
    far = Far(HereTransport(NEAR), sys.executable, keeper_module.__file__)
    run, gate = small_disk / "runs" / "a", small_disk / "gate"
    program = (
        "import os, sys, time\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
        "print('raw ' * 1000, file=sys.stderr); print('{\"type\": \"error\"}' + ' ' * 4000, flush=True); sys.exit(3)"
    )
    begun = far.start(str(run), {"argv": [sys.executable, "-c", program], "spec": "{}"})
    assert begun["started"] and begun["state"] == "running"
    fill(small_disk)
    gate.touch()
    wait_until(lambda: far.status(str(run))["state"] == "ended", words=lambda: far.status(str(run)))
    end = far.status(str(run))["exit"]
    assert end["code"] == 3 and end["free_bytes"] < 1 << 20
    assert (run / "events.jsonl").read_text().strip() == '{"type": "error"}'
    assert (run / "log.txt").read_text().startswith("raw raw")


def test_what_a_program_does_to_its_standard_error_is_not_done_to_ours() -> None:
    program = (
        "import os, sys; from workbench.remote.transport import open_here\n"
        "child = open_here([sys.executable, '-c', 'import os; os.set_blocking(2, False); os.write(2, b\"said\")'])\n"
        "child.wait(); print(os.get_blocking(2))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "said")  # ssh does so, and a full pipe was then an error of ours


def test_a_cancel_while_a_run_is_begun_waits_until_there_is_one_to_be_ended() -> None:
    cancel, before = _Cancel(), signal.getsignal(signal.SIGALRM)
    old = signal.signal(signal.SIGTERM, cancel)
    begun = False
    try:
        with pytest.raises(_Stopped), cancel.later():
            os.kill(os.getpid(), signal.SIGTERM)
            begun = True
        assert begun and 2.0 < cancel.seconds_left <= 4.0
        with pytest.raises(_Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, old)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not shutil.which("rsync"), reason="there is no rsync on this machine")
def test_links_to_nothing_and_in_circles_are_left_out_and_others_followed(tmp_path: Path) -> None:
    model, outside = tmp_path / "a [model]", tmp_path / "outside"
    (model / "sub").mkdir(parents=True)
    outside.mkdir()
    for path in (model / "w.bin", outside / "shard"):
        path.write_bytes(b"1234")
    links = {"[dead]*": "/nowhere", "self": "self", "loop": ".", "sub/up": "..", "out": str(outside), "w": "w.bin"}
    for name, to in links.items():
        (model / name).symlink_to(to)
    files, left = walk(model)
    assert sorted(name for name, _ in files) == ["out/shard", "w", "w.bin"]
    assert sorted(left) == ["[dead]*", "loop", "self", "sub/up"]
    far = tmp_path / "far"
    far.mkdir()
    rsync.send("box", "", model, f"{far}/", lambda done, total: None)
    there = sorted(path.relative_to(far).as_posix() for path in far.rglob("*") if path.is_file())
    assert there == ["out/shard", "w", "w.bin"] and not any(path.is_symlink() for path in far.rglob("*"))


def probe(folder: Path, code: str = "") -> dict[str, Any]:
    return ready.probe(HereTransport(NEAR), NEAR, str(folder), sys.executable, sys.executable, code)


def test_folders_there_are_for_nobody_else_and_code_is_marked_as_used(tmp_path: Path) -> None:
    folder = tmp_path / "far"
    (folder / "runs").mkdir(parents=True)
    (folder / "runs").chmod(0o777)
    code = folder / "code" / "0123abcd"
    before = os.umask(0o022)
    try:
        probe(folder, str(code))
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o077 for path in (folder / "runs", folder / "code", code)] == [0, 0, 0]
    folder.chmod(0o770)
    probe(folder)
    assert folder.stat().st_mode & 0o777 == 0o770  # the target's own folder is its owner's business
    assert (folder / "code" / ".used-0123abcd").exists()  # by which it is taken away when nobody uses it any more


def test_an_old_python_and_a_folder_that_cannot_be_there_are_told(tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\necho 3.7.3\n")
    old.chmod(0o755)
    with pytest.raises(BadInputError) as caught:
        ready.probe(HereTransport(NEAR), NEAR, str(tmp_path / "far"), sys.executable, str(old), "")
    assert caught.value.failure.code == "old-python" and "3.7.3" in caught.value.failure.evidence
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError) as caught:
        probe(tmp_path / "file" / "below")
    assert caught.value.failure.code == "not-writable"


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes what belongs to others")
def test_code_that_somebody_else_put_there_is_not_run(tmp_path: Path) -> None:
    code = tmp_path / "far" / "code" / "0123abcd"
    code.mkdir(parents=True)
    os.chown(code, 12345, 12345)
    with pytest.raises(BadInputError) as caught:
        probe(tmp_path / "far", str(code))
    assert caught.value.failure.code == "not-yours" and str(code) in caught.value.failure.evidence


def test_ages_are_told_by_the_clock_there(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "request.json").write_text("{}")
    (run / "seen").touch()
    program = Path(keeper_module.__file__).with_name("run_folder.py").read_bytes()  # as it is sent: on standard input
    asked = [sys.executable, "-", "runs", str(run.parent)]
    done = subprocess.run(asked, input=program, capture_output=True, check=True)
    (found,) = json.loads(done.stdout.removeprefix(b"@keeper "))["runs"]
    assert found["state"] == "waiting" and 0 <= found["seen_s_ago"] < 60
