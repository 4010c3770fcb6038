"""The commands `workbench engines …`. Only typer is imported here: `--help` must be instant."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli.help import App
from workbench.cli.options import JsonFlag

app = App(invoke_without_command=True)


@app.callback()
def engines(context: typer.Context, as_json: JsonFlag = False) -> None:
    """What was built: list, show, look into, import, remove.

    \b
    Examples:
      workbench engines
      workbench engines show last
      workbench engines layers last
      workbench engines rm demo-int8
    """
    if context.invoked_subcommand is None:
        engines_list(as_json=as_json)


@app.command("list")
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


@app.command("show")
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


@app.command("layers")
def engines_layers(
    engine: Annotated[str, typer.Argument(help="Folder, name, key, or `last`.")],
    only: Annotated[str, typer.Option("--type", help="Only layers of this type, such as gemm.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the layers of a TensorRT-RTX engine, with its optimisation profiles and the GPUs that it is built for.

    \b
    Examples:
      workbench engines layers last
      workbench engines layers last --type gemm --json
    """
    from workbench.cli.context import running
    from workbench.cli.engine_layers import run_layers

    with running(as_json) as context:
        run_layers(context, engine, only)


@app.command("import")
def engines_import(
    folder: Annotated[str, typer.Argument(help="An engine's folder, or a launch folder with one.")],
    link: Annotated[bool, typer.Option("--link", help="Hard links of large files, on the same disk.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Copy an engine that was built elsewhere among your own, after a look at its checksums.

    \b
    Example:
      workbench engines import /media/stick/smol-launch
    """
    from workbench.cli.context import running
    from workbench.cli.engines_import import run_import

    with running(as_json) as context:
        run_import(context, folder, link=link)


@app.command("rm")
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
