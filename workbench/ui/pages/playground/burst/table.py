"""The requests of a burst as a table, and the whole answer of the one that is chosen."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QGuiApplication, QIcon, QKeyEvent, QKeySequence, QPainter, QResizeEvent, QTextCursor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QPlainTextEdit,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from workbench.core.conversation_text import END_WORDS
from workbench.core.errors import Failure
from workbench.core.units import format_duration
from workbench.jobs.burst import BurstRow
from workbench.ui.icons import icon
from workbench.ui.pages.playground.talk.answer_cause import sentence
from workbench.ui.pages.playground.talk.figures import digits
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.basics import GAP, GAP_SMALL, button, row
from workbench.ui.widgets.editors import number_words
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.table_parts import side, still_head, whole_rows

Index = QModelIndex | QPersistentModelIndex
HEADINGS = ("#", "State", "Prompt", "In", "Out", "TTFT, ms", "tok/s", "Answer")
NUMBER, STATE, PROMPT, IN, OUT, TTFT, SPEED, ANSWER = range(8)
_RIGHT = (NUMBER, IN, OUT, TTFT, SPEED)
_WIDTHS = {NUMBER: 36, STATE: 96, IN: 60, OUT: 60, TTFT: 84, SPEED: 72}
_NARROW_WIDTHS = {**_WIDTHS, OUT: 56, TTFT: 80, SPEED: 60}
STATE_ICONS = {
    "waiting": ("history", "s_pre"),
    "active": ("play", "accent"),
    "done": ("check", "ok"),
    "failed": ("error", "err"),
    "stopped": ("stop", "s_other"),
}
PAD = 5
"""Left and right of what a cell shows, in px."""
_ROW, _HEAD, _LEAST_ROWS, _MOST_ROWS, _DETAIL = 26, 27, 3, 7, 88
_NARROW = 640
"""Below this width the prompt and its length stand under the table alone."""
_TAIL, _BEGIN, _TIP = 160, 200, 1000
MOST_SHOWN = 100_000
"""Characters of an answer that are shown; copying takes all."""


class BurstRows(QAbstractTableModel):
    """The rows. Only what changed is announced."""

    def __init__(self) -> None:
        super().__init__()
        self.burst = ""
        self.rows: tuple[BurstRow, ...] = ()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return len(HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return HEADINGS[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(section)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        found, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return cell(found, column)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return cell_words(found, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return cell_words(found, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DecorationRole and column == STATE:
            return _state_icon(found.state, theme().scheme)
        if role == Qt.ItemDataRole.FontRole and column in _RIGHT:
            return mono_font()
        if role == Qt.ItemDataRole.ForegroundRole:
            quiet = column == NUMBER or cell(found, column) == "\u2013"
            token = "err" if column == ANSWER and found.failure is not None else "text3" if quiet else "text"
            return theme().colour(token)
        return None

    def set_rows(self, burst: str, rows: tuple[BurstRow, ...]) -> bool:
        """Show other rows; whether it is another burst."""
        if burst != self.burst or len(rows) != len(self.rows):
            self.beginResetModel()
            self.burst, self.rows = burst, rows
            self.endResetModel()
            return True
        changed = [place for place, (old, new) in enumerate(zip(self.rows, rows, strict=True)) if old is not new]
        self.rows = rows
        if changed:  # one announcement: a view looks at what it shows alone
            self.dataChanged.emit(self.index(changed[0], STATE), self.index(changed[-1], ANSWER))
        return False


def _alignment(column: int) -> int:
    return int(side(column in _RIGHT))


@lru_cache(maxsize=32)
def _state_icon(state: str, _scheme: str) -> QIcon:
    return icon(*STATE_ICONS[state])


def _count(value: int | None) -> str:
    return "\u2013" if value is None else number_words(value)


def _figure(value: float | None) -> str:
    return "\u2013" if value is None else digits(value)


def _told(failure: Failure) -> Failure:
    """A failure with what an engine said as a sentence."""
    return failure.model_copy(update={"what": sentence(failure.what)})


def _line(text: str) -> str:
    return " ".join(text.split())


def cell(found: BurstRow, column: int) -> str:
    """A cell's text; a figure that is not there is a dash."""
    if column == NUMBER:
        return str(found.number)
    if column == STATE:
        return found.state
    if column == PROMPT:
        return _line(found.prompt[:_BEGIN])
    if column == IN:
        return _count(found.input_tokens)
    if column == OUT:
        return _count(found.output_tokens)
    if column == TTFT:
        return _figure(found.ttft_ms)
    if column == SPEED:
        return _figure(found.output_tok_s)
    if found.failure is not None:
        return _line(sentence(found.failure.what))
    tail = _line(found.text[-_TAIL:])
    return f"\u2026{tail}" if len(found.text) > _TAIL else tail


