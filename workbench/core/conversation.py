"""A conversation with an engine: a tree of turns, of which one path is shown and sent.

An edited message and an answer made again are new branches beside the old ones; nothing that was said is lost.
All methods return new objects, and times are given by the caller (seconds since the epoch).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from workbench.core.answer import AnswerRecord, CountSource, EngineRef, Piece
from workbench.core.errors import BadInputError
from workbench.core.messages import ChatTurn

__all__ = [
    "AnswerRecord",
    "Conversation",
    "CountSource",
    "EngineRef",
    "Mode",
    "Piece",
    "Turn",
    "clean_text",
    "first_problem",
]

CONVERSATION_SCHEMA = 1
_TITLE_CHARACTERS = 60

Mode = Literal["chat", "raw"]
Role = Literal["user", "assistant"]


class _Head(BaseModel):
    """What every version's file begins with; the rest is looked at when it is known to be of this version."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    schema_version: int


class Turn(BaseModel):
    """A message of the person, or an answer."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    parent: str | None = None
    """The turn before it; None for the first one, of which edits make several."""
    role: Role
    text: str
    created_at: float
    answer: AnswerRecord | None = None
    """Of an assistant's turn; None where it is not known how it came to be."""


class Conversation(BaseModel):
    """Turns in the order they were made; parents come before their children."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: int = CONVERSATION_SCHEMA
    id: str
    title: str = ""
    """As the person named it; empty: `shown_title` makes one."""
    mode: Mode = "chat"
    system: str = ""
    """System prompt; empty: none is sent. Raw conversations send none."""
    created_at: float = 0.0
    turns: tuple[Turn, ...] = ()
    leaf: str | None = None
    """The last turn of the path that is shown; None when nothing was said."""

    @model_validator(mode="after")
    def _is_a_tree(self) -> Conversation:
        roles: dict[str, Role] = {}
        for turn in self.turns:
            if turn.id in roles:
                raise ValueError(f"two turns are called {turn.id}")
            if turn.parent is not None and turn.parent not in roles:
                raise ValueError(f"turn {turn.id} follows {turn.parent}, which does not come before it")
            if turn.role == "assistant" and roles.get(turn.parent or "") != "user":
                raise ValueError(f"answer {turn.id} answers no message")
            roles[turn.id] = turn.role
        if self.leaf is not None and self.leaf not in roles:
            raise ValueError(f"the shown turn {self.leaf} is not there")
        return self

    # Reading

    def turn(self, turn_id: str) -> Turn:
        """Raises BadInputError when there is none of that id."""
        for turn in reversed(self.turns):
            if turn.id == turn_id:
                return turn
        raise BadInputError(f"The conversation has no turn {turn_id!r}.", code="no-such-turn")

    def path(self, leaf: str | None = None) -> tuple[Turn, ...]:
        """The turns from the first one to `leaf` (default: the one that is shown)."""
        wanted = leaf if leaf is not None else self.leaf
        if wanted is None:
            return ()
        by_id = {turn.id: turn for turn in self.turns}
        if wanted not in by_id:
            self.turn(wanted)
        found: list[Turn] = []
        while wanted is not None:
            found.append(by_id[wanted])
            wanted = found[-1].parent
        return tuple(reversed(found))

    def siblings(self, turn_id: str) -> tuple[Turn, ...]:
        """The turn and its other versions (edits of one message, answers to one message), oldest first."""
        own = self.turn(turn_id)
        return tuple(turn for turn in self.turns if turn.parent == own.parent and turn.role == own.role)

    def children(self, turn_id: str | None) -> tuple[Turn, ...]:
        return tuple(turn for turn in self.turns if turn.parent == turn_id)

    @property
    def leaves(self) -> tuple[Turn, ...]:
        """The last turn of every branch."""
        parents = {turn.parent for turn in self.turns}
        return tuple(turn for turn in self.turns if turn.id not in parents)

    @property
    def changed_at(self) -> float:
        """When the newest turn was made; of an empty conversation, when it was begun."""
        return self.turns[-1].created_at if self.turns else self.created_at

    @property
    def shown_title(self) -> str:
        """The title, else the beginning of the first message."""
        text = self.title.strip() or next((turn.text for turn in self.turns if turn.role == "user"), "")
        line = " ".join("".join(c if c.isprintable() else " " for c in text[:400]).split())
        if len(line) > _TITLE_CHARACTERS:
            line = line[: _TITLE_CHARACTERS - 1].rstrip() + "…"
        return line or "New conversation"

    def sent(self, leaf: str | None = None) -> tuple[Turn, ...]:
        """The turns of a path that are sent: a message that got no answer (refused, aborted or failed before the
        first text) is left out with its empty answer, unless it is the last.
        """
        found: list[Turn] = []
        asked: Turn | None = None
        for turn in self.path(leaf):
            if turn.role == "user":
                asked = turn
            elif asked is not None:
                reason = turn.answer.reason if turn.answer is not None else "stop"
                if turn.text or reason not in ("error", "abort"):
                    found += [asked, turn]
                asked = None
        return (*found, asked) if asked is not None else tuple(found)

    def messages(self, leaf: str | None = None) -> tuple[ChatTurn, ...]:
        """What a chat template is applied to: the system prompt, if any, and the turns that are sent."""
        system = (ChatTurn(role="system", content=self.system),) if self.system.strip() else ()
        return (*system, *(ChatTurn(role=turn.role, content=turn.text) for turn in self.sent(leaf)))

    def prompt(self, leaf: str | None = None) -> str:
        """What is sent in raw mode: the text of the last message, as it is."""
        return next((turn.text for turn in reversed(self.path(leaf)) if turn.role == "user"), "")

    # Going on

    def say(self, text: str, at: float) -> Conversation:
        """A message after the turn that is shown; in raw mode a text of its own. It is then the turn shown.

        Raises BadInputError for an empty one.
        """
        return self._with("user", text, None if self.mode == "raw" else self.leaf, at)

    def answered(self, text: str, answer: AnswerRecord | None, at: float, to: str | None = None) -> Conversation:
        """An answer to the message `to` (default: the one that is shown). It is shown unless the person has gone
        elsewhere meanwhile.
        """
        asked = to if to is not None else self.leaf
        if asked is None or self.turn(asked).role != "user":
            raise BadInputError("There is no message to answer.", code="no-message")
        grown = self._with("assistant", text, asked, at, answer)
        return grown if self.leaf == asked else grown._copy(leaf=self.leaf)

    def edit(self, turn_id: str, text: str, at: float) -> Conversation:
        """Another version of a message: a new branch beside it, which is then shown."""
        own = self.turn(turn_id)
        if own.role != "user":
            raise BadInputError("Only your own messages can be edited.", fix="Have the answer made again instead.")
        return self._with("user", text, own.parent, at)

    def regenerate(self, turn_id: str) -> Conversation:
        """Make ready for another answer beside this one (or to this message): its message is shown and can be
        answered again.
        """
        own = self.turn(turn_id)
        return self._copy(leaf=own.parent if own.role == "assistant" else own.id)

    def choose(self, turn_id: str) -> Conversation:
        """Show the branch of a turn, down to the newest turn under it."""
        self.turn(turn_id)
        under, newest = {turn_id}, turn_id
        for turn in self.turns:
            if turn.parent in under:
                under.add(turn.id)
                newest = turn.id
        return self._copy(leaf=newest)

    def with_system(self, text: str) -> Conversation:
        return self._copy(system=clean_text(text))

    def renamed(self, title: str) -> Conversation:
        return self._copy(title=" ".join(clean_text(title).split()))

    # Keeping

    def to_json(self) -> str:
        """The stored form, which is the export too."""
        return self.model_dump_json() + "\n"

    @classmethod
    def from_json(cls, data: str | bytes, name: str = "The file") -> Conversation:
        """A conversation from its stored form; `name` is what the errors call it.

        Raises BadInputError for another kind of file, a damaged one, and one of a newer schema.
        """
        try:
            version = _Head.model_validate_json(data).schema_version
            if version > CONVERSATION_SCHEMA:
                raise BadInputError(
                    f"{name} was written by a newer Engine Workbench.",
                    evidence=f"conversation schema {version}, this version knows {CONVERSATION_SCHEMA}",
                    fix="Update this program.",
                    code="newer-schema",
                )
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise BadInputError(
                f"{name} is not a conversation, or is damaged.", evidence=first_problem(error), code="bad-conversation"
            ) from error

    def _with(
        self, role: Role, text: str, parent: str | None, at: float, answer: AnswerRecord | None = None
    ) -> Conversation:
        text = clean_text(text)
        if role == "user" and not text.strip():
            raise BadInputError("The message is empty.", fix="Write something first.", code="empty-prompt")
        number = len(self.turns) + 1
        taken = {turn.id for turn in self.turns}
        while f"t{number}" in taken:
            number += 1
        turn = Turn(id=f"t{number}", parent=parent, role=role, text=text, created_at=at, answer=answer)
        return self._copy(turns=(*self.turns, turn), leaf=turn.id)

    def _copy(self, **changed: Any) -> Conversation:
        return self.model_copy(update=changed)


def clean_text(text: str) -> str:
    """The text as valid Unicode: halves of characters, which no file and no pipe takes, become U+FFFD.

    NUL and all other characters stay.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def first_problem(error: ValidationError | OSError) -> str:
    """What is wrong with data, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return str(error).splitlines()[0] if str(error) else type(error).__name__
