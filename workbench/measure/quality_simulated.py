"""How a simulated precision is scored: ModelOpt's interpreter, the baseline's source model, calibration text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.core.artifact import read_provenance
from workbench.core.data import resource
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.core.measure.passages import EvaluationText
from workbench.core.messages import StepSpec
from workbench.measure.quality_material import overlap_words
from workbench.toolchains import get
from workbench.toolchains.base import Environment, Part
from workbench.toolchains.environments import choose_environment


@dataclass(frozen=True)
class Prepared:
    """A subject's worker, ready to be started."""

    environment: Environment
    env: dict[str, str]
    spec: StepSpec
    title: str
    kind: Literal["engine", "simulated", "endpoint"]
    warnings: tuple[str, ...] = ()


def simulation(
    home: Home,
    environ: Mapping[str, str],
    precision: str,
    baseline: Path,
    calibration_samples: int,
    text: EvaluationText,
) -> Prepared:
    """Raises BadInputError, BlockedError."""
    model = read_provenance(baseline).model
    if model is None or not Path(model.path).is_dir():
        raise BadInputError(
            "A precision is simulated on the source model, and the baseline's is not there.",
            evidence=model.path if model is not None else "its provenance names none",
            fix="Put the model folder back, or choose a baseline that was made from one.",
            code="no-model",
        )
    calibration = resource("calibration.jsonl")
    environment = choose_environment(_modelopt(), home, environ)
    settings = {
        "precision": precision,
        "calibration": {"samples": calibration_samples, "length": 256, "batch_size": 8, "seed": 0},
    }
    spec = StepSpec(
        worker="modelopt.simulate",
        settings=settings,
        inputs={"model": model.path, "calibration": str(calibration)},
    )
    warnings = overlap_words([calibration], text)
    return Prepared(environment, environment.env(), spec, f"{precision} (simulated)", "simulated", warnings)


def _modelopt() -> Part:
    """ModelOpt's interpreter is a part of the TensorRT-LLM toolchain."""
    for part in get("tensorrt_llm").parts:
        if part.name == "modelopt":
            return part
    raise BlockedError("This version cannot simulate precisions.", code="no-modelopt")
