"""From preset, model and machine to a Plan and a preflight report: the one road that every front end takes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workbench.core.advice import LEVELS, Advice, Situation, advise
from workbench.core.artifact import PARTIAL_SUFFIX, complete_with_key, own_record, read_record
from workbench.core.digest import FileStamp, deciding_files, model_digest
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home, expanded
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import STEP_KINDS, FileMark, Plan, PlanModel, Step, StepKind
from workbench.core.precision import Precision
from workbench.core.preflight import Preflight, preflight
from workbench.core.preset import Preset
from workbench.core.speculative import draft_precision
from workbench.toolchains.base import BuildRequest, Environment, Toolchain
from workbench.toolchains.build_place import BuildPlace
from workbench.toolchains.elsewhere import room_there, steps_at
from workbench.toolchains.gpus import PlannedGpus, detected_gpus, plan_gpus
from workbench.toolchains.tensorrt_rtx import targets as rtx_targets


@dataclass(frozen=True)
class Digests:
    """The cache of file digests, as two functions (the store keeps it)."""

    known: Callable[[FileStamp], str | None]
    remember: Callable[[FileStamp, str], None]
    progress: Callable[[int, int], None] | None = None


class Report(BaseModel):
    """What `check` answers."""

    model_config = ConfigDict(frozen=True)

    preset_id: str
    toolchain: str
    model: ModelSpec
    precisions: tuple[str, ...]
    steps: tuple[Step, ...]
    numbers: Preflight
    advice: tuple[Advice, ...]
    gpus: tuple[GpuSpec, ...] = ()
    """Those that the engine is planned for; empty: it runs on the CPU, or targets are named without a GPU."""
    planned_for: str = ""
    """The GPUs in words: "planned for 8 x H200 (not present here)"."""
    target: str = ""
    """The target that the steps would run on; empty: this machine."""
    elsewhere: tuple[Advice, ...] = ()
    """What keeps the build from running here and now, while it can be planned: GPUs or weights that are elsewhere."""

    @property
    def blocks(self) -> tuple[Advice, ...]:
        """What stands in the way of the plan."""
        return tuple(a for a in self.advice if a.level == "block")


def chosen_precisions(preset: Preset, asked: Sequence[str]) -> tuple[str, ...]:
    """Precisions of a build: those asked for (each may be a comma-separated list), in order and once each, else the
    preset's, and that of the draft that guesses for them. Raises BadInputError when something was asked for that names
    none."""
    names = tuple(dict.fromkeys(part.strip().lower() for item in asked for part in item.split(",") if part.strip()))
    if asked and not names:
        raise BadInputError("--precision names no precision.", evidence=repr(asked[0]), code="no-such-precision")
    chosen = names or (preset.precision.weights.value,)
    draft = draft_precision(preset.speculative)
    return tuple(dict.fromkeys((*chosen, draft))) if draft else chosen


def until_kind(asked: str) -> StepKind | None:
    """The step that `--until` names. Raises BadInputError."""
    if not asked:
        return None
    for kind in STEP_KINDS:
        if asked == kind and kind != "fetch":
            return kind
    raise BadInputError(
        f"{asked!r} is not a step.", evidence="steps: check, convert, quantize, build, verify", code="no-such-step"
    )


def make_request(
    preset: Preset,
    model: ModelSpec,
    *,
    precisions: tuple[str, ...],
    home: Home,
    environment: Environment,
    host: HostSpec,
    until: StepKind | None = None,
    out: Path | None = None,
    digest: str = "",
    paths_with_key: Callable[[str], tuple[str, ...]] = lambda key: (),
    detected: tuple[GpuSpec, ...] | None = None,
    place: BuildPlace | None = None,
) -> BuildRequest:
    """A request with its GPUs chosen, whose output folder has one spelling, links followed: jobs guard folders by
    their path.

    `detected`: this machine's GPUs; None asks the driver, where the toolchain uses any. `place`: the target that it
    is planned for, with host and GPUs of its own.
    """
    if place is not None:
        host, detected = place.host, place.gpus
    planned = PlannedGpus((), False, "")
    if plans := {"tensorrt_llm": plan_gpus, "tensorrt_rtx": rtx_targets.planned}.get(preset.toolchain):
        where = place.words if place is not None else "this machine"
        planned = plans(preset, detected_gpus() if detected is None else detected, where)
    return BuildRequest(
        preset=preset,
        model=model,
        model_digest=digest,
        precisions=precisions,
        home=home,
        environment=environment,
        host=host,
        gpus=planned.gpus,
        gpus_present=planned.present,
        planned_for=planned.words,
        until=until,
        out=expanded(out).resolve() if out is not None else None,
        paths_with_key=paths_with_key,
        place=place,
    )


def check(toolchain: Toolchain, request: BuildRequest) -> Report:
    """Plan, estimates and advice without reading a weight. Raises BadInputError, BlockedError."""
    steps = _steps(toolchain, request)
    precisions = tuple(Precision(name) for name in request.precisions)
    states = step_states(steps, request.home) if request.model_digest else {}
    to_do = tuple(step for step in steps if states.get(step.id) != "reused")
    numbers = preflight(request.preset, request.model, precisions, to_do, request.host, request.gpus)
    elsewhere = _is_elsewhere(request)
    place = request.out or request.home.root
    while not place.exists():
        place = place.parent
    situation = Situation(
        preset=request.preset,
        model=request.model,
        precisions=precisions,
        host=request.host,
        numbers=numbers,
        disk_free_bytes=shutil.disk_usage(place).free,
        gpus=request.gpus,
        elsewhere=elsewhere,
    )
    found = (*toolchain.advice(request), *advise(situation))
    if request.place is not None:
        needed = numbers.disk.high + (0 if request.place.target.shared else request.model.weight_bytes)
        found = (*found, *room_there(request.place, needed, Path(request.model.path)))
    found = tuple(sorted(found, key=lambda advice: LEVELS.index(advice.level)))
    lacking = _lacking(toolchain, request)
    if elsewhere:
        gpus = Advice(
            code="no-gpu",
            level="block",
            text=f"The GPUs that this build is planned for are not in {_where(request)}.",
            arithmetic=request.planned_for,
            fix="Build on the machine that has them. `--until convert` and `--until quantize` run here on the CPU.",
        )
        lacking = (gpus, *lacking)
    else:
        found = (*lacking, *found)
        lacking = ()
    if not request.model.weights_present:
        lacking = (_no_weights(request.model), *lacking)
    return Report(
        preset_id=request.preset.id,
        toolchain=toolchain.name,
        model=request.model,
        precisions=request.precisions,
        steps=steps,
        numbers=numbers,
        advice=found,
        gpus=request.gpus,
        planned_for=request.planned_for,
        target=request.place.target.name if request.place is not None else "",
        elsewhere=lacking,
    )


def _no_weights(model: ModelSpec) -> Advice:
    half = [name for name, _ in model.files if name.endswith((".incomplete", ".part", ".tmp"))]
    return Advice(
        code="no-weights",
        level="block",
        text="The model folder holds no weights: this is planned from its config.json alone.",
        arithmetic=f"an unfinished download: {half[0]}" if half else f"no *.safetensors in {model.path}",
        fix="Download the folder with its *.safetensors files before you build.",
    )


def _is_elsewhere(request: BuildRequest) -> bool:
    """Whether steps of the build need GPUs that this machine lacks. Checkpoints are made without any, and so are
    TensorRT-RTX's engines."""
    if request.preset.toolchain == "tensorrt_rtx":
        return False
    return bool(request.gpus) and not request.gpus_present and request.until not in ("convert", "quantize")


