"""The Preflight card: what the build and its engine would take, drawn and in figures, and what to change."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from workbench.core.advice import Advice
from workbench.core.engine_estimate import EngineEstimate
from workbench.core.errors import Failure
from workbench.core.units import Range, format_bytes
from workbench.toolchains.planner import Report
from workbench.ui.models.preflight import Answer
from workbench.ui.pages.builder.advice_row import AdviceRow
from workbench.ui.theme import BASE, SMALL
from workbench.ui.widgets.basics import GAP, MARGIN, chip, figure, label, row, rule, set_chip
from workbench.ui.widgets.editors import number_words, spaced
from workbench.ui.widgets.memory_bar import MemoryBar, Swatch, free_bytes

WIDTH = 344
_LONG_FIGURE = 22
"""Letters of a range that fit beside its name; longer ones are set smaller."""
_PART_TITLES = {
    "weights": "Weights",
    "KV pool": "KV pool",
    "KV cache": "KV cache",
    "activations": "Activations",
    "runtime": "Runtime",
    "draft": "Draft",
    "others": "Other programs",
}


class PreflightCard(QFrame):
    """Shows an Answer. `lead` does what an advice line's button says."""

    def __init__(self, lead: Callable[[Advice, str], None]) -> None:
        super().__init__()
        self.setProperty("surface", "card")
        self.setFixedWidth(WIDTH)
        self.setAccessibleName("Preflight")
        self._lead = lead
        self._shown: object = None
        self._had_focus = False
        self.state, self.look_at = chip(""), chip("", "warn")
        head = row(label("Preflight", "name"), None, self.state, self.look_at, margins=(MARGIN, GAP, MARGIN, GAP))
        head.setFixedHeight(40)
        self._body = QWidget()
        self._body.setProperty("surface", "none")
        self._layout = QVBoxLayout(self._body)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setWidget(self._body)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._body.setAutoFillBackground(False)
        self.scroll.viewport().setAutoFillBackground(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(0)
        layout.addWidget(head)
        layout.addWidget(rule())
        layout.addWidget(self.scroll, 1)
        self.rows: list[AdviceRow] = []
        self.show_words("", "Choose a model folder.", "Preflight then tells what the build and its engine will take.")

    # -- what is shown

    def show_words(self, state: str, text: str, detail: str = "", kind: str = "plain") -> None:
        """A sentence where there are no figures yet."""
        if not self._fresh(("words", state, text, detail)):
            return
        self._chips(state, kind)
        self._layout.addWidget(_padded(label(text, "name", wrap=True), label(detail, "text2", wrap=True)))
        self._layout.addStretch(1)

    def show_failure(self, failure: Failure) -> None:
        """Why there is no plan: what happened, what shows it, what to do."""
        if not self._fresh(("failure", failure)):
            return
        self._chips("cannot be planned", "err")
        advice = Advice(
            code=failure.code, level="block", text=failure.what, arithmetic=failure.evidence, fix=failure.fix
        )
        self._add_advice([advice])
        self._layout.addStretch(1)

    def show_answer(self, answer: Answer) -> None:
        """The figures of a report."""
        report = answer.report
        assert report is not None
        key = (
            report.numbers,
            report.advice,
            report.elsewhere,
            answer.states,
            answer.disk_free_bytes and answer.disk_free_bytes >> 30,
        )
        if not self._fresh(key):
            return
        self._say_state(report)
        if report.planned_for:
            self._layout.addWidget(
                _padded(label(report.planned_for[:1].upper() + report.planned_for[1:], "small", wrap=True))
            )
        for engine in report.numbers.engines:
            self._layout.addWidget(_engine(engine))
        self._layout.addWidget(rule())
        self._layout.addWidget(_needs(report, answer))
        self._add_advice([*report.elsewhere, *report.advice])
        self._layout.addStretch(1)

    def _say_state(self, report: Report) -> None:
        blocks = [*report.blocks, *report.elsewhere]
        if report.blocks:
            hard = any(not block.estimate_only for block in report.blocks)
            self._chips("cannot be built" if hard else "would not fit", "err")
        elif report.elsewhere:
            self._chips(f"not on {report.target}" if report.target else "not on this machine", "warn")
        else:
            self._chips(f"can be built on {report.target}" if report.target else "can be built", "ok")
        count = len(report.advice) + len(report.elsewhere) - len(blocks)
        self.look_at.setVisible(count > 0)
        set_chip(
            self.look_at, f"{count} to look at", "warn" if any(a.level == "warning" for a in report.advice) else "plain"
        )

    def _chips(self, text: str, kind: str) -> None:
        set_chip(self.state, text, kind)
        self.setAccessibleDescription(text)
        self.state.setVisible(bool(text))
        self.look_at.hide()

    def _fresh(self, key: object) -> bool:
        """Empty the card if what it shows differs; a button that has the focus keeps it while nothing changes."""
        if key == self._shown:
            return False
        self._shown = key
        focused = QApplication.focusWidget()
        self._had_focus = focused is not None and self._body.isAncestorOf(focused)
        self.rows = []
        while (item := self._layout.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        return True

    def _add_advice(self, advice: list[Advice]) -> None:
        self.rows = [AdviceRow(one, self._lead) for one in advice]
        for made in self.rows:
            self._layout.addWidget(made)
        if self._had_focus and self.rows:  # the button that was pressed is gone; the next one is at hand
            self.rows[0].button.setFocus()


def _padded(*parts: QWidget) -> QWidget:
    made = QWidget()
    layout = QVBoxLayout(made)
    layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
    layout.setSpacing(4)
    for part in parts:
        layout.addWidget(part)
    return made


def _engine(engine: EngineEstimate) -> QWidget:
    """The memory picture, its legend, and how many sequences fit."""
    where = f"{engine.device}, loaded" if engine.device else "Host memory, loaded"
    if engine.gpus > 1:
        where = f"Each of {engine.gpus} x {engine.device}, loaded"
    precision = label(engine.precision.upper().replace("_", " "), "name")
    bar = MemoryBar()
    bar.show_engine(engine)
    total = figure(str(engine.total))
    over = engine.total.high > engine.memory_bytes
    if over:
        total.setProperty("role", "error")
    grid = QGridLayout()
    grid.setContentsMargins(0, 4, 0, 0)
    grid.setHorizontalSpacing(GAP)
    grid.setVerticalSpacing(2)
    grid.setColumnStretch(1, 1)
    for at, part in enumerate(engine.parts):
        value = figure(str(part.bytes))
        value.setToolTip(spaced(f"{part.bytes.formula}\n{part.bytes.source}"))
        grid.addWidget(Swatch(part.name), at, 0)
        grid.addWidget(label(_PART_TITLES.get(part.name, part.name), "text2"), at, 1)
        grid.addWidget(value, at, 2)
    low, high = free_bytes(engine)
    at = len(engine.parts)
    grid.addWidget(Swatch("free"), at, 0)
    grid.addWidget(label("Free", "text2"), at, 1)
    free = Range.bytes(low, high, formula="memory - parts", source="arithmetic")
    grid.addWidget(figure("none" if high <= 0 else str(free)), at, 2)
    legend = QWidget()
    legend.setLayout(grid)
    fits = engine.capacity.sequences
    low_fit, high_fit = int(fits.low), int(fits.high)
    count = number_words(low_fit) if low_fit == high_fit else f"{number_words(low_fit)} to {number_words(high_fit)}"
    line = row(
        label("Fits", "text2"), figure(count, bold=True),
        label("sequence of" if count == "1" else "sequences of", "text2"),
        figure(number_words(engine.sequence_tokens)), label("tokens", "text2"), None, gap=6,
    )  # fmt: skip
    line.setToolTip(spaced(f"{fits.formula}\n{engine.kv_bytes_per_token.formula}"))
    head = row(label(where, "small"), None, precision)
    sums = row(total, label(f"of {format_bytes(engine.memory_bytes)}", "hint"), None, gap=6)
    made = _padded(head, sums, bar, legend, line)
    made.setAccessibleName(f"{engine.precision}: {engine.total} of {format_bytes(engine.memory_bytes)}")
    return made


def _needs(report: Report, answer: Answer) -> QWidget:
    """Host memory peak, disk and time of the build."""
    numbers, host = report.numbers, answer.host
    memory = ""
    if host is not None:
        available = host.memory_available_bytes or host.memory_total_bytes
        memory = f"{format_bytes(available)} free"
    disk = f"{format_bytes(answer.disk_free_bytes)} free" if answer.disk_free_bytes is not None else ""
    reused = sum(1 for state in answer.states.values() if state == "reused")
    grid = QGridLayout()
    grid.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
    grid.setHorizontalSpacing(GAP)
    grid.setVerticalSpacing(4)
    grid.setColumnStretch(0, 1)
    rows: list[tuple[str, Range, str]] = [
        ("Host memory peak", numbers.host_memory_peak, memory),
        ("Disk", numbers.disk, disk),
        ("Time", numbers.seconds, f"{reused} step{'s' if reused > 1 else ''} reused" if reused else ""),
    ]
    for at, (title, value, beside) in enumerate(rows):
        shown = figure(str(value), SMALL if len(str(value)) > _LONG_FIGURE else BASE)
        shown.setToolTip(spaced(f"{value.formula}\n{value.source}"))
        grid.addWidget(label(title, "text2"), 2 * at, 0)
        grid.addWidget(shown, 2 * at, 1)
        if beside:
            note = label(beside, "hint")
            note.setAlignment(Qt.AlignmentFlag.AlignRight)
            grid.addWidget(note, 2 * at + 1, 1)
    made = QWidget()
    made.setLayout(grid)
    return made
