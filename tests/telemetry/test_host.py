"""The host's readings against what the system says itself."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from workbench.telemetry.host import HostSource


def test_a_reading_agrees_with_the_system() -> None:
    source = HostSource()
    first = source.read()
    assert first.cpu_percent is None, "there is no load of no time"
    reading = source.read()
    assert reading.cpu_percent is not None and 0 <= reading.cpu_percent <= 100
    assert reading.total_bytes <= psutil.virtual_memory().total
    assert 0 < reading.used_bytes <= reading.total_bytes
    assert reading.cache_bytes is None or 0 <= reading.cache_bytes <= reading.total_bytes - reading.used_bytes
    assert reading.own_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert reading.processes == {}


def test_watched_processes_count_with_their_children_until_they_end() -> None:
    child = "import sys; held = bytearray(30_000_000); print(1, flush=True); sys.stdin.read()"
    parent = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "p.stdout.readline(); print(p.pid, flush=True); sys.stdin.read(); p.stdin.close(); p.wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    try:
        grandchild = int(process.stdout.readline())
        source = HostSource()
        source.watch([process.pid, os.getpid()])
        reading = source.read()
        own = psutil.Process(process.pid).memory_info().rss
        assert reading.families[process.pid] == (process.pid, grandchild)
        assert reading.processes[process.pid] > own + 25_000_000
        assert set(reading.processes) == {process.pid, os.getpid()}
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
    later = source.read()
    assert set(later.processes) == {os.getpid()}
    source.watch([])
    assert source.read().processes == {}
