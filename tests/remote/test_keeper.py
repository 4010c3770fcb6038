"""The keeper by itself, as the far side starts it: detached, held, followed, stopped, lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.remote.relays import processes_below, wait_until
from workbench.remote.ends import explain_end
from workbench.remote.events import Position, read_frames
from workbench.remote.far import Far
from workbench.remote.here import HereTransport
from workbench.remote.transport import CutError, end_group
from workbench.workers import keeper as keeper_module

KEEPER = Path(keeper_module.__file__)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    from workbench.core.target import Target

    target = Target(name="near", kind="here", folder=str(tmp_path / "far"))
    yield Far(HereTransport(target), sys.executable, str(KEEPER))
    for process in processes_below(str(tmp_path)):
        process.kill()
    wait_until(lambda: not processes_below(str(tmp_path)))


def request(program: str, **more: Any) -> dict[str, Any]:
    return {"argv": [sys.executable, "-u", "-c", program], "spec": "{}", "title": "Try", **more}


def ended(far: Far, run: Path) -> dict[str, Any]:
    wait_until(lambda: far.status(str(run))["state"] == "ended", words=lambda: far.status(str(run)))
    return dict(far.status(str(run))["exit"])


def test_only_the_standard_library_is_needed_and_an_old_python_reads_it() -> None:
    for name in ("keeper.py", "run_folder.py", "far_files.py"):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import ast; ast.parse(open({str(KEEPER.with_name(name))!r}).read(), "
             "feature_version=(3, 7))"],
            check=False,
        )  # fmt: skip
        assert done.returncode == 0
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(KEEPER.with_name(name)), "--help"], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_goes_on_alone_and_tells_all_it_said(far: Far, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    program = 'import sys; line = input(); print(\'{"type": "x"}\'); print(line, file=sys.stderr); sys.stdin.read()'
    assert far.status(str(run)) == {"state": "none"}
    begun = far.start(str(run), request(program, spec="hello there"))
    assert begun["started"] and begun["state"] == "running" and os.getsid(begun["pid"]) != os.getsid(0)
    assert far.start(str(run), request(program))["started"] is False
    assert run.stat().st_mode & 0o077 == 0 and far.remove(str(run))["removed"] is False
    process, place = far.follow(str(run), 0, 0), Position()
    lines, raw = [], b""
    try:
        for frame in read_frames(process, place, 30.0):
            if frame.kind == "line":
                lines.append(frame.data)
            raw += frame.data if frame.kind == "log" else b""
            if lines and raw:
                break
    finally:
        end_group(process)
    assert lines == [b'{"type": "x"}\n'] and raw == b"hello there\n"
    assert far.stop(str(run), 10.0)["exit"]["why"] == "stopped"
    assert far.remove(str(run))["removed"] and not run.exists()


@pytest.mark.slow
def test_nobody_looks_for_too_long_and_the_keeper_is_killed(far: Far, tmp_path: Path) -> None:
    first, second = tmp_path / "lease", tmp_path / "lost"
    endless = "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
    far.start(str(first), request(endless, lease_s=0.1))
    begun = far.start(str(second), request(endless))
    wait_until(lambda: len(processes_below(str(second))) >= 3)
    psutil.Process(begun["pid"]).kill()
    wait_until(lambda: far.status(str(second))["state"] == "lost")
    words = explain_end(far.status(str(second)), "Build", "box")
    assert words.code == "lost" and str(begun["pid"]) in words.evidence
    end = ended(far, first)
    assert end["why"] == "lease" and explain_end({"state": "ended", "exit": end}, "Build", "box").code == "lease"
    assert not processes_below(str(first))


@pytest.mark.slow
def test_a_program_that_is_not_there_and_one_that_is_killed(far: Far, tmp_path: Path) -> None:
    far.start(str(tmp_path / "a"), {"argv": ["/nowhere/python3"], "spec": ""})
    end = ended(far, tmp_path / "a")
    assert explain_end({"state": "ended", "exit": end}, "Build", "box").code == "not-started"
    far.start(str(tmp_path / "b"), request("import os; os.kill(os.getpid(), 9)"))
    end = ended(far, tmp_path / "b")
    assert end["signal"] == signal.SIGKILL and end["why"] == "ended"
    assert [found["run"] for found in far.runs(str(tmp_path))] == ["a", "b"]


@pytest.mark.slow
def test_a_holder_that_died_before_it_began_is_replaced(far: Far, tmp_path: Path) -> None:
    run = tmp_path / "a"
    assert far.prepare(str(run), request("print('{}')"))["state"] == "none"
    assert far.status(str(run))["state"] == "waiting"
    assert far.start(str(run), request("print('never')"))["started"] is True
    assert ended(far, run)["code"] == 0 and (run / "events.jsonl").read_text() == "{}\n"


def frames(*parts: bytes) -> subprocess.Popen[bytes]:
    text = b"".join(parts)
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))", text.hex()],
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def test_frames_go_on_at_the_last_whole_line(tmp_path: Path) -> None:
    place = Position()
    first = frames(b"Welcome!\n@keeper frames 1\n", b'E 0 9\n{"a":1}\n{', b"L 0 4\nraw\n", b'S {"state": "running"}\n')
    seen = []
    with first, pytest.raises(CutError):
        for frame in read_frames(first, place, 30.0):
            seen.append((frame.kind, frame.data))
    assert seen == [("line", b'{"a":1}\n'), ("log", b"raw\n"), ("status", b"")]
    assert (place.events, place.log) == (8, 4)
    place.forget_rest()
    second = frames(b"@keeper frames 1\n", b'E 8 8\n{"a":2}\n', b'X {"state": "ended"}\n')
    with second:
        found = list(read_frames(second, place, 30.0))
    assert [frame.kind for frame in found] == ["line", "end"] and found[0].data == b'{"a":2}\n' and place.events == 16
    half = frames(b"@keeper frames 1\n", b'E 16 4\n{"a"', b'X {"state": "ended"}\n')
    with half:
        kinds = [frame.kind for frame in read_frames(half, place, 30.0)]
    assert kinds == ["log", "end"], "a worker that died in the middle of a line said no message"
    place.forget_rest()
    huge = frames(b"@keeper frames 1\n", b"E 16 99999999999\n")
    with huge, pytest.raises(CutError, match="a frame of"):
        list(read_frames(huge, place, 30.0))
    wrong = frames(b"@keeper frames 1\n", b'E 0 8\n{"a":1}\n')
    with wrong, pytest.raises(CutError, match="byte 16 is wanted"):
        list(read_frames(wrong, place, 30.0))


def test_a_line_that_is_silent_is_a_dead_one() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.PIPE) as silent:
        began = time.monotonic()
        with pytest.raises(CutError, match="nothing was heard"):
            list(read_frames(silent, Position(), 0.2))
        assert time.monotonic() - began < 10
        silent.kill()


@pytest.mark.parametrize(
    ("end", "code", "shown"),
    [
        ({"code": None, "signal": 9, "oom_kills": 2, "why": "ended"}, "out-of-memory", "2 out-of-memory"),
        ({"code": None, "signal": 9, "oom_kills": 0, "why": "ended"}, "killed", "SIGKILL"),
        ({"code": None, "signal": 11, "why": "ended"}, "crashed", "SIGSEGV"),
        ({"code": None, "signal": 15, "why": "terminated"}, "killed", "terminated"),
        ({"code": 3, "why": "ended", "free_bytes": 10**9}, "failed", "exit code 3"),
        ({"code": None, "signal": 6, "why": "ended", "free_bytes": 4096}, "disk-full", "4 KiB were free"),
        ({"code": 0, "why": "ended"}, "no-result", "exit code 0"),
    ],
)
def test_ends_in_words(end: dict[str, Any], code: str, shown: str) -> None:
    words = explain_end({"state": "ended", "exit": end}, "Build", "box")
    assert words.code == code and shown in words.evidence and "box" in words.what and words.fix
    json.dumps(words.model_dump())


@pytest.mark.slow
def test_what_nobody_used_for_long_is_taken_away(far: Far, tmp_path: Path) -> None:
    kept = tmp_path / "inputs"
    names = [str(kept / "old"), str(kept / "new")]
    found = far.ask("room", *names)
    assert found["bytes"] == dict.fromkeys(names, 0) and found["free"] > 0
    (kept / "unmarked").mkdir()
    for name in ("old", "unmarked"):
        os.utime(kept / name, (0, 0))
    os.utime(kept / ".used-old", (0, 0))
    far.prepare(str(tmp_path / "run"), request("", prune=[[str(kept), 14.0], [str(tmp_path / "nowhere"), 3.0]]))
    assert sorted(path.name for path in kept.iterdir()) == [".used-new", "new", "unmarked"]
    runs = tmp_path / "runs"
    for name, files in {"over": ["exit.json"], "young": ["exit.json"], "waiting": []}.items():
        (runs / name).mkdir(parents=True)
        for file in ("request.json", *files):
            (runs / name / file).write_text("{}")
        (runs / name / "seen").touch()
        if name != "young":
            os.utime(runs / name / "seen", (0, 0))
    far.prepare(str(runs / "new"), request("", runs_days=14.0))
    assert sorted(path.name for path in runs.iterdir()) == ["new", "waiting", "young"]


@pytest.mark.slow
def test_a_worker_that_does_nothing_is_seen_as_idle_and_a_busy_one_is_not(
    far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_KEEPER_BEAT_SECONDS", "0.3")
    idle, busy = str(tmp_path / "idle"), str(tmp_path / "busy")
    far.start(idle, request("import time; time.sleep(600)"))
    far.start(busy, request("while True: pass"))
    wait_until(lambda: far.status(idle)["idle_s"] > 1.2, words=lambda: far.status(idle))
    assert far.status(busy)["idle_s"] < far.status(idle)["idle_s"]
    for run in (idle, busy):
        assert far.stop(run, 10.0)["state"] == "ended"
