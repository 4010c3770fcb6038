"""`workbench monitor`: GPUs and host live on a terminal, as lines of text or JSON, once, or into a recording."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from workbench.cli.context import Context
from workbench.cli.monitor_view import line, plain, view
from workbench.core.errors import BadInputError
from workbench.telemetry.hub import Telemetry
from workbench.telemetry.recording import write

_FIRST_PAUSE_S = 0.3
"""Between the two readings that the CPU's load needs."""


def run_monitor(context: Context, *, interval_s: float, once: bool, seconds: float | None, record: Path | None) -> None:
    if record is not None:
        _check_writable(record)
    telemetry = Telemetry()
    telemetry.set_rate(1.0 / interval_s)
    if once or (context.as_json and seconds is None):
        try:
            _read_twice(telemetry)
            if record is not None:
                write(telemetry, record)
            snapshot = telemetry.snapshot()
            context.result(plain(snapshot), None)
            if not context.as_json:
                context.out.print(view(telemetry, snapshot, live=False))
        finally:
            telemetry.close()
        return
    try:
        telemetry.start()
        _follow(context, telemetry, interval_s, seconds)
    except KeyboardInterrupt:
        pass  # the usual way to end it
    finally:
        telemetry.close()
    if record is not None:
        write(telemetry, record)
        context.note(f"recorded in {record}")


def _check_writable(record: Path) -> None:
    """Said before an hour of watching, not after it."""
    if record.exists():
        raise BadInputError(f"{record} exists already.", fix="Give another name.", code="exists")
    try:
        with tempfile.TemporaryFile(dir=record.parent):
            pass
    except OSError as error:
        raise BadInputError(
            f"{record} cannot be written.",
            evidence=error.strerror or str(error),
            fix="Give a place that can be written to.",
            code="not-writable",
        ) from error


def _read_twice(telemetry: Telemetry) -> None:
    """Without threads: loads are measured between two readings."""
    for pause in (0.0, _FIRST_PAUSE_S):
        time.sleep(pause)
        telemetry.read_host()
        telemetry.read_gpus()


def _follow(context: Context, telemetry: Telemetry, interval_s: float, seconds: float | None) -> None:
    """Show readings until Ctrl+C, or for so many seconds."""
    end = math.inf if seconds is None else time.monotonic() + seconds

    def wait() -> bool:
        left = end - time.monotonic()
        time.sleep(max(min(interval_s, left), 0.0))
        return left > interval_s

    if context.as_json or not context.out.is_terminal:
        told = False
        while wait() or not told:  # one at least, however short the time
            told = True
            if context.as_json:
                context.line(plain(telemetry.snapshot()))
            else:
                context.out.print(line(telemetry.snapshot()), soft_wrap=True)
        return
    with Live(console=context.out, screen=True, auto_refresh=False) as live:
        _draw(live, telemetry, wait)


def _draw(live: Live, telemetry: Telemetry, wait: Callable[[], bool]) -> None:
    while True:
        live.update(_fitting(live.console, view(telemetry, telemetry.snapshot())), refresh=True)
        if not wait():
            return


def _fitting(console: Console, content: RenderableType) -> RenderableType:
    """A terminal that is too low shows the top, not an ellipsis alone."""
    lines = console.render_lines(content, console.options, pad=False)
    if len(lines) <= console.height:
        return content
    kept = lines[: max(console.height - 1, 1)]
    text = Text("\n").join(Text.assemble(*((part.text, part.style or "") for part in row)) for row in kept)
    return Group(text, Text(f"… {len(lines) - len(kept)} more lines", style="dim"))
