"""`workbench chat`: a conversation with an engine, on a terminal or through a pipe."""

from __future__ import annotations

import contextlib
import sys

import typer

from workbench.cli.chat_commands import COMMANDS, first_sampling
from workbench.cli.chat_engine import ChatEngine
from workbench.cli.chat_lines import Interrupts
from workbench.cli.chat_talk import Chat
from workbench.cli.context import Context
from workbench.cli.engines import find_engine
from workbench.store.conversations import Conversations


def run_chat(
    context: Context,
    engine: str,
    *,
    system: str | None,
    max_tokens: int,
    temperature: float | None,
    overrides: list[str],
    continued: str | None,
) -> None:
    """Chat until the person leaves, or the pipe ends; then the exit code of the first answer that failed."""
    sampling = first_sampling(max_tokens, temperature, None)
    kept = Conversations(context.home)
    conversation = kept.find(continued) if continued is not None else kept.fresh()
    if system is not None:
        conversation = conversation.with_system(system)
    stored = find_engine(context, engine)
    with Interrupts() as interrupts:
        host = ChatEngine(context, stored.path, overrides, interrupts)
        chat = Chat(
            context,
            kept,
            conversation,
            host,
            sampling,
            interrupts,
            {name: command.run for name, command in COMMANDS.items()},
        )
        with contextlib.closing(host):
            host.load()
            chat.sampling = first_sampling(max_tokens, temperature, host.ready.sampling if host.ready else None)
            chat.run(interactive=sys.stdin.isatty())
    if chat.code:
        raise typer.Exit(chat.code)
