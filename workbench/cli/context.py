"""What every command shares: home and store, where output goes, and how errors become words and exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.home import Home
from workbench.core.home_choice import home_from
from workbench.core.host import HostSpec, read_host
from workbench.core.settings import load_settings
from workbench.store.store import Store


class _Console(Console):
    """A console whose reader may go (`| head`): then there is nobody to print for, and that is no error."""

    def on_broken_pipe(self) -> None:
        _close_output()
        raise SystemExit(0)


def _close_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)


class Context:
    """One run of a command. Results go to stdout; all else (progress, notices, errors) to stderr."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # an answer may hold what the terminal's encoding cannot
                stream.reconfigure(errors="replace")
        self.err = _Console(stderr=True, highlight=False)
        # A table that is piped is for another program: it is not folded to a terminal's width.
        self.out = _Console(highlight=False, width=None if sys.stdout.isatty() else 240)
        self._answered = False

    @cached_property
    def home(self) -> Home:
        home = home_from(os.environ).make()
        for problem in load_settings(home).problems:
            if problem.code != "locked":  # a file that does not count may be what kept this machine offline
                self.note(" ".join(problem.lines()))
        return home

    @cached_property
    def store(self) -> Store:
        store = Store.open(self.home)
        if store.notice:
            self.note(store.notice)
        return store

    @cached_property
    def host(self) -> HostSpec:
        return read_host()

    def note(self, text: str) -> None:
        """A line for people beside the result."""
        self.err.print(text, style="yellow", markup=False, soft_wrap=True)

    def result(self, data: Any, text: str | None = None) -> None:
        """The result: JSON for machines, else `text`."""
        self._answered = True
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(data), indent=2, ensure_ascii=False) + "\n")
        elif text is not None:
            sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()

    def line(self, data: Any) -> None:
        """One JSON object of several, on a line of its own."""
        self._answered = True
        sys.stdout.write(json.dumps(_plain(data), ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def fail(self, failure: Failure) -> None:
        """A failure in words; with --json the same on stdout as an object, unless the result is out already."""
        if self.as_json and not self._answered:
            self.result({"error": failure.model_dump()})
        self.err.print(f"error: {failure.what}", style="bold red", markup=False, soft_wrap=True)
        for line in failure.lines()[1:]:
            self.err.print(f"  {line}", markup=False, soft_wrap=True)

    def close(self) -> None:
        if "store" in self.__dict__:
            self.store.close()


def _plain(data: Any) -> Any:
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json")
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return data


@contextlib.contextmanager
def running(as_json: bool) -> Iterator[Context]:
    """Run a command's body: errors end it in words with their exit code, and no traceback reaches a person."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # main() had its own until here
    context = Context(as_json)
    try:
        yield context
    except WorkbenchError as error:
        context.fail(error.failure)
        raise typer.Exit(error.failure.exit_code) from None
    except KeyboardInterrupt:
        context.err.print("cancelled", markup=False)
        raise typer.Exit(5) from None
    except BrokenPipeError:
        _close_output()
        raise typer.Exit(0) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        context.fail(_unexpected(context, error))
        raise typer.Exit(4) from None
    finally:
        context.close()


def _unexpected(context: Context, error: Exception) -> Failure:
    place = "the log could not be written"
    with contextlib.suppress(OSError, WorkbenchError):
        path = context.home.logs / "command-errors.txt"
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n{traceback.format_exc()}\n")
        place = f"the full report is in {path}"
    return Failure(
        code="fault",
        what="The workbench itself failed.",
        evidence=f"{type(error).__name__}: {error}",
        fix=f"Please report it; {place}.",
    )
