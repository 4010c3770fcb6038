"""An engine host on another machine: its files are sent, then it is a plain pipe. It ends with its client."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from types import FrameType

from workbench.core.messages import StepSpec
from workbench.remote.order import Order
from workbench.remote.session import Session
from workbench.remote.transport import end_group
from workbench.remote.wire import Wire

GRACE_SECONDS = 10.0
"""How long a host may take to end once its input is closed."""


def run_host(order: Order, spec: StepSpec, more: bytes, wire: Wire) -> int:
    """Start the host there and pass all through, until either end closes. `more` is input that came with the spec.

    Raises WorkbenchError, CutError. Its exit code; 3 when the connection was cut, which is told.
    """
    session = Session(order, spec, wire)
    try:
        session.connect()
        far_spec = session.send()
        env = {**dict(order.env), "PYTHONPATH": session.code_far}
        argv = ("env", *(f"{name}={value}" for name, value in env.items()), order.worker_python, "-m", order.module)
        words = session.far.words("pipe", "--grace", f"{GRACE_SECONDS:.0f}", "--", *argv)
        process = session.transport.open(words, stdin=subprocess.PIPE)
        try:
            code = _pass_through(process, far_spec.model_dump_json().encode() + b"\n" + more, wire)
        finally:
            end_group(process)
    finally:
        session.transport.close()
    if code == 255:
        title = session.transport.title
        wire.error(
            "connection-lost",
            f"The connection to {title} was cut, and its engine host ended with it.",
            hint="Load it again.",
        )
        return 3
    return code


def _pass_through(process: subprocess.Popen[bytes], first: bytes, wire: Wire) -> int:
    assert process.stdin is not None and process.stdout is not None
    into, out = process.stdin.fileno(), process.stdout.fileno()
    closing = threading.Lock()

    def close_input(number: int = 0, frame: FrameType | None = None) -> None:
        if closing.acquire(blocking=False):
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()

    def commands() -> None:
        with contextlib.suppress(OSError, ValueError):
            _write(into, first)
            while data := os.read(0, 1 << 16):
                _write(into, data)
        close_input()

    signal.signal(signal.SIGTERM, close_input)
    threading.Thread(target=commands, daemon=True).start()
    while data := os.read(out, 1 << 18):
        wire.lines(data)
    return process.wait()


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
