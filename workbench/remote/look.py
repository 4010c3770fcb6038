"""Asks another machine what it is, or which runs it keeps: `python -m workbench.remote.look WHAT --target JSON`.

The question is one JSON object on standard input, the answer one on standard output: {"answer": ...}, or
{"failure": ...} in words. Nothing is left on the other machine: the programs go to its interpreter's standard input.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.core.errors import Failure, StepFailedError, WorkbenchError
from workbench.core.target import Target
from workbench.remote.here import HereTransport
from workbench.remote.slurm import EXPORTED, SlurmRunner
from workbench.remote.ssh import SshTransport
from workbench.remote.transport import CutError, Done, Transport

_WORKERS = Path(__file__).resolve().parent.parent / "workers"
_SECONDS = 150.0
_ALLOCATION_SECONDS = 900.0
_KEEPER_MARK = "@keeper "


class _Plain(HereTransport):
    """This machine, or a container on it."""

    def run(self, words: Sequence[str], *, data: bytes = b"", seconds: float = 60.0) -> Done:
        return super().run([*self.target.command, *words], data=data, seconds=seconds)


def transport_of(target: Target) -> Transport:
    """How the target is reached for a question."""
    if target.host:
        return SshTransport(target)
    return HereTransport(target) if target.kind == "slurm" else _Plain(target)


def ask(target: Target, what: str, question: dict[str, Any]) -> Any:
    """The answer. Raises WorkbenchError, CutError."""
    transport = transport_of(target)
    transport.connect()
    try:
        if what == "machine":
            return _machine(transport, target, question)
        return _keeper(transport, target, what, question)
    finally:
        transport.close()


def _machine(transport: Transport, target: Target, question: dict[str, Any]) -> Any:
    words, seconds = [target.python_of("default"), "-", json.dumps(question)], _SECONDS
    if question.get("allocate"):
        words, seconds = [*_srun(target), *words], _ALLOCATION_SECONDS
    done = transport.run(words, data=(_WORKERS / "machine.py").read_bytes(), seconds=seconds)
    for line in done.out.decode("utf-8", "replace").splitlines():
        if line.startswith("{"):
            return json.loads(line)
    raise _no_answer(target, words[0] if question.get("allocate") else target.python_of("default"), done)


def _srun(target: Target) -> list[str]:
    """A short allocation of the kind that the target's steps get."""
    asked = {"partition": target.partition, "account": target.account}
    options = [f"--{name}={value}" for name, value in asked.items() if value]
    options += [f"--gres=gpu:{target.gpus}"] if target.gpus else []
    return ["srun", *options, f"--export={EXPORTED}", "--nodes=1", "--ntasks=1", "--time=5", *target.options, "--quiet"]


def _keeper(transport: Transport, target: Target, what: str, question: dict[str, Any]) -> Any:
    if what == "stop" and target.kind == "slurm":  # one that still waits has no keeper that could end it
        name = SlurmRunner.name_of(str(question["folder"]))
        transport.run(["scancel", "--me", f"--name={name}"])
    words = [target.python_of("default"), "-", what, str(question["folder"])]
    done = transport.run(words, data=(_WORKERS / "run_folder.py").read_bytes(), seconds=_SECONDS)
    for line in done.out.decode("utf-8", "replace").splitlines():
        if line.startswith(_KEEPER_MARK):
            return json.loads(line.removeprefix(_KEEPER_MARK))
    raise _no_answer(target, target.python_of("default"), done)


def _no_answer(target: Target, program: str, done: Done) -> StepFailedError:
    said = (done.err.splitlines() or [f"exit code {done.code}"])[-1][:300]
    if done.code in (126, 127):
        return StepFailedError(
            f"There is no {program} on {target.name}.",
            evidence=said,
            fix="Name the interpreter there: `workbench target change "
            f"{target.name} --python default=/usr/bin/python3`. Workers need Python 3.10 or newer.",
            code="no-python-there",
        )
    return StepFailedError(
        f"{program} on {target.name} gave no answer.",
        evidence=said,
        fix="Try it there by hand. Workers need Python 3.10 or newer.",
        code="no-answer",
    )


def main(words: Sequence[str]) -> int:
    """Exit code 0 with an answer or a failure in words."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser("look")
    parser.add_argument("what", choices=["machine", "runs", "stop", "remove"])
    parser.add_argument("--target", required=True)
    given = parser.parse_args(list(words))
    target = Target.model_validate_json(given.target)
    question = json.loads(sys.stdin.read() or "{}")
    try:
        said: dict[str, Any] = {"answer": ask(target, given.what, question)}
    except WorkbenchError as error:
        said = {"failure": error.failure.model_dump()}
    except (CutError, OSError, ValueError) as error:
        failure = Failure(
            code="cut",
            what=f"The connection to {target.name} was lost, or it did not answer in time.",
            evidence=str(error)[:300],
            fix="Try again.",
        )
        said = {"failure": failure.model_dump()}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
