"""From an engine's folder to what stands behind the front door: an engine host, or TensorRT-LLM's own server."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.deploy.facts import EngineFacts, read_engine_facts
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home
from workbench.jobs.engine import HostCommand
from workbench.toolchains import room_check
from workbench.toolchains.environments import engine_environment
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.running import EngineStart, engine_start
from workbench.toolchains.tensorrt_llm.serve import (
    HOST,
    OPTIONS_FILE,
    ServeProgram,
    check_gpus,
    serve_program,
    serve_start,
)

TENSORRT_LLM = "tensorrt_llm"


@dataclass(frozen=True)
class ServePlan:
    """An engine that can be served, before anything is loaded."""

    start: EngineStart
    facts: EngineFacts
    gpus: tuple[GpuSpec, ...]
    """This machine's, as far as its driver says."""

    @property
    def name(self) -> str:
        return self.start.name

    @property
    def has_own_server(self) -> bool:
        """Whether TensorRT-LLM's server answers, and not our engine host."""
        return self.start.provenance.toolchain == TENSORRT_LLM

    def check(self) -> None:
        """Ranks, GPUs, tokenizer, room. Raises BadInputError, BlockedError."""
        if self.has_own_server:
            check_gpus(self.facts, self.gpus)
            serve_program(self.facts, self.start.preset, engine=self.facts.path, options=Path(OPTIONS_FILE), port=1)
        room_check.refuse_without_room(self.start, detected=lambda: self.gpus)

    def host_command(self, home: Home) -> HostCommand:
        """How its engine host is started."""
        start = self.start.start
        return HostCommand(argv=start.argv, env=start.env, cwd=str(home.root), spec=start.spec)


@dataclass(frozen=True)
class ProgramCommand:
    """`trtllm-serve`, ready to be started."""

    program: ServeProgram
    command: HostCommand
    url: str
    """`http://127.0.0.1:41233`."""


def plan_of(
    home: Home,
    engine: Path,
    overrides: Sequence[str],
    environ: Mapping[str, str] = os.environ,
    detected: Callable[[], tuple[GpuSpec, ...]] = detected_gpus,
) -> ServePlan:
    """What serving an engine would take. Raises BadInputError (no engine, a rank missing or cut short, settings it
    does not take), BlockedError (no interpreter for it).
    """
    start = engine_start(home, engine, list(overrides), environ)
    return ServePlan(start, read_engine_facts(engine), detected() if start.on_gpu else ())


def program_command(home: Home, plan: ServePlan, folder: Path, model: str) -> ProgramCommand:
    """The TensorRT-LLM server of a plan, on a free port of loopback: writes its YAML and the link whose name it shows
    into `folder`. Raises BadInputError, BlockedError.
    """
    from workbench.toolchains import get

    port = free_port()
    engine = named_link(folder, plan.facts.path, model)
    options = folder / OPTIONS_FILE
    program = serve_program(plan.facts, plan.start.preset, engine=engine, options=options, port=port, gpus=plan.gpus)
    options.write_text(program.options, encoding="utf-8")
    environment = engine_environment(get(TENSORRT_LLM), home, os.environ)
    start = serve_start(environment, program, plan.facts, folder)
    command = HostCommand(argv=start.argv, env=start.env, cwd=str(folder), spec=start.spec)
    return ProgramCommand(program, command, f"http://{HOST}:{port}")


def named_link(folder: Path, engine: Path, model: str) -> Path:
    """A link to the engine with the model's name, in a folder of its own; the engine itself where no file can be
    called so.
    """
    if "/" in model or model in (".", "..") or len(model.encode()) > 200:
        return engine
    place = folder / "engine"
    link = place / model
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(engine, target_is_directory=True)
    except OSError:
        return engine
    return link


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
