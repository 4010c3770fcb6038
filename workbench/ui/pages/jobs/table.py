"""The queue as a table: a job a row, with its strip, what it does now, its times and its verbs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, QRect, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QHelpEvent, QMouseEvent, QPainter, QPen, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolTip,
    QWidget,
)

from workbench.ui.icons import pixmap
from workbench.ui.models.jobs import JobRow, clock_text, span_text
from workbench.ui.theme import BASE, SMALL, mono_font, text_font, theme
from workbench.ui.widgets.step_strip import HEIGHT as STRIP_HEIGHT
from workbench.ui.widgets.step_strip import paint_strip, summary
from workbench.ui.widgets.table_parts import side, still_head, whole_rows

Index = QModelIndex | QPersistentModelIndex
Verb = Literal["cancel", "retry", "folder"]

ROW_HEIGHT, HEAD_HEIGHT = 54, 30
HEADINGS = ("Job", "Steps", "Now", "Elapsed", "Remaining", "")
JOB, STEPS, NOW, ELAPSED, REMAINING, VERBS = range(6)
NARROW = 1000
"""Below this width the two times share a column."""
_PAD = 12


class JobsModel(QAbstractTableModel):
    """The rows that are shown. Only what changed is announced."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[JobRow, ...] = ()
        self.narrow = False

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return len(HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return "Time, left" if self.narrow and section == ELAPSED else HEADINGS[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole:
            return int(side(section in (ELAPSED, REMAINING)))
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            return None
        row, column, now = self.rows[index.row()], index.column(), time.time()
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(row, column, now)
        if column == JOB:
            return f"{row.tag} {row.title}"
        if column == STEPS:
            return summary(row)
        if column == NOW:
            return ", ".join(word for word in row.words(now) if word)
        if column == ELAPSED:
            return clock_text(row.elapsed_s(now))
        if column == REMAINING:
            return span_text(row.remaining_s(now))
        return ", ".join(text for _, text in verbs(row))

    def set_rows(self, rows: tuple[JobRow, ...]) -> None:
        """Show other rows; the view keeps what is chosen when rows only came or changed."""
        old, new = [row.id for row in self.rows], [row.id for row in rows]
        more = len(new) - len(old)
        if more > 0 and old and new[more:] == old:
            self.beginInsertRows(QModelIndex(), 0, more - 1)
            before, self.rows = self.rows, rows
            self.endInsertRows()
            self._announce(before, more)
        elif more > 0 and old and new[: len(old)] == old:
            self.beginInsertRows(QModelIndex(), len(old), len(new) - 1)
            before, self.rows = self.rows, rows
            self.endInsertRows()
            self._announce(before, 0)
        elif new == old:
            before, self.rows = self.rows, rows
            self._announce(before, 0)
        else:
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()

    def _announce(self, before: Sequence[JobRow], shift: int) -> None:
        for place, row in enumerate(before):
            if self.rows[place + shift] is not row:
                self._changed(place + shift)

    def _changed(self, place: int) -> None:
        self.dataChanged.emit(self.index(place, 0), self.index(place, VERBS))

    def tick(self) -> None:
        """A second went by: times of jobs that are not over have changed."""
        for place, row in enumerate(self.rows):
            if not row.finished:
                self._changed(place)

    def place_of(self, job_id: str) -> int:
        """The row of a job; -1 when it is not shown."""
        return next((place for place, row in enumerate(self.rows) if row.id == job_id), -1)


def verbs(row: JobRow) -> list[tuple[Verb, str]]:
    """What can be done with a job: its verbs with their words."""
    found: list[tuple[Verb, str]] = []
    if not row.finished:
        found.append(("cancel", "Cancel"))
    elif row.can_retry:
        found.append(("retry", "Retry"))
    return [*found, ("folder", "Open folder")]


def tip(row: JobRow, column: int, now: float) -> str:
    """What there is no room for in a cell."""
    if column == STEPS:
        return "\n".join(
            f"{s.title} {s.variant}".strip()
            + f": {s.status}"
            + (f", {s.note}" if s.note and s.note != s.status else "")
            for s in row.steps
        )
    if column == NOW:
        return "\n".join(row.failure.lines()) if row.failure else "\n".join(word for word in row.words(now) if word)
    if column in (ELAPSED, REMAINING):
        if not row.finished and row.remaining_s(now) is None:
            lacking = [f"{s.title} {s.variant}".strip() for s in row.steps if s.left(now) is None]
            return f"Remaining is not known: no estimate for {', '.join(lacking)}."
        return "" if row.finished else remaining_source(row)
    if column == JOB:
        attempt = f"\nattempt {row.attempt}" if row.attempt > 1 else ""
        return f"{row.title}\n{row.id}{attempt}\n{row.folder}"
    return ", ".join(text for _, text in verbs(row))


def remaining_source(row: JobRow) -> str:
    """Where the remaining time is from."""
    step = row.current
    if step is not None and step.status == "running":
        of = f"{step.title} {step.variant}".strip()
        if step.ends_at is not None:
            return f"Remaining: what {of} reckons itself, and the plan's estimate of what comes after it."
        if step.measured:
            return f"Remaining: from the speed of {of} so far, and the plan's estimate of what comes after it."
    return "Remaining is the plan's estimate of what is still to do."


class JobDelegate(QStyledItemDelegate):
    """Paints a row. The verbs in its last column are painted buttons; the same ones stand in the bar below."""

    def __init__(self, view: QTableView) -> None:
        super().__init__(view)
        self._view = view

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        assert isinstance(model, JobsModel)
        row, column, rect, now = model.rows[index.row()], index.column(), option.rect, time.time()
        colours = theme()
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        painter.save()
        painter.fillRect(rect, colours.colour("raised" if chosen else "panel"))
        painter.setPen(QPen(colours.colour("line"), 1))
        painter.drawLine(rect.bottomLeft(), rect.bottomRight())
        if chosen and column == JOB:
            painter.fillRect(QRect(rect.left(), rect.top(), 2, rect.height()), colours.colour("accent"))
        if column == JOB:
            self._paint_job(painter, rect, row, model.narrow)
        elif column == STEPS:
            place = QRect(rect.left() + 8, rect.top() + 15, rect.width() - 16, STRIP_HEIGHT)
            paint_strip(painter, place, row, scale=self._view.devicePixelRatioF())
        elif column == NOW:
            first, second = row.words(now)
            token = {"failed": "err", "interrupted": "warn", "cancelled": "warn"}.get(row.status, "text")
            if row.status == "done" and row.finished_at:
                second = time.strftime("%d %b %H:%M", time.localtime(row.finished_at))
            self._two_lines(painter, rect, first, second, token)
        elif column in (ELAPSED, REMAINING):
            self._paint_times(painter, rect, row, column, now, model.narrow)
        else:
            self._paint_verbs(painter, rect, row)
        painter.restore()

    def _paint_job(self, painter: QPainter, rect: QRect, row: JobRow, narrow: bool) -> None:
        words = ", ".join(row.variants) or row.toolchain
        if row.attempt > 1:
            words += f", attempt {row.attempt}"
        tag_font = mono_font(SMALL)
        width = QFontMetrics(tag_font).horizontalAdvance("0000") + 8
        painter.setFont(tag_font)
        painter.setPen(theme().colour("text3"))
        # Where there is little room the name has the first line for itself.
        top, height = (28, 16) if narrow else (8, 20)
        tag = QRect(rect.left() + _PAD, rect.top() + top, width, height)
        painter.drawText(tag, Qt.AlignmentFlag.AlignVCenter, row.tag)
        inner = rect.adjusted(0 if narrow else width, 0, 0, 0)
        self._two_lines(painter, inner, row.name, words, "text", bold=True, indent=width if narrow else 0)

    def _paint_times(self, painter: QPainter, rect: QRect, row: JobRow, column: int, now: float, narrow: bool) -> None:
        elapsed, left = clock_text(row.elapsed_s(now)), span_text(row.remaining_s(now))
        both = narrow and not row.finished
        text = elapsed if column == ELAPSED else left
        token = "text" if column == ELAPSED and not row.waiting else "text3"
        place = rect.adjusted(0, 8 if both else 0, -_PAD, -26 if both else 0)
        self._right(painter, place, text, token, mono_font(BASE))
        if both:
            self._right(painter, rect.adjusted(0, 28, -_PAD, -8), left, "text3", mono_font(SMALL))

    @staticmethod
    def _right(painter: QPainter, rect: QRect, text: str, token: str, font: QFont) -> None:
        painter.setFont(font)
        painter.setPen(theme().colour(token))
        painter.drawText(rect, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)

    @staticmethod
    def _two_lines(
        painter: QPainter, rect: QRect, first: str, second: str, token: str, *, bold: bool = False, indent: int = 0
    ) -> None:
        """A name and what is said of it, each cut with an ellipsis; `indent` of the second line in px."""
        for text, top, height, colour, font, more in (
            (first, 8 if second else 17, 20, token, text_font(BASE, bold=bold), 0),
            (second, 28, 16, "text3", text_font(SMALL), indent),
        ):
            painter.setFont(font)
            painter.setPen(theme().colour(colour))
            room = rect.width() - _PAD - 4 - more
            shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, room)
            place = QRect(rect.left() + _PAD + more, rect.top() + top, room, height)
            painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)

    def places(self, rect: QRect, row: JobRow) -> list[tuple[Verb, str, QRect]]:
        """Where the verbs of a row are painted: the folder at the right, the other left of it."""
        middle = rect.top() + (rect.height() - 26) // 2
        found: list[tuple[Verb, str, QRect]] = []
        right = rect.right() - 8
        for verb, text in reversed(verbs(row)):
            width = 28 if verb == "folder" else QFontMetrics(text_font(SMALL)).horizontalAdvance(text) + 18
            found.append((verb, text, QRect(right - width, middle, width, 26)))
            right -= width + 4
        return found

    def _paint_verbs(self, painter: QPainter, rect: QRect, row: JobRow) -> None:
        colours = theme()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for verb, text, place in self.places(rect, row):
            if verb == "folder":
                image = pixmap("folder", "text2", 16, self._view.devicePixelRatioF())
                painter.drawPixmap(place.left() + 6, place.top() + 5, image)
                continue
            painter.setPen(QPen(colours.colour("line2"), 1))
            painter.setBrush(colours.colour("raised"))
            painter.drawRoundedRect(place.adjusted(0, 0, -1, -1).toRectF().translated(0.5, 0.5), 4, 4)
            painter.setPen(colours.colour("text"))
            painter.setFont(text_font(SMALL))
            painter.drawText(place, Qt.AlignmentFlag.AlignCenter, text)

    def helpEvent(self, event: QHelpEvent, view: QAbstractItemView, option: QStyleOptionViewItem, index: Index) -> bool:
        if event.type() == QEvent.Type.ToolTip and index.column() == VERBS:
            model = index.model()
            assert isinstance(model, JobsModel)
            for _, text, place in self.places(option.rect, model.rows[index.row()]):
                if place.contains(event.pos()):
                    QToolTip.showText(event.globalPos(), text, view)
                    return True
        return super().helpEvent(event, view, option, index)


