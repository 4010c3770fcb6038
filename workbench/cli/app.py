"""The commands and their help. Only typer is imported here: `--help` and completion must be instant."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

# Plain help on purpose: importing Rich for it would take as long again as importing typer.
app = typer.Typer(
    name="workbench",
    help="Engine Workbench: from a model folder to an answering, measured engine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
engines_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
jobs_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(engines_app, name="engines")
app.add_typer(jobs_app, name="jobs")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Model folder, or a name such as org/model to download.")
]
PrecisionOption = Annotated[
    list[str],
    typer.Option(
        "--precision", "-p", help="Precisions, comma-separated or repeated, instead of the preset's: int8,int4."
    ),
]
SetOption = Annotated[
    list[str], typer.Option("--set", help="Override a preset value: precision.weights=int4.", metavar="KEY=VALUE")
]
UntilOption = Annotated[
    str, typer.Option("--until", help="Stop after this step: check, convert, quantize, build, verify.")
]


def _version(value: bool) -> None:
    if value:
        from workbench import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Engine Workbench: from a model folder to an answering, measured engine.

    \b
    Exit codes: 0 done, 2 bad input, 3 blocked by preflight, 4 a step failed, 5 cancelled.
    State lives in WORKBENCH_HOME (default: the platform's data folder).
    """


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the engine.")] = None,
    prompt: Annotated[str, typer.Option("--prompt", help="What to ask the engine.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Build the demo engine (SmolLM2-135M at INT8) and ask it something. Needs no GPU.

    \b
    Examples:
      workbench demo
      workbench demo --out ~/engines/demo
    """
    from workbench.cli.build import run_demo
    from workbench.cli.context import running

    with running(as_json) as context:
        run_demo(context, out, prompt)


@app.command()
def presets(as_json: JsonFlag = False) -> None:
    """List the presets: shipped ones, and your own in WORKBENCH_HOME/presets.

    \b
    Examples:
      workbench presets
      workbench presets --json
    """
    from workbench.cli.build import run_presets
    from workbench.cli.context import running

    with running(as_json) as context:
        run_presets(context)


@app.command()
def flags(
    word: Annotated[str, typer.Argument(help="A flag, or a word to look for.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """List the flags of trtllm-build 1.2 for [build.flags] of a preset; answer for those that are gone.

    \b
    Examples:
      workbench flags
      workbench flags paged
      workbench flags --json use_fused_mlp
    """
    from workbench.cli.context import running
    from workbench.cli.flags import run_flags

    with running(as_json) as context:
        run_flags(context, word)


@app.command()
def check(
    preset: Annotated[str, typer.Argument(help="Preset id or TOML file.")],
    model: ModelOption,
    precision: PrecisionOption = [],  # noqa: B006
    overrides: SetOption = [],  # noqa: B006
    until: UntilOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Say what a build would need and whether it can work; nothing is written.

    For a preset that names GPUs which are not here, the answer is for those GPUs.

    \b
    Examples:
      workbench check cpu-int8 --model ~/models/Qwen2.5-1.5B
      workbench check cpu-int8 --model ~/models/Qwen2.5-1.5B --set limits.max_batch_size=32
      workbench check llama-3.3-70b-fp8-8xh200 --model ~/models/Llama-3.3-70B-Instruct
    """
    from workbench.cli.build import run_check
    from workbench.cli.context import running

    with running(as_json) as context:
        run_check(context, preset, model, precision, overrides, until)


@app.command()
def build(
    preset: Annotated[str, typer.Argument(help="Preset id or TOML file.")],
    model: ModelOption,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the last artefact made; with several precisions, one below it for each."),
    ] = None,
    precision: PrecisionOption = [],  # noqa: B006
    overrides: SetOption = [],  # noqa: B006
    until: UntilOption = "",
    detach: Annotated[bool, typer.Option("--detach", help="Start the job and return at once.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the steps with argv, cache state and estimates; run nothing.")
    ] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Build even where an estimate objects.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Convert, quantize, build and verify; finished steps are reused.

    The command follows its job. Ctrl+C cancels the job; a lost terminal does not, and `workbench jobs log -f last`
    picks it up again.

    \b
    Examples:
      workbench build cpu-int8 --model ~/models/Qwen2.5-1.5B
      workbench build cpu-int8 --model ~/models/Qwen2.5-1.5B --precision int8,int4 --out ~/engines/qwen
      workbench build cpu-int4 --model org/name --set precision.group_size=64 --detach
      workbench build cpu-int8 --model ~/models/Qwen2.5-1.5B --until convert --dry-run
    """
    from workbench.cli.build import run_build
    from workbench.cli.context import running

    with running(as_json) as context:
        run_build(
            context, preset, model, out, precision, overrides, until, detach=detach, dry_run=dry_run, anyway=anyway
        )


@app.command()
def prompt(
    engine: Annotated[str, typer.Argument(help="Engine folder, or its name or key as `workbench engines` lists it.")],
    text: Annotated[str, typer.Argument(help="The prompt; - reads it from standard input.")],
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, max=10.0, help="0 is greedy.")] = 0.0,
    raw: Annotated[bool, typer.Option("--raw", help="Send the text as it is, without the chat template.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print TTFT, tokens/s and KV blocks too.")] = False,
    overrides: SetOption = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Load an engine, ask it once, print the answer.

    \b
    Examples:
      workbench prompt last "What is a KV cache?" --stats
      workbench prompt ~/engines/demo "Once upon a time" --raw --max-tokens 40
      workbench prompt last "Hello" --set runtime.kv_cache_gib=2
    """
    from workbench.cli.context import running
    from workbench.cli.prompt import run_prompt

    with running(as_json) as context:
        run_prompt(
            context,
            engine,
            text,
            max_tokens=max_tokens,
            temperature=temperature,
            raw=raw,
            stats=stats,
            overrides=overrides,
        )


@app.command()
def doctor(
    imports: Annotated[
        bool, typer.Option("--imports/--no-imports", help="Import each toolchain's packages for real (slower).")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """What this machine has and lacks, each problem with its fix.

    \b
    Examples:
      workbench doctor
      workbench doctor --imports --json
    """
    from workbench.cli.context import running
    from workbench.cli.doctor import run_doctor

    with running(as_json) as context:
        run_doctor(context, imports=imports)


@app.command()
def gui() -> None:
    """Open the window; where it is open already, it comes to the front.

    \b
    Example:
      workbench gui
    """
    from workbench.cli.gui import run_gui

    run_gui()


@engines_app.callback()
def engines(context: typer.Context, as_json: JsonFlag = False) -> None:
    """What was built: list, show, remove.

    \b
    Examples:
      workbench engines
      workbench engines show last
      workbench engines rm demo-int8
    """
    if context.invoked_subcommand is None:
        engines_list(as_json=as_json)


@engines_app.command("list")
def engines_list(
    everything: Annotated[bool, typer.Option("--all", help="Checkpoints and models too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the engines, newest first.

    \b
    Example:
      workbench engines list --all
    """
    from workbench.cli.context import running
    from workbench.cli.engines import run_list

    with running(as_json) as context:
        run_list(context, everything=everything)


@engines_app.command("show")
def engines_show(
    engine: Annotated[str, typer.Argument(help="Folder, name, key, or `last`.")], as_json: JsonFlag = False
) -> None:
    """Show where an engine came from: inputs, commands, versions, files, quality.

    \b
    Example:
      workbench engines show last
    """
    from workbench.cli.context import running
    from workbench.cli.engines import run_show

    with running(as_json) as context:
        run_show(context, engine)


@engines_app.command("rm")
def engines_rm(
    engine: Annotated[str, typer.Argument(help="Folder, name or key.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Remove a checkpoint or a model, too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove an engine from the disk: its own files, and the folder when nothing else is in it.

    \b
    Example:
      workbench engines rm ~/engines/demo --yes
    """
    from workbench.cli.context import running
    from workbench.cli.engines import run_remove

    with running(as_json) as context:
        run_remove(context, engine, yes=yes, everything=everything)


@jobs_app.callback()
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


@jobs_app.command("list")
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


@jobs_app.command("log")
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


@jobs_app.command("cancel")
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


@jobs_app.command("retry")
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


def main() -> None:
    """Entry point of the `workbench` command."""

    def stop(*_: object) -> None:
        os.write(2, b"cancelled\n")
        os._exit(5)

    signal.signal(signal.SIGINT, stop)  # nothing was begun yet; commands handle it themselves
    app()


if __name__ == "__main__":
    main()
