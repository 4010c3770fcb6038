"""What the OpenVINO workers share: the files of an IR folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from workbench.core.artifact import PROVENANCE_FILE
from workbench.workers.common import first_line
from workbench.workers.protocol import WorkerError

PACKAGES = (
    "openvino",
    "openvino-genai",
    "openvino-tokenizers",
    "optimum-intel",
    "nncf",
    "transformers",
    "torch",
)
MODEL_XML, MODEL_BIN = "openvino_model.xml", "openvino_model.bin"
TOKENIZER_FILES = (
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
)


def copy_companions(source: Path, target: Path) -> None:
    """Copy what stands beside the weights: configuration, tokenizer, chat template, OpenVINO's tokenizers."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in (MODEL_XML, MODEL_BIN, PROVENANCE_FILE):
            shutil.copyfile(path, target / path.name)


def read_ir(folder: Path) -> Any:
    """`ov.Core().read_model` on a folder's IR. Raises WorkerError `bad-ir` when it is not there or not readable."""
    import openvino

    xml = folder / MODEL_XML
    absent = [name for name in (MODEL_XML, MODEL_BIN) if not (folder / name).is_file()]
    if absent:
        raise WorkerError(
            "the folder holds no OpenVINO model",
            code="bad-ir",
            cause=f"{', '.join(absent)} not in {folder}",
            hint="Run the step that makes it again.",
        )
    try:
        return openvino.Core().read_model(xml)
    except RuntimeError as error:
        raise WorkerError(
            "OpenVINO cannot read the model in the folder",
            code="bad-ir",
            cause=first_line(error),
            hint="Run the step that makes it again; a full disk leaves such files.",
        ) from error


def check_tokenizers(folder: Path) -> None:
    """Raise WorkerError `no-tokenizer` unless OpenVINO's tokenizer and detokenizer are there."""
    absent = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
    if absent:
        raise WorkerError(
            "the model's tokenizer was not converted",
            code="no-tokenizer",
            cause=f"{', '.join(absent)} not written",
            hint="The model folder needs tokenizer.json (a fast tokenizer) beside its weights; "
            "the job's log says what openvino-tokenizers had against it.",
        )
