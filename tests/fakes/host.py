"""An engine host without an engine, stricter than the real one: `python host.py`, told how to behave by its settings.

It speaks the protocol from its own hand (no code of the worker's end), refuses commands with fields that the schema
does not have, and ends with code 9 when its client breaks a rule. Settings:

tokens_per_s (float, 0: at once) · answer (list of texts, one a token, repeated) · never_ready · fail_load (message) ·
fail_with_blocks (a pool of so many fails to load) · load_lines (raw lines before `ready`) · die_after (tokens of any
request, then SIGKILL itself) · die_quietly (exit code 0 instead) · rubbish_after (tokens, then `rubbish_lines` lines
of rubbish) · long_line_after (tokens, then a line over the limit) · flood (repeat the first token for ever) ·
first_id (of each answer, instead of 0) · stop_reading (after the spec) · go_silent_after (tokens) · ignore_end (no
shutdown, no end of file, no SIGTERM) · child (start a child that keeps the pipes open; its pid is in `hello`'s
versions) · stderr (text to print) · protocol (version to claim) · kv_blocks (pool; a request takes one) · takes
(names of the sampling settings that `ready` tells) · applied (its settings, as `ready` tells them)

Settings may also stand in the environment, as JSON in FAKE_HOST (tests/fakes/interpreter.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from workbench.core.messages import MAX_LINE_BYTES, ChatTurn, Count, Generate, Sampling, parse_command

FIELDS = {
    "generate": set(Generate.model_fields),
    "count": {"type", "request", "messages", "prompt"},
    "abort": {"type", "request"},
    "stats_interval": {"type", "seconds"},
    "shutdown": {"type"},
}


def say(kind: str, **fields: Any) -> None:
    raw(json.dumps({"type": kind, "t": time.monotonic(), **fields}))


def raw(line: str) -> None:
    data = line.encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def object_to(why: str) -> None:
    print(f"the client broke a rule: {why}", file=sys.stderr, flush=True)
    os._exit(9)


def check(line: bytes) -> Any:
    """The command in a line; ends the program when it is not exactly what the schema says."""
    if len(line) > MAX_LINE_BYTES:
        object_to(f"line of {len(line)} bytes")
    data = json.loads(line)
    extra = set(data) - FIELDS.get(data.get("type"), set())
    if extra or set(data.get("sampling", {})) - set(Sampling.model_fields):
        object_to(f"fields {sorted(extra)} in {data}")
    if any(set(turn) - set(ChatTurn.model_fields) for turn in data.get("messages") or []):
        object_to(f"fields of a message in {data}")
    return parse_command(line)


class FakeHost:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.answer = settings.get("answer", ["one ", "two ", "three "])
        self.rate = float(settings.get("tokens_per_s", 0))
        self.open: dict[str, list[Any]] = {}
        self.seen: set[str] = set()
        self.generated = 0
        self.rest = b""

    def commands(self, timeout_s: float | None) -> list[Any] | None:
        """Commands that have come; None at end of file."""
        if not select.select([0], [], [], timeout_s)[0]:
            return []
        data = os.read(0, 1 << 20)
        if not data:
            return None
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [check(line) for line in lines]

    def serve(self) -> None:
        due = time.monotonic()
        while True:
            wait = max(0.0, due - time.monotonic()) if self.open else None
            commands = self.commands(wait)
            if commands is None:
                if self.settings.get("ignore_end"):
                    time.sleep(3600)
                return
            for command in commands:
                if command.type == "shutdown":
                    if not self.settings.get("ignore_end"):
                        return
                elif command.type == "generate":
                    self.begin(command)
                elif command.type == "count":
                    self.count(command)
                elif command.type == "abort":
                    self.end(command.request, "abort")
            if self.open and time.monotonic() >= due:
                due = time.monotonic() + (1 / self.rate if self.rate else 0.0)
                for name in list(self.open):
                    self.token(name)
                self.stats()

    def stats(self) -> None:
        pool = self.settings.get("kv_blocks")
        used = {} if pool is None else {"kv_blocks_used": len(self.open), "kv_blocks_total": pool}
        say("stats", requests_active=len(self.open), requests_queued=0, generated_tokens=self.generated, **used)

    def begin(self, command: Generate) -> None:
        if command.request in self.seen:
            object_to(f"request {command.request} a second time")
        if sum(part is not None for part in (command.messages, command.prompt, command.ids)) != 1:
            object_to("not exactly one of messages, prompt and ids")
        self.seen.add(command.request)
        if command.prompt == "bad":
            say("finished", request=command.request, reason="error", message="the prompt is bad")
            return
        say("tokens", request=command.request, text="", ids=[])  # an empty first chunk, which counts for nothing
        self.open[command.request] = [0, command]

    def count(self, command: Count) -> None:
        """A token a word; the template adds one a message."""
        if command.request in self.seen or (command.messages is None) == (command.prompt is None):
            object_to(f"count {command.request}")
        self.seen.add(command.request)
        texts = [command.prompt or ""] if command.messages is None else [turn.content for turn in command.messages]
        if any("bad template" in text for text in texts):
            say("counted", request=command.request, limit=99, problem="the chat template does not accept this")
            return
        tokens = sum(len(text.split()) for text in texts) + len(command.messages or ())
        problem = f"the prompt is {tokens} tokens and the longest sequence is 100" if tokens >= 100 else ""
        say("counted", request=command.request, tokens=tokens, limit=99, problem=problem)

    def token(self, name: str) -> None:
        state = self.open[name]
        text = self.answer[state[0] % len(self.answer)]
        fields = {"logprobs": [-0.5]} if state[1].sampling.logprobs else {}
        while True:
            say("tokens", request=name, text=text, ids=[self.settings.get("first_id", 0) + state[0]], **fields)
            if not self.settings.get("flood"):
                break
        state[0] += 1
        self.generated += 1
        self.misbehave()
        if state[0] >= state[1].sampling.max_tokens:
            self.end(name, "length")

    def end(self, name: str, reason: str) -> None:
        if name in self.open:
            count, _ = self.open.pop(name)
            usage = {"input_tokens": 3, "output_tokens": count}
            say("finished", request=name, reason=reason, usage=usage, timings={"ttft_ms": 1.5})
            if not self.open and "kv_blocks" in self.settings:
                self.stats()

    def misbehave(self) -> None:
        settings, now = self.settings, self.generated
        if now == settings.get("die_after"):
            print("about to die", file=sys.stderr, flush=True)
            if settings.get("die_quietly"):
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        if now == settings.get("rubbish_after"):
            for number in range(int(settings.get("rubbish_lines", 3))):
                raw(f"[W] not a message, line {number}")
        if now == settings.get("long_line_after"):
            raw("x" * (MAX_LINE_BYTES + 10))
        if now == settings.get("go_silent_after"):
            time.sleep(3600)


def main() -> None:
    spec = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[attr-defined]
    settings = {**spec["settings"], **json.loads(os.environ.get("FAKE_HOST", "{}"))}
    if os.environ.get("WORKBENCH_PARENT_PID") != str(os.getppid()):
        object_to("WORKBENCH_PARENT_PID is not my parent")
    if os.getpgrp() != os.getpid():
        object_to("not started as a process group of its own")
    versions = {}
    if settings.get("child"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], close_fds=False)
        versions["child"] = str(child.pid)
    if settings.get("ignore_end"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if settings.get("stderr"):
        print(settings["stderr"], file=sys.stderr, flush=True)
    say(
        "hello",
        protocol=settings.get("protocol", 1),
        worker=spec["worker"],
        pid=os.getpid(),
        versions=versions,
    )
    say("phase", name="load", index=1, of=1)
    for line in settings.get("load_lines", ()):
        raw(line)
    if settings.get("kv_blocks") is not None and settings["kv_blocks"] == settings.get("fail_with_blocks"):
        settings["fail_load"] = "the pool is no good"
    if settings.get("fail_load"):
        say("error", code="bad-engine", message=settings["fail_load"], cause="the cause", hint="the hint")
        sys.exit(3)
    if settings.get("never_ready"):
        time.sleep(3600)
    told = {"sampling": settings["takes"]} if "takes" in settings else {}
    told |= {"settings": settings["applied"]} if "applied" in settings else {}
    say("ready", limits={"max_seq_len": 100}, kv_blocks_total=10, kv_block_tokens=32, surprise="ignored", **told)
    say("weather", sky="blue")
    if settings.get("stop_reading"):
        time.sleep(3600)
    FakeHost(settings).serve()
    say("result", data={})


if __name__ == "__main__":
    main()
