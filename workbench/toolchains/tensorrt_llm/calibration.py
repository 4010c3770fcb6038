"""The text that quantization is calibrated with."""

from __future__ import annotations

from pathlib import Path

from workbench.core.data import resource
from workbench.core.errors import BadInputError
from workbench.core.preset import Preset


def calibration_path(preset: Preset) -> Path:
    """The preset's own file, else the shipped set. Raises BadInputError when it is not there."""
    path = preset.calibration_path or _shipped()
    if not path.exists():
        raise BadInputError(
            "The calibration file is not there.",
            evidence=str(path),
            fix="Mend calibration.file in the preset, or leave it out to use the shipped text.",
            code="no-calibration",
        )
    return path


def _shipped() -> Path:
    path = resource("calibration_512.jsonl")
    return path if path.exists() else resource("calibration.jsonl")