class JobsTable(QTableView):
    """The queue. `asked` is sent when a painted verb is clicked; Del cancels, R retries, Enter opens the folder."""

    asked = Signal(str, str)
    """Verb and job id."""
    chosen = Signal(str)

    def __init__(self, model: JobsModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = model
        self._delegate = JobDelegate(self)
        self._pressed: tuple[str, str] | None = None
        self.setModel(model)
        self.setItemDelegate(self._delegate)
        self.setAccessibleName("Jobs")
        whole_rows(self, ROW_HEIGHT)
        still_head(self, HEAD_HEIGHT)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.selectionModel().currentRowChanged.connect(self._say_chosen)

    def chosen_id(self) -> str:
        place = self.currentIndex().row()
        return self._jobs.rows[place].id if 0 <= place < len(self._jobs.rows) else ""

    def choose(self, job_id: str) -> bool:
        """Select a job and bring it into view; False when it is not shown."""
        place = self._jobs.place_of(job_id)
        if place < 0:
            return False
        self.selectRow(place)
        self.scrollTo(self._jobs.index(place, 0))
        return True

    def _say_chosen(self, now: QModelIndex, before: QModelIndex) -> None:
        if now.isValid() and now.row() < len(self._jobs.rows):
            self.chosen.emit(self._jobs.rows[now.row()].id)

    def _hit(self, event: QMouseEvent) -> tuple[str, str] | None:
        point = event.position().toPoint()
        index = self.indexAt(point)
        if not index.isValid() or index.column() != VERBS:
            return None
        row = self._jobs.rows[index.row()]
        for verb, _, place in self._delegate.places(self.visualRect(index), row):
            if place.contains(point):
                return verb, row.id
        return None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._pressed = self._hit(event) if event.button() == Qt.MouseButton.LeftButton else None
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        pressed, self._pressed = self._pressed, None
        if pressed is not None and pressed == self._hit(event):
            self.asked.emit(*pressed)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        width = self.viewport().width()
        narrow = width < NARROW
        if narrow != self._jobs.narrow:
            self._jobs.narrow = narrow
            self._jobs.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, VERBS)
        self.setColumnHidden(REMAINING, narrow)
        sizes = {ELAPSED: 84 if narrow else 88, REMAINING: 0 if narrow else 96, VERBS: 96}
        rest = width - sum(sizes.values())
        sizes[JOB] = max(int(rest * (0.23 if narrow else 0.25)), 146)
        sizes[NOW] = max(int(rest * (0.19 if narrow else 0.22)), 120)
        sizes[STEPS] = rest - sizes[JOB] - sizes[NOW]
        for column, size in sizes.items():
            if size:
                self.setColumnWidth(column, size)
