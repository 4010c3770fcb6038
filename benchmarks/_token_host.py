"""An engine host that makes tokens at a set rate and does nothing else: `tokens_per_s` in FAKE_HOST, over all requests.

It writes as a fast engine's host does: an iteration's tokens together, one line a request, `stats` ten times a second.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

ITERATION_S = 0.005
WORDS = (
    "the ",
    "cache ",
    "holds ",
    "keys ",
    "and ",
    "values ",
    "of ",
    "every ",
    "token, ",
    "`code` ",
    "and\n\n",
    "more. ",
)
BLOCKS, BLOCK_TOKENS = 4096, 32


def write(lines: list[str]) -> None:
    data = "".join(lines).encode()
    while data:
        data = data[os.write(1, data) :]


def line(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "t": time.monotonic(), **fields}) + "\n"


class TokenHost:
    def __init__(self, tokens_per_s: float) -> None:
        self.each = tokens_per_s * ITERATION_S
        self.open: dict[str, list[Any]] = {}
        self.made, self.owed, self.rest = 0, 0.0, b""

    def obey(self) -> list[str] | None:
        """What commands that have come are answered with; None: it is to end."""
        data = os.read(0, 1 << 20)
        if not data:
            return None
        *lines, self.rest = (self.rest + data).split(b"\n")
        out = []
        for text in lines:
            command = json.loads(text)
            if command["type"] == "shutdown":
                return None
            if command["type"] == "generate":
                self.open[command["request"]] = [0, command.get("sampling", {}).get("max_tokens", 128)]
            elif command["type"] == "count":
                out.append(line("counted", request=command["request"], tokens=9, limit=100_000))
            elif command["type"] == "abort" and command["request"] in self.open:
                out.append(self.end(command["request"], "abort"))
        return out

    def end(self, name: str, reason: str) -> str:
        count, _ = self.open.pop(name)
        return line("finished", request=name, reason=reason, usage={"input_tokens": 9, "output_tokens": count})

    def iterate(self) -> list[str]:
        self.owed += self.each
        out = []
        while self.owed >= 1 and self.open:
            for name in list(self.open):
                if self.owed < 1:
                    break
                self.owed -= 1
                state = self.open[name]
                text = WORDS[state[0] % len(WORDS)]
                out.append(
                    f'{{"t":{time.monotonic():.6f},"type":"tokens","request":"{name}","text":{json.dumps(text)},'
                    f'"ids":[{state[0] % 50_000}]}}\n'
                )
                state[0] += 1
                self.made += 1
                if state[0] >= state[1]:
                    out.append(self.end(name, "length"))
        return out

    def stats(self) -> str:
        used = min(BLOCKS, sum(-(-state[0] // BLOCK_TOKENS) for state in self.open.values()))
        return line(
            "stats",
            kv_blocks_used=used,
            kv_blocks_free=BLOCKS - used,
            kv_blocks_total=BLOCKS,
            requests_active=len(self.open),
            requests_queued=0,
            generated_tokens=self.made,
            context_tokens=0,
            iteration_ms=ITERATION_S * 1000,
        )

    def serve(self) -> None:
        due = told = time.monotonic()
        while True:
            wait = max(0.0, due - time.monotonic()) if self.open else None
            out: list[str] = []
            if select.select([0], [], [], wait)[0]:
                answers = self.obey()
                if answers is None:
                    return
                out += answers
            now = time.monotonic()
            if self.open and now >= due:
                due = max(due + ITERATION_S, now - 10 * ITERATION_S)
                out += self.iterate()
                if now - told >= 0.1 or not self.open:
                    told = now
                    out.append(self.stats())
            elif not self.open:
                due = now
                self.owed = 0.0
            write(out)


def main() -> None:
    spec = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[attr-defined]
    given = json.loads(os.environ.get("FAKE_HOST", "{}"))
    write(
        [
            line("hello", protocol=1, worker=spec["worker"], pid=os.getpid(), versions={}),
            line("ready", limits={"max_seq_len": 1_000_000}, kv_blocks_total=BLOCKS, kv_block_tokens=BLOCK_TOKENS,
                 chat_template=True, load_seconds=0.0),
        ]
    )  # fmt: skip
    TokenHost(float(given.get("tokens_per_s", 20_000))).serve()


if __name__ == "__main__":
    main()
