"""Runs many ModelOpt steps in one process, since importing torch and ModelOpt takes longer than a tiny model's step.

`python -m tests.workers.modelopt.driver CASES RESULTS`: CASES is a JSON list of step specs with `worker`
"modelopt.convert" or "modelopt.quantize", or of {"make": keyword arguments of modelopt_models.make_model}; RESULTS gets
a list of {"messages", "result" or "error"}. The workers' own `work` runs, with a real channel; only the process around
it is shared.
"""

from __future__ import annotations

import io
import json
import sys
import traceback
from pathlib import Path
from typing import Any


def run(case: dict[str, Any]) -> dict[str, Any]:
    from tests.workers.modelopt.models import make_model
    from workbench.core.messages import StepSpec
    from workbench.workers.modelopt import convert as modelopt_convert
    from workbench.workers.modelopt import quantize as modelopt_quantize
    from workbench.workers.protocol import Channel, WorkerError

    if "make" in case:
        given = dict(case["make"])
        make_model(Path(given.pop("folder")), given.pop("family"), **given)
        return {"result": {}, "messages": []}
    works = {"modelopt.convert": modelopt_convert.work, "modelopt.quantize": modelopt_quantize.work}
    out = io.BytesIO()
    found: dict[str, Any] = {}
    Path(case["output"]).mkdir(parents=True)
    try:
        channel = Channel(out, iter(()))  # type: ignore[arg-type]
        found["result"] = works[case["worker"]](StepSpec.model_validate(case), channel)
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