def _lacking(toolchain: Toolchain, request: BuildRequest) -> tuple[Advice, ...]:
    """A block for each environment that the steps need and that cannot be used."""
    parts = {part.name: part for part in toolchain.parts}
    lacking = []
    for environment in toolchain.needs(request):
        if not environment.usable:
            wanted = parts.get(environment.toolchain, toolchain)
            lacking.append(
                Advice(
                    code="no-environment",
                    level="block",
                    text=f"No interpreter {'here' if request.place is None else 'there'} holds {wanted.title}.",
                    arithmetic=environment.lacks,
                    fix=wanted.install_hint if request.place is None else _install_there(request.place, wanted.name),
                )
            )
    return tuple(lacking)


def _where(request: BuildRequest) -> str:
    return request.place.words if request.place is not None else "this machine"


def _install_there(place: BuildPlace, part: str) -> str:
    return (
        f"Install its packages there, or name the interpreter that has them: workbench target change "
        f"{place.target.name} --python {part}=/path/to/python; then `workbench target test {place.target.name}`."
    )


def digest_of(model: ModelSpec, digests: Digests) -> str:
    """SHA-256 that stands for the whole model folder."""
    return model_digest(model, digests.known, digests.remember, digests.progress)


def kept_preset(preset: Preset) -> Preset:
    """The preset as engines keep it, where nobody knows any more which folder its file lay in."""
    draft = preset.draft_path
    if draft is None or not draft.is_dir() or draft_precision(preset.speculative):
        return preset
    table = preset.speculative.model_copy(update={"draft": str(expanded(draft))})
    return preset.model_copy(update={"speculative": table})


