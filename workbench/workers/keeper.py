"""Keeps one worker's run on another machine: it outlives the connection, and what it says waits there to be read.

Sent alone and started by path, with whatever Python the machine has (3.8 or newer): so nothing but the standard
library may be imported, and nothing of ours. A run is a folder:

    request.json   argv, environment and first line of the worker, written by `start`
    state.json     who holds it, once it is held      beat.json  that it still is, and how long the worker is idle
    events.jsonl   the worker's messages              log.txt    its raw output
    output/        what it makes                      exit.json  how it ended
    seen           touched by readers (the lease)     stop       asks the holder to end the worker

Answers are one line each, `@keeper {json}`; what `follow` prints is told at `follow`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

OLDEST = (3, 8)
MARK = "@keeper "
FRAMES = "@keeper frames 1"
LEASE_SECONDS = 12 * 3600.0
GRACE_SECONDS = 2.0
BEAT_SECONDS = 2.0
FRESH_SECONDS = 60.0
"""A beat of another machine's holder younger than this means that it lives; shared file systems are slow to show."""
_CHUNK = 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PARENT_VARIABLE = "WORKBENCH_PARENT_PID"


# -- a run's folder


def read_json(path: Path) -> dict | None:
    """The object in a file; None when it is not there. Files are renamed into place, so never half of one."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_json(path: Path, data: dict) -> None:
    half = path.with_name(f"{path.name}.{os.getpid()}")
    with half.open("w", encoding="utf-8") as out:
        out.write(json.dumps(data))
        out.flush()
        os.fsync(out.fileno())
    half.replace(path)


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


# -- holding a worker


def start(run: Path) -> dict:
    """Begin the run that standard input describes and return at once; one that is there already is left as it is."""
    made = prepare(run, json.loads(sys.stdin.read()))
    if made["state"] not in ("none", "waiting"):  # waiting: whoever was to hold it died before it did
        return {**made, "started": False}
    if os.fork() == 0:
        _detach(run)
        os._exit(hold(run))
    with contextlib.suppress(ChildProcessError):
        os.wait()
    end = time.monotonic() + 20.0
    while time.monotonic() < end and not (run / "state.json").exists() and not (run / "exit.json").exists():
        time.sleep(0.02)
    return {**status(run), "started": True}


def prepare(run: Path, request: dict) -> dict:
    """Make the run's folder. The status that it had: `none` when it was made now."""
    make_private(run)
    with (run / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = status(run)
        touch(run / "seen")
        for folder, days in request.get("prune", []):
            prune(Path(folder), days)
        if found["state"] == "none":
            (run / "output").mkdir(exist_ok=True)
            write_json(run / "request.json", request)
        return found


def _detach(run: Path) -> None:
    """Leave the login's session: its end must not be ours."""
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(run / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, handle in ((0, nothing), (1, log), (2, log)):
        os.dup2(handle, number)
    os.closerange(3, 256)


def hold(run: Path) -> int:
    """Run the worker to its end, in the foreground. The exit code is the worker's, or 3."""
    lock = (run / "holder.lock").open("a")  # held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 3  # another one holds it
    ended = read_json(run / "exit.json")
    again = os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")  # preempted or its node failed, and requeued
    if ended is not None and not (again and ended.get("why") == "terminated"):
        return 0
    if (run / "state.json").exists():
        shutil.rmtree(run / "output", ignore_errors=True)
        (run / "output").mkdir()
        with contextlib.suppress(FileNotFoundError):
            (run / "exit.json").unlink()
    return _Holder(run).run()


class _Holder:
    def __init__(self, run: Path) -> None:
        self.folder = run
        self.request = read_json(run / "request.json") or {}
        self.lease_s = float(self.request.get("lease_s", LEASE_SECONDS))
        self.why = ""
        self.worker: subprocess.Popen | None = None
        self.used = (0.0, 0)
        self.active_at = time.monotonic()

    def run(self) -> int:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: setattr(self, "why", self.why or "terminated"))
        kills = oom_kills()
        try:
            self._begin()
        except OSError as error:
            return self._end({"code": 127, "why": "not-started", "text": str(error)})
        try:
            while self.worker.poll() is None and not self._to_stop():
                self._beat()
                self._wait(BEAT_SECONDS)
            if self.worker.poll() is None:
                self._stop()
        finally:
            self._kill_all()
        code = self.worker.returncode
        how = {"code": code} if code >= 0 else {"code": None, "signal": -code}
        return self._end({**how, "why": self.why or "ended", "oom_kills": max(0, oom_kills() - kills)})

    def _begin(self) -> None:
        state = {"pid": os.getpid(), "host": socket.gethostname(), "boot": boot_id(), "began_at": time.time()}
        job = os.environ.get("SLURM_JOB_ID", "")
        write_json(self.folder / "state.json", {**state, "slurm_job": job} if job else state)
        environ = {**os.environ, **self.request.get("env", {}), "PYTHONUNBUFFERED": "1"}
        if not self.request.get("wrapped"):
            environ[_PARENT_VARIABLE] = str(os.getpid())
        spec = (self.request.get("spec", "") + "\n").encode("utf-8")
        with (self.folder / "events.jsonl").open("ab") as events, (self.folder / "log.txt").open("ab") as log:
            self.worker = subprocess.Popen(
                self.request["argv"],
                stdin=subprocess.PIPE,
                stdout=events,
                stderr=log,
                cwd=self.folder,
                env=environ,
                start_new_session=True,
            )
        threading.Thread(target=self._tell, args=(spec,), daemon=True).start()

    def _tell(self, spec: bytes) -> None:
        with contextlib.suppress(OSError):
            self.worker.stdin.write(spec)
            self.worker.stdin.flush()  # and it stays open: its end would be the worker's

    def _to_stop(self) -> bool:
        if (self.folder / "stop").exists():
            self.why = self.why or "stopped"
        elif not self.why:
            with contextlib.suppress(OSError):
                touch(self.folder / "now")
                if (self.folder / "now").stat().st_mtime - (self.folder / "seen").stat().st_mtime > self.lease_s:
                    self.why = "lease"
        return bool(self.why)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.worker.poll() is None:
            if self.why or (self.folder / "stop").exists():
                return
            time.sleep(0.05)

    def _beat(self) -> None:
        used = self._use()
        if abs(used[0] - self.used[0]) > 0.2 or used[1] != self.used[1]:
            self.used, self.active_at = used, time.monotonic()
        with contextlib.suppress(OSError):  # a full disk: the worker will say so
            write_json(self.folder / "beat.json", {"idle_s": round(time.monotonic() - self.active_at, 1)})

    def _use(self) -> tuple[float, int]:
        """Processor seconds and megabytes moved by all below us; bytes said."""
        ticks, moved, said = 0, 0, 0
        for pid in descendants(os.getpid()):
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
                text = Path(f"/proc/{pid}/io").read_text("ascii")
                moved += sum(int(line.split()[1]) for line in text.splitlines()[:2])
        for name in ("events.jsonl", "log.txt"):
            with contextlib.suppress(OSError):
                said += (self.folder / name).stat().st_size
        return ticks / os.sysconf("SC_CLK_TCK") + moved / 1e6, said

    def _stop(self) -> None:
        """SIGTERM to the worker's group, a grace, and what is left is killed by `_kill_all`."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + float(self.request.get("grace_s", GRACE_SECONDS))
        while self.worker.poll() is None and time.monotonic() < end:
            time.sleep(0.02)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.worker.pid, number)

    def _kill_all(self) -> None:
        if self.worker.poll() is None:
            self._signal(signal.SIGKILL)
            self.worker.wait()
        for _ in range(500):
            left = descendants(os.getpid())
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not left:
                return
            time.sleep(0.01)

    def _end(self, how: dict) -> int:
        write_json(self.folder / "exit.json", {**how, "at": time.time()})
        code = how.get("code")
        return 3 if code is None else int(code)


def descendants(root: int) -> list[int]:
    """Process ids of all below `root`; zombies are left out."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names alone, often
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{entry}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry)] = int(fields[1])
    below, found = {root}, []
    grew = True
    while grew:
        new = [pid for pid, parent in parents.items() if parent in below and pid not in below]
        below.update(new)
        found.extend(new)
        grew = bool(new)
    return found


