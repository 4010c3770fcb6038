"""Quality against the baseline: perplexity, agreement and KL with their intervals, tasks, and the worst prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QModelIndex, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QSplitter,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import PromptScore, QualityRecord, TokenChoice
from workbench.core.measure.verdict import verdict
from workbench.core.report.words import interval, number, share
from workbench.core.report.words import ratio as ratio_words
from workbench.ui.models.comparison_view import Shown, Variant
from workbench.ui.pages.compare.cells import CellLine, paint_cell
from workbench.ui.theme import BASE, SMALL, mono_font, text_font
from workbench.ui.widgets.basics import GAP, MARGIN, EmptyState, label, row
from workbench.ui.widgets.list_table import SEARCH_ROLE, SORT_ROLE, TOKEN_ROLE, ListTable, RowFilter
from workbench.ui.widgets.search_box import Choice
from workbench.ui.widgets.table_parts import NONE, Index, RowsModel, still_head, whole_rows

_NOWHERE = QModelIndex()
BELOW_ROLE = Qt.ItemDataRole.UserRole + 1
SLOT_ROLE = Qt.ItemDataRole.UserRole + 2
_ROW, _HEAD = 52, 34
_TASK = "acc: share of right answers; acc_norm: by likelihood a character; exact_match: the number that is answered"


@dataclass(frozen=True)
class _Cell:
    text: str
    below: str = ""
    tip: str = ""
    colour: str = "text"


@dataclass(frozen=True)
class _Column:
    title: str
    tip: str
    cell: Callable[[Variant, QualityRecord | None], _Cell]
    width: int = 132


def _why(record: QualityRecord | None, name: str) -> str:
    if record is None:
        return "not measured"
    if record.failure is not None:
        return "failed"
    return record.not_reported.get(name, "not measured")


def _estimate(record: QualityRecord | None, name: str, say: Callable[[float], str], digits: int | None) -> _Cell:
    found: Estimate | None = getattr(record, name) if record is not None else None
    if found is None:
        why = _why(record, name)
        tip = record.failure.what if record is not None and record.failure is not None else why
        return _Cell(NONE, why, tip, "text3")
    return _Cell(say(found.value), _interval(found, say, digits), f"of {number(found.n)}")


def _interval(found: Estimate, say: Callable[[float], str], digits: int | None) -> str:
    if digits is None:
        low, high = found.low, found.high
        return f"{say(low)} to {say(high)}" if low is not None and high is not None else "no interval"
    return interval(found, digits) or "no interval"


def _perplexity(variant: Variant, record: QualityRecord | None) -> _Cell:
    return _estimate(record, "perplexity", lambda value: number(value, 3), 3)


def _bits(variant: Variant, record: QualityRecord | None) -> _Cell:
    return _estimate(record, "bits_per_byte", lambda value: number(value, 4), 4)


def _agreement(variant: Variant, record: QualityRecord | None) -> _Cell:
    if variant.is_baseline:
        return _Cell(NONE, "baseline", colour="text3")
    return _estimate(record, "agreement", lambda value: share(value, 1), None)


def _kl(variant: Variant, record: QualityRecord | None) -> _Cell:
    if variant.is_baseline:
        return _Cell(NONE, "baseline", colour="text3")
    return _estimate(record, "kl_nats", lambda value: number(value, 4), 4)


def _verdict(variant: Variant, record: QualityRecord | None) -> _Cell:
    """What the interval of the perplexity's ratio allows to say."""
    source = "simulated: no engine of it exists" if variant.subject.simulated else ""
    if record is not None and record.failure is not None:
        return _Cell("failed", record.failure.what, " ".join(record.failure.lines()), "err")
    if variant.is_baseline:
        return _Cell("baseline", source, colour="text3")
    if record is None:
        return _Cell(NONE, "not measured", colour="text3")
    found = record.perplexity_ratio
    if found is None:
        why = record.not_reported.get("perplexity_ratio") or record.not_reported.get("perplexity", "")
        return _Cell(NONE, why or source or "not measured", colour="text3")
    ratio = ratio_words(found.value) + (f"  ({interval(found, 3)})" if found.has_interval else "")
    return _Cell(verdict(found, "lower").words, source or ratio, f"perplexity by the baseline's: {ratio}")


