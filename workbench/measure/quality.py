"""Quality of engines against a baseline: one score worker a subject, in its own toolchain's interpreter.

The baseline comes first: its greedy answers and log-probabilities are what the others are held against.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.core.endpoint import read_endpoint
from workbench.core.errors import BadInputError, CancelledError, StepFailedError, WorkbenchError
from workbench.core.home import Home
from workbench.core.measure.quality import QualityRecord, TaskScore
from workbench.core.measure.quality_figures import record_of
from workbench.core.measure.quality_options import LmEvalOptions, QualityOptions, TaskOptions, simulated_id
from workbench.core.measure.scores import LOGPROBS_FILE, QUESTIONS_FILE, SCORES_FILE, Scores
from workbench.core.measure.tasks import task_scores
from workbench.core.messages import Phase, Progress
from workbench.measure.lm_eval import run_harness
from workbench.measure.quality_material import Material, calibrated_with, read_material
from workbench.measure.quality_simulated import Prepared as _Prepared
from workbench.measure.quality_simulated import simulation
from workbench.measure.score_worker import append_log, run_to_end
from workbench.toolchains import get
from workbench.toolchains.environments import choose_environment
from workbench.toolchains.running import engine_start
from workbench.toolchains.secrets import key_of

__all__ = [
    "LmEvalOptions",
    "QualityEvent",
    "QualityOptions",
    "QualityTarget",
    "TaskOptions",
    "score_targets",
    "simulated_id",
]


HARNESS = "lm-evaluation-harness"


@dataclass(frozen=True)
class QualityEvent:
    """What goes on. `record` is there when a subject is done."""

    subject: str
    """Its id; of a simulated precision `sim-fp8` and so on."""
    phase: str = ""
    done: float | None = None
    total: float | None = None
    unit: str = ""
    record: QualityRecord | None = None


@dataclass(frozen=True)
class QualityTarget:
    """An engine folder to score, with runtime settings as for loading."""

    subject: str
    path: Path
    overrides: tuple[str, ...] = ()


def score_targets(
    home: Home,
    targets: Sequence[QualityTarget],
    baseline: int,
    options: QualityOptions | None = None,
    *,
    environ: Mapping[str, str],
    folder: Path | None = None,
    on_event: Callable[[QualityEvent], None] = lambda event: None,
    stop: threading.Event | None = None,
) -> list[QualityRecord]:
    """Score engine folders against one of them: a record each in their order, simulated precisions last.

    `baseline` is the number of a target, from 0; the same folder may be there more than once with other runtime
    settings. `folder` keeps `log.txt` and the workers' scores (default: a new one under the home's cache). A subject
    that fails has a record with `failure`; when the baseline fails, the others lack agreement and KL and say so.
    Raises BadInputError when options name files that cannot be read, CancelledError when `stop` is set: what was
    done until then has been told by `on_event`.
    """
    options = options or QualityOptions()
    if not 0 <= baseline < len(targets):
        raise BadInputError("The baseline is not among the engines to score.", code="no-baseline")
    if len({target.subject for target in targets}) < len(targets):
        raise BadInputError(
            "Two subjects to score have the same id.",
            evidence=", ".join(target.subject for target in targets),
            code="same-id",
        )
    material = read_material(options)
    place = folder or home.cache / "quality" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    first = targets[baseline]
    run = _Run(home, dict(environ), place, material, first.subject, on_event, stop, options)
    try:
        order = [first, *(target for number, target in enumerate(targets) if number != baseline)]
        records = {target.subject: run.engine(target) for target in order}
        simulated = [run.simulated(name, first.path) for name in options.simulate]
    finally:
        # Large, and of no use once the others have been held against it.
        (run.subject_folder(first.subject) / LOGPROBS_FILE).unlink(missing_ok=True)
    return [*(records[target.subject] for target in targets), *simulated]


@dataclass
class _Run:
    """One run over all subjects."""

    home: Home
    environ: dict[str, str]
    folder: Path
    material: Material
    baseline: str
    on_event: Callable[[QualityEvent], None]
    stop: threading.Event | None
    options: QualityOptions
    baseline_scores: Scores | None = None

    @property
    def log_path(self) -> Path:
        return self.folder / "log.txt"

    def subject_folder(self, subject: str) -> Path:
        return self.folder / subject

    def engine(self, target: QualityTarget) -> QualityRecord:
        """Score an engine folder."""

        def prepare() -> _Prepared:
            start = engine_start(self.home, target.path, target.overrides, self.environ)
            kind: Literal["engine", "endpoint"] = "endpoint" if start.provenance.toolchain == "endpoint" else "engine"
            toolchain = get(start.provenance.toolchain)
            environment = choose_environment(toolchain, self.home, self.environ)
            worker = start.start.spec.worker.replace(".host", ".score")
            spec = start.start.spec.model_copy(update={"worker": worker})
            warnings = calibrated_with(start.provenance, self.material.text)
            return _Prepared(environment, start.start.env, spec, start.name, kind, warnings)

        return self._score(target.subject, prepare)

    def simulated(self, precision: str, baseline: Path) -> QualityRecord:
        """Score a precision that ModelOpt simulates on the baseline's source model."""

        def prepare() -> _Prepared:
            samples = self.options.calibration_samples
            return simulation(self.home, self.environ, precision, baseline, samples, self.material.text)

        return self._score(simulated_id(precision), prepare)

    def _score(self, subject: str, prepare: Callable[[], _Prepared]) -> QualityRecord:
        began = time.monotonic()
        kind: Literal["engine", "simulated", "endpoint"] = "simulated" if subject.startswith("sim-") else "engine"
        try:
            ready = prepare()
            kind = ready.kind
            scores = self._work(subject, ready)
            record = record_of(
                scores,
                subject=subject,
                baseline=self.baseline,
                baseline_scores=scores if subject == self.baseline else self.baseline_scores,
                kind=ready.kind,
                text=self.material.text.source,
                tasks=self._tasks(scores),
                warnings=(*ready.warnings, *filter(None, (scores.settings.get("remark"),))),
            )
            if self.options.lm_eval is not None:
                record = self._with_harness(record, ready)
            record = record.model_copy(update={"seconds": round(time.monotonic() - began, 2)})
            if subject == self.baseline:
                self.baseline_scores = scores
        except CancelledError:
            raise
        except (WorkbenchError, OSError) as problem:
            error = problem if isinstance(problem, WorkbenchError) else _no_room(problem)
            append_log(self.log_path, f"[{subject}] {error}")
            record = QualityRecord(
                subject=subject,
                baseline=self.baseline,
                kind=kind,
                seconds=round(time.monotonic() - began, 2),
                failure=error.failure,
            )
        self.on_event(QualityEvent(subject, "done", record=record))
        return record

    def _with_harness(self, record: QualityRecord, ready: _Prepared) -> QualityRecord:
        """The record with the tasks of lm-evaluation-harness, or why there are none."""
        assert self.options.lm_eval is not None
        if record.kind != "endpoint":
            missing = {**record.not_reported, HARNESS: "it asks endpoints alone"}
            return record.model_copy(update={"not_reported": missing})
        self.on_event(QualityEvent(record.subject, HARNESS))
        try:
            endpoint = read_endpoint(Path(ready.spec.inputs["engine"]))
            scores = run_harness(
                endpoint,
                self.options.lm_eval,
                key=key_of(endpoint.key, self.environ),
                environ=self.environ,
                folder=self.subject_folder(record.subject),
                log_path=self.log_path,
                stop=self.stop,
            )
        except CancelledError:
            raise
        except WorkbenchError as error:
            append_log(self.log_path, f"[{record.subject}] {error}")
            return record.model_copy(update={"not_reported": {**record.not_reported, HARNESS: str(error)}})
        return record.model_copy(update={"tasks": (*record.tasks, *scores)})

    def _work(self, subject: str, ready: _Prepared) -> Scores:
        """Run the subject's worker. Raises StepFailedError, CancelledError, BadInputError."""
        if self.stop is not None and self.stop.is_set():
            raise CancelledError("Scoring was stopped.", code="cancelled")
        out = self.subject_folder(subject)
        out.mkdir(exist_ok=True, mode=0o700)
        is_baseline = subject == self.baseline
        questions = self.material.questions
        if not is_baseline and self.baseline_scores is None:
            questions = questions.model_copy(update={"prompts": ()})
        (out / QUESTIONS_FILE).write_text(questions.model_dump_json(), "utf-8")
        inputs = {**ready.spec.inputs, "questions": str(out / QUESTIONS_FILE)}
        if not is_baseline and self.baseline_scores is not None:
            inputs["baseline"] = str(self.subject_folder(self.baseline))
        spec = ready.spec.model_copy(update={"inputs": inputs, "output": str(out)})
        seen = (self.folder, *(Path(path) for role, path in inputs.items() if role not in ("questions", "baseline")))
        run_to_end(
            ready.environment.argv(f"workbench.workers.{spec.worker}", paths=seen),
            ready.env,
            spec,
            folder=out,
            log_path=self.log_path,
            title=f"Scoring {ready.title}",
            on_message=self._teller(subject),
            stop=self.stop,
        )
        try:
            return Scores.model_validate_json((out / SCORES_FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise StepFailedError(
                f"The scores of {ready.title} cannot be read.", evidence=str(error)[:300], code="bad-scores"
            ) from error

    def _teller(self, subject: str) -> Callable[[Phase | Progress], None]:
        phase = ""

        def tell(message: Phase | Progress) -> None:
            nonlocal phase
            if isinstance(message, Phase):
                phase = message.name
                self.on_event(QualityEvent(subject, phase))
            else:
                self.on_event(QualityEvent(subject, phase, message.done, message.total, message.unit))

        return tell

    def _tasks(self, scores: Scores) -> tuple[TaskScore, ...]:
        results = {result.name: result for result in scores.tasks}
        others = {result.name: result for result in self.baseline_scores.tasks} if self.baseline_scores else {}
        found: list[TaskScore] = []
        for task in self.material.tasks:
            if task.name in results:
                found += task_scores(task, results[task.name], others.get(task.name))
        return tuple(found)


def _no_room(error: OSError) -> StepFailedError:
    """A file of the scoring could not be written or read, which ends this subject and not all."""
    return StepFailedError(
        "The files of the scoring cannot be written.",
        evidence=str(error),
        fix="Free some room where results are kept, and try again.",
        code="no-files",
    )
