"""The draft of an engine: found by its folder or its precision, and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workbench.core.advice import Advice
from workbench.core.artifact import Provenance, read_provenance
from workbench.core.errors import BadInputError, BlockedError, WorkbenchError
from workbench.core.home import Home, expanded
from workbench.core.preset import Preset, apply_overrides
from workbench.core.sharing import shared_roots
from workbench.core.speculative import draft_precision, tokenizer_problem, why_not
from workbench.toolchains.base import BuildRequest

_OFF = "or load it with speculative.mode=none"


def settled(preset: Preset, built: Preset, provenance: Provenance) -> Preset:
    """The preset as far as the engine can do it. Speculative decoding is off for an engine that was built as the draft
    of another.

    Raises BlockedError for a mode that its toolchain has not, or that the engine was not built for.
    """
    mode = preset.speculative.mode
    if draft_precision(preset.speculative) == provenance.precision:
        if preset.speculative != built.speculative:
            raise _own_draft(preset)
        return apply_overrides(preset, ["speculative.mode=none"])
    if why := why_not(provenance.toolchain, mode):
        raise BlockedError(
            f"{why}.",
            evidence=f"speculative.mode = {mode}",
            fix="Set speculative.mode to none.",
            code="not-supported",
        )
    if provenance.toolchain == "tensorrt_llm" and mode != built.speculative.mode:
        raise BlockedError(
            f"{provenance.name} was built for speculative decoding by {built.speculative.mode}, not {mode}: a "
            "TensorRT-LLM engine has its mode built in.",
            evidence=f"speculative.mode = {mode} at load",
            fix=f"Leave speculative.mode at {built.speculative.mode}, or build another engine with {mode}.",
            code="not-runtime",
        )
    return preset


def _own_draft(preset: Preset) -> BlockedError:
    return BlockedError(
        "An engine cannot be its own draft: it would guess as slowly as it answers.",
        evidence=f"speculative.draft = {preset.speculative.draft}",
        fix=f"Name a smaller engine, {_OFF}.",
        code="bad-draft",
    )


def find_draft(home: Home, engine: Path, provenance: Provenance, preset: Preset) -> Path | None:
    """The folder of the engine that guesses for `engine`; None where none does.

    `speculative.draft` names a folder, or a precision: then it is the newest engine of the same model at that
    precision, beside this one, among the home's or in the settings' engine folders. Raises BadInputError, BlockedError.
    """
    table = preset.speculative
    if table.mode != "draft_target" or provenance.toolchain != "openvino":
        return None
    if table.draft is None:
        raise BadInputError(
            "Speculative decoding by draft_target needs an engine that guesses.",
            evidence="speculative.draft is empty",
            fix="Name its folder, or a precision of the same model, in speculative.draft, such as int4.",
            code="no-draft",
        )
    precision = draft_precision(table)
    draft = _by_precision(home, engine, provenance, precision) if precision else _by_path(home, preset)
    if draft.resolve() == engine.resolve():
        raise _own_draft(preset)
    own = _draft_provenance(draft, provenance.toolchain)
    if problem := tokenizer_problem(engine, draft):
        raise BlockedError(
            f"{own.name or draft.name} has another tokenizer than {provenance.name or engine.name}, so its guesses "
            "mean nothing to it.",
            evidence=problem,
            fix=f"Choose a draft of the same model family, {_OFF}.",
            code="bad-draft",
        )
    return draft


def draft_advice(request: BuildRequest) -> Iterator[Advice]:
    """A draft that is named by its folder, looked at before anything is built for it. Where the steps run on another
    machine it may lie there.
    """
    preset = request.preset
    named = preset.speculative.mode == "draft_target" and preset.speculative.draft is not None
    if not named or draft_precision(preset.speculative) or request.place is not None:
        return
    try:
        _draft_provenance(_by_path(request.home, preset), preset.toolchain)
    except WorkbenchError as error:
        yield Advice(
            code=error.failure.code,
            level="block",
            text=error.what,
            arithmetic=error.evidence,
            fix=error.fix,
            overrides=("speculative.mode=none",),
        )


def _draft_provenance(draft: Path, toolchain: str) -> Provenance:
    """Of an engine that can guess for others of the toolchain. Raises BadInputError, BlockedError."""
    try:
        own = read_provenance(draft)
    except BadInputError as error:
        if error.failure.code != "no-provenance":
            raise
        raise BadInputError(
            f"The draft's folder holds no engine: {draft.name}.",
            evidence=f"{draft}: {error.evidence}",
            fix=f"Name an engine of {toolchain}, {_OFF}.",
            code="bad-draft",
        ) from error
    if own.toolchain != toolchain or own.kind != "engine":
        raise BlockedError(
            f"The draft is no engine of the same toolchain: {own.name or draft.name}.",
            evidence=f"{draft}: {own.kind} of {own.toolchain}",
            fix=f"Name an engine of {toolchain}, {_OFF}.",
            code="bad-draft",
        )
    return own


def _by_path(home: Home, preset: Preset) -> Path:
    """As `engines` name them: a path, or the folder's name among the home's engines."""
    named = str(preset.speculative.draft)
    for path in (expanded(preset.draft_path or Path(named)), home.artifacts / "engines" / named):
        if path.is_dir():
            return path
    raise BadInputError(
        "The draft's engine folder is not there.",
        evidence=f"speculative.draft = {named}",
        fix=f"`workbench engines` lists what was built; name one of these, {_OFF}.",
        code="no-draft",
    )


def _by_precision(home: Home, engine: Path, provenance: Provenance, precision: str) -> Path:
    found: list[tuple[float, Path]] = []
    shared = shared_roots(home)
    for folder in {engine.parent, home.artifacts / "engines", *shared, *(root / "engines" for root in shared)}:
        for path, other in _engines(folder):
            same = other.toolchain == provenance.toolchain and other.precision == precision
            if same and _digest(other) and _digest(other) == _digest(provenance):
                found.append((other.created_at, path))
    if not found:
        raise BadInputError(
            f"There is no {precision} engine of the same model to guess for {provenance.name or engine.name}.",
            evidence=f"speculative.draft = {precision}",
            fix=f"Build one with `workbench build` and --precision {precision}, name another folder in "
            f"speculative.draft, {_OFF}.",
            code="no-draft",
        )
    return max(found)[1]


def _digest(provenance: Provenance) -> str:
    return provenance.model.digest if provenance.model is not None else ""


def _engines(folder: Path) -> Iterator[tuple[Path, Provenance]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            provenance = read_provenance(path)
        except WorkbenchError:
            continue
        if provenance.kind == "engine":
            yield path, provenance