def _task(name: str, metric: str) -> Callable[[Variant, QualityRecord | None], _Cell]:
    def cell(variant: Variant, record: QualityRecord | None) -> _Cell:
        tasks = record.tasks if record is not None else ()
        found = next((task for task in tasks if (task.name, task.metric) == (name, metric)), None)
        if found is None:
            return _Cell(NONE, _why(record, name), colour="text3")
        error = f" ± {found.score.stderr * 100:.1f}" if found.score.stderr is not None else ""
        below = f"{number(found.score.n)} questions" if found.score.n else ""
        if not error and found.score.low is not None and found.score.high is not None:
            below += f", {found.score.low * 100:.0f} to {found.score.high * 100:.0f}"
        if found.difference is not None and found.difference.low is not None and found.difference.high is not None:
            low, high = found.difference.low * 100, found.difference.high * 100
            below = f"{low:+.1f} to {high:+.1f} of the baseline"
        return _Cell(f"{found.score.value * 100:.1f}{error} %", below, f"{found.source}, {found.shots} shots")

    return cell


class _Model(RowsModel):
    """A row a variant; what nobody has is left out."""

    rows: tuple[Variant, ...] = ()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.shown: Shown | None = None
        self.columns: tuple[_Column, ...] = ()

    def take(self, shown: Shown) -> None:
        self.beginResetModel()
        self.shown, self.rows = shown, shown.variants
        records = shown.comparison.quality
        columns = [
            _Column("Variant", "", lambda variant, record: _Cell(variant.subject.name), 210),
            _Column("Against the baseline", "What the interval of the perplexity's ratio allows to say", _verdict, 300),
            _Column("Perplexity", "exp of the mean negative log-likelihood a token, 95 % interval", _perplexity),
            _Column("Bits a byte", "Negative log2-likelihood a byte of text", _bits),
            _Column("Agreement", "Positions where the greedy token is the baseline's", _agreement),
            _Column("KL, nats", "Mean KL divergence of next-token distributions, baseline || variant", _kl),
        ]
        if not any(one.bits_per_byte for one in records):
            columns.pop(3)
        for name, metric in sorted({(task.name, task.metric) for one in records for task in one.tasks}):
            columns.append(_Column(f"{name}, {metric}", _TASK, _task(name, metric), 168))
        self.columns = tuple(columns)
        self.endResetModel()

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.columns[section].tip or None
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return left if role == Qt.ItemDataRole.TextAlignmentRole else None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        variant, column = self.rows[index.row()], self.columns[index.column()]
        record = self.shown.comparison.quality_of(variant.id) if self.shown is not None else None
        cell = column.cell(variant, record)
        if role == Qt.ItemDataRole.DisplayRole:
            return cell.text
        if role == BELOW_ROLE:
            return cell
        if role == SLOT_ROLE and not index.column():
            return variant.slot
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return ", ".join(part for part in (f"{column.title}: {cell.text}", cell.below, cell.tip) if part)
        return None


class _Cells(QStyledItemDelegate):
    """A figure over its interval."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(120, _ROW)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        cell, slot, prose = index.data(BELOW_ROLE), index.data(SLOT_ROLE), index.column() < 2
        upper = text_font(BASE, bold=slot is not None) if prose else mono_font(BASE)
        lower = mono_font(SMALL) if not prose and cell.text != NONE else text_font(SMALL)
        below = CellLine(cell.below, lower, "text3")
        paint_cell(painter, option, index, slot, CellLine(cell.text, upper, cell.colour), below)


_WORST = (
    ("Prompt", ""),
    ("Agreement", "Positions where the greedy token is the baseline's"),
    ("KL, nats", "Mean of its positions"),
    ("First difference", "Position of the first greedy token that differs"),
    ("Baseline says", "Token and probability there; behind it the runner-up"),
    ("Variant says", "Token and probability there; behind it the runner-up"),
)


def _choice(choice: TokenChoice | None) -> str:
    if choice is None:
        return NONE
    said = f"{_token(choice.text)} {choice.probability:.2f}"
    if choice.runner_up and choice.runner_up_probability is not None:
        said += f" ({_token(choice.runner_up)} {choice.runner_up_probability:.2f})"
    return said


def _token(text: str) -> str:
    """A token's text; of a blank one what it is."""
    return text.strip() or repr(text)


