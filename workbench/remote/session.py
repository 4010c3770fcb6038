"""One step on another machine: send what it needs, begin it or pick it up, follow it, fetch what it made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.core.errors import Failure, StepFailedError, WorkbenchError
from workbench.core.messages import StepSpec
from workbench.core.units import format_bytes
from workbench.remote import ready
from workbench.remote.ends import explain_end, stalled
from workbench.remote.events import Position, read_frames
from workbench.remote.far import Far
from workbench.remote.fetching import FarRun, fetch_output
from workbench.remote.line import Line
from workbench.remote.order import Order, runner_of, seconds_of, transport_of
from workbench.remote.paths import (
    CACHES,
    REFERRING,
    Names,
    Sent,
    code_identity,
    far_place,
    final_name,
    identity,
    needed,
    plain,
)
from workbench.remote.runner import Request
from workbench.remote.transport import CutError, end_group
from workbench.remote.wire import Wire

SILENT_SECONDS = 60.0
STALL_VARIABLE = "WORKBENCH_STALL_SECONDS"
STALL_SECONDS = 600.0
"""As the supervisor's own: a worker with no message, no processor time and no I/O for so long hangs."""
MADE_DAYS, INPUT_DAYS = 3.0, 14.0
"""How long the far side keeps what a run made, so that the next step need not send it back, and what was sent."""
_TELL_SECONDS = 60.0
_OWN_PHASES = 2


