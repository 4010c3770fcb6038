"""The gallery: search, three filters, and the presets as cards by goal; what cannot run here says why."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QComboBox, QFrame, QStackedLayout, QVBoxLayout, QWidget

from workbench.core.model import ModelSpec
from workbench.ui.models.gallery import RUNS_HERE, TOOLCHAIN_TITLES, Card, Gallery, filtered
from workbench.ui.pages.builder.gallery_cards import CardsModel, CardView
from workbench.ui.theme import SMALL, text_font, theme
from workbench.ui.widgets.basics import GAP, GAP_LARGE, GAP_SMALL, MARGIN, button, label, row
from workbench.ui.widgets.search_box import Choice, SearchBox

WIDTH = 304
_KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)


class GalleryPane(QFrame):
    """Left of the form. `chosen` is sent with a preset's id when a person chooses a card, and only then."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "bg")
        self.setFixedWidth(WIDTH)
        self.setAccessibleName("Presets")
        self._gallery = Gallery()
        self._wanted: dict[str, str] = {}
        """Filters to take back when the gallery that has them is here."""
        self.search = SearchBox("Search presets", "Search presets by title, description, id or precision")
        self.gpu, self.precision, self.toolchain = (_choice(n) for n in ("GPU", "Precision", "Toolchain"))
        self.gpu.addItem("Runs here", RUNS_HERE)
        self.cards = CardsModel()
        self.view = CardView(self.cards)
        self.nothing = label("No preset matches", "text2")
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.clear_button = button("Clear filters", self.clear_filters)
        self._stack = QStackedLayout()
        self._stack.addWidget(self.view)
        self._stack.addWidget(self._no_match())
        self._lay_out()
        self.search.textChanged.connect(self._filter)
        self.search.installEventFilter(self)
        for box in (self.gpu, self.precision, self.toolchain):
            box.currentIndexChanged.connect(self._filter)
        self.view.picked.connect(self._pick)
        theme().changed.connect(self.view.viewport().update)

    def _no_match(self) -> QWidget:
        made = QWidget()
        layout = QVBoxLayout(made)
        layout.setContentsMargins(MARGIN, 2 * GAP_LARGE, MARGIN, MARGIN)
        layout.setSpacing(GAP)
        layout.addWidget(self.nothing)
        layout.addWidget(row(None, self.clear_button, None))
        layout.addStretch(1)
        return made

    def _lay_out(self) -> None:
        filters = row(self.gpu, self.precision, self.toolchain, gap=GAP_SMALL)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 12, 0, 0)
        layout.setSpacing(GAP)
        for part in (self.search, filters):
            layout.addWidget(row(part, margins=(MARGIN, 0, MARGIN, 0)))
        layout.addLayout(self._stack, 1)

    # --- what the page calls ---

    def set_gallery(self, gallery: Gallery) -> None:
        """Show these presets; filters and the chosen card stay as they are where they still fit."""
        if gallery == self._gallery:
            return  # looked at again, and nothing has changed: the list stays where it is scrolled to
        self._gallery = gallery
        gpus = [(name, name) for name in gallery.gpu_names]
        _fill(self.gpu, [("Runs here", RUNS_HERE), *gpus])
        _fill(self.precision, [(each.value.upper().replace("_", " "), each.value) for each in gallery.precisions])
        _fill(self.toolchain, [(TOOLCHAIN_TITLES[name], name) for name in gallery.toolchains])
        self.gpu.setItemData(1, f"This machine: {gallery.here or 'no NVIDIA GPU'}", Qt.ItemDataRole.ToolTipRole)
        if self._wanted:
            wanted, self._wanted = self._wanted, {}
            self._set_filters(wanted)
        self._filter()

    def set_model(self, model: ModelSpec | None) -> None:
        """Show what the weights of this model take, at the right of each card; None: nothing."""
        seen = self.view.chosen_is_seen()
        self.cards.set_model(model)
        if seen:
            self.view.show_chosen()  # cards grew or shrank above it

    def choose(self, preset_id: str) -> None:
        """Mark a card as the chosen one and bring it into view; sends nothing. An id that is not here marks none."""
        self.cards.set_chosen(preset_id)
        self.view.show_chosen()

    @property
    def chosen_id(self) -> str:
        """Id of the chosen preset; empty: none."""
        return self.cards.chosen

    def clear_filters(self) -> None:
        """Show all presets."""
        self._set_filters({})
        self.search.setFocus()

    def state(self) -> dict[str, Any]:
        """Filters and the chosen preset, as JSON values."""
        return {**self._filters(), **self._wanted, "chosen": self.cards.chosen}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave, now or when the gallery arrives; anything may be missing or wrong."""
        kept = {name: value for name, value in state.items() if isinstance(value, str)}
        self.cards.set_chosen(kept.pop("chosen", self.cards.chosen))
        if self._gallery.empty:
            self._wanted = kept
        self._set_filters(kept)

    # --- inside ---

    def _filters(self) -> dict[str, str]:
        return {
            "text": self.search.text(),
            "gpu": self.gpu.currentData() or "",
            "precision": self.precision.currentData() or "",
            "toolchain": self.toolchain.currentData() or "",
        }

    def _set_filters(self, wanted: dict[str, str]) -> None:
        boxes = {"gpu": self.gpu, "precision": self.precision, "toolchain": self.toolchain}
        for name, box in boxes.items():
            box.blockSignals(True)
            box.setCurrentIndex(max(0, box.findData(wanted.get(name, ""))))
            box.blockSignals(False)
        self.search.blockSignals(True)
        self.search.setText(wanted.get("text", ""))
        self.search.blockSignals(False)
        self._filter()

    def _filter(self) -> None:
        for box in (self.gpu, self.precision, self.toolchain):
            box.setToolTip(box.currentText() if box.currentIndex() else "")
        shown = filtered(self._gallery, **self._filters())
        self.cards.take(shown)
        self._stack.setCurrentIndex(1 if shown.empty and not self._gallery.empty else 0)
        self.view.show_chosen()

    def _pick(self, card: Card) -> None:
        if card.id != self.cards.chosen:
            self.choose(card.id)
            self.chosen.emit(card.id)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """From the search box, Down goes to the cards and Enter takes the only one that is left."""
        if watched is self.search and event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if event.key() == Qt.Key.Key_Down:
                self.view.enter()
                return True
            cards = self.cards.all_cards
            if event.key() in _KEYS[:2] and len(cards) == 1:
                self._pick(cards[0])
                return True
        return super().eventFilter(watched, event)


def _choice(name: str) -> Choice:
    box = Choice()
    box.setFont(text_font(SMALL))
    box.setStyleSheet(
        f"QComboBox {{ font-size: {SMALL}px; padding: 0 0 0 7px; }} QComboBox:focus {{ padding: 0 0 0 6px; }}"
    )
    box.setAccessibleName(f"Filter presets by {name if name == 'GPU' else name.lower()}")
    box.addItem(name, "")
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(4)
    return box


def _fill(box: QComboBox, items: list[tuple[str, str]]) -> None:
    """Offer what is there; a choice that is still possible stays."""
    chosen = box.currentData()
    box.blockSignals(True)
    while box.count() > 1:
        box.removeItem(1)
    for text, value in items:
        box.addItem(text, value)
    box.setCurrentIndex(max(0, box.findData(chosen)))
    widest = max(box.fontMetrics().horizontalAdvance(text) for text, _ in items) if items else 0
    box.view().setMinimumWidth(widest + 48)
    box.blockSignals(False)
