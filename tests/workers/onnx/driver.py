"""Runs many steps of the ONNX workers in one process, since importing torch takes longer than a tiny model's step.

`python -m tests.workers.onnx.driver CASES RESULTS`: CASES is a JSON list of step specs, whose `worker` is one of the
workbench or a module of the tests; RESULTS gets a list of {"messages", "result" or "error"}. The workers' own `work`
runs, with a real channel; only the process around it is shared.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import traceback
from pathlib import Path
from typing import Any


def run(case: dict[str, Any]) -> dict[str, Any]:
    from workbench.core.messages import StepSpec
    from workbench.workers.protocol import Channel, WorkerError

    out = io.BytesIO()
    found: dict[str, Any] = {}
    try:
        if case.get("output"):
            Path(case["output"]).mkdir(parents=True)
        name = str(case["worker"])
        worker = importlib.import_module(name if name.startswith("tests.") else f"workbench.workers.{name}")
        found["result"] = worker.work(StepSpec.model_validate(case), Channel(out, iter(())))  # type: ignore[arg-type]
        json.dumps(found["result"])
    except WorkerError as error:
        found["error"] = {"code": error.code, "message": error.message, "cause": error.cause, "hint": error.hint}
    except Exception:
        found["error"] = {"code": "crashed", "message": traceback.format_exc(), "cause": "", "hint": ""}
    found["messages"] = [json.loads(line) for line in out.getvalue().splitlines()]
    return found


def main(cases: str, results: str) -> None:
    specs = json.loads(Path(cases).read_text(encoding="utf-8"))
    Path(results).write_text(json.dumps([run(spec) for spec in specs]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
