"""An engine under waves of load with the samplers on: makes a recording, then checks from its file that memory,
utilisation, power and KV blocks move together and that the parts of the memory add up.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish, table  # noqa: E402
from _gpu_load import SIZES, Wave, describe, make_random_llama, run_wave  # noqa: E402

from workbench.core.messages import StepSpec  # noqa: E402
from workbench.jobs.engine import EngineClient, HostCommand  # noqa: E402
from workbench.telemetry import recording  # noqa: E402
from workbench.telemetry.hub import Telemetry  # noqa: E402

BAR = 0.8
"""KV blocks used and power, each against the requests at work: the smaller of the two correlations."""
GRID_S = 1.0
STATS_S = 0.1
NVML_LAG_S = 1.0
"""A board's power is its mean over about the last second."""


def main() -> None:
    asked = _arguments()
    asked.out.unlink(missing_ok=True)
    folder = asked.model
    parameters: int | None = None
    if asked.random is not None:
        begin = time.monotonic()
        parameters = make_random_llama(folder, asked.tokenizer, asked.random, asked.device)
        print(f"made a random Llama of {parameters:,} parameters in {time.monotonic() - begin:.0f} s", flush=True)
    settings = {"device": asked.device, "max_batch_size": asked.batch, "logprobs": False}
    settings |= {} if asked.kv_bytes is None else {"kv_cache_bytes": asked.kv_bytes}
    settings |= json.loads(asked.settings)
    telemetry = Telemetry()
    telemetry.start()
    try:
        telemetry.set_rate(asked.hz)
        time.sleep(asked.idle_s / 2)
        waves, ready, generated = _load(telemetry, folder, settings, asked)
        telemetry.mark("engine gone", "engine")
        time.sleep(asked.idle_s / 2)
    finally:
        telemetry.close()
    recording.write(telemetry, asked.out)
    found = check(asked.out, waves)
    found["engine"] = {"model": folder.name, "parameters": parameters, "settings": settings, **ready}
    found["versions"] = describe(asked.device)
    found["counted_by_engine"] = generated
    _print(found)
    finish("gpu-recording", found["least_correlation"] or 0.0, BAR, found)


def _load(
    telemetry: Telemetry, folder: Path, settings: dict[str, Any], asked: argparse.Namespace
) -> tuple[list[Wave], dict[str, Any], int | None]:
    """The engine's life: loaded, waves, gone."""
    spec = StepSpec(worker="pytorch.host", inputs={"engine": str(folder)}, settings=settings)
    command = HostCommand(
        argv=(sys.executable, "-m", "workbench.workers.pytorch.host"), cwd=str(ROOT), spec=spec, env=_environment()
    )
    chance = random.Random(5)
    telemetry.mark("engine loading", "engine")
    with tempfile.TemporaryDirectory() as scratch:
        log = (asked.log or Path(scratch) / "host.log").resolve()
        with EngineClient.start(command, log, timeout_s=asked.timeout_s) as client:
            pid = client.hello.pid if client.hello is not None else None
            track = telemetry.attach_engine("engine", folder.name, "PyTorch", pid, client.ready)
            client.on_stats = lambda stats: track.take(stats, telemetry.clock.now())
            client.set_stats_interval(STATS_S)
            telemetry.mark("engine ready", "engine")
            print(f"loaded in {client.ready.load_seconds or 0:.0f} s; {client.ready.limits}", flush=True)
            waves = []
            for requests in asked.waves:
                time.sleep(asked.idle_s)
                telemetry.mark(f"{requests} requests", "load")
                wave = run_wave(
                    client, requests, tuple(asked.prompt), tuple(asked.answer),
                    min(asked.spread_s, requests / 8), chance, telemetry.clock.now, asked.timeout_s,
                )  # fmt: skip
                telemetry.mark(f"{requests} requests done", "load")
                seconds = wave.end - wave.start
                print(f"{requests:4d} requests: {seconds:6.1f} s, {wave.output_tok_s:8.1f} tok/s", flush=True)
                waves.append(wave)
            time.sleep(asked.idle_s)
            generated = client.stats.generated_tokens if client.stats is not None else None
            ready = client.ready.model_dump(exclude={"t", "type"}, exclude_none=True)
    telemetry.detach_engine("engine")
    return waves, ready, generated


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


# What the file says


