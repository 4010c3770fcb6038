"""A build that is being planned: what the command line and the window begin with before there is a plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.digest import FileStamp
from workbench.core.errors import WorkbenchError
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import Plan, Step
from workbench.core.preset import Preset
from workbench.core.preset_fields import overrides_between
from workbench.toolchains import get
from workbench.toolchains.base import BuildRequest, Environment, Toolchain
from workbench.toolchains.build_place import BuildPlace
from workbench.toolchains.elsewhere import environments_at, open_place
from workbench.toolchains.environments import best_environment
from workbench.toolchains.planner import (
    Digests,
    Report,
    check,
    chosen_precisions,
    digest_of,
    make_request,
    plan_build,
    refuse_blocked,
    refuse_output,
    until_kind,
)
from workbench.toolchains.sources import open_model
from workbench.toolchains.tensorrt_llm.flags import build_argv


@dataclass(frozen=True)
class Draft:
    """What requests are made from. `detected`: this machine's GPUs, None asks the driver at each request."""

    home: Home
    host: HostSpec
    preset: Preset
    model: ModelSpec
    toolchain: Toolchain
    environment: Environment
    detected: tuple[GpuSpec, ...] | None = None
    paths_with_key: Callable[[str], tuple[str, ...]] = lambda key: ()
    place: BuildPlace | None = None
    """The target that it is planned for, whose interpreter `environment` is; None: this machine."""

    def request(
        self, precisions: Sequence[str] = (), *, until: str = "", out: Path | None = None, digest: str = ""
    ) -> BuildRequest:
        """Raises BadInputError for a precision or step that there is not."""
        return make_request(
            self.preset,
            self.model,
            precisions=chosen_precisions(self.preset, precisions),
            home=self.home,
            environment=self.environment,
            host=self.host,
            until=until_kind(until),
            out=out,
            digest=digest,
            paths_with_key=self.paths_with_key if digest else lambda key: (),
            detected=self.detected,
            place=self.place,
        )

    def report(self, precisions: Sequence[str] = (), *, until: str = "", digest: str = "") -> Report:
        """Steps, numbers and advice, without reading a weight. Raises BadInputError, BlockedError."""
        return check(self.toolchain, self.request(precisions, until=until, digest=digest))

    def digest(self, digests: Digests) -> str:
        """SHA-256 of the whole model folder; reads each file that the cache does not know."""
        return digest_of(self.model, digests)

    def plan(
        self,
        precisions: Sequence[str],
        digest: str,
        *,
        until: str = "",
        out: Path | None = None,
        anyway: bool = False,
    ) -> Plan:
        """The plan to start. Raises BlockedError with all that stands in the way, BadInputError for its folders."""
        request = self.request(precisions, until=until, out=out, digest=digest)
        refuse_blocked(check(self.toolchain, request), anyway=anyway)
        plan = plan_build(self.toolchain, request, anyway=anyway)
        refuse_output(plan, self.home)
        return plan


def open_draft(
    preset: Preset,
    model_folder: Path,
    *,
    home: Home,
    host: HostSpec,
    environ: Mapping[str, str] = os.environ,
    config_only: bool = False,
    paths_with_key: Callable[[str], tuple[str, ...]] = lambda key: (),
    target: str = "",
) -> Draft:
    """Read the model folder and find the toolchain's interpreter, on the target of that name where one is given.

    Raises BadInputError, BlockedError.
    """
    toolchain = get(preset.toolchain)
    model = open_model(model_folder, trust_remote_code=preset.model.trust_remote_code, config_only=config_only)
    if target:
        place = open_place(home, target)
        environment = environments_at(toolchain, home, place)
        return Draft(
            home, place.host, preset, model, toolchain, environment, paths_with_key=paths_with_key, place=place
        )
    environment = best_environment(toolchain, home, environ)
    return Draft(home, host, preset, model, toolchain, environment, paths_with_key=paths_with_key)


def known_digest(draft: Draft, known: Callable[[FileStamp], str | None]) -> str:
    """The model's digest if every file's is known, else "": for looks that may not read 100 GB."""

    class _UnknownError(Exception):
        pass

    def sure(stamp: FileStamp) -> str | None:
        found = known(stamp)
        if found is None:
            raise _UnknownError
        return found

    try:
        return draft.digest(Digests(sure, lambda stamp, digest: None))
    except (_UnknownError, WorkbenchError):
        return ""


def build_command(
    name: str,
    preset: Preset,
    saved: Preset | None,
    model: str,
    precisions: Sequence[str] = (),
    until: str = "",
    target: str = "",
) -> tuple[str, ...]:
    """The argv of the command line that builds the same.

    `name`: the preset's id or path; `saved` is what that names now.
    """
    argv = ["workbench", "build", name, "--model", model]
    if precisions:
        argv += ["--precision", ",".join(precisions)]
    if until:
        argv += ["--until", until]
    if target:
        argv += ["--target", target]
    for item in overrides_between(saved, preset) if saved is not None else ():
        argv += ["--set", item]
    return tuple(argv)


def tool_commands(steps: Sequence[Step]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(title, argv) of the toolchain's own programs that the steps run, such as trtllm-build; paths as planned."""
    found = []
    folders = {step.id: step.output.path for step in steps if step.output is not None}
    for step in steps:
        flags = step.settings.get("argv_flags")
        if not isinstance(flags, Mapping) or step.none_reason:
            continue
        checkpoint = folders.get(step.inputs[0].step or "", "") if step.inputs else ""
        output = step.output.path if step.output else ""
        argv = build_argv({**flags, "checkpoint_dir": checkpoint, "output_dir": output})
        found.append((f"{step.title} {step.variant}".strip(), argv))
    return tuple(found)
