"""Stands in a worker's place: the worker itself runs on another machine. Speaks the worker protocol as one does.

    python -m workbench.remote.relay --target JSON --module workbench.workers.openvino.convert --code FOLDER
        [--python PATH]   interpreter there; else the target's `default`, else python3
        [--env K=V]...    for the worker there; no secrets: others can read the command line
        [--path PATH]...  folders or files that it reads beside its inputs and those that its settings name
        [--room BYTES]    what it will write, for the check of the disk there
        [--gpus N]        how many GPUs a batch system is asked for
        [--lease HOURS]   how long the run may go on there with nobody looking at it; 12
        [--title TEXT]    of the step, for people
        [--host]          an engine host: a plain pipe to it, and it ends with us

`--target` is a `workbench.core.target.Target` as JSON; `--code` a folder that holds `workbench/core` and
`workbench/workers`. The first line on standard input is the step's spec, with the names of this machine.

A step's run goes on when the connection is cut or this process is killed: the keeper there holds it (workers/
keeper.py), and the same step asked for again picks it up. SIGTERM ends it there, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from types import FrameType

from pydantic import ValidationError

from workbench.core.errors import WorkbenchError
from workbench.core.messages import PROTOCOL_VERSION, StepSpec
from workbench.remote.order import read_order
from workbench.remote.pipe import run_host
from workbench.remote.session import Session
from workbench.remote.transport import CutError
from workbench.remote.wire import Wire, end_with_input, read_first, tie_to_parent

STOP_SECONDS = 4.0
"""A little less than the grace that whoever stops us gives."""
BEGIN_SECONDS = 1.5
"""How long a run that is being begun is waited for when it is to be ended."""


class _Stopped(BaseException):
    """SIGTERM came."""


class _Cancel:
    """What SIGTERM does: the work is broken off where it stands, but not within `_Cancel.later`."""

    def __init__(self) -> None:
        self._later = self._came = False
        self._at = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._came, self._at = True, self._at or time.monotonic()
        if not self._later:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise _Stopped
        signal.signal(signal.SIGALRM, self._too_late)
        signal.setitimer(signal.ITIMER_REAL, BEGIN_SECONDS)

    def _too_late(self, number: int, frame: FrameType | None) -> None:
        raise _Stopped

    @contextlib.contextmanager
    def later(self) -> Iterator[None]:
        """A run that is being begun is begun first, so that there is one to be ended."""
        self._later = True
        try:
            yield
        finally:
            self._later = False
            if self._came:  # whatever became of it
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise _Stopped

    @property
    def seconds_left(self) -> float:
        return max(STOP_SECONDS - BEGIN_SECONDS, STOP_SECONDS - (time.monotonic() - self._at))


class _Late(CutError):
    """The far side takes too long to be waited for."""


def _late(number: int, frame: FrameType | None) -> None:
    raise _Late(f"no answer in {STOP_SECONDS:.0f} s")


def main(words: list[str]) -> int:
    """Exit code 0 after a result, 3 after an error."""
    tie_to_parent()
    wire = Wire()
    first, more = read_first()
    if not first.strip():
        return 1
    try:
        spec = StepSpec.model_validate_json(first)
        wire.hello(PROTOCOL_VERSION, spec.worker)
        order = read_order(words)
        if order.host:
            return run_host(order, spec, more, wire)
        end_with_input()
        wire.stay_alive()
        cancel = _Cancel()
        signal.signal(signal.SIGTERM, cancel)
        session = Session(order, spec, wire)
        session.not_stopped_meanwhile = cancel.later
        return _step(session, wire, cancel)
    except WorkbenchError as error:
        wire.error(error.failure.code, error.what, error.evidence, error.fix)
    except ValidationError as error:
        wire.error("protocol", "The step's first line cannot be read.", str(error.errors(include_url=False)[0]["msg"]))
    except CutError as cut:
        wire.error("connection-lost", "The connection to the other machine was cut.", str(cut), "Try again.")
    except _Stopped:
        pass
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        wire.error("crashed", "The relay stopped on an unexpected error.", text, "The job's log has the traceback.")
    return 3


def _step(session: Session, wire: Wire, cancel: _Cancel) -> int:
    try:
        return session.work()
    except _Stopped:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_there(session, wire, cancel.seconds_left)
        return 3
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        session.transport.close()


def _end_there(session: Session, wire: Wire, seconds: float) -> None:
    """Cancelled: the far side's processes end before we do, where they can be reached."""
    if not session.run:
        return
    title = session.transport.title
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            status = session.stop(seconds)
        except _Late:
            raise
        except CutError:
            session.transport.connect()
            status = session.stop(seconds)
        if status["state"] not in ("running", "waiting"):
            wire.log(f"The run on {title} is ended, with all its processes.")
            if not status.get("removed"):
                session.clear()
        else:
            wire.log(f"{title} was asked to end the run and has not done so yet: {session.run}", "warning")
    except (CutError, WorkbenchError) as error:
        wire.log(
            f"{title} could not be reached to end the run ({error}). It goes on there, at most "
            f"{session.order.lease_s / 3600:.0f} h with nobody looking at it: "
            f"`workbench target runs {title}` ends it. Its folder there: {session.run}",
            "error",
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
