"""`workbench prompt`: load an engine, ask once, print the answer and, if wanted, its figures."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from workbench.cli.context import Context
from workbench.cli.engines import find_engine
from workbench.core.errors import BadInputError
from workbench.core.messages import ChatTurn, Message, Phase, Sampling, Stats, Tokens
from workbench.core.speculative import acceptance_rate, tokens_a_pass
from workbench.core.units import format_bytes
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.toolchains.running import engine_start

_STATS_S = 0.01
"""Often, since one short answer is all there is to see."""


def run_prompt(
    context: Context,
    engine: str,
    text: str,
    *,
    max_tokens: int,
    temperature: float,
    raw: bool,
    stats: bool,
    overrides: list[str],
) -> None:
    if text == "-":
        text = sys.stdin.read()
    if not text.strip():
        raise BadInputError(
            "The prompt is empty.", fix="Give some text, or - and text on standard input.", code="empty-prompt"
        )
    stored = find_engine(context, engine)
    answer = answer_once(
        context,
        stored.path,
        text,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature),
        raw=raw,
        overrides=overrides,
        stream=not context.as_json,
    )
    if context.as_json:
        context.result({"engine": str(stored.path), "prompt": text, **answer})
    elif stats:
        for line in answer_words(answer, stats=True)[1:]:
            context.err.print(line, markup=False)


def engine_command(context: Context, path: Path, overrides: list[str]) -> HostCommand:
    """How to start the host of an engine folder; overrides may change runtime settings only. Raises BadInputError."""
    start = engine_start(context.home, path, overrides, os.environ).start
    return HostCommand(argv=start.argv, env=start.env, cwd=str(context.home.root), spec=start.spec)


def answer_once(
    context: Context,
    path: Path,
    text: str,
    *,
    sampling: Sampling = Sampling(max_tokens=128),  # noqa: B008 - frozen
    raw: bool = False,
    overrides: list[str] | None = None,
    stream: bool = False,
) -> dict[str, Any]:
    """Load the engine, ask, unload. With `stream` the text goes to stdout as it comes.

    Raises BadInputError when the engine refuses the request, StepFailedError when the engine fails.
    """
    command = engine_command(context, path, overrides or [])
    peak = _Peak()
    with context.err.status("Loading the engine …") as status:

        def on_load(message: Message) -> None:
            if isinstance(message, Phase):
                status.update(f"Loading the engine … {message.name}")

        client = EngineClient.start(command, context.home.logs / "engine-host.txt", on_load, on_stats=peak.take)
    with client:
        client.set_stats_interval(_STATS_S)
        ready = client.ready
        chat = not raw and ready.chat_template is not False
        messages = (ChatTurn(role="user", content=text),) if chat else None
        generation = client.submit(messages=messages, prompt=None if chat else text, sampling=sampling)
        for event in generation:
            if stream and isinstance(event, Tokens):
                sys.stdout.write(event.text)
                sys.stdout.flush()
        answer = generation.result()
        if stream and answer.failure is None:
            sys.stdout.write("\n")
            sys.stdout.flush()
        answer.raise_for_failure()
    drafted = answer.drafted
    return {
        "answer": answer.text,
        "reason": answer.reason,
        "input_tokens": answer.usage.input_tokens if answer.usage else None,
        "output_tokens": answer.output_tokens,
        "ttft_ms": answer.ttft_ms,
        "itl_ms": answer.itl_ms,
        "output_tok_s": answer.output_tok_s,
        # An answer needs a block: with none it was over before the engine reported for the first time.
        "kv_blocks_used_peak": peak.used or None,
        "kv_blocks_total": ready.kv_blocks_total,
        "kv_block_tokens": ready.kv_block_tokens,
        "load_seconds": ready.load_seconds,
        "memory_bytes": peak.memory,
        "draft_tokens": drafted.draft_tokens if drafted else None,
        "accepted_tokens": drafted.accepted_tokens if drafted else None,
        "draft_passes": drafted.passes if drafted else None,
    }


class _Peak:
    """The most KV blocks that any statistics line reported; None when none did."""

    def __init__(self) -> None:
        self.used: int | None = None
        self.memory: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, stats: Stats) -> None:
        with self._lock:
            if stats.kv_blocks_used is not None:
                self.used = max(self.used or 0, stats.kv_blocks_used)
            self.memory = stats.memory_bytes or self.memory


def answer_words(answer: dict[str, Any], *, stats: bool) -> list[str]:
    """The answer and, with `stats`, its figures; what was not reported is said to be so."""
    lines = [f"answer   {answer['answer'].strip()}"]
    if not stats:
        return lines

    def figure(key: str, form: str) -> str:
        return form.format(answer[key]) if answer[key] is not None else "not reported"

    used, total, size = answer["kv_blocks_used_peak"], answer["kv_blocks_total"], answer["kv_block_tokens"]
    blocks = "not reported" if used is None else f"{used} used at most"
    blocks += f" of {total:,}" if total is not None else ""
    blocks += f", {size} tokens each" if size is not None else ""
    return [
        *lines,
        f"TTFT     {figure('ttft_ms', '{:.0f} ms')}",
        f"speed    {figure('output_tok_s', '{:.1f} tokens/s')}, {answer['output_tokens']} tokens, "
        f"stopped by {answer['reason']}",
        f"KV       {blocks}",
        *_draft_words(answer),
        *(
            [f"memory   {format_bytes(answer['memory_bytes']['process'])} resident"]
            if "process" in answer["memory_bytes"]
            else []
        ),
    ]


def _draft_words(answer: dict[str, Any]) -> list[str]:
    """Nothing where no guesses were checked."""
    accepted, drafted, passes = (answer.get(key) for key in ("accepted_tokens", "draft_tokens", "draft_passes"))
    if accepted is None:
        return []
    rate, mean = acceptance_rate(drafted, accepted), tokens_a_pass(accepted, passes)
    said = f"{accepted:,} accepted" if rate is None else f"{rate:.0%} accepted ({accepted:,} of {drafted:,})"
    return [f"guesses  {said}" + (f", {mean:.2f} tokens a pass" if mean is not None else "")]
