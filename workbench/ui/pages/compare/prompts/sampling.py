"""How the answers are drawn: the same for all variants."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QDoubleSpinBox, QFormLayout, QSpinBox, QVBoxLayout, QWidget

from workbench.core.messages import Sampling
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import MARGIN, button, label, row

_MOST = 2**31 - 1


class SamplingDialog(QDialog):
    """`asked` sends a Sampling."""

    asked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Sampling")
        self.setObjectName("compare-sampling")
        self.setModal(True)
        self._before = Sampling()
        self.max_tokens, self.seed, self.temperature = QSpinBox(), QSpinBox(), QDoubleSpinBox()
        self.max_tokens.setRange(1, 32_768)
        self.seed.setRange(0, _MOST)
        self.temperature.setRange(0.0, 10.0)
        self.temperature.setSingleStep(0.1)
        self.temperature.setDecimals(2)
        form = QFormLayout()
        for words, part in (
            ("Most tokens", self.max_tokens),
            ("Temperature", self.temperature),
            ("Seed", self.seed),
        ):
            part.setAccessibleName(words)
            part.setFont(mono_font())
            part.setFixedWidth(130)
            form.addRow(label(words, "text2"), part)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.addLayout(form)
        layout.addWidget(
            label("Temperature 0 takes the likeliest token each time: what differs is the engines'.", "hint", wrap=True)
        )
        layout.addWidget(row(None, button("Cancel", self.reject), button("Use", self._use, primary=True)))

    def ask(self, sampling: Sampling) -> None:
        self._before = sampling
        self.max_tokens.setValue(sampling.max_tokens)
        self.temperature.setValue(sampling.temperature or 0.0)
        self.seed.setValue(sampling.seed or 0)
        self.open()

    def _use(self) -> None:
        self.accept()
        self.asked.emit(
            self._before.model_copy(
                update={
                    "max_tokens": self.max_tokens.value(),
                    "temperature": self.temperature.value(),
                    "seed": self.seed.value(),
                }
            )
        )
