"""The engines and endpoints that are to be measured: a row each, with the marker that they keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from workbench.core.measure.record import Subject
from workbench.measure.subjects import Asked
from workbench.ui.models.engines import EngineRow
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label, row
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.marker import Marker

MOST = 6


@dataclass(frozen=True)
class Chosen:
    """An engine of the form."""

    path: Path
    name: str
    detail: str = ""
    overrides: tuple[str, ...] = ()
    called: str = ""
    """The name that a run gave it; empty: it is given one."""

    @property
    def asked(self) -> Asked:
        return Asked(self.path, self.overrides, self.called)


def of_row(found: EngineRow) -> Chosen:
    """An engine of the store."""
    parts = (found.weights, found.model, f"{found.toolchain} {found.toolchain_version}".strip())
    return Chosen(found.path, found.name, ", ".join(part for part in parts if part))


def of_subject(subject: Subject) -> Chosen:
    """What a run measured."""
    parts = (subject.precision.upper().replace("_", " "), subject.model, subject.toolchain_title or subject.toolchain)
    detail = ", ".join(part for part in parts if part)
    return Chosen(Path(subject.path), subject.name, detail, subject.overrides, subject.name)


class ChosenEngines(QFrame):
    """`changed`: others are chosen; `asked`: a person wants to add some."""

    changed = Signal()
    asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "card")
        self._chosen: tuple[Chosen, ...] = ()
        self.add_button = button("Add engines…", self.asked.emit, icon_name="plus", small=True)
        self.add_button.setAccessibleName("Add engines and endpoints to measure")
        self._count = label("", "hint")
        self._list = QVBoxLayout()
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.setSpacing(2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 12, MARGIN, 12)
        layout.setSpacing(GAP)
        layout.addWidget(row(label("Engines and endpoints", "name"), self._count, None, self.add_button))
        layout.addLayout(self._list)
        self._show()

    @property
    def chosen(self) -> tuple[Chosen, ...]:
        return self._chosen

    @property
    def room_left(self) -> int:
        return MOST - len(self._chosen)

    def take(self, chosen: Iterable[Chosen]) -> None:
        """Measure these and no others."""
        self._chosen = tuple(chosen)[:MOST]
        self._show()
        self.changed.emit()

    def add(self, more: Iterable[Chosen]) -> None:
        """Measure these, too; one that is chosen already is not taken twice."""
        there = {(one.path, one.overrides) for one in self._chosen}
        self.take((*self._chosen, *(one for one in more if (one.path, one.overrides) not in there)))

    def remove(self, one: Chosen) -> None:
        self.take(other for other in self._chosen if other is not one)
        self.add_button.setFocus()

    def _show(self) -> None:
        while (item := self._list.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for slot, one in enumerate(self._chosen):
            self._list.addWidget(self._row(slot, one))
        if not self._chosen:
            self._list.addWidget(
                label("Choose what is to be measured: one engine, or up to six side by side.", "text3")
            )
        self._count.setText(f"{len(self._chosen)} of {MOST}" if self._chosen else "")
        self.add_button.setEnabled(self.room_left > 0)
        self.add_button.setToolTip("" if self.room_left > 0 else f"A run is of {MOST} at most")

    def _row(self, slot: int, one: Chosen) -> QWidget:
        detail = ElidedLine("text3")
        detail.say(one.detail, str(one.path))
        name = label(one.name, "name")
        name.setToolTip(str(one.path))
        gone = icon_button("close", f"Do not measure {one.name}", lambda: self.remove(one))
        gone.setProperty("small", True)
        made = row(Marker(slot), name, detail, gone)
        made.layout().setStretch(2, 1)
        return made
