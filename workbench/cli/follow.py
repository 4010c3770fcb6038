"""Following a job on a terminal: bars for people, plain lines where there is no terminal, events for machines."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from workbench.cli.context import Context
from workbench.core.job import JobState, StepState
from workbench.core.units import format_bytes, format_duration
from workbench.jobs import client
from workbench.jobs.folder import EventTail, JobFolder

_MARKS = {"done": "✓", "reused": "✓", "none": "·", "failed": "✗", "cancelled": "✗", "interrupted": "!"}


@contextlib.contextmanager
def interrupts_kept() -> Iterator[list[bool]]:
    """Keep Ctrl+C for later: between a job's start and its following it would be lost, and the job go on."""
    kept: list[bool] = []
    before = signal.signal(signal.SIGINT, lambda *_: kept.append(True))
    try:
        yield kept
    finally:
        signal.signal(signal.SIGINT, before)


def start_and_follow(context: Context, begin: Callable[[], JobFolder], again: JobFolder | None = None) -> JobState:
    """Begin a job and show it until it is over. Ctrl+C cancels it, from the first moment on.

    `again` is the job's folder when it is there already (a retry): what earlier attempts said is not shown again.
    """
    said = again.events_path.stat().st_size if again is not None else 0
    with interrupts_kept() as kept:
        folder = begin()
        tail = EventTail(folder.events_path, said)
        context.err.print(f"Job {folder.id}: {folder.raw_state().title}", markup=False, soft_wrap=True)
        with _shown(context) as shown, contextlib.closing(tail):
            state = _watch(folder, tail, shown, kept)
            if state is not None:
                return state
            context.note("Cancelling the job …")
            client.cancel(folder)
            kept.clear()
            state = _watch(folder, tail, shown, kept)
    if state is None:
        context.note(f"Job {folder.id} is being cancelled; `workbench jobs` shows when it is over.")
        raise typer.Exit(5)
    return state


def _shown(context: Context) -> _Bars | _Lines:
    live = context.err.is_terminal and not context.err.is_dumb_terminal and not context.as_json
    return _Bars(context) if live else _Lines(context)


def _watch(folder: JobFolder, tail: EventTail, shown: _Bars | _Lines, kept: list[bool]) -> JobState | None:
    """Follow until the job is over; None as soon as there was a Ctrl+C."""
    for state, events in client.follow(folder, tail):
        shown.show(state, events)
        if kept and not state.finished:
            return None
    return client.wait(folder, 30.0)


def step_words(step: StepState) -> str:
    """One line for a step: `✓ Quantize int8  reused`."""
    name = f"{step.title} {step.variant}".strip()
    took = ""
    if step.status == "done" and step.started_at and step.finished_at:
        took = format_duration(step.finished_at - step.started_at)
    words = {"done": took, "reused": step.note or "reused", "none": f"none: {step.note}"}.get(step.status, step.status)
    if step.status == "running":
        words = step.phase or "running"
        if step.phase_of:
            words += f" ({step.phase_index} of {step.phase_of})"
        if step.share is not None:
            words += f" {int(step.share * 100)} %" + _left(step)
        elif step.done is not None and step.total:
            words += f" {_amount(step.done, step.unit)}/{_amount(step.total, step.unit)}"
    if step.status in ("waiting",) and step.note:
        words = step.note
    return f"{_MARKS.get(step.status, ' ')} {name:<16} {words}"


def _left(step: StepState) -> str:
    """What its worker says of the time that is left; empty where it says nothing."""
    if step.ends_at is None:
        return ""
    seconds = max(round(step.ends_at - time.time()), 1)
    return f", about {f'{seconds} s' if seconds < 60 else format_duration(seconds)} left"


def _amount(value: float, unit: str) -> str:
    return format_bytes(value) if unit in ("B", "bytes") else f"{value:g} {unit}".strip()


class _Bars:
    """A bar a step, redrawn in place."""

    def __init__(self, context: Context) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            console=context.err,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, state: JobState, events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["type"] == "log" and event.get("level") != "debug":
                self._progress.console.print(f"{event.get('step', '')}: {event['text']}", markup=False, soft_wrap=True)
        for step in state.steps:
            if step.status == "pending":
                continue
            if step.id not in self._tasks:
                self._tasks[step.id] = self._progress.add_task(step_words(step), total=1.0)
            fraction = step.fraction
            over = step.status in _MARKS
            self._progress.update(
                self._tasks[step.id],
                description=step_words(step),
                completed=1.0 if over else fraction or 0.0,
                total=1.0 if over or fraction is not None else None,
            )


class _Lines:
    """A line when a step or phase begins and ends."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._said: set[str] = set()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, state: JobState, events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["type"] == "phase":
                self._say(f"  {event.get('step', '')}: {event['name']} ({event['index']} of {event['of']})")
            elif event["type"] == "log" and event.get("level") in ("warning", "error", "info"):
                self._say(f"  {event.get('step', '')}: {event['text']}")
        for step in state.steps:
            waits = f"{state.attempt}/{step.id}/{step.note}"
            if step.status == "waiting" and step.note and waits not in self._said:
                self._said.add(waits)
                self._say(step_words(step))
            if step.status in _MARKS and (key := f"{state.attempt}/{step.id}/{step.status}") not in self._said:
                self._said.add(key)
                self._say(step_words(step))

    def _say(self, text: str) -> None:
        self._context.err.print(text, markup=False, soft_wrap=True)


def print_log(context: Context, folder: JobFolder, *, follow: bool) -> JobState:
    """The raw log on stdout (with --json: the events); with `follow` until the job is over.

    Ctrl+C only stops looking, and says so.
    """
    path = folder.events_path if context.as_json else folder.log_path
    with interrupts_kept() as kept, contextlib.suppress(FileNotFoundError), path.open("rb") as log:
        while True:
            over = not follow or folder.state().finished  # asked before reading, so that the last lines are not missed
            sys.stdout.buffer.write(log.read())
            sys.stdout.flush()
            if over:
                break
            if kept:
                context.note(f"Stopped looking; the job goes on. `workbench jobs cancel {folder.id[-4:]}` ends it.")
                raise typer.Exit(130)
            time.sleep(0.1)
    return folder.state()


def final_words(state: JobState) -> str:
    """The closing line of a job."""
    took = format_duration(state.finished_at - state.started_at) if state.started_at and state.finished_at else ""
    return f"Job {state.id}: {state.status}" + (f" in {took}" if took else "")


def state_json(state: JobState) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(state.model_dump_json())
    return data
