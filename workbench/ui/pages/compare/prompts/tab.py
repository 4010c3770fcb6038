"""Prompts to all variants."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from workbench.ui.models.comparing import Comparing
from workbench.ui.models.comparison_view import Shown
from workbench.ui.session import Session


class PromptsTab(QWidget):
    def __init__(self, session: Session, model: Comparing) -> None:
        super().__init__()

    def show_shown(self, shown: Shown) -> None: ...

    def stream(self, subject: str, prompt: int, text: str) -> None: ...

    def set_running(self, running: bool) -> None: ...
