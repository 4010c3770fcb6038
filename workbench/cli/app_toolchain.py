"""The commands `workbench toolchain …`. Only typer is imported here: `--help` must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.help import App
from workbench.cli.options import JsonFlag

app = App(invoke_without_command=True)
NameArgument = Annotated[
    str, typer.Argument(help="openvino, onnxruntime, pytorch, tensorrt_rtx, modelopt or tensorrt_llm.")
]
WheelsOption = Annotated[
    Path | None, typer.Option("--wheels", help="Folder of wheels to install from, without a network.")
]
PythonOption = Annotated[str, typer.Option("--python", help="Interpreter to make it with, instead of one that fits.")]
IndexOption = Annotated[str, typer.Option("--index", help="Address of the package index to use.")]
ExtraIndexOption = Annotated[
    list[str], typer.Option("--extra-index", help="Address of a package index to ask besides; can be repeated.")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Start the job and return at once.")]


@app.callback()
def toolchain(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Environments of the toolchains: list, check, install, uninstall; collect wheels for machines without a network.

    \b
    Examples:
      workbench toolchain install openvino
      workbench toolchain bundle openvino --out ~/wheels
      workbench toolchain install openvino --wheels /media/usb/wheels
    """
    if context.invoked_subcommand is None:
        toolchain_list(as_json=as_json)


@app.command("list")
def toolchain_list(as_json: JsonFlag = False) -> None:
    """List the environments of each toolchain; the one that is used is marked.

    \b
    Example:
      workbench toolchain list
    """
    from workbench.cli.context import running
    from workbench.cli.toolchain import run_list

    with running(as_json) as context:
        run_list(context)


@app.command("check")
def toolchain_check(
    name: NameArgument,
    wheels: WheelsOption = None,
    python: PythonOption = "",
    index: IndexOption = "",
    extra_index: ExtraIndexOption = [],  # noqa: B006
    system: Annotated[bool, typer.Option("--system", help="For all users of this machine.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say whether a toolchain can be installed here; nothing is written.

    \b
    Examples:
      workbench toolchain check tensorrt_llm
      workbench toolchain check openvino --wheels /media/usb/wheels
    """
    from workbench.cli.context import running
    from workbench.cli.toolchain import run_check

    with running(as_json) as context:
        run_check(context, name, wheels=wheels, python=python, index=index, extra_indexes=extra_index, system=system)


@app.command("install")
def toolchain_install(
    name: NameArgument,
    called: Annotated[str, typer.Option("--as", help="Name of the environment; several can be side by side.")] = "",
    wheels: WheelsOption = None,
    python: PythonOption = "",
    index: IndexOption = "",
    extra_index: ExtraIndexOption = [],  # noqa: B006
    system: Annotated[
        bool, typer.Option("--system", help="For all users of this machine; the administrator's to do.")
    ] = False,
    detach: DetachOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Make an environment with the tested versions, from the package index or from a folder of wheels.

    What is there is looked at first. It runs as a job; one that failed or was killed goes on where it was, by the
    same command or `workbench jobs retry`. A cancelled one is taken away, and what was downloaded is kept.

    \b
    Examples:
      workbench toolchain install openvino
      workbench toolchain install pytorch --as try --python /usr/bin/python3.12
      workbench toolchain install openvino --wheels /media/usb/wheels
    """
    from workbench.cli.context import running
    from workbench.cli.toolchain import run_install

    with running(as_json) as context:
        run_install(
            context, name, called, detach=detach,
            wheels=wheels, python=python, index=index, extra_indexes=extra_index, system=system,
        )  # fmt: skip


@app.command("uninstall")
def toolchain_uninstall(
    name: NameArgument,
    environment: Annotated[str, typer.Argument(help="Name of the environment, as `workbench toolchain list` has it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Take an environment away. Refused while something runs in it.

    \b
    Example:
      workbench toolchain uninstall openvino default
    """
    from workbench.cli.context import running
    from workbench.cli.toolchain import run_uninstall

    with running(as_json) as context:
        run_uninstall(context, name, environment, yes=yes)


@app.command("bundle")
def toolchain_bundle(
    name: NameArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for the wheels; one that was begun is gone on with.")],
    python_version: Annotated[
        str, typer.Option("--python-version", help="Version of Python that they are for: 3.12.")
    ] = "",
    index: IndexOption = "",
    extra_index: ExtraIndexOption = [],  # noqa: B006
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--no-gpu", help="For a machine with a GPU, or without; else as this one.")
    ] = None,
    detach: DetachOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Collect the wheels of a toolchain in a folder, for machines without a network.

    The folder gets a manifest with the hash of each wheel, which `install --wheels` compares.

    \b
    Examples:
      workbench toolchain bundle openvino --out ~/wheels --python-version 3.12
      workbench toolchain bundle pytorch --out /media/usb/wheels --gpu
    """
    from workbench.cli.context import running
    from workbench.cli.toolchain import run_bundle

    with running(as_json) as context:
        run_bundle(
            context, name, out, python_version,
            index=index, extra_indexes=extra_index, for_gpu=gpu, detach=detach,
        )  # fmt: skip
