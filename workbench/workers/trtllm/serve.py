"""Worker `trtllm.serve`: runs TensorRT-LLM's own server, `trtllm-serve`, until its client goes.

It speaks as an engine host does as far as that goes: phases, `ready` once the server answers, `stats` of its KV
cache. Requests do not come this way: they go to the server's port.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from typing import Any

from workbench.core.messages import Ready, RubbishError, Shutdown, Stats, StatsInterval, StepSpec, parse_command
from workbench.core.trtllm.load_log import EngineLoadLog
from workbench.core.trtllm.log import explain_failure
from workbench.workers.common import input_folder
from workbench.workers.process_tree import adopt_orphans, kill_children
from workbench.workers.protocol import Channel, WorkerError, die_with_me, run_worker
from workbench.workers.trtllm.build import program_argv, write_raw
from workbench.workers.trtllm.common import HANG_SECONDS, PACKAGES, EngineConfig, stuck_at_start, without_source_lines
from workbench.workers.trtllm.engine import check_engine

_KEPT_LINES = 4000
_POLL_SECONDS = 0.2
_STATS_SECONDS = 2.0
_GRACE_SECONDS = 8.0
_LAST_WORDS_SECONDS = 2.0
_OWN_LOOK = re.compile(r'"GET /(health|metrics|version) HTTP/1.1" 200')
_USAGE = re.compile(r"^Error: (.+)$")


class _Server:
    """The program, its output, and what its routes say."""

    def __init__(self, channel: Channel, argv: list[str], hang_s: float) -> None:
        self._channel, self._hang_s = channel, hang_s
        self.loaded = EngineLoadLog()
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._url = f"http://{_of(argv, '--host')}:{_of(argv, '--port')}"
        self._heard = time.monotonic()
        self.stopping = threading.Event()
        # No proxy of the environment stands between this and a port of this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            self._process = subprocess.Popen(
                argv,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "TLLM_LOG_LEVEL": "info"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_me(),
            )
        except OSError as error:
            raise WorkerError(
                f"{argv[0]} cannot be started",
                code="no-trtllm-serve",
                cause=str(error),
                hint="Install tensorrt-llm 1.2 in this environment again.",
            ) from error
        self._reader = threading.Thread(target=self._read, name="output", daemon=True)
        self._reader.start()

    def wait_ready(self) -> None:
        """Until /health answers 200. Raises WorkerError when the program ends or hangs before."""
        told = False
        while not self.stopping.is_set():
            if self._process.poll() is not None:
                raise self.explained()
            if self._get("/health", 2.0) is not None:
                return
            if self.loaded.limits and not told:
                told = True
                self._channel.phase("load", 2, 3)
            if time.monotonic() - self._heard > self._hang_s and stuck_at_start(self.lines):
                self.lines.append("import tensorrt_llm")
                self._process.kill()
                failure = explain_failure([*self.lines], f"no output for {self._hang_s:g} s")
                raise WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)
            self.stopping.wait(_POLL_SECONDS)

    def serve(self) -> None:
        """Until it is told to stop. Raises WorkerError when the program ends by itself."""
        asked = 0.0
        while not self.stopping.is_set():
            if self._process.poll() is not None:
                raise self.explained()
            if time.monotonic() - asked >= _STATS_SECONDS:
                asked = time.monotonic()
                self._tell_stats()
            self.stopping.wait(_POLL_SECONDS)

    def stop(self) -> None:
        """SIGTERM, a grace, SIGKILL; its MPI processes go too."""
        self.stopping.set()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        kill_children()

    def version(self) -> str:
        """TensorRT-LLM's, as the server says it; "" when it does not."""
        answer = self._get("/version", 5.0)
        return str(answer.get("version", "")) if isinstance(answer, dict) else ""

    def explained(self) -> WorkerError:
        """How the program ended, in words."""
        code = self._process.wait()
        self._reader.join(_LAST_WORDS_SECONDS)  # its processes may hold the output open
        outcome = f"signal {-code}" if code < 0 else f"exit code {code}"
        usage = [line for line in self.lines if _USAGE.match(line)]
        if code == 2 and usage:  # what click ends with
            return WorkerError(
                "trtllm-serve does not take these flags",
                code="bad-flags",
                cause=usage[-1],
                hint="Use TensorRT-LLM 1.2, which these flags are of; `trtllm-serve serve --help` lists what it takes.",
            )
        failure = explain_failure(without_source_lines(self.lines), outcome)
        if failure.code == "host-out-of-memory":  # whose words are a build's
            return WorkerError(
                "trtllm-serve was killed, most likely because the machine ran out of memory",
                code=failure.code,
                cause=failure.evidence or outcome,
                hint="Close other programs, or give it less: a smaller runtime.host_cache_gib, fewer requests at once. "
                "Then start the server again.",
            )
        if failure.code == "failed":
            return WorkerError(
                "trtllm-serve ended by itself", code="server-ended", cause=failure.evidence or outcome, hint=failure.fix
            )
        return WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)

    def _tell_stats(self) -> None:
        """The newest iteration record; the route gives those since the last look, and waits where there are none."""
        records = self._get("/metrics", 5.0)
        record = records[-1] if isinstance(records, list) and records else None
        if not isinstance(record, dict):
            return
        pool = record.get("kvCacheStats") or {}
        if not isinstance(pool, dict):
            return
        with contextlib.suppress(ValueError):
            self._channel.send(
                Stats(
                    kv_blocks_used=pool.get("usedNumBlocks"),
                    kv_blocks_free=pool.get("freeNumBlocks"),
                    kv_blocks_total=pool.get("maxNumBlocks"),
                    kv_blocks_reused_since_load=pool.get("reusedBlocks"),
                    requests_active=record.get("numActiveRequests"),
                    requests_queued=record.get("numQueuedRequests"),
                    iteration_ms=record.get("iterLatencyMS"),
                )
            )

    def _get(self, path: str, timeout_s: float) -> Any:
        """The route's JSON, {} where it answers 200 with none; None when it does not answer."""
        try:
            with self._opener.open(f"{self._url}{path}", timeout=timeout_s) as answer:
                body = answer.read(1 << 24)
        except (OSError, urllib.error.URLError, ValueError):
            return None
        try:
            return json.loads(body) if body.strip() else {}
        except ValueError:
            return {}

    def _read(self) -> None:
        assert self._process.stdout is not None
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        rest = ""
        with self._process.stdout as output:
            while data := os.read(output.fileno(), 1 << 16):
                self._heard = time.monotonic()
                *whole, rest = re.split(r"(?<=[\r\n])", rest[-(1 << 16) :] + decode(data))
                self._take(whole)
        self._take([rest])

    def _take(self, lines: list[str]) -> None:
        """To the raw log, less what this worker's own looks leave there."""
        told = [line for line in lines if not _OWN_LOOK.search(line)]
        write_raw("".join(told).encode("utf-8", "replace"))
        for line in told:
            if line.strip():
                self.lines.append(line.rstrip())
                self.loaded.feed(line)


