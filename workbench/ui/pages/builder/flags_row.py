"""The form's last line: how many flags the toolchain's own build has, how many are changed, and their table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from workbench.core.preset import Preset
from workbench.ui.models.flags import flags_of, flags_summary
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, rule


class FlagsRow(QWidget):
    """Hidden for toolchains that have no flags of their own."""

    def __init__(self, open_table: Callable[[], None]) -> None:
        super().__init__()
        self.summary = label("", "hint")
        self.open = button("Open table", open_table, small=True, name="All build flags")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(rule())
        line = QHBoxLayout()
        line.setContentsMargins(MARGIN + GAP, 4, MARGIN, GAP)
        line.addWidget(label("All build flags", "name"))
        line.addWidget(self.summary)
        line.addStretch(1)
        line.addWidget(self.open)
        layout.addLayout(line)

    def show_preset(self, preset: Preset) -> None:
        self.setVisible(bool(flags_of(preset)))
        self.summary.setText(flags_summary(preset))

    def open_table(
        self,
        preset: Preset,
        apply: Callable[[dict[str, Any]], None],
        capability: tuple[int, int] | None,
        architecture: str | None,
    ) -> None:
        """Open the table of all flags; `apply` gets what was chosen. GPU and model are judged where they are known."""
        from workbench.ui.pages.builder.flags import FlagsDialog

        if not flags_of(preset):
            return
        dialog = FlagsDialog(preset, self.window(), compute_capability=capability, architecture=architecture)
        dialog.finished.connect(dialog.deleteLater)
        dialog.applied.connect(apply)
        dialog.open()
