"""The numbers of a run as a table: a row a level, figures in groups under two lines of headings."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QHelpEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QHeaderView, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QToolTip, QWidget

from workbench.core.measure.figures import PointFigures
from workbench.core.report import words
from workbench.ui.icons import pixmap
from workbench.ui.models.bench_view import RunView
from workbench.ui.monitor.readings import face, words_width
from workbench.ui.pages.benchmark.columns import Column, columns_of
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.theme import BASE, SMALL, text_font, theme
from workbench.ui.widgets.table_parts import NOT_REPORTED, Index, RowsModel, paint_ground, still_head, whole_rows

FIGURES_ROLE = Qt.ItemDataRole.UserRole + 1
_ROW, _HEAD, _PAD = 26, 46, 9
_FIGURE = BASE - 1


class NumbersModel(RowsModel):
    """The points of one subject, from low to high."""

    rows: tuple[PointFigures, ...] = ()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.columns: tuple[Column, ...] = ()
        self._view: RunView | None = None

    def take(self, view: RunView | None, subject: str) -> bool:
        """Show a subject's points; whether the columns are others."""
        columns = columns_of(view) if view is not None else ()
        rows = view.of(subject) if view is not None else ()
        others = [(c.group, c.title) for c in columns] != [(c.group, c.title) for c in self.columns]
        self._view = view
        if others or len(rows) != len(self.rows) or rows != self.rows:
            self.beginResetModel()
            self.columns, self.rows = columns, rows
            self.endResetModel()
        return others

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{column.group} {column.title}, {column.unit}".strip(" ,")
        return column.tip if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        one, column = self.rows[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return words.level(one.level) if index.column() == 0 else column.text(one)
        if role == FIGURES_ROLE:
            return one
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(one, column)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            value = column.value(one)
            told = NOT_REPORTED if value is None else column.text(one)
            said = f"{column.group} {column.title}".strip()
            return f"{said}: {told}{' ' + column.unit if column.unit and value is not None else ''}"
        return None

    def _tip(self, one: PointFigures, column: Column) -> str:
        lines = []
        if column.csv == "failed" and one.errors:
            lines += [f"{count} \N{MULTIPLICATION SIGN} {text}" for text, count in one.errors.items()]
        elif column.value(one) is None:
            lines.append("Not reported." if one.completed else "No request completed.")
        few = column.count(one)
        if few is not None:
            lines.append(f"Of {few} values: a p99 of fewer than 100 is not sure.")
        if told := column.note(one):
            lines.append(told)
        if column.csv == "level":
            lines += [*one.notes, *([f"The sweep ended here: {one.saturated}"] if one.saturated else [])]
            lines += [one.failure.what] if one.failure is not None else []
        return "\n".join(lines)


class _Cells(QStyledItemDelegate):
    def __init__(self, table: NumbersTable) -> None:
        super().__init__(table)
        self._table = table

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = self._table.numbers
        one: PointFigures = index.data(FIGURES_ROLE)
        column = model.columns[index.column()]
        look = theme()
        painter.save()
        rect = paint_ground(painter, option, index)
        _paint_border(painter, model.columns, index.column(), rect)
        text: str = index.data()
        right = rect.right() - _PAD
        base = rect.center().y() + 5
        few = column.count(one)
        if few is not None and column.value(one) is not None:
            note = f"n{few}"
            painter.setPen(look.colour("text3"))
            draw_figure(painter, right - figure_width(note, SMALL - 1), base, note, SMALL - 1)
            right -= round(figure_width(note, SMALL - 1)) + 4
        bad = column.csv == "failed" and one.failed > 0
        painter.setPen(look.colour("err" if bad else "text" if column.value(one) is not None else "text3"))
        left = right - figure_width(text, _FIGURE)
        draw_figure(painter, left, base, text, _FIGURE)
        trouble = index.column() == 0 and (
            one.failure is not None or one.saturated or one.notes or one.end != "complete"
        )
        if bad or trouble:
            sign = "error" if bad or one.failure is not None else "info"
            token = "err" if bad or one.failure is not None else "text3"
            scale = painter.device().devicePixelRatioF()
            place = round(left) - 18 if bad else rect.left() + 8
            painter.drawPixmap(place, rect.center().y() - 6, pixmap(sign, token, 12, scale))
        painter.restore()


def _paint_border(painter: QPainter, columns: tuple[Column, ...], section: int, rect: QRect) -> None:
    """A hairline between groups."""
    if columns[section].group and section + 1 < len(columns) and columns[section].group != columns[section + 1].group:
        painter.fillRect(QRect(rect.right(), rect.top(), 1, rect.height()), theme().colour("line"))


class _Head(QHeaderView):
    """Two lines: the group with its unit over its columns, and their titles, whose tool tips are the definitions."""

    def __init__(self, table: NumbersTable) -> None:
        super().__init__(Qt.Orientation.Horizontal, table)
        self._table = table

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self.viewport())
        look = theme()
        painter.fillRect(self.viewport().rect(), look.colour("panel"))
        columns = self._table.numbers.columns
        bold, plain = face(True), face()
        for section, column in enumerate(columns):
            left, wide = self.sectionViewportPosition(section), self.sectionSize(section)
            right = left + wide - _PAD
            painter.setFont(bold)
            painter.setPen(look.colour("text2"))
            start = right - words_width(column.title, True)
            painter.drawText(QPoint(start, _HEAD - 10), column.title)
            painter.setPen(QPen(look.colour("ctl"), 1, Qt.PenStyle.DotLine))
            painter.drawLine(start, _HEAD - 7, right, _HEAD - 7)
            _paint_border(painter, columns, section, QRect(left, 0, wide, _HEAD))
            last = section + 1 == len(columns) or columns[section + 1].group != column.group
            if column.group and last:
                self._paint_group(painter, column, section, right, plain)
        painter.fillRect(QRect(0, _HEAD - 1, self.viewport().width(), 1), look.colour("line"))
        painter.end()

    def _paint_group(self, painter: QPainter, column: Column, section: int, right: int, plain: Any) -> None:
        columns, look = self._table.numbers.columns, theme()
        first = next(place for place, one in enumerate(columns) if one.group == column.group)
        room = right - self.sectionViewportPosition(first)
        unit = column.unit
        if unit and words_width(column.group, True) + 4 + words_width(unit) <= room:
            painter.setFont(plain)
            painter.setPen(look.colour("text3"))
            painter.drawText(QPoint(right - words_width(unit), 17), unit)
            right -= words_width(unit) + 4
        painter.setFont(face(True))
        painter.setPen(look.colour("text2"))
        painter.drawText(QPoint(right - words_width(column.group, True), 17), column.group)

    def viewportEvent(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            section = self.logicalIndexAt(event.pos())
            columns = self._table.numbers.columns
            if 0 <= section < len(columns):
                QToolTip.showText(event.globalPos(), columns[section].tip, self)
            return True
        return super().viewportEvent(event)


class NumbersTable(QTableView):
    """`level_chosen` is sent when a person chooses a row."""

    level_chosen = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.numbers = NumbersModel(self)
        self.setModel(self.numbers)
        self.setItemDelegate(_Cells(self))
        self.setHorizontalHeader(_Head(self))
        whole_rows(self, _ROW)
        still_head(self, _HEAD)
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setAccessibleName("Numbers")
        self._showing = False
        self.selectionModel().selectionChanged.connect(lambda *_: self._chosen())

    def show_subject(self, view: RunView | None, subject: str, level: float | None) -> None:
        """The points of one subject; the row of `level` is chosen without telling anybody."""
        self._showing = True
        self.numbers.take(view, subject)
        self._share()
        self.choose(level)
        self._showing = False

    def choose(self, level: float | None) -> None:
        """Mark the row of a level."""
        was, self._showing = self._showing, True
        place = next((n for n, one in enumerate(self.numbers.rows) if one.level == level), None)
        if place is None:
            self.clearSelection()
        elif [index.row() for index in self.selectionModel().selectedRows()] != [place]:
            self.selectRow(place)
            self.scrollTo(self.numbers.index(place, 0))
        self._showing = was

    def _chosen(self) -> None:
        rows = self.selectionModel().selectedRows()
        if rows and not self._showing:
            self.level_chosen.emit(self.numbers.rows[rows[0].row()].level)

    def sizeHint(self) -> QSize:
        return QSize(600, _HEAD + _ROW * max(len(self.numbers.rows), 3) + 4)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._share()

    def _share(self) -> None:
        """Columns take what they need; what room is left is shared."""
        columns = self.numbers.columns
        if not columns:
            return
        wanted = [self._wanted(place, column) for place, column in enumerate(columns)]
        for group in dict.fromkeys(column.group for column in columns if column.group):
            members = [place for place, column in enumerate(columns) if column.group == group]
            unit = columns[members[-1]].unit
            title = words_width(group, True) + (words_width(unit) + 4 if unit else 0)
            more = title + 2 * _PAD - sum(wanted[place] for place in members)
            for place in members:
                wanted[place] += max(0, -(-more // len(members)))
        rest = self.viewport().width() - sum(wanted)
        each, over = divmod(max(rest, 0), len(columns))
        for place, width in enumerate(wanted):
            self.setColumnWidth(place, width + each + (1 if place < over else 0))

    def _wanted(self, place: int, column: Column) -> int:
        rows = self.numbers.rows
        cells = [figure_width(words.level(one.level) if not place else column.text(one), _FIGURE) for one in rows]
        counts = [few for one in rows if (few := column.count(one)) is not None]
        more = figure_width(f"n{max(counts)}", SMALL - 1) + 4 if counts else 0
        more += 18 if column.csv == "failed" and any(one.failed for one in rows) else 14 if not place else 0
        head = QFontMetrics(text_font(SMALL, bold=True)).horizontalAdvance(column.title)
        return round(max([head, *(cell + more for cell in cells)])) + 2 * _PAD
