"""The commands that run an engine or watch the machine: prompt, chat, monitor. Only typer is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.help import App, Command
from workbench.cli.options import JsonFlag, SetOption

app = App()


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


class _ChatCommand(Command):
    """Lets --continue stand alone; Typer knows no options whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--continue") + 1 if "--continue" in args else 0
        if at and (at == len(args) or args[at].startswith("-")):
            args = [*args[:at], "last", *args[at:]]
        return super().parse_args(ctx, args)


@app.command(cls=_ChatCommand)
def chat(
    engine: Annotated[str, typer.Argument(help="Engine folder, or its name or key as `workbench engines` lists it.")],
    system: Annotated[str | None, typer.Option("--system", help="System prompt of the conversation.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature", min=0.0, max=10.0, help="0 is greedy; without it as in the window: 0.7 with top-p 0.95."
        ),
    ] = None,
    continued: Annotated[
        str | None,
        typer.Option(
            "--continue",
            metavar="[ID]",
            help="Go on with a kept conversation: by id or a part of it, the last one without.",
        ),
    ] = None,
    overrides: SetOption = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a turn, each on a line.")] = False,
) -> None:
    """Load an engine and talk to it; answers stream, and the conversation is kept.

    On a terminal /help lists the commands and Ctrl+C stops an answer. Through a pipe each line is a message, or one
    of the same commands; an unknown /command is sent as it is, and // in front of a known one sends it too.

    \b
    Examples:
      workbench chat last
      workbench chat demo-int8 --system "Answer in one sentence." --set runtime.kv_cache_gib=2
      workbench chat last --continue
      printf 'Hello\\nAnd now in French\\n' | workbench chat last --json --temperature 0
    """
    from workbench.cli.chat import run_chat
    from workbench.cli.context import running

    with running(as_json) as context:
        run_chat(
            context,
            engine,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            overrides=overrides,
            continued=continued,
        )


@app.command()
def monitor(
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.1, max=60.0, help="Seconds between readings.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one reading and end.")] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.0, help="End after so long; without it Ctrl+C ends it.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", help="Write what was read to this file at the end; .gz compresses it.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object; with --seconds one a reading, each on a line of its own."),
    ] = False,
) -> None:
    """Watch GPUs, host memory and CPU; into a pipe, one line a reading.

    With --json alone, or with --once, it is one reading. null is not reported: an engine's weights and KV pool where
    no engine is known, for example.

    \b
    Examples:
      workbench monitor
      workbench monitor --interval 0.1 --record load.jsonl.gz
      workbench monitor --json
      workbench monitor --json --seconds 60 --interval 0.5 > load.jsonl
    """
    from workbench.cli.context import running
    from workbench.cli.monitor import run_monitor

    with running(as_json) as context:
        run_monitor(context, interval_s=interval, once=once, seconds=seconds, record=record)
