"""Files to and from another machine by rsync: a transfer that was cut goes on where it was when it is asked again."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from workbench.core.errors import StepFailedError, WorkbenchError
from workbench.remote.paths import LEFT_OUT, walk
from workbench.remote.transport import CutError, Tick, end_group, open_here_with_errors
from workbench.remote.words import last_line, no_program_here

_PROGRESS = re.compile(rb"^\s*([\d,.]+)\s+(\d+)%")
_BASE = (
    "rsync",
    "--recursive",
    "--links",
    "--times",
    "--perms",
    "--chmod=D700,u+rw",
    "--partial",  # what came before a cut is what the next try compares with
    "--no-inc-recursive",
    "--info=progress2",
    "--protect-args",
    "--timeout=120",
)
_APPEND = "--append-verify"
"""After a cut: what is there of a file is taken as it is and proven at the end. Without it, the rest of a file is
searched for pieces of its begin, which takes longer than sending it. Files of equal size are not looked at, so a pass
without it follows."""
_CUT = (10, 12, 20, 30, 255)
"""Its exit codes for a connection that broke."""


def send(
    title: str, shell: str, source: Path, far: str, tick: Tick, *, like: Sequence[str] = (), again: bool = False
) -> None:
    """Make the folder `far` (`host:path/`, or `path/` here with no shell) hold `source`, a folder or one file.

    Links are followed: a hub's cache keeps weights beside its snapshots. `again`: it was cut. Raises CutError,
    WorkbenchError.
    """
    start = f"{source}/" if source.is_dir() else str(source)
    left_out = [f"--exclude={name}/" for name in LEFT_OUT]
    left_out += [f"--exclude=/{_as_pattern(name)}" for name in walk(source)[1]]
    options = ["--copy-links", *left_out, *(f"--link-dest={folder}" for folder in like)]
    if again:
        _run(title, shell, [*options, _APPEND], start, far, tick, sending=True)
    _run(title, shell, options, start, far, tick, sending=True)


def fetch(title: str, shell: str, far: str, target: Path, tick: Tick, *, again: bool = False) -> None:
    """Make the folder `target` hold what `far` holds. Raises CutError, WorkbenchError.

    Links are followed: what they name there is nothing here.
    """
    if again:
        _run(title, shell, ["--copy-links", _APPEND], far, f"{target}/", tick, sending=False)
    _run(title, shell, ["--copy-links"], far, f"{target}/", tick, sending=False)


def _as_pattern(name: str) -> str:
    """A path as an rsync pattern that matches it alone."""
    return re.sub(r"([*?\[\\])", r"\\\1", name) if re.search(r"[*?\[]", name) else name


def _run(title: str, shell: str, options: Sequence[str], start: str, end: str, tick: Tick, *, sending: bool) -> None:
    if shutil.which("rsync") is None:
        raise no_program_here("rsync", "rsync")
    over = ["-e", shell] if shell else []
    with tempfile.TemporaryFile() as errors:
        process = open_here_with_errors([*_BASE, *options, *over, "--", start, end], errors)
        try:
            assert process.stdout is not None
            rest = b""
            while data := process.stdout.read(1 << 16):
                *lines, rest = re.split(rb"[\r\n]", rest + data)
                for line in lines:
                    if found := _PROGRESS.match(line):
                        tick(float(re.sub(rb"\D", b"", found[1])), None)
            code = process.wait()
        finally:
            end_group(process)
        errors.seek(0)
        text = errors.read().decode("utf-8", "replace").strip()
    if code:
        raise _explain(title, code, text, sending)


def _explain(title: str, code: int, text: str, sending: bool) -> WorkbenchError | CutError:
    """An rsync that failed, in words."""
    there = title if sending else "this machine"
    place = "this machine" if ("[sender]" in text) == sending else title
    line = next((found for found in text.splitlines() if "rsync: " in found), "") or last_line(text)
    if "No space left" in text or "Disk quota" in text:
        return StepFailedError(
            f"The disk of {there} is full.",
            evidence=line,
            fix="Free space there, then retry: what was moved already is not moved again.",
            code="disk-full",
        )
    if (code == 12 and "command not found" in text) or code == 127:
        return StepFailedError(
            f"There is no rsync on {title}.",
            evidence=line,
            fix="Install it there (`apt-get install rsync`), or share the home with that machine.",
            code="no-rsync",
        )
    if "Permission denied" in text and code in (3, 11, 23):
        return StepFailedError(
            f"Files could not be {'read' if '[sender]' in text else 'written'} on {place}.",
            evidence=line,
            fix="Mend the owner and mode of what is named there.",
            code="not-writable",
        )
    if code in _CUT or code < 0:
        return CutError(line or f"rsync ended with {code}")
    with contextlib.suppress(IndexError):
        line = line or text.splitlines()[-1]
    return StepFailedError(
        f"Files could not be moved {'to' if sending else 'from'} {title}.",
        evidence=f"rsync ended with {code}: {line}",
        fix="Retry: what was moved already is not moved again.",
        code="not-moved",
    )
