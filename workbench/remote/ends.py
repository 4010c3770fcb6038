"""How a run on another machine ended, in words."""

from __future__ import annotations

import signal
from typing import Any

from workbench.core.errors import Failure
from workbench.core.units import format_bytes

_FULL_BYTES = 1 << 20
_LOG = "The job's log has its full output."


def explain_end(status: dict[str, Any], title: str, place: str) -> Failure:
    """The failure of a run that gave no result and no error of its own. `status` is the keeper's last one."""
    if status["state"] != "ended":
        return lost(status, title, place)
    ended = status["exit"]
    code, number, why = ended.get("code"), ended.get("signal"), ended.get("why", "")
    seen = f"ended by {_name(number)}" if number else f"exit code {code}"
    if why == "not-started":
        return Failure(
            code="not-started",
            what=f"{title} could not be started on {place}.",
            evidence=str(ended.get("text", "")),
            fix=f"`workbench target test {place}` says which interpreters are found.",
        )
    if why == "lease":
        return Failure(
            code="lease",
            what=f"{title} was ended on {place}: nobody looked at it for too long.",
            evidence=seen,
            fix="Retry.",
        )
    if why in ("stopped", "terminated"):
        return Failure(
            code="killed", what=f"{title} was ended on {place} from outside.", evidence=f"{why}; {seen}", fix="Retry."
        )
    if number == signal.SIGKILL and ended.get("oom_kills"):
        return Failure(
            code="out-of-memory",
            what=f"{title} was killed: {place} ran out of memory.",
            evidence=f"{seen}; the kernel counted {ended['oom_kills']} out-of-memory kill(s) meanwhile",
            fix="Close other programs there, or choose a smaller model or a step with less host memory; then retry.",
        )
    free = ended.get("free_bytes")
    if code != 0 and free is not None and free < _FULL_BYTES:
        return Failure(
            code="disk-full",
            what=f"{title} failed on {place}, whose disk is full.",
            evidence=f"{seen}; {format_bytes(free)} were free when it ended",
            fix="Free space there, or name another folder in the target; then retry.",
        )
    if number == signal.SIGKILL:
        return Failure(
            code="killed",
            what=f"{title} was killed on {place} from outside.",
            evidence=seen,
            fix="Retry. If it happens again, look at that machine's memory limits.",
        )
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
        return Failure(
            code="crashed",
            what=f"{title} crashed in native code on {place}.",
            evidence=seen,
            fix=f"{_LOG} Check the versions there with `workbench target test {place}`.",
        )
    if code == 0:
        return Failure(
            code="no-result",
            what=f"{title} ended on {place} without a result.",
            evidence=seen,
            fix=f"It and the workbench may be of different versions. {_LOG}",
        )
    return Failure(code="failed", what=f"{title} failed on {place}.", evidence=seen, fix=_LOG)


def lost(status: dict[str, Any], title: str, place: str) -> Failure:
    """A run whose keeper is gone."""
    if status["state"] == "none":
        return Failure(
            code="lost",
            what=f"The run of {title} is no longer on {place}.",
            evidence="its folder there is gone",
            fix="Retry: it begins anew.",
        )
    restarted = bool(status.get("rebooted"))
    return Failure(
        code="lost",
        what=f"{title} was lost on {place}: its keeper there is gone"
        + (", since the machine was started anew." if restarted else "."),
        evidence=f"process {status.get('pid')} on {status.get('host')} did not say how it ended",
        fix="Retry: it begins anew."
        + ("" if restarted else " If that machine ends what a login leaves behind: `loginctl enable-linger` there."),
    )


def stalled(title: str, place: str, idle_s: float, phase: str) -> Failure:
    """A worker that hangs."""
    return Failure(
        code="stalled",
        what=f"{title} hangs on {place}: it neither says nor does anything.",
        evidence=f"no message, processor time or I/O for {idle_s:.0f} s, last phase {phase!r}",
        fix="Retry. If it hangs again, the job's log may show why.",
    )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
