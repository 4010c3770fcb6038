"""The matrix: a row a variant, a column a figure; each cell with its ratio to the baseline and a small bar."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QPainter, QPen, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from workbench.core.measure.matrix import Cell, Column, Matrix, Row
from workbench.ui.models.comparison_view import Shown, Variant, detail_words, missed_words
from workbench.ui.pages.compare.matrix.words import below_words, figure_words, heading_unit, said
from workbench.ui.theme import BASE, SMALL, mono_font, text_font, theme
from workbench.ui.widgets.marker import draw_marker, variant_colour
from workbench.ui.widgets.table_parts import Index

CELL_ROLE = Qt.ItemDataRole.UserRole + 1
ROW_HEIGHT, HEAD_HEIGHT = 66, 58
_NARROWEST, _WIDEST = 96, 150
_NAME, _NAME_WIDEST = 236, 236
_PAD, _BAR = 12, 4
_NOWHERE = QModelIndex()


class MatrixModel(QAbstractTableModel):
    """What `make_matrix` gives, with the variants' markers."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.matrix = Matrix((), ())
        self.variants: tuple[Variant, ...] = ()
        self.repeats = 1

    def take(self, shown: Shown | None) -> None:
        matrix = shown.matrix if shown is not None else Matrix((), ())
        variants = shown.variants if shown is not None else ()
        shape = [one.id for one in self.matrix.columns], [row.subject.id for row in self.matrix.rows]
        same = shape == ([one.id for one in matrix.columns], [row.subject.id for row in matrix.rows])
        self.repeats = shown.head.load.repeats if shown is not None else 1
        if same:
            self.matrix, self.variants = matrix, variants
            if matrix.rows and matrix.columns:
                self.dataChanged.emit(self.index(0, 0), self.index(len(matrix.rows) - 1, len(matrix.columns) - 1))
                self.headerDataChanged.emit(Qt.Orientation.Vertical, 0, len(matrix.rows) - 1)
                self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(matrix.columns) - 1)
            return
        self.beginResetModel()
        self.matrix, self.variants = matrix, variants
        self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.matrix.rows)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.matrix.columns)

    def place(self, index: Index) -> tuple[Column, Row, Cell]:
        row = self.matrix.rows[index.row()]
        return self.matrix.columns[index.column()], row, row.cells[index.column()]

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        column, row, cell = self.place(index)
        if role == Qt.ItemDataRole.DisplayRole:
            return figure_words(column, cell)
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            return said(column, row, cell)
        if role == CELL_ROLE:
            return column, row, cell
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            column = self.matrix.columns[section]
            if role == Qt.ItemDataRole.DisplayRole:
                return column.title
            if role == Qt.ItemDataRole.ToolTipRole:
                return f"{column.title}, {column.unit}: {column.definition}"
            return None
        variant = self.variants[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return variant.subject.name
        if role == Qt.ItemDataRole.ToolTipRole:
            missed = missed_words(variant.subject)
            parts = [variant.subject.name, detail_words(variant.subject), missed]
            if variant.subject.failure is not None:
                parts.append(f"{variant.subject.failure.what} {variant.subject.failure.evidence}".strip())
            return "\n".join(part for part in parts if part)
        return None


class _Cells(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(_NARROWEST, ROW_HEIGHT)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        found = index.data(CELL_ROLE)
        if found is None:
            return
        column, row, cell = found
        look, rect = theme(), option.rect  # type: ignore[attr-defined]
        painter.save()
        painter.fillRect(rect, look.colour("raised" if cell.best else "panel"))
        painter.fillRect(QRect(rect.left(), rect.bottom(), rect.width(), 1), look.colour("line"))
        inner = QRectF(rect.adjusted(_PAD, 9, -_PAD, -10))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.setFont(mono_font(BASE, bold=cell.best))
        painter.setPen(look.colour("text" if cell.value is not None else "text3"))
        painter.drawText(QRectF(inner.left(), inner.top(), inner.width(), 18), int(right), figure_words(column, cell))
        below = QRectF(inner.left(), inner.top() + 19, inner.width(), 16)
        self._below(painter, column, row, cell, below)
        model = index.model()
        assert isinstance(model, MatrixModel)
        if cell.value is not None and cell.share is not None:
            base = next((each.cells[index.column()] for each in model.matrix.rows if each.is_baseline), None)
            bar = QRectF(inner.left(), inner.bottom() - _BAR + 2, inner.width(), _BAR)
            painter.fillRect(bar, look.colour("track"))
            filled = QRectF(bar.left(), bar.top(), bar.width() * cell.share, _BAR)
            painter.fillRect(filled, variant_colour(model.variants[index.row()].slot))
            if base is not None and base.share is not None:
                tick = bar.left() + min(bar.width() - 1, bar.width() * base.share)
                painter.fillRect(QRectF(tick, bar.top() - 3, 1, _BAR + 6), look.colour("text"))
        state = option.state  # type: ignore[attr-defined]
        if state & QStyle.StateFlag.State_Selected:
            painter.setPen(QPen(look.colour("accent"), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(0, 0, -1, -2))
        painter.restore()

    def _below(self, painter: QPainter, column: Column, row: Row, cell: Cell, rect: QRectF) -> None:
        look, words = theme(), below_words(column, row, cell)
        told = cell.ratio is not None and cell.value is not None
        font = mono_font(SMALL) if told or (row.is_baseline and cell.value is not None) else text_font(SMALL)
        bright = told and cell.better is True
        painter.setFont(font)
        painter.setPen(look.colour("text2" if bright else "text3"))
        metrics = QFontMetrics(font)
        shown = metrics.elidedText(words, Qt.TextElideMode.ElideRight, int(rect.width()))
        painter.drawText(rect, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), shown)
        if not told or cell.better is None:
            return
        centre = QPointF(rect.right() - metrics.horizontalAdvance(shown) - 9, rect.center().y())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(look.colour("text" if cell.better else "text3"), 1))
        painter.setBrush(look.colour("text") if cell.better else Qt.BrushStyle.NoBrush)
        painter.drawEllipse(centre, 2.5, 2.5)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)