class _WorstModel(RowsModel):
    headings = tuple((title, False, tip) for title, tip in _WORST)
    rows: tuple[PromptScore, ...] = ()

    def take(self, rows: tuple[PromptScore, ...]) -> None:
        if rows != self.rows:
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        score, column = self.rows[index.row()], index.column()
        agreement = score.agreement
        about = f"{share(agreement.value, 0)}"
        if agreement.low is not None and agreement.high is not None:
            about += f"  {agreement.low * 100:.0f} to {agreement.high * 100:.0f}"
        first = score.first_difference
        text = (
            " ".join((score.text or score.name).split()),
            about,
            number(score.kl_nats.value, 4) if score.kl_nats is not None else NONE,
            f"token {first + 1} of {score.positions}" if first is not None else f"none in {score.positions}",
            _choice(score.baseline_choice),
            _choice(score.variant_choice),
        )[column]
        if role == Qt.ItemDataRole.DisplayRole:
            return text
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return self.said(column, text)
        if role == Qt.ItemDataRole.FontRole:
            return mono_font(SMALL) if column else text_font()
        if role == TOKEN_ROLE:
            return "text2" if column else "text"
        if role == SEARCH_ROLE:
            return score.text
        if role == SORT_ROLE:
            kl = score.kl_nats.value if score.kl_nats is not None else -1.0
            return {1: agreement.value, 2: kl, 3: first if first is not None else score.positions}.get(column, text)
        return None


class QualityTab(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._shown: Shown | None = None
        self.model, self.worst_model = _Model(self), _WorstModel(self)
        self.table = _table("Quality of the variants", _ROW, _HEAD)
        self.table.setModel(self.model)
        self.table.setItemDelegate(_Cells(self.table))
        proxy = RowFilter(self)
        proxy.setSourceModel(self.worst_model)
        self.worst = ListTable(proxy, "Worst prompts")
        self.of = Choice()
        self.of.setAccessibleName("Worst prompts of which variant")
        self.of.setMinimumWidth(200)
        self.of.currentIndexChanged.connect(lambda _: self._show_worst())
        self.words = label("", "hint", wrap=True)
        self.empty = EmptyState(
            "No quality was measured yet.",
            "Perplexity, agreement and KL against the baseline, on a text that ships or one of your own: Measure, with "
            "Quality switched on.",
        )
        head = row(label("Worst prompts first", "name"), self.of, None, margins=(MARGIN, GAP, MARGIN, GAP))
        below = QWidget()
        within = QVBoxLayout(below)
        within.setContentsMargins(0, 0, 0, 0)
        within.setSpacing(0)
        within.addWidget(head)
        within.addWidget(self.worst, 1)
        self.split = QSplitter(Qt.Orientation.Vertical)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(self.table)
        self.split.addWidget(below)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.words.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        for part in (self.words, self.split, self.empty):
            layout.addWidget(part, 0 if part is self.words else 1)

    def show_shown(self, shown: Shown) -> None:
        self._shown = shown
        records = shown.comparison.quality
        self.empty.setVisible(not records)
        self.split.setVisible(bool(records))
        self.words.setVisible(bool(records))
        if not records:
            return
        self.model.take(shown)
        for number_, column in enumerate(self.model.columns):
            self.table.setColumnWidth(number_, column.width)
        self.table.horizontalHeader().setStretchLastSection(True)
        most = _HEAD + _ROW * min(7, len(shown.variants)) + 14
        self.table.setMaximumHeight(most)
        text = next((one.text for one in records if one.text), "")
        names = {one.id: one.subject.name for one in shown.variants}
        warnings = [f"{names.get(one.subject, one.subject)}: {words}." for one in records for words in one.warnings]
        said = [f"Perplexity on: {text}." if text else "", "95 % intervals under the figures.", *warnings]
        self.words.setText(" ".join(part for part in said if part))
        self._offer(shown)
        self._show_worst()

    def _offer(self, shown: Shown) -> None:
        """The variants whose prompts were scored."""
        able = [(one.subject.name, one.id) for one in shown.variants if not one.is_baseline and _prompts(shown, one.id)]
        if able == [(self.of.itemText(n), self.of.itemData(n)) for n in range(self.of.count())]:
            return
        chosen = self.of.currentData()
        self.of.blockSignals(True)
        self.of.clear()
        for name, subject in able:
            self.of.addItem(name, subject)
        self.of.setCurrentIndex(max(0, self.of.findData(chosen)) if able else -1)
        self.of.blockSignals(False)

    def _show_worst(self) -> None:
        shown = self._shown
        self.of.setEnabled(self.of.count() > 0)
        chosen = self.of.currentData()
        self.worst_model.take(_prompts(shown, chosen) if shown is not None and chosen else ())


def _prompts(shown: Shown, subject_id: str) -> tuple[PromptScore, ...]:
    record = shown.comparison.quality_of(subject_id)
    return record.prompts if record is not None else ()


def _table(name: str, height: int, head: int) -> QTableView:
    made = QTableView()
    made.setAccessibleName(name)
    whole_rows(made, height)
    still_head(made, head)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    made.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    return made
