"""What more GPUs bring: throughput and efficiency against the engine on a single GPU, as a table and a chart."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSplitter,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from workbench.core.measure.scaling import Scaling, ScalingRow
from workbench.core.report.scaling_table import HEADS, cells
from workbench.core.report.words import number
from workbench.ui.models.comparison_view import Shown
from workbench.ui.pages.compare.cells import CellLine, paint_cell
from workbench.ui.plots.data import Chart, Dot, Line
from workbench.ui.plots.line_chart import LineChart
from workbench.ui.theme import BASE, SMALL, mono_font, text_font
from workbench.ui.widgets.basics import GAP_LARGE, MARGIN, label, row, surface
from workbench.ui.widgets.table_parts import Index, RowsModel, still_head, whole_rows

_BELOW = Qt.ItemDataRole.UserRole + 1
_SLOT = Qt.ItemDataRole.UserRole + 2
_ROW, _HEAD = 52, 34
_WORDS = (0, 2)
"""Columns of words; the others hold figures."""


class _Model(RowsModel):
    headings = tuple((f"{title}, {unit}" if unit else title, False, told) for title, unit, told in HEADS)
    rows: tuple[ScalingRow, ...] = ()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._slots: dict[str, int] = {}

    def take(self, rows: tuple[ScalingRow, ...], slots: dict[str, int]) -> None:
        if (rows, slots) != (self.rows, self._slots):
            self.beginResetModel()
            self.rows, self._slots = rows, slots
            self.endResetModel()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        one, column = self.rows[index.row()], index.column()
        text, under = cells(one)[column]
        if role == Qt.ItemDataRole.DisplayRole:
            return text
        if role == _BELOW:
            return under
        if role == _SLOT and not column:
            return self._slots.get(one.subject, 0)
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return ", ".join(part for part in (f"{self.headings[column][0]}: {text}", under) if part)
        return None


class _Cells(QStyledItemDelegate):
    """A figure over its interval, or why there is none."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(120, _ROW)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        slot = index.data(_SLOT)
        upper = text_font(BASE, bold=slot is not None) if index.column() in _WORDS else mono_font(BASE)
        below = CellLine(index.data(_BELOW), text_font(SMALL), "text3")
        paint_cell(painter, option, index, slot, CellLine(index.data(), upper, "text"), below)


def scaling_chart(scaling: Scaling) -> Chart:
    """Efficiency over the number of GPUs, a line a group: of each number the fastest engine, at its fastest load."""
    lines = []
    for slot, group in enumerate(scaling.groups):
        dots = []
        fastest: dict[int, ScalingRow] = {}
        for one in group.at(None):
            if one.gpus not in fastest or one.throughput_tok_s.value > fastest[one.gpus].throughput_tok_s.value:
                fastest[one.gpus] = one
        for one in fastest.values():
            found = one.efficiency_percent
            value = found.value if found is not None else None
            low, high = (found.low, found.high) if found is not None else (None, None)
            words = f"{number(one.per_gpu_tok_s.value)} tok/s a GPU"
            dots.append(Dot(float(one.gpus), value, low, high, detail=words if found else one.why, key=float(one.gpus)))
        lines.append(Line(group.title, slot, tuple(dots), id=group.title))
    return Chart(
        tuple(lines),
        x_title="GPUs",
        y_title="efficiency, %: more is better ↑",
        card_title=lambda gpus: f"{gpus:g} GPU{'s' if gpus != 1 else ''}",
        card_note="%, of the single-GPU engine",
        empty="Without an engine on a single GPU, efficiency is not reported.",
    )


class ScalingTab(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.model = _Model(self)
        self.table = QTableView()
        self.table.setAccessibleName("Scaling over GPUs")
        self.table.setModel(self.model)
        self.table.setItemDelegate(_Cells(self.table))
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        whole_rows(self.table, _ROW)
        still_head(self.table, _HEAD)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.chart = LineChart("Efficiency over the number of GPUs")
        self.why = label("", "title", wrap=True)
        hint = "Scaling is shown of engines of one model and precision that were built for one GPU and for several."
        self.empty = QWidget()
        said = QVBoxLayout(self.empty)
        said.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        said.addStretch(1)
        for one in (self.why, label(hint, "text2", wrap=True)):
            one.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            said.addWidget(one)
        said.addStretch(1)
        card = surface("card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(16, 12, 16, 12)
        inside.addWidget(row(label("Efficiency", "name"), None, label("each engine at its fastest load", "hint")))
        inside.addWidget(self.chart, 1)
        below = QWidget()
        around = QVBoxLayout(below)
        around.setContentsMargins(MARGIN, GAP_LARGE, MARGIN, MARGIN)
        around.addWidget(card)
        self.split = QSplitter(Qt.Orientation.Vertical)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(self.table)
        self.split.addWidget(below)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.split, 1)
        layout.addWidget(self.empty, 1)

    def show_shown(self, shown: Shown) -> None:
        scaling = shown.scaling
        self.split.setVisible(bool(scaling))
        self.empty.setVisible(not scaling)
        self.why.setText(scaling.why)
        rows = tuple(one for group in scaling.groups for one in group.rows)
        self.model.take(rows, {variant.id: variant.slot for variant in shown.variants})
        self.chart.show_chart(scaling_chart(scaling))
