"""`workbench endpoint test`: the same host that chat and benchmarks use, asked for one small thing after the other."""

from __future__ import annotations

import os
import time
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from workbench.cli.context import Context
from workbench.cli.measuring import failure_words
from workbench.core.endpoint import EndpointSpec
from workbench.core.errors import Failure, StepFailedError, WorkbenchError
from workbench.core.messages import ChatTurn, Log, Message, Sampling, Stats
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.jobs.generation import Answer
from workbench.toolchains.endpoint.folder import find_endpoint
from workbench.toolchains.running import engine_start

_TOKENS = 16
_STATS_S = 3.0
_COUNT_S = 15.0
_QUESTION = "Count from one to ten."


class _Report:
    """What was tried and what came of it, told as it happens."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.rows: list[dict[str, Any]] = []

    def say(self, check: str, detail: str, *, ok: bool | None = True) -> None:
        """`ok` None: not offered, which is no fault."""
        self.rows.append({"check": check, "ok": ok, "detail": detail})
        if not self._context.as_json:
            mark = {True: "ok", False: "FAILED", None: "-"}[ok]
            self._context.out.print(f"{mark:<7}{check:<13}{detail}", markup=False, soft_wrap=True)


def run_test(context: Context, name: str) -> None:
    folder, spec = find_endpoint(context.home, name)
    report = _Report(context)
    report.say("description", f"{spec.model} at {spec.base_url}, key: {spec.key.words}")
    failure: Failure | None
    try:
        start = engine_start(context.home, folder, [], os.environ).start
        command = HostCommand(argv=start.argv, env=start.env, cwd=str(context.home.root), spec=start.spec)

        def on_load(message: Message) -> None:
            if isinstance(message, Log):
                report.say("server", message.text, ok=True if message.level == "info" else None)

        with EngineClient.start(command, context.home.logs / "endpoint-test.txt", on_load) as client:
            failure = _ask(report, client, spec)
    except WorkbenchError as error:
        failure = error.failure
        report.say("server", failure_words(failure.model_copy(update={"fix": ""})), ok=False)
    if failure is None:
        context.result({"name": name, "ok": True, "checks": report.rows}, f"{name} works")
        return
    if context.as_json:
        context.result({"name": name, "ok": False, "checks": report.rows, "error": failure.model_dump()})
    raise StepFailedError(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)


def _ask(report: _Report, client: EngineClient, spec: EndpointSpec) -> Failure | None:
    """Ask for all that it may offer; the failure of what benchmarks by it need, if that failed."""
    ready = client.ready
    takes = ", ".join(ready.sampling or ()) or "nothing"
    longest = ready.limits.get("max_seq_len")
    report.say("settings", f"takes {takes}")
    report.say(
        "sequence", f"{longest:,} tokens" if longest else "its longest is not reported", ok=True if longest else None
    )
    sampling = Sampling(max_tokens=_TOKENS)
    if spec.api == "triton":
        plain = _answer(client, sampling, chat=False)
        _tell(report, "generate", plain, needed=True)
        _metrics(report, client)
        return plain.failure
    chat = _answer(client, sampling, chat=True)
    _tell(report, "chat", chat, needed=spec.api == "chat")
    plain = _answer(client, sampling, chat=False)
    _tell(report, "completions", plain, needed=spec.api == "completions")
    _count(report, client)
    _metrics(report, client)
    return (chat if spec.api == "chat" else plain).failure


def _answer(client: EngineClient, sampling: Sampling, *, chat: bool) -> Answer:
    if chat:
        return client.submit(messages=[ChatTurn(role="user", content=_QUESTION)], sampling=sampling).result()
    return client.submit(prompt=_QUESTION, sampling=sampling).result()


def _tell(report: _Report, check: str, answer: Answer, *, needed: bool) -> None:
    if answer.failure is not None:
        report.say(check, answer.failure.what, ok=False if needed else None)
        return
    usage = answer.usage
    counted = (
        "token ids" if answer.ids else "usage" if usage is not None else "nothing: a response is taken for one token"
    )
    tokens = usage.output_tokens if usage is not None else answer.output_tokens
    first = answer.engine_timings_ms.get("host_ttft_ms")
    pieces = len(answer.chunks)
    words = f"{tokens:,} tokens in {pieces:,} response{'s' if pieces != 1 else ''}, counted by {counted}"
    report.say(check, words + (f", TTFT {first:.0f} ms" if first is not None else ""))
    if not answer.text.strip():
        report.say(check, "the answer has no text", ok=None)


def _count(report: _Report, client: EngineClient) -> None:
    try:
        counted = client.count(messages=[ChatTurn(role="user", content=_QUESTION)]).result(_COUNT_S)
        tokens = (
            counted.tokens if counted.tokens is not None else client.count(prompt=_QUESTION).result(_COUNT_S).tokens
        )
    except (WorkbenchError, FutureTimeout):
        tokens = None
    if tokens is None:
        report.say("counting", "the server counts no prompts", ok=None)
    else:
        report.say("counting", f"the server counts prompts: {tokens:,} tokens")


def _metrics(report: _Report, client: EngineClient) -> None:
    client.set_stats_interval(0.3)
    ends = time.monotonic() + _STATS_S
    stats: Stats | None = None
    while stats is None and time.monotonic() < ends and client.failure is None:
        time.sleep(0.05)
        stats = client.stats
    if stats is None or (stats.requests_active is None and stats.kv_blocks_used is None):
        report.say("metrics", "KV cache and queue are not reported", ok=None)
        return
    parts = [
        f"{label} {value:,}"
        for label, value in (
            ("active", stats.requests_active),
            ("queued", stats.requests_queued),
            ("KV blocks used", stats.kv_blocks_used),
            ("of", stats.kv_blocks_total),
        )
        if value is not None
    ]
    report.say("metrics", ", ".join(parts).replace(", of ", " of "))
