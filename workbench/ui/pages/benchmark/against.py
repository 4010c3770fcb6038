"""The table of figures held against others: value, ratio, interval and what may be said."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import QHeaderView, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QVBoxLayout, QWidget

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.figures import P99_SURE_FROM
from workbench.core.measure.matrix import level_words
from workbench.core.report import words
from workbench.ui.icons import pixmap
from workbench.ui.models.bench_against import Against, Held
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.theme import BASE, SMALL, text_font, theme
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, row
from workbench.ui.widgets.marker import draw_marker
from workbench.ui.widgets.table_parts import NONE, Index, RowsModel, paint_ground, side, still_head, whole_rows

_ROW, _HEAD, _PAD = 26, 30, 10
_FIGURE = BASE - 1
_COLUMNS = (
    ("Engine", False, ""),
    ("Level", True, ""),
    ("Figure", False, ""),
    ("Before", True, "Of the one that it is held against"),
    ("Now", True, ""),
    ("Ratio", True, "Now / before"),
    ("Verdict", False, "A claim only where the interval carries it"),
    ("95 % interval", True, "Of the ratio; none where too little was measured"),
)
ENGINE, LEVEL, FIGURE, BEFORE, NOW, RATIO, VERDICT, INTERVAL = range(len(_COLUMNS))
_WORDS = {
    "regressed": ("worse", "err", "error"),
    "improved": ("better", "ok", "check"),
    "same": ("the same", "text2", "dash"),
    "cannot tell": ("cannot tell", "text3", ""),
}


class AgainstModel(RowsModel):
    """Rows of a frozen Against."""

    headings = _COLUMNS
    rows: tuple[Held, ...] = ()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._against: Against | None = None

    def take(self, against: Against | None) -> None:
        self.beginResetModel()
        self._against, self.rows = against, against.rows if against is not None else ()
        self.endResetModel()

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and self._against is not None and section in (BEFORE, NOW):
            return self._against.before_title if section == BEFORE else self._against.after_title
        return super().headerData(section, orientation, role)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        one, column = self.rows[index.row()], index.column()
        text = self.text(one, column)
        if role == Qt.ItemDataRole.DisplayRole:
            return text
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(_COLUMNS[column][1])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self.said(column, text)
        if role == Qt.ItemDataRole.ToolTipRole:
            return one.words if column in (RATIO, INTERVAL, VERDICT) else text
        return None

    def text(self, one: Held, column: int) -> str:
        """A cell in words."""
        arrival = self._against.level_of if self._against is not None else "closed"
        ratio = one.ratio
        return {
            ENGINE: one.subject,
            LEVEL: level_words(arrival, one.level),
            FIGURE: f"{one.metric}, {one.unit}",
            BEFORE: _value(one.before, one.metric),
            NOW: _value(one.after, one.metric),
            RATIO: words.ratio(ratio.value) if ratio is not None else NONE,
            INTERVAL: words.interval(ratio, 3) or NONE,
            VERDICT: _WORDS[one.kind][0],
        }[column]


def _value(found: Estimate | None, metric: str) -> str:
    if found is None:
        return NONE
    few = f" n{found.n}" if metric.endswith("p99") and found.n < P99_SURE_FROM else ""
    return f"{words.number(found.value)}{few}"


class _Cells(QStyledItemDelegate):
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model: AgainstModel = index.model()  # type: ignore[assignment]
        one, column, look = model.rows[index.row()], index.column(), theme()
        painter.save()
        rect = paint_ground(painter, option, index)
        text: str = index.data()
        base = rect.center().y() + 5
        if _COLUMNS[column][1]:
            painter.setPen(look.colour("text" if column in (NOW, RATIO) else "text2"))
            draw_figure(painter, rect.right() - _PAD - figure_width(text, _FIGURE), base, text, _FIGURE)
        else:
            left = rect.left() + _PAD
            token = "text" if column == ENGINE else "text2"
            if column == ENGINE:
                draw_marker(painter, one.slot, left + 5, rect.center().y() + 0.5)
                left += 18
            elif column == VERDICT:
                _, token, sign = _WORDS[one.kind]
                if sign:
                    scale = painter.device().devicePixelRatioF()
                    painter.drawPixmap(left, rect.center().y() - 5, pixmap(sign, token, 12, scale))
                left += 18
            painter.setFont(text_font(BASE - 1))
            painter.setPen(look.colour(token))
            room = rect.right() - _PAD - left
            painter.drawText(left, base, painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room))
        painter.restore()


class AgainstPane(QWidget):
    """One line of what it says, and the table below it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.said = label("", "text2", wrap=True)
        self.said.setAccessibleName(name)
        self.other = button("Another baseline…", small=True)
        self.other.hide()
        self.model = AgainstModel(self)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setItemDelegate(_Cells(self.table))
        self.table.setAccessibleName(name)
        whole_rows(self.table, _ROW)
        still_head(self.table, _HEAD)
        self.table.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        line = row(self.said, self.other, margins=(MARGIN, 0, MARGIN, 0))
        line.layout().setStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(line)
        layout.addWidget(self.table, 1)

    def show_words(self, text: str) -> None:
        """Nothing to show yet, or why there is nothing."""
        self.model.take(None)
        self.table.hide()
        self.said.setText(text)

    def show_against(self, against: Against) -> None:
        """Show what was found."""
        self.said.setText(" ".join([against.words, *against.warnings]))
        self.model.take(against)
        self.table.show()
        bold, plain = QFontMetrics(text_font(SMALL, bold=True)), QFontMetrics(text_font(BASE - 1))
        for column in range(len(_COLUMNS)):
            title = str(self.model.headerData(column, Qt.Orientation.Horizontal))
            head = bold.horizontalAdvance(title)
            texts = [self.model.text(one, column) for one in against.rows]
            number = _COLUMNS[column][1]
            cells = [figure_width(text, _FIGURE) if number else plain.horizontalAdvance(text) + 20 for text in texts]
            self.table.setColumnWidth(column, round(min(max([head, *cells]) + 2 * _PAD, 280)))
