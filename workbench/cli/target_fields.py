"""A target's fields by the options of `workbench target add` and `change`."""

from __future__ import annotations

import shlex
from typing import Any

from workbench.core.errors import BadInputError
from workbench.toolchains.looks import parts


def given_fields(**options: Any) -> dict[str, Any]:
    """Fields of a target by the options that were given. Raises BadInputError."""
    found = {name: value for name, value in options.items() if value is not None}
    if "python" in found:
        found["python"] = dict(_interpreter(word) for word in found["python"])
    if "command" in found:
        found["command"] = _words(found["command"])
    if "options" in found:
        found["options"] = tuple(found["options"])
    return found


def _interpreter(word: str) -> tuple[str, str]:
    part, mark, path = word.partition("=")
    if not mark:
        return "default", word
    known = (*parts(), "default")
    if part not in known:
        raise BadInputError(
            f"{part!r} is no toolchain and no part of one.",
            evidence=f"there are: {', '.join(known)}",
            fix="Write PART=PATH, or a path alone for all.",
            code="bad-target",
        )
    return part, path


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise BadInputError(
            "The container's command is not a command line.",
            evidence=f"{command}: {error}",
            fix="Write it as in: docker run -i --rm --gpus all IMAGE",
            code="bad-target",
        ) from None


def kind_fields(ssh: str, container: str, *, slurm: bool, here: bool) -> dict[str, Any]:
    """The kind, by the one flag that says it. Raises BadInputError."""
    said = [name for name, given in (("--ssh", ssh), ("--slurm", slurm), ("--container", container), ("--here", here))
            if given]  # fmt: skip
    if len(said) != 1:
        raise BadInputError(
            "A target is one of --ssh, --slurm, --container and --here.",
            evidence=f"given: {', '.join(said) or 'none of them'}",
            fix="`workbench target add --help` has examples.",
            code="bad-target",
        )
    if ssh:
        return {"kind": "ssh", "host": ssh}
    if container:
        return {"kind": "container", "command": _words(container)}
    return {"kind": "slurm" if slurm else "here"}
