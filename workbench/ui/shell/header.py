"""The line over a page: its title, its own buttons, the palette's field, and the monitor's switch."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton, QWidget

from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label, restyle, set_icon
from workbench.ui.widgets.elided_line import ElidedLine

HEIGHT = 47
"""With the hairline under it 48."""
_FIND_WIDTH = 196
_FIND, _ICON_WIDTH = "Search actions", 48
_SUBTITLE = 136
"""Of the line beside the title this much is read before the palette's field is wide."""
_WORDS, _WIDE, _TIP = "header_words", "header_width", "header_tip"
"""Properties of a page's button: what it says with room, how wide it is then, and its own tool tip."""


class Header(QFrame):
    """Shows the page that is open. `find` opens the palette, `toggle_monitor` the dock, `explain` the guide."""

    def __init__(
        self, find: Callable[[], None], toggle_monitor: Callable[[], None], explain: Callable[[], None]
    ) -> None:
        super().__init__()
        self.setProperty("surface", "bg")
        self.setFixedHeight(HEIGHT)
        self._title, self._subtitle = label("", "title"), ElidedLine("text3")
        self._own: list[QWidget] = []
        find_button = button(_FIND, find, icon_name="search", tip="Every action by name (Ctrl+K)")
        find_button.setProperty("field", True)
        find_button.setFixedWidth(_FIND_WIDTH)
        self._find = find_button
        key = label("Ctrl+K", "text3")
        key.setFont(mono_font(SMALL))
        key.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        inside = QHBoxLayout(find_button)
        inside.setContentsMargins(0, 0, 10, 0)
        inside.addStretch(1)
        inside.addWidget(key)
        self._key = key
        self.monitor: QToolButton = icon_button(
            "monitor", "Show or hide the monitor (Ctrl+M)", toggle_monitor, flat=False
        )
        self.monitor.setCheckable(True)
        self.help = icon_button("help", "Explain this page (F1)", explain, flat=False)
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(MARGIN, 0, MARGIN, 0)
        self._layout.setSpacing(GAP)
        self._layout.addWidget(self._title)
        self._layout.addWidget(self._subtitle, 1)
        self._layout.addSpacing(GAP)
        self._layout.addWidget(find_button)
        self._layout.addWidget(self.help)
        self._layout.addWidget(self.monitor)

    def show_page(self, title: str, subtitle: str, widgets: list[QWidget]) -> None:
        """Take the buttons of the page that was shown away and put this page's there."""
        for widget in self._own:
            self._layout.removeWidget(widget)
            widget.hide()
        self._own = widgets
        at = self._layout.count() - 3
        for offset, widget in enumerate(widgets):
            self._layout.insertWidget(at + offset, widget)
            widget.show()
        self._title.setText(title)
        self.set_subtitle(subtitle)
        self._fit()

    def set_subtitle(self, text: str) -> None:
        self._subtitle.say(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def event(self, event: QEvent) -> bool:
        """A page shows, hides or names its buttons anew while it is open."""
        handled = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return handled

    def _fit(self) -> None:
        """With less and less room: the palette's field is its icon; the guide is reached by its key alone; the
        page's buttons are icons, whose words are in their tool tips."""
        own = [widget for widget in self._own if not widget.isHidden()]
        wide = sum(_wide(widget) for widget in own)
        narrow = sum(_ICON_WIDTH if _can_shrink(widget) else _wide(widget) for widget in own)
        icon_width = self.monitor.sizeHint().width()
        margins = self._layout.contentsMargins()
        gaps = (len(own) + 5) * GAP + margins.left() + margins.right()
        base = gaps + self._title.sizeHint().width() + icon_width
        words = min(self._subtitle.fontMetrics().horizontalAdvance(self._subtitle.full) + 2, _SUBTITLE)
        room = self.width()
        field = base + words + wide + _FIND_WIDTH + icon_width <= room
        icons = base + wide + _ICON_WIDTH > room
        self._find.setText(_FIND if field else "")
        restyle(self._find, "narrow", not field)
        _draw_icon(self._find)
        self._find.setFixedWidth(_FIND_WIDTH if field else _ICON_WIDTH)
        self._key.setVisible(field)
        self.help.setVisible(base + (narrow if icons else wide) + _ICON_WIDTH + icon_width <= room)
        for widget in own:
            if isinstance(widget, QPushButton) and _can_shrink(widget):
                _shrink(widget) if icons else _widen(widget)


def _can_shrink(widget: QWidget) -> bool:
    return isinstance(widget, QPushButton) and not widget.icon().isNull()


def _wide(widget: QWidget) -> int:
    """With its words, in px."""
    if isinstance(widget, QPushButton) and not widget.text() and widget.property(_WORDS):
        return int(widget.property(_WIDE))
    return widget.sizeHint().width()


def _shrink(made: QPushButton) -> None:
    if not (words := made.text()):
        return
    tip = made.property(_TIP) if made.property(_WORDS) else made.toolTip()
    for name, value in ((_WORDS, words), (_WIDE, made.sizeHint().width()), (_TIP, tip)):
        made.setProperty(name, value)
    made.setText("")
    made.setToolTip(f"{words}\n{tip}" if tip else words)
    _draw_icon(made)


def _widen(made: QPushButton) -> None:
    if not (words := made.property(_WORDS)):
        return
    made.setText(made.text() or words)
    made.setToolTip(made.property(_TIP))
    made.setProperty(_WORDS, "")
    _draw_icon(made)


def _draw_icon(made: QPushButton) -> None:
    """With or without the gap before words."""
    if drawn := made.property("icon_of"):
        set_icon(made, drawn[0], drawn[1])
