"""The commands `workbench jobs …`. Only typer is imported here: `--help` must be instant."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli.help import App
from workbench.cli.options import JsonFlag

app = App(invoke_without_command=True)


@app.callback()
def jobs(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Jobs: list, follow, cancel, retry.

    \b
    Examples:
      workbench jobs
      workbench jobs log -f last
      workbench jobs retry a1b2
    """
    if context.invoked_subcommand is None:
        jobs_list(as_json=as_json)


@app.command("list")
def jobs_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the newest.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first.

    \b
    Example:
      workbench jobs list -n 50
    """
    from workbench.cli.context import running
    from workbench.cli.jobs import run_list

    with running(as_json) as context:
        run_list(context, limit)


JobArgument = Annotated[str, typer.Argument(help="Job id, a part of it, or `last`.")]


@app.command("log")
def jobs_log(
    job: JobArgument = "last",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job is over, with its progress.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print a job's log; -f follows it and ends with the job's exit code.

    \b
    Examples:
      workbench jobs log last
      workbench jobs log -f a1b2
    """
    from workbench.cli.context import running
    from workbench.cli.jobs import run_log

    with running(as_json) as context:
        run_log(context, job, follow=follow)


@app.command("cancel")
def jobs_cancel(job: JobArgument, as_json: JsonFlag = False) -> None:
    """Cancel a job: its worker and all of its processes end.

    \b
    Example:
      workbench jobs cancel last
    """
    from workbench.cli.context import running
    from workbench.cli.jobs import run_cancel

    with running(as_json) as context:
        run_cancel(context, job)


@app.command("retry")
def jobs_retry(
    job: JobArgument,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return at once.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a job again from the step that failed, was cancelled or interrupted.

    \b
    Example:
      workbench jobs retry last
    """
    from workbench.cli.context import running
    from workbench.cli.jobs import run_retry

    with running(as_json) as context:
        run_retry(context, job, detach=detach)
