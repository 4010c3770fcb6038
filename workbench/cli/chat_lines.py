"""Where a chat's messages come from: a terminal with line editing and history, or a pipe; and what Ctrl+C means."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from workbench.cli.context import Context

_HISTORY_LINES = 1000
_QUOTES = '"""'


class Interrupts:
    """Ctrl+C counted, so that it cannot tear what is being written; whoever waits looks at `pressed`.

    SIGTERM and SIGHUP (a closed terminal) end the program from where it is, so that what came is kept.
    """

    def __init__(self) -> None:
        self.pressed = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number, handler in ((signal.SIGINT, self._press), (signal.SIGTERM, _leave), (signal.SIGHUP, _leave)):
            if signal.getsignal(number) != signal.SIG_IGN:  # under nohup a closed terminal is to be ignored
                self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _press(self, *_: object) -> None:
        self.pressed += 1

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Within it Ctrl+C raises KeyboardInterrupt, as reading a line needs it."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self.pressed = 0

    def event(self) -> threading.Event:
        """Set from the next Ctrl+C on. No lock is taken for it, since a signal's handler must not wait for one."""
        self.pressed = 0
        return _Pressed(self)


class _Pressed(threading.Event):
    def __init__(self, interrupts: Interrupts) -> None:
        super().__init__()
        self._interrupts = interrupts

    def is_set(self) -> bool:
        return self._interrupts.pressed > 0


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


class PipedLines:
    """Standard input that is no terminal: each line is a message; lines between two of three quotes are one."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace", newline="\n")

    def read(self) -> str | None:
        """The next message; None when there is no more. Raises KeyboardInterrupt."""
        with self._interrupts.raising():
            for line in sys.stdin:
                text = line.rstrip("\r\n")
                if text.strip() == _QUOTES:
                    text = "\n".join(self._until_quotes())
                if text.strip():
                    return text
        return None

    def _until_quotes(self) -> Iterator[str]:
        for line in sys.stdin:
            if line.strip() == _QUOTES:
                return
            yield line.rstrip("\r\n")


class TerminalLines:
    """A terminal: a prompt with line editing, history over the sessions, and messages of several lines.

    A line that ends with a backslash goes on in the next; three quotes begin a message that three quotes end.
    """

    def __init__(self, context: Context, interrupts: Interrupts, history: Path, words: Sequence[str]) -> None:
        self._context, self._interrupts = context, interrupts
        self._history, self._words = history, words
        self._asked = False

    def __enter__(self) -> TerminalLines:
        with contextlib.suppress(ImportError):
            import readline

            with contextlib.suppress(OSError, UnicodeError):
                readline.read_history_file(self._history)
            readline.set_history_length(_HISTORY_LINES)
            readline.set_completer_delims(" ")
            readline.set_completer(self._complete)
            readline.parse_and_bind("tab: complete")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ImportError, OSError):
            import readline

            # It holds what was said: nobody else's business, not even for the moment of writing.
            before = os.umask(0o077)
            try:
                readline.write_history_file(self._history)
                self._history.chmod(0o600)
            finally:
                os.umask(before)

    def read(self) -> str | None:
        """The next message; None when the person leaves (end of file, or Ctrl+C twice)."""
        while True:
            try:
                with self._interrupts.raising():
                    text = self._message()
            except EOFError:
                self._context.err.print()
                return None
            except KeyboardInterrupt:
                self._context.err.print()
                if self._asked:
                    return None
                self._asked = True
                self._context.note("/quit or Ctrl+C again leaves.")
                continue
            self._asked = False
            if text.strip():
                return text

    def _message(self) -> str:
        line = self._line("> ")
        if line.strip().startswith(_QUOTES):
            return self._quoted(line.strip()[len(_QUOTES) :])
        lines = []
        while line.endswith("\\"):
            lines.append(line[:-1])
            line = self._line("… ")
        return "\n".join([*lines, line])

    def _quoted(self, first: str) -> str:
        if first.endswith(_QUOTES):
            return first[: -len(_QUOTES)]
        lines = [first] if first else []
        while True:
            line = self._line("… ")
            if line.rstrip().endswith(_QUOTES):
                last = line.rstrip()[: -len(_QUOTES)]
                return "\n".join([*lines, *([last] if last else [])])
            lines.append(line)

    def _line(self, prompt: str) -> str:
        if sys.stdout.isatty():
            return input(prompt)
        sys.stderr.write(prompt)  # standard output goes to a file or a program, which wants answers alone
        sys.stderr.flush()
        return input()

    def _complete(self, text: str, state: int) -> str | None:
        hits = [word for word in self._words if text and word.startswith(text)]
        return hits[state] + " " if state < len(hits) else None
