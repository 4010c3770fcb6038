"""Loading an engine off the GUI thread: its settings, whether there is room for it, and its host."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from workbench.core.errors import BadInputError, Failure
from workbench.core.home import Home
from workbench.core.messages import Log, Message, Phase, Progress, Ready
from workbench.core.preset import Preset
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.toolchains import room_check
from workbench.toolchains.running import EngineStart, engine_start

LOG_FILE = "engine-host-{}.txt"
"""Of the hosts that live at the same time, each has its own."""


@dataclass(frozen=True)
class EngineFacts:
    """What is known of an engine before and while it is loaded."""

    path: Path
    name: str
    toolchain: str
    toolchain_title: str
    precision: str
    key: str
    """The artefact's key."""
    built: Preset
    """What it was built with."""
    preset: Preset
    """What it is loaded with: the same, with `overrides`."""
    overrides: tuple[str, ...] = ()
    runtime_settings: frozenset[str] = frozenset()
    """Fields of [runtime] that its host takes."""
    on_gpu: bool = False
    """Whether it takes GPU memory of this machine; see EngineStart."""

    @property
    def precision_words(self) -> str:
        """`INT8 weights, FP8 KV cache`."""
        kv = self.preset.precision.kv_cache.value
        weights = f"{self.precision.upper().replace('_', ' ')} weights"
        return weights if kv == "auto" else f"{weights}, {kv.upper()} KV cache"


@dataclass(frozen=True, eq=False)
class LoadedEngine:
    """An engine that answers. `client` may be used from any thread."""

    id: str
    facts: EngineFacts
    client: EngineClient = field(repr=False)

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def ready(self) -> Ready:
        return self.client.ready


@dataclass(frozen=True)
class LoadStep:
    """How far loading is. `share` None: not known."""

    words: str
    share: float | None = None


def facts_of(start: EngineStart, overrides: tuple[str, ...]) -> EngineFacts:
    provenance = start.provenance
    return EngineFacts(
        start.path,
        provenance.name or start.path.name,
        provenance.toolchain,
        start.toolchain_title,
        provenance.precision,
        provenance.key,
        start.built,
        start.preset,
        overrides,
        start.runtime_settings,
        start.on_gpu,
    )


def prepare(home: Home, path: Path, overrides: tuple[str, ...]) -> tuple[EngineStart, EngineFacts]:
    """The engine and its settings. Raises BadInputError."""
    start = engine_start(home, path, overrides, os.environ)
    return start, facts_of(start, overrides)


def refuse_without_room(
    start: EngineStart, facts: EngineFacts, loaded: tuple[str, ...], leaving: LoadedEngine | None = None
) -> None:
    """Raises BlockedError, with the arithmetic, when the engine cannot fit beside what is there.

    What `leaving` holds is free by then.
    """
    given_back = 0
    if leaving is not None and leaving.facts.on_gpu == facts.on_gpu:
        client = leaving.client
        given_back = room_check.held_bytes(client.hello, client.stats, on_gpu=leaving.facts.on_gpu)
    room_check.refuse_without_room(start, loaded, given_back)


def start_host(
    home: Home,
    start: EngineStart,
    log: Path,
    on_step: Callable[[LoadStep], None],
    on_end: Callable[[Failure], None],
    stop: threading.Event,
) -> EngineClient:
    """Start the host and wait until it answers. Raises CancelledError once `stop` is set, StepFailedError."""
    command = HostCommand(argv=start.start.argv, env=start.start.env, cwd=str(home.root), spec=start.start.spec)

    def tell(message: Message) -> None:
        if isinstance(message, Phase):
            on_step(LoadStep(message.name, (message.index - 1) / message.of if message.of else None))
        elif isinstance(message, Progress) and message.total:
            on_step(LoadStep("", message.done / message.total))
        elif isinstance(message, Log) and message.level == "warning":
            on_step(LoadStep(message.text[:200]))

    try:
        home.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError("The engine's log cannot be written.", evidence=str(error)) from error
    return EngineClient.start(command, log, tell, on_end=on_end, stop=stop)
