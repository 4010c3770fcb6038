"""Readings as CSV, for other programs."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.core.errors import BadInputError
from workbench.telemetry.series import Rows
from workbench.telemetry.tracks import Readings


def csv_rows(telemetry: Readings, start: float, end: float) -> Iterator[list[str]]:
    """A table for other programs: headings with units, then a row for each moment at which anything was read.

    A cell holds the reading in force at that moment, and is empty where none is.
    """
    tables: list[tuple[str, Rows]] = [("host", telemetry.host.rows(start, end))]
    tables += [(f"gpu{track.index}", track.series.rows(start, end)) for track in telemetry.gpus]
    tables += [
        (engine.name, engine.series.rows(start, end)) for engine in (*telemetry.past_engines, *telemetry.engines)
    ]
    tables = [(name, rows) for name, rows in tables if len(rows.t)]
    yield ["time", "monotonic_s", *(f"{name} {_unit(column)}" for name, rows in tables for column in rows.values)]
    times = np.unique(np.concatenate([rows.t for _, rows in tables])) if tables else np.empty(0)
    columns: list[NDArray[np.float64]] = []
    for _, rows in tables:
        before = np.searchsorted(rows.t, times, side="right") - 1
        stands = (before >= 0) & (times <= rows.until[before])
        columns += [np.where(stands, values[before], np.nan) for values in rows.values.values()]
    for i, at in enumerate(times):
        wall = telemetry.clock.wall(float(at))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall % 1 * 1000):03d}Z"
        yield [stamp, f"{at:.3f}", *(_cell(float(column[i])) for column in columns)]


def write_csv(telemetry: Readings, path: Path, start: float, end: float) -> None:
    """`csv_rows` into a file. Raises BadInputError when it cannot be written."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(csv_rows(telemetry, start, end))
    except OSError as error:
        raise BadInputError(f"{path} cannot be written.", evidence=str(error)) from None


_UNITS = {"batch": "batch_requests", "throttled": "throttled_0_or_1"}


def _unit(column: str) -> str:
    if column.startswith("part."):
        return f"memory_{column.removeprefix('part.')}_bytes"
    return _UNITS.get(column, column)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else str(int(value)) if value.is_integer() else f"{value:.6g}"
