"""A group that folds: a heading with a summary on its right, and what it holds below."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from workbench.ui.widgets.basics import GAP, MARGIN, label, rule, set_icon


class Fold(QWidget):
    """`body` is shown while the group is open."""

    toggled = Signal(bool)

    def __init__(self, title: str, body: QWidget, *, is_open: bool = True) -> None:
        super().__init__()
        self.body = body
        self.head = QToolButton()
        self.head.setText(title)
        self.head.setCheckable(True)
        self.head.setChecked(is_open)
        self.head.setProperty("flat", True)
        self.head.setProperty("heading", True)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setAccessibleName(f"{title}: show or hide")
        self.head.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.head.toggled.connect(self._show)
        self.summary: QLabel = label("", "hint")
        self.summary.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.summary.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        line = QHBoxLayout()
        line.setContentsMargins(GAP, 4, MARGIN, 0)
        line.addWidget(self.head)
        line.addWidget(self.summary, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(rule())
        layout.addLayout(line)
        layout.addWidget(body)
        self._show(is_open)

    @property
    def is_open(self) -> bool:
        return self.head.isChecked()

    def set_open(self, is_open: bool) -> None:
        self.head.setChecked(is_open)

    def _show(self, is_open: bool) -> None:
        set_icon(self.head, "chevron-down" if is_open else "chevron-right", "text2")
        self.body.setVisible(is_open)
        self.toggled.emit(is_open)
