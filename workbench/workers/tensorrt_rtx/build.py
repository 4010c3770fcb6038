"""Worker `tensorrt_rtx.build`: ONNX folder -> engine folder for the named GPUs, by TensorRT-RTX's own builder.

The engine folder is the ONNX folder's files (linked), so that ONNX Runtime runs the model where no such GPU is; the
engine; the ONNX model that stands for it to ONNX Runtime's execution provider; its layers; and engine.json, written
last: a folder without it is no engine. No GPU is needed. A timing cache is not kept: TensorRT-RTX has had none since
1.2, as kernels are chosen on the GPU that runs.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.tensorrt_rtx.failures import explain_build
from workbench.core.tensorrt_rtx.log import BuilderLog
from workbench.core.tensorrt_rtx.progress import PARSE, WRITE, BuildProgress
from workbench.core.tensorrt_rtx.targets import provider_refuses, show
from workbench.core.units import format_bytes, format_duration
from workbench.workers.common import announce, input_folder, quiet_environment, write_json
from workbench.workers.onnx.common import check_folder, read_facts, take_model
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker, versions_of
from workbench.workers.tensorrt_rtx.context import CONTEXT_FILE, write_context
from workbench.workers.tensorrt_rtx.layers import write_layers
from workbench.workers.tensorrt_rtx.libraries import PACKAGES, load_tensorrt, version
from workbench.workers.tensorrt_rtx.monitor import Cancel, make_logger, make_monitor, run_beside
from workbench.workers.tensorrt_rtx.network import parse_network
from workbench.workers.tensorrt_rtx.profiles import Shapes, add_profiles, check_limits, inputs_of, shapes_of
from workbench.workers.tensorrt_rtx.serialize import EngineFile, make_writer
from workbench.workers.tensorrt_rtx.settings import BuildSettings, read_settings

ENGINE_FILE, TRT_FILE = "engine.json", "engine.trt"
ENGINE_SCHEMA = 1
PHASES = ("files", "parse", "build", "serialize", "describe")
_FILES_PERCENT, _DESCRIBE_PERCENT = 1.0, 2.0
"""Of the whole step; the builder has the rest."""
_NOTABLE_SECONDS = 5.0
_CODE_BYTES = 5_000_000
_ALIVE_SECONDS = 0.5
"""Processor time after which the same percentage is told again, with the seconds that are left."""
_KV_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with an engine made of `inputs.checkpoint`, an ONNX folder.

    Settings: `targets` (compute capabilities such as "8.9", or "current"), `profiles` ("prefill+decode" or "one"),
    `max_batch_size`, `max_seq_len`, `opt_prompt` (tokens of the prompt for which prefill is made best),
    `weight_streaming`, `strip_weights`, `optimization_level` (0 to 5), `workspace_gib`.
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-gpu-target`, `no-gpu`, `bad-onnx`, `missing-onnx-data`,
    `no-tensorrt-rtx`, `profile-too-long`, `profile-refused`, `disk-full`, `bad-context`, and the codes of
    workbench.core.tensorrt_rtx.failures.
    """
    checkpoint, out = input_folder(spec, "checkpoint"), Path(spec.output)
    quiet_environment()
    began = time.monotonic()
    channel.phase("files", 1, len(PHASES))
    facts = read_facts(checkpoint)
    settings = read_settings(spec.settings, facts)
    check_limits(settings.limits, facts)
    graph = check_folder(checkpoint)
    trt = load_tensorrt()
    _warn(settings, channel)
    linked = take_model(checkpoint, out, channel)
    built = _Build(trt, out, graph, settings, channel).run()

    channel.phase("describe", 5, len(PHASES))
    table = write_layers(out, built.log, built.profiles, channel)
    if not settings.strip_weights:
        write_context(out, graph, TRT_FILE, settings.targets, version())
    engine = _notes(settings, facts, built, len(table.layers))
    write_json(out / ENGINE_FILE, engine)
    size = announce(channel, "engine", out)
    channel.progress(100, 100, "%")
    return {
        **{key: value for key, value in engine.items() if key != "schema_version"},
        "bytes": size,
        "files_linked": linked,
        "seconds": round(time.monotonic() - began, 2),
    }