def plan_build(toolchain: Toolchain, request: BuildRequest, *, anyway: bool = False) -> Plan:
    """The plan of a build whose model digest is known. Raises BadInputError, BlockedError."""
    model, folder = request.model, Path(request.model.path)
    marks = []
    for name in deciding_files(folder):
        stat = (folder / name).stat()
        marks.append(FileMark(path=str(folder / name), bytes=stat.st_size, mtime_ns=stat.st_mtime_ns))
    return Plan(
        title=f"{model.name} {', '.join(request.precisions)}",
        toolchain=toolchain.name,
        toolchain_versions=dict(request.environment.versions),
        preset_id=request.preset.id,
        preset=kept_preset(request.preset).to_data(),
        model=PlanModel(
            name=model.name,
            path=str(model.path),
            architecture=model.architecture,
            digest=request.model_digest,
            parameters=model.parameters,
            weight_bytes=model.weight_bytes,
        ),
        source_files=tuple(marks),
        anyway=anyway,
        target=request.place.target.name if request.place is not None else "",
        machine=request.place.machine if request.place is not None else {},
        steps=_steps(toolchain, request, anyway=anyway),
    )


def _steps(toolchain: Toolchain, request: BuildRequest, *, anyway: bool = False) -> tuple[Step, ...]:
    target = request.place.target if request.place is not None else None
    return tuple(steps_at(toolchain.steps(request), target, anyway=anyway))


def refuse_blocked(report: Report, *, anyway: bool = False, planning: bool = False) -> None:
    """Raises BlockedError with all that stands in the way; `anyway` passes blocks that rest on an estimate.

    `planning`: nothing is to run, so that GPUs or programs which this machine lacks are no obstacle.
    """
    found = report.blocks if planning else (*report.elsewhere, *report.blocks)
    blocks = [b for b in found if not (anyway and b.estimate_only)]
    if blocks:
        only_estimates = all(b.estimate_only for b in blocks)
        raise BlockedError(
            " ".join(b.text for b in blocks),
            evidence="; ".join(b.arithmetic for b in blocks if b.arithmetic),
            fix=" ".join(b.fix for b in blocks) + (" `--anyway` builds all the same." if only_estimates else ""),
            code=blocks[0].code,
        )


def refuse_output(plan: Plan, home: Home) -> None:
    """Raises BadInputError when a folder that the person named cannot be made or holds something else."""
    for step in plan.steps:
        if step.output is None or not step.output.chosen or step.none_reason:
            continue
        path = Path(step.output.path)
        if path.name.endswith(PARTIAL_SUFFIX):
            raise BadInputError(
                f"A folder cannot be called {path.name}.",
                evidence=f"{PARTIAL_SUFFIX} is the ending of folders that are not finished",
                fix="Choose another --out.",
                code="bad-output",
            )
        if any(path.is_relative_to(own.resolve()) for own in (home.jobs, home.lanes, home.cache, home.logs)):
            raise BadInputError(
                f"{path} is inside a folder that the workbench uses itself.",
                fix="Choose another --out.",
                code="bad-output",
            )
        if path.exists() and complete_with_key(path, step.key) is None:
            raise BadInputError(
                f"{path} is there already, and nothing that exists is overwritten.",
                evidence="it is not the artefact that this build makes",
                fix="Choose another --out.",
                code="output-exists",
            )
        parent = path.parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise BadInputError(f"{path} cannot be made.", evidence=f"{parent} is a file", code="not-writable")
        if not _writable(parent):
            raise BadInputError(
                f"{path} cannot be made.",
                evidence=f"{parent} may not be written",
                fix="Choose another --out, or mend its owner and mode.",
                code="not-writable",
            )


def _writable(folder: Path) -> bool:
    """Whether a file can be made there; asked of the file system, since root and read-only mounts answer oddly."""
    probe = folder / f".workbench-{id(folder):x}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError:
        return False
    return True


def step_states(steps: Sequence[Step], home: Home | None = None) -> Mapping[str, str]:
    """Step id -> "reused", "to do" or "none", as it would go now; `home` keeps records of what is shared."""
    states: dict[str, str] = {}
    folders: dict[str, Path | None] = {}
    for step in steps:
        if step.none_reason:
            states[step.id] = "none"
            continue
        if step.output is not None:
            found = next(
                (Path(p) for p in (step.output.path, *step.output.alternates) if complete_with_key(Path(p), step.key)),
                None,
            )
            folders[step.id] = found
            states[step.id] = "reused" if found else "to do"
        elif step.record:
            source = folders.get(step.inputs[0].step)
            kept = [source / step.record] if source else []
            kept += [own_record(home, source, step.record)] if source and home else []
            found_keys = {record.key for path in kept if (record := read_record(path)) is not None}
            states[step.id] = "reused" if step.key in found_keys else "to do"
        else:
            states[step.id] = "to do"
    return states
