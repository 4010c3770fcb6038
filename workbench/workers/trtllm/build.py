"""Worker `trtllm.build`: checkpoint -> engine folder, by running `trtllm-build` and following its log.

The program's output goes to the raw log as it comes and is read on the way. Its working folder is a scratch one:
it writes its timing cache into the folder it stands in. Done is done only with exit 0, the closing line, config.json
and every rank's engine file.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.trtllm.log import PHASES, BuildLog, Fed, explain_failure
from workbench.core.units import format_duration
from workbench.workers.common import announce, input_folder, link_or_copy, read_json, write_json
from workbench.workers.process_tree import adopt_orphans, kill_children
from workbench.workers.protocol import Channel, StepSpec, WorkerError, die_with_me, run_worker, versions_of
from workbench.workers.trtllm.common import (
    ENGINE_FILE,
    ENGINE_SCHEMA,
    HANG_SECONDS,
    PACKAGES,
    TOKENIZER_FILES,
    EngineConfig,
    Gpu,
    missing_ranks,
    read_engine_config,
    refuse_newer,
    stuck_at_start,
    visible_gpus,
    without_source_lines,
    world_size,
)

PROGRAM = "trtllm-build"
OWN_FLAGS = ("checkpoint_dir", "model_config", "output_dir", "input_timing_cache", "output_timing_cache", "dry_run")
"""Flags that this worker sets itself, or that would leave no engine."""
_LOG_LEVELS = ("info", "verbose", "debug", "trace")
"""Levels at which the closing line is printed."""
_KEPT_LINES = 4000
_TICK_SECONDS = 0.5
_DRAIN_SECONDS = 2.0
"""How long output is awaited after the program has ended: a child it left may keep the pipe open for ever."""
_NOTABLE_SECONDS = 10.0


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with an engine built of `inputs.checkpoint`.

    Settings: `argv_flags` (flag -> value; true: a bare switch, false and null: left out), `program` (default
    "trtllm-build"; a list is an argv's beginning), `workers` (ranks built at once), `timing_cache` (folder where
    timings are kept by GPU and version; none: not kept), `hang_seconds` (default 300: how long nothing may be heard
    before the program has begun).
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-checkpoint`, `no-engine-runtime`, `no-trtllm-build`,
    `bad-flags`, `incomplete-build`, and the codes of workbench.core.trtllm.failures.
    """
    checkpoint, out = input_folder(spec, "checkpoint"), Path(spec.output)
    refuse_newer("builds no engines")
    config = _checkpoint_config(checkpoint)
    ranks = world_size(config)
    _check_rank_files(checkpoint, config)
    flags, workers = _flags(spec.settings, channel)
    program = program_argv(spec.settings.get("program") or PROGRAM)
    gpus = visible_gpus()
    if gpus and workers > len(gpus):
        channel.log(f"{workers} workers asked for, {len(gpus)} GPUs visible: trtllm-build takes the smaller", "warning")
    adopt_orphans()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="workbench-trtllm-") as scratch:
        cache = _TimingCache(spec.settings.get("timing_cache"), gpus, Path(scratch))
        argv = [*program, "--checkpoint_dir", str(checkpoint), "--output_dir", str(out), *_argv(flags)]
        argv += ["--workers", str(workers), *cache.argv()]
        level = str(flags["log_level"])
        run = _Run(
            BuildLog(ranks=ranks, workers=workers), channel, float(spec.settings.get("hang_seconds", HANG_SECONDS))
        )
        outcome = run.run(argv, Path(scratch), {"PYTHONUNBUFFERED": "1", "TLLM_LOG_LEVEL": level})
        if outcome:
            raise _explain(run, outcome)
        engine = _judge(out, run.log)
        kept = cache.keep(run.log.version, channel)
    seconds = time.monotonic() - began
    if run.log.harmless_count:
        channel.log(f"{run.log.harmless_count} warnings that mean nothing for the result are in the raw log alone")
    copied = [name for name in TOKENIZER_FILES if (checkpoint / name).is_file()]
    for name in copied:
        link_or_copy(checkpoint / name, out / name)
    notes = _notes(engine, gpus, run.log)
    write_json(out / ENGINE_FILE, notes)
    size = announce(channel, "engine", out)
    return {
        **{key: value for key, value in notes.items() if key != "schema_version"},
        "bytes": size,
        "seconds": round(seconds, 2),
        "argv": argv[len(program) :],
        "memory_gib": {name: round(value, 3) for name, value in run.log.memory_gib.items()},
        "resolved_flags": run.log.settings,
        "harmless_warnings": run.log.harmless,
        "timing_cache": {"file": kept, "reused": cache.reused},
        "tokenizer_files": copied,
    }


