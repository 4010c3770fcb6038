"""What to measure: workload and load, as text fields that read what the command line reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QVBoxLayout, QWidget

from workbench.core.errors import BadInputError
from workbench.core.measure.command import (
    Typed,
    lengths_text,
    load_from,
    parse_lengths,
    parse_levels,
    workload_from,
)
from workbench.core.measure.load import Load
from workbench.core.measure.workload import WORKLOADS, Workload
from workbench.ui.widgets.basics import GAP, MARGIN, button, label
from workbench.ui.widgets.fields import Field, Segments, SwitchField, grid_of, number, whole
from workbench.ui.widgets.fold import Fold

FILE, TRACE = "file", "trace"
_ARRIVALS = (
    ("closed", "Users", "So many requests are open at any time: as soon as one ends the next is sent"),
    ("constant", "Constant rate", "Requests are sent at even distances, whatever the engine does"),
    ("poisson", "Poisson rate", "Requests are sent at random distances, as from many people"),
)
_FIRST_LEVELS = {"closed": "1,2,4,8", "constant": "1,2,4", "poisson": "1,2,4", "trace": "1"}
_LENGTH_TIP = (
    "Tokens. 512: all the same; 128..1024: evenly between; 512~64: normal, mean and deviation; "
    "lognormal:512~300; 64,128,256: one of these"
)


@dataclass(frozen=True)
class FormValues:
    """What the form says."""

    workload: Workload
    load: Load
    alternated: bool


class BenchForm(QWidget):
    """Workload and load. `changed` is sent when a person changed something."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._levels = dict(_FIRST_LEVELS)
        """What was typed for each arrival."""
        self._arrival = "closed"
        self._make_workload()
        self._make_load()
        self._make_more()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(MARGIN)
        layout.addWidget(_card("Workload", self.kind, self.file, self.input, self.output, self.fixed, self.prefix))
        layout.addWidget(
            _card(
                "Load", self.order, self.arrival, self.levels, self.duration, self.requests, self.warmup, self.repeats,
                self.saturated,
            )
        )  # fmt: skip
        self.more = Fold(
            "More",
            _inside(
                self.ttft_limit, self.itl_limit, self.latency_limit, self.cancel, self.timeout, self.drain,
                self.distinct, self.groups, self.chat, self.temperature, self.seed,
            ),
            is_open=False,
        )  # fmt: skip
        more = QFrame()
        more.setProperty("surface", "card")
        inner = QVBoxLayout(more)
        inner.setContentsMargins(1, 0, 1, 6)
        inner.addWidget(self.more)
        layout.addWidget(more)
        for field in self.fields:
            field.changed.connect(self._edited)
        self._take_workload("chat")
        self._show_use()

    # -- its parts

    def _make_workload(self) -> None:
        words = {"demo": "64 tokens in, 32 out: for a first look"}
        choices = [(name, name.capitalize() if name != "rag" else "RAG", "") for name in WORKLOADS]
        choices = [(n, w, words.get(n, WORKLOADS[n].words)) for n, w, _ in choices]
        self.kind = Segments(
            "Kind",
            [
                *choices,
                (FILE, "Own file", "Prompts of your own: .txt, or .jsonl"),
                (TRACE, "Trace", "Requests at the times and lengths of a recorded trace (.jsonl)"),
            ],
        )
        self.kind.choose("chat")
        self.kind.changed.connect(self._take_workload)
        choose = button("Choose…", self._choose_file, icon_name="folder", name="Choose the file of prompts")
        self.file = Field("File", str, wide=True, extra=(choose,), tip="A prompt a line, or JSON lines")
        self.input = Field(
            "Input length", parse_lengths, unit="tokens", hint="512, 128..1024 or 512~64", tip=_LENGTH_TIP, wide=True
        )
        self.output = Field("Output length", parse_lengths, unit="tokens", tip=_LENGTH_TIP, wide=True)
        self.fixed = SwitchField(
            "Fixed output", "Answers go on to their length whatever the model says: fair for speed", on=True
        )
        self.prefix = Field(
            "Shared prefix",
            whole(0, 1_000_000),
            unit="tokens",
            hint="the same first tokens in all requests",
            empty="0",
        )

    def _make_load(self) -> None:
        self.order = Segments(
            "Engines",
            [
                ("grouped", "One after the other", "Each engine is loaded once and measured at all levels"),
                (
                    "alternated",
                    "Taking turns (A/B)",
                    "At every level and repeat, the order turned each time: a drift of the machine weighs on all alike",
                ),
            ],
        )
        self.arrival = Segments("Arrival", _ARRIVALS)
        self.arrival.changed.connect(self._take_arrival)
        self.levels = Field(
            "Levels",
            _levels,
            unit="users",
            hint="1,2,4,8, or 1..128 for every doubling",
            wide=True,
        )
        self.duration = Field("Each point", number(0, 1e6, open_low=True), unit="s", hint="measured time", empty="none")
        self.requests = Field(
            "or at most", whole(1, 10_000_000), unit="requests", hint="whichever comes first", empty="none"
        )
        self.warmup = Field("Warm-up", number(0, 1e5), unit="s", hint="left out of all figures", empty="0")
        self.repeats = Field(
            "Repeats", whole(1, 100), unit="times", hint="three or more give intervals of throughput", empty="1"
        )
        self.saturated = SwitchField("Stop when saturated", "No higher level once more load brings nothing", on=True)
        self.levels.set_text(self._levels["closed"])
        self.duration.set_text("30")
        self.warmup.set_text("5")
        self.repeats.set_text("1")

    def _make_more(self) -> None:
        above = number(0, 1e9, open_low=True)
        tip = "A request that keeps every limit counts as goodput"
        self.ttft_limit = Field("TTFT limit", above, unit="ms", hint="for goodput", empty="none", tip=tip)
        self.itl_limit = Field("Inter-token limit", above, unit="ms", empty="none", tip=tip)
        self.latency_limit = Field("Whole-answer limit", above, unit="ms", empty="none", tip=tip)
        self.cancel = Field(
            "Cancelled", number(0, 100), unit="%", hint="of the requests, half-way, as people do", empty="0"
        )
        self.timeout = Field(
            "Time-out", number(0, 1e6, open_low=True), unit="s", hint="then a request has failed", empty="600"
        )
        self.drain = Field("After the end", number(0, 1e5), unit="s", hint="for answers that have begun", empty="30")
        self.distinct = Field("Distinct prompts", whole(1, 100_000), hint="then they are asked again", empty="240")
        self.groups = Field("Prefix groups", whole(1, 10_000), hint="each with a shared prefix of its own", empty="1")
        self.chat = SwitchField("Chat template", "Sent as a message; off: as plain text", on=True)
        self.temperature = Field("Temperature", number(0, 10), empty="0")
        self.seed = Field("Seed", whole(0, 2**31 - 1), empty="1234")

    @property
    def fields(self) -> tuple[Field | SwitchField | Segments, ...]:
        """All, in their order."""
        return tuple(one for one in vars(self).values() if isinstance(one, Field | SwitchField | Segments))

    @property
    def texts(self) -> dict[str, Field]:
        return {name: one for name, one in vars(self).items() if isinstance(one, Field)}

    # -- reading it

    def values(self) -> FormValues:
        """What it says. Raises ValueError with words for people, which stand beside the field, too."""
        wrong = next((words for words in [one.check() for one in self.texts.values()] if words), "")
        if wrong:
            raise ValueError(wrong)
        if self.duration.value() is None and self.requests.value() is None and self.kind.value != TRACE:
            raise ValueError("Say how long a point is measured: seconds or requests.")
        try:
            typed = self._typed()
            return FormValues(workload_from(typed), load_from(typed), self.order.value == "alternated")
        except BadInputError as error:
            evidence = f" ({error.failure.evidence})" if error.failure.evidence else ""
            raise ValueError(f"{error.failure.what}{evidence}") from error

    def _typed(self) -> Typed:
        kind, arrival = self.kind.value, self.arrival.value
        own = kind in (FILE, TRACE)
        trace = kind == TRACE
        levels = self.levels.text()
        cancel = self.cancel.value()
        return Typed(
            workload="chat" if own else kind,
            input=self.input.text() if not own else None,
            output=self.output.text() if not trace else None,
            file=self.file.text() if kind == FILE else None,
            trace=self.file.text() if trace else None,
            fixed_output=self.fixed.on,
            prefix=None if own else self.prefix.value() or 0,
            prefix_groups=self.groups.value(),
            distinct=self.distinct.value(),
            chat=self.chat.on,
            temperature=self.temperature.value(),
            seed=self.seed.value(),
            concurrency=levels if arrival == "closed" and not trace else None,
            rate=levels if arrival != "closed" and not trace else None,
            arrival=arrival if arrival != "closed" and not trace else None,
            speed=levels if trace else None,
            duration_s=self.duration.value(),
            requests=self.requests.value(),
            warmup_s=self.warmup.value(),
            repeats=self.repeats.value(),
            timeout_s=self.timeout.value(),
            cancel_share=cancel / 100 if cancel is not None else None,
            ttft_limit_ms=self.ttft_limit.value(),
            itl_limit_ms=self.itl_limit.value(),
            latency_limit_ms=self.latency_limit.value(),
            stop_saturated=self.saturated.on,
            drain_s=self.drain.value(),
        )

    # -- what belongs together

    def set_engines(self, count: int) -> None:
        """Whether there is an order to choose."""
        self.order.set_shown(count > 1)

    def _edited(self, *_: object) -> None:
        self._levels[self._level_kind()] = self.levels.text()
        self.changed.emit()

    def _level_kind(self) -> str:
        return TRACE if self.kind.value == TRACE else self.arrival.value

    def _take_workload(self, kind: str) -> None:
        base = WORKLOADS.get(kind)
        if base is not None:
            self.input.set_text(lengths_text(base.input))
            self.output.set_text(lengths_text(base.output))
            self.prefix.set_text(str(base.shared_prefix_tokens) if base.shared_prefix_tokens else "")
        self._show_use()

    def _take_arrival(self, _: str) -> None:
        self._show_use()

    def _show_use(self) -> None:
        """Show what is asked for with this kind of workload and arrival."""
        kind = self.kind.value
        trace, own = kind == TRACE, kind in (FILE, TRACE)
        self.file.set_shown(own)
        for field in (self.input, self.prefix):
            field.set_shown(not own)
        self.output.set_shown(not trace)
        self.arrival.set_shown(not trace)
        self.levels.set_text(self._levels[self._level_kind()])
        unit = {"closed": "users", "trace": "times its speed"}.get(self._level_kind(), "requests a second")
        self.levels.unit.setText(unit)
        self.levels.edit.setAccessibleName(f"Levels, {unit}")

    def _choose_file(self) -> None:
        kinds = "JSON lines (*.jsonl)" if self.kind.value == TRACE else "Prompts (*.jsonl *.txt)"
        path, _ = QFileDialog.getOpenFileName(self, "File of the workload", self.file.text(), kinds)
        if path:
            self.file.set_text(path)
            self.file.changed.emit()

    # -- between starts

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: one.edit.text() for name, one in self.texts.items()}
        for name, one in vars(self).items():
            if isinstance(one, SwitchField):
                found[name] = one.on
            elif isinstance(one, Segments):
                found[name] = one.value
        return found

    def restore(self, state: dict[str, Any]) -> None:
        for name, one in vars(self).items():
            value = state.get(name)
            if isinstance(one, Segments) and isinstance(value, str):
                one.choose(value)
            elif isinstance(one, SwitchField) and isinstance(value, bool):
                one.switch.setChecked(value)
        if isinstance(levels := state.get("levels"), str):
            self._levels[self._level_kind()] = levels
        for name, one in self.texts.items():
            if isinstance(value := state.get(name), str):
                one.set_text(value)
        self._show_use()

    def show_values(self, workload: Workload, load: Load, *, alternated: bool) -> None:
        """Say the same as a run did."""
        kind = workload.kind if workload.kind in (FILE, TRACE) else workload.name
        self.kind.choose(kind if kind in (*WORKLOADS, FILE, TRACE) else "chat")
        if load.arrival != "trace":
            self.arrival.choose(load.arrival)
        self.order.choose("alternated" if alternated else "grouped")
        self._levels[self._level_kind()] = ",".join(f"{level:g}" for level in load.levels)
        limits = load.limits
        texts = {
            "file": workload.file,
            "input": lengths_text(workload.input),
            "output": lengths_text(workload.output),
            "prefix": _text(workload.shared_prefix_tokens or None),
            "duration": _text(load.duration_s),
            "requests": _text(load.requests),
            "warmup": _text(load.warmup_s or None),
            "repeats": _text(load.repeats),
            "ttft_limit": _text(limits.ttft_ms),
            "itl_limit": _text(limits.itl_ms),
            "latency_limit": _text(limits.latency_ms),
            "cancel": _text(load.cancel_share * 100 or None),
            "timeout": _text(load.timeout_s),
            "drain": _text(load.drain_s),
            "distinct": _text(workload.prompts),
            "groups": _text(workload.prefix_groups),
            "temperature": _text(workload.temperature),
            "seed": _text(workload.seed),
        }
        for name, text in texts.items():
            self.texts[name].set_text(text)
        self.fixed.switch.setChecked(workload.fixed_output)
        self.chat.switch.setChecked(workload.chat)
        self.saturated.switch.setChecked(load.stop_saturated)
        self._show_use()


def _levels(text: str) -> tuple[float, ...]:
    try:
        return parse_levels(text, "levels")
    except BadInputError:
        raise ValueError("Levels: numbers above 0, as 1,8,32, or 1..128 for every doubling.") from None


def _text(value: float | int | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _inside(*fields: Field | SwitchField | Segments) -> QWidget:
    made = grid_of(*fields)
    made.layout().setContentsMargins(MARGIN, GAP, MARGIN, GAP)
    return made


def _card(title: str, *fields: Field | SwitchField | Segments) -> QFrame:
    made = QFrame()
    made.setProperty("surface", "card")
    layout = QVBoxLayout(made)
    layout.setContentsMargins(MARGIN, 12, MARGIN, 12)
    layout.setSpacing(GAP)
    layout.addWidget(label(title, "name"), 0, Qt.AlignmentFlag.AlignLeft)
    layout.addWidget(grid_of(*fields))
    return made
