"""The first tab: the matrix, and below it what the chosen figure is made of."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from workbench.ui.models.comparison_view import Shown
from workbench.ui.pages.compare.matrix.how import HowCard
from workbench.ui.pages.compare.matrix.spread import SpreadCard
from workbench.ui.pages.compare.matrix.table import MatrixModel, MatrixTable
from workbench.ui.pages.compare.matrix.tradeoff import TradeoffCard
from workbench.ui.widgets.basics import GAP_LARGE, MARGIN

_WIDE = 1250
"""px from which the three cards stand side by side."""
_HEIGHT, _AROUND = 400, 60
"""px of a card; one whose words need more is higher, and those beside it with it."""


class MatrixTab(QScrollArea):
    """`reproduce` is sent when the command is asked for."""

    reproduce = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._shown: Shown | None = None
        self._wanted: tuple[str, str] | None = None
        """Subject and column that are chosen, in what outlives a new matrix."""
        self._wide: bool | None = None
        self.model = MatrixModel(self)
        self.table = MatrixTable(self.model)
        self.spread, self.tradeoff, self.how = SpreadCard(), TradeoffCard(), HowCard()
        self._cards = QGridLayout()
        self._cards.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        self._cards.setSpacing(GAP_LARGE)
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.table)
        layout.addLayout(self._cards)
        layout.addStretch(1)
        self.tradeoff.plot.setMinimumHeight(_HEIGHT - _AROUND)
        self.setWidget(inside)
        self._arrange()
        self.table.cell_chosen.connect(self._choose)
        self.how.reproduce.connect(self.reproduce)

    def show_shown(self, shown: Shown) -> None:
        """Show a comparison as it is now; the chosen cell stays chosen."""
        self._shown = shown
        self.model.take(shown)
        self.tradeoff.show_shown(shown)
        self.how.show_shown(shown)
        if not (self._wanted is not None and self.table.choose(*self._wanted)):
            self._choose_first(shown)
        index = self.table.currentIndex()
        if index.isValid():
            self._show_cell(index.row(), index.column())
        self.spread.setVisible(index.isValid())

    def _choose_first(self, shown: Shown) -> None:
        """The throughput at the highest level, of the variant after the baseline."""
        columns = [column.id for column in shown.matrix.columns]
        if not columns or not shown.variants:
            return
        speeds = [name for name in columns if name.startswith("speed@")]
        subject = shown.variants[min(1, len(shown.variants) - 1)].id
        wanted = self._wanted
        self.table.choose(subject, speeds[-1] if speeds else columns[0])
        self.table.horizontalScrollBar().setValue(0)
        self._wanted = wanted  # a column that comes later may be the one

    def _choose(self, row: int, column: int) -> None:
        matrix = self.model.matrix
        self._wanted = matrix.rows[row].subject.id, matrix.columns[column].id
        self._show_cell(row, column)

    def _show_cell(self, row: int, column: int) -> None:
        if self._shown is not None and self._shown.matrix is self.model.matrix:
            self.spread.show_cell(self._shown, column, row)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        wide = self.width() >= _WIDE
        if wide == self._wide:
            return
        self._wide = wide
        places = ((0, 0, 1), (0, 1, 1), (0, 2, 1)) if wide else ((0, 0, 1), (0, 1, 1), (1, 0, 2))
        for card, (at_row, at_column, across) in zip((self.spread, self.tradeoff, self.how), places, strict=True):
            self._cards.removeWidget(card)
            self._cards.addWidget(card, at_row, at_column, 1, across)
        for number, stretch in enumerate((5, 5, 4) if wide else (1, 1, 0)):
            self._cards.setColumnStretch(number, stretch)
