"""The commands `workbench serve …`. Only typer is imported here: `--help` must be instant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench.cli.help import App, Group
from workbench.cli.options import JsonFlag

ADDRESS, KEY, LIMITS, ENGINE = "Address", "API key", "Limits", "Engine"


class _Serve(Group):
    """`workbench serve ENGINE` is `workbench serve start ENGINE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((word for word in args if not word.startswith("-")), None)
        own = {name for param in self.get_params(ctx) for name in param.opts} | {"-h", "--help"}
        is_ours = not args or args[0] in self.commands or (args[0] in own and (first is None or first in self.commands))
        if not is_ours:  # an engine of a command's name is reached by `start`
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = App(cls=_Serve, invoke_without_command=True)
ServerArgument = Annotated[str, typer.Argument(help="Server id, a part of it, the port of a running one, or `last`.")]


@app.callback()
def serve(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Serve an engine by the OpenAI API: start, list, status, stop, log, remove.

    `workbench serve ENGINE` starts a server in front of any engine (`workbench serve start --help` lists the options).
    It listens on this machine alone unless --host says otherwise, and goes on when the terminal is closed.

    \b
    Examples:
      workbench serve last
      workbench serve demo-int4 --port 8080 --detach
      workbench serve last --host 0.0.0.0 --new-key
      workbench serve stop 8080
    """
    if context.invoked_subcommand is None:
        serve_list(as_json=as_json)


@app.command("start")
def serve_start(
    engine: Annotated[str, typer.Argument(help="Engine folder, or its name or key as `workbench engines` lists it.")],
    model: Annotated[
        str,
        typer.Option("--model", help="Model name that clients send; by default the engine's.", rich_help_panel=ENGINE),
    ] = "",
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A runtime setting: runtime.kv_cache_gib=2. May be repeated.",
            rich_help_panel=ENGINE,
        ),
    ] = [],  # noqa: B006
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on; 0.0.0.0 is all networks of this machine, which needs a key.",
            rich_help_panel=ADDRESS,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.", rich_help_panel=ADDRESS)
    ] = 8000,
    api_key_env: Annotated[
        str,
        typer.Option(
            "--api-key-env", help="The environment variable that holds the key: its name, no key.", rich_help_panel=KEY
        ),
    ] = "",
    api_key_keyring: Annotated[
        str, typer.Option("--api-key-keyring", help="The keyring's entry that holds the key.", rich_help_panel=KEY)
    ] = "",
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="Make a key and show it once; with --api-key-keyring it is kept there too.",
            rich_help_panel=KEY,
        ),
    ] = False,
    max_active: Annotated[
        int | None,
        typer.Option("--max-active", min=1, help="Requests with the engine at once.", rich_help_panel=LIMITS),
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option("--queue", min=0, help="Requests that may wait; further ones get 429.", rich_help_panel=LIMITS),
    ] = None,
    queue_s: Annotated[
        float | None,
        typer.Option("--queue-seconds", min=0.1, help="Longest wait in the queue.", rich_help_panel=LIMITS),
    ] = None,
    body_mb: Annotated[
        float | None,
        typer.Option(
            "--body-mb", min=0.001, help="Largest request body, in MB; larger get 413.", rich_help_panel=LIMITS
        ),
    ] = None,
    connections: Annotated[
        int | None, typer.Option("--connections", min=1, help="Open connections.", rich_help_panel=LIMITS)
    ] = None,
    idle_s: Annotated[
        float | None,
        typer.Option(
            "--idle-seconds",
            min=0.1,
            max=3600,
            help="How long a connection may take to send its request.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    write_s: Annotated[
        float | None,
        typer.Option(
            "--write-seconds",
            min=0.1,
            max=3600,
            help="How long a client may leave its answer unread; then the request is aborted.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    request_s: Annotated[
        float | None, typer.Option("--request-seconds", min=0.1, help="Longest answer.", rich_help_panel=LIMITS)
    ] = None,
    drain_s: Annotated[
        float | None,
        typer.Option(
            "--drain-seconds",
            min=0,
            help="How long answers may go on once it is asked to stop.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return once it listens.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a server in front of an engine. Ctrl+C lets running answers end; a second one does not.

    TensorRT-LLM engines are answered by trtllm-serve, others by their engine host; in front of both stands the same
    door, which knows keys and limits. Routes: /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics.

    \b
    Examples:
      workbench serve last
      workbench serve ~/engines/demo --port 8080 --model demo --set runtime.kv_cache_gib=2
      workbench serve last --host 0.0.0.0 --new-key --detach
      SERVE_KEY=... workbench serve last --api-key-env SERVE_KEY
    """
    from workbench.cli.context import running
    from workbench.cli.serve import run_start

    limits = {
        "active": max_active,
        "queue": queue,
        "queue_s": queue_s,
        "body_bytes": None if body_mb is None else int(body_mb * 1_000_000),
        "connections": connections,
        "idle_s": idle_s,
        "write_s": write_s,
        "request_s": request_s,
        "drain_s": drain_s,
    }
    with running(as_json) as context:
        run_start(
            context,
            engine,
            model=model,
            host=host,
            port=port,
            key_env=api_key_env,
            key_keyring=api_key_keyring,
            new_key=new_key,
            limits={name: value for name, value in limits.items() if value is not None},
            overrides=overrides,
            detach=detach,
        )


@app.command("list")
def serve_list(
    running_only: Annotated[bool, typer.Option("--running", help="Those that run.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List servers, newest first.

    \b
    Example:
      workbench serve list --running
    """
    from workbench.cli.context import running
    from workbench.cli.serve import run_list

    with running(as_json) as context:
        run_list(context, running_only=running_only)


@app.command("status")
def serve_status(
    server: ServerArgument = "last",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it serves, or has ended: then with its exit code.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say how a server is: requests, queue, percentiles, what was refused.

    \b
    Examples:
      workbench serve status 8000
      workbench serve status last --wait --json
    """
    from workbench.cli.context import running
    from workbench.cli.serve import run_status

    with running(as_json) as context:
        run_status(context, server, wait=wait)


@app.command("stop")
def serve_stop(
    server: ServerArgument,
    now: Annotated[bool, typer.Option("--now", help="Abort running answers instead of letting them end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop a server: no new requests, running answers end first.

    \b
    Examples:
      workbench serve stop last
      workbench serve stop 8000 --now
    """
    from workbench.cli.context import running
    from workbench.cli.serve import run_stop

    with running(as_json) as context:
        run_stop(context, server, now=now)


@app.command("log")
def serve_log(
    server: ServerArgument = "last",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the server ends.")] = False,
    access: Annotated[
        bool, typer.Option("--access", help="One line a request instead of the engine's output.")
    ] = False,
) -> None:
    """Print what a server's engine wrote, or with --access one line a request.

    \b
    Examples:
      workbench serve log last
      workbench serve log 8000 --access -f
    """
    from workbench.cli.context import running
    from workbench.cli.serve import run_log

    with running(False) as context:
        run_log(context, server, follow=follow, access=access)


@app.command("remove")
def serve_remove(server: ServerArgument, as_json: JsonFlag = False) -> None:
    """Forget an ended server with its logs and readings.

    \b
    Example:
      workbench serve remove last
    """
    from workbench.cli.context import running
    from workbench.cli.serve import run_remove

    with running(as_json) as context:
        run_remove(context, server)
