"""How the build speaks and how it stops: a sentence, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class Refused(Exception):
    """What cannot work, in words: what is wrong, what shows it, what to do."""


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def called(argv: Sequence[str | Path], *, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """Runs a program and gives what it printed. Raises Refused with the end of what it said when it fails."""
    done = subprocess.run(
        [str(word) for word in argv],
        env=None if environ is None else dict(environ),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise Refused(f"{' '.join(str(word) for word in argv[:6])} … ended with {done.returncode}:\n{said}")
    return done.stdout


def size_mb(folder: Path) -> float:
    """Bytes of the files below a folder (a link counts nothing), in millions."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def stop(error: Refused) -> int:
    sys.stderr.write(f"The package cannot be built. {error}\n")
    return 2
