"""The page's first face: engines, workload and load at the left, the plan and Start at the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QScrollArea, QWidget

from workbench.core.measure.command import bench_command
from workbench.core.measure.load import Load
from workbench.core.measure.workload import Workload
from workbench.measure.running import RunRequest
from workbench.ui.pages.benchmark.chosen import Chosen, ChosenEngines
from workbench.ui.pages.benchmark.form import BenchForm
from workbench.ui.pages.benchmark.plan import WIDTH, Plan, plan_lines
from workbench.ui.widgets.basics import MARGIN, column, rule

_WIDEST = 860
"""px; a form that is wider is harder to read."""
_LEAST = 700
"""px that the form needs."""


class Setup(QWidget):
    """`started` gives a RunRequest."""

    started = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.engines, self.form, self.plan = ChosenEngines(), BenchForm(), Plan()
        self._inside = column(self.engines, self.form, None, gap=MARGIN, margins=(MARGIN, MARGIN, MARGIN, MARGIN))
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        area.setWidget(self._inside)
        self._inside.setMaximumWidth(_WIDEST)
        self._layout = layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(area, 1)
        self._rules = rule(vertical=True), rule()
        for line in self._rules:
            layout.addWidget(line)
        self._rules[1].hide()
        layout.addWidget(self.plan)
        self.engines.changed.connect(self.look)
        self.form.changed.connect(self.look)
        self.plan.started.connect(self.start)
        self.look()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """On a narrow page the plan stands below the form, which would be cut off beside it."""
        super().resizeEvent(event)
        narrow = event.size().width() < WIDTH + _LEAST
        way = QHBoxLayout.Direction.TopToBottom if narrow else QHBoxLayout.Direction.LeftToRight
        if way != self._layout.direction():
            self._layout.setDirection(way)
            self.plan.set_low(narrow)
            for line, shown in zip(self._rules, (not narrow, narrow), strict=True):
                line.setVisible(shown)

    def look(self) -> None:
        """Say what would be measured now."""
        count = len(self.engines.chosen)
        self.form.set_engines(count)
        try:
            values = self.form.values()
        except ValueError as error:
            self.plan.show_problem(str(error))
            return
        if not count:
            self.plan.show_problem("Choose an engine first.")
            return
        self.plan.show_plan(plan_lines(values, count), self._command())

    def _command(self) -> tuple[str, ...]:
        values = self.form.values()
        chosen = self.engines.chosen
        overrides = chosen[0].overrides if len({one.overrides for one in chosen}) == 1 else ()
        return bench_command(
            [str(one.path) for one in chosen],
            values.workload,
            values.load,
            alternated=values.alternated and len(chosen) > 1,
            overrides=overrides,
        )

    def request(self) -> RunRequest:
        """What Start measures. Raises ValueError with words for people."""
        values = self.form.values()
        if not self.engines.chosen:
            raise ValueError("Choose an engine first.")
        return RunRequest(
            tuple(one.asked for one in self.engines.chosen),
            values.workload,
            values.load,
            values.alternated and len(self.engines.chosen) > 1,
            command=self._command(),
        )

    def start(self) -> None:
        """Begin, where all that is needed is there."""
        try:
            self.started.emit(self.request())
        except ValueError as error:
            self.plan.show_problem(str(error))

    def show_request(self, chosen: tuple[Chosen, ...], workload: Workload, load: Load, *, alternated: bool) -> None:
        """Say the same as a run did."""
        self.form.show_values(workload, load, alternated=alternated)
        self.engines.take(chosen)

    def state(self) -> dict[str, Any]:
        engines = [
            {"path": str(one.path), "name": one.name, "detail": one.detail, "overrides": list(one.overrides)}
            for one in self.engines.chosen
        ]
        return {"form": self.form.state(), "engines": engines}

    def restore(self, state: dict[str, Any]) -> None:
        form, engines = state.get("form"), state.get("engines")
        if isinstance(form, dict):
            self.form.restore(form)
        kept = [one for one in engines if isinstance(one, dict)] if isinstance(engines, list) else []
        self.engines.take(
            Chosen(
                Path(str(one["path"])),
                str(one.get("name", "")),
                str(one.get("detail", "")),
                tuple(str(each) for each in one.get("overrides", ())),
            )
            for one in kept
            if one.get("path")
        )
