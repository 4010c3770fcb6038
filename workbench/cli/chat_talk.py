"""One conversation of `workbench chat`: lines in, answers out, and what goes wrong in words."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from workbench.cli.chat_engine import ChatEngine
from workbench.cli.chat_lines import Interrupts, PipedLines, TerminalLines
from workbench.cli.context import Context
from workbench.core.answer import AnswerRecord
from workbench.core.conversation import Conversation, Mode
from workbench.core.conversation_text import figures_line
from workbench.core.errors import BadInputError, CancelledError, Failure, WorkbenchError
from workbench.core.messages import Sampling
from workbench.jobs.generation import BAD_REQUEST
from workbench.store.conversations import Conversations

HISTORY = "chat-history"
# What would move the cursor, ring or send commands to a terminal is shown as a sign; tabs and line ends stay.
_CONTROLS: dict[int, int | None] = {
    **{code: 0x2400 + code for code in range(32) if code not in (9, 10)},
    **{code: 0xFFFD for code in range(0x80, 0xA0)},
    13: None,
    127: 0x2421,
}


class Chat:
    """One conversation at a time with one engine; what is said is kept at once."""

    def __init__(
        self,
        context: Context,
        kept: Conversations,
        conversation: Conversation,
        engine: ChatEngine,
        sampling: Sampling,
        interrupts: Interrupts,
        commands: Mapping[str, Callable[[Chat, str], None]],
    ) -> None:
        self.context, self.engine, self.sampling = context, engine, sampling
        self.conversation = conversation
        self.written: set[Path] = set()
        """Files that were made here, which may be written again."""
        self.leaving = False
        self.code = 0
        self._kept, self._interrupts, self._commands = kept, interrupts, commands
        self._keeps = True
        self._interactive = False

    def run(self, *, interactive: bool) -> None:
        self._interactive = interactive
        ready = self.engine.ready
        if ready is not None and ready.chat_template is False and self.conversation.mode == "chat":
            self.begin("raw")
            self.context.note("This engine has no chat template: raw completion.")
        if not interactive:
            self._piped()
            return
        self.say(self.engine.words())
        turns = len(self.conversation.path())
        if turns:
            self.say(f"Going on with “{self.conversation.shown_title}”, {turns} turns.")
        self.say("/help lists the commands, /quit leaves.")
        history = self.context.home.root / HISTORY
        words = [f"/{name}" for name in self._commands]
        words += list(Sampling.model_fields)
        with TerminalLines(self.context, self._interrupts, history, words) as lines:
            while not self.leaving and (text := lines.read()) is not None:
                self.take(text)
        self.code = 0  # the person saw what failed, and left
        if self.conversation.turns and self._keeps:
            self.say(f"Kept as {self.conversation.id}; --continue goes on with it.")

    def _piped(self) -> None:
        lines = PipedLines(self._interrupts)
        while not self.leaving and (text := lines.read()) is not None:
            self.take(text)
            if self._interrupts.pressed:
                raise KeyboardInterrupt
            if self.engine.ready is None:
                break  # no later line can be answered

    def take(self, text: str) -> None:
        """A line: a command, or a message to be answered."""
        try:
            name = text[1:].partition(" ")[0]
            if text.startswith("/") and not text.startswith("//") and (self._interactive or name in self._commands):
                self._obey(text)
                return
            # A program that writes into a pipe knows nothing of commands: what is none is a message.
            told = text[1:] if text.startswith("//") else text
            self.conversation = self.conversation.say(told, self.now())
            self.answer()
        except CancelledError as error:
            self.context.note(error.what)
        except WorkbenchError as error:
            self._tell(error.failure)

    def _obey(self, line: str) -> None:
        """Run `/name rest`. Raises WorkbenchError in words for what cannot be."""
        name, _, rest = line[1:].partition(" ")
        command = self._commands.get(name)
        if command is None:
            raise BadInputError(
                f"There is no command /{name[:40]}.",
                fix="/help lists them; a message that begins with / is written with two: //.",
                code="no-such-command",
            )
        command(self, rest.strip())

    def answer(self) -> None:
        """Have the message that is shown answered, and show it as it comes. Raises WorkbenchError when it cannot be
        sent; what goes wrong later is told.
        """
        self.keep()
        began = self.now()
        try:
            asked = self.engine.ask(self.conversation, self.sampling)
        except WorkbenchError as error:
            if self.context.as_json:
                self._object(None, error.failure)
            raise
        written = ""
        try:
            for text in asked.texts():
                written = self._show(text) or written
        finally:  # also when the program is being ended: what came is kept
            record = asked.record()
            self.conversation = self.conversation.answered(record.text, record, began)
            self.keep()
        if written and not written.endswith("\n"):
            self._show("\n")
        self._after(record, stuck=asked.stuck)

    def _after(self, record: AnswerRecord, *, stuck: bool) -> None:
        """The line of figures, and what the person should know of the answer."""
        if self.context.as_json:
            self._object(record, record.failure)
        elif record.failure is None or record.pieces:
            line = figures_line(record)
            if record.kv_blocks_used is None:
                line += " · KV not reported"
            self.context.err.print(line, style="dim", markup=False, soft_wrap=True)
        if record.failure is not None:
            self._tell(record.failure)
            if self._interactive and self.engine.ready is None and "/reload" not in record.failure.fix:
                self.context.note("What came of the answer is kept. /reload loads the engine again.")
        elif stuck:
            self.context.note("The engine did not stop and was ended; /reload loads it again.")
        elif record.cut:
            made = record.output_tokens or 0
            more = f"/set max_tokens {2 * record.sampling.max_tokens} and /regenerate let it go on longer."
            if made < record.sampling.max_tokens:
                more = "Prompt and answer fill the engine's longest sequence or its KV pool; /new begins afresh."
            self.context.note(f"The answer was cut at {made:,} tokens. {more}")

    def begin(self, mode: Mode) -> None:
        """Another conversation with the same system prompt; the one before stays where it is kept."""
        self.conversation = self._kept.fresh(mode, self.conversation.system)

    def keep(self) -> None:
        """Save the conversation; when that cannot be, say so once and go on."""
        if not self.conversation.turns or not self._keeps:
            return
        try:
            self._kept.save(self.conversation)
        except WorkbenchError as error:
            self._keeps = False
            for line in error.failure.lines():
                self.context.note(line)

    def say(self, text: str) -> None:
        """A line for people beside the answers."""
        self.context.err.print(text.translate(_CONTROLS), markup=False, soft_wrap=True)

    @staticmethod
    def now() -> float:
        return time.time()

    def _show(self, text: str) -> str:
        """Write text of an answer; returns what was written."""
        if self.context.as_json:
            return ""
        shown = text.translate(_CONTROLS) if sys.stdout.isatty() else text
        sys.stdout.write(shown)
        sys.stdout.flush()
        return shown

    def _tell(self, failure: Failure) -> None:
        """A failure in words; the first one decides the exit code of a piped chat."""
        refused = failure.code == BAD_REQUEST
        self.code = self.code or (BadInputError.exit_code if refused else failure.exit_code)
        what = failure.what[:1].upper() + failure.what[1:] if refused else failure.what
        self.context.err.print(f"error: {what}", style="bold red", markup=False, soft_wrap=True)
        for line in failure.lines()[1:]:
            self.context.err.print(f"  {line}", markup=False, soft_wrap=True)

    def _object(self, record: AnswerRecord | None, failure: Failure | None) -> None:
        """One line of JSON for a turn."""
        path = self.conversation.path()
        asked = next((turn for turn in reversed(path) if turn.role == "user"), None)
        data = {
            "conversation": self.conversation.id,
            "turn": path[-1].id if record is not None else None,
            "message": asked.text if asked is not None else "",
            "answer": record.text if record is not None else "",
            "reason": record.reason if record is not None else "error",
            "failure": failure.model_dump() if failure is not None else None,
            "count_source": record.count_source if record is not None else None,
        }
        for name in (
            "input_tokens",
            "output_tokens",
            "ttft_ms",
            "itl_ms",
            "output_tok_s",
            "latency_ms",
            "kv_blocks_used",
            "kv_blocks_total",
        ):
            data[name] = getattr(record, name) if record is not None else None
        sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
        sys.stdout.flush()