class _Figures(QHeaderView):
    """Title and unit of each column."""

    def __init__(self, table: MatrixTable) -> None:
        super().__init__(Qt.Orientation.Horizontal, table)
        self._table = table
        self.setSectionsClickable(False)
        self.setHighlightSections(False)
        self.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFixedHeight(HEAD_HEIGHT)

    def paintSection(self, painter: QPainter, rect: QRect, section: int) -> None:
        look = theme()
        column = self._table.figures.matrix.columns[section]
        painter.save()
        painter.fillRect(rect, look.colour("panel"))
        painter.fillRect(QRect(rect.left(), rect.bottom(), rect.width(), 1), look.colour("line"))
        inner = rect.adjusted(4, 10, -_PAD, -10)
        for text, font, token, top in (
            (column.title, text_font(bold=True), "text", 0),
            (heading_unit(column), text_font(SMALL), "text3", 21),
        ):
            painter.setFont(font)
            painter.setPen(look.colour(token))
            shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, inner.width())
            place = QRect(inner.left(), inner.top() + top, inner.width(), 18)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), shown)
        painter.restore()


class _Names(QHeaderView):
    """Marker and name of each variant; it stays where it is while the figures scroll."""

    def __init__(self, table: MatrixTable) -> None:
        super().__init__(Qt.Orientation.Vertical, table)
        self._table = table
        self.setSectionsClickable(False)
        self.setHighlightSections(False)
        self.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setDefaultSectionSize(ROW_HEIGHT)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFixedWidth(_NAME)

    def paintSection(self, painter: QPainter, rect: QRect, section: int) -> None:
        look, variants = theme(), self._table.figures.variants
        if section >= len(variants):
            return
        variant = variants[section]
        subject = variant.subject
        painter.save()
        painter.fillRect(rect, look.colour("panel"))
        painter.fillRect(QRect(rect.left(), rect.bottom(), rect.width(), 1), look.colour("line"))
        draw_marker(painter, variant.slot, rect.left() + 22, rect.center().y())
        inner = rect.adjusted(40, 14, -4, -12)
        detail, token = detail_words(subject), "text3"
        if subject.failure is not None:
            detail, token = "could not be loaded", "err"
        elif missed := missed_words(subject):
            detail, token = missed, "warn"
        elif variant.is_baseline:
            detail = f"baseline, {detail}" if detail else "baseline"
        elif not variant.measured:
            detail = "not measured yet"
        for text, font, colour, top in (
            (subject.name, text_font(bold=True), "text", 0),
            (detail, text_font(SMALL), token, 20),
        ):
            painter.setFont(font)
            painter.setPen(look.colour(colour))
            shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, inner.width())
            place = QRect(inner.left(), inner.top() + top, inner.width(), 18)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), shown)
        painter.restore()


