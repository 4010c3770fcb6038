"""What every command shares: home and store, where output goes, and how errors become words and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
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
from workbench.core.home import Home, home_from
from workbench.core.host import HostSpec, read_host
from workbench.store.store import Store


class Context:
    """One run of a command. Results go to stdout; all else (progress, notices, errors) to stderr."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.err = Console(stderr=True, highlight=False)
        self.out = Console(highlight=False, soft_wrap=True)
        self._answered = False

    @cached_property
    def home(self) -> Home:
        return home_from(os.environ).make()

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
        self.err.print(text, style="yellow", markup=False)

    def result(self, data: Any, text: str | None = None) -> None:
        """The result: JSON for machines, else `text`."""
        self._answered = True
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(data), indent=2, ensure_ascii=False) + "\n")
        elif text is not None:
            sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()

    def fail(self, failure: Failure) -> None:
        """A failure in words; with --json the same on stdout as an object, unless the result is out already."""
        if self.as_json and not self._answered:
            self.result({"error": failure.model_dump()})
        self.err.print(f"error: {failure.what}", style="bold red", markup=False)
        for line in failure.lines()[1:]:
            self.err.print(f"  {line}", markup=False)

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
        # The reader of our output is gone (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
