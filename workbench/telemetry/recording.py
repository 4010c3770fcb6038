"""A stretch of readings in a file, to be looked at later, elsewhere, with the same panels.

JSON lines, gzip-compressed when the name ends with `.gz`: a header (schema, version, machine, GPUs, engines), blocks
of columns, events, and a last line that shows that nothing is missing.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench import __version__
from workbench.core.errors import BadInputError
from workbench.core.host import read_host
from workbench.telemetry.clock import Clock
from workbench.telemetry.engine import EngineTrack
from workbench.telemetry.export import csv_rows, write_csv
from workbench.telemetry.host import HostReading
from workbench.telemetry.memory import MemoryPart, MemoryPicture
from workbench.telemetry.nvml import GpuProcess, GpuReading
from workbench.telemetry.series import Rows, Series
from workbench.telemetry.tracks import Event, GpuTrack, Held, Readings

__all__ = ["Recording", "csv_rows", "read", "write", "write_csv"]

SCHEMA = "engine-workbench-telemetry"
VERSION = 1
_BLOCK_ROWS = 600
_MOST_LINE_BYTES = 16 * 2**20
_MOST_LINES = 200_000


class RecordedClock(Clock):
    """Stands still at the end of a recording."""

    def __init__(self, end: float, offsets: list[list[float]]) -> None:
        first = offsets[0][1] if offsets else 0.0
        super().__init__(lambda: end, lambda: end + first)
        self._offsets = tuple((float(at), float(offset)) for at, offset in offsets) or self._offsets

    def changed(self) -> float | None:
        return None


class Recording(Held):
    """What a file holds, with the attributes of `Telemetry` and no threads."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.machine: dict[str, Any] = dict(header["machine"])
        """CPU, memory, operating system of the machine it was recorded on."""
        self.version: str = str(header["workbench"])
        """Of the program that wrote it."""
        started_at, self.ended_at = float(header["start"]), float(header["end"])
        # A thinned recording is of a day at most; all of it is kept as it was written.
        self._span_s = max(self.ended_at - started_at, 0.0) + 3600.0
        super().__init__(RecordedClock(self.ended_at, header["clock"]), started_at, Series(self._span_s))
        self.host_newest = None if header["host"] is None else _host_reading(header["host"])
        self.host_picture = _picture(header["host_picture"])
        self.gpu_problem = str(header["gpu_problem"])
        self._gpus = tuple(
            GpuTrack(
                int(gpu["index"]),
                str(gpu["uuid"]),
                str(gpu["name"]),
                Series(self._span_s),
                None if gpu["newest"] is None else _gpu_reading(gpu["newest"]),
                _picture(gpu["picture"]),
            )
            for gpu in header["gpus"]
        )
        engines = [EngineTrack.from_record(data, Series(self._span_s)) for data in header["engines"]]
        self._engines = tuple(engine for engine in engines if engine.detached_at is None)
        self._past = tuple(engine for engine in engines if engine.detached_at is not None)
        self._named = {"host": self.host}
        self._named |= {f"gpu {i}": track.series for i, track in enumerate(self._gpus)}
        self._named |= {f"engine {i}": engine.series for i, engine in enumerate(engines)}
        self._blocks: dict[str, list[Rows]] = {name: [] for name in self._named}
        self._events: list[Event] = []

    def events(self, start: float = -math.inf, end: float = math.inf) -> tuple[Event, ...]:
        return tuple(event for event in self._events if start <= event.at <= end)

    def close(self) -> None:
        """Nothing to end."""

    def take(self, line: dict[str, Any]) -> None:
        """One line after the header. Raises KeyError, TypeError or ValueError."""
        if "event" in line:
            event = line["event"]
            self._events.append(Event(float(event["at"]), str(event["text"]), str(event["kind"])))
            return
        blocks = self._blocks[line["series"]]
        t, hold = np.array(line["t"], dtype=np.float64), line["hold"]
        holds = hold if isinstance(hold, list) else [hold] * len(t)
        columns = {str(name): v if isinstance(v, list) else [v] * len(t) for name, v in line["columns"].items()}
        if t.ndim != 1 or any(len(column) != len(t) for column in (holds, *columns.values())):
            raise ValueError("columns of unequal length")
        until = t + np.array([math.inf if h is None else float(h) for h in holds])
        blocks.append(Rows(t, {name: _array(column) for name, column in columns.items()}, until))

    def finish(self) -> None:
        """All lines were taken."""
        for name, blocks in self._blocks.items():
            if blocks:
                self._named[name].load(_joined(blocks))
        self._blocks.clear()


def _joined(blocks: list[Rows]) -> Rows:
    names = dict.fromkeys(name for block in blocks for name in block.values)
    values = {
        name: np.concatenate([block.values.get(name, np.full(len(block.t), np.nan)) for block in blocks])
        for name in names
    }
    return Rows(np.concatenate([b.t for b in blocks]), values, np.concatenate([b.until for b in blocks]))


