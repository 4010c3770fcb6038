"""One server, live: where it is found, what it does now and did in the last minutes, what it turned away, its log."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QMenu, QScrollArea, QStackedWidget, QToolButton, QVBoxLayout, QWidget

from workbench.core.serving import ServeState
from workbench.core.units import format_duration
from workbench.ui.models.deploying import title_of
from workbench.ui.models.serving import STATUS_WORDS, ServerView, base_url, key_words
from workbench.ui.pages.deploy.figures import CountsTable, PercentileTable, RefusedTable
from workbench.ui.pages.jobs.log_panel import LogPanel
from workbench.ui.pages.playground.engine.faces import FailureText
from workbench.ui.plots.run_plot import RunPlot
from workbench.ui.session import Session
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import (
    GAP,
    MARGIN,
    button,
    chip,
    column,
    icon_button,
    label,
    row,
    rule,
    set_chip,
    set_icon,
)
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.fields import Segments
from workbench.ui.widgets.text_block import TextBlock

_WIDE, _ROOMY = 1000, 760
_LEAST_BODY = 560
_LONGEST_NAME, _LOG_HEIGHT = 48, 260
_LOGS = (
    ("log.txt", "Output", "What the engine's host or trtllm-serve printed"),
    ("access.log", "Requests", "One line a request: time, client, path, status, tokens, ms; no prompt"),
)


class ServerPane(QFrame):
    """`asked` is sent with a verb: stop, stop-now, curl, openai, prompt, bench, remove, url."""

    asked = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self.view: ServerView | None = None
        self.plots = {
            "tokens": RunPlot("Generated", "tok/s", 0),
            "requests": RunPlot("Requests", "", 0),
            "rate": RunPlot("Answered", "req/s"),
            "kv": RunPlot("KV cache", "%"),
        }
        self.percentiles, self.counts, self.refused = PercentileTable(), CountsTable(), RefusedTable()
        self.log = LogPanel(session)
        self._folder: Path | None = None
        self.which_log = Segments("Log", _LOGS)
        self.which_log.changed.connect(lambda _: self._show_log())
        self._make_head()
        self._failure = FailureText()
        self.failure_box = QFrame()
        self.failure_box.setProperty("surface", "card")
        inside = QVBoxLayout(self.failure_box)
        inside.setContentsMargins(MARGIN, 10, MARGIN, 10)
        inside.addWidget(self._failure)
        self.problems = TextBlock("What was refused last", 6)
        self.problems_box = column(label("Said last", "heading"), self.problems, gap=4)
        self.empty = label("No server is chosen.", "text3")
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.empty)
        self.stack.addWidget(self._body())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.stack)
        for plot in self.plots.values():
            plot.crossed.connect(self._cross)

    # -- parts

    def _make_head(self) -> None:
        self.name = label("", "name")
        self.state_chip = chip("", "plain")
        self.url = ElidedLine()
        self.url.setFont(mono_font())
        self.url_copy = icon_button("copy", "Copy the server's URL", partial(self.asked.emit, "url"))
        self.said = ElidedLine("hint")
        self.stop = button("Stop", partial(self.asked.emit, "stop"), icon_name="stop", name="Stop the server: drain it")
        self.stop.setToolTip("No new requests; those that run are answered first")
        self.stop_now = button("Stop now", partial(self.asked.emit, "stop-now"), name="Stop the server now")
        self.stop_now.setToolTip("Requests that run are ended")
        self.prompt = button(
            "Playground", partial(self.asked.emit, "prompt"), icon_name="playground", name="Open in playground"
        )
        self.bench = button(
            "Benchmark", partial(self.asked.emit, "bench"), icon_name="benchmark", name="Benchmark this server"
        )
        self.snippets = QToolButton()
        set_icon(self.snippets, "script")
        self.snippets.setText("Use")
        self.snippets.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.snippets.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.snippets.setAccessibleName("Copy what asks this server")
        self.snippets.setToolTip("Copy a command or a program that asks this server")
        self.snippets.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        menu = QMenu(self.snippets)
        for verb, words in (("curl", "Copy curl"), ("openai", "Copy openai snippet"), ("url", "Copy URL")):
            menu.addAction(words, partial(self.asked.emit, verb))
        self.snippets.setMenu(menu)
        self.remove = icon_button("trash", "Forget this server", partial(self.asked.emit, "remove"), flat=False)

    def _body(self) -> QWidget:
        first = row(self.name, self.state_chip, self.said, gap=GAP)
        first.layout().setStretch(2, 1)
        second = row(
            self.url, self.url_copy, self.snippets, self.prompt, self.bench, self.stop, self.stop_now,
            self.remove, gap=GAP,
        )  # fmt: skip
        second.layout().setStretch(0, 1)
        head = column(first, second, gap=6, margins=(MARGIN, 10, MARGIN, 10))
        self._live = QWidget()
        self._grid = QGridLayout(self._live)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(1)
        tables = QWidget()
        self._tables = QGridLayout(tables)
        self._tables.setContentsMargins(MARGIN, 12, MARGIN, 12)
        self._tables.setHorizontalSpacing(MARGIN * 2)
        self._tables.setVerticalSpacing(MARGIN)
        inside = column(
            self._padded(self.failure_box),
            self._live,
            rule(),
            tables,
            self._padded(self.problems_box),
            self._logs(),
            gap=0,
        )
        inside.layout().setContentsMargins(0, 0, 0, 0)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        inside.setAutoFillBackground(False)  # the ground of the pane
        area.viewport().setAutoFillBackground(False)
        self._place(_WIDE)
        made = column(head, rule(), area, gap=0)
        made.layout().setStretch(2, 1)
        return made

    def _logs(self) -> QWidget:
        # Its tools are wider than a small window: they alone scroll sideways then.
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFixedHeight(_LOG_HEIGHT)
        area.setWidget(self.log)
        self.log.setAutoFillBackground(False)
        area.viewport().setAutoFillBackground(False)
        return column(row(self.which_log.widget, None), area, margins=(MARGIN, GAP, MARGIN, MARGIN))

    @staticmethod
    def _padded(part: QWidget) -> QWidget:
        return column(part, margins=(MARGIN, GAP, MARGIN, GAP))

    def _place(self, width: int) -> None:
        """Plots in two columns where there is room; the tables side by side."""
        across = 2 if width >= _LEAST_BODY else 1
        for place, plot in enumerate(self.plots.values()):
            self._grid.addWidget(plot, place // across, place % across)
        wide = width >= _ROOMY
        for place, table in enumerate((self.percentiles, self.counts, self.refused)):
            self._tables.addWidget(table, 0 if wide else place, place if wide else 0)
        for place, share in enumerate((5, 3, 5)):
            self._tables.setColumnStretch(place, share if wide or not place else 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place(event.size().width())
        wide = event.size().width() >= _WIDE
        for made, text in ((self.prompt, "Playground"), (self.bench, "Benchmark")):
            words = text if wide else ""
            if made.text() != words:
                made.setText(words)
                set_icon(made, made.property("icon_of")[0])
                made.setToolTip("" if words else made.accessibleName())

    # -- what is shown

    def show_nothing(self, words: str) -> None:
        """No server is shown, and why."""
        self.view = None
        self.empty.setText(words)
        self.stack.setCurrentIndex(0)
        self._folder = None
        self._show_log()

    def show_view(self, view: ServerView) -> None:
        """Show this server as it is now."""
        self.view = view
        shown, state = view.row, view.row.state
        self.name.setText(shown.name if len(shown.name) <= _LONGEST_NAME else f"{shown.name[: _LONGEST_NAME - 1]}…")
        self.name.setToolTip(shown.spec.engine if shown.spec is not None else shown.name)
        words, kind = STATUS_WORDS[state.status]
        set_chip(self.state_chip, words, kind)
        self.said.say(_said(view))
        url = base_url(shown)
        self.url.say(url or ("not listening yet" if shown.running else "never listened"))
        ready = shown.running and state.status == "ready"
        for made in (self.url_copy, self.snippets):
            made.setEnabled(bool(url) and shown.running)
        for made in (self.prompt, self.bench):
            made.setEnabled(ready)
        self.stop.setVisible(shown.running)
        self.stop.setEnabled(state.status != "draining")
        self.stop_now.setVisible(shown.running)
        self.remove.setVisible(not shown.running)
        self.failure_box.parentWidget().setVisible(state.failure is not None)
        if state.failure is not None:
            self._failure.show_failure(state.failure)
        for name, frame in view.frames().items():
            self.plots[name].show_frame(frame)
        self.percentiles.show_reading(view.last)
        self.counts.show_reading(view.last, running=shown.running)
        self.refused.show_refusals(view.refusals())
        self.problems.say("\n".join(state.problems[-20:]))
        self.problems_box.parentWidget().setVisible(bool(state.problems))
        self._folder = shown.path
        self._show_log()
        self.stack.setCurrentIndex(1)

    def _show_log(self) -> None:
        path = self._folder / self.which_log.value if self._folder is not None else None
        self.log.show_log(path, live=self.view is not None and self.view.row.running)

    def recolour(self) -> None:
        """Other colours are in use."""
        for plot in self.plots.values():
            plot.update()

    def _cross(self, at: float | None) -> None:
        for plot in self.plots.values():
            plot.set_cross(at)


def _said(view: ServerView) -> str:
    """What answers, since when, and who may ask."""
    shown, state = view.row, view.row.state
    parts = [state.step] if state.status == "starting" and state.step else []
    parts += [state.program or title_of(state.toolchain)] if state.program or state.toolchain else []
    parts += [_time(view, state)]
    if shown.spec is not None:
        parts.append(f"model {shown.spec.model}")
        key = key_words(shown)
        parts.append(f"key {key}" if key else "no key, this machine only")
    return ", ".join(part for part in parts if part)


def _time(view: ServerView, state: ServeState) -> str:
    if state.ready_at is None:
        return ""
    words = format_duration(max(0.0, (state.ended_at or view.now) - state.ready_at))
    return f"was up {words}" if state.ended_at is not None else f"up {words}"
