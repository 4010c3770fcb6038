"""What the playground is for, done with a real engine that is chosen on the Engines page: ten turns, a burst, a stop, a
host that is killed. Called by the test that has built the demo engine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from tests.ui.talk import WAIT_MS, ended, playground, say, type_message
from workbench.ui.monitor.kv_panel import KvPanel
from workbench.ui.pages.playground.page import PlaygroundPage
from workbench.ui.window import Window

ABORT_S = 0.3
TURNS = (
    "What is the capital of France? Answer in one sentence.",
    "And of Italy?",
    "Which of the two is larger?",
    "Say hello in French.",
    "Name one river of Paris.",
    "Name a colour.",
    "Name another one.",
    "Count to five.",
    "Say it backwards.",
    "Goodbye!",
)


def talk(qtbot: QtBot, window: Window, click: Callable[[QtBot, Window, str], None]) -> None:
    """From the Engines page on, where the demo engine is chosen."""
    click(qtbot, window, "Load in playground")
    page = playground(window)
    qtbot.waitUntil(lambda: page.room.current is not None, timeout=WAIT_MS)
    ten_turns(qtbot, page)
    burst(qtbot, window, page)
    stop(qtbot, page)
    killed(qtbot, page)


def ten_turns(qtbot: QtBot, page: PlaygroundPage) -> None:
    page.side.sampling.rows["temperature"].set_value(0.0)
    page.side.sampling.rows["max_tokens"].set_value(24)
    lengths = []
    for text in TURNS:
        turn = say(qtbot, page, text)
        record = turn.answer
        assert record is not None and record.failure is None and turn.text.strip(), (text, record)
        assert record.ttft_ms is not None and record.input_tokens is not None and 1 <= (record.output_tokens or 0) <= 24
        assert record.logprobs is not None and len(record.logprobs) == record.output_tokens
        lengths.append(record.input_tokens)
    path = page.chat.conversation.path()
    assert [turn.text for turn in path[::2]] == list(TURNS) and len(page.view.rows) == 20
    assert "Paris" in path[1].text, path[1].text  # greedy; the build asks it the same
    assert lengths == sorted(lengths) and lengths[-1] > lengths[0], "each prompt holds the turns before it"


def burst(qtbot: QtBot, window: Window, page: PlaygroundPage) -> None:
    """16 at once: KV use rises and falls in what the panel itself has drawn."""
    assert window.monitor.isVisible() and page.room.current is not None
    window.monitor.set_minutes(1)
    qtbot.waitUntil(lambda: window.monitor.board is not None, timeout=WAIT_MS)
    page.side.sampling.rows["max_tokens"].set_value(80)
    page.burst_bar.count.setValue(16)
    type_message(qtbot, page, "Tell me a long story about a river, a mountain and the sea.")
    qtbot.wait(1000)  # a column of the panel, and more, without any request
    began = window.session.telemetry.clock.now()
    qtbot.mouseClick(page.burst_bar.send, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.bursts.running, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not page.bursts.running, timeout=WAIT_MS)
    snapshot = page.bursts.snapshot
    assert snapshot is not None and snapshot.summary.done == 16, snapshot
    assert snapshot.summary.output_tok_s is not None and snapshot.summary.output_tok_s > 0
    over = window.session.telemetry.clock.now()

    board = window.monitor.board
    assert board is not None
    panel = next(one for one in board.panels if isinstance(one, KvPanel))

    def used() -> np.ndarray:
        """Share of the blocks in use over the columns of the burst, as the panel drew them."""
        frame, shown = panel.plots[0].frame, board.axis.window(panel.plot_width)
        if frame is None:
            return np.zeros(0)
        times = shown.start + (np.arange(panel.plot_width) + 0.5) * shown.step
        upper = frame.bands[-1].upper
        return upper[(times > began - 0.7) & (times < over + 1.5)] if len(upper) == len(times) else np.zeros(0)

    qtbot.waitUntil(lambda: len(used()) > 3 and used()[-1] == 0, timeout=20_000)
    shares = used()
    peak = int(np.nanargmax(shares))
    assert shares[peak] > 0 and (shares[:peak] == 0).any() and shares[-1] == 0, shares  # it rises, and falls again
    track = window.session.telemetry.engines[0]
    assert (track.series.view("requests_active", began, over, 200).high > 8).any(), "many at once"


def stop(qtbot: QtBot, page: PlaygroundPage) -> None:
    """From the key to an idle engine."""
    engine = page.room.current
    assert engine is not None
    page.side.sampling.rows["max_tokens"].set_value(1000)
    type_message(qtbot, page, "Tell me everything about the sea.")
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(page.view.rows[-1].text) > 20, timeout=WAIT_MS)
    began = time.monotonic()
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Escape)

    def idle() -> bool:
        stats = engine.client.stats
        return not page.chat.streaming and stats is not None and stats.kv_blocks_used == 0 == stats.requests_active

    qtbot.waitUntil(idle, timeout=WAIT_MS)
    took = time.monotonic() - began
    turn = page.chat.conversation.path()[-1]
    assert turn.answer is not None and turn.answer.reason == "abort" and turn.text
    assert took < ABORT_S, f"{1000 * took:.0f} ms from Esc to an idle engine"
    print(f"abort to idle: {1000 * took:.0f} ms")


def killed(qtbot: QtBot, page: PlaygroundPage) -> None:
    """The host dies in the middle of an answer, and is loaded again by the button of the card."""
    engine = page.room.current
    assert engine is not None and engine.client.hello is not None
    type_message(qtbot, page, "And everything about mountains.")
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(page.view.rows[-1].text) > 20, timeout=WAIT_MS)
    os.kill(engine.client.hello.pid, signal.SIGKILL)
    turn = ended(qtbot, page)
    assert turn.answer is not None and turn.answer.failure is not None and len(turn.text) > 20
    qtbot.waitUntil(lambda: page.room.current is None, timeout=WAIT_MS)
    page.view.reload_engine.emit()
    qtbot.waitUntil(lambda: page.room.current is not None, timeout=WAIT_MS)
    page.side.sampling.rows["max_tokens"].set_value(8)
    assert say(qtbot, page, "Are you there?").text.strip()
