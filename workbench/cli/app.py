"""The commands and their help. Only typer is imported here: `--help` and completion must be instant."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from workbench.cli import (
    app_endpoint,
    app_engines,
    app_export,
    app_jobs,
    app_measure,
    app_run,
    app_serve,
    app_settings,
    app_target,
    app_toolchain,
)
from workbench.cli.help import App, Group
from workbench.cli.options import JsonFlag, ModelOption, PrecisionOption, SetOption, TargetOption, UntilOption


class _Root(Group):
    panels: ClassVar[dict[str, tuple[str, ...]]] = {
        "Build": ("demo", "check", "build", "jobs", "engines", "presets", "flags"),
        "Use": ("prompt", "chat", "serve", "export", "monitor"),
        "Measure": ("endpoint", "bench", "compare", "results", "report"),
        "This machine": ("doctor", "self-test", "settings", "toolchain", "target", "gui", "docs"),
    }


app = App(
    name="workbench",
    cls=_Root,
    help="Engine Workbench: from a model folder to an answering, measured engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    Exit codes: 0 done, 2 bad input, 3 blocked by preflight, 4 a step failed, 5 cancelled, 6 worse than the baseline.
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
    target: TargetOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Say what a build would need and whether it can work; nothing is written.

    For a preset that names GPUs which are not here, the answer is for those GPUs.

    \b
    Examples:
      workbench check cpu-int8 --model ~/models/Qwen2.5-1.5B
      workbench check cpu-int8 --model ~/models/Qwen2.5-1.5B --set limits.max_batch_size=32
      workbench check llama-3.3-70b-fp8-8xh200 --model ~/models/Llama-3.3-70B-Instruct
      workbench check llama-3.1-8b-fp8 --model ~/models/Llama-3.1-8B-Instruct --target gpu-box
    """
    from workbench.cli.build import run_check
    from workbench.cli.context import running

    with running(as_json) as context:
        run_check(context, preset, model, precision, overrides, until, target)


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
    target: TargetOption = "",
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
      workbench build cpu-int8 --model ~/models/Qwen2.5-1.5B --target gpu-box
    """
    from workbench.cli.build import run_build
    from workbench.cli.context import running

    with running(as_json) as context:
        run_build(
            context,
            preset,
            model,
            out,
            precision,
            overrides,
            until,
            detach=detach,
            dry_run=dry_run,
            anyway=anyway,
            target=target,
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
def docs(
    page: Annotated[str, typer.Argument(help="A page's name or its beginning, such as offline-install.")] = "",
    find: Annotated[str, typer.Option("--find", help="List the sections that hold these words.")] = "",
    text: Annotated[bool, typer.Option("--text", help="Print the page itself (Markdown), not its path.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say where the user guide stands: its pages, or the path of one; opens nothing by itself.

    \b
    Examples:
      workbench docs
      workbench docs troubleshooting
      workbench docs first-engine --text
      workbench docs --find "out of memory"
    """
    from workbench.cli.context import running
    from workbench.cli.docs import run_docs

    with running(as_json) as context:
        run_docs(context, page, find, text=text)


@app.command("self-test")
def self_test(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the report there too: .json gets JSON, else text.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the tiny engine, which takes longest.")] = False,
    only: Annotated[
        list[str], typer.Option("--only", help="Run these checks alone, such as window,store; names are in the JSON.")
    ] = [],  # noqa: B006
    patience: Annotated[
        float, typer.Option("--patience", min=0.1, max=100.0, help="Factor on the time that each check may take.")
    ] = 1.0,
    events: Annotated[bool, typer.Option("--events", hidden=True)] = False,
    as_json: JsonFlag = False,
) -> None:
    """Test this installation and print a report that can be sent: files, window, workers, store, a tiny engine.

    It takes up to a minute, needs neither GPU nor network, and works in a folder of its own. Where something fails the
    exit code is 4. What cannot be run here, such as the engine without OpenVINO, is said and does not count.

    \b
    Examples:
      workbench self-test
      workbench self-test --out report.txt
      workbench self-test --quick --json
    """
    from workbench.cli.context import running
    from workbench.cli.self_test import run_self_test

    with running(as_json or events) as context:
        run_self_test(context, out=out, quick=quick, only=only, patience=patience, events=events)


@app.command()
def gui(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="A preset file or a model folder to open.")
    ] = None,
) -> None:
    """Open the window; where it is open already, it comes to the front. What is named is opened on its Build page.

    \b
    Examples:
      workbench gui
      workbench gui ours.preset.toml
      workbench gui ~/models/llama-3.1-8b
    """
    from workbench.cli.gui import run_gui

    paths: tuple[str, ...] = ()
    if files:
        from workbench.cli.context import running
        from workbench.cli.gui import checked_paths

        with running(False):
            paths = checked_paths(files)
    run_gui(paths)


app.add_typer(app_run.app)
app.add_typer(app_measure.app)
app.add_typer(app_engines.app, name="engines")
app.add_typer(app_jobs.app, name="jobs")
app.add_typer(app_endpoint.app, name="endpoint")
app.add_typer(app_target.app, name="target")
app.add_typer(app_toolchain.app, name="toolchain")
app.add_typer(app_export.app, name="export")
app.add_typer(app_serve.app, name="serve")
app.add_typer(app_settings.app, name="settings")
app.add_typer(app_settings.presets_app, name="presets")


def main() -> None:
    """Entry point of the `workbench` command."""

    def stop(*_: object) -> None:
        os.write(2, b"cancelled\n")
        os._exit(5)

    signal.signal(signal.SIGINT, stop)  # nothing was begun yet; commands handle it themselves
    app()


if __name__ == "__main__":
    main()