def write(telemetry: Readings, path: Path, start: float = -math.inf, end: float = math.inf) -> Path:
    """Write the readings from `start` to `end`, both monotonic, to a new file.

    Raises BadInputError when there is nothing to write, the file exists, or it cannot be written.
    """
    engines = [
        engine
        for engine in (*telemetry.past_engines, *telemetry.engines)
        if engine.attached_at <= end and (engine.detached_at is None or engine.detached_at >= start)
    ]
    parts: list[tuple[str, Series]] = [("host", telemetry.host)]
    parts += [(f"gpu {i}", track.series) for i, track in enumerate(telemetry.gpus)]
    parts += [(f"engine {i}", engine.series) for i, engine in enumerate(engines)]
    rows = {name: series.rows(start, end) for name, series in parts}
    times = [edge for part in rows.values() if len(part.t) for edge in (float(part.t[0]), float(part.t[-1]))]
    if not times:
        raise BadInputError("There is nothing to record.", fix="Record a stretch in which something was sampled.")
    begin = start if math.isfinite(start) else min(times)
    stop = min(end, max(*times, *(event.at for event in telemetry.events(start, end))))
    host = read_host()
    header = {
        "schema": SCHEMA,
        "version": VERSION,
        "workbench": __version__,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": getattr(telemetry, "machine", None)
        or {"cpu": host.cpu_name, "cores": host.logical_cores, "memory_bytes": host.memory_total_bytes, "os": host.os},
        "start": begin,
        "end": stop,
        "clock": [[at if math.isfinite(at) else begin, offset] for at, offset in telemetry.clock.offsets],
        "gpu_problem": telemetry.gpu_problem,
        "host": None if telemetry.host_newest is None else asdict(telemetry.host_newest),
        "host_picture": None if telemetry.host_picture is None else asdict(telemetry.host_picture),
        "gpus": [
            {
                "index": track.index,
                "uuid": track.uuid,
                "name": track.name,
                "newest": None if track.newest is None else asdict(track.newest),
                "picture": None if track.picture is None else asdict(track.picture),
            }
            for track in telemetry.gpus
        ],
        "engines": [engine.record() for engine in engines],
    }
    events = [{"event": asdict(event)} for event in telemetry.events(start, end)]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    if path.exists():
        raise BadInputError(f"{path} exists already.", fix="Give another name.", code="exists")
    try:
        with _writer(partial, path.name.endswith(".gz")) as file:
            count = 1
            file.write(json.dumps(header) + "\n")
            for line in (*(block for name, part in rows.items() for block in _blocks(name, part)), *events):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
                count += 1
            file.write(json.dumps({"lines": count}) + "\n")
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BadInputError(
            f"{path} cannot be written.",
            evidence=error.strerror or str(error),  # its own words name the file that is only there while it is written
            fix="Give a place that can be written to.",
        ) from None
    return path


def read(path: Path) -> Recording:
    """A recording. Raises BadInputError for a file that is none, is damaged, or of a newer version."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            return _read(path, file)
    except BadInputError:
        raise
    except FileNotFoundError:
        raise BadInputError(f"There is no file {path}.", fix="Give a file that `--record` wrote.") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None


def _read(path: Path, file: io.BufferedIOBase) -> Recording:
    header = json.loads(_line(file))
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise BadInputError(
            f"{path} is no recording of readings.", evidence=f"schema {SCHEMA} was looked for", code="not-a-recording"
        )
    if not isinstance(header.get("version"), int) or header["version"] > VERSION:
        raise BadInputError(
            f"{path} was written by a newer Engine Workbench.",
            evidence=f"version {header.get('version')}; this program reads up to {VERSION}",
            fix="Open it with that program.",
            code="newer",
        )
    recording = Recording(path, header)
    for count in range(1, _MOST_LINES):
        line = json.loads(_line(file))
        if "lines" in line:
            if line["lines"] != count:
                raise _damaged(path, f"{line['lines']} lines were written, {count} are there")
            recording.finish()
            return recording
        recording.take(line)
    raise _damaged(path, f"more than {_MOST_LINES:,} lines")


def _line(file: io.BufferedIOBase) -> bytes:
    line = file.readline(_MOST_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise ValueError("it ends in the middle")
    return line


def _damaged(path: Path, evidence: str) -> BadInputError:
    return BadInputError(
        f"{path} is damaged.", evidence=evidence, fix="Record again, or use another copy.", code="damaged"
    )


def _writer(path: Path, packed: bool) -> io.TextIOBase:
    if packed:
        return gzip.open(path, "wt", encoding="utf-8", compresslevel=6)
    return path.open("w", encoding="utf-8")


def _blocks(name: str, rows: Rows) -> Iterator[dict[str, Any]]:
    for i in range(0, len(rows.t), _BLOCK_ROWS):
        j = i + _BLOCK_ROWS
        hold = [None if math.isinf(h) else round(h, 6) for h in (rows.until[i:j] - rows.t[i:j]).tolist()]
        yield {
            "series": name,
            "t": [round(t, 6) for t in rows.t[i:j].tolist()],
            "hold": _shorter(hold),
            "columns": {
                column: _shorter([_plain(v) for v in values[i:j].tolist()]) for column, values in rows.values.items()
            },
        }


def _shorter(values: list[Any]) -> Any:
    """One value for a column in which all are the same."""
    return values[0] if len(set(values)) == 1 else values


def _plain(value: float) -> float | int | None:
    return None if math.isnan(value) else int(value) if value.is_integer() else value


def _array(values: list[Any]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def _host_reading(data: dict[str, Any]) -> HostReading:
    return HostReading(
        **{
            **data,
            "processes": {int(pid): int(size) for pid, size in data["processes"].items()},
            "families": {int(pid): tuple(pids) for pid, pids in data["families"].items()},
        }
    )


def _gpu_reading(data: dict[str, Any]) -> GpuReading:
    processes = data["processes"]
    return GpuReading(
        **{
            **data,
            "throttle": None if data["throttle"] is None else tuple(data["throttle"]),
            "processes": None if processes is None else tuple(GpuProcess(**process) for process in processes),
            "unreported": tuple(data["unreported"]),
        }
    )


def _picture(data: dict[str, Any] | None) -> MemoryPicture | None:
    if data is None:
        return None
    return MemoryPicture(int(data["total_bytes"]), tuple(MemoryPart(**part) for part in data["parts"]))
