"""A run's folder on another machine, for whoever asks about it: how it stands, what it said, its end, its removal.

Sent alone, as keeper.py is, or given to an interpreter's standard input: with whatever Python the machine has (3.8 or
newer) and its standard library, and nothing of ours. What stands in the folder is told in keeper.py.

Answers are one line each, `@keeper {json}`; what `follow` prints is told at `follow`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

OLDEST = (3, 8)
MARK = "@keeper "
FRAMES = "@keeper frames 1"
BEAT_SECONDS = float(os.environ.get("WORKBENCH_KEEPER_BEAT_SECONDS", "2.0"))
FRESH_SECONDS = 60.0
"""A beat of another machine's holder younger than this means that it lives; shared file systems are slow to show."""
_CHUNK = 1 << 18


def read_json(path: Path) -> dict | None:
    """The object in a file; None when it is not there. Files are renamed into place, so never half of one."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_json(path: Path, data: dict) -> None:
    half = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with half.open("w", encoding="utf-8") as out:
            out.write(json.dumps(data))
            out.flush()
            os.fsync(out.fileno())
        half.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            half.unlink()
        raise


def boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def held(run: Path) -> bool:
    """Whether a keeper holds the run: by its lock on the same machine, by its beat from another one."""
    state = read_json(run / "state.json") or {}
    if state.get("host") == socket.gethostname():
        try:
            with (run / "holder.lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False
    with contextlib.suppress(OSError):
        touch(run / "now")  # both times by the clock of whoever keeps the files
        return (run / "now").stat().st_mtime - (run / "beat.json").stat().st_mtime < FRESH_SECONDS
    return False


def make_private(folder: Path) -> None:
    """The folder, and those above it that are missing, for nobody else's eyes."""
    before = os.umask(0o077)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(before)


def touch(path: Path) -> None:
    with path.open("a"):
        os.utime(path)


def status(run: Path) -> dict:
    """`none`, `waiting` (asked for and not begun), `running`, `ended` or `lost`, with what is known of it."""
    request = read_json(run / "request.json")
    if request is None:
        return {"state": "none"}
    known = {"title": request.get("title", ""), "owner": request.get("owner", "")}
    state = read_json(run / "state.json")
    ended = read_json(run / "exit.json")
    if ended is None and state is not None and not held(run):
        ended = read_json(run / "exit.json")  # it may have come to its end meanwhile
        if ended is None:
            rebooted = state.get("host") == socket.gethostname() and state.get("boot") != boot_id()
            return {**known, **state, "state": "lost", "rebooted": rebooted}
    if ended is not None:
        return {**known, **(state or {}), "state": "ended", "exit": ended}
    if state is None:
        return {**known, "state": "waiting"}
    beat = read_json(run / "beat.json") or {}
    return {**known, **state, "state": "running", "idle_s": beat.get("idle_s", 0.0)}


# -- reading a run


def follow(run: Path, events_from: int, log_from: int) -> int:
    """Print what a run says, from where the reader is, until it ends. Frames on standard output:

    `E FROM BYTES` and `L FROM BYTES`, a line each, then so many bytes of events.jsonl or log.txt; `S {json}` its
    status, every two seconds; `X {json}` its last status, after all that it said.
    """
    out = sys.stdout.buffer
    out.write(FRAMES.encode() + b"\n")
    out.flush()
    gone = select.poll()
    gone.register(1, 0)  # whoever reads has closed its end
    ends = {"E": events_from, "L": log_from}
    told = 0.0
    while True:
        now = time.monotonic()
        last = None
        if now - told >= BEAT_SECONDS or not told:
            told = now
            if not run.is_dir():
                last = {"state": "none"}
            else:
                touch(run / "seen")
                found = status(run)
                if found["state"] in ("running", "waiting"):
                    out.write(b"S " + json.dumps(found).encode() + b"\n")
                else:
                    last = found
        elif (run / "exit.json").exists():
            last = status(run)
        moved = False
        while True:  # what was said before the end was seen is all there
            more = [_frame(out, run / name, kind, ends) for kind, name in (("E", "events.jsonl"), ("L", "log.txt"))]
            moved = moved or any(more)
            if not (last and any(more)):
                break
        if last:
            out.write(b"X " + json.dumps(last).encode() + b"\n")
        out.flush()
        if last:
            return 0
        if not moved and gone.poll(50):
            return 0


