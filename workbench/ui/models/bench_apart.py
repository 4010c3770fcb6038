"""Figures of large runs, computed in a process of their own: reading 100,000 requests would hold the interpreter, and
with it the window, for seconds, whichever thread does it.

`python -m workbench.ui.models.bench_apart` is that process: it prints its answer as one line of JSON, and ends when
whoever started it is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import workbench
from workbench.core.errors import BadInputError, Failure, StepFailedError, WorkbenchError
from workbench.core.measure.run_file import load_run, point_files
from workbench.measure.kept import report_of, write_report
from workbench.ui.models import bench_against, bench_view
from workbench.ui.models.bench_against import Against
from workbench.ui.models.bench_view import RunView

LARGE_BYTES = 4_000_000
"""Of the unpacked points: some 10,000 short answers. What is smaller is read sooner than a process starts."""

_VIEW: TypeAdapter[RunView] = TypeAdapter(RunView)
_AGAINST: TypeAdapter[Against] = TypeAdapter(Against)
_NOTHING: TypeAdapter[None] = TypeAdapter(None)
_FAILURE: TypeAdapter[Failure] = TypeAdapter(Failure)
_FAILED = 3


def open_view(folder: Path) -> RunView:
    """A kept run. Raises BadInputError; waits."""
    return _VIEW.validate_json(_apart("view", folder)) if _large(folder) else bench_view.open_view(folder)


def among_subjects(folder: Path) -> Against:
    """Every other subject of a run against its first. Raises BadInputError; waits."""
    if _large(folder):
        return _AGAINST.validate_json(_apart("among", folder))
    return bench_against.among_subjects(folder)


def against_baseline(folder: Path, baseline: Path) -> Against:
    """A run against a kept one. Raises BadInputError where they do not fit; waits."""
    if _large(folder) or _large(baseline):
        return _AGAINST.validate_json(_apart("baseline", folder, baseline))
    return bench_against.against_baseline(folder, baseline)


def export(folder: Path, path: Path) -> None:
    """Write the report of a kept run; its kind is the file's ending. Raises BadInputError; waits."""
    if _large(folder):
        _apart("export", folder, path)
    else:
        _export(folder, path)


def _export(folder: Path, path: Path) -> None:
    write_report(report_of(load_run(folder)), path)


def _large(folder: Path) -> bool:
    """Whether its points are much, unpacked: gzip says how much in a file's last four bytes."""
    size = 0
    for path in point_files(folder):
        try:
            with path.open("rb") as packed:
                packed.seek(-4, os.SEEK_END)
                size += int.from_bytes(packed.read(4), "little")
        except OSError:  # the reader tells of it
            continue
    return size > LARGE_BYTES


def _apart(what: str, *folders: Path) -> bytes:
    package = str(Path(workbench.__file__).parent.parent)
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    with tempfile.TemporaryFile() as said:
        # Its standard input is never written to: it closes with this process, and the child ends then.
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "workbench.ui.models.bench_apart",
                what,
                *(str(folder.absolute()) for folder in folders),
            ],
            cwd=folders[0],  # `-m` looks in the working folder first, and the person's may hold anything
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as child:
            assert child.stdout is not None
            told = child.stdout.read()
            code = child.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if code == _FAILED:
        failure = _FAILURE.validate_json(told)
        raise BadInputError(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)
    if code:
        raise StepFailedError(
            "The figures of this run could not be computed.",
            evidence=f"exit code {code}: {lines[-1] if lines else 'it said nothing'}",
            fix="Free some memory and open it again.",
            code="figures",
        )
    return told


def main(argv: list[str]) -> int:
    """Compute and print."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    what, folders = argv[0], [Path(one) for one in argv[1:]]
    makers: dict[str, tuple[TypeAdapter[Any], Any]] = {
        "view": (_VIEW, bench_view.open_view),
        "among": (_AGAINST, bench_against.among_subjects),
        "baseline": (_AGAINST, bench_against.against_baseline),
        "export": (_NOTHING, _export),
    }
    adapter, make = makers[what]
    code = 0
    try:
        told = adapter.dump_json(make(*folders))
    except WorkbenchError as error:
        told, code = _FAILURE.dump_json(error.failure), _FAILED
    sys.stdout.buffer.write(told)
    sys.stdout.buffer.flush()
    return code


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Not by the usual way out: the thread that waits for the parent still reads.
    os._exit(code)
