"""What to measure, in a small form: load, workload, quality and price; the last answers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QFrame,
    QLineEdit,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from workbench.core.errors import BadInputError
from workbench.core.measure.command import parse_levels
from workbench.core.measure.comparison import Price
from workbench.core.measure.load import Load
from workbench.core.measure.quality_options import QualityOptions, Simulated, TaskOptions
from workbench.core.measure.workload import WORKLOADS, Workload
from workbench.core.units import format_duration
from workbench.ui.models.compare_settings import Settings
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label, restyle, row, rule
from workbench.ui.widgets.search_box import Choice
from workbench.ui.widgets.switch import Switch

_SIMULATED = {"fp8": "FP8", "int8_sq": "INT8 SmoothQuant", "int4_awq": "INT4 AWQ", "nvfp4": "NVFP4"}
_UNITS = (("seconds a level", "duration_s"), ("requests a level", "requests"))
_BY_LEVEL = "So many requests are open at once, at each level"


class MeasureForm(QDialog):
    """`asked` is sent with Settings that make sense."""

    asked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Measure")
        self.setObjectName("measure-form")
        self.setModal(True)
        self.resize(580, 640)
        self._before = Settings()
        self._variants = 0
        self._make_parts()
        self._lay_out()
        for signal in (
            self.levels.textChanged,
            self.amount.valueChanged,
            self.unit.currentIndexChanged,
            self.repeats.valueChanged,
            self.warmup.valueChanged,
            self.workload.currentIndexChanged,
            self.speed.toggled,
            self.quality.toggled,
            self.price.textChanged,
            self.text.textChanged,
            self.tasks.textChanged,
        ):
            signal.connect(lambda *_: self._look())
        for box in self.simulated.values():
            box.toggled.connect(lambda *_: self._look())

    def _make_parts(self) -> None:
        self.speed, self.quality = Switch("Measure speed"), Switch("Measure quality")
        self.workload = Choice()
        for name, workload in WORKLOADS.items():
            self.workload.addItem(workload.words, name)
        self.workload.setAccessibleName("Workload")
        self.workload.setSizeAdjustPolicy(Choice.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.workload.setMinimumContentsLength(30)
        self.levels = QLineEdit()
        self.levels.setFont(mono_font())
        self.levels.setAccessibleName("Levels: concurrent requests")
        self.levels.setPlaceholderText("1, 4, 8")
        self.levels.setToolTip(_BY_LEVEL)
        self.amount = _number("Length of a level", 1, 86_400)
        self.unit = Choice()
        for words, key in _UNITS:
            self.unit.addItem(words, key)
        self.unit.setAccessibleName("Unit of the length of a level")
        self.warmup = _number("Requests of warm-up", 0, 10_000)
        self.repeats = _number("Repeats", 1, 100)
        self.alternated = QCheckBox("Variants take turns (A/B)")
        self.alternated.setToolTip("At every level and repeat, so that what changes with time meets all alike")
        self.text = QLineEdit()
        self.text.setPlaceholderText("the text that ships")
        self.text.setAccessibleName("Text for the perplexity: a file")
        self.tasks = QLineEdit()
        self.tasks.setPlaceholderText("none; MMLU, ARC, HellaSwag or GSM8K files")
        self.tasks.setAccessibleName("Files of tasks, with ; between them")
        self.simulated: dict[str, QCheckBox] = {}
        for name in get_args(Simulated):
            self.simulated[name] = QCheckBox(_SIMULATED.get(name, name))
        self.price = QLineEdit()
        self.price.setFont(mono_font())
        self.price.setPlaceholderText("not given")
        self.price.setFixedWidth(96)
        self.price.setAccessibleName("Price of an hour of this machine")
        self.currency = QLineEdit("USD")
        self.currency.setFixedWidth(64)
        self.currency.setMaxLength(8)
        self.currency.setAccessibleName("Currency of the price")
        self.said = label("", "small", wrap=True)
        self.said.setAccessibleName("About this measurement")
        self.problem = label("", "error", wrap=True)
        self.problem.setAccessibleName("What is wrong")
        self.go = button("Measure", self._ask, icon_name="play", primary=True)
        self.cancel = button("Cancel", self.reject)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(MARGIN, 12, MARGIN, 12)
        form.setHorizontalSpacing(MARGIN)
        form.setVerticalSpacing(GAP)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

        def add(words: str, *parts: QWidget | None) -> None:
            only = parts[0] if len(parts) == 1 else None
            form.addRow(label(words, "text2"), only if only is not None else row(*parts))

        form.addRow(row(label("Speed", "name"), None, self.speed))
        add("Workload", self.workload)
        add("Concurrency", self.levels)
        add("For", self.amount, self.unit, None)
        add("Warm-up", self.warmup, label("requests", "text3"), None)
        add("Repeats", self.repeats, self.alternated, None)
        form.addRow(rule())
        form.addRow(row(label("Quality", "name"), None, self.quality))
        add("Text", self.text, icon_button("folder", "Choose a text file", self._choose_text, flat=False))
        add("Task files", self.tasks, icon_button("folder", "Choose files of tasks", self._choose_tasks, flat=False))
        boxes = list(self.simulated.values())
        add("Simulate", *boxes[:2], None)
        add("", *boxes[2:], None)
        form.addRow(rule())
        add("Price an hour", self.price, self.currency, None)
        inside = QWidget()
        inside.setLayout(form)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, MARGIN)
        layout.setSpacing(GAP)
        layout.addWidget(area, 1)
        layout.addWidget(rule())
        for part in (self.said, self.problem, row(None, self.cancel, self.go)):
            layout.addWidget(_padded(part))

    # -- open

    def ask(self, settings: Settings, variants: int, warning: str = "") -> None:
        """Open the form with these answers."""
        self._before, self._variants, self._warning = settings, variants, warning
        load, quality = settings.load, settings.quality
        self.speed.setChecked(settings.speed)
        self.quality.setChecked(quality is not None)
        self._show_workload(settings.workload)
        self.levels.setText(", ".join(f"{level:g}" for level in load.levels))
        by_time = load.duration_s is not None
        self.unit.setCurrentIndex(0 if by_time else 1)
        self.amount.setValue(round(load.duration_s or 20) if by_time else load.requests or 8)
        self.warmup.setValue(load.warmup_requests)
        self.repeats.setValue(load.repeats)
        self.alternated.setChecked(settings.alternated)
        options = quality or QualityOptions()
        self.text.setText(options.text)
        self.tasks.setText("; ".join(task.path for task in options.tasks))
        for name, box in self.simulated.items():
            box.setChecked(name in options.simulate)
        self.price.setText(f"{settings.price.per_hour:g}" if settings.price is not None else "")
        self.currency.setText(settings.price.currency if settings.price is not None else "USD")
        self._look()
        self.open()
        self.levels.setFocus()

    def _show_workload(self, workload: Workload) -> None:
        """One that is not shipped stands first."""
        while self.workload.count() > len(WORKLOADS):
            self.workload.removeItem(0)
        name = next((name for name, one in WORKLOADS.items() if one == workload), "")
        if not name:
            self.workload.insertItem(0, workload.words, "")
        self.workload.setCurrentIndex(max(0, self.workload.findData(name)))

    # -- what was answered

    def settings(self) -> Settings:
        """The answers. Raises BadInputError."""
        name = self.workload.currentData()
        before = self._before
        workload = WORKLOADS[name] if name else before.workload
        load_data: dict[str, Any] = {
            **before.load.model_dump(),
            "arrival": "closed",
            "levels": parse_levels(self.levels.text(), "Concurrency"),
            "duration_s": None,
            "requests": None,
            self.unit.currentData(): self.amount.value(),
            "warmup_s": 0.0,
            "warmup_requests": self.warmup.value(),
            "repeats": self.repeats.value(),
        }
        try:
            load = Load.model_validate(load_data)
            price = self._price()
        except ValueError as error:
            raise BadInputError(str(error).splitlines()[-1], code="bad-load") from error
        if not self.speed.isChecked() and not self.quality.isChecked():
            raise BadInputError("Neither speed nor quality is to be measured.", code="nothing-to-measure")
        return Settings(
            workload=workload,
            load=load,
            speed=self.speed.isChecked(),
            quality=self._quality() if self.quality.isChecked() else None,
            prompts=before.prompts,
            sampling=before.sampling,
            price=price,
            alternated=self.alternated.isChecked(),
        )

    def _quality(self) -> QualityOptions:
        options = self._before.quality or QualityOptions()
        paths = [part.strip() for part in self.tasks.text().split(";") if part.strip()]
        for path in (self.text.text().strip(), *paths):
            if path and not Path(path).is_absolute():
                raise BadInputError("Files are named by their whole path.", evidence=path, code="bad-path")
        return options.model_copy(
            update={
                "text": self.text.text().strip(),
                "tasks": tuple(TaskOptions(path=path) for path in paths),
                "simulate": tuple(name for name, box in self.simulated.items() if box.isChecked()),
            }
        )

    def _price(self) -> Price | None:
        text = self.price.text().strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise BadInputError("The price of an hour is a number.", evidence=text, code="bad-price") from None
        if not 0 < value < 1e9:
            raise BadInputError("The price of an hour is above 0.", evidence=text, code="bad-price")
        return Price(per_hour=value, currency=self.currency.text().strip() or "USD")

    def _look(self) -> None:
        """Say what is wrong, or how long it takes."""
        for part in (self.workload, self.levels, self.amount, self.unit, self.warmup, self.repeats, self.alternated):
            part.setEnabled(self.speed.isChecked())
        for part in (self.text, self.tasks, *self.simulated.values()):
            part.setEnabled(self.quality.isChecked())
        problem = ""
        said: list[str] = []
        try:
            found = self.settings()
            simulated = len(found.quality.simulate) if found.quality is not None else 0
            if self._variants + simulated < 2:
                problem = "A comparison needs two variants at least: add another engine, or simulate a precision."
            said = self._duration(found)
        except BadInputError as error:
            problem = " ".join(part for part in (error.failure.what, error.failure.evidence) if part)
        if self._warning:
            said.append(self._warning)
        self.said.setText(" ".join(said))
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        restyle(self.levels, "wrong", "oncurrency" in problem)
        self.go.setEnabled(not problem)

    def _duration(self, found: Settings) -> list[str]:
        if not found.speed:
            return ["Each variant is loaded once and scored."]
        points = self._variants * len(found.load.levels) * found.load.repeats
        words = f"{self._variants} variants, {points} points"
        if found.load.duration_s is not None:
            words += f": {format_duration(points * found.load.duration_s)} of measuring at most, and the loading"
        return [f"{words}." if found.quality is None else f"{words}; then quality."]

    def _ask(self) -> None:
        try:
            found = self.settings()
        except BadInputError:
            self._look()
            return
        self.accept()
        self.asked.emit(found)

    def _choose_text(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Text for the perplexity", self.text.text())
        if path:
            self.text.setText(path)

    def _choose_tasks(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Files of tasks")
        if paths:
            before = [part.strip() for part in self.tasks.text().split(";") if part.strip()]
            self.tasks.setText("; ".join(dict.fromkeys((*before, *paths))))


def _number(name: str, low: int, high: int) -> QSpinBox:
    made = QSpinBox()
    made.setRange(low, high)
    made.setFont(mono_font())
    made.setAlignment(Qt.AlignmentFlag.AlignRight)
    made.setFixedWidth(96)
    made.setAccessibleName(name)
    return made


def _padded(part: QWidget) -> QWidget:
    made = row(part, margins=(MARGIN, 0, MARGIN, 0))
    made.layout().setStretch(0, 1)
    return made
