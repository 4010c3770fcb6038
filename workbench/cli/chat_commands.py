"""The /commands of `workbench chat`: each a few lines over the chat, with its own line of help."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from workbench.core.conversation import first_problem
from workbench.core.conversation_text import markdown, sampling_words
from workbench.core.errors import BadInputError
from workbench.core.home import expanded
from workbench.core.messages import Sampling
from workbench.core.sampling_fields import BY_NAME, to_sampling
from workbench.core.units import format_bytes

if TYPE_CHECKING:
    from workbench.cli.chat_talk import Chat


@dataclass(frozen=True)
class Command:
    usage: str
    help: str
    run: Callable[[Chat, str], None]


def changed_sampling(sampling: Sampling, name: str, value: str) -> Sampling:
    """Sampling settings with one of them changed to what was written; `none` is the engine's default.

    Raises BadInputError in words.
    """
    field = Sampling.model_fields.get(name)
    if field is None:
        raise BadInputError(
            f"There is no sampling setting {name!r}.",
            fix=f"They are {', '.join(Sampling.model_fields)}; runtime settings: /reload runtime.KEY=VALUE.",
            code="no-such-setting",
        )
    given: Any = value
    if value.lower() in ("none", "default"):
        given = field.get_default(call_default_factory=True)
    elif name == "stop":
        given = _texts(value)
    try:
        changed = Sampling.model_validate({**sampling.model_dump(), name: given})
    except ValidationError as error:
        why = first_problem(error).removeprefix(f"{name}: ")
        raise BadInputError(f"{name} cannot be {value!r}.", evidence=why, code="bad-sampling") from error
    number = getattr(changed, name)
    if isinstance(number, float) and not math.isfinite(number):
        raise BadInputError(f"{name} cannot be {value!r}.", evidence="it is no finite number", code="bad-sampling")
    return changed


def first_sampling(max_tokens: int, temperature: float | None, takes: tuple[str, ...] | None) -> Sampling:
    """What a chat begins with: as in the window, where the options say nothing else. Greedy has no top-p.

    `takes`: names of the settings that the engine takes; None where it is not known. Raises BadInputError.
    """
    starts = to_sampling(
        {name: field.start for name, field in BY_NAME.items()}, None if takes is None else frozenset(takes)
    )
    sampling = changed_sampling(starts, "max_tokens", str(max_tokens))
    if temperature is not None:
        sampling = changed_sampling(sampling, "temperature", str(temperature))
    return sampling if sampling.temperature else sampling.model_copy(update={"top_p": None})


def _texts(value: str) -> tuple[str, ...]:
    """Stop strings as a JSON list or string, or one as it is."""
    if value[:1] in ("[", '"'):
        try:
            found = json.loads(value)
        except ValueError as error:
            raise BadInputError(f"stop cannot be {value!r}.", evidence=str(error), code="bad-sampling") from error
        return (found,) if isinstance(found, str) else tuple(found)
    return (value,)


def _system(chat: Chat, rest: str) -> None:
    if not rest:
        chat.say(chat.conversation.system or "There is no system prompt. /system TEXT sets one.")
        return
    chat.conversation = chat.conversation.with_system("" if rest == "-" else rest)
    chat.keep()
    chat.say("The system prompt was taken out." if rest == "-" else "The system prompt holds from the next message on.")


def _regenerate(chat: Chat, rest: str) -> None:
    path = chat.conversation.path()
    if not path:
        raise BadInputError("There is no answer to make again yet.", code="no-message")
    if path[-1].role == "assistant" and chat.sampling.temperature == 0:
        chat.say("Sampling is greedy, so the answer will hardly differ; /set temperature 0.7 changes that.")
    chat.conversation = chat.conversation.regenerate(path[-1].id)
    chat.answer()


def _edit(chat: Chat, rest: str) -> None:
    asked = [turn for turn in chat.conversation.path() if turn.role == "user"]
    if not asked:
        raise BadInputError("There is no message to edit yet.", code="no-message")
    chat.conversation = chat.conversation.edit(asked[-1].id, rest, chat.now())
    chat.answer()


def _set(chat: Chat, rest: str) -> None:
    if not rest:
        for name, value in chat.sampling.model_dump().items():
            chat.say(f"{name:<20} {_shown(value)}")
        return
    name, _, value = rest.replace("=", " ", 1).partition(" ")
    if not value.strip():
        raise BadInputError("A setting needs a value.", fix="For example: /set temperature 0.7", code="bad-sampling")
    chat.sampling = changed_sampling(chat.sampling, name, value.strip())
    takes = chat.engine.ready.sampling if chat.engine.ready is not None else None
    if takes is not None and name not in takes:
        chat.context.note(f"This engine does not take {name}; it takes {', '.join(takes)}.")
    chat.say(f"Sampling: {sampling_words(chat.sampling)}.")


def _shown(value: Any) -> str:
    """A sampling setting's value as it is written after its name."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(repr(text) for text in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _save(chat: Chat, rest: str) -> None:
    if not rest:
        raise BadInputError("Give a file to save to.", fix="/save chat.md or /save chat.json", code="no-file")
    path: Path = expanded(rest)
    writers: dict[str, Callable[[], str]] = {
        ".md": partial(markdown, chat.conversation),
        ".json": chat.conversation.to_json,
    }
    write = writers.get(path.suffix.lower())
    if write is None:
        raise BadInputError(
            f"It is not told how to write {path.name}.", fix="End its name with .md or .json.", code="bad-suffix"
        )
    try:
        with path.open("w" if path in chat.written else "x", encoding="utf-8") as out:
            out.write(write())
    except FileExistsError as error:
        raise BadInputError(f"{path} is there already.", fix="Give another name.", code="exists") from error
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written.", evidence=error.strerror or str(error), code="not-writable"
        ) from error
    chat.written.add(path)
    chat.say(f"saved {path}, {format_bytes(path.stat().st_size)}")


