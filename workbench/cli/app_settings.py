"""The commands `workbench settings …` and `workbench presets …`. Only typer is imported here: help must be instant."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli.help import App
from workbench.cli.options import JsonFlag

app = App(invoke_without_command=True)
presets_app = App(invoke_without_command=True)
_KeyArgument = Annotated[str, typer.Argument(help="Setting, such as network.offline.")]


@app.callback()
def settings(context: typer.Context, as_json: JsonFlag = False) -> None:
    """What is set for this program, by whom, and what is locked; change your own.

    \b
    Examples:
      workbench settings
      workbench settings set folders.models /srv/models ~/models
      workbench settings unset network.offline
    """
    if context.invoked_subcommand is None:
        settings_list(as_json=as_json)


@app.command("list")
def settings_list(
    everything: Annotated[bool, typer.Option("--all", help="Those of toolchains that nobody set, too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List all settings with where each comes from.

    \b
    Example:
      workbench settings list --all
    """
    from workbench.cli.context import running
    from workbench.cli.settings import run_list

    with running(as_json) as context:
        run_list(context, everything=everything)


@app.command("get")
def settings_get(key: _KeyArgument, as_json: JsonFlag = False) -> None:
    """Print one setting; where it comes from goes to stderr.

    \b
    Example:
      workbench settings get folders.models
    """
    from workbench.cli.context import running
    from workbench.cli.settings import run_get

    with running(as_json) as context:
        run_get(context, key)


@app.command("set")
def settings_set(
    key: _KeyArgument,
    values: Annotated[list[str], typer.Argument(help="Its value; for a list, each of them.")],
    as_json: JsonFlag = False,
) -> None:
    """Set one setting in your own file; what the administrator has locked stays.

    A list of folders is your part of it: those of the administrator stay before yours.

    \b
    Examples:
      workbench settings set window.theme dark
      workbench settings set folders.presets git+https://example.org/team/presets.git
      workbench settings set toolchains.openvino.prefix -- docker run --rm -i IMAGE python3
    """
    from workbench.cli.context import running
    from workbench.cli.settings import run_set

    with running(as_json) as context:
        run_set(context, key, values)


@app.command("unset")
def settings_unset(key: _KeyArgument, as_json: JsonFlag = False) -> None:
    """Take a setting out of your own file, so that the administrator's or the usual one holds.

    \b
    Example:
      workbench settings unset window.theme
    """
    from workbench.cli.context import running
    from workbench.cli.settings import run_unset

    with running(as_json) as context:
        run_unset(context, key)


@app.command("path")
def settings_path(as_json: JsonFlag = False) -> None:
    """Print where the settings are: your file, and the administrator's.

    \b
    Example:
      workbench settings path
    """
    from workbench.cli.context import running
    from workbench.cli.settings import run_path

    with running(as_json) as context:
        run_path(context)


@presets_app.callback()
def presets(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List the presets: shipped ones, your own in WORKBENCH_HOME/presets, and those of the settings' folders.

    \b
    Examples:
      workbench presets
      workbench presets --json
      workbench presets update
    """
    if context.invoked_subcommand is None:
        from workbench.cli.build import run_presets
        from workbench.cli.context import running

        with running(as_json) as opened:
            run_presets(opened)


@presets_app.command("update")
def presets_update(as_json: JsonFlag = False) -> None:
    """Fetch the Git repositories of presets that the settings name, and say at which commit each is.

    \b
    Example:
      workbench presets update
    """
    from workbench.cli.context import running
    from workbench.cli.presets import run_update

    with running(as_json) as context:
        run_update(context)


@presets_app.command("folders")
def presets_folders(as_json: JsonFlag = False) -> None:
    """Print the folders that presets come from, with the commit of a Git checkout.

    \b
    Example:
      workbench presets folders
    """
    from workbench.cli.context import running
    from workbench.cli.presets import run_folders

    with running(as_json) as context:
        run_folders(context)
