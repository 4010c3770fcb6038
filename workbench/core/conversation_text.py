"""Conversations and answers in words: the thin line of figures, its definitions, and the Markdown export."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone

from workbench.core.answer import AnswerRecord
from workbench.core.conversation import Conversation, Turn
from workbench.core.messages import Drafted, Sampling
from workbench.core.speculative import acceptance_rate, tokens_a_pass

DEFINITIONS = {
    "TTFT": "time to first token: t1 - t0, in ms. t0 is when the request was handed to the transport, t1 the first "
    "response that carries at least one token; an empty first response does not count.",
    "speed": "output speed per user: 1000 / ITL, in tokens a second, where ITL = (tN - t1) / (n - 1). TTFT is left "
    "out. Not defined for an answer of one token, or of one response.",
    "in": "tokens of the prompt with the chat template's own, as the engine counts them.",
    "out": "tokens of the answer, n.",
    "stopped": "what ended the answer: the end of the model's turn, a limit, you, or a failure.",
    "KV": "the most KV-cache blocks in use while the answer was made, of all the engine has.",
    "guesses": "speculative decoding: guesses that the engine kept, of those it checked, and the tokens that a pass "
    "brought: 1 + guesses kept / passes.",
    "log p": "natural logarithm of the probability that the engine gave a token.",
}
"""What each word of the line of figures means; by the word."""

END_WORDS = {
    "stop": ("stopped at", "end of turn"),
    "length": ("stopped at", "max tokens"),
    "abort": ("stopped by", "you"),
    "error": ("ended by", "error"),
}
"""What ended an answer, in short: by its reason."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def stop_words(answer: AnswerRecord) -> str:
    """What ended an answer, in words; a limit by its value."""
    if answer.reason == "length":
        made, most = answer.output_tokens, answer.sampling.max_tokens
        if made is not None and made < most:
            return f"the engine's length limit, {made:,} tokens in"
        return f"the limit of {most:,} tokens"
    if answer.reason == "abort":
        return "you"
    if answer.reason == "error":
        return "a failure"
    return "end of turn or a stop string" if answer.sampling.stop else "end of turn"


def figures(answer: AnswerRecord) -> tuple[tuple[str, str], ...]:
    """The thin line under an answer as (word, value with unit) pairs; what is not reported says so or is left out.

    The words are keys of DEFINITIONS.
    """
    unknown = "not reported"
    counted = answer.output_tokens
    pairs = [
        ("TTFT", f"{answer.ttft_ms:,.0f} ms" if answer.ttft_ms is not None else unknown),
        ("speed", f"{answer.output_tok_s:,.1f} tok/s" if answer.output_tok_s is not None else unknown),
        ("in", f"{answer.input_tokens:,} tokens" if answer.input_tokens is not None else unknown),
        ("out", _tokens(counted, answer.count_source) if counted is not None else unknown),
        ("stopped", ("by " if answer.reason != "stop" else "at ") + stop_words(answer)),
    ]
    if answer.kv_blocks_used is not None:
        total = f" of {answer.kv_blocks_total:,}" if answer.kv_blocks_total is not None else ""
        pairs.append(("KV", f"{answer.kv_blocks_used:,}{total} blocks"))
    if answer.drafted is not None and answer.drafted.accepted_tokens is not None:
        pairs.append(("guesses", _guesses(answer.drafted)))
    if counted == 0:  # without tokens there is no time or speed to report
        pairs = [pair for pair in pairs if pair[0] not in ("TTFT", "speed")]
    elif counted == 1:
        pairs = [pair for pair in pairs if pair[0] != "speed"]
    return tuple(pairs)


def _guesses(drafted: Drafted) -> str:
    """`82 % kept, 5.1 tokens a pass`; as far as it is reported."""
    rate = acceptance_rate(drafted.draft_tokens, drafted.accepted_tokens)
    mean = tokens_a_pass(drafted.accepted_tokens, drafted.passes)
    kept = f"{drafted.accepted_tokens:,} kept" if rate is None else f"{100 * rate:.0f} % kept"
    return kept + (f", {mean:.1f} tokens a pass" if mean is not None else "")


