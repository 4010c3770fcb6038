"""Where the parts of the Build page stand, and which of them there is room for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QScrollArea, QStackedLayout, QVBoxLayout, QWidget

from workbench.ui.pages.builder.gallery import GalleryPane
from workbench.ui.widgets.basics import MARGIN, EmptyState, button, rule

_WIDE = 304 + 440 + 344
"""Room in px for gallery, form and card side by side; with less, the gallery takes the card's place when asked for."""


class Frame(QWidget):
    """Gallery at the left; the model's line above the form, which scrolls, and its card; the verbs below."""

    def __init__(
        self,
        gallery: GalleryPane,
        model: QWidget,
        card: QWidget,
        below_form: QWidget,
        bottom: QWidget,
        build_demo: Callable[[], None],
    ) -> None:
        super().__init__()
        self._gallery, self._card_place = gallery, QWidget()
        self._gallery_rule = rule(vertical=True)
        self._gallery_shown = {True: True, False: False}
        """By whether there is room for gallery, form and card side by side."""
        self.presets_button = button("Presets", icon_name="menu", tip="Show or hide the presets")
        self.presets_button.setCheckable(True)
        self.presets_button.clicked.connect(self.show_gallery)
        first = EmptyState(
            "Build your first engine.",
            "The demo builds a small model on the CPU and needs no GPU. "
            "For a model of your own, choose its folder above.",
            "Build the demo engine",
            build_demo,
        )
        self._form_place, self.scroll = _bare(QVBoxLayout()), QScrollArea()
        inside = QWidget()
        column = _bare(QVBoxLayout(inside))
        column.addLayout(self._form_place)
        column.addWidget(below_form)
        column.addStretch(1)
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.scroll.setWidget(inside)
        middle = QWidget()
        self._middle = QStackedLayout(middle)
        self._middle.addWidget(self.scroll)
        self._middle.addWidget(first)
        right = QVBoxLayout(self._card_place)
        right.setContentsMargins(0, 12, MARGIN, 12)
        right.addWidget(card)
        across = _bare(QHBoxLayout())
        across.addWidget(middle, 1)
        across.addWidget(self._card_place)
        work = _bare(QVBoxLayout())
        work.addWidget(model)
        work.addLayout(across, 1)
        work.addWidget(bottom)
        whole = _bare(QHBoxLayout(self))
        whole.addWidget(gallery)
        whole.addWidget(self._gallery_rule)
        whole.addLayout(work, 1)
        self._arrange()

    def place_form(self, form: QWidget) -> None:
        """Put the form above what stands below it."""
        self._form_place.addWidget(form)

    def show_first(self, first: bool) -> None:
        """The words for a newcomer, or the form."""
        self._middle.setCurrentIndex(1 if first else 0)

    @property
    def wide(self) -> bool:
        """Whether gallery, form and card stand side by side."""
        return self.width() >= _WIDE

    def show_gallery(self, shown: bool) -> None:
        """Show or hide the gallery at this width."""
        self._gallery_shown[self.wide] = shown
        self._arrange()
        if shown:
            self._gallery.view.show_chosen()

    def _arrange(self) -> None:
        """Gallery, form and card side by side where there is room; else the gallery or the card."""
        shown = self._gallery_shown[self.wide]
        self.presets_button.setChecked(shown)
        self._gallery.setVisible(shown)
        self._gallery_rule.setVisible(shown)
        self._card_place.setVisible(self.wide or not shown)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()


_Box = TypeVar("_Box", bound=QBoxLayout)


def _bare(layout: _Box) -> _Box:
    """No room between the parts nor around them."""
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    return layout
