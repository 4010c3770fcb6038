"""Checks and how they are run: one after the other, each in its own time, whatever becomes of the one before it."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench import __version__
from workbench.core.errors import BadInputError, Failure, StepFailedError, WorkbenchError
from workbench.core.host import read_host
from workbench.core.units import format_bytes
from workbench.selftest.report import Finding, Report, Scrubber
from workbench.selftest.room import Room

_LOG_LINES = 12


class NotRunError(Exception):
    """A check that cannot be run here; its text says why."""


class BrokenError(StepFailedError):
    """A check failed."""

    default_code = "self-test"


@dataclass(frozen=True)
class Check:
    """`run` gives words of what was seen, or raises: WorkbenchError for a failure, NotRunError with its reason."""

    name: str
    title: str
    seconds: float
    """How long it may take, on a machine with two slow cores."""
    run: Callable[[Room], str]
    long: bool = False
    """Left out when a quick self-test is wanted."""


Began = Callable[[Check], None]
Ended = Callable[[Finding], None]


def run_checks(
    checks: Sequence[Check],
    room: Room,
    *,
    quick: bool = False,
    began: Began = lambda check: None,
    ended: Ended = lambda finding: None,
) -> Report:
    """Run them all in an opened room; `began` and `ended` are told, in this thread."""
    at, clock = time.time(), time.monotonic()
    scrubber = Scrubber({str(room.root): "TEMP"})
    findings = []
    for check in checks:
        began(check)
        if quick and check.long:
            found = Finding(
                name=check.name, title=check.title, status="not run", words="left out, as asked", seconds=0.0
            )
        else:
            found = scrubber.finding(_run(check, room))
        findings.append(found)
        ended(found)
    machine = {name: scrubber.text(value) for name, value in machine_facts().items()}
    return Report(
        workbench=__version__, at=at, machine=machine, findings=tuple(findings), seconds=time.monotonic() - clock
    )


def _run(check: Check, room: Room) -> Finding:
    """In a thread of its own, so that one that hangs is left behind; what it started is ended."""
    outcome: list[tuple[str, Failure | None, bool]] = []
    most = check.seconds * room.patience

    def work() -> None:
        try:
            outcome.append((check.run(room), None, True))
        except NotRunError as error:
            outcome.append((str(error), None, False))
        except WorkbenchError as error:
            outcome.append((error.what, error.failure, True))
        except Exception as error:  # a broken installation shows in any way there is
            failure = Failure(
                code="self-test",
                what=f"It ended with an error: {type(error).__name__}.",
                evidence=str(error),
                fix="Install the program again; if that does not mend it, report it.",
            )
            outcome.append((failure.what, failure, True))

    began = time.monotonic()
    thread = threading.Thread(target=work, name=f"self-test {check.name}", daemon=True)
    thread.start()
    thread.join(most)
    seconds = time.monotonic() - began
    ended_itself = list(outcome)  # what comes later comes of being ended
    if not ended_itself:
        running = ", ".join(sorted({_program(process.cmdline()) for process in room.processes()})) or "nothing"
        room.end_processes()
        failure = Failure(
            code="too-slow",
            what=f"It was not done after {most:g} s.",
            evidence=f"what ran then: {running}",
            fix="If the machine is busy, try `workbench self-test --patience 4`; else something hangs: report it.",
        )
        ended_itself.append((failure.what, failure, True))
    words, failure_found, was_run = ended_itself[0]
    return Finding(
        name=check.name,
        title=check.title,
        status="failed" if failure_found else "ok" if was_run else "not run",
        words=words,
        seconds=seconds,
        failure=failure_found,
    )


def _program(argv: Sequence[str]) -> str:
    if "-m" in argv[:-1]:
        return argv[argv.index("-m") + 1]
    return argv[0].rsplit("/", 1)[-1] if argv else "?"


def last_lines(text: str, count: int = _LOG_LINES) -> str:
    """The end of some program's output, as evidence."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])


def _c_library() -> str:
    name, version = platform.libc_ver()
    return f"{name} {version}" if version else "no glibc"


def machine_facts() -> dict[str, str]:
    """What a reader of the report asks first; no names."""
    facts = {"system": _system(), "Python": f"{platform.python_version()}, {_c_library()}"}
    try:
        host = read_host()
    except (OSError, BadInputError, ValueError):
        return facts
    free = host.memory_available_bytes
    return {
        **facts,
        "CPU": f"{host.cpu_name}, {host.usable_cores} cores",
        "memory": f"{format_bytes(free) if free is not None else 'not reported'} free of "
        f"{format_bytes(host.memory_total_bytes)}",
        "run as": "the administrator (root)" if os.getuid() == 0 else "an ordinary user",
    }


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{name or 'Linux, not reported which'}, kernel {platform.release()}, {platform.machine()}"
