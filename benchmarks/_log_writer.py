"""A worker that does nothing but print: `lines_per_s` numbered lines for `seconds`, the way real tools do, on stderr,
which is the job's log file itself.
"""

from __future__ import annotations

import os
import time
from typing import Any

from workbench.core.messages import StepSpec
from workbench.workers.protocol import Channel, run_worker

PAUSE_S = 0.01


def line(number: int) -> bytes:
    """Line `number` (from 0): about 85 bytes, now and then a warning, a harmless one or an error."""
    if number % 1000 == 999:
        return b"[11/21/2026-10:00:00] [TRT-LLM] [W] layer %d keeps its input scale of %09d\n" % (number % 80, number)
    if number % 5000 == 2500:
        return b"/env/lib/torch/jit/_trace.py:%d: TracerWarning: torch.tensor results are registered\n" % number
    if number % 50000 == 777:
        return b"Error: tactic %09d was skipped for want of workspace memory, another one is tried\n" % number
    return b"[11/21/2026-10:00:00] [TRT] [V] tactic %09d of layer attention/qkv takes 0.0231 ms\n" % number


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    rate, seconds = int(spec.settings["lines_per_s"]), float(spec.settings["seconds"])
    total, sent, most_behind = round(rate * seconds), 0, 0
    begin = time.monotonic()
    while sent < total:
        due = min(total, int((time.monotonic() - begin) * rate) + 1)
        most_behind = max(most_behind, due - sent)
        os.write(2, b"".join(line(number) for number in range(sent, due)))
        sent = due
        time.sleep(PAUSE_S)
    return {"lines": sent, "seconds": time.monotonic() - begin, "most_behind_lines": most_behind}


if __name__ == "__main__":
    run_worker("log-writer", work)
