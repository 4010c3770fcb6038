"""The answer to "what would this build take?", asked at each keystroke and worked out off the GUI thread."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.galleries import preset_folders, shared_model
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home, expanded
from workbench.core.host import HostSpec, read_host
from workbench.core.model import ModelSpec
from workbench.core.preset import Preset, find_preset
from workbench.store.store import Store
from workbench.toolchains import get
from workbench.toolchains.base import Environment
from workbench.toolchains.build_place import BuildPlace
from workbench.toolchains.drafts import Draft, build_command, known_digest, tool_commands
from workbench.toolchains.elsewhere import environments_at, open_place
from workbench.toolchains.environments import best_environment
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.planner import Report, step_states
from workbench.toolchains.sources import is_repository_name, open_model

LONGEST_ARGUMENT = 100_000
"""In characters; Linux takes 128 KiB."""
_FRESH_S = 20.0
"""How long an interpreter's packages and the list of GPUs are taken as they were."""


@dataclass(frozen=True)
class Question:
    """What stands in the form."""

    preset: Preset
    model: str
    precisions: tuple[str, ...] = ()
    """Empty: the preset's own."""
    until: str = ""
    """The last step; empty: all of them."""
    target: str = ""
    """The target that it is to run on; empty: this machine."""


@dataclass(frozen=True)
class Command:
    """A line of the command box: `title` in words, `argv` to run."""

    title: str
    argv: tuple[str, ...]

    @property
    def text(self) -> str:
        return shlex.join(self.argv)


@dataclass(frozen=True)
class Answer:
    """Either a report or a failure; neither while no model is chosen."""

    question: Question
    model: ModelSpec | None = None
    report: Report | None = None
    failure: Failure | None = None
    build: Command | None = None
    """The command line that builds the same; None when there is none."""
    no_build: str = ""
    """Why there is none, in words."""
    tools: tuple[Command, ...] = ()
    """The toolchain's own programs that the build runs."""
    states: Mapping[str, str] = field(default_factory=dict)
    """Step id -> "reused", "to do" or "none"; empty while the model's files were never read."""
    host: HostSpec | None = None
    disk_free_bytes: int | None = None
    capability: tuple[int, int] | None = None
    """Of the GPU that is planned for."""
    repository: str = ""
    """The model is a repository's name and has to be downloaded first."""
    took_ms: float = 0.0

    @property
    def commands(self) -> tuple[Command, ...]:
        return (*((self.build,) if self.build else ()), *self.tools)


class Preflights:
    """Answers questions, in any thread. What seldom changes is kept for some seconds."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._environments: dict[str, tuple[float, Environment]] = {}
        self._places: dict[str, tuple[float, BuildPlace, Environment]] = {}
        self._gpus: tuple[float, tuple[GpuSpec, ...]] | None = None

    def answer(self, question: Question) -> Answer:
        """Read the model's folder, plan and estimate. Failures are part of the answer."""
        began = time.perf_counter()
        try:
            made = self._answer(question)
        except WorkbenchError as error:
            made = Answer(question, failure=error.failure)
        except (OSError, ValueError) as error:  # a name that no file system takes, such as one with a NUL byte
            failure = Failure(
                code="bad-model",
                what="This is not the name of a folder.",
                evidence=str(error)[:300],
                fix="Choose the model's folder.",
                exit_code=2,
            )
            made = Answer(question, failure=failure)
        return replace(made, took_ms=(time.perf_counter() - began) * 1000)

    def draft(self, question: Question, *, config_only: bool) -> Draft:
        """Raises BadInputError, BlockedError."""
        preset = question.preset
        toolchain = get(preset.toolchain)
        folder = shared_model(self._home, question.model) or Path(question.model)
        model = open_model(folder, trust_remote_code=preset.model.trust_remote_code, config_only=config_only)
        if question.target:
            place, environment = self._there(question.target, preset.toolchain)
            return Draft(self._home, place.host, preset, model, toolchain, environment, place=place)
        return Draft(
            self._home,
            read_host(),
            preset,
            model,
            toolchain,
            self._environment(preset.toolchain),
            self._detected(),
        )

    def _answer(self, question: Question) -> Answer:
        if not question.model.strip():
            return Answer(question)
        asked = question.model
        if is_repository_name(asked) and not expanded(asked).is_dir() and shared_model(self._home, asked) is None:
            return Answer(question, repository=question.model)
        draft = self.draft(question, config_only=True)
        model = draft.model
        build, no_build = self._build_command(question, str(model.path))
        place = self._home.root
        while not place.exists():
            place = place.parent
        known = Answer(
            question, model=model, build=build, no_build=no_build, host=draft.host,
            disk_free_bytes=shutil.disk_usage(place).free,
        )  # fmt: skip
        try:
            report, states = self._report(draft, question)
        except WorkbenchError as error:
            return replace(known, failure=error.failure)
        tools = tuple(Command(title, argv) for title, argv in tool_commands(report.steps))
        capability = report.gpus[0].compute_capability if report.gpus else None
        return replace(known, report=report, states=states, tools=tools, capability=capability)

    def _report(self, draft: Draft, question: Question) -> tuple[Report, Mapping[str, str]]:
        digest, report = "", None
        if self._home.database.exists():
            with contextlib.suppress(WorkbenchError), Store.open(self._home) as store:
                digest = known_digest(draft, store.known_digest)
                if digest:
                    request_paths = replace(draft, paths_with_key=store.paths_with_key)
                    report = request_paths.report(question.precisions, until=question.until, digest=digest)
        if report is None:
            report = draft.report(question.precisions, until=question.until)
        return report, step_states(report.steps, self._home) if digest else {}

    def _build_command(self, question: Question, model: str) -> tuple[Command | None, str]:
        """The command line that builds the same, or why there is none.

        A preset of the gallery is named by its id, another by its path; what the form changed is said by --set.
        """
        preset = question.preset
        for name in dict.fromkeys((preset.id, str(preset.source or ""))):
            with contextlib.suppress(WorkbenchError):
                saved = find_preset(name, preset_folders(self._home))
                if saved.source != preset.source:
                    continue
                argv = build_command(name, preset, saved, model, question.precisions, question.until, question.target)
                if max(map(len, argv)) > LONGEST_ARGUMENT:
                    return None, "A value is too long for a command line. Save as preset first."
                return Command("The whole build", argv), ""
        return None, "The preset's file is gone or cannot be read. Save as preset to have a command."

    def _there(self, target: str, name: str) -> tuple[BuildPlace, Environment]:
        """A target by its last look, and the toolchain's interpreter there."""
        key = f"{target} {name}"
        with self._lock:
            kept = self._places.get(key)
        if kept is None or time.monotonic() - kept[0] > _FRESH_S:
            place = open_place(self._home, target, ask=False)
            kept = time.monotonic(), place, environments_at(get(name), self._home, place)
            with self._lock:
                self._places[key] = kept
        return kept[1], kept[2]

    def forget_targets(self) -> None:
        """Read targets anew when the next question comes: they may have been changed."""
        with self._lock:
            self._places.clear()

    def _environment(self, name: str) -> Environment:
        with self._lock:
            kept = self._environments.get(name)
        if kept is None or time.monotonic() - kept[0] > _FRESH_S:
            kept = time.monotonic(), best_environment(get(name), self._home, os.environ)
            with self._lock:
                self._environments[name] = kept
        return kept[1]

    def _detected(self) -> tuple[GpuSpec, ...]:
        kept = self._gpus
        if kept is None or time.monotonic() - kept[0] > _FRESH_S:
            kept = self._gpus = time.monotonic(), detected_gpus()
        return kept[1]