def check(path: Path, waves: list[Wave]) -> dict[str, Any]:
    """Facts of a recording; None for what nothing was reported of."""
    told = recording.read(path)
    engine = (*told.past_engines, *told.engines)[-1]
    gpu = told.gpus[0] if told.gpus else None
    end = engine.detached_at or told.ended_at
    grid = np.arange(engine.attached_at + GRID_S, end - GRID_S, GRID_S)

    def column(series: Any, name: str, lag_s: float = 0.0) -> Any:
        values = [[series.at(name, t + lag_s + part) for part in (0.0, GRID_S / 2)] for t in grid]
        return np.array([[np.nan if v is None else v for v in pair] for pair in values]).mean(axis=1)

    active = column(engine.series, "requests_active")
    against = {"kv_blocks_used": column(engine.series, "kv_blocks_used")}
    if gpu is not None:
        for name in ("power_w", "utilisation_percent", "memory_utilisation_percent", "sm_mhz", "temperature_c"):
            against[name] = column(gpu.series, name, NVML_LAG_S)
        for name in ("memory_used_bytes", "part.kv_used"):
            against[name] = column(gpu.series, name)
    correlations = {name: _correlation(active, values) for name, values in against.items()}
    wanted = [correlations.get(name) for name in ("kv_blocks_used", "power_w")] if gpu else [
        correlations["kv_blocks_used"]
    ]  # fmt: skip
    return {
        "gpu": None if gpu is None or gpu.newest is None else {"name": gpu.name, "driver": gpu.newest.driver},
        "gpu_problem": told.gpu_problem,
        "seconds": round(told.ended_at - told.started_at, 1),
        "file_bytes": path.stat().st_size,
        "rows": {name: len(part.rows(-1e12, 1e12).t) for name, part in _parts(told).items()},
        "correlation_with_requests_active": correlations,
        "least_correlation": None if None in wanted else min(w for w in wanted if w is not None),
        "memory": {name: parts_of(part) for name, part in _parts(told).items() if not name.startswith("engine")},
        "waves": [_wave(wave, engine.series, gpu.series if gpu else None) for wave in waves],
        "idle": _idle(grid, active, against),
        "engine_notes": list(engine.notes),
    }


def _parts(told: recording.Recording) -> dict[str, Any]:
    found = {"host": told.host} | {f"gpu {track.index}": track.series for track in told.gpus}
    return found | {f"engine {e.name}": e.series for e in (*told.past_engines, *told.engines)}


def parts_of(series: Any) -> dict[str, Any]:
    """How well the parts of a device's memory add up, and how much of what is taken they name."""
    rows = series.rows(-1e12, 1e12)
    names = [name for name in rows.values if name.startswith("part.")]
    if not names:
        return {"rows": len(rows.t), "parts": []}
    total, used = rows.values["memory_total_bytes"], rows.values["memory_used_bytes"]
    table_of = np.stack([rows.values[name] for name in names])
    off = np.abs(np.nansum(table_of, axis=0) - total) / total
    unnamed = np.nansum([rows.values[n] for n in ("part.unsplit", "part.other") if n in rows.values], axis=0)
    top = int(np.nanargmax(used))
    return {
        "rows": len(rows.t),
        "largest_error": float(np.nanmax(off)),
        "at_peak_bytes": {name: float(rows.values[name][top]) for name in names},
        "peak_used_bytes": float(used[top]),
        "named_share_at_peak": float(1 - unnamed[top] / used[top]),
    }


def _wave(wave: Wave, engine: Any, gpu: Any) -> dict[str, Any]:
    # The last second is left out: power and utilisation are means over the past.
    span = (wave.start + min(1.0, (wave.end - wave.start) / 4), wave.end)
    kv, total = _over(engine, "kv_blocks_used", span), _over(engine, "kv_blocks_total", span)
    found: dict[str, Any] = {
        "requests": wave.requests,
        "seconds": round(wave.end - wave.start, 2),
        "input_tokens": wave.input_tokens,
        "output_tokens": wave.output_tokens,
        "output_tok_s": round(wave.output_tok_s, 1),
        "failures": len(wave.failures),
        "first_failure": wave.failures[0] if wave.failures else None,
        "kv_blocks_peak": None if kv is None else kv[1],
        "kv_share_peak": None if kv is None or total is None else round(kv[1] / total[1], 4),
        "requests_active_peak": (_over(engine, "requests_active", span) or (None, None))[1],
        "requests_queued_peak": (_over(engine, "requests_queued", span) or (None, None))[1],
        "iteration_ms_mean": (_over(engine, "iteration_ms", span) or (None, None))[0],
    }
    for name in ("power_w", "utilisation_percent", "memory_utilisation_percent", "memory_used_bytes"):
        values = None if gpu is None else _over(gpu, name, span)
        found[f"{name}_mean"], found[f"{name}_peak"] = (None, None) if values is None else values
    return found