def cell_words(found: BurstRow, column: int) -> str:
    """A cell in words: why a figure is not there, and what there is no room for."""
    text = cell(found, column)
    if column in (IN, OUT, TTFT, SPEED) and text == "\u2013":
        if found.open:
            return "not known yet"
        if column == SPEED and (found.output_tokens or 0) == 1:
            return "one token has no speed"
        return "not reported" if found.failure is None and found.state != "stopped" else "none: it ended before"
    if column == ANSWER and found.failure is not None:
        return "\n".join(_told(found.failure).lines())
    if column == PROMPT:
        return found.prompt[:_TIP]
    if column == ANSWER:
        return found.text[-_TIP:]
    return text


def detail_words(found: BurstRow) -> str:
    """What is said of a request under the table."""
    if found.open and not found.text:
        return "no token has come yet"
    parts = []
    if not found.open:
        known = found.input_tokens is not None
        parts.append(f"in {number_words(found.input_tokens) if known else cell_words(found, IN)}")
    parts += [
        f"out {number_words(found.output_tokens)}" if found.output_tokens is not None else "out not reported",
        f"TTFT {_figure(found.ttft_ms)} ms" if found.ttft_ms is not None else f"TTFT {cell_words(found, TTFT)}",
    ]
    if found.output_tok_s is not None:
        parts.append(f"{digits(found.output_tok_s)} tok/s")
    if found.latency_ms is not None:
        parts.append(f"latency {format_duration(found.latency_ms / 1000)}")
    if found.seed is not None:
        parts.append(f"seed {found.seed}")
    parts.append(" ".join(END_WORDS[found.reason]) if found.reason is not None else "streaming")
    return "   ".join(parts)


