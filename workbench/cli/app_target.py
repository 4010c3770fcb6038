"""The commands `workbench target …`. Only typer is imported here: `--help` must be instant."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli.help import App
from workbench.cli.options import JsonFlag

app = App(invoke_without_command=True)
NameArgument = Annotated[str, typer.Argument(help="Name of the target.")]
PythonOption = Annotated[
    list[str] | None,
    typer.Option(
        "--python",
        help="Interpreter there: a path for all, or PART=PATH for openvino, tensorrt_llm, modelopt, tensorrt_rtx, "
        "onnxruntime, pytorch, default.",
    ),
]
FolderOption = Annotated[
    str | None, typer.Option("--folder", help="Folder there for code, inputs and runs; of Slurm one that nodes see.")
]
SharedOption = Annotated[
    bool | None,
    typer.Option("--shared/--no-shared", help="The workbench's home is seen there under the same name: no copies."),
]
PortOption = Annotated[int | None, typer.Option("--port", help="SSH port.")]
IdentityOption = Annotated[str | None, typer.Option("--identity-file", help="Private key, here; else ssh's own way.")]
KnownHostsOption = Annotated[str | None, typer.Option("--known-hosts", help="A known_hosts file of its own.")]
HostOption = Annotated[
    str | None, typer.Option("--host", help="user@name or a Host of ssh_config; of Slurm its login host.")
]
PartitionOption = Annotated[str | None, typer.Option("--partition", help="Slurm partition; empty: its default.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Slurm account.")]
TimeOption = Annotated[str | None, typer.Option("--time", help="Time limit of a step's job: 2:00:00.")]
GpusOption = Annotated[int | None, typer.Option("--gpus", help="GPUs a job asks for; by default as many as it uses.")]
SbatchOption = Annotated[
    list[str] | None, typer.Option("--option", help="Further option of sbatch: --option=--constraint=h100.")
]
CommandOption = Annotated[
    str | None, typer.Option("--command", help="Of a container: 'docker run -i --rm --gpus all IMAGE'.")
]


@app.callback()
def target(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Other machines that builds run on, over SSH, in Slurm or in a container: add, list, test, show, change, remove.

    \b
    Examples:
      workbench target add gpu-box --ssh trt@gpu-box --folder /data/workbench --python /opt/trt/bin/python
      workbench target test gpu-box
      workbench build llama-3.1-8b-fp8-h100 --model ~/models/Llama-3.1-8B-Instruct --target gpu-box
    """
    if context.invoked_subcommand is None:
        target_list(as_json=as_json)


@app.command("add")
def target_add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    ssh: Annotated[str, typer.Option("--ssh", help="A machine over SSH: user@name or a Host of ssh_config.")] = "",
    slurm: Annotated[
        bool, typer.Option("--slurm", help="A Slurm cluster; its commands are here or on --host.")
    ] = False,
    container: Annotated[
        str, typer.Option("--container", help="A container here: 'docker run -i --rm --gpus all IMAGE'.")
    ] = "",
    here: Annotated[bool, typer.Option("--here", help="This machine with interpreters of its own.")] = False,
    host: HostOption = None,
    port: PortOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    folder: FolderOption = None,
    shared: SharedOption = None,
    python: PythonOption = None,
    partition: PartitionOption = None,
    account: AccountOption = None,
    time: TimeOption = None,
    gpus: GpusOption = None,
    option: SbatchOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Describe a machine; nothing is sent to it, and no password is kept: ssh's agent and files have the keys.

    \b
    Examples:
      workbench target add gpu-box --ssh trt@gpu-box --folder /data/workbench --python /opt/trt/bin/python
      workbench target add cluster --slurm --host me@login --partition h100 --time 4:00:00 --folder /scratch/me
      workbench target add trt --container 'docker run -i --rm --gpus all --ipc=host IMAGE' --python python3
    """
    from workbench.cli.context import running
    from workbench.cli.target import run_add
    from workbench.cli.target_fields import given_fields, kind_fields

    with running(as_json) as context:
        fields = given_fields(
            host=host,
            port=port,
            identity_file=identity_file,
            known_hosts=known_hosts,
            folder=folder,
            shared=shared,
            python=python,
            partition=partition,
            account=account,
            time_limit=time,
            gpus=gpus,
            options=option,
        )
        run_add(context, name, {**fields, **kind_fields(ssh, container, slurm=slurm, here=here)})


@app.command("change")
def target_change(
    name: NameArgument,
    host: HostOption = None,
    port: PortOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    folder: FolderOption = None,
    shared: SharedOption = None,
    python: PythonOption = None,
    command: CommandOption = None,
    partition: PartitionOption = None,
    account: AccountOption = None,
    time: TimeOption = None,
    gpus: GpusOption = None,
    option: SbatchOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is given; the rest stays. --option replaces all further options of sbatch.

    \b
    Examples:
      workbench target change cluster --time 8:00:00
      workbench target change gpu-box --python tensorrt_llm=/opt/trt/bin/python
    """
    from workbench.cli.context import running
    from workbench.cli.target import run_change
    from workbench.cli.target_fields import given_fields

    with running(as_json) as context:
        fields = given_fields(
            host=host,
            port=port,
            identity_file=identity_file,
            known_hosts=known_hosts,
            folder=folder,
            shared=shared,
            python=python,
            command=command,
            partition=partition,
            account=account,
            time_limit=time,
            gpus=gpus,
            options=option,
        )
        run_change(context, name, fields)


@app.command("list")
def target_list(as_json: JsonFlag = False) -> None:
    """List the targets with what the last look at each found.

    \b
    Example:
      workbench target list
    """
    from workbench.cli.context import running
    from workbench.cli.target import run_list

    with running(as_json) as context:
        run_list(context)


@app.command("test")
def target_test(
    name: NameArgument,
    allocate: Annotated[
        bool, typer.Option("--allocate", help="Slurm: look at a node that it gives; that may have to be waited for.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Look at a target now: login, interpreters and their packages, GPUs, memory, disk, rsync, Slurm.

    \b
    Examples:
      workbench target test gpu-box
      workbench target test cluster --allocate
    """
    from workbench.cli.context import running
    from workbench.cli.target import run_test

    with running(as_json) as context:
        run_test(context, name, allocate=allocate)


@app.command("show")
def target_show(name: NameArgument, as_json: JsonFlag = False) -> None:
    """What a target is, and what the last look at it found.

    \b
    Example:
      workbench target show gpu-box
    """
    from workbench.cli.context import running
    from workbench.cli.target import run_show

    with running(as_json) as context:
        run_show(context, name)


@app.command("runs")
def target_runs(
    name: NameArgument,
    stop: Annotated[str, typer.Option("--stop", help="End this run there, and take its folder away.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Runs that the target keeps: those at work, and those whose end nobody has fetched yet.

    \b
    Examples:
      workbench target runs gpu-box
      workbench target runs gpu-box --stop openvino.convert-0a1b2c3d4e5f6071
    """
    from workbench.cli.context import running
    from workbench.cli.target import run_runs

    with running(as_json) as context:
        run_runs(context, name, stop=stop)


@app.command("remove")
def target_remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Forget a target. Its machine and what lies there are not touched.

    \b
    Example:
      workbench target remove gpu-box --yes
    """
    from workbench.cli.context import running
    from workbench.cli.target import run_remove

    with running(as_json) as context:
        run_remove(context, name, yes=yes)
