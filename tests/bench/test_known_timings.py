"""TTFT, ITL and throughput within 2 % of the truth, against a server in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bench.made import measure_http
from workbench.core.measure.figures import point_figures
from workbench.core.measure.load import Load

ROOT = Path(__file__).resolve().parents[2]
NEAR = 0.02


@contextmanager
def server(*options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.fakes.openai_server", *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def truth(origin: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{origin}/truth") as answer:
        said: dict[str, Any] = json.load(answer)
    return said


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "requests"), [(1, 4), (64, 256)])
def test_figures_are_within_two_percent_of_the_truth(streams: int, requests: int) -> None:
    with server("--ttft-s", "0.25", "--itl-s", "0.02") as origin:
        load = Load(requests=requests, levels=(float(streams),))
        point, _ = measure_http(f"{origin}/v1", load, 50)
        real = truth(origin)
    figures = point_figures(point)
    assert figures.completed == requests == real["requests"]
    assert figures.ttft_ms is not None and figures.itl_ms is not None
    # Both the clockwork that the server was asked for and what it says that it did.
    assert figures.itl_ms.p50 == pytest.approx(20.0, rel=NEAR)
    assert figures.itl_ms.p50 == pytest.approx(real["itl_p50_ms"], rel=NEAR)
    assert figures.itl_ms.mean == pytest.approx(real["itl_mean_ms"], rel=NEAR)
    assert figures.ttft_ms.p50 == pytest.approx(250.0, rel=NEAR)
    assert figures.ttft_ms.p50 == pytest.approx(real["ttft_p50_ms"], rel=NEAR)
    assert figures.output_tok_s == pytest.approx(real["tok_s"], rel=NEAR)
    assert figures.output_tok_s == pytest.approx(streams * 50 / (0.25 + 49 * 0.02), rel=NEAR)


@pytest.mark.slow
def test_throughput_by_duration_does_not_depend_on_where_the_window_cuts_answers() -> None:
    """Answers of 0.55 s in a window of 1.3 s: counted by requests begun in it, throughput would be a third off."""
    with server("--ttft-s", "0.05", "--itl-s", "0.01") as origin:
        load = Load(duration_s=1.3, warmup_s=0.7, levels=(8.0,))
        point, _ = measure_http(f"{origin}/v1", load, 50)
    figures = point_figures(point)
    assert figures.output_tok_s == pytest.approx(8 * 50 / (0.05 + 49 * 0.01), rel=0.05)


@pytest.mark.slow
def test_open_loop_at_a_known_rate() -> None:
    with server("--ttft-s", "0.05", "--itl-s", "0.005") as origin:
        load = Load(arrival="constant", duration_s=2.0, warmup_s=0.5, levels=(40.0,))
        point, _ = measure_http(f"{origin}/v1", load, 20)
    figures = point_figures(point)
    assert figures.req_s == pytest.approx(40.0, rel=NEAR)
    assert figures.output_tok_s == pytest.approx(800.0, rel=NEAR)
    assert figures.ttft_ms is not None and figures.ttft_ms.p50 == pytest.approx(50.0, abs=2.5)
