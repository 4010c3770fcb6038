"""Search and filters over the table of engines."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QFrame, QHBoxLayout, QLineEdit

from workbench.core.units import format_bytes
from workbench.ui.models.engines import EngineRow, EngineRows
from workbench.ui.widgets.basics import GAP, MARGIN, label

_HINT = "Name, model or tag"
_ROOMY = 660
"""px from which all of it has room."""


class EnginesBar(QFrame):
    """`changed` is sent when anything that is asked for changes."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.search = QLineEdit()
        self.search.setPlaceholderText(_HINT)
        self.search.setAccessibleName("Search engines by name, model or tag")
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumWidth(150)
        self.search.setMaximumWidth(260)
        self.model, self.weights, self.toolchain = (self._choice(n) for n in ("Model", "Precision", "Toolchain"))
        self.only_here = QCheckBox("Runs here")
        self.only_here.setAccessibleName("Only engines that run here")
        self.only_here.setToolTip("Only those that run here")
        self.count = label("", "text2")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        layout.setSpacing(GAP)
        layout.addWidget(self.search, 2)
        for box in (self.model, self.weights, self.toolchain):
            layout.addWidget(box, 1)
        layout.addWidget(self.only_here)
        layout.addStretch(1)
        layout.addWidget(self.count)
        self.search.textChanged.connect(self.changed)
        self.only_here.toggled.connect(self.changed)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """With little room the choices are narrower, and the count, which the table shows too, gives way."""
        super().resizeEvent(event)
        roomy = event.size().width() >= _ROOMY
        self.search.setMinimumWidth(150 if roomy else 84)
        self.search.setPlaceholderText(_HINT if roomy else "Search")
        self.only_here.setText("Runs here" if roomy else "Here")
        for box, narrow in ((self.model, 84), (self.weights, 100), (self.toolchain, 104)):
            box.setMinimumWidth(104 if roomy else narrow)
        self.count.setVisible(roomy)

    def _choice(self, name: str) -> QComboBox:
        box = QComboBox()
        box.setAccessibleName(f"Filter by {name.lower()}")
        box.addItem(name, "")
        box.setMinimumWidth(104)
        box.setMaximumWidth(160)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.currentIndexChanged.connect(self.changed)
        return box

    def offer(self, rows: tuple[EngineRow, ...]) -> None:
        """What can be chosen is what is there; a choice that is still possible stays."""
        for box, values in (
            (self.model, {row.model for row in rows}),
            (self.weights, {row.weights for row in rows}),
            (self.toolchain, {row.toolchain for row in rows}),
        ):
            self._fill(box, sorted(value for value in values if value))

    def _fill(self, box: QComboBox, values: list[str]) -> None:
        if values == [box.itemData(number) for number in range(1, box.count())]:
            return
        chosen = box.currentData()
        box.blockSignals(True)
        while box.count() > 1:
            box.removeItem(1)
        for value in values:
            box.addItem(value, value)
        box.setCurrentIndex(max(0, box.findData(chosen)))
        box.blockSignals(False)

    def asked(self) -> dict[str, Any]:
        """As EnginesFilter.ask wants it."""
        return {
            "text": self.search.text(),
            "model": self.model.currentData() or "",
            "weights": self.weights.currentData() or "",
            "toolchain": self.toolchain.currentData() or "",
            "only_here": self.only_here.isChecked(),
        }

    def say_count(self, shown: int, found: EngineRows) -> None:
        every = len(found.rows)
        if not found.complete:
            self.count.setText("looking at the folders")
            return
        engines = f"{every} engine{'' if every == 1 else 's'}"
        words = engines if shown == every else f"{shown} of {engines}"
        self.count.setText(f"{words}, {format_bytes(found.size_bytes)}")