class _Corner(QWidget):
    """Over the names: what the rows are."""

    def __init__(self, table: MatrixTable) -> None:
        super().__init__(table)
        self._table = table
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def paintEvent(self, _event: object) -> None:
        look, painter = theme(), QPainter(self)
        painter.fillRect(self.rect(), look.colour("panel"))
        painter.fillRect(QRect(0, self.height() - 1, self.width(), 1), look.colour("line"))
        repeats = self._table.figures.repeats
        lines: tuple[tuple[str, QFont, str, int], ...] = (
            ("Variant", text_font(bold=True), "text", 10),
            (f"median of {repeats} runs" if repeats > 1 else "one run", text_font(SMALL), "text3", 31),
        )
        for text, font, token, top in lines:
            painter.setFont(font)
            painter.setPen(look.colour(token))
            painter.drawText(QRect(16, top, self.width() - 20, 18), int(Qt.AlignmentFlag.AlignVCenter), text)
        painter.end()


class MatrixTable(QTableView):
    """As high as its rows; figures that do not fit scroll, names stay. `cell_chosen` sends row and column."""

    cell_chosen = Signal(int, int)

    def __init__(self, figures: MatrixModel) -> None:
        super().__init__()
        self.figures = figures
        self.setModel(figures)
        self.setItemDelegate(_Cells(self))
        self.setHorizontalHeader(_Figures(self))
        self.setVerticalHeader(_Names(self))
        self.setCornerButtonEnabled(False)
        self._corner = _Corner(self)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setAccessibleName("Matrix of variants and figures")
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectItems)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.selectionModel().currentChanged.connect(self._choose)
        figures.modelReset.connect(self._fit)
        self.horizontalScrollBar().rangeChanged.connect(lambda *_: self._fit_height())
        self._fit()

    def choose(self, subject_id: str, column_id: str) -> bool:
        """Choose a cell by what it is of; whether it is there."""
        matrix = self.figures.matrix
        column = matrix.column(column_id)
        row = next((at for at, each in enumerate(matrix.rows) if each.subject.id == subject_id), None)
        if row is None or column is None:
            return False
        self.setCurrentIndex(self.figures.index(row, column))
        return True

    def _choose(self, index: Index) -> None:
        if index.isValid():
            self.cell_chosen.emit(index.row(), index.column())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Columns share the room; where there is too little they scroll."""
        count = self.figures.columnCount()
        if count:
            room = self.width() - _NAME - 2
            widths = [self._wanted(number) for number in range(count)]
            spare = max(0, room - sum(widths)) // count
            for number, width in enumerate(widths):
                self.setColumnWidth(number, width + min(spare, _WIDEST) if number < count - 1 else width + spare)
        self._fit_height()

    def updateGeometries(self) -> None:
        super().updateGeometries()
        self._corner.setGeometry(
            self.verticalHeader().x(), self.horizontalHeader().y(), self.verticalHeader().width(), HEAD_HEIGHT
        )

    def _wanted(self, column: int) -> int:
        head = self.figures.matrix.columns[column]
        texts = [QFontMetrics(text_font(bold=True)).horizontalAdvance(head.title)]
        texts.append(QFontMetrics(text_font(SMALL)).horizontalAdvance(heading_unit(head)))
        small = QFontMetrics(text_font(SMALL))
        texts += [
            small.horizontalAdvance(below_words(head, row, row.cells[column])) for row in self.figures.matrix.rows
        ]
        return max(_NARROWEST, min(_WIDEST, max(texts) + 2 * _PAD))

    def _fit_height(self) -> None:
        bar = self.horizontalScrollBar()
        extra = bar.sizeHint().height() if bar.maximum() > 0 else 0
        self.setFixedHeight(HEAD_HEIGHT + ROW_HEIGHT * self.figures.rowCount() + 2 + extra)