class Session:
    """Raises WorkbenchError when the step cannot be done; `work` is otherwise the whole of it."""

    def __init__(self, order: Order, spec: StepSpec, wire: Wire) -> None:
        self.order, self.spec, self.wire = order, spec, wire
        self.transport = transport_of(order.target)
        self.runner = runner_of(order)
        self.line = Line(self.transport, wire)
        self.names = Names()
        self.position = Position()
        self.base = order.base
        self.code_far = f"{self.base}/code/{code_identity(order.code)[:16]}"
        self.keeper = f"{self.code_far}/workbench/workers/keeper.py"
        if not self.transport.copies:
            self.code_far = str(order.code)
            self.keeper = str(order.code / "workbench" / "workers" / "keeper.py")
        self.far = Far(self.transport, order.keeper_python, self.keeper)
        self.run = ""
        """The run's folder there, once it may have begun."""
        self._phase = ("connect", 1, _OWN_PHASES)
        self._greeted = False
        self._result = b""
        self._error = b""
        self._note = ""
        self._looked = self._told = 0.0
        self.not_stopped_meanwhile: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        """Around what must not be broken off, or a run that nobody knows of would begin there."""

    # -- the whole of it

    def connect(self) -> None:
        """Make the connection and look at the machine. Raises WorkbenchError."""
        self.phase("connect", 1, _OWN_PHASES)
        self.transport.connect()
        order = self.order
        pythons = (order.keeper_python, order.worker_python)
        code = self.code_far if self.transport.copies else ""
        found = self.line.patiently(lambda: ready.probe(self.transport, order.target, self.base, *pythons, code))
        self.free_bytes, self._code_is_there = int(found["free_bytes"]), bool(found["code"])
        self.wire.log(
            f"On {self.transport.title} ({found['host']}): Python {found['worker_python']}, "
            f"{format_bytes(self.free_bytes)} free in {self.base}"
        )

    def send(self) -> StepSpec:
        """Bring code and inputs there. The spec with the names of the far side."""
        sent = self._to_send()
        run = f"{self.base}/runs/{plain(self.spec.worker)}-{self._identity(sent)[:16]}"
        output = self.spec.output
        if self.transport.copies:
            for item in sent:
                self.names.add(str(item.source), item.far_path)
            for name in CACHES:
                if isinstance(kept := self.spec.settings.get(name), str):
                    self.names.add(kept, f"{self.base}/kept/{name}")
            if output:
                self.names.add(output, f"{run}/output")
            self._transfer(sent)
        self._planned_run = run
        settings = _mapped(self.spec.settings, self.names)
        inputs = {role: self.names.to_far(path) for role, path in self.spec.inputs.items()}
        return self.spec.model_copy(
            update={"settings": settings, "inputs": inputs, "output": self.names.to_far(output) if output else ""}
        )

    def work(self) -> int:
        """Do the step. The last message, a result or the worker's own error, has been passed on when this returns.

        The exit code that a worker would have had.
        """
        self.connect()
        spec = self.send()
        self.run = self._planned_run
        self.line.going_on = "A run that has begun goes on there."
        self.line.on_cut = lambda: self.phase(f"{self._phase[0]} (connection lost)", *self._phase[1:], keep=True)
        self.line.on_again = lambda: self.phase(*self._phase)
        self._begin(spec)
        self.line.going_on = "The run goes on there."
        while True:
            status = self.line.patiently(self._follow)
            if self._result and status["state"] == "ended" and status["exit"].get("code") == 0:
                break
            if self._result and status["state"] == "none":  # another job followed it, and was first
                break
            look = self.runner.ended(self.far, self.run, status)
            if look.note and look.failure is None:
                self._result = self._error = b""
                self._tell(look.note)
                continue
            self.clear()
            if self._error and look.failure is None:
                self.wire.lines(self._error)
                return 3
            raise _as_error(look.failure or explain_end(status, self.order.title, self.transport.title))
        if self.spec.output and self.transport.copies:
            self.line.going_on = "What was made is kept there."
            index = self._phase[2]
            self.phase("fetch", index, index)
            made = FarRun(self.base, self.run, self.line, self.far, self.transport, self.wire, self.names)
            fetch_output(made, Path(self.spec.output))
        else:
            self.clear()
        self.wire.lines(self._result)
        return 0

    # -- sending

    def _to_send(self) -> list[Sent]:
        found = []
        for path in needed(self.spec, self.order.paths):
            if not path.exists():
                continue  # the worker says so in its own words
            mark, size = identity(path)
            found.append(Sent(path, far_place(self.base, path, mark), size))
        return found

    def _identity(self, sent: list[Sent]) -> str:
        """What stands for this run: the same step asked for again, by the same person here, is the same run."""
        facts = [
            self.spec.worker,
            self.order.module,
            self.order.worker_python,
            self.order.env,
            self.spec.settings,
            {role: str(path) for role, path in self.spec.inputs.items()},
            [item.far for item in sent],
            final_name(self.spec.output),
            code_identity(self.order.code),
            socket.gethostname(),
            os.getuid(),
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def _transfer(self, sent: list[Sent]) -> None:
        self.phase("send", 2, _OWN_PHASES)
        if not self._code_is_there:
            self.line.patiently(lambda: self.transport.send(self.order.code, self.code_far, lambda done, total: None))
            self.line.patiently(lambda: self.transport.run(["touch", f"{self.code_far}/.complete"]))
        free, missing = self.free_bytes, 0
        if sent:
            there = self.line.patiently(lambda: self.far.ask("room", *[item.far for item in sent], seconds=600.0))
            free = int(there["free"])
            missing = sum(max(0, item.bytes - there["bytes"].get(item.far, 0)) for item in sent)
        ready.check_room(self.order.target, self.base, free, missing, self.order.room_bytes)
        total, done = sum(item.bytes for item in sent), 0
        began = time.monotonic()
        for item in sent:
            like = [f"{self.base}/made/{plain(item.source.name)}"]
            before = done
            self.line.patiently(
                lambda item=item, before=before, like=like: self.transport.send(  # type: ignore[misc]
                    item.source, item.far, lambda moved, _: self.wire.progress(before + moved, total), like=like
                )
            )
            done += item.bytes
            self.wire.progress(done, total)
        self._rename(sent)
        if missing:
            self.wire.log(f"{format_bytes(missing)} sent to {self.transport.title} in {time.monotonic() - began:.1f} s")

    def _rename(self, sent: list[Sent]) -> None:
        """An engine that refers to another folder must find it under its name there."""
        files = [f"{item.far}/{name}" for item in sent for name in REFERRING if (item.source / name).is_file()]
        if files:
            data = json.dumps({"files": files, "pairs": self.names.pairs}).encode()
            self.line.patiently(lambda: self.far.ask("rename", data=data))

    # -- running

    def _begin(self, spec: StepSpec) -> None:
        order = self.order
        env = {**dict(order.env), "PYTHONPATH": self.code_far}
        request = Request(
            argv=(order.worker_python, "-m", order.module),
            spec=spec.model_dump_json(),
            env=env,
            title=order.title,
            owner=f"{socket.gethostname()}:{final_name(self.spec.output)}",
            lease_s=order.lease_s,
            runs_days=INPUT_DAYS,
            prune=(
                (f"{self.base}/made", MADE_DAYS),
                (f"{self.base}/inputs", INPUT_DAYS),
                (f"{self.base}/code", INPUT_DAYS),
            ),
        )

        def start() -> dict[str, Any]:
            with self.not_stopped_meanwhile():
                return self.runner.start(self.far, self.run, request)

        while True:
            status = self.line.patiently(start)
            if status.get("started"):
                return
            if self._worth_picking_up(status):
                how = "has ended" if status["state"] == "ended" else "is there"
                self.wire.log(f"A run of this step {how} on {self.transport.title} already: it is picked up.")
                return
            self.line.patiently(lambda: self.far.remove(self.run))

    @staticmethod
    def _worth_picking_up(status: dict[str, Any]) -> bool:
        """A run that failed, was stopped or was lost is begun anew: to try again is what was asked."""
        if status["state"] == "ended":
            return bool(status["exit"].get("code") == 0)
        return status["state"] in ("running", "waiting")

    def _follow(self) -> dict[str, Any]:
        """Pass on what the run says until it ends; its last status. Raises CutError."""
        self.position.forget_rest()
        process = self.far.follow(self.run, self.position.events, self.position.log)
        try:
            for frame in read_frames(process, self.position, SILENT_SECONDS):
                if frame.kind == "line":
                    self._message(frame.data)
                elif frame.kind == "log":
                    self.wire.raw(frame.data)
                elif frame.kind == "status":
                    self._watch(frame.status)
                else:
                    return frame.status
            raise CutError("the connection was closed")
        except StepFailedError:
            # What it says cannot be used, or it hangs: nobody would end it there after us.
            with contextlib.suppress(CutError):
                self.runner.stop(self.far, self.run, 10.0)
            self.clear()
            raise
        finally:
            end_group(process)

    def _watch(self, status: dict[str, Any]) -> None:
        limit = seconds_of(STALL_VARIABLE, STALL_SECONDS)
        if status["state"] == "running" and float(status.get("idle_s", 0)) > limit:
            raise _as_error(stalled(self.order.title, self.transport.title, float(status["idle_s"]), self._phase[0]))
        if self.runner.look_seconds and time.monotonic() - self._looked >= self.runner.look_seconds:
            self._looked = time.monotonic()
            look = self.runner.look(self.far, self.run, status)
            if look.failure is not None:
                raise _as_error(look.failure)
            self._tell(look.note)

    def _tell(self, note: str) -> None:
        """A remark of the batch system: what is new in it at once, how long it lasts now and then."""
        if not note or note == self._note:
            return
        news = re.sub(r"\d+", "", note) != re.sub(r"\d+", "", self._note)
        if news:
            self.wire.log(f"{self.transport.title}: {note}")
        if news or time.monotonic() - self._told >= _TELL_SECONDS:
            self._note, self._told = note, time.monotonic()
            self.phase(note, *self._phase[1:], keep=True)

    def _message(self, line: bytes) -> None:
        try:
            data = json.loads(line)
            kind = data["type"]
        except (ValueError, TypeError, KeyError):
            if not self._greeted:
                self.wire.raw(line)
                return
            raise StepFailedError(
                f"{self.order.title} printed something on {self.transport.title} that is not a message on its "
                "protocol stream.",
                evidence=line[:200].decode("utf-8", "replace").strip(),
                fix="This is a fault of the worker or of what starts it. The job's log has its output.",
                code="rubbish",
            ) from None
        if kind == "hello":
            self._greeted = True
        elif kind == "phase":
            index, of = data.get("index", 1), data.get("of", 1)
            self.phase(str(data.get("name", "")), index + _OWN_PHASES, of + _OWN_PHASES + 1)
            return
        line = self.names.line_to_local(line)
        if kind == "result":
            self._result = line
        elif kind == "error":
            if data.get("code") == "disk-full":  # a worker cannot tell whose
                named = {**json.loads(line), "message": f"The disk of {self.transport.title} is full."}
                line = json.dumps(named).encode() + b"\n"
            self._error = line
        else:
            self.wire.lines(line)

    def phase(self, name: str, index: int, of: int, *, keep: bool = False) -> None:
        """Say where the step is. `keep`: a remark that a later phase of the worker takes back."""
        if not keep:
            self._phase = (name, index, of)
        self.wire.phase(name, index, of)

    # -- the end

    def stop(self, seconds: float) -> dict[str, Any]:
        """End the run there with all its processes; its status then. Raises CutError when it is not reached."""
        return self.runner.stop(self.far, self.run, seconds)

    def clear(self) -> None:
        """Take the run's folder there away."""
        try:
            self.far.remove(self.run)
        except (CutError, WorkbenchError) as error:
            self.wire.log(f"The run's folder stays on {self.transport.title}: {self.run} ({error})", "warning")


def _mapped(settings: dict[str, Any], names: Names) -> dict[str, Any]:
    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return names.to_far(value)
        if isinstance(value, list | tuple):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return value

    found: dict[str, Any] = walk(settings)
    return found


def _as_error(failure: Failure) -> StepFailedError:
    return StepFailedError(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)
