"""The line over a result: what was measured, and how it ended."""

from __future__ import annotations

import time

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from workbench.core.report import words
from workbench.ui.models.bench_view import RunView
from workbench.ui.pages.benchmark.plan import time_words
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import MARGIN, chip, column, label, row, set_chip
from workbench.ui.widgets.editors import spaced
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.marker import Marker

_WIDE, _MIDDLE = 980, 700


def state_words(view: RunView) -> tuple[str, str, str]:
    """Words, kind of chip, and all of it for the tool tip."""
    head, errors = view.head, view.errors
    failed = [subject for subject in head.subjects if subject.failure is not None]
    count = sum(errors.values())
    points = f"{view.points} run{'s' if view.points != 1 else ''}"
    told = [f"{number:,} \N{MULTIPLICATION SIGN} {text}" for text, number in errors.items()]
    told += [f"{one.name}: {one.failure.what}" for one in failed if one.failure is not None]
    told += [f"{view.level_words(one.level)}: {one.saturated}" for one in view.figures if one.saturated]
    tip = "\n".join([*told, *head.notes])
    if head.status == "running":
        return f"{points} of {view.expected}", "accent", tip
    if head.status == "failed" or (failed and len(failed) == len(head.subjects)):
        return "failed", "err", tip
    if head.status == "stopped":
        return f"stopped after {points}", "warn", tip
    if failed:
        names = ", ".join(one.name for one in failed)
        return f"{points}, {names} failed", "err", tip
    if count:
        return f"{points}, {count:,} error{'s' if count != 1 else ''}", "err", tip
    if any(one.client.bottleneck for one in view.figures):
        return f"{points}, client too slow", "warn", "\n".join([tip, *_slow(view)]).strip()
    return f"{points}, no errors", "ok", tip


def _slow(view: RunView) -> list[str]:
    return [f"{view.level_words(one.level)}: {one.client.words}" for one in view.figures if one.client.bottleneck]


def sweep_words(view: RunView) -> str:
    """`1 to 128 users, 8 points`."""
    levels = sorted(view.head.load.levels)
    if len(levels) == 1:
        return view.level_words(levels[0])
    unit = view.level_words(levels[-1]).partition(" ")[2]
    return f"{words.level(levels[0])} to {words.level(levels[-1])} {unit}, {len(levels)} points"


def each_words(view: RunView) -> str:
    """`3 x 60 s, warm-up 10 s`."""
    load = view.head.load
    parts = [f"{load.duration_s:g} s"] if load.duration_s is not None else []
    parts += [_requests(load.requests)] if load.requests is not None else []
    each = " or ".join(parts) or "the whole trace"
    warm = [f"{load.warmup_s:g} s"] if load.warmup_s else []
    warm += [_requests(load.warmup_requests)] if load.warmup_requests else []
    times = f"{load.repeats} \N{MULTIPLICATION SIGN} " if load.repeats > 1 else ""
    return f"{times}{each}" + (f", warm-up {' and '.join(warm)}" if warm else ", no warm-up")


def _requests(count: int) -> str:
    return f"{count:,} request{'s' if count != 1 else ''}"


def when_words(view: RunView) -> str:
    """`2026-05-14 16:05, 84 min`."""
    head = view.head
    took = f", {time_words(head.finished_at - head.created_at)}" if head.finished_at is not None else ""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(head.created_at)) + took


class Summary(QFrame):
    """Engines, workload, sweep, each point, when, and the chip of how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        names = QWidget()
        self._engines = QHBoxLayout(names)
        self._engines.setContentsMargins(0, 0, 0, 0)
        self._engines.setSpacing(6)
        engines = column(label("Engines", "hint"), names, gap=2)
        engines.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(MARGIN, 8, MARGIN, 8)
        layout.setSpacing(20)
        layout.addWidget(engines, 12)
        self._values: dict[str, ElidedLine] = {}
        self._parts: dict[str, QWidget] = {}
        for name, stretch in (("Workload", 7), ("Sweep", 5), ("Each point", 5), ("Run", 6)):
            self._parts[name] = self._part(name)
            layout.addWidget(self._parts[name], stretch)
        self.state = chip("", "plain")
        self.state.setAccessibleName("How it ended")
        layout.addWidget(self.state, 0, Qt.AlignmentFlag.AlignVCenter)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room the drawer's facts are left to the drawer."""
        super().resizeEvent(event)
        for name, least in (("Each point", _WIDE), ("Run", _WIDE), ("Sweep", _MIDDLE)):
            self._parts[name].setVisible(event.size().width() >= least)

    def _part(self, name: str) -> QWidget:
        value = ElidedLine()
        if name == "Run":
            value.setFont(mono_font(12))
        self._values[name] = value
        return column(label(name, "hint"), value, gap=2)

    def show_view(self, view: RunView) -> None:
        """Show what this run is."""
        while (item := self._engines.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        names = [subject.name for subject in view.head.subjects]
        for slot, name in enumerate(names):
            self._engines.addWidget(self._engine(slot, name), 1000)
        self._engines.addStretch(1)
        for name, text in (
            ("Workload", spaced(view.head.workload.words)),
            ("Sweep", sweep_words(view)),
            ("Each point", each_words(view)),
            ("Run", when_words(view)),
        ):
            self._values[name].say(text)
        text, kind, tip = state_words(view)
        set_chip(self.state, text, kind)
        self.state.setToolTip(tip)
        self.state.setAccessibleDescription(tip)

    @staticmethod
    def _engine(slot: int, name: str) -> QWidget:
        named = ElidedLine()
        named.say(name)
        made = row(Marker(slot), named, gap=4)
        made.layout().setStretch(1, 1)
        made.setMaximumWidth(14 + 4 + named.fontMetrics().horizontalAdvance(name) + 6)
        made.setToolTip(name)
        return made
