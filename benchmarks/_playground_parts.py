"""Parts of benchmarks/playground.py: processes of their own, told by lines on stdin, that answer in JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil

from workbench.core.home_choice import home_from
from workbench.core.messages import Sampling
from workbench.jobs.burst import Burst
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.toolchains.running import engine_start

STREAMS = 16
MESSAGE = "Explain in plain words how a processor keeps its caches coherent."
_LOAD_S = 120.0
_LOOK_MS = 50
_SETTLE_S = 3.0
"""Other pages are imported meanwhile."""


def sampling(tokens: int) -> Sampling:
    return Sampling(max_tokens=tokens, ignore_eos=True)


def answer(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def run_alone(engine: Path) -> None:
    """The engine host and a client without a window: a burst for each line on stdin."""
    home = home_from(os.environ).make()
    start = engine_start(home, engine, (), os.environ).start
    command = HostCommand(argv=start.argv, env=start.env, cwd=str(home.root), spec=start.spec)
    with EngineClient.start(command, home.logs / "alone.txt", timeout_s=_LOAD_S) as client:
        client.set_stats_interval(0.1)
        answer(ready=True)
        for line in sys.stdin:
            burst = Burst(client, [MESSAGE], STREAMS, sampling(int(line)))
            burst.start()
            while not burst.summary().ended:
                time.sleep(0.2)
            found = burst.summary()
            answer(tok_s=found.output_tok_s, tokens=found.output_tokens, failed=found.failed)


def run_window(engine: Path) -> None:
    """The whole window with the monitor open: a burst by the page for each line on stdin; a line that begins with
    `chat` streams one answer of that many tokens, too, and tells the longest gap of a 10 ms timer.
    """
    from PySide6.QtCore import QEventLoop, QTimer

    from benchmarks._gui_parts import Ticks, open_window, until
    from workbench.ui.app import prepare_pages
    from workbench.ui.pages.playground.page import PlaygroundPage

    window, _ = open_window("playground")
    window.resize(1600, 1000)
    window.start()
    page = window.page("playground")
    assert isinstance(page, PlaygroundPage)
    window.session.events.prompt_with.emit(str(engine))
    until(lambda: page.room.current is not None, _LOAD_S)
    loaded = page.room.current
    assert loaded is not None
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=lambda: [lines.put(line) for line in sys.stdin] and lines.put("end"), daemon=True).start()
    prepare_pages(window)
    until(lambda: window.monitor.isVisible())
    ends = time.monotonic() + _SETTLE_S
    until(lambda: time.monotonic() > ends)
    answer(ready=True)
    own = psutil.Process()

    def run_until(holds: Callable[[], bool]) -> None:
        """Qt's own loop, as the program runs it; what is waited for is looked at now and then."""
        loop, look = QEventLoop(), QTimer()
        look.setInterval(_LOOK_MS)
        look.timeout.connect(lambda: loop.quit() if holds() else None)
        look.start()
        loop.exec()
        look.stop()

    while True:
        run_until(lambda: not lines.empty())
        words = lines.get().split()
        if not words or words[0] == "end":
            break
        chat, tokens = words[0] == "chat", int(words[-1])
        ticks, cpu, began = Ticks(), own.cpu_times(), time.perf_counter()
        if chat:
            ticks.start()
        page.bursts.start(loaded, (MESSAGE,), STREAMS, sampling=sampling(tokens), chat=True)
        if chat:
            page.chat.say(loaded, sampling(tokens), MESSAGE)
        run_until(lambda: not page.bursts.running and not page.chat.streaming)
        took = time.perf_counter() - began
        ticks.stop()
        now = own.cpu_times()
        snapshot = page.bursts.snapshot
        assert snapshot is not None
        turns = page.chat.conversation.path()
        answer(
            tok_s=snapshot.summary.output_tok_s,
            tokens=(snapshot.summary.output_tokens or 0) + (turns[-1].answer.output_tokens if chat else 0),
            failed=snapshot.summary.failed,
            seconds=took,
            longest_gap_ms=max(ticks.gaps) * 1000 if chat else None,
            median_gap_ms=statistics.median(ticks.gaps) * 1000 if chat else None,
            cpu_percent=100 * (now.user + now.system - cpu.user - cpu.system) / took,
        )
        page.chat.fresh()
    window.close()


if __name__ == "__main__":
    {"alone": run_alone, "window": run_window}[sys.argv[1]](Path(sys.argv[2]))