def _over(series: Any, name: str, span: tuple[float, float]) -> tuple[float, float] | None:
    """Mean and highest of a quantity in a stretch; None where nothing was reported."""
    rows = series.rows(*span)
    values = rows.values.get(name, np.empty(0))
    values = values[~np.isnan(values)]
    return None if not len(values) else (round(float(values.mean()), 3), round(float(values.max()), 3))


def _idle(grid: Any, active: Any, against: dict[str, Any]) -> dict[str, float | None]:
    """Means over the seconds in which no request was open, nor in the two before."""
    busy = np.nan_to_num(active) > 0
    near = busy | np.roll(busy, 1) | np.roll(busy, 2) | np.roll(busy, -1)
    quiet = {name: values[~near] for name, values in against.items()}
    return {
        name: None if not len(v) or np.isnan(v).all() else round(float(np.nanmean(v)), 3) for name, v in quiet.items()
    }


def _correlation(one: Any, other: Any) -> float | None:
    """Pearson's, over the moments at which both were reported; None where one of them never changed."""
    both = ~np.isnan(one) & ~np.isnan(other)
    if both.sum() < 3 or one[both].std() == 0 or other[both].std() == 0:
        return None
    return round(float(np.corrcoef(one[both], other[both])[0, 1]), 4)


def _print(found: dict[str, Any]) -> None:
    print(f"\nGPU: {found['gpu'] or found['gpu_problem']}; {found['versions']}")
    headings = ["requests", "s", "tok/s", "KV peak", "KV share", "queued", "iter ms", "power W", "util %", "used GiB"]
    rows = [
        [w["requests"], w["seconds"], w["output_tok_s"], w["kv_blocks_peak"], w["kv_share_peak"],
         w["requests_queued_peak"], w["iteration_ms_mean"], w["power_w_mean"], w["utilisation_percent_mean"],
         None if w["memory_used_bytes_peak"] is None else round(w["memory_used_bytes_peak"] / 2**30, 2)]
        for w in found["waves"]
    ]  # fmt: skip
    print(table(headings, [["not reported" if cell is None else cell for cell in row] for row in rows]))
    print("\nwith requests active:", json.dumps(found["correlation_with_requests_active"]))
    print("idle:", json.dumps(found["idle"]))
    for name, memory in found["memory"].items():
        print(f"{name}: {json.dumps(memory)}")
    print(f"file: {found['file_bytes']:,} bytes, {found['rows']}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder; made there with --random")
    parser.add_argument("--random", choices=sorted(SIZES), help="make a random Llama of this size first")
    parser.add_argument("--tokenizer", type=Path, help="folder whose tokenizer files the random model gets")
    parser.add_argument("--out", type=Path, required=True, help="the recording, *.jsonl.gz")
    parser.add_argument("--log", type=Path, help="what the host prints")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--waves", type=int, nargs="+", default=[1, 16, 64, 128])
    parser.add_argument("--prompt", type=int, nargs=2, default=[64, 1024], metavar=("FEWEST", "MOST"))
    parser.add_argument("--answer", type=int, nargs=2, default=[128, 512], metavar=("FEWEST", "MOST"))
    parser.add_argument("--spread-s", type=float, default=8.0, help="requests of a wave come within so long")
    parser.add_argument("--idle-s", type=float, default=12.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--kv-bytes", type=int)
    parser.add_argument("--settings", default="{}", help="more settings for the host, as JSON")
    parser.add_argument("--hz", type=float, help="sampling rate; default: as always, by what the engine does")
    parser.add_argument("--timeout-s", type=float, default=300.0)
    asked = parser.parse_args()
    if asked.random is not None and asked.tokenizer is None:
        parser.error("--random needs --tokenizer")
    return asked


if __name__ == "__main__":
    main()
