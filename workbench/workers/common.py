"""What all workers share: a quiet environment, files, links, words for what fails."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from workbench.core.artifact import PROVENANCE_FILE
from workbench.workers.protocol import Channel, StepSpec, WorkerError

LINK_FROM_BYTES = 16 << 20


def quiet_environment() -> None:
    """No network, no usage reports, no thread warnings. Call before anything heavy is imported.

    OpenVINO's packages import their telemetry if they can and do without if they cannot; marking the module as
    absent is the one switch that works for all of them and writes nothing in the home folder.
    """
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        ORT_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
    )
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def input_folder(spec: StepSpec, role: str) -> Path:
    """The folder given as input `role`. Raises WorkerError `missing-input`."""
    given = spec.inputs.get(role, "")
    path = Path(given)
    if not given or not path.is_dir():
        raise WorkerError(
            f"the step's input `{role}` is not a folder",
            code="missing-input",
            cause=given or "not given",
            hint="Run the step before it again.",
        )
    return path


def tree_bytes(folder: Path) -> int:
    """Sum of file sizes under a folder, in bytes; a file with several links counts once a link."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises WorkerError `bad-json`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkerError(f"{path.name} cannot be read", code="bad-json", cause=str(error)) from error
    if not isinstance(data, dict):
        raise WorkerError(f"{path.name} is not a JSON object", code="bad-json", cause=type(data).__name__)
    return data


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def link_or_copy(source: Path, target: Path) -> bool:
    """Hard-link a large file, or copy it where links do not work (another disk, another owner). True: not copied.

    Small files are always copies: those are what people edit in place, and a link would change the other folder too.
    """
    if source.stat().st_size >= LINK_FROM_BYTES:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return True
    shutil.copyfile(source, target)
    return source.stat().st_size < LINK_FROM_BYTES


def take_files(source: Path, out: Path, channel: Channel) -> bool:
    """Bring a checkpoint's files into an engine's folder, all but its provenance; whether none was copied."""
    files = [path for path in sorted(source.iterdir()) if path.is_file() and path.name != PROVENANCE_FILE]
    linked = True
    for done, path in enumerate(files, 1):
        linked = link_or_copy(path, out / path.name) and linked
        channel.progress(done, len(files), "files")
    return linked


def explain_import(error: BaseException) -> WorkerError:
    """Words for an import that failed; knows the torchvision that does not match torch.

    transformers hides that cause behind a chain of its own errors, so the whole chain is read.
    """
    seen: BaseException | None = error
    chain = []
    while seen is not None and len(chain) < 10:
        chain.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    if any("torchvision" in text for text in chain):
        return WorkerError(
            "torchvision does not match torch in this environment, so transformers' models cannot be imported",
            code="import-failed",
            cause=next(text for text in chain if "torchvision" in text).strip().splitlines()[0][:500],
            hint="Run `pip uninstall torchvision` there: text models do not need it.",
        )
    return WorkerError(
        "a package of the toolchain's environment cannot be imported",
        code="import-failed",
        cause=f"{type(error).__name__}: {first_line(error)}",
        hint="Run `workbench doctor`; it says what is missing and how to install it.",
    )


def first_line(error: BaseException) -> str:
    """The first line of an exception's text that says something, at most 500 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO begins with the C++ source lines that threw; the sentence comes last.
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))] or lines
    return telling[0][:500] if telling else type(error).__name__


def announce(channel: Channel, kind: str, folder: Path) -> int:
    """Send an `artifact` message for a finished folder; its bytes."""
    size = tree_bytes(folder)
    channel.artifact(kind, str(folder), size)
    return size