def _raw(chat: Chat, rest: str) -> None:
    raw = chat.conversation.mode == "raw"
    if raw and chat.engine.ready is not None and chat.engine.ready.chat_template is False:
        raise BadInputError("This engine has no chat template, so there is only raw completion.", code="no-template")
    chat.begin("chat" if raw else "raw")
    chat.say(
        "Chat again: a new conversation."
        if raw
        else "Raw completion: each text is sent as it is, alone. /raw goes back to chat."
    )


def _new(chat: Chat, rest: str) -> None:
    chat.begin(chat.conversation.mode)
    chat.say("A new conversation" + (" with the same system prompt." if chat.conversation.system else "."))


def _reload(chat: Chat, rest: str) -> None:
    try:
        chat.engine.load(rest.split())
    except BadInputError as error:  # the words of an option that was not given
        raise BadInputError(
            re.sub(r"^--set:? ", "", error.what),
            evidence=error.evidence,
            fix=re.sub(r"--set \S+", "/reload runtime.kv_cache_gib=2.", error.fix),
            code=error.failure.code,
        ) from error
    chat.say(chat.engine.words())


def _stats(chat: Chat, rest: str) -> None:
    chat.say(chat.engine.words())
    stats = chat.engine.stats
    if stats is None:
        chat.say("The engine reported no statistics yet.")
    else:
        counts = {
            "KV blocks used": stats.kv_blocks_used,
            "KV blocks free": stats.kv_blocks_free,
            "KV blocks reused": stats.kv_blocks_reused,
            "KV blocks reused since load": stats.kv_blocks_reused_since_load,
            "requests active": stats.requests_active,
            "requests queued": stats.requests_queued,
            "prompt tokens since load": stats.context_tokens,
            "tokens generated since load": stats.generated_tokens,
        }
        if stats.accepted_tokens is not None:
            counts |= {
                "guesses checked since load": stats.draft_tokens,
                "guesses kept since load": stats.accepted_tokens,
            }
        for name, value in counts.items():
            chat.say(f"{name:<28} {'not reported' if value is None else f'{value:,}'}")
        iteration = "not reported" if stats.iteration_ms is None else f"{stats.iteration_ms:,.1f} ms"
        chat.say(f"{'last iteration':<28} {iteration}")
        for name, size in stats.memory_bytes.items():
            chat.say(f"{'memory, ' + name:<28} {format_bytes(size)}")
    answers = [turn.answer for turn in chat.conversation.path() if turn.answer is not None]
    made = sum(answer.output_tokens or 0 for answer in answers)
    chat.say(f"{'tokens answered here':<28} {made:,} in {len(answers)} answer{'' if len(answers) == 1 else 's'}")


def _help(chat: Chat, rest: str) -> None:
    for command in COMMANDS.values():
        chat.say(f"{command.usage:<28} {command.help}")
    chat.say('A line that ends with \\ goes on in the next; """ begins and ends a message of several lines.')
    chat.say("A message that begins with / is written with two: //. Ctrl+C stops an answer.")


def _quit(chat: Chat, rest: str) -> None:
    chat.leaving = True


COMMANDS: dict[str, Command] = {
    "system": Command("/system TEXT", "set the system prompt; - takes it out, nothing shows it", _system),
    "regenerate": Command("/regenerate", "another answer to the last message", _regenerate),
    "edit": Command("/edit TEXT", "another text for the last message", _edit),
    "set": Command("/set temperature 0.7", "change a sampling setting; nothing shows all", _set),
    "raw": Command("/raw", "raw completion, without the chat template; again: back", _raw),
    "new": Command("/new", "begin another conversation", _new),
    "save": Command("/save FILE.md|FILE.json", "write the conversation to a file", _save),
    "stats": Command("/stats", "what the engine reports of itself", _stats),
    "reload": Command("/reload [runtime.KEY=VALUE]", "load the engine again", _reload),
    "help": Command("/help", "this list", _help),
    "quit": Command("/quit", "leave", _quit),
}