def _warn(settings: BuildSettings, channel: Channel) -> None:
    """What an engine like this will not do."""
    for capability in settings.targets:
        if reason := provider_refuses(capability):
            channel.log(f"{reason} There the engine is for TensorRT-RTX's own runtime.", "warning")
    if settings.strip_weights:
        channel.log(
            "an engine without its weights gets no model for ONNX Runtime: its provider puts weights back only into "
            "engines that it has stripped itself",
            "warning",
        )


@dataclass(frozen=True)
class _Built:
    """What a build has made and how."""

    log: BuilderLog
    progress: BuildProgress
    profiles: list[tuple[str, Shapes]]
    engine_bytes: int
    seconds: float


class _Build:
    """One run of the builder: it works in a thread, this one reports."""

    def __init__(self, trt: Any, out: Path, graph: Any, settings: BuildSettings, channel: Channel) -> None:
        self._trt, self._out, self._graph, self._settings, self._channel = trt, out, graph, settings, channel
        self._log = BuilderLog()
        self._progress = BuildProgress(profiles=len(settings.profiles))
        self._nodes = len(graph.graph.node)
        self._file: EngineFile | None = None
        self._profiles: list[tuple[str, Shapes]] = []
        self._phase = ""
        self._silent: int | None = None
        """The profile whose compilation was told to be silent."""
        self._silent_since = 0.0
        self._told_percent, self._told_used_s = -1.0, 0.0

    def run(self) -> _Built:
        """Build and write the engine. Raises WorkerError, and OSError of the disk."""
        began = time.monotonic()
        with Cancel(self._channel, self._tidy) as cancel:
            try:
                size = run_beside(lambda: self._work(cancel), cancel, self._tick)
            except BaseException:
                self._tidy()
                raise
        seconds = time.monotonic() - began
        self._channel.log(f"engine of {format_bytes(size)} in {seconds:.1f} s")
        return _Built(self._log, self._progress, self._profiles, size, seconds)

    def _work(self, cancel: Cancel) -> int:
        """The builder's thread."""
        trt, settings = self._trt, self._settings
        logger = make_logger(trt, self._log)
        self._progress.parse(0, self._nodes, time.monotonic())
        builder = trt.Builder(logger)
        # The parser's weights are the network's too.
        network, _parser = parse_network(trt, builder, logger, self._out, self._graph, self._log)
        inputs = inputs_of(network)
        self._profiles = [(name, shapes_of(name, inputs, settings.limits)) for name in settings.profiles]
        config = builder.create_builder_config()
        self._configure(config)
        add_profiles(builder, config, self._profiles)
        config.progress_monitor = make_monitor(trt, self._progress, cancel.wanted)
        self._file = EngineFile(self._out / TRT_FILE, self._wrote, cancel.wanted)
        done = builder.build_serialized_network_to_stream(network, config, make_writer(trt, self._file))
        if cancel.wanted():
            return 0
        if self._file.error is not None:
            raise self._file.explain(self._file.error, self._expected())
        if not done or not self._file.written:
            failure = explain_build(self._log.errors)
            raise WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)
        try:
            size = self._file.finish()
        except OSError as error:
            raise self._file.explain(error, self._expected()) from error
        self._progress.finish(time.monotonic())
        return size

    def _configure(self, config: Any) -> None:
        trt, settings = self._trt, self._settings
        # Without it the log names no layers.
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        # On by default: an FP32 engine would compute in 10 bits of mantissa.
        config.clear_flag(trt.BuilderFlag.TF32)
        config.num_compute_capabilities = len(settings.targets)
        for place, (major, minor) in enumerate(settings.targets):
            known = getattr(trt.ComputeCapability, f"SM{major}{minor}", None)
            if known is None or not config.set_compute_capability(known, place):
                raise WorkerError(
                    f"TensorRT-RTX {version()} does not build for compute capability {major}.{minor}",
                    code="target-refused",
                    cause=f"target {major}.{minor}",
                    hint="Take it out of build.flags.targets.",
                )
        if settings.weight_streaming:
            config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
        if settings.strip_weights:
            config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        if settings.optimization_level is not None:
            config.builder_optimization_level = settings.optimization_level
        if settings.workspace_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_bytes)

    def _wrote(self, done: int) -> None:
        self._progress.write(done, self._expected(), time.monotonic())

    def _expected(self) -> int | None:
        """Bytes that the engine will have, about: its weights and its code."""
        return int(self._log.weights_bytes * 1.05) + _CODE_BYTES if self._log.weights_bytes else None

    def _tidy(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.discard()

    # --- reporting, in the main thread ---

    def _tick(self) -> None:
        now, progress = time.monotonic(), self._progress
        stage = progress.stage
        if stage == PARSE:
            progress.parse(min(self._log.nodes_parsed, self._nodes), self._nodes, now)
        phase = {PARSE: "parse", WRITE: "serialize"}.get(stage, "build") if stage else ""
        left = progress.left_s(now)
        if phase and phase != self._phase:
            # A small model is through a phase between two ticks; it is told all the same.
            for place in range(PHASES.index(self._phase or PHASES[0]) + 1, PHASES.index(phase) + 1):
                self._channel.phase(PHASES[place], place + 1, len(PHASES))
            self._phase = phase
        self._tell_silence(now, left)
        builder = 100.0 - _FILES_PERCENT - _DESCRIBE_PERCENT
        percent = round(_FILES_PERCENT + builder * progress.share, 1)
        # Whoever watches takes a message for life: a builder that hangs must not seem alive.
        if percent != self._told_percent or time.process_time() - self._told_used_s >= _ALIVE_SECONDS:
            self._told_percent, self._told_used_s = percent, time.process_time()
            self._channel.progress(percent, 100, "%", left_s=None if left is None else round(left, 1))

    def _tell_silence(self, now: float, left: float | None) -> None:
        progress = self._progress
        # By the profile: from one to the next there may be no tick.
        silent = progress.profile if progress.silent else None
        if silent == self._silent:
            return
        if self._silent is not None and now - self._silent_since >= _NOTABLE_SECONDS:
            self._channel.log(f"compiled in {format_duration(now - self._silent_since)}")
        self._silent, self._silent_since = silent, now
        if silent is not None:
            name, of = self._settings.profiles[silent], progress.profiles
            text = f"compiling for profile {name} ({silent + 1} of {of}): the builder says nothing until that is done"
            if left is not None and left >= _NOTABLE_SECONDS:
                text += f"; about {format_duration(left)} to go in all, by the lengths of other builds"
            self._channel.log(text)


def _notes(settings: BuildSettings, facts: Mapping[str, Any], built: _Built, layers: int) -> dict[str, Any]:
    """engine.json."""
    seconds = built.progress.stage_seconds
    heads, size, count = (facts.get(name) for name in ("kv_heads", "head_size", "layers"))
    width = _KV_BYTES.get(str(facts.get("compute")))
    known = all(isinstance(one, int) for one in (heads, size, count, width))
    return {
        "schema_version": ENGINE_SCHEMA,
        "toolchain": "tensorrt_rtx",
        "versions": versions_of(*PACKAGES),
        "targets": [show(capability) for capability in settings.targets],
        "profiles": [{"name": name, "shapes": shapes} for name, shapes in built.profiles],
        "engine_file": TRT_FILE,
        "context_file": None if settings.strip_weights else CONTEXT_FILE,
        "engine_bytes": built.engine_bytes,
        "engine_layers": layers,
        "weight_streaming": settings.weight_streaming,
        "stripped": settings.strip_weights,
        "optimization_level": settings.optimization_level,
        "workspace_bytes": settings.workspace_bytes,
        "build_seconds": round(built.seconds, 2),
        "stage_seconds": seconds,
        "monitor": {
            "phases": built.progress.phases,
            "steps": built.progress.steps,
            "longest_silence_s": round(built.progress.longest_silence_s, 2),
        },
        "memory": {
            "weights_bytes": built.log.weights_bytes,
            "activation_bytes": max(built.log.activation_bytes, default=None),
            "builder_peak_bytes": built.log.host_peak_bytes,
            "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        },
        "limits": {"max_seq_len": settings.limits.max_seq_len, "max_batch_size": settings.limits.max_batch_size},
        "kv_bytes_per_token": 2 * count * heads * size * width if known else None,  # type: ignore[operator]
        **{key: value for key, value in facts.items() if key not in ("schema_version", "max_seq_len")},
    }


if __name__ == "__main__":
    run_worker("tensorrt_rtx.build", work, packages=PACKAGES)
