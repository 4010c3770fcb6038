"""The rail at the left: a page each, icon over word, with a number where there is something to count."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QFrame, QVBoxLayout, QWidget

from workbench.ui.icons import pixmap
from workbench.ui.theme import SMALL, text_font, theme

WIDTH = 72
_ITEM_HEIGHT = 56
_ICON = 20


class RailItem(QAbstractButton):
    """One page's place. Painted by hand: a tool button cannot put a badge on its icon."""

    def __init__(self, name: str, title: str, icon_name: str) -> None:
        super().__init__()
        self.page, self._icon_name, self.badge = name, icon_name, 0
        self.setText(title)
        self.setCheckable(True)
        self.setAccessibleName(title)
        self.setObjectName(f"rail-{name}")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFont(text_font(SMALL))

    def sizeHint(self) -> QSize:
        return QSize(WIDTH, _ITEM_HEIGHT)

    def set_badge(self, count: int) -> None:
        self.badge = count
        self.setAccessibleDescription(f"{count} running" if count else "")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        chosen, colours = self.isChecked(), theme()
        if chosen:
            painter.fillRect(self.rect(), colours.colour("raised"))
            painter.fillRect(QRect(0, 0, 2, self.height()), colours.colour("accent"))
        elif self.underMouse():
            painter.fillRect(self.rect(), colours.colour("track"))
        token = "accent" if chosen else "text2"
        image = pixmap(self._icon_name, token, _ICON, self.devicePixelRatioF())
        painter.drawPixmap((self.width() - _ICON) // 2, 10, image)
        painter.setPen(colours.colour("text" if chosen else "text2"))
        painter.setFont(self.font())
        painter.drawText(QRect(0, 32, self.width(), 18), Qt.AlignmentFlag.AlignCenter, self.text())
        if self.badge:
            self._paint_badge(painter)
        if self.hasFocus():
            pen = painter.pen()
            pen.setColor(colours.colour("accent"))
            pen.setWidth(2)
            painter.setPen(pen)
            painter.drawRoundedRect(self.rect().adjusted(3, 3, -3, -3), 4, 4)

    def _paint_badge(self, painter: QPainter) -> None:
        colours, text = theme(), str(self.badge)
        width = max(16, painter.fontMetrics().horizontalAdvance(text) + 8)
        place = QRect(self.width() // 2 + 4, 5, width, 16)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colours.colour("accent"))
        painter.drawRoundedRect(place, 8, 8)
        painter.setPen(colours.colour("on_accent"))
        painter.setFont(text_font(SMALL, bold=True))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, text)


class Rail(QFrame):
    """All pages; `chosen` carries a page's name."""

    chosen = Signal(str)

    def __init__(self, pages: list[tuple[str, str, str]], at_the_end: tuple[str, ...] = ()) -> None:
        """`pages`: (name, title, icon). Those named in `at_the_end` stand at the bottom."""
        super().__init__()
        self.setProperty("surface", "panel")
        self.setFixedWidth(WIDTH)
        self.setAccessibleName("Pages")
        self._items: dict[str, RailItem] = {}
        group = QButtonGroup(self)
        group.setExclusive(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 8)
        layout.setSpacing(0)
        layout.addWidget(_Mark())
        for name, title, icon_name in [p for p in pages if p[0] not in at_the_end]:
            layout.addWidget(self._item(name, title, icon_name, group))
        layout.addStretch(1)
        for name, title, icon_name in [p for p in pages if p[0] in at_the_end]:
            layout.addWidget(self._item(name, title, icon_name, group))

    def _item(self, name: str, title: str, icon_name: str, group: QButtonGroup) -> RailItem:
        item = RailItem(name, title, icon_name)
        group.addButton(item)
        item.clicked.connect(lambda: self.chosen.emit(name))
        self._items[name] = item
        return item

    def show_chosen(self, name: str) -> None:
        self._items[name].setChecked(True)

    def set_badge(self, name: str, count: int) -> None:
        self._items[name].set_badge(count)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Up and down walk the pages."""
        names = list(self._items)
        now = next((n for n, item in self._items.items() if item.hasFocus()), None)
        step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
        if now is None or step is None:
            super().keyPressEvent(event)
            return
        self._items[names[(names.index(now) + step) % len(names)]].setFocus(Qt.FocusReason.TabFocusReason)


class _Mark(QWidget):
    """The program's sign over the pages."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(48)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.drawPixmap((self.width() - 24) // 2, 12, pixmap("logo", "accent", 24, self.devicePixelRatioF()))