def _frame(out: object, path: Path, kind: str, ends: dict) -> bool:
    data = b""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as source:
        source.seek(ends[kind])
        data = source.read(_CHUNK)
    if not data:
        return False
    out.write(f"{kind} {ends[kind]} {len(data)}\n".encode() + data)
    ends[kind] += len(data)
    return True


def stop(run: Path, seconds: float, and_remove: bool) -> dict:
    """Ask the run's holder to end its worker, wait until it did, and take the run away where that is asked."""
    if run.is_dir():
        try:
            touch(run / "stop")
        except OSError:  # the disk is full
            state = read_json(run / "state.json") or {}
            if state.get("host") == socket.gethostname() and held(run):
                os.kill(int(state["pid"]), signal.SIGTERM)
    end = time.monotonic() + seconds
    while True:
        found = status(run)
        if found["state"] not in ("running", "waiting"):
            return {**remove(run), **found} if and_remove else found
        if time.monotonic() > end:
            return found
        time.sleep(0.02)


def remove(run: Path) -> dict:
    """Take an ended run away. One that is running stays."""
    found = status(run)
    if found["state"] == "running":
        return {**found, "removed": False}
    shutil.rmtree(run, ignore_errors=True)
    return {**found, "removed": not run.exists()}


def keep(run: Path, place: Path) -> dict:
    """Move what a run made to where later sends find it and need not send it again, and take the run away."""
    if (run / "output").is_dir():  # else it was done before, and the answer was lost on its way
        shutil.rmtree(place, ignore_errors=True)
        make_private(place.parent)
        (run / "output").replace(place)
        touch(place.with_name(f".used-{place.name}"))
    return {**remove(run), "kept": str(place)}


def prune(folder: Path, days: float) -> None:
    """Remove folders whose mark of use beside them is that old; those without one stay."""
    for mark in folder.glob(".used-*"):
        with contextlib.suppress(OSError):
            if time.time() - mark.stat().st_mtime > days * 86400:
                shutil.rmtree(mark.with_name(mark.name[len(".used-") :]), ignore_errors=True)
                mark.unlink()


def prune_runs(folder: Path, days: float) -> None:
    """Remove runs that are over, and that nobody has looked at for so long."""
    with contextlib.suppress(OSError):
        for run in list(folder.iterdir()):
            with contextlib.suppress(OSError):
                old = time.time() - (run / "seen").stat().st_mtime > days * 86400
                if old and status(run)["state"] in ("ended", "lost"):
                    shutil.rmtree(run, ignore_errors=True)


def runs(folder: Path) -> dict:
    """All runs in a folder, with their status and when they were last looked at."""
    found = []
    with contextlib.suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if (entry / "request.json").exists():
                seen = (entry / "seen").stat().st_mtime if (entry / "seen").exists() else None
                ago = None if seen is None else max(0.0, time.time() - seen)  # by this machine's clock, not the asker's
                found.append({"run": entry.name, "seen_at": seen, "seen_s_ago": ago, **status(entry)})
    return {"runs": found}


def answer(work: object) -> int:
    """Print what `work` gives, or the error of the operating system that it met."""
    try:
        data = work()
    except OSError as error:
        data = {"state": "error", "errno": error.errno, "text": str(error)}
    print(MARK + json.dumps(data), flush=True)
    return 0


def refuse_old() -> None:
    if sys.version_info < OLDEST:
        sys.stderr.write("this Python is too old: %s\n" % sys.version.split()[0])  # noqa: UP031 - it must parse there
        sys.exit(4)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("run_folder")
    commands = parser.add_subparsers(dest="command")
    for name in ("status", "follow", "stop", "remove", "keep", "runs"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--events-from", type=int, default=0)
        command.add_argument("--log-from", type=int, default=0)
        command.add_argument("--seconds", type=float, default=10.0)
        command.add_argument("--to", type=Path)
        command.add_argument("--remove", action="store_true")
    given = parser.parse_args(words)
    folder = given.folder
    if given.command == "follow":
        return follow(folder, given.events_from, given.log_from)
    actions = {
        "status": lambda: status(folder),
        "stop": lambda: stop(folder, given.seconds, given.remove),
        "remove": lambda: remove(folder),
        "keep": lambda: keep(folder, given.to),
        "runs": lambda: runs(folder),
    }
    return answer(actions[given.command])


if __name__ == "__main__":
    refuse_old()
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # the reader is gone
        os._exit(0)
