"""The faces of the playground for the sweep: loaded, answered, as tokens, with a burst, while editing, and bereft."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtWidgets import QApplication

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from workbench.ui.pages.playground.page import PlaygroundPage
from workbench.ui.widgets.fold import Fold
from workbench.ui.window import Window

_MOST_S = 60.0
_ANSWER = ["Here ", "are **two**:\n\n", "```python\n", "print(", "'a')\n", "```\n\n", "- one\n", "- two\n\n", "Done. "]


def _until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + _MOST_S
    while not holds():
        QApplication.processEvents()
        time.sleep(0.005)
        if time.monotonic() > ends:
            raise AssertionError("the playground did not come so far")


def playground_faces(window: Window, settle: Callable[[Window], None]) -> Iterator[str]:
    """An engine is loaded over the fake host, and is gone at the end."""
    page = window.page("playground")
    assert isinstance(page, PlaygroundPage)
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory(dir=window.session.home.root) as name:
        place = Path(name)
        python = make_interpreter(place / "python", tokens_per_s=300, answer=_ANSWER, kv_blocks=1456)
        os.environ[VARIABLE] = str(python)
        try:
            yield from _faces(window, page, make_engine_folder(place / "engine", "tiny-llama-int8"), settle)
        finally:
            page.chat.fresh()
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def _faces(window: Window, page: PlaygroundPage, engine: Path, settle: Callable[[Window], None]) -> Iterator[str]:
    def shown(words: str) -> str:
        settle(window)
        return f"playground, {words}"

    window.session.events.prompt_with.emit(str(engine))
    _until(lambda: page.room.current is not None)
    for fold in page.findChildren(Fold):
        fold.set_open(True)
    yield shown("loaded")
    page.side.sampling.rows["max_tokens"].set_value(18)
    page.composer.set_text("Show me two things, and say when you are done with it.")
    page.composer.send.emit(page.composer.text())
    _until(lambda: not page.chat.streaming)
    yield shown("answered")
    page.view.rows[-1].set_tokens(True)
    yield shown("as tokens")
    page.composer.set_text("What is this?")
    page.burst_bar.count.setValue(6)
    page.burst_bar.ask()
    _until(lambda: page.bursts.snapshot is not None and not page.bursts.running)
    yield shown("a burst")
    page.burst_card.set_open(True)
    yield shown("a burst, unfolded")
    page.bursts.clear()
    page.verbs.edit_last()
    yield shown("editing")
    page.view.show_conversation(page.chat.conversation)
    current = page.room.current
    assert current is not None and current.client.hello is not None
    os.kill(current.client.hello.pid, signal.SIGKILL)
    _until(lambda: page.room.current is None)
    yield shown("its engine gone")
