"""How answers are drawn: one slider and field a setting, those that the loaded engine takes."""

from __future__ import annotations

import contextlib
import math
import secrets
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLabel, QLineEdit, QSlider, QVBoxLayout, QWidget

from workbench.core.messages import Sampling
from workbench.core.sampling_fields import FIELDS, SamplingError, SamplingField, to_sampling
from workbench.ui.pages.playground.settings.stops import StopStrings
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label, restyle, row
from workbench.ui.widgets.fold import Fold
from workbench.ui.widgets.switch import Switch

FIELD_WIDTH, LABEL_WIDTH = 58, 96
_MOST_DRAWN_SEED = 999_999
"""Short enough to be read out; any seed of 32 bits may be typed."""
_SHORT = {"repetition_penalty": "Repetition pen."}
"""Names that are too long for their column; sentences have them in full."""


class SettingRow:
    """A slider and the number that it stands for; the number may be typed beyond the slider's ends."""

    def __init__(self, field: SamplingField, grid: QGridLayout, at: int, changed: Signal) -> None:
        self.field = field
        self._steps = 10**field.decimals
        self.name = label(_SHORT.get(field.name, field.title), "text2")
        self.name.setMinimumWidth(LABEL_WIDTH)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(round(field.low * self._steps), round(field.high * self._steps))
        self.slider.setAccessibleName(f"{field.title}, slider")
        self.slider.setMinimumWidth(60)
        self.edit = QLineEdit()
        self.edit.setFont(mono_font())
        self.edit.setFixedWidth(FIELD_WIDTH)
        self.edit.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.edit.setAccessibleName(field.title)
        self.problem = label("", "error", wrap=True)
        self.problem.hide()
        self.set_value(field.start)
        self.set_why("")
        for column, widget in enumerate((self.name, self.slider, self.edit)):
            grid.addWidget(widget, 2 * at, column)
        grid.addWidget(self.problem, 2 * at + 1, 0, 1, 3)
        self.slider.valueChanged.connect(lambda steps: self._slid(steps, changed))
        self.edit.textEdited.connect(lambda _: self._typed(changed))
        self.edit.editingFinished.connect(self._tidy)

    def value(self) -> float:
        """Raises SamplingError for what is no number."""
        text = self.edit.text().strip().replace("\u202f", "").replace(" ", "")
        try:
            number = float(text) if self.field.decimals else int(text)
        except ValueError:
            number = math.nan
        if math.isnan(number):  # float() takes "nan" too
            kind = "a number" if self.field.decimals else "a whole number"
            raise SamplingError(self.field.name, f"{self.field.title} must be {kind}.")
        if not abs(number) < 1e12:
            raise SamplingError(self.field.name, f"{self.field.title} is too large.")
        return number

    def set_value(self, value: float) -> None:
        self.edit.setText(f"{value:.{self.field.decimals}f}")
        self._follow(value)

    def show_problem(self, words: str) -> None:
        self.problem.setText(words)
        self.problem.setVisible(bool(words))
        restyle(self.edit, "wrong", bool(words))
        self.edit.setAccessibleDescription(words or self.field.help)

    def set_why(self, why_not: str) -> None:
        """Grey it out with the reason; "" makes it usable."""
        for widget in (self.name, self.slider, self.edit):
            widget.setEnabled(not why_not)
            widget.setToolTip(why_not or self.field.help)

    def _follow(self, value: float) -> None:
        was = self.slider.blockSignals(True)
        self.slider.setValue(round(min(max(value, self.field.low), self.field.high) * self._steps))
        self.slider.blockSignals(was)

    def _slid(self, steps: int, changed: Any) -> None:
        self.edit.setText(f"{steps / self._steps:.{self.field.decimals}f}")
        changed.emit()

    def _typed(self, changed: Any) -> None:
        with contextlib.suppress(SamplingError):
            self._follow(self.value())
        changed.emit()

    def _tidy(self) -> None:
        with contextlib.suppress(SamplingError):  # what is wrong stays as it was typed, and is marked
            self.set_value(self.value())


