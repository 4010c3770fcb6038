"""Why a TensorRT-RTX build failed: from the builder's error lines to cause, evidence and fix.

Texts are those of TensorRT-RTX 1.7, seen in builds here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from workbench.core.errors import Failure

_MAX_EVIDENCE = 400


@dataclass(frozen=True)
class FailureRow:
    """One row: `line` is searched in each error line; `what` and `fix` may name its groups."""

    code: str
    line: re.Pattern[str]
    what: str
    fix: str


def _row(code: str, line: str, what: str, fix: str) -> FailureRow:
    return FailureRow(code, re.compile(line), what, fix)


_LESS = "Close other programs, or lower limits.max_seq_len or limits.max_batch_size; then retry."

ROWS: tuple[FailureRow, ...] = (
    _row(
        "target-refused",
        r"Cannot compile operation '(?P<node>[^']{1,300})' for (?P<gpu>[\w ]{1,40} \(SM\d{2,3}\)): "
        r"(?P<why>[^.\n]{1,300})",
        "TensorRT-RTX cannot compile the model for {gpu}: {why} (operation {node}).",
        "Take that compute capability out of build.flags.targets, or choose another precision.",
    ),
    _row(
        "target-refused",
        r"(?P<why>[^.\[\]]{0,200}not supported (?:on|for) (?:SM ?\d{2,3}|compute capability)[^.\]]{0,120})",
        "TensorRT-RTX cannot compile the model for one of the targets: {why}.",
        "Take that compute capability out of build.flags.targets, or choose another precision.",
    ),
    _row(
        "missing-operator",
        r"Plugin not found, are the plugin name, version, and namespace correct",
        "TensorRT-RTX has no operator or plugin that a node of the model needs.",
        "Export the model without that operator, or run the ONNX folder with the toolchain onnxruntime.",
    ),
    _row(
        "host-out-of-memory",
        r"OutOfMemory|Failed to map file to memory|std::bad_alloc|[Oo]ut of memory|Cannot allocate memory",
        "The machine ran out of memory while TensorRT-RTX built the engine.",
        _LESS,
    ),
    _row(
        "missing-onnx-data",
        r"Failed to (?:open file: (?P<file>\S{1,300})|import initializer: (?P<tensor>[^\s:]{1,200})$)",
        "Weights of the ONNX model are missing: {file}{tensor}.",
        "Copy the file that belongs to this model.onnx, or run the step that makes the folder again.",
    ),
    _row(
        "workspace-too-small",
        r"no tactics to implement the operation within workspace limit",
        "The workspace is too small: no kernel of some operation fits into it.",
        "Raise build.flags.workspace_gib, or leave it out.",
    ),
    _row(
        "profile-refused",
        r"Invalid optimization profiles? for input tensors? (?P<name>[\w./, ]{1,200}),"
        r"|no optimization profile has been defined"
        r"|(?P<bad>\S{1,100}): (?:dimension|for dimension number|kM(?:IN|AX)|profile)[^.]{0,200}(?:profile|static)"
        r"|[Ss]tatic dimension mismatch|kM(?:IN|AX|OPT) (?:values|dimensions) in profile",
        "The network does not take the shapes of an optimisation profile.",
        "Lower limits.max_seq_len, limits.max_batch_size or build.flags.opt_prompt to what the model was exported for.",
    ),
    _row(
        "no-gpu",
        r"In generateForCurrent|graph_jit\.cpp.{0,80}CUDA_SUCCESS|cudaError 100\b",
        "This build needs an NVIDIA GPU, and there is none here, or no driver for it.",
        "Name compute capabilities in build.flags.targets, and leave strip_weights off; such a build needs no GPU.",
    ),
    _row(
        "bad-onnx",
        r"(?P<why>(?:must have|have) (?:the same|identical) (?:type|data type)[^.]{0,120}"
        r"|[Ii]nvalid Node - \S{1,200}|INVALID_(?:GRAPH|NODE)[^\n]{0,200}|UNSUPPORTED_NODE[^\n]{0,200})",
        "TensorRT-RTX does not take the ONNX model: {why}.",
        "Run the convert step again; if the model was exported elsewhere, its element types must match node by node.",
    ),
)
"""What is known to fail, the most telling first."""

CANCELLED = re.compile(r"BuildCanceled|Build canceled by user")


def explain_build(errors: Iterable[str]) -> Failure:
    """The failure of a build in words, from the builder's error lines. Never raises, whatever the text."""
    lines = [line for line in errors if line.strip()]
    for row in ROWS:
        for line in lines:
            if match := row.line.search(line):
                groups = {name: (value or "").strip() for name, value in match.groupdict().items()}
                return Failure(
                    code=row.code, what=_fill(row.what, groups), evidence=_short(line), fix=_fill(row.fix, groups)
                )
    return Failure(
        code="engine-build-failed",
        what="TensorRT-RTX could not build the engine.",
        evidence=_short(lines[0]) if lines else "the builder gave no engine and no error",
        fix="The job's log has the builder's own lines; another optimization_level or precision may work.",
    )


def _fill(text: str, groups: dict[str, str]) -> str:
    filled = re.sub(r"\{(\w+)\}", lambda found: groups.get(found[1], ""), text)
    return re.sub(r"\s+([.,:])", r"\1", filled).replace(": .", ".").replace("..", ".")


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _MAX_EVIDENCE else text[: _MAX_EVIDENCE - 1] + "…"
