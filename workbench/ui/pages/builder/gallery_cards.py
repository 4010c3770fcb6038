"""The gallery's list: model, the delegate that draws headings and cards, and the view with its keys."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFont, QFontMetrics, QKeyEvent, QPainter, QPainterPath, QPen, QTextLayout, QTextOption
from PySide6.QtWidgets import QFrame, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from workbench.core.model import ModelSpec
from workbench.ui.models.gallery import TOOLCHAIN_TITLES, BrokenCard, Card, Gallery, weights_of
from workbench.ui.theme import SMALL, mono_font, text_font, theme

Index = QModelIndex | QPersistentModelIndex
Entry = str | Card | BrokenCard
"""A line of the list; text is a heading."""
BROKEN_TITLE = "Cannot be read"
ENTRY_ROLE = Qt.ItemDataRole.UserRole + 1
WEIGHTS_ROLE = Qt.ItemDataRole.UserRole + 2
CHOSEN_ROLE = Qt.ItemDataRole.UserRole + 3
_NOWHERE = QModelIndex()
_LEFT, _CARD_WIDTH = 16, 272
_PAD_X, _PAD_Y, _GAP = 12, 8, 4
_TITLE_LINE, _LINE = 20, 16
_HEADING, _FIRST_HEADING = 36, 24
_MOST_LINES = 2
_RADIUS = 6


class CardsModel(QAbstractListModel):
    """Headings, cards, and files that cannot be read, in one list."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: tuple[Entry, ...] = ()
        self._model: ModelSpec | None = None
        self._weights: dict[str, str] = {}
        self.chosen = ""

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self._entries

    @property
    def all_cards(self) -> list[Card]:
        return [entry for entry in self._entries if isinstance(entry, Card)]

    def take(self, gallery: Gallery) -> None:
        """Show these."""
        entries: list[Entry] = []
        for group in gallery.groups:
            entries += [group.title, *group.cards]
        if gallery.broken:
            entries += [BROKEN_TITLE, *gallery.broken]
        if tuple(entries) == self._entries:
            return
        self.beginResetModel()
        self._entries = tuple(entries)
        self._weigh()
        self.endResetModel()

    def set_model(self, model: ModelSpec | None) -> None:
        if model != self._model:
            self._model = model
            self._weigh()
            self._changed()

    def _weigh(self) -> None:
        if self._model is None:
            self._weights = {}
        else:
            text = weights_of(self._model)
            self._weights = {card.id: text(card) for card in self.all_cards}

    def set_chosen(self, preset_id: str) -> None:
        if preset_id != self.chosen:
            self.chosen = preset_id
            self._changed()

    def _changed(self) -> None:
        if self._entries:
            self.dataChanged.emit(self.index(0), self.index(len(self._entries) - 1))

    def chosen_index(self) -> QModelIndex:
        """Where the chosen card is; invalid when it is not shown."""
        for number, entry in enumerate(self._entries):
            if isinstance(entry, Card) and entry.id == self.chosen:
                return self.index(number)
        return QModelIndex()

    def first_index(self) -> QModelIndex:
        """The first card; invalid when there is none."""
        return self.index(1) if len(self._entries) > 1 else QModelIndex()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._entries)

    def flags(self, index: Index) -> Qt.ItemFlag:
        # A heading is no place for the keyboard: the view steps over what is not enabled.
        if isinstance(self._entries[index.row()], str):
            return Qt.ItemFlag.ItemNeverHasChildren
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemNeverHasChildren

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self._entries[index.row()]
        if role == ENTRY_ROLE:
            return entry
        if role == Qt.ItemDataRole.DisplayRole:
            return entry if isinstance(entry, str) else entry.title if isinstance(entry, Card) else entry.name
        if isinstance(entry, str):
            return f"{entry}, heading" if role == Qt.ItemDataRole.AccessibleTextRole else None
        chosen = isinstance(entry, Card) and entry.id == self.chosen
        if role == CHOSEN_ROLE:
            return chosen
        weights = self._weights.get(entry.id, "") if isinstance(entry, Card) else ""
        if role == WEIGHTS_ROLE:
            return weights
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(full_text(entry, weights))
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ". ".join(line.rstrip(".") for line in full_text(entry, weights)) + (". Chosen" if chosen else "")
        return None


