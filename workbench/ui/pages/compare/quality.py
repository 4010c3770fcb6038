"""Quality against the baseline: perplexity, agreement and KL with their intervals, tasks, and the worst prompts."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from workbench.ui.models.comparison_view import Shown


class QualityTab(QWidget):
    def show_shown(self, shown: Shown) -> None: ...