def _checkpoint_config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / "config.json")
    except WorkerError as error:
        raise WorkerError(
            "the checkpoint's config.json cannot be read",
            code="bad-checkpoint",
            cause=error.cause,
            hint="Convert the model again.",
        ) from error
    if not isinstance(config.get("architecture"), str):
        raise WorkerError(
            "the folder is not a TensorRT-LLM checkpoint",
            code="bad-checkpoint",
            cause=f"config.json in {folder} names no architecture",
            hint="Convert the model first: a Hugging Face folder cannot be built as it is.",
        )
    return config


def _check_rank_files(folder: Path, config: Mapping[str, Any]) -> None:
    """Context parallel ranks share files, so there are tensor x pipeline parallel ones."""
    mapping = config.get("mapping")
    mapping = mapping if isinstance(mapping, dict) else {}
    count = world_size({"mapping": {**mapping, "cp_size": 1}})
    absent = [name for name in (f"rank{rank}.safetensors" for rank in range(count)) if not (folder / name).is_file()]
    if absent:
        raise WorkerError(
            f"the checkpoint lacks {len(absent)} of its {count} rank files",
            code="bad-checkpoint",
            cause=f"{', '.join(absent[:8])} not in {folder}",
            hint="Convert the model again.",
        )


def _flags(settings: Mapping[str, Any], channel: Channel) -> tuple[dict[str, Any], int]:
    """Flags by bare name, without those of this worker's own; and the number of workers."""
    given = settings.get("argv_flags") or {}
    if not isinstance(given, dict):
        raise WorkerError("argv_flags is not a table of flags", code="bad-setting", cause=repr(given)[:200])
    flags = {str(name).lstrip("-").replace("-", "_"): value for name, value in given.items()}
    own = sorted(set(flags) & set(OWN_FLAGS))
    if own:
        raise WorkerError(
            f"the flag --{own[0]} is not for settings: the build step sets it itself",
            code="bad-setting",
            cause=f"argv_flags.{own[0]} = {flags[own[0]]!r}",
            hint="Take it out of build.flags.",
        )
    workers = flags.pop("workers", None)
    workers = settings.get("workers") or workers or 1
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise WorkerError("workers must be a whole number from 1", code="bad-setting", cause=f"workers = {workers!r}")
    if flags.setdefault("log_level", "info") not in _LOG_LEVELS:
        channel.log(f"log level {flags['log_level']} would hide the build's closing line; info is used", "warning")
        flags["log_level"] = "info"
    return flags, workers


def _argv(flags: Mapping[str, Any]) -> list[str]:
    argv: list[str] = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        argv.append(f"--{name}")
        if isinstance(value, list | tuple):
            argv += [str(part) for part in value]
        elif value is not True:
            argv.append(str(value))
    return argv


def program_argv(given: Any) -> list[str]:
    """The argv's beginning; the program is looked for beside this interpreter, then on PATH."""
    parts = [str(part) for part in given] if isinstance(given, list | tuple) else [str(given)]
    beside = Path(sys.executable).parent / parts[0]
    # Another environment's may stand on PATH.
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(parts[0])
    if found is None:
        raise WorkerError(
            f"{parts[0]} is not installed in this environment",
            code="no-trtllm-build",
            cause=f"neither in {beside.parent} nor on PATH",
            hint="Install tensorrt-llm 1.2 there, or choose another environment; `workbench doctor` lists them.",
        )
    return [found, *parts[1:]]


