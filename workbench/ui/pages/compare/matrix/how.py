"""Below the matrix: how it was measured, what has to be known of it, and the command that does the same."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from workbench.core.report.model import Statement
from workbench.ui.models.comparison_view import Shown
from workbench.ui.widgets.basics import button, label, row, rule, set_sign, surface
from workbench.ui.widgets.elided_line import ElidedLine

_SIGNS = {
    "ok": ("check-circle", "ok"),
    "warning": ("warn", "warn"),
    "error": ("error", "err"),
    "note": ("info", "text3"),
}
_MOST = 5


class HowCard(QWidget):
    """`reproduce` is sent when the command is asked for."""

    reproduce = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._told: tuple[Statement, ...] | None = None
        self.button = button("Reproduce", self.reproduce.emit, small=True, name="Show the command that repeats this")
        self.lines: dict[str, ElidedLine] = {}
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        for number, name in enumerate(("Workload", "Load", "Quality", "Device", "Measured")):
            self.lines[name] = ElidedLine()
            grid.addWidget(label(name, "text3"), number, 0)
            grid.addWidget(self.lines[name], number, 1)
        self._statements = QVBoxLayout()
        self._statements.setContentsMargins(0, 0, 0, 0)
        self._statements.setSpacing(8)
        card = surface("card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(16, 12, 16, 12)
        inside.setSpacing(8)
        inside.addWidget(row(label("How it was measured", "name"), None, self.button))
        inside.addLayout(grid)
        inside.addWidget(rule())
        inside.addLayout(self._statements)
        inside.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(card)

    def show_shown(self, shown: Shown) -> None:
        head, environment = shown.head, shown.head.environment
        text = next((one.text for one in shown.comparison.quality if one.text), "")
        gpus = ", ".join(dict.fromkeys(environment.gpus))
        known = {
            "Workload": head.workload.words,
            "Load": head.load.words,
            "Quality": text or "not measured",
            "Device": gpus or environment.cpu or "not reported",
            "Measured": shown.when_words,
        }
        for name, words in known.items():
            self.lines[name].say(words)
        self.button.setEnabled(bool(head.command))
        self._show_statements(shown.statements)

    def _show_statements(self, statements: tuple[Statement, ...]) -> None:
        if statements == self._told:
            return
        self._told = statements
        while self._statements.count():
            item = self._statements.takeAt(0)
            if item is not None and (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        shown = statements[:_MOST]
        for statement in shown:
            sign = label()
            set_sign(sign, *_SIGNS[statement.tone])
            words = label(statement.text, "text2", wrap=True)
            line = row(sign, words)
            line.layout().setStretch(1, 1)
            line.layout().setAlignment(sign, Qt.AlignmentFlag.AlignTop)
            self._statements.addWidget(line)
        if len(statements) > _MOST:
            more = label(f"and {len(statements) - _MOST} more in the report", "hint")
            more.setToolTip("\n".join(one.text for one in statements[_MOST:]))
            self._statements.addWidget(more)
