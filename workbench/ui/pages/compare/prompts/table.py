"""All prompts: how far each variant's answer is the baseline's, and what share of it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from workbench.core.measure.answer_diff import AnswerDiff
from workbench.core.report.words import share as share_words
from workbench.ui.models.comparison_view import Shown, Variant
from workbench.ui.pages.compare.prompts.column import same_words
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.theme import SMALL, mono_font, text_font, theme
from workbench.ui.widgets.marker import marker_icon, short_heading, variant_colour
from workbench.ui.widgets.table_parts import Index, paint_ground, still_head, whole_rows

DIFF_ROLE = Qt.ItemDataRole.UserRole + 1
ROW_HEIGHT = 28
_NUMBER, _LEAST, _FIGURES = 40, 190, 150
_MOST_ROWS, _FEW_ROWS, _HIGH = 6, 3, 900
"""Rows that are seen at once; fewer in a window that is less than so many px high."""
_NOWHERE = QModelIndex()


class PromptsModel(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.prompts: tuple[str, ...] = ()
        self.variants: tuple[Variant, ...] = ()
        self.shown: Shown | None = None

    def take(self, shown: Shown, prompts: tuple[str, ...], variants: tuple[Variant, ...]) -> None:
        shape = self.prompts, tuple(one.id for one in self.variants)
        if shape == (prompts, tuple(one.id for one in variants)):
            self.shown, self.variants = shown, variants
            if prompts:
                self.dataChanged.emit(self.index(0, 0), self.index(len(prompts) - 1, self.columnCount() - 1))
            return
        self.beginResetModel()
        self.shown, self.prompts, self.variants = shown, prompts, variants
        self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.prompts)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else 2 + len(self.variants)

    def diff(self, index: Index) -> AnswerDiff | None:
        if self.shown is None or index.column() < 2:
            return None
        return self.shown.diffs.get((self.variants[index.column() - 2].id, index.row()))

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return ("#", "Prompt")[section] if section < 2 else short_heading(self.variants[section - 2].subject.name)
        if role == Qt.ItemDataRole.DecorationRole and section > 1:
            return marker_icon(self.variants[section - 2].slot)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole and section > 1:
            name = self.variants[section - 2].subject.name
            return f"{name}\nTokens until the first difference from the baseline, and share of tokens in common"
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == DIFF_ROLE:
            return self.diff(index)
        if role not in (
            Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole,
        ):  # fmt: skip
            return None
        if index.column() == 0:
            return str(index.row() + 1)
        if index.column() == 1:
            return self.prompts[index.row()]
        diff, name = self.diff(index), self.variants[index.column() - 2].subject.name
        if role == Qt.ItemDataRole.DisplayRole:
            return "" if diff is None else same_words(diff)
        told = "not asked" if diff is None else f"{same_words(diff)}, {share_words(diff.shared, 0)} shared"
        return f"{name}: {told}"


class _Cells(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(_LEAST, ROW_HEIGHT)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        look = theme()
        painter.save()
        rect = paint_ground(painter, option, index)
        inner = QRectF(rect.adjusted(8, 0, -8, 0))
        if index.column() < 2:
            font = mono_font(SMALL) if not index.column() else text_font()
            painter.setFont(font)
            painter.setPen(look.colour("text" if index.column() else "text3"))
            text = " ".join(str(index.data()).split())
            text = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, int(inner.width()))
            painter.drawText(inner, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), text)
        else:
            self._diff(painter, inner, index)
        painter.restore()

    @staticmethod
    def _diff(painter: QPainter, inner: QRectF, index: Index) -> None:
        look, diff = theme(), index.data(DIFF_ROLE)
        model = index.model()
        assert isinstance(model, PromptsModel)
        if diff is None:
            painter.setPen(look.colour("text3"))
            painter.setFont(text_font(SMALL))
            painter.drawText(inner, int(Qt.AlignmentFlag.AlignVCenter), "not asked")
            return
        base = round(inner.center().y()) + 4
        first = diff.total if diff.first is None else diff.first
        bar = QRectF(inner.left(), inner.center().y() - 3, max(20.0, inner.width() - _FIGURES), 6)
        painter.fillRect(bar, look.colour("track"))
        whole = max(1, diff.total)
        filled = QRectF(bar.left(), bar.top(), bar.width() * min(1.0, first / whole), bar.height())
        painter.fillRect(filled, variant_colour(model.variants[index.column() - 2].slot))
        head, tail = str(first), f"/{diff.total}"
        left = bar.right() + 62 - figure_width(head + tail)
        painter.setPen(look.colour("text"))
        left = draw_figure(painter, left, base, head)
        painter.setPen(look.colour("text3"))
        draw_figure(painter, left, base, tail)
        words = share_words(diff.shared, 0)
        draw_figure(painter, bar.right() + 108 - figure_width(words), base, words)
        if diff.identical:
            painter.setFont(text_font(SMALL))
            painter.drawText(round(bar.right()) + 114, base, "same")


class PromptsTable(QTableView):
    """`prompt_chosen` sends the number."""

    prompt_chosen = Signal(int)

    def __init__(self, prompts: PromptsModel) -> None:
        super().__init__()
        self.prompts = prompts
        self.setModel(prompts)
        self.setItemDelegate(_Cells(self))
        self.setAccessibleName("Prompts and where each variant differs from the baseline")
        whole_rows(self, ROW_HEIGHT)
        still_head(self, ROW_HEIGHT)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.selectionModel().currentRowChanged.connect(lambda now, _: self._choose(now))
        prompts.modelReset.connect(self._fit)

    def choose(self, number: int) -> None:
        if 0 <= number < self.prompts.rowCount() and self.currentIndex().row() != number:
            self.setCurrentIndex(self.prompts.index(number, 1))

    def _choose(self, index: Index) -> None:
        if index.isValid():
            self.prompt_chosen.emit(index.row())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        count = len(self.prompts.variants)
        room = self.viewport().width() - _NUMBER
        each = max(_LEAST, min(330, room * 2 // 3 // max(1, count)))
        window = self.window()
        most = _MOST_ROWS if window.height() >= _HIGH else _FEW_ROWS
        self.setFixedHeight(ROW_HEIGHT * (1 + min(most, max(2, len(self.prompts.prompts)))) + 14)
        self.setColumnWidth(0, _NUMBER)
        self.setColumnWidth(1, max(200, room - each * count))
        for number in range(count):
            self.setColumnWidth(2 + number, each)
