"""Small plans over the scripted worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from workbench.core.home import Home
from workbench.core.plan import Output, Plan, Step, StepInput, StepKind, cache_key, folder_name

ROOT = Path(__file__).resolve().parents[2]
WORKER = ROOT / "tests" / "fakes" / "scripted_worker.py"


def scripted_step(
    home: Home,
    step_id: str,
    actions: list[list[Any]],
    *,
    after: str = "",
    kind: StepKind = "convert",
    folder: bool = True,
    out: Path | None = None,
    record: str = "",
    lanes: tuple[str, ...] = ("cpu",),
    alternates: tuple[str, ...] = (),
    salt: str = "",
) -> Step:
    facts = {"worker": "scripted", "settings": actions, "after": after, "salt": salt}
    key = cache_key(facts)
    path = out or home.artifacts / "checkpoints" / folder_name(step_id, key=key)
    return Step(
        id=step_id,
        kind=kind,
        title=step_id.capitalize(),
        worker="scripted",
        argv=(sys.executable, str(WORKER)),
        env={"PYTHONPATH": str(ROOT)},
        settings={"actions": actions},
        inputs=(StepInput(role="before", step=after),) if after else (),
        output=Output(
            kind="checkpoint",
            path=str(path),
            name=step_id,
            precision="fp16",
            chosen=out is not None,
            alternates=alternates,
        )
        if folder
        else None,
        record=record,
        lanes=lanes,
        key=key,
        key_facts=facts,
    )


def scripted_plan(*steps: Step) -> Plan:
    return Plan(title="scripted", toolchain="openvino", steps=steps)
