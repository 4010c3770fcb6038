"""What a recording from a real H100 shows: tests/data/recordings/README.md says how it was made."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from workbench.telemetry.engine import EngineTrack
from workbench.telemetry.hub import GpuTrack
from workbench.telemetry.memory import GPU_PARTS
from workbench.telemetry.recording import Recording, read
from workbench.telemetry.series import Series

FILE = Path(__file__).parents[1] / "data" / "recordings" / "h100.jsonl.gz"
WAVES = (1, 16, 64, 128)
PARTS = tuple(f"part.{name}" for name in GPU_PARTS)
ENGINE_PARTS = tuple(f"part.{name}" for name in ("weights", "kv_used", "kv_free", "activations"))
POWER_LAG_S = 1.0
"""The board's power is its mean over about the last second, and so is its utilisation."""


@pytest.fixture(scope="module")
def told() -> Recording:
    return read(FILE)


@pytest.fixture(scope="module")
def gpu(told: Recording) -> GpuTrack:
    (track,) = told.gpus
    return track


@pytest.fixture(scope="module")
def engine(told: Recording) -> EngineTrack:
    (track,) = told.past_engines
    assert not told.engines, "it was unloaded before the end"
    return track


@pytest.fixture(scope="module")
def waves(told: Recording) -> dict[int, tuple[float, float]]:
    """When each wave began and ended, by the events."""
    times = {event.text: event.at for event in told.events() if event.kind == "load"}
    return {n: (times[f"{n} requests"], times[f"{n} requests done"]) for n in WAVES}


def between(series: Series, start: float, end: float) -> dict[str, NDArray[np.float64]]:
    rows = series.rows(start, end)
    assert len(rows.t)
    return {"t": rows.t, **rows.values}


def every_second(series: Series, name: str, start: float, end: float, lag_s: float = 0.0) -> NDArray[np.float64]:
    """Mean of each second's readings; NaN for a second with none."""
    rows = series.rows(start + lag_s, end + lag_s)
    second = np.floor(rows.t - start - lag_s).astype(int)
    values = rows.values[name]
    return np.array(
        [np.nan if not (inside := values[second == i]).size else inside.mean() for i in range(int(end - start))]
    )


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    both = ~np.isnan(one) & ~np.isnan(other)
    assert both.sum() > 200
    return float(np.corrcoef(one[both], other[both])[0, 1])


def test_it_is_small_and_says_what_it_is_of(told: Recording, gpu: GpuTrack, engine: EngineTrack) -> None:
    assert FILE.stat().st_size < 400_000
    assert gpu.name == "NVIDIA H100 80GB HBM3" and gpu.newest is not None and gpu.newest.driver == "580.159.04"
    assert told.machine["cores"] == 16 and not told.gpu_problem
    assert told.ended_at - told.started_at > 200
    assert engine.name == "random-llama-8b" and engine.ready is not None and engine.ready.kv_blocks_total == 3072
    assert not engine.notes, "nothing it reported was impossible"
    kinds = [event.text for event in told.events()]
    done = [text for n in WAVES for text in (f"{n} requests", f"{n} requests done")]
    assert kinds == ["engine loading", "engine ready", *done, "engine gone"]


def test_under_load_ten_readings_come_a_second_without_a_hole(
    gpu: GpuTrack, engine: EngineTrack, waves: dict[int, tuple[float, float]]
) -> None:
    for start, end in waves.values():
        for series in (gpu.series, engine.series):
            steps = np.diff(between(series, start + 1, end)["t"])
            assert np.median(steps) == pytest.approx(0.1, abs=0.01) and steps.max() < 0.6


def test_the_parts_add_up_and_are_what_the_driver_says(gpu: GpuTrack) -> None:
    rows = gpu.series.rows(-math.inf, math.inf).values
    total = rows["memory_total_bytes"]
    parts = np.stack([rows[name] for name in PARTS])
    assert not np.isnan(parts).any() and (parts >= 0).all()
    assert (np.abs(parts.sum(axis=0) - total) / total).max() <= 0.01
    # Used and free come from the driver; the parts from the driver, the engine and torch.
    assert gpu.newest is not None and gpu.newest.reserved_bytes is not None
    taken = rows["memory_used_bytes"] + gpu.newest.reserved_bytes
    assert (np.abs(parts[:-1].sum(axis=0) - taken) / total).max() <= 0.01


