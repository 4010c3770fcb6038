"""A job's plan made again with other values: the same preset, model, precisions and folder, checked anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.host import HostSpec
from workbench.core.plan import Plan
from workbench.core.preset import apply_overrides, preset_from_data
from workbench.toolchains.drafts import open_draft
from workbench.toolchains.planner import Digests


def plan_again(
    plan: Plan,
    overrides: Sequence[str],
    *,
    home: Home,
    host: HostSpec,
    digests: Digests,
    environ: Mapping[str, str] = os.environ,
    paths_with_key: Callable[[str], tuple[str, ...]] = lambda key: (),
) -> Plan:
    """Steps that the change does not touch are reused, since their keys stay the same.

    Raises BadInputError, BlockedError.
    """
    if plan.model is None or not plan.preset:
        raise BadInputError(
            "This job was not made from a preset, so none of its values can be changed.", code="no-preset"
        )
    preset = apply_overrides(preset_from_data(plan.preset, name=plan.title, preset_id=plan.preset_id), overrides)
    draft = open_draft(
        preset,
        Path(plan.model.path),
        home=home,
        host=host,
        environ=environ,
        paths_with_key=paths_with_key,
        target=plan.target,
    )
    changed = {item.partition("=")[0].strip() for item in overrides}
    variants = tuple(dict.fromkeys(step.variant for step in plan.steps if step.variant))
    precisions = () if "precision.weights" in changed else variants
    last = plan.steps[-1].kind
    return draft.plan(
        precisions,
        draft.digest(digests),
        until="" if last in ("verify", "fetch") else last,
        out=_out(plan, several=len(variants) > 1),
        anyway=plan.anyway,
    )


def _out(plan: Plan, *, several: bool) -> Path | None:
    """The folder that the person named: with several precisions there is one below it for each."""
    chosen = [Path(step.output.path) for step in plan.steps if step.output is not None and step.output.chosen]
    if not chosen:
        return None
    return chosen[-1].parent if several else chosen[-1]
