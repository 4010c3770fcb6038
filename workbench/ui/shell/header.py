"""The line over a page: its title, its own buttons, the palette's field, and the monitor's switch."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QToolButton, QWidget

from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label
from workbench.ui.widgets.elided_line import ElidedLine

HEIGHT = 47
"""With the hairline under it 48."""
_FIND_WIDTH = 196
_FIND, _ICON_WIDTH, _NARROW = "Search actions", 48, 640


class Header(QFrame):
    """Shows the page that is open. `find` opens the palette, `toggle_monitor` the dock."""

    def __init__(self, find: Callable[[], None], toggle_monitor: Callable[[], None]) -> None:
        super().__init__()
        self.setProperty("surface", "bg")
        self.setFixedHeight(HEIGHT)
        self._title, self._subtitle = label("", "title"), ElidedLine("text3")
        self._own: list[QWidget] = []
        find_button = button(_FIND, find, icon_name="search", tip="Every action by name (Ctrl+K)")
        find_button.setProperty("field", True)
        find_button.setFixedWidth(_FIND_WIDTH)
        self._find, self._narrow = find_button, False
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
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(MARGIN, 0, MARGIN, 0)
        self._layout.setSpacing(GAP)
        self._layout.addWidget(self._title)
        self._layout.addWidget(self._subtitle, 1)
        self._layout.addSpacing(GAP)
        self._layout.addWidget(find_button)
        self._layout.addWidget(self.monitor)

    def show_page(self, title: str, subtitle: str, widgets: list[QWidget]) -> None:
        """Take the buttons of the page that was shown away and put this page's there."""
        for widget in self._own:
            self._layout.removeWidget(widget)
            widget.hide()
        self._own = widgets
        at = self._layout.count() - 2
        for offset, widget in enumerate(widgets):
            self._layout.insertWidget(at + offset, widget)
            widget.show()
        self._title.setText(title)
        self.set_subtitle(subtitle)

    def set_subtitle(self, text: str) -> None:
        self._subtitle.say(text)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room the palette's field is its icon."""
        super().resizeEvent(event)
        narrow = event.size().width() < _NARROW
        if narrow != self._narrow:
            self._narrow = narrow
            self._find.setText("" if narrow else _FIND)
            self._find.setFixedWidth(_ICON_WIDTH if narrow else _FIND_WIDTH)
            self._key.setVisible(not narrow)
