"""What `workbench monitor` shows: GPUs and host for a terminal, in one line, and as plain data."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.core.units import format_bytes, format_duration
from workbench.telemetry.hub import GpuTrack, Readings, Snapshot
from workbench.telemetry.memory import MemoryPicture
from workbench.telemetry.nvml import GpuReading
from workbench.telemetry.series import Series

_SPARK_S = 120.0
_SPARK_CELLS = 40
_SPARKS = "▁▂▃▄▅▆▇█"
_BAR_CELLS = 48
_PROCESSES = 6
_OF_ENGINES = ("weights", "activations", "kv_used", "kv_free", "unsplit")
_COLOURS = {
    "own": "cyan",
    "weights": "blue",
    "activations": "magenta",
    "kv_used": "green",
    "kv_free": "dark_green",
    "unsplit": "yellow",
    "other": "bright_black",
    "cache": "grey37",
    "free": "grey19",
}


def line(snapshot: Snapshot) -> str:
    """One reading in one line."""
    parts = [time.strftime("%H:%M:%S", time.localtime(snapshot.wall))]
    for reading in snapshot.gpus:
        throttled = f", held down: {', '.join(reading.throttle)}" if reading.throttle else ""
        parts.append(
            f"{_gpu_name(reading)} {_amount(reading.utilisation_percent, '%')}, "
            f"{_of(reading.used_bytes, reading.total_bytes)}, {_amount(reading.power_w, 'W')}, "
            f"{_amount(reading.temperature_c, '°C')}, {_amount(reading.sm_mhz, 'MHz')}{throttled}"
        )
    if snapshot.gpu_problem:
        parts.append(snapshot.gpu_problem)
    if snapshot.host is not None:
        host = snapshot.host
        parts.append(f"host {_of(host.used_bytes, host.total_bytes)}, CPU {_amount(host.cpu_percent, '%')}")
    return " | ".join(parts)


def view(telemetry: Readings, snapshot: Snapshot, *, live: bool = True) -> RenderableType:
    """Everything, for a terminal; `live`: it goes on until Ctrl+C."""
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(snapshot.wall))
    ran = format_duration(max(snapshot.at - telemetry.started_at, 0.0))
    ends = "   Ctrl+C ends" if live else ""
    blocks: list[RenderableType] = [Text(f"{clock}   sampled for {ran}{ends}", style="dim")]
    for track in telemetry.gpus:
        blocks += [Text(), _gpu(track, snapshot.at)]
    if snapshot.gpu_problem:
        blocks += [Text(), Text(snapshot.gpu_problem, style="yellow")]
    blocks += [Text(), _host(telemetry, snapshot)]
    return Group(*blocks)


def _gpu(track: GpuTrack, now: float) -> RenderableType:
    reading = track.newest
    if reading is None:
        return Text(f"GPU {track.index}  {track.name}: does not answer", style="red")
    table = _table()
    driver = f"   driver {reading.driver}" if reading.driver else ""
    _memory_rows(table, track.picture, reading.used_bytes, reading.total_bytes, reading.reserved_bytes)
    series = track.series
    table.add_row("load", _figure(reading.utilisation_percent, "%", series, "utilisation_percent", 100.0, now))
    limit = f" of {reading.power_limit_w:.0f} W" if reading.power_limit_w else ""
    table.add_row("power", _figure(reading.power_w, f"W{limit}", series, "power_w", reading.power_limit_w, now))
    table.add_row("temperature", _figure(reading.temperature_c, "°C", series, "temperature_c", 100.0, now))
    table.add_row("clocks", f"SM {_amount(reading.sm_mhz, 'MHz')}, memory {_amount(reading.memory_mhz, 'MHz')}")
    table.add_row("held down by", _throttle(reading))
    table.add_row("PCIe", f"in {_rate(reading.pcie_rx_bytes_s)}, out {_rate(reading.pcie_tx_bytes_s)}")
    if reading.nvlink_rx_bytes_s is not None or reading.nvlink_tx_bytes_s is not None:
        table.add_row("NVLink", f"in {_rate(reading.nvlink_rx_bytes_s)}, out {_rate(reading.nvlink_tx_bytes_s)}")
    table.add_row("processes", _processes(reading))
    return Group(Text(f"{_gpu_name(reading)}  {reading.name}{driver}", style="bold"), table)


def _host(telemetry: Readings, snapshot: Snapshot) -> RenderableType:
    host = snapshot.host
    if host is None:
        return Text(telemetry.host_problem or "The host was not read yet.", style="yellow")
    table = _table()
    _memory_rows(table, snapshot.host_picture, host.used_bytes, host.total_bytes, None)
    table.add_row("CPU", _figure(host.cpu_percent, "%", telemetry.host, "cpu_percent", 100.0, snapshot.at))
    table.add_row("swap", _size(host.swap_used_bytes))
    return Group(Text("host", style="bold"), table)


def _table() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=12)
    table.add_column()
    return table


def _memory_rows(
    table: Table, picture: MemoryPicture | None, used: int | None, total: int | None, reserved: int | None
) -> None:
    words = _of(used, total)
    if reserved:
        words += f", and {format_bytes(reserved)} of the driver"
    table.add_row("memory", Text.assemble(_bar(picture), " ", words) if picture is not None else words)
    if picture is not None:
        shown = [part for part in picture.parts if part.bytes]
        pieces = [
            piece
            for part in shown
            for piece in (("■ ", _COLOURS[part.name]), f"{part.label} {format_bytes(part.bytes)}  ")
        ]
        table.add_row("", Text.assemble(*pieces))


def _bar(picture: MemoryPicture) -> Text:
    """Cells in proportion; a part that is there has at least a sliver where cells are left."""
    text, done, total = Text(), 0, max(picture.total_bytes, 1)
    sum_bytes = 0
    for part in picture.parts:
        sum_bytes += part.bytes
        cells = round(_BAR_CELLS * sum_bytes / total) - done
        text.append("█" * cells, style=_COLOURS[part.name])
        done += cells
    return text


def _figure(value: float | None, unit: str, series: Series, name: str, top: float | None, now: float) -> Text:
    if value is None:
        return Text("not reported", style="dim")
    return Text.assemble(f"{f'{value:.0f} {unit}':<16} ", (spark(series, name, top, now), "green"))


def spark(series: Series, name: str, top: float | None, now: float) -> str:
    """The last two minutes in blocks, from 0 to `top` (None: to the highest there); a gap is a space."""
    high = series.view(name, now - _SPARK_S, now, _SPARK_CELLS).high.tolist()
    known = [value for value in high if not math.isnan(value)]
    scale = top or max(known, default=0.0) or 1.0
    cells = (
        " " if math.isnan(value) else _SPARKS[min(max(int(value / scale * len(_SPARKS)), 0), len(_SPARKS) - 1)]
        for value in high
    )
    return "".join(cells)


def _gpu_name(reading: GpuReading) -> str:
    return f"GPU {reading.index}" + (f" ({reading.mig})" if reading.mig else "")


def _throttle(reading: GpuReading) -> Text:
    if reading.throttle is None:
        return Text("not reported", style="dim")
    return Text(", ".join(reading.throttle), style="yellow") if reading.throttle else Text("nothing")


def _processes(reading: GpuReading) -> Text:
    if reading.processes is None:
        return Text("not reported", style="dim")
    found = sorted(reading.processes, key=lambda p: -(p.used_bytes or 0))
    words = [
        f"{p.name or 'process'} ({p.pid}){f' of {p.user}' if p.user else ''} {_size(p.used_bytes)}"
        for p in found[:_PROCESSES]
    ]
    if len(found) > _PROCESSES:
        words.append(f"{len(found) - _PROCESSES} more")
    return Text("\n".join(words) or "none")


def _amount(value: float | None, unit: str) -> str:
    return f"{unit} not reported" if value is None else f"{value:.0f} {unit}"


def _size(value: int | None) -> str:
    return "not reported" if value is None else format_bytes(value)


def _rate(value: float | None) -> str:
    return "not reported" if value is None else f"{format_bytes(value)}/s"


def _of(used: int | None, total: int | None) -> str:
    if total is None:
        return "memory not reported"
    return f"{_size(used)} of {format_bytes(total)}"


def plain(snapshot: Snapshot) -> dict[str, Any]:
    """For --json: the readings, and the memory parts by name; an engine's are None where no engine is known."""
    known = bool(snapshot.engines)
    gpus = [
        {**asdict(reading), "memory_parts": _parts(picture, known)}
        for reading, picture in zip(snapshot.gpus, snapshot.gpu_pictures, strict=True)
    ]
    host = None
    if snapshot.host is not None:
        host = asdict(snapshot.host)
        del host["processes"], host["families"]
        host["memory_parts"] = _parts(snapshot.host_picture, known)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(snapshot.wall)) + f".{int(snapshot.wall % 1 * 1000):03d}Z"
    return {"time": moment, "gpus": gpus, "gpu_problem": snapshot.gpu_problem, "host": host}


def _parts(picture: MemoryPicture | None, engine_known: bool) -> dict[str, int | None] | None:
    if picture is None:
        return None
    return {part.name: part.bytes if engine_known or part.name not in _OF_ENGINES else None for part in picture.parts}