def figures_line(answer: AnswerRecord) -> str:
    """The thin line as text: `TTFT 12 ms · speed 268.0 tok/s · in 27 tokens · out 7 tokens · stopped at …`."""
    return " · ".join(f"{word} {value}" for word, value in figures(answer))


def sampling_words(sampling: Sampling) -> str:
    """The settings that differ from the engine's defaults, and always temperature and length."""
    parts = ["greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"]
    for name in ("top_p", "top_k", "min_p", "repetition_penalty", "seed"):
        value = getattr(sampling, name)
        if value is not None:
            parts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    if sampling.stop:
        parts.append("stop " + ", ".join(repr(text) for text in sampling.stop))
    if sampling.ignore_eos:
        parts.append("end of sequence ignored")
    return ", ".join([*parts, f"at most {sampling.max_tokens:,} tokens"])


def markdown(conversation: Conversation) -> str:
    """The shown path as Markdown: title, circumstances, system prompt, turns with a line of figures, definitions."""
    return "\n\n".join(_blocks(conversation)).replace("\0", "␀") + "\n"  # with a NUL no editor takes it for text


def _blocks(conversation: Conversation) -> Iterator[str]:
    path = conversation.path()
    answers = [turn.answer for turn in path if turn.answer is not None]
    yield f"# {_plain(conversation.shown_title)}"
    begun = datetime.fromtimestamp(conversation.created_at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    kind = "Raw completion" if conversation.mode == "raw" else "Chat"
    yield f"{kind}, begun {begun}."
    if conversation.system.strip() and conversation.mode == "chat":
        yield "**System prompt**"
        yield "\n".join(f"> {line}".rstrip() for line in conversation.system.splitlines())
    circumstances = ""
    number = 0
    for turn in path:
        if turn.role == "user":
            yield "## You" if conversation.mode == "chat" else "## Text"
        else:
            number += 1
            yield f"## Answer {number}" if conversation.mode == "chat" else "## Continuation"
            now = _circumstances(turn)
            if now and now != circumstances:
                yield f"*{now}*"
                circumstances = now
        if turn.text.strip():
            yield closed_fences(turn.text.strip("\n"))
        else:
            yield "*(empty)*"
        others = len(conversation.siblings(turn.id)) - 1
        if turn.answer is not None:
            yield f"*{figures_line(turn.answer)}*"
            if turn.answer.failure is not None:
                yield "\n".join(f"> {line}" for line in turn.answer.failure.lines())
        if others:
            what = "message" if turn.role == "user" else "answer"
            yield f"*{others} other version{'s' if others > 1 else ''} of this {what} not shown here.*"
    branches = len(conversation.leaves) - 1
    if branches > 0 or answers:
        yield "---"
    if branches > 0:
        many = f"{branches} other branches" if branches > 1 else "1 other branch"
        yield f"The conversation has {many}; its JSON export holds all of it."
    if answers:
        used = {word for answer in answers for word, _ in figures(answer)}
        yield "\n".join(f"- **{word}**: {text}" for word, text in DEFINITIONS.items() if word in used)


def closed_fences(text: str) -> str:
    """The text, with a code fence that it leaves open (an answer cut short) closed, so that it ends with the text."""
    fence = ""
    for line in text.splitlines():
        found = _FENCE.match(line)
        if found is None:
            continue
        marks, rest = found.groups()
        if not fence:
            if marks[0] == "~" or "`" not in rest:
                fence = marks
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not rest.strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text


def _circumstances(turn: Turn) -> str:
    if turn.answer is None:
        return ""
    engine = f"Engine {_plain(turn.answer.engine.words)}; " if turn.answer.engine is not None else ""
    return f"{engine}sampling: {_plain(sampling_words(turn.answer.sampling))}."


def _plain(text: str) -> str:
    """Text within a line of Markdown: what would be markup is escaped."""
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", text)


def _tokens(count: int, source: str) -> str:
    words = f"{count:,} token{'' if count == 1 else 's'}"
    return words if source == "engine ids" else f"{words} ({source})"