def _of(argv: list[str], flag: str) -> str:
    """A flag's value. Raises WorkerError `bad-setting`."""
    try:
        return argv[argv.index(flag) + 1]
    except (ValueError, IndexError) as error:
        raise WorkerError(f"the setting argv lacks {flag}", code="bad-setting", cause=" ".join(argv)[:500]) from error


def _obey(channel: Channel, stopping: threading.Event) -> None:
    """Commands until `shutdown` or the end of standard input: whoever started this is gone then."""
    for line in channel.commands():
        with contextlib.suppress(RubbishError):
            command = parse_command(line)
            if isinstance(command, Shutdown):
                break
            if not isinstance(command, StatsInterval):
                channel.log(f"{type(command).__name__} does not go this way: requests go to the port", "warning")
    stopping.set()


def _ready(server: _Server, config: EngineConfig, load_s: float) -> Ready:
    loaded = server.loaded
    limits = {**config.limits, **loaded.limits}
    if loaded.reduced_seq_len is not None:
        limits["max_seq_len"] = min(loaded.reduced_seq_len, limits.get("max_seq_len", loaded.reduced_seq_len))
    return Ready(
        limits=limits,
        kv_blocks_total=loaded.kv_blocks_primary,
        kv_block_tokens=loaded.kv_block_tokens or config.tokens_per_block,
        load_seconds=load_s,
        chat_template=None,
        settings={"program": f"trtllm-serve {server.version()}".strip()},
    )


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Check the engine, start the server, and keep it until the client goes.

    Inputs: `engine`, `tokenizer`. Settings: `argv`, from the program's name on, with --host and --port;
    `hang_seconds`. Raises WorkerError.
    """
    began = time.monotonic()
    given = spec.settings.get("argv")
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given) or not given:
        raise WorkerError("the setting argv is missing", code="bad-setting", cause=str(given)[:200])
    channel.phase("check", 1, 3)
    folder = input_folder(spec, "engine")
    input_folder(spec, "tokenizer")
    config, _ = check_engine(folder, channel)
    argv = [*_found(given[0]), *given[1:]]
    adopt_orphans()
    server = _Server(channel, argv, float(spec.settings.get("hang_seconds", HANG_SECONDS)))
    threading.Thread(target=_obey, args=(channel, server.stopping), name="commands", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: server.stopping.set())
    channel.log(f"running: {' '.join(argv)}")
    try:
        server.wait_ready()
        if not server.stopping.is_set():
            channel.phase("ready", 3, 3)
            channel.send(_ready(server, config, time.monotonic() - began))
            server.serve()
    except BrokenPipeError:
        sys.stderr.write("the client is gone\n")
    finally:
        server.stop()
    return {"program": argv[0], "seconds": round(time.monotonic() - began, 1)}


def _found(program: str) -> list[str]:
    try:
        return program_argv(program)
    except WorkerError as error:
        raise WorkerError(error.message, code="no-trtllm-serve", cause=error.cause, hint=error.hint) from error


if __name__ == "__main__":
    run_worker("trtllm.serve", work, packages=PACKAGES, reads_commands=True)
