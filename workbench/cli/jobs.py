"""`workbench jobs`: list, log, cancel, retry."""

from __future__ import annotations

import time

import typer
from rich.table import Table

from workbench.cli.context import Context
from workbench.cli.follow import final_words, print_log, start_and_follow, state_json
from workbench.core.errors import BadInputError, StepFailedError
from workbench.core.job import JobState
from workbench.core.units import format_duration
from workbench.jobs import client
from workbench.jobs.folder import JobFolder, find, job_ids

EXIT_CODES = {"done": 0, "failed": 4, "cancelled": 5, "interrupted": 4}


def exit_code(state: JobState) -> int:
    """What a command that followed this job ends with."""
    if state.status == "failed" and state.failure is not None:
        return state.failure.exit_code
    return EXIT_CODES.get(state.status, 0)


def end_with(context: Context, state: JobState) -> None:
    """Say how the job ended and leave with its exit code, unless it is done."""
    if state.status == "done":
        return
    if state.failure is not None:
        if not context.as_json:
            context.err.print(final_words(state), markup=False)
        context.fail(state.failure)
    raise typer.Exit(exit_code(state))


def run_list(context: Context, limit: int) -> None:
    states: list[JobState] = []
    for job_id in reversed(job_ids(context.home.jobs)):
        if len(states) == limit:
            break
        try:
            states.append(JobFolder(context.home.jobs / job_id).state())
        except BadInputError as error:
            context.note(error.what)
    if context.as_json:
        context.result([state_json(state) for state in states])
        return
    if not states:
        context.result(None, "No jobs yet. `workbench demo` starts one.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "title", "status", "step", "started", "took"):
        table.add_column(column, no_wrap=column == "id")
    for state in states:
        end = state.finished_at or time.time()
        step = state.current
        table.add_row(
            state.id,
            state.title,
            state.status + (f" (attempt {state.attempt})" if state.attempt > 1 else ""),
            f"{step.title} {step.variant} {step.note if step.status == 'waiting' else ''}".strip() if step else "",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(state.created_at)),
            format_duration(end - state.started_at) if state.started_at else "",
        )
    context.out.print(table)


def run_log(context: Context, job: str, *, follow: bool) -> None:
    folder = find(context.home.jobs, job)
    state = print_log(context, folder, follow=follow)
    if not follow:
        return
    context.err.print(final_words(state), markup=False)
    if state.status != "done":
        if state.failure is not None:
            for line in state.failure.lines():
                context.err.print(line, markup=False)
        raise typer.Exit(exit_code(state))


def run_cancel(context: Context, job: str) -> None:
    folder = find(context.home.jobs, job)
    if not client.cancel(folder):
        state = folder.state()
        raise BadInputError(
            f"Job {folder.id} is not running.", evidence=f"it is {state.status}", code="job-not-running"
        )
    try:
        state = client.wait(folder, 60.0)
    except TimeoutError as error:
        raise StepFailedError(
            f"Job {folder.id} was asked to stop and has not stopped yet.",
            evidence=str(error),
            fix=f"`workbench jobs` shows when it is over. Its supervisor: process {folder.raw_state().supervisor_pid}.",
            code="not-stopped",
        ) from None
    context.result(state_json(state), final_words(state))


def run_retry(context: Context, job: str, *, detach: bool) -> None:
    folder = find(context.home.jobs, job)
    context.store.refuse_newer()
    if detach:
        client.retry(folder)
        context.result({"job": folder.id}, folder.id)
        return

    def again() -> JobFolder:
        client.retry(folder)
        return folder

    state = start_and_follow(context, again, folder)
    end_with(context, state)
    context.store.sync()
    context.result(state_json(state), final_words(state))