class _Cells(QStyledItemDelegate):
    """Cells as far from their edges as the headings; an answer is cut at its beginning, not at what is new."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        rect: QRect = option.rect  # type: ignore[attr-defined]
        if option.state & QStyle.StateFlag.State_Selected:  # type: ignore[attr-defined]
            painter.fillRect(rect, theme().colour("accent_bg"))
        inner = QStyleOptionViewItem(option)
        inner.rect = rect.adjusted(PAD, 0, -PAD, 0)  # type: ignore[attr-defined]
        super().paint(painter, inner, index)

    def initStyleOption(self, option: QStyleOptionViewItem, index: Index) -> None:
        super().initStyleOption(option, index)
        model = index.model()
        if index.column() == ANSWER and isinstance(model, BurstRows) and model.rows[index.row()].failure is None:
            option.textElideMode = Qt.TextElideMode.ElideLeft  # type: ignore[attr-defined]


class _View(QTableView):
    """Ctrl+C copies the whole answer."""

    def __init__(self, owner: BurstTable) -> None:
        super().__init__()
        self._owner = owner

    def sizeHint(self) -> QSize:
        model = self.model()
        shown = max(1, min(model.rowCount() if model is not None else 0, _MOST_ROWS))
        return QSize(super().sizeHint().width(), _HEAD + shown * _ROW + 2)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self._owner.copy_answer()
        else:
            super().keyPressEvent(event)


class BurstTable(QWidget):
    """Table and answer; call `show_rows` as often as there is something new."""

    def __init__(self) -> None:
        super().__init__()
        self.model = BurstRows()
        self.view = _View(self)
        view = self.view
        view.setModel(self.model)
        view.setAccessibleName("Requests of the burst")
        view.setItemDelegate(_Cells(view))
        whole_rows(view, _ROW)
        still_head(view, _HEAD)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        head = view.horizontalHeader()
        head.setMinimumSectionSize(24)
        for column, width in _WIDTHS.items():
            view.setColumnWidth(column, width)
        for column in (PROMPT, ANSWER):
            head.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.about = ElidedLine("hint")
        self.prompt = ElidedLine("text2")
        self.copy = button("Copy answer", self.copy_answer, icon_name="copy", small=True)
        self.answer = QPlainTextEdit()
        self.answer.setReadOnly(True)
        self.answer.setUndoRedoEnabled(False)
        self.answer.setTabChangesFocus(True)
        self.answer.setFixedHeight(_DETAIL)
        self.answer.setPlaceholderText("No text has come.")
        self.answer.setAccessibleName("Answer of the chosen request")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP_SMALL)
        layout.addWidget(view)
        layout.addSpacing(GAP_SMALL)
        layout.addWidget(row(self.prompt, self.copy, gap=GAP))
        layout.addWidget(self.answer)
        layout.addWidget(self.about)
        layout.setStretch(0, 1)
        row_of = self.prompt.parentWidget().layout()
        assert row_of is not None
        row_of.setStretch(0, 1)  # type: ignore[attr-defined]
        self.about.setFont(mono_font(SMALL))
        self._shown: tuple[str, int, int] = ("", 0, 0)
        """Burst, request and how many characters of its answer stand in the field."""
        view.selectionModel().currentRowChanged.connect(lambda *_: self._show_answer())

    @property
    def chosen(self) -> BurstRow | None:
        place = self.view.currentIndex().row()
        return self.model.rows[place] if 0 <= place < len(self.model.rows) else None

    def show_rows(self, burst: str, rows: tuple[BurstRow, ...]) -> None:
        """Show the rows of a burst as they are now; the choice stays."""
        if self.model.set_rows(burst, rows):
            self.view.setMinimumHeight(_HEAD + min(max(1, len(rows)), _LEAST_ROWS) * _ROW + 2)
            self.view.setMaximumHeight(self.view.sizeHint().height())
            self.view.updateGeometry()
            if rows:
                self.view.selectRow(0)
        self._show_answer()

    def copy_answer(self) -> None:
        """The whole answer of the chosen request to the clipboard."""
        if (found := self.chosen) is not None:
            QGuiApplication.clipboard().setText(found.text)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        narrow = self.width() < _NARROW
        for column in (PROMPT, IN):
            self.view.setColumnHidden(column, narrow)
        for column, width in (_NARROW_WIDTHS if narrow else _WIDTHS).items():
            self.view.setColumnWidth(column, width)

    def _show_answer(self) -> None:
        found = self.chosen
        if found is None:
            self._shown = ("", 0, 0)
            self.prompt.say("")
            self.about.say("")
            self.answer.clear()
            self.copy.setEnabled(False)
            return
        burst, number, shown = self._shown
        self.copy.setEnabled(bool(found.text))
        if (burst, number) != (self.model.burst, found.number):
            shown = 0
            self.answer.clear()
            self.prompt.say(f"{found.number}  {_line(found.prompt[:_BEGIN])}", found.prompt[_BEGIN:_TIP])
        if len(found.text) > shown < MOST_SHOWN:
            self._append(found.text[shown:MOST_SHOWN])
        self._shown = (self.model.burst, found.number, len(found.text))
        words = detail_words(found)
        if found.failure is not None:
            words = " ".join(_told(found.failure).lines())
        if len(found.text) > MOST_SHOWN:
            words += f"   the first {number_words(MOST_SHOWN)} characters are shown, Copy takes all"
        self.about.say(words)

    def _append(self, text: str) -> None:
        """Put text at the end; what the person has selected or scrolled to stays."""
        bar = self.answer.verticalScrollBar()
        follows = bar.value() >= bar.maximum()
        cursor = QTextCursor(self.answer.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(text)
        if follows:
            bar.setValue(bar.maximum())
