"""The stand-in's executor: iterations over open requests with KV blocks, a scheduler policy and statistics.

Answers are the same for everyone: SAYS over and over as the tokenizer writes it, then the end token. Sampling draws
tokens of it by the seed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tensorrt_llm._standin import option
from tensorrt_llm._standin.failures import SHOWN

_LOST_AT = 20
"""Iteration at which the GPU is lost, when that is wished for."""
SAYS = "STAND-IN: no engine ran. \U0001f389 \u4f60\u597d."


@dataclass(eq=False)
class Work:
    """One request in the executor."""

    number: int
    prompt: list[int]
    params: Any
    end_id: int
    answer: list[int]
    respond: Callable[[list[int], str | None, str], None]
    """(new tokens, finish reason or None, error text)"""
    arrival_s: float = field(default_factory=time.monotonic)
    scheduled_s: float = 0.0
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    done_prompt: int = 0
    made: int = 0
    blocks: int = 0
    reused: int = 0
    aborted: bool = False
    drafted: int = 0
    accepted: int = 0
    random: random.Random = field(default_factory=random.Random)

    def next_token(self) -> int | None:
        """None: the end token comes."""
        if not self.params.greedy:
            return self.random.choice(self.answer)
        place = self.made % (len(self.answer) + 1)
        if place < len(self.answer):
            return self.answer[place]
        return self.end_id if self.params.ignore_eos else None


class Executor:
    """Turns iterations in a thread of its own while there is something to do."""

    def __init__(
        self, *, blocks: int, block_tokens: int, max_batch_size: int, max_num_tokens: int, max_seq_len: int,
        policy: str, chunked: bool, reuse: bool, records: int, world_size: int,
        draft_len: int = 0,
    ) -> None:  # fmt: skip
        self.total, self.block_tokens = blocks, block_tokens
        self.max_batch_size, self.max_num_tokens, self.max_seq_len = max_batch_size, max_num_tokens, max_seq_len
        self.policy, self.chunked, self.reuse = policy, chunked, reuse
        self.world_size = world_size
        self.draft_len = draft_len
        self._guesses = {"drafted": 0, "accepted": 0, "requests": 0}
        self.stats: deque[dict[str, Any]] = deque(maxlen=records)
        self.changed = threading.Condition()
        self._queued: deque[Work] = deque()
        self._active: list[Work] = []
        self._known: set[tuple[int, ...]] = set()
        self._iteration = 0
        self._completed = 0
        self._counts = {"alloc_total": 0, "alloc_new": 0, "reused": 0, "missed": 0}
        self._stopped = False
        self.submitted = 0
        self._seconds = float(option("ITERATION_MS", "1")) / 1000
        self._thread = threading.Thread(target=self._run, daemon=True, name="standin-executor")
        self._thread.start()

    def submit(self, work: Work) -> None:
        with self.changed:
            if self._stopped:
                raise RuntimeError("LLM is shutting down")
            most = self.max_seq_len - 1 if self.chunked else min(self.max_seq_len - 1, self.max_num_tokens)
            if len(work.prompt) > most:
                text = (
                    f"Prompt length ({len(work.prompt)}) exceeds maximum input length ({most}). Set log level to info "
                    "and check TRTGptModel logs for how maximum input length is set"
                )
                work.respond([], None, text)
                return
            work.random.seed(0 if work.params.seed is None else work.params.seed)
            self.submitted += 1
            self._queued.append(work)
            self.changed.notify_all()

    def abort(self, work: Work) -> None:
        with self.changed:
            work.aborted = True
            self.changed.notify_all()

    def stop(self) -> None:
        with self.changed:
            self._stopped = True
            self.changed.notify_all()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            with self.changed:
                while not self._stopped and not self._queued and not self._active:
                    self.changed.wait()
                if self._stopped:
                    return
            began = time.monotonic()
            time.sleep(self._seconds)
            with self.changed:
                self._iterate(began)
                self.changed.notify_all()

    def _needed(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    @property
    def used(self) -> int:
        return sum(work.blocks for work in self._active)

    def _start(self) -> tuple[int, float]:
        """Take requests from the queue as the policy allows; how many, and their time in it in seconds."""
        started, waited = 0, 0.0
        if self.policy == "STATIC_BATCH" and self._active:
            return 0, 0.0
        while self._queued and len(self._active) < self.max_batch_size:
            work = self._queued[0]
            whole = len(work.prompt) + work.params.max_tokens
            need = self._needed(len(work.prompt) + 1 if self.policy == "MAX_UTILIZATION" else whole)
            if need > self.total:
                self._queued.popleft()
                work.respond([], None, "the request needs more KV blocks than the pool has")
                continue
            if self.used + need > self.total:
                break
            self._queued.popleft()
            work.blocks = need
            work.scheduled_s = work.scheduled_s or time.monotonic()
            waited += work.scheduled_s - work.arrival_s
            self._count_reuse(work)
            self._active.append(work)
            started += 1
        return started, waited

    def _count_reuse(self, work: Work) -> None:
        size = self.block_tokens
        keys = [tuple(work.prompt[:end]) for end in range(size, len(work.prompt) + 1, size)]
        work.reused = sum(key in self._known for key in keys) if self.reuse else 0
        self._known.update(keys)
        self._counts["reused"] += work.reused
        self._counts["missed"] += len(keys) - work.reused
        self._counts["alloc_total"] += work.blocks
        self._counts["alloc_new"] += work.blocks - work.reused

    def _lose_the_gpu(self) -> None:
        """Told to lose it: what is open fails, one request an iteration, and so does all that comes."""
        work = self._active.pop(0) if self._active else self._queued.popleft()
        work.respond([], None, SHOWN["gpu-lost-running"].error)

    def _iterate(self, began: float) -> None:
        if self._iteration >= _LOST_AT and option("FAIL", "") == "gpu-lost-running":
            self._lose_the_gpu()
            return
        completed = 0
        for work in [one for one in (*self._queued, *self._active) if one.aborted]:
            (self._queued if work in self._queued else self._active).remove(work)
            work.respond([], "cancelled", "")
            completed += 1
        started, waited = self._start()
        budget, context_tokens, context, generation, paused = self.max_num_tokens, 0, 0, 0, 0
        for work in list(self._active):
            left = len(work.prompt) - work.done_prompt
            if left:
                if left > budget and not self.chunked:
                    continue
                part = min(left, budget)
                if not part:
                    continue
                work.done_prompt += part
                budget -= part
                context_tokens += part
                context += 1
                if part < left:
                    continue
            else:
                generation += 1
            need = self._needed(len(work.prompt) + work.made + 1)
            if need > work.blocks:
                if self.used + need - work.blocks > self.total:
                    # Out of blocks: it waits at the head of the queue and begins again.
                    self._active.remove(work)
                    work.blocks = work.done_prompt = 0
                    self._queued.appendleft(work)
                    paused += 1
                    continue
                work.blocks = need
            completed += self._advance(work)
        self._completed += completed
        self._record(began, started, waited, completed, context_tokens, context, generation, paused)

    def _advance(self, work: Work) -> int:
        """One token, or the end; 1 when the request is done. With guesses, a pass after the first brings up to two
        accepted ones as well.
        """
        room = work.params.max_tokens - work.made - 1
        guessed = min(self.draft_len, room) if work.made else 0
        if guessed > 0:
            accepted = []
            for _ in range(min(guessed, 2)):
                token = work.next_token()
                if token is None:
                    break
                accepted.append(token)
                work.made += 1
            work.drafted += guessed
            work.accepted += len(accepted)
            self._guesses["drafted"] += guessed
            self._guesses["accepted"] += len(accepted)
            self._guesses["requests"] += 1
        else:
            accepted = []
        token = work.next_token()
        now = time.monotonic()
        work.first_token_s, work.last_token_s = work.first_token_s or now, now
        work.made += 1
        new = [*accepted, *([] if token is None else [token])]
        reason = "stop" if token is None else "length" if work.made >= work.params.max_tokens else None
        if reason is not None:
            self._active.remove(work)
        work.respond(new, reason, "")
        return int(reason is not None)

    def _record(
        self, began: float, started: int, waited: float, completed: int, context_tokens: int, context: int,
        generation: int, paused: int,
    ) -> None:  # fmt: skip
        self._iteration += 1
        counts = self._counts
        hits = counts["reused"] + counts["missed"]
        self.stats.append(
            {
                "timestamp": datetime.now().strftime("%m-%d-%Y %H:%M:%S.%f"),
                "iter": self._iteration,
                "iterLatencyMS": (time.monotonic() - began) * 1000,
                "newActiveRequestsQueueLatencyMS": waited * 1000,
                "numNewActiveRequests": started,
                "numActiveRequests": len(self._active),
                "numQueuedRequests": len(self._queued),
                "numCompletedRequests": completed,
                "maxNumActiveRequests": self.max_batch_size,
                "maxBatchSizeStatic": self.max_batch_size,
                "maxBatchSizeTunerRecommended": 0,
                "maxBatchSizeRuntime": self.max_batch_size,
                "maxNumTokensStatic": self.max_num_tokens,
                "maxNumTokensTunerRecommended": 0,
                "maxNumTokensRuntime": self.max_num_tokens,
                "gpuMemUsage": 36100332423,
                "cpuMemUsage": 68172,
                "pinnedMemUsage": 2952841216,
                "kvCacheStats": {
                    "maxNumBlocks": self.total,
                    "freeNumBlocks": self.total - self.used,
                    "usedNumBlocks": self.used,
                    "tokensPerBlock": self.block_tokens,
                    "allocTotalBlocks": counts["alloc_total"],
                    "allocNewBlocks": counts["alloc_new"],
                    "reusedBlocks": counts["reused"],
                    "missedBlocks": counts["missed"],
                    "cacheHitRate": counts["reused"] / hits if hits else 0.0,
                },
                "inflightBatchingStats": {
                    "numScheduledRequests": context + generation,
                    "numContextRequests": context,
                    "numGenRequests": generation,
                    "numPausedRequests": paused,
                    "numCtxTokens": context_tokens,
                    "microBatchId": 0,
                    "avgNumDecodedTokensPerIter": 1.0,
                },
                "staticBatchingStats": None,
                "specDecodingStats": self._spec_stats(),
            }
        )

    def _spec_stats(self) -> dict[str, Any] | None:
        """Of this iteration; null for an engine that was built for none."""
        if not self.draft_len:
            return None
        found, self._guesses = self._guesses, {"drafted": 0, "accepted": 0, "requests": 0}
        requests = found["requests"]
        return {
            "numDraftTokens": found["drafted"],
            "numAcceptedTokens": found["accepted"],
            "numRequestsWithDraftTokens": requests,
            "acceptanceLength": (found["accepted"] + requests) / requests if requests else 0.0,
            "iterLatencyMS": 0.0,
            "draftOverhead": 0.0,
        }
