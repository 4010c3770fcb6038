"""A home with real things in it for the window's tests: jobs that ended in each way, one that runs, and engines."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.models import make_weightless_folder
from tests.fakes.plans import scripted_step
from workbench.core.home import Home
from workbench.core.plan import Plan, Step, StepEstimate
from workbench.core.units import Range
from workbench.jobs import client
from workbench.jobs.folder import JobFolder, job_ids

LONG = "Llama-3.3-70B-Instruct-abliterated-by-a-person-of-many-words"
CAUSE = "TensorRT asked for 32 GiB in one piece, and the GPU had 8.8 GiB free."


def _plan(home: Home, title: str, salt: str, build: list[list[object]], *, variants: tuple[str, ...] = ()) -> Plan:
    """Check, convert (none), quantize and build; with `variants` the last two for each."""
    seconds = StepEstimate(seconds=Range.seconds(400, 800, formula="a test", source="a test"))
    steps = [
        Step(id="check", kind="check", title="Check"),
        Step(id="convert", kind="convert", title="Convert", none_reason="the model is quantized as it is"),
    ]
    for variant in variants or ("int8",):
        quantize = scripted_step(home, f"quantize-{variant}", [["write", "a.bin", "x"]], kind="quantize", salt=salt)
        built = scripted_step(home, f"build-{variant}", build, after=quantize.id, kind="build", salt=salt)
        changes = {"variant": variant, "estimate": seconds}
        steps += [quantize.model_copy(update=changes), built.model_copy(update=changes)]
    return Plan(title=title, toolchain="openvino", steps=tuple(steps))


def fill(home: Home, make_engine: Callable[[Path, str], Path]) -> Path:
    """Fill a home: jobs done, failed, cancelled, running and waiting, and three engines.

    Jobs run until the file that is returned exists.
    """
    home.make()
    hold = home.root / "go"
    noise: list[list[object]] = [["phase", "Compile the engine", 1, 2], ["progress", 1, 4]]
    noise += [["append", "log.txt", f"line {n} of the build, {'with a long tail ' * (n % 9)}"] for n in range(40)]
    end: list[list[object]] = [["write", "engine.bin", "x"]]
    wait: list[list[object]] = [["wait_for", str(hold)]]
    names = ("int8", "int4", "w4a16-awq-with-fp8-kv-cache")
    # Waited for one by one where they would write the same folder; the last one runs.
    done = client.start(home, _plan(home, "Tiny int8, int4", "1", [*noise, *end], variants=names))
    failed = client.start(home, _plan(home, f"{LONG} int8", "2", [*noise, ["error", CAUSE], *end]))
    for job in (done, failed):
        client.wait(job, 30)
    cancelled = client.start(home, _plan(home, "Tiny int4", "3", [*noise, *wait, *end]))
    _until(lambda: cancelled.state().status == "running")
    client.cancel(cancelled)
    client.wait(cancelled, 30)
    running = client.start(home, _plan(home, "Tiny fp16", "4", [*noise, *wait, *end]))
    waiting = client.start(home, _plan(home, f"{LONG} int4", "5", [*noise, *wait, *end], variants=names[:2]))
    _until(lambda: running.state().status == "running")
    _until(lambda: waiting.state().status in ("running", "queued"))
    engines = home.artifacts / "engines"
    make_weightless_folder(home.root / "models" / LONG)
    for name in ("Tiny int8", "Tiny fp16", f"{LONG} int4"):
        make_engine(engines, name)
    return hold


def empty_out(home: Home, hold: Path) -> None:
    """End what runs."""
    hold.touch()
    end_jobs(home)


def end_jobs(home: Home) -> None:
    """Cancel the jobs of a home, and wait until they are over."""
    for job_id in job_ids(home.jobs):
        folder = JobFolder(home.jobs / job_id)
        client.cancel(folder)
        client.wait(folder, 20)


def _until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)
