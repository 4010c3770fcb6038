"""Pictures of every page with real objects, in dark and light, at scale 1 and 2, without a screen.

    python -m workbench.ui.screens --out DIR [--home DIR] [--size 1600x1000] [--engine DIR] [--guide]

With --guide they are those of the user guide: dark, at scale 1, PAGE.png with a palette. Shows what the home holds
(WORKBENCH_HOME, or --home); where no engine was built there, recorded ones (ui.recorded).
Qt reads its scale once, so each scale is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.ui.window import Window

SCALES = (1, 2)
_SETTLE_S, _MOST_S, _ENGINE_S = 0.4, 20.0, 120.0
QUESTIONS = (
    "What is the capital of France? Answer in one sentence.",
    "Write a short Python function that returns the sum of a list, in a code block.",
    "What is a cache, in two sentences?",
)


def show_talk(window: Window, settle: Callable[[], None], engine: str) -> None:
    """Something to see on the playground: with an engine, two answers and a burst; else what was said last."""
    from workbench.store.conversations import Conversations
    from workbench.ui.pages.playground.page import PlaygroundPage

    page = window.page("playground")
    assert isinstance(page, PlaygroundPage)
    if not engine:
        kept = Conversations(window.session.home).list()
        if kept:
            page.verbs.open_kept(kept[0].id)
            settle()
        return
    window.session.events.prompt_with.emit(engine)
    _wait(lambda: page.room.loading is None)
    page.side.sampling.rows["temperature"].set_value(0.0)
    for text in QUESTIONS:
        page.composer.set_text(text)
        settle()
        page.composer.send.emit(text)
        _wait(lambda: not page.chat.streaming)
    page.view.rows[-1].set_tokens(True)
    window.monitor.set_minutes(1)
    page.composer.set_text(QUESTIONS[0])
    page.burst_bar.count.setValue(16)
    page.burst_bar.ask()
    _wait(lambda: page.bursts.snapshot is not None and page.bursts.snapshot.summary.done > 2)


def show_comparison(window: Window, settle: Callable[[], None]) -> None:
    """The newest comparison of the home, if there is one."""
    from workbench.measure.kept import kept_results
    from workbench.ui.pages.compare.page import ComparePage

    page = window.page("compare")
    assert isinstance(page, ComparePage)
    kept = [one for one in kept_results(window.session.home, "comparison") if not one.problem]
    if kept:
        page.model.open(kept[0].folder)
        settle()


def show_deployment(window: Window, settle: Callable[[], None], engine: str) -> None:
    """Deploy with the newest engine of the home; a named one is served, and asked, for as long as the pictures take."""
    import asyncio

    from workbench.ui.models.engines import read_first_rows
    from workbench.ui.pages.deploy.page import DeployPage

    page = window.page("deploy")
    assert isinstance(page, DeployPage)
    rows = read_first_rows(window.session.home).rows
    if not engine and not rows:
        return
    page.take_path(engine or str(rows[0].path))
    settle()
    if not engine:
        return
    page.serve.port.set_text("0")
    page.start()
    _wait(lambda: page.pane.view is not None and page.pane.view.row.state.status == "ready")
    if page.pane.view is None or not page.pane.view.row.running:
        return
    asked = threading.Thread(
        target=lambda url, model: asyncio.run(_ask_all(url, model)),
        args=(page.pane.view.row.state.url, page.pane.view.row.model),
    )
    asked.start()
    _wait(lambda: not asked.is_alive())
    settle()


async def _ask_all(url: str, model: str) -> None:
    """A few rounds of chats, some at once, and one that is refused."""
    import asyncio

    import httpx

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await client.post("/chat/completions", json={"model": "another", "messages": []})
        for at_once in (1, 2, 4, 6, 4, 2):
            bodies = [
                {"model": model, "messages": [{"role": "user", "content": QUESTIONS[n % 3]}], "max_tokens": 48 + 8 * n}
                for n in range(at_once)
            ]
            await asyncio.gather(*(client.post("/chat/completions", json=body) for body in bodies))


def end_deployment(window: Window) -> None:
    """Stop the server that was started for the pictures."""
    from workbench.ui.pages.deploy.page import DeployPage

    page = window.page("deploy")
    if isinstance(page, DeployPage) and page.pane.view is not None and page.pane.view.row.running:
        page.verbs.do("stop-now", page.pane.view.row)
        _wait(lambda: page.pane.view is None or not page.pane.view.row.running)


def _wait(holds: Callable[[], bool]) -> None:
    from PySide6.QtWidgets import QApplication

    ends = time.monotonic() + _ENGINE_S
    while not holds() and time.monotonic() < ends:
        QApplication.processEvents()
        time.sleep(0.01)


def take(
    out: Path, size: tuple[int, int], home_folder: Path, scale: int, engine: str = "", *, guide: bool = False
) -> list[Path]:
    """Render all pages at the process's own scale; the files written. `engine`: a folder to load and to talk to."""
    from PySide6.QtWidgets import QApplication

    from workbench.core.home_choice import home_from
    from workbench.ui.app import make_application, make_window
    from workbench.ui.pages.all import PAGES
    from workbench.ui.small_picture import save_small
    from workbench.ui.theme import SCHEMES, theme

    app = make_application(["engine-workbench"])
    home = home_from({**os.environ, "WORKBENCH_HOME": str(home_folder)})
    window = make_window(app, home, PAGES)
    window.resize(*size)
    window.show()
    window.start()

    def settle() -> None:
        """Until the background work is done and nothing was asked anew for a moment."""
        ends = time.monotonic() + _MOST_S
        calm_since = time.monotonic()
        while time.monotonic() < ends and time.monotonic() - calm_since < _SETTLE_S:
            QApplication.processEvents()
            if window.session.tasks.busy or any(page.busy for page in window.made_pages):
                calm_since = time.monotonic()
            time.sleep(0.01)

    settle()
    if models := sorted((home.artifacts / "models").glob("*/config.json")):
        window.show_page("build")
        settle()
        window.session.events.build_with.emit("cpu-int4-awq", str(models[0].parent))
        settle()
    show_talk(window, settle, engine)
    show_comparison(window, settle)
    show_deployment(window, settle, engine)
    written = []
    for scheme in SCHEMES[:1] if guide else SCHEMES:
        theme().set_mode("dark" if scheme == "dark" else "light")
        for kind in PAGES:
            window.show_page(kind.name)
            settle()
            if focused := app.focusWidget():
                focused.clearFocus()
            path = out / (f"{kind.name}.png" if guide else f"{kind.name}-{scheme}-{scale}x.png")
            if guide:
                save_small(window.grab().toImage(), path)
            else:
                window.grab().save(str(path))
            written.append(path)
    if engine:
        window.show_page("deploy")
        end_deployment(window)
    window.close()
    return written


