"""The first step of every build: is the world still as the plan saw it?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError, StepFailedError
from workbench.core.plan import Plan
from workbench.core.units import format_bytes
from workbench.jobs.sealing import find_equal


def check_source_files(plan: Plan) -> None:
    """The model's files are as they were when the plan was made. Raises BadInputError."""
    for mark in plan.source_files:
        try:
            now = Path(mark.path).stat()
        except OSError as error:
            raise BadInputError(
                "A file of the model is gone since the plan was made.",
                evidence=str(error),
                fix="Put it back, or start the build again.",
                code="input-gone",
            ) from error
        if (now.st_size, now.st_mtime_ns) != (mark.bytes, mark.mtime_ns):
            raise BadInputError(
                "A file of the model changed since the plan was made.",
                evidence=f"{mark.path}: {now.st_size:,} bytes now, {mark.bytes:,} then",
                fix="Start the build again, so that it is planned from the new file.",
                code="input-changed",
            )


def check_plan(plan: Plan) -> dict[str, Any]:
    """Source files unchanged, interpreters there, room on the disks. Returns what was checked.

    Raises BadInputError or StepFailedError.
    """
    check_source_files(plan)
    for program in {step.argv[0] for step in plan.steps if step.argv}:
        if shutil.which(program) is None:
            raise StepFailedError(
                "The toolchain's interpreter is gone.",
                evidence=program,
                fix="`workbench doctor` lists what there is.",
                code="no-interpreter",
            )
    if not plan.anyway:
        _check_room(plan)
    return {"source_files": len(plan.source_files)}


def _check_room(plan: Plan) -> None:
    """What the steps will write, by the low end of the estimate, fits on each disk; reused steps write nothing."""
    needed: dict[int, float] = {}
    for step in plan.steps:
        if step.output is None or step.none_reason or step.estimate.disk_bytes is None or find_equal(step) is not None:
            continue
        folder = Path(step.output.path)
        while not folder.exists():
            folder = folder.parent
        disk = folder.stat().st_dev
        needed[disk] = needed.get(disk, 0.0) + step.estimate.disk_bytes.low
        free = shutil.disk_usage(folder).free
        if free < needed[disk]:
            raise StepFailedError(
                "There is not enough room on the disk.",
                evidence=f"{format_bytes(free)} free at {folder}; to write: {format_bytes(needed[disk])} or more",
                fix="Free space there, choose another --out or WORKBENCH_HOME, or `--anyway` if you know better.",
                code="disk-full",
            )
