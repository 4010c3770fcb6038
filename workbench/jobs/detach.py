"""Processes that outlive whoever starts them: how one is started with its lock held, and how it goes apart."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import workbench
from workbench.core.errors import StepFailedError
from workbench.jobs.worker import kill_orphans

_PR_SET_CHILD_SUBREAPER = 36


def lock_file(handle: int) -> bool:
    """Take a lock on an open file. A reader may hold it for an instant to see whether it is free."""
    for _ in range(40):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.025)
    return False


def start_apart(
    module: str, arguments: Sequence[str], handles: Iterable[int], folder: Path, what: str, without: Iterable[str] = ()
) -> None:
    """Run `python -m module arguments...`, which must call `go_apart`, and wait until it has done so.

    `handles` are open files that it inherits; `without` names variables that it must not. Raises StepFailedError,
    saying that `what` could not be started.
    """
    package = str(Path(workbench.__file__).parent.parent)
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    kept = {name: value for name, value in os.environ.items() if name not in set(without)}
    starter = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        pass_fds=tuple(handles),
        cwd=folder,  # `-m` looks in the working folder first, and the person's may hold anything
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**kept, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
        check=False,
    )
    if starter.returncode != 0:
        lines = starter.stderr.decode("utf-8", "replace").strip().splitlines()
        raise StepFailedError(f"{what} could not be started.", evidence=lines[-1] if lines else "", code="not-started")


def go_apart(folder: Path, lock: int, log: Path) -> bool:
    """Detach from the starter. True in the process that is to do the work, in `folder`, its output in `log`.

    False in two others that are to end with 0: the starter's child, at once, and the keeper, once the work is over
    and nothing of it is left. `lock` is an inherited open file that both hold and none of their children do.
    """
    if os.fork():
        return False  # the starter waits for this process only, and never has the worker as its child
    os.setsid()
    os.set_inheritable(lock, False)
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, out), (2, out)):
        os.dup2(source, target)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _adopt_orphans()
    pid = os.fork()
    if pid:
        _keep(pid)
        return False
    # Orphans of what it starts come to this process instead of init, so that none can get away.
    _adopt_orphans()
    return True


def _adopt_orphans() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _keep(pid: int) -> None:
    """The keeper: waits for the process and ends whatever it leaves, should it be killed.

    What a killed process started itself is taken along (death signal), but not what that started in turn. Those come
    to this process, which does nothing else. It holds the lock too, so the folder is not seen as left, and cannot be
    taken up again, before all of its processes are gone.
    """
    while True:
        with contextlib.suppress(InterruptedError):
            if os.waitpid(pid, 0)[0] == pid:
                break
    kill_orphans()