def full_text(entry: Card | BrokenCard, weights: str = "") -> list[str]:
    """All that is known of a card, in lines, for tool tips and screen readers."""
    if isinstance(entry, BrokenCard):
        return [entry.name, *entry.failure.lines()]
    lines = [entry.title, entry.description] if entry.description else [entry.title]
    if not entry.runs_here:
        lines.append(entry.why_not)
    if entry.nearest_title and not entry.built_here:
        lines.append(f"Nearest: {entry.nearest_title}")
    if weights:
        lines.append(
            f"Weights: {weights}" + (" (GPUs \N{MULTIPLICATION SIGN} memory of each)" if entry.gpus > 1 else "")
        )
    meant = f", meant for {entry.gpu}" if entry.gpu else ""
    toolchain = TOOLCHAIN_TITLES.get(entry.toolchain, entry.toolchain)
    lines.append(f"{entry.precision.title}; {toolchain}{meant}")
    lines.append(f"{entry.id}{' (your own)' if entry.own else ''}")
    return lines


def card_lines(entry: Card | BrokenCard) -> list[tuple[str, str, int]]:
    """What a card shows below its title: text, colour, and how many lines it may take."""
    if isinstance(entry, BrokenCard):
        return [(entry.failure.what, "err", 6)]
    if entry.runs_here:
        return [(entry.description, "text2", _MOST_LINES)] if entry.description else []
    if entry.built_here:
        return [(entry.why_not, "text2", 4)]
    nearest = [(f"Nearest: {entry.nearest_title}", "text3", _MOST_LINES)] if entry.nearest_title else []
    return [(entry.why_not, "text3", 4), *nearest]


def wrapped(text: str, font: QFont, width: int, most: int, first_width: int = 0) -> list[str]:
    """Text in at most `most` lines of `width` px (the first: `first_width`); what is too much ends in an ellipsis."""
    layout = QTextLayout(text, font)
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    layout.setTextOption(option)
    lines: list[str] = []
    layout.beginLayout()
    while (line := layout.createLine()).isValid():
        room = first_width if first_width and not lines else width
        line.setLineWidth(room)
        start, length = line.textStart(), line.textLength()
        if len(lines) == most - 1:
            lines.append(QFontMetrics(font).elidedText(text[start:], Qt.TextElideMode.ElideRight, room))
            break
        lines.append(text[start : start + length].rstrip())
    layout.endLayout()
    return lines