def test_what_the_engine_says_of_its_memory_explains_what_the_driver_counts(
    gpu: GpuTrack, engine: EngineTrack, waves: dict[int, tuple[float, float]]
) -> None:
    rows = between(gpu.series, waves[1][0] + 1, waves[128][1])
    named = sum(rows[name] for name in ENGINE_PARTS)
    assert (named / rows["memory_used_bytes"]).min() > 0.9, "the rest is the driver's context"
    assert (rows["part.weights"] == engine.memory_bytes["weights"]).all()
    # Two bytes a parameter, as the run counted them.
    assert engine.memory_bytes["weights"] == pytest.approx(2 * 7_382_241_280, rel=1e-3)
    pool = rows["part.kv_used"] + rows["part.kv_free"]
    assert np.abs(pool - engine.memory_bytes["kv_pool"]).max() <= 1
    share = np.array([engine.series.at("kv_blocks_used", t) for t in rows["t"]], dtype=float) / 3072
    off = np.abs(rows["part.kv_used"] / engine.memory_bytes["kv_pool"] - share)
    assert off.mean() < 0.001 and off.max() < 0.05, "the engine's word may be one report old"


def test_blocks_power_and_utilisation_move_with_the_requests(gpu: GpuTrack, engine: EngineTrack) -> None:
    assert engine.detached_at is not None
    span = (engine.attached_at + 1, engine.detached_at - 2)
    active = every_second(engine.series, "requests_active", *span)
    blocks = every_second(engine.series, "kv_blocks_used", *span)
    power = every_second(gpu.series, "power_w", *span, POWER_LAG_S)
    busy = every_second(gpu.series, "utilisation_percent", *span, POWER_LAG_S)
    assert correlation(active, blocks) > 0.95
    assert correlation(active, power) > 0.8
    assert correlation(active, busy) > 0.75
    assert correlation(blocks, power) > 0.8, "KV and power move together"
    assert correlation(power, busy) > 0.8


def test_each_wave_takes_more_than_the_one_before(
    gpu: GpuTrack, engine: EngineTrack, waves: dict[int, tuple[float, float]]
) -> None:
    found = []
    for start, end in waves.values():
        board, host = between(gpu.series, start + 1, end), between(engine.series, start, end)
        found.append(
            (
                board["power_w"].mean(),
                board["utilisation_percent"].mean(),
                board["memory_used_bytes"].max(),
                np.nanmax(host["kv_blocks_used"]),
                np.nanmax(host["requests_active"]),
                np.nanmax(host["generation_tok_s"]),
            )
        )
    assert (np.diff(np.array(found), axis=0) > 0).all()
    assert found[-1][4] > 64 and found[0][4] == 1


def test_between_the_waves_nothing_is_held_and_power_falls(
    gpu: GpuTrack, engine: EngineTrack, waves: dict[int, tuple[float, float]]
) -> None:
    spans = list(waves.values())
    for (start, end), (following, _) in itertools.pairwise(spans):
        quiet = (end + 3, following - 0.5)
        board = between(gpu.series, *quiet)
        assert engine.series.at("kv_blocks_used", quiet[0]) == engine.series.at("kv_blocks_used", quiet[1]) == 0
        assert engine.series.at("requests_active", quiet[1]) == 0
        assert board["utilisation_percent"].max() <= 1 and board["part.kv_used"].max() == 0
        assert board["power_w"].mean() < between(gpu.series, start + 1, end)["power_w"].mean() - 10


def test_speeds_add_up_to_the_tokens_that_were_made(engine: EngineTrack) -> None:
    assert engine.newest is not None and engine.newest.generated_tokens == 68_521
    rows = engine.series.rows(-math.inf, math.inf)
    lasting = np.minimum(np.append(rows.t[1:], rows.t[-1]), rows.until) - rows.t
    made = np.nansum(rows.values["generation_tok_s"] * lasting)
    assert made == pytest.approx(68_521, rel=0.01)


def test_what_was_not_reported_has_no_value(told: Recording, gpu: GpuTrack, engine: EngineTrack) -> None:
    rows = gpu.series.rows(-math.inf, math.inf).values
    assert gpu.newest is not None and set(gpu.newest.unreported) == {"nvlink_rx_bytes_s", "nvlink_tx_bytes_s"}
    assert all(np.isnan(rows[name]).all() for name in gpu.newest.unreported)
    reported = engine.series.rows(-math.inf, math.inf).values
    assert all(np.isnan(reported[name]).all() for name in ("kv_blocks_reused", "batch"))
    assert engine.detached_at is not None
    for t in (engine.attached_at - 5, engine.detached_at + 1):
        assert all(engine.series.at(name, t) is None for name in engine.series.names)
    # The engine's memory is nobody's before it is known, and gone when its process is.
    loading = next(event.at for event in told.events() if event.text == "engine ready") - 0.5
    assert gpu.series.at("part.weights", loading) == 0 and (gpu.series.at("part.other", loading) or 0) > 2**34
    assert gpu.series.at("memory_used_bytes", told.ended_at - 0.5) == 0