def oom_kills() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


# -- reading a run


def follow(run: Path, events_from: int, log_from: int) -> int:
    """Print what a run says, from where the reader is, until it ends. Frames on standard output:

    `E FROM BYTES` and `L FROM BYTES`, a line each, then so many bytes of events.jsonl or log.txt; `S {json}` its
    status, every two seconds; `X {json}` its last status, after all that it said.
    """
    out = sys.stdout.buffer
    out.write(FRAMES.encode() + b"\n")
    out.flush()
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
        if not moved:
            time.sleep(0.05)


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
        touch(run / "stop")
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


def runs(folder: Path) -> dict:
    """All runs in a folder, with their status and when they were last looked at."""
    found = []
    with contextlib.suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if (entry / "request.json").exists():
                seen = (entry / "seen").stat().st_mtime if (entry / "seen").exists() else None
                found.append({"run": entry.name, "seen_at": seen, **status(entry)})
    return {"runs": found}


def answer(data: dict) -> int:
    print(MARK + json.dumps(data), flush=True)
    return 0


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("keeper")
    commands = parser.add_subparsers(dest="command")
    for name in ("start", "hold", "prepare", "status", "follow", "stop", "remove", "keep", "runs"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--events-from", type=int, default=0)
        command.add_argument("--log-from", type=int, default=0)
        command.add_argument("--seconds", type=float, default=10.0)
        command.add_argument("--to", type=Path)
        command.add_argument("--remove", action="store_true")
    given = parser.parse_args(words)
    folder = given.folder
    if given.command == "hold":
        return hold(folder)
    if given.command == "follow":
        return follow(folder, given.events_from, given.log_from)
    actions = {
        "start": lambda: start(folder),
        "prepare": lambda: prepare(folder, json.loads(sys.stdin.read())),
        "status": lambda: status(folder),
        "stop": lambda: stop(folder, given.seconds, given.remove),
        "remove": lambda: remove(folder),
        "keep": lambda: keep(folder, given.to),
        "runs": lambda: runs(folder),
    }
    try:
        return answer(actions[given.command]())
    except OSError as error:
        return answer({"state": "error", "errno": error.errno, "text": str(error)})


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        sys.stderr.write("this Python is too old: %s\n" % sys.version.split()[0])  # noqa: UP031 - it must parse there
        sys.exit(4)
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # the reader is gone
        os._exit(0)
