"""Benchmark runs made by hand for the page's tests and pictures, written as a measurement leaves them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from workbench.bench.progress import Progress
from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.core.measure.load import Limits, Load
from workbench.core.measure.record import (
    ClientHealth,
    Environment,
    PointRecord,
    RequestEnd,
    RequestRecord,
    RunHead,
    RunRecord,
    Sample,
    Subject,
)
from workbench.core.measure.run_file import write_run
from workbench.core.measure.workload import WORKLOADS, Workload
from workbench.core.metrics import Chunk
from workbench.measure.events import PointBegan
from workbench.ui.models.bench_view import Live
from workbench.ui.pages.benchmark.charts import TABS
from workbench.ui.pages.benchmark.chosen import of_subject
from workbench.ui.pages.benchmark.page import BenchmarkPage
from workbench.ui.window import Window

LEVELS = (1.0, 2.0, 4.0, 8.0)
TOKENS = 32
PLACE = Environment(
    workbench="0.4.0",
    os="Linux 6.1",
    python="3.11.7",
    cpu="a processor",
    cores=2,
    memory_bytes=24 << 30,
    versions={"openvino": "2026.2.0", "openvino-genai": "2026.2.0"},
)
GPU_PLACE = PLACE.model_copy(
    update={
        "gpus": ("NVIDIA TEST",),
        "gpu_memory_bytes": (80 << 30,),
        "driver": "580.1",
        "sm_mhz": 1500.0,
        "clocks_locked": False,
        "power_limit_w": 500.0,
        "other_gpu_bytes": 1 << 29,
    }
)


def subject(number: int, precision: str, folder: Path = Path("/home/engines")) -> Subject:
    """`s1` and so on."""
    return Subject(
        id=f"s{number}",
        name=f"{precision.upper()} OpenVINO",
        toolchain="openvino",
        toolchain_title="OpenVINO GenAI",
        precision=precision,
        path=str(folder / f"smollm2-{precision}"),
        key=f"{number}" * 64,
        model="SmolLM2-135M-Instruct",
        model_digest="d" * 64,
        tokenizer="t" * 64,
        settings={"device": "CPU", "kv_cache_precision": "u8", "scheduler": "in-flight batching"},
        environment=PLACE,
        kv_tokens=46_592,
    )


def point(
    subject_id: str,
    level: float,
    repeat: int,
    *,
    itl_ms: float,
    ttft_ms: float,
    rounds: int = 4,
    failed: int = 0,
    jitter: float = 0.0,
    order: int = 0,
    health: ClientHealth | None = None,
) -> PointRecord:
    """`level` lanes of `rounds` requests each, one after the other, of 32 tokens; the last `failed` of them fail."""
    rng = random.Random(f"{subject_id} {level} {repeat}")
    made: list[RequestRecord] = []
    for lane in range(int(level)):
        begin = 0.0
        for number in range(rounds):
            off = 1 + jitter * rng.uniform(-1, 1)
            times = [begin + (ttft_ms + itl_ms * token) * off / 1000 for token in range(TOKENS)]
            number_of = lane * rounds + number
            made.append(_request(number_of, begin, times))
            begin = times[-1]
    for one in made[len(made) - failed :]:
        one.end, one.error, one.chunks = "error", "The server answered 503", ()
    ends = max(one.ended_s for one in made)
    samples = tuple(Sample(t_s=ends * share, kv_share=min(1.0, 0.1 * level)) for share in (0.2, 0.5, 0.8))
    return PointRecord(
        subject_id, level, repeat, 1.79e9, ends, "complete", tuple(made), samples,
        health or ClientHealth(cpu_share=0.1), order=order, measured_from_s=0.0,
    )  # fmt: skip


def _request(number: int, begin: float, times: Sequence[float], end: RequestEnd = "length") -> RequestRecord:
    return RequestRecord(
        number=number,
        due_s=begin,
        sent_s=begin,
        chunks=tuple(Chunk(t, 1) for t in times),
        end=end,
        ended_s=times[-1],
        prompt=number,
        input_tokens=64,
        wanted_tokens=TOKENS,
        count_source="engine ids",
    )


def run_of(
    subjects: Sequence[Subject],
    *,
    levels: Sequence[float] = LEVELS,
    repeats: int = 3,
    slower: float = 1.0,
    run_id: str = "20261121-193012-3fa9c1",
    status: str = "complete",
    limits: Limits | None = None,
    workload: Workload = WORKLOADS["demo"],
    jitter: float = 0.02,
    rounds: int = 4,
) -> RunRecord:
    """Each subject is 1.5 times as fast as the one before; more users make each of them slower."""
    load = Load(
        levels=tuple(levels), duration_s=10, warmup_s=2, repeats=repeats, limits=limits or Limits(), stop_saturated=True
    )
    points = []
    for place, one in enumerate(subjects):
        for level in levels:
            for repeat in range(repeats):
                factor = slower * (1 + 0.02 * (repeat - 1)) * (1 + 0.25 * math.log2(level)) / 1.5**place
                points.append(
                    point(
                        one.id, level, repeat, itl_ms=10 * factor, ttft_ms=40 * factor, order=len(points),
                        jitter=jitter, rounds=rounds,
                    )
                )  # fmt: skip
    head = RunHead(
        id=run_id,
        title=", ".join(one.name for one in subjects),
        created_at=1.79e9,
        finished_at=1.79e9 + 312,
        status=status,  # type: ignore[arg-type]
        workload=workload,
        load=load,
        subjects=tuple(subjects),
        prompts_sha256="ab" * 32,
        environment=PLACE,
    )
    return RunRecord(head, tuple(points))


def keep(home: Home, run: RunRecord) -> Path:
    """Write a run as a measurement leaves it; its folder."""
    folder = home.runs / run.head.id
    write_run(folder, run)
    return folder


def benchmark_faces(window: Window, settle: Callable[[Window], None]) -> Iterator[str]:
    """The form with all that it can ask for, a run while it goes on, and its result in all its views."""
    page = window.page("benchmark")
    assert isinstance(page, BenchmarkPage)

    def shown(words: str) -> str:
        settle(window)
        return f"benchmark, {words}"

    home = window.session.home
    run = run_of([subject(n, name) for n, name in enumerate(("fp16", "int8", "int4"), 1)], limits=Limits(ttft_ms=90))
    folder, other = home.runs / run.head.id, home.runs / "20261120-090000-000000"
    if not folder.exists():
        keep(home, run)
        keep(home, run_of(run.head.subjects, slower=1.3, run_id=other.name, limits=Limits(ttft_ms=90)))
    page.new()
    page.setup.engines.take(of_subject(one) for one in run.head.subjects)
    page.setup.form.more.set_open(True)
    for kind in ("chat", "file", "trace"):
        page.setup.form.kind.choose(kind)
        page.setup.form.kind.changed.emit(kind)
        yield shown(f"the form for {kind}")
    page.setup.form.levels.set_text("none")
    page.setup.look()
    yield shown("a field that is wrong")
    page.setup.form.restore({"kind": "chat", "levels": "1,2"})
    page.setup.look()
    page.open_run(folder)
    # Bootstrap intervals take their time on a loaded machine, and the page shows the run when they are there.
    end = time.monotonic() + 60
    while page.stack.currentWidget() is not page.result:
        assert time.monotonic() < end, page.failure_box.isVisible()
        settle(window)
    for drawer in (True, False):
        page.result.show_drawer(drawer)
        for tab, _ in TABS:
            page.result.show_tab(tab)
            yield shown(f"{tab}, drawer {drawer}")
    page.result.show_pane("ab")
    yield shown("A/B")
    page.keeping.baseline = other
    page.result.show_pane("baseline")
    yield shown("against a baseline")
    page.result.show_pane("numbers")
    began = PointBegan("s2", 4.0, 1, 14, 36)
    now = Progress(4.0, 1, "measuring", 7, 4.0, 0.4, 90, 82, 3, 8, 4000, 812.4, 41.2, 66.1, 11.23, 14.9)
    page.result.set_running(True)
    page.result.show_live(
        Live("measuring", "INT8 OpenVINO", 0.4, began, now, failed=("INT4 OpenVINO: it is gone",)), page.model.view
    )
    yield shown("while it runs")
    page.result.set_running(False)
    page._show_failure("INT4 OpenVINO was not measured", Failure(code="x", what="There is no room.", fix="Make some."))
    yield shown("a failure")
    page.failure_box.hide()
