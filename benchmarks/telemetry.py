"""What the monitor's readings cost: a view of an hour at 10 Hz, taking a reading, the threads while nothing runs."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import finish, table  # noqa: E402

from workbench.core.messages import Ready, Stats  # noqa: E402
from workbench.telemetry.hub import Telemetry  # noqa: E402
from workbench.telemetry.series import Series  # noqa: E402

COLUMNS = 20
"""About what a GPU's series has."""
VIEW_BAR_US = 300.0
ADD_BAR_US = 200.0
"""Three series at 10 Hz would be 0.6 % of a core."""
IDLE_BAR_PERCENT = 0.5
HOUR_S, HZ = 3600.0, 10.0


def filled(hours: float) -> tuple[Series, float]:
    """A series of so many hours at 10 Hz, and the microseconds a reading took."""
    series = Series()
    values: dict[str, float | None] = {f"column{i}": float(i) for i in range(COLUMNS)}
    count = round(hours * HOUR_S * HZ)
    begin = time.process_time()
    for i in range(count):
        values["column1"] = math.sin(i / 100)
        series.add(i / HZ, values, 1 / HZ)
    return series, (time.process_time() - begin) / count * 1e6


def median_us(action: Callable[[int], object], times: int = 400) -> float:
    took = []
    for i in range(times):
        begin = time.perf_counter()
        action(i)
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1e6


def core_percent(seconds: float, rate_hz: float | None) -> tuple[float, int]:
    """Processor time of the hub's threads in percent of a core, and how many readings of the host were taken.

    All other threads sleep meanwhile.
    """
    telemetry = Telemetry()
    telemetry.set_rate(rate_hz)
    telemetry.attach_engine("idle", "idle", "openvino", None, Ready(kv_blocks_total=64))
    telemetry.start()
    try:
        time.sleep(1.5)  # imports and the first look for a driver
        wall, cpu, at = time.perf_counter(), time.process_time(), telemetry.clock.now()
        time.sleep(seconds)
        percent = 100 * (time.process_time() - cpu) / (time.perf_counter() - wall)
        return percent, len(telemetry.host.rows(at, math.inf).t)
    finally:
        telemetry.close()


def take_us() -> float:
    """An engine's `stats`, taken."""
    telemetry = Telemetry()
    track = telemetry.attach_engine("e", "e", "openvino", None, Ready(kv_blocks_total=64))
    begin = telemetry.clock.now()

    def take(i: int) -> None:
        stats = Stats(
            kv_blocks_used=i % 64, requests_active=4, generated_tokens=i * 9, context_tokens=i, iteration_ms=9.0
        )
        track.take(stats, begin + (i + 1) * 0.1)

    return median_us(take, 2000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the idle threads are watched")
    given = parser.parse_args()
    series, add_us = filled(1.0)
    views = {
        span: median_us(lambda i, span=span: series.view("column1", HOUR_S - span + i * 0.05, HOUR_S + i * 0.05))
        for span in (60.0, 300.0, 900.0, 3600.0)
    }
    idle, idle_readings = core_percent(given.seconds, None)
    busy, busy_readings = core_percent(given.seconds / 2, HZ)
    day, day_add_us = filled(3.0)
    day_view_us = median_us(lambda i: day.view("column1", i * 0.05, 3 * HOUR_S + i * 0.05))
    worst_view = max(*views.values(), day_view_us)
    stats_us = take_us()
    rows: list[tuple[object, ...]] = [
        *(
            (f"view of {span / 60:.0f} min of an hour at 10 Hz", f"{us:.0f} us", f"{VIEW_BAR_US:.0f} us")
            for span, us in views.items()
        ),
        ("view of three hours, two of them thinned", f"{day_view_us:.0f} us", f"{VIEW_BAR_US:.0f} us"),
        (f"a reading of {COLUMNS} quantities", f"{max(add_us, day_add_us):.0f} us", f"{ADD_BAR_US:.0f} us"),
        ("an engine's stats", f"{stats_us:.0f} us", ""),
        (f"idle, 1 Hz, {idle_readings} readings", f"{idle:.2f} % of a core", f"{IDLE_BAR_PERCENT} %"),
        (f"sampling at 10 Hz, {busy_readings} readings", f"{busy:.2f} % of a core", ""),
    ]
    print(table(("what", "measured", "bar"), rows))
    shares = {
        "view": worst_view / VIEW_BAR_US,
        "add": max(add_us, day_add_us) / ADD_BAR_US,
        "idle": idle / IDLE_BAR_PERCENT,
    }
    detail = {
        "worst": max(shares, key=lambda name: shares[name]),
        "view_us": {f"{span:.0f} s": round(us, 1) for span, us in views.items()},
        "thinned_view_us": round(day_view_us, 1),
        "add_us": round(max(add_us, day_add_us), 1),
        "stats_us": round(stats_us, 1),
        "idle_core_percent": round(idle, 3),
        "busy_core_percent": round(busy, 3),
        "columns": COLUMNS,
    }
    # The ratio is the worst of the figures as a share of its bar.
    finish("telemetry", max(shares.values()), 1.0, detail, at_most=True)


if __name__ == "__main__":
    main()
