"""Files and pipes on another machine: what stands there, what it is, and a host that ends with its client.

Like keeper.py it is started by path with whatever Python the machine has (3.8 or newer): the standard library alone.
Answers are one line each, `@keeper {json}`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

MARK = "@keeper "
_PR_SET_CHILD_SUBREAPER = 36
_PARENT_VARIABLE = "WORKBENCH_PARENT_PID"


def room(folders: list[str]) -> dict:
    """Bytes that stand in each folder already, which is made and marked as used; bytes that are free beside us."""
    found = {}
    os.umask(0o077)
    for folder in folders:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        place.with_name(f".used-{place.name}").write_text("")
        size = 0
        for parent, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    size += (Path(parent) / name).stat().st_size
        found[folder] = size
    disk = os.statvfs(Path(__file__).resolve().parent)
    return {"free": disk.f_bavail * disk.f_frsize, "bytes": found}


def rename(files: list[str], pairs: list[list[str]]) -> dict:
    """Write paths in files of ours as they are called here; a file that is linked elsewhere stays as it is there."""
    changed = 0
    for name in files:
        path = Path(name)
        before = text = path.read_text("utf-8")
        for local, far in pairs:
            text = text.replace(json.dumps(local)[1:-1], json.dumps(far)[1:-1])
        if text != before:
            half = path.with_name(path.name + f".{os.getpid()}")
            half.write_text(text, "utf-8")
            half.replace(path)
            changed += 1
    return {"changed": changed}


def digest(folder: Path) -> dict:
    """Size and SHA-256 of every file below."""
    files = []
    for parent, names, own in os.walk(folder, followlinks=True):
        names.sort()
        for name in sorted(own):
            path = Path(parent) / name
            checksum, size = hashlib.sha256(), 0
            with path.open("rb") as source:
                while True:
                    data = source.read(4 << 20)
                    if not data:
                        break
                    checksum.update(data)
                    size += len(data)
            files.append([path.relative_to(folder).as_posix(), size, checksum.hexdigest()])
    return {"files": files}


def pipe(argv: list[str], grace_s: float) -> int:
    """Run a program on our own pipes; it ends when its input does: for engine hosts, which belong to their client."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    environ = {**os.environ, _PARENT_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    worker = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True, env=environ)

    def end(number: int = 0, frame: object = None) -> None:
        with contextlib.suppress(OSError):
            os.killpg(worker.pid, signal.SIGTERM)
        threading.Timer(grace_s, lambda: os.killpg(worker.pid, signal.SIGKILL)).start()

    def pass_on() -> None:
        with contextlib.suppress(OSError):
            while True:
                data = os.read(0, 1 << 16)
                if not data:
                    break
                view = memoryview(data)
                while view:
                    view = view[os.write(worker.stdin.fileno(), view) :]
        with contextlib.suppress(OSError):
            worker.stdin.close()
        time.sleep(grace_s)
        end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    threading.Thread(target=pass_on, daemon=True).start()
    code = worker.wait()
    for pid in _below():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)


def _below() -> list[int]:
    """Process ids of our children, and of what they left behind."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text("utf-8", "replace").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(entry.parent.name))
    return found


def answer(data: dict) -> int:
    sys.stdout.write(MARK + json.dumps(data) + "\n")
    sys.stdout.flush()
    return 0


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("far_files")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("rename")
    for name in ("room", "digest"):
        commands.add_parser(name).add_argument("folders", nargs="*")
    command = commands.add_parser("pipe")
    command.add_argument("--grace", type=float, default=10.0)
    command.add_argument("argv", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    try:
        if given.command == "pipe":
            return pipe([word for word in given.argv if word != "--"], given.grace)
        if given.command == "room":
            return answer(room(given.folders))
        if given.command == "digest":
            return answer(digest(Path(given.folders[0])))
        return answer(rename(**json.loads(sys.stdin.read())))
    except OSError as error:
        return answer({"state": "error", "errno": error.errno, "text": str(error)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