class SamplingPanel(Fold):
    """All settings of a request. `changed` when a person changed one: who hears it calls `check`, which marks what is
    wrong and returns the words of it.
    """

    changed = Signal()

    def __init__(self) -> None:
        body = QWidget()
        super().__init__("Sampling", body)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        self.rows = {
            field.name: SettingRow(field, grid, at, self.changed)  # type: ignore[arg-type]
            for at, field in enumerate(FIELDS)
        }
        self.seed = QLineEdit()
        self.seed.setFont(mono_font())
        self.seed.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.seed.setAccessibleName("Seed")
        self.keep_seed = icon_button("lock", "Keep this seed for every answer", flat=False)
        self.keep_seed.setCheckable(True)
        self.draw_button = icon_button("dice", "Draw another seed", self._draw_another, flat=False)
        self.stops = StopStrings()
        self.logprobs = Switch("Token log-probabilities")
        self.logprobs.setChecked(True)
        self.seed_name, self.stops_name = label("Seed", "text2"), label("Stop strings", "text2")
        self.logprobs_name = label("Log-probabilities", "text2")
        self.problem = label("", "error", wrap=True)
        self.problem.hide()
        reset = button("Reset", self.reset, small=True, name="Reset the sampling settings")
        reset.setProperty("flat", True)
        at = 2 * len(FIELDS)
        grid.addWidget(self.seed_name, at, 0)
        grid.addWidget(row(self.seed, self.keep_seed, self.draw_button), at, 1, 1, 2)
        grid.addWidget(self.stops_name, at + 1, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.stops, at + 1, 1, 1, 2)
        grid.addWidget(self.logprobs_name, at + 2, 0, 1, 2)
        grid.addWidget(self.logprobs, at + 2, 2, Qt.AlignmentFlag.AlignRight)
        layout = QVBoxLayout(body)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, 12)
        layout.setSpacing(4)
        layout.addLayout(grid)
        layout.addWidget(self.problem)
        layout.addWidget(row(None, reset))
        self.draw_seed()
        self._supported: frozenset[str] | None = None
        self.seed.setToolTip("Where the drawing begins: the same seed, prompt and settings give the same answer")
        self.seed.textEdited.connect(lambda _: self._seed_typed())
        self.seed.editingFinished.connect(lambda: self.seed.home(False))
        self.stops.changed.connect(self.changed)
        self.keep_seed.clicked.connect(lambda: self.changed.emit())
        self.logprobs.clicked.connect(lambda: self.changed.emit())

    # -- values

    def sampling(self, *, draw: bool = False) -> Sampling:
        """The settings of the next request; `draw`: with a new seed, unless it is kept. Raises SamplingError."""
        if draw and not self.keep_seed.isChecked():
            self.draw_seed()
        values: dict[str, Any] = {name: setting.value() for name, setting in self.rows.items()}
        text = self.seed.text().strip()
        if not text.isdecimal() or int(text) >= 2**32:
            raise SamplingError("seed", "Seed must be a whole number from 0 to 4 294 967 295.")
        values |= {"seed": int(text), "stop": self.stops.values(), "logprobs": self.logprobs.isChecked()}
        return to_sampling(values, self._supported)

    def check(self) -> str:
        """Mark what is wrong; its words, "" when all can be sent."""
        wrong, words = "", ""
        try:
            self.sampling()
        except SamplingError as error:
            wrong, words = error.name, str(error)
        for name, setting in self.rows.items():
            setting.show_problem(words if name == wrong else "")
        other = words if wrong and wrong not in self.rows else ""
        self.problem.setText(other)
        self.problem.setVisible(bool(other))
        restyle(self.seed, "wrong", wrong == "seed")
        return words

    def draw_seed(self) -> None:
        self._show_seed(str(secrets.randbelow(_MOST_DRAWN_SEED + 1)))

    def _show_seed(self, text: str) -> None:
        self.seed.setText(text)
        self.seed.home(False)  # a long one is read from its front

    def reset(self) -> None:
        """All as it was at first."""
        for field in FIELDS:
            self.rows[field.name].set_value(field.start)
        self.stops.set_values(())
        self.keep_seed.setChecked(False)
        self.draw_seed()
        self.logprobs.setChecked(True)
        self.changed.emit()

    def show_engine(self, supported: tuple[str, ...] | None, who: str) -> None:
        """Offer what the engine takes; None: it does not say, so all is offered."""
        self._supported = None if supported is None else frozenset(supported)
        for name, setting in self.rows.items():
            takes = self._supported is None or name in self._supported
            setting.set_why("" if takes else f"{who} has no such setting.")
        for name, widgets in (
            ("seed", (self.seed_name, self.seed, self.keep_seed, self.draw_button)),
            ("stop", (self.stops_name, self.stops)),
            ("logprobs", (self.logprobs_name, self.logprobs)),
        ):
            takes = self._supported is None or name in self._supported
            for widget in widgets:
                widget.setEnabled(takes)
                if not takes:
                    widget.setToolTip(f"Not reported by {who} as it is loaded.")
                elif isinstance(widget, QLabel | Switch):
                    widget.setToolTip("")
        self.check()

    def _draw_another(self) -> None:
        self.draw_seed()
        self.changed.emit()  # what stood there may have been wrong

    def _seed_typed(self) -> None:
        self.keep_seed.setChecked(True)
        self.changed.emit()

    # -- between starts

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {"open": self.is_open, "stop": list(self.stops.values())}
        for name, setting in self.rows.items():
            try:
                found[name] = setting.value()
            except SamplingError:
                continue
        if self.keep_seed.isChecked():
            found["seed"] = self.seed.text()
        return found | {"logprobs": self.logprobs.isChecked()}

    def restore(self, state: dict[str, Any]) -> None:
        for name, setting in self.rows.items():
            value = state.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                setting.set_value(value)
        stops = state.get("stop")
        if isinstance(stops, list):
            self.stops.set_values(tuple(str(one) for one in stops))
        if isinstance(state.get("seed"), str):
            self._show_seed(state["seed"])
            self.keep_seed.setChecked(True)
        self.logprobs.setChecked(bool(state.get("logprobs", True)))
        self.set_open(bool(state.get("open", True)))
        self.check()
