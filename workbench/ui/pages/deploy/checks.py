"""What was checked before an export is written: each with what was found, and what to do where it is not so."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from workbench.core.deploy.export import Check
from workbench.ui.widgets.basics import GAP, MARGIN, column, label, row, set_sign
from workbench.ui.widgets.cause_card import breakable

_MOST = 60


class CheckRow(QWidget):
    """One check."""

    def __init__(self, check: Check) -> None:
        super().__init__()
        sign = label()
        icon_name, token = ("check", "ok") if check.ok else ("error", "err") if check.blocks else ("warn", "warn")
        set_sign(sign, icon_name, token)
        sign.setFixedSize(16, 20)
        name = label(breakable(check.name), "" if check.ok else "name", wrap=True)
        parts: list[QWidget | int | None] = [name]
        if check.found:
            parts.append(label(breakable(check.found), "small" if check.ok else "text2", wrap=True, selectable=True))
        if check.fix and not check.ok:
            parts.append(label(breakable(check.fix), "text2", wrap=True, selectable=True))
        made = row(sign, column(*parts, gap=2))
        made.layout().setAlignment(sign, Qt.AlignmentFlag.AlignTop)
        made.layout().setStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(made)
        state = "passed" if check.ok else "failed" if check.blocks else "to know"
        self.setAccessibleName(f"{state}: {check.name}")
        self.setAccessibleDescription(" ".join(part for part in (check.found, "" if check.ok else check.fix) if part))


class CheckList(QScrollArea):
    """The checks that failed come first, then those to know of, then those that passed."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Checks")
        self.viewport().setAutoFillBackground(False)
        self._shown: tuple[tuple[Check, ...], tuple[str, ...]] | None = None
        self.show_checks((), ())

    def show_checks(self, checks: tuple[Check, ...], notes: tuple[str, ...]) -> None:
        """Show these; nothing is touched when they are the same."""
        if (checks, notes) == self._shown:
            return
        self._shown = checks, notes
        at = self.verticalScrollBar().value()
        ordered = sorted(checks, key=lambda check: (check.ok, not check.blocks))
        parts: list[QWidget | int | None] = [CheckRow(check) for check in ordered[:_MOST]]
        if len(ordered) > _MOST:
            parts.append(label(f"and {len(ordered) - _MOST} more that passed", "text3"))
        if notes:
            parts += [GAP, label("To know", "heading"), *(label(breakable(one), "text2", wrap=True) for one in notes)]
        inside = column(*parts, None, gap=6, margins=(MARGIN, GAP, MARGIN, GAP))
        self.setWidget(inside)
        inside.setAutoFillBackground(False)  # the ground of what it stands on
        self.verticalScrollBar().setValue(at)

    def rows(self) -> list[CheckRow]:
        """As they stand, from above."""
        found = self.widget().findChildren(CheckRow) if self.widget() is not None else []
        return list(found)
