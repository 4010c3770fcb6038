"""The variants as chips: marker and name, the baseline first, each with what can be done with it."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMenu, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from workbench.core.measure.comparison import MOST_VARIANTS
from workbench.ui.models.comparison_view import Variant, missed_words
from workbench.ui.pages.playground.settings.stops import Flow
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label
from workbench.ui.widgets.marker import marker_icon

_WIDEST = 240


class Chip(QFrame):
    """One variant. Its name opens a menu."""

    def __init__(self, bar: ChipBar, variant: Variant, *, fixed: bool) -> None:
        super().__init__()
        self.variant = variant
        self.setProperty("surface", "card")
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        subject = variant.subject
        self.name = QPushButton()
        self.name.setProperty("flat", True)
        self.name.setIcon(marker_icon(variant.slot, gap=4))
        self.name.setIconSize(QSize(18, 14))
        said = QFontMetrics(self.name.font()).elidedText(subject.name, Qt.TextElideMode.ElideMiddle, _WIDEST)
        self.name.setText(said.replace("&", "&&"))
        tips = [subject.name, subject.path or subject.url]
        if missed := missed_words(subject):
            tips.append(missed)
        if subject.failure is not None:
            tips.append(subject.failure.what)
        self.name.setToolTip("\n".join(tip for tip in tips if tip))
        role = "baseline" if variant.is_baseline else "simulated" if subject.simulated else ""
        self.name.setAccessibleName(f"Variant {subject.name}{', ' + role if role else ''}: what can be done with it")
        self.menu = QMenu(self.name)
        if not variant.is_baseline and not subject.simulated:
            self.menu.addAction("Make it the baseline", partial(bar.baseline_asked.emit, subject.id))
        self.menu.addAction("Show its settings", partial(bar.settings_asked.emit, subject.id))
        if not fixed:
            self.menu.addAction("Take it out of the comparison", partial(bar.remove_asked.emit, subject.id))
        self.name.clicked.connect(self._open_menu)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 2, 0)
        layout.setSpacing(2)
        layout.addWidget(self.name)
        if role:
            told = label(role, "hint")
            told.setContentsMargins(0, 0, 6, 0)
            layout.addWidget(told)
        self.remove: QToolButton | None = None
        if not fixed:
            self.remove = icon_button("close", f"Take {subject.name} out", partial(bar.remove_asked.emit, subject.id))
            self.remove.setProperty("small", True)
            layout.addWidget(self.remove)

    def _open_menu(self) -> None:
        self.menu.popup(self.name.mapToGlobal(self.name.rect().bottomLeft()))


class ChipBar(QFrame):
    """All chips, and the button that adds one."""

    add_asked = Signal()
    remove_asked = Signal(str)
    baseline_asked = Signal(str)
    settings_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "bg")
        self.chips: list[Chip] = []
        self._variants: tuple[Variant, ...] = ()
        self._fixed = False
        self.add = button("Add", self.add_asked.emit, icon_name="plus", name="Add a variant")
        self.add.setProperty("flat", True)
        self._flow = Flow(GAP)
        self._flow.addWidget(self.add)
        inside = QWidget()
        inside.setLayout(self._flow)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        layout.addWidget(inside)
        theme().changed.connect(self._redraw)

    def show_variants(self, variants: tuple[Variant, ...], *, fixed: bool) -> None:
        """`fixed`: a measurement goes on, and none may go."""
        if (variants, fixed) == (self._variants, self._fixed):
            return
        self._variants, self._fixed = variants, fixed
        self._redraw()

    def _redraw(self) -> None:
        focused = next((chip.variant.id for chip in self.chips if chip.isAncestorOf(self.focusWidget() or chip)), "")
        for chip in self.chips:
            self._flow.removeWidget(chip)
            chip.hide()
            chip.deleteLater()
        self._flow.removeWidget(self.add)
        self.chips = [Chip(self, variant, fixed=self._fixed or not variant.slot) for variant in self._variants]
        for chip in self.chips:
            self._flow.addWidget(chip)
            chip.show()
        self._flow.addWidget(self.add)
        before: QWidget | None = None
        for chip in self.chips:  # Tab goes from the left to the right, whenever each was made
            for part in (chip.name, chip.remove):
                if part is not None:
                    if before is not None:
                        QWidget.setTabOrder(before, part)
                    before = part
        if before is not None:
            QWidget.setTabOrder(before, self.add)
        engines = sum(not variant.subject.simulated for variant in self._variants)
        self.add.setEnabled(engines < MOST_VARIANTS and not self._fixed)
        self.add.setToolTip("" if engines < MOST_VARIANTS else f"A comparison is of {MOST_VARIANTS} variants at most")
        again = next((chip for chip in self.chips if chip.variant.id == focused), None)
        if focused and again is not None:
            again.name.setFocus()
        self._flow.invalidate()
        self.updateGeometry()
