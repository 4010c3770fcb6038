"""Keeps one worker's run on another machine: it outlives the connection, and what it says waits there to be read.

Started by path, with whatever Python the machine has (3.8 or newer): so nothing but the standard library may be
imported, and of ours only run_folder.py, which keeps to the same. A run is a folder:

    request.json   argv, environment and first line of the worker, written by `start`
    state.json     who holds it, once it is held      beat.json  that it still is, and how long the worker is idle
    events.jsonl   the worker's messages              log.txt    its raw output
    output/        what it makes                      exit.json  how it ended
    seen           touched by readers (the lease)     stop       asks the holder to end the worker
    reserve        room that is given up to say how it ended when the disk is full

Answers are one line each, `@keeper {json}`; run_folder.py answers for a run that was begun.
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

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from workbench.workers.run_folder import (
    BEAT_SECONDS,
    answer,
    boot_id,
    make_private,
    prune,
    prune_runs,
    read_json,
    refuse_old,
    status,
    touch,
    write_json,
)

LEASE_SECONDS = 12 * 3600.0
RESERVE_BYTES = 64 << 10
SAID_BYTES = 256 << 10
"""Room that is kept for the worker's next messages: a disk that is full does not take its last words."""
_FALLOC_FL_KEEP_SIZE = 1
GRACE_SECONDS = 2.0
_PR_SET_CHILD_SUBREAPER = 36
_PARENT_VARIABLE = "WORKBENCH_PARENT_PID"


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
    now = status(run)
    if now["state"] == "waiting":  # nobody would ever hold it
        lines = (run / "keeper.log").read_text("utf-8", "replace").splitlines()
        return {"state": "error", "errno": None, "text": lines[-1] if lines else "the keeper ended at once"}
    return {**now, "started": True}


def prepare(run: Path, request: dict) -> dict:
    """Make the run's folder. The status that it had: `none` when it was made now."""
    make_private(run)
    with (run / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = status(run)
        touch(run / "seen")
        for folder, days in request.get("prune", []):
            prune(Path(folder), days)
        if request.get("runs_days"):
            prune_runs(run.parent, request["runs_days"])
        if found["state"] == "none":
            (run / "output").mkdir(exist_ok=True)
            (run / "reserve").write_bytes(b"\0" * RESERVE_BYTES)
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
        self._write("state.json", {**state, "slurm_job": job} if job else state)
        self._keep_room()
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
        self._keep_room()
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
        with contextlib.suppress(OSError):
            disk = os.statvfs(self.folder)
            how = {**how, "free_bytes": disk.f_bavail * disk.f_frsize}
        self._write("exit.json", {**how, "at": time.time()})
        code = how.get("code")
        return 3 if code is None else int(code)

    def _keep_room(self) -> None:
        for name in ("events.jsonl", "log.txt"):
            keep_room(self.folder / name)

    def _write(self, name: str, data: dict) -> None:
        """A file that must be written: where the disk is full, into the room that was kept for it."""
        try:
            write_json(self.folder / name, data)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                (self.folder / "reserve").unlink()
            write_json(self.folder / name, data)


def keep_room(path: Path) -> None:
    """Blocks behind a file's end for what will be written next, where the file system knows how."""
    with contextlib.suppress(OSError, AttributeError), path.open("ab") as file:
        size = os.fstat(file.fileno()).st_size
        at, count = ctypes.c_int64(size), ctypes.c_int64(SAID_BYTES)
        ctypes.CDLL(None).fallocate64(file.fileno(), _FALLOC_FL_KEEP_SIZE, at, count)


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


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("keeper")
    commands = parser.add_subparsers(dest="command")
    for name in ("start", "hold", "prepare"):
        commands.add_parser(name).add_argument("folder", type=Path)
    given = parser.parse_args(words)
    if given.command == "hold":
        return hold(given.folder)
    if given.command == "start":
        return answer(lambda: start(given.folder))
    return answer(lambda: prepare(given.folder, json.loads(sys.stdin.read())))


if __name__ == "__main__":
    refuse_old()
    sys.exit(main(sys.argv[1:]))
