"""Looks at a far side before anything is sent: its Pythons, its folder, its disk, its rsync."""

from __future__ import annotations

import json
from typing import Any

from workbench.core.errors import BadInputError, BlockedError, StepFailedError
from workbench.core.target import Target
from workbench.core.units import format_bytes
from workbench.remote.far import MARK
from workbench.remote.probe_text import PROBE
from workbench.remote.transport import Transport
from workbench.remote.words import last_line

KEEPER_OLDEST = (3, 8)
WORKER_OLDEST = (3, 10)
SPARE_BYTES = 64 * 2**20
"""Room beside what is sent: messages and logs."""


def probe(
    transport: Transport, target: Target, folder: str, keeper_python: str, worker_python: str, code: str
) -> dict[str, Any]:
    """What is there; the folders are made (`code` may be empty).

    Raises BadInputError or BlockedError for what makes it unusable, CutError.
    """
    done = transport.run([keeper_python, "-c", PROBE, folder, worker_python, code])
    line = next((line for line in done.out.splitlines() if line.startswith(MARK)), b"")
    if not line:
        raise _no_python(target, keeper_python, done.code, last_line(done.err))
    found: dict[str, Any] = json.loads(line[len(MARK) :])
    if tuple(found["version"][:2]) < KEEPER_OLDEST:
        raise _too_old(target, keeper_python, ".".join(map(str, found["version"])), KEEPER_OLDEST, "default")
    if found.get("foreign"):
        raise BadInputError(
            f"The target's folder on {target.name} holds what belongs to somebody else, and could be changed by them.",
            evidence=f"{found['foreign']} is not yours",
            fix=f"Name a folder of your own: workbench target change {target.name} --folder /path",
            code="not-yours",
        )
    if found["problem"]:
        raise _bad_folder(target, folder, found)
    if transport.copies and not found["rsync"]:
        raise BlockedError(
            f"There is no rsync on {target.name}.",
            evidence=f"rsync is not on the PATH of a login to {found['host']}",
            fix="Install it there (`apt-get install rsync`), or share the home with that machine.",
            code="no-rsync",
        )
    if not found.get("worker_python"):
        raise _no_python(target, worker_python, 127, str(found.get("worker_problem", "")))
    version = tuple(int(part) for part in found["worker_python"].split(".")[:2])
    if version < WORKER_OLDEST:
        raise _too_old(target, worker_python, found["worker_python"], WORKER_OLDEST, "its toolchain")
    return found


def check_room(target: Target, folder: str, free_bytes: int, to_send: int, to_make: int) -> None:
    """Raises BlockedError when the disk there has no room for what is sent and made."""
    wanted = to_send + to_make + SPARE_BYTES
    if free_bytes < wanted:
        made = f", {format_bytes(to_make)} to make" if to_make else ""
        raise BlockedError(
            f"The disk of {target.name} has no room for this step.",
            evidence=f"{format_bytes(to_send)} to send{made}; {format_bytes(free_bytes)} are free in {folder}",
            fix=f"Free space there, or name another folder in the target. `workbench target runs {target.name}` shows "
            "what earlier runs left.",
            code="disk-full",
        )


def _no_python(target: Target, python: str, code: int, said: str) -> BadInputError | StepFailedError:
    if code in (126, 127):
        return BadInputError(
            f"There is no {python} on {target.name}.",
            evidence=said or f"exit code {code}",
            fix="Install Python 3.10 or newer there, or name its full path in the target's [python].",
            code="no-python",
        )
    return StepFailedError(
        f"{target.name} does not run programs as it should.",
        evidence=said or f"exit code {code}, and nothing was said",
        fix=f"Try: ssh {target.host} {python} --version" if target.host else f"Try: {python} --version",
        code="far-side",
    )


def _too_old(target: Target, python: str, version: str, oldest: tuple[int, int], key: str) -> BadInputError:
    return BadInputError(
        f"{python} on {target.name} is too old.",
        evidence=f"Python {version}; {oldest[0]}.{oldest[1]} or newer is needed",
        fix=f"Name a newer one for {key} in the target's [python].",
        code="old-python",
    )


def _bad_folder(target: Target, folder: str, found: dict[str, Any]) -> BadInputError | BlockedError:
    if found.get("errno") in (28, 122):
        return BlockedError(
            f"The disk of {target.name} is full.",
            evidence=str(found["problem"]),
            fix="Free space there, or name another folder in the target.",
            code="disk-full",
        )
    return BadInputError(
        f"{folder} on {target.name} cannot be written.",
        evidence=str(found["problem"]),
        fix="Name a folder of your own in the target, or mend its owner and mode.",
        code="not-writable",
    )