class CardDelegate(QStyledItemDelegate):
    """Draws the list; widths are fixed, so heights are known from the text alone."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._bold, self._small, self._small_bold = text_font(bold=True), text_font(SMALL), text_font(SMALL, bold=True)
        self._figure = mono_font()
        self._known: dict[tuple[str, int, int, bool], list[str]] = {}

    def _wrap(self, text: str, width: int, most: int, *, title: bool = False, beside: int = 0) -> list[str]:
        key = (text, width - beside, most, title)
        if key not in self._known:
            if len(self._known) > 2000:
                self._known.clear()
            self._known[key] = wrapped(text, self._bold if title else self._small, width, most, width - beside)
        return self._known[key]

    def _parts(self, index: Index) -> tuple[str, list[str], list[tuple[str, str]]]:
        """Figure, lines of the title, and the lines below with their colours."""
        entry: Card | BrokenCard = index.data(ENTRY_ROLE)
        width = _CARD_WIDTH - 2 * _PAD_X
        weights = str(index.data(WEIGHTS_ROLE) or "")
        beside = QFontMetrics(self._figure).horizontalAdvance(weights) + 8 if weights else 0
        title = self._wrap(str(index.data()), width, _MOST_LINES, title=True, beside=beside)
        below = [(part, token) for text, token, most in card_lines(entry) for part in self._wrap(text, width, most)]
        return weights, title, below

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        if isinstance(index.data(ENTRY_ROLE), str):
            return QSize(_LEFT + _CARD_WIDTH, _HEADING if index.row() else _FIRST_HEADING)
        _, title, below = self._parts(index)
        inner = _TITLE_LINE * len(title) + _LINE * len(below)
        return QSize(_LEFT + _CARD_WIDTH, inner + 2 * _PAD_Y + _GAP)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        rect: QRect = option.rect  # type: ignore[attr-defined]
        painter.save()
        if isinstance(index.data(ENTRY_ROLE), str):
            painter.setFont(self._small_bold)
            painter.setPen(theme().colour("text2"))
            place = QRect(_LEFT, rect.bottom() - 23, _CARD_WIDTH, 20)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignVCenter.value), str(index.data()))
        else:
            focused = bool(option.state & QStyle.StateFlag.State_HasFocus)  # type: ignore[attr-defined]
            self._paint_card(painter, QRect(_LEFT, rect.top(), _CARD_WIDTH, rect.height() - _GAP), index, focused)
        painter.restore()

    def _paint_card(self, painter: QPainter, place: QRect, index: Index, focused: bool) -> None:
        look = theme()
        entry: Card | BrokenCard = index.data(ENTRY_ROLE)
        chosen = bool(index.data(CHOSEN_ROLE))
        able = isinstance(entry, Card) and (entry.runs_here or entry.built_here)
        frame = "accent" if chosen or focused else "line2" if able else "line"
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        path = QPainterPath()
        edge = 1.0 if focused else 0.5
        path.addRoundedRect(QRectF(place).adjusted(edge, edge, -edge, -edge), _RADIUS, _RADIUS)
        painter.fillPath(path, look.colour("accent_bg" if chosen else "panel"))
        if chosen:
            painter.save()
            painter.setClipPath(path)
            painter.fillRect(QRect(place.left(), place.top(), 3, place.height()), look.colour("accent"))
            painter.restore()
        painter.setPen(QPen(look.colour(frame), 2 if focused else 1))
        painter.drawPath(path)
        weights, title, below = self._parts(index)
        inner = place.adjusted(_PAD_X, _PAD_Y, -_PAD_X, -_PAD_Y)
        middle, right = Qt.AlignmentFlag.AlignVCenter, Qt.AlignmentFlag.AlignRight
        painter.setFont(self._bold)
        painter.setPen(look.colour("text" if able or chosen else "text3"))
        top = inner.top()
        for line in title:
            painter.drawText(QRect(inner.left(), top, inner.width(), _TITLE_LINE), int(middle.value), line)
            top += _TITLE_LINE
        if weights:
            painter.setFont(self._figure)
            first = QRect(inner.left(), inner.top(), inner.width(), _TITLE_LINE)
            painter.drawText(first, int((middle | right).value), weights)
        painter.setFont(self._small)
        for line, token in below:
            painter.setPen(look.colour("text2" if chosen and token == "text3" else token))
            painter.drawText(QRect(inner.left(), top, inner.width(), _LINE), int(middle.value), line)
            top += _LINE


class CardView(QListView):
    """Arrows go from card to card; Enter, Space or a click picks one."""

    picked = Signal(object)
    """The Card."""

    def __init__(self, model: CardsModel) -> None:
        super().__init__()
        self.setModel(model)
        self._cards = model
        self.setItemDelegate(CardDelegate(self))
        self.setAccessibleName("Presets by goal")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setStyleSheet("QListView, QListView:focus { background: transparent; border: none; }")
        # The chosen card is marked by the model: going over the cards with the arrows must not change the form.
        self.setSelectionMode(QListView.SelectionMode.NoSelection)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.setMouseTracking(False)
        self.clicked.connect(self._pick)

    def _pick(self, index: Index) -> None:
        entry = index.data(ENTRY_ROLE) if index.isValid() else None
        if isinstance(entry, Card):
            self.picked.emit(entry)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and not event.modifiers():
            self._pick(self.currentIndex())
            event.accept()
            return
        super().keyPressEvent(event)

    def focusInEvent(self, event: Any) -> None:
        super().focusInEvent(event)
        if not self.currentIndex().isValid():
            self._start()

    def _start(self) -> None:
        chosen = self._cards.chosen_index()
        self.setCurrentIndex(chosen if chosen.isValid() else self._cards.first_index())

    def enter(self) -> None:
        """Take the keyboard, at the chosen card or the first."""
        self.setFocus(Qt.FocusReason.OtherFocusReason)
        if not self.currentIndex().isValid():
            self._start()

    def chosen_is_seen(self) -> bool:
        """Whether any of the chosen card is in view."""
        chosen = self._cards.chosen_index()
        return chosen.isValid() and self.visualRect(chosen).intersects(self.viewport().rect())

    def show_chosen(self) -> None:
        """Bring the chosen card into view and tell it to screen readers as selected."""
        chosen = self._cards.chosen_index()
        select = QItemSelectionModel.SelectionFlag
        if chosen.isValid():
            self.selectionModel().select(chosen, select.ClearAndSelect)
            self.scrollTo(chosen)
        else:
            self.selectionModel().clearSelection()