_USAGE = re.compile(r"^\S+: error: (.+)$")


def _explain(run: _Run, outcome: str) -> WorkerError:
    """Words for a program that ended with an error."""
    usage = [line for line in run.lines if _USAGE.match(line)]
    if outcome == "exit code 2" and usage:  # what Python's argument parser ends with
        return WorkerError(
            "trtllm-build does not take these flags",
            code="bad-flags",
            cause=usage[-1],
            hint="Correct build.flags; `trtllm-build --help` in that environment lists what it takes.",
        )
    # Errors first: the kept lines may have lost the earliest.
    failure = explain_failure(without_source_lines([*run.log.errors, *run.lines]), outcome)
    return WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)


class _TimingCache:
    """Timings of earlier builds, one file a GPU kind and version: of others they are useless or wrong."""

    def __init__(self, folder: Any, gpus: Sequence[Gpu], scratch: Path) -> None:
        versions = versions_of("tensorrt_llm", "tensorrt")
        self._version = versions.get("tensorrt_llm", "")
        self._new = scratch / "model.cache"
        self._old = scratch / "earlier.cache"
        self._kept: Path | None = None
        self.reused = False
        if not folder or not gpus or not self._version:
            return
        words = [gpus[0].name, gpus[0].compute_capability, "trtllm", self._version, versions.get("tensorrt", "")]
        name = re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(words)).strip("-").lower()
        self._kept = Path(str(folder)) / f"{name}.cache"
        with contextlib.suppress(OSError):
            # A copy: another build may replace the file meanwhile.
            shutil.copyfile(self._kept, self._old)
            self.reused = self._old.stat().st_size > 0

    def argv(self) -> list[str]:
        given = ["--input_timing_cache", str(self._old)] if self.reused else []
        return [*given, "--output_timing_cache", str(self._new)]

    def keep(self, built_with: str, channel: Channel) -> str:
        """Keep what a build that went well has written; the file's path, or "" when nothing is kept."""
        if self._kept is None or not self._new.is_file() or built_with not in ("", self._version):
            return ""
        temporary = self._kept.with_name(f".{self._kept.name}.{os.getpid()}.new")
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._new, temporary)
            temporary.replace(self._kept)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            channel.log(f"the timing cache cannot be kept, later builds take longer: {error}", "warning")
            return ""
        return str(self._kept)


