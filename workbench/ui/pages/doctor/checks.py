"""What was looked at before an environment is made, a line each: sign, what it is about, what was found, the fix."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from workbench.toolchains.install.checks import Check
from workbench.ui.widgets.basics import GAP, label, set_sign

_SIGNS = {"ok": ("check-circle", "ok"), "warn": ("warn", "warn"), "blocked": ("error", "err")}
_WORDS = {"ok": "fine", "warn": "warning", "blocked": "it cannot work"}


class CheckList(QWidget):
    """Built anew with each answer; there are no more than nine lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("What was looked at")
        self.checks: tuple[Check, ...] = ()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(GAP)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(2, 1)

    @property
    def blocked(self) -> bool:
        return any(check.state == "blocked" for check in self.checks)

    def take(self, checks: Sequence[Check]) -> None:
        self.checks = tuple(checks)
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        for number, check in enumerate(self.checks):
            sign = QLabel()
            set_sign(sign, *_SIGNS[check.state])
            sign.setAccessibleName(f"{check.name}: {_WORDS[check.state]}")
            name = label(check.name[:1].upper() + check.name[1:], "text2")
            text = label(f"{check.text} {check.fix}".strip(), "" if check.state != "ok" else "text2", wrap=True,
                         selectable=True)  # fmt: skip
            text.setAccessibleName(f"{check.name}: {check.text}")
            text.setToolTip(check.detail)
            for column, widget in enumerate((sign, name, text)):
                self._grid.addWidget(widget, number, column, Qt.AlignmentFlag.AlignTop)
        self.setVisible(bool(self.checks))