def _with_engines(named: Path | None, spare: Path) -> Path:
    """The home to show: the one that is named, else the person's own, else recorded objects written to `spare`."""
    from workbench.core.home import Home
    from workbench.core.home_choice import home_from
    from workbench.ui.recorded import has_engines, recorded_home

    home = Home(named) if named is not None else home_from(os.environ)
    if has_engines(home):
        return home.root
    sys.stderr.write(f"No engine was built in {home.root}: recorded objects are shown.\n")
    return recorded_home(spare).root


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--size", default="1600x1000")
    parser.add_argument("--engine", default="", help="an engine's folder: it is loaded and talked to")
    parser.add_argument("--guide", action="store_true", help="the pictures of the user guide")
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    width, height = (int(part) for part in given.size.split("x"))
    given.out.mkdir(parents=True, exist_ok=True)
    if given.scale is not None:
        for path in take(given.out, (width, height), given.home, given.scale, given.engine, guide=given.guide):
            sys.stdout.write(f"{path}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="workbench-screens-") as place:
        home = _with_engines(given.home, Path(place) / "recorded")
        begun: list[subprocess.Popen[bytes]] = []
        for scale in SCALES[:1] if given.guide else SCALES:
            argv = [sys.executable, "-m", "workbench.ui.screens", "--out", str(given.out), "--home", str(home)]
            argv += ["--guide"] if given.guide else []
            one = subprocess.Popen(
                [*argv, "--size", given.size, "--engine", given.engine, "--scale", str(scale)],
                env={**os.environ, "QT_SCALE_FACTOR": str(scale), "QT_QPA_PLATFORM": "offscreen"},
            )
            begun.append(one)
            if given.engine:
                one.wait()  # two at once would slow each other's engine in the pictures
        return max(abs(one.wait()) for one in begun)


if __name__ == "__main__":
    sys.exit(main())