@dataclass
class _Run:
    """One run of the program: its output through the raw log, the phases and progress to the channel."""

    log: BuildLog
    channel: Channel
    hang_s: float
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    _phase: int = 0
    _rest: str = ""

    def run(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> str:
        """Run it to its end; how it ended in words, "" when it ended well (exit 0)."""
        self.channel.log(f"running: {' '.join(argv)}")
        began = heard = time.monotonic()
        self._tell_phase(0.0)
        hung = False
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_me(),
            )
        except OSError as error:
            raise WorkerError(
                f"{argv[0]} cannot be started",
                code="no-trtllm-build",
                cause=str(error),
                hint="Install tensorrt-llm 1.2 in this environment again.",
            ) from error
        assert process.stdout is not None
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        ended: float | None = None
        with selectors.DefaultSelector() as selector, process.stdout as stream:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                elapsed = time.monotonic() - began
                if selector.select(_TICK_SECONDS):
                    data = os.read(stream.fileno(), 1 << 16)
                    if not data:
                        break
                    heard = time.monotonic()
                    write_raw(data)
                    self._take(decode(data), elapsed)
                elif ended is None and process.poll() is not None:
                    ended = time.monotonic()
                elif ended is not None and time.monotonic() - ended > _DRAIN_SECONDS:
                    break
                elif ended is None and time.monotonic() - heard > self.hang_s and stuck_at_start(self.lines):
                    # Later on silence means nothing: TensorRT compiles for an hour without a word.
                    hung = True
                    process.kill()
                    break
                self.channel.progress(round(100 * self.log.share(elapsed), 1), 100, "%")
        self._take("\n", time.monotonic() - began)
        code = process.wait()
        kill_children()
        if hung:
            self.lines.append("import tensorrt_llm")
            return f"no output for {self.hang_s:g} s"
        if code == 0:
            self.channel.progress(round(100 * self.log.share_done, 1), 100, "%")
            return ""
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _take(self, text: str, elapsed_s: float) -> None:
        """Complete lines are read; progress bars redraw with a carriage return, so that ends a line too."""
        *whole, self._rest = re.split(r"[\r\n]", self._rest + text)
        self._rest = self._rest[-(1 << 16) :]
        for line in whole:
            if not line.strip():
                continue
            self.lines.append(line)
            for fed in self.log.feed(line, elapsed_s):
                self._tell(fed)
            self._tell_phase(elapsed_s)

    def _tell(self, fed: Fed) -> None:
        if fed.kind in ("warning", "error"):
            self.channel.log(fed.line.text, fed.kind)  # type: ignore[arg-type]
        elif fed.kind == "phase" and fed.name == "write" and self.log.ranks > 1:
            self.channel.log(f"{self.log.ranks_done} of {self.log.ranks} engine files written")

    def _tell_phase(self, elapsed_s: float) -> None:
        if self.log.phase_index == self._phase:
            return
        self._phase = self.log.phase_index
        self.channel.phase(self.log.phase.title, self._phase, len(PHASES))
        left = self.log.remaining(elapsed_s)
        if left is not None and left.high >= _NOTABLE_SECONDS:
            self.channel.log(f"{format_duration(left.low)} to {format_duration(left.high)} to go")


def write_raw(data: bytes) -> None:
    """To the raw log, as it comes."""
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            view = view[os.write(2, view) :]


def _judge(out: Path, log: BuildLog) -> EngineConfig:
    """The engine's configuration when the folder is complete. Raises WorkerError `incomplete-build`."""
    lacking = []
    config = None
    if not log.closed:
        lacking.append("its closing line was not printed")
    try:
        config = read_engine_config(out)
    except WorkerError as error:
        lacking.append(error.cause)
    absent = missing_ranks(out, log.ranks)
    if absent:
        lacking.append(f"{', '.join(absent[:8])} not written")
    if config is not None and config.ranks != log.ranks:
        lacking.append(f"config.json is for {config.ranks} ranks, the checkpoint has {log.ranks}")
    if lacking or config is None:
        raise WorkerError(
            "trtllm-build ended without an error and without a whole engine",
            code="incomplete-build",
            cause="; ".join(lacking),
            hint="The job's log has its output; retry, and if it stays so report it.",
        )
    return config


def _notes(config: EngineConfig, gpus: Sequence[Gpu], log: BuildLog) -> dict[str, Any]:
    """The engine's notes (engine.json): what loading it elsewhere has to be checked against, and what it can do."""
    quantization = config.pretrained.get("quantization")
    quantization = quantization if isinstance(quantization, dict) else {}
    return {
        "schema_version": ENGINE_SCHEMA,
        "toolchain": "tensorrt_llm",
        "versions": {**versions_of(*PACKAGES), **({"tensorrt_llm": config.version or log.version})},
        "gpu": gpus[0].facts() if gpus else None,
        "ranks": config.ranks,
        "architecture": config.pretrained.get("architecture"),
        "dtype": config.pretrained.get("dtype"),
        "quant_algo": quantization.get("quant_algo"),
        "kv_cache_quant_algo": quantization.get("kv_cache_quant_algo"),
        "limits": config.limits,
        "kv_block_tokens": config.tokens_per_block,
        "kv_bytes_per_token": config.kv_bytes_per_token,
    }


if __name__ == "__main__":
    run_worker("trtllm.build", work, packages=PACKAGES)
