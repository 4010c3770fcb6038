"""The Help window: contents and search at the left, the page at the right. It stands beside the main window."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QImage, QKeyEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QListWidget, QListWidgetItem, QSplitter, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.core.guide import CONTENTS, Guide, GuidePage, Section, read_guide
from workbench.ui.bridge import Tasks
from workbench.ui.help.reader import Reader
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import GAP, icon_button, label, row, rule
from workbench.ui.widgets.search_box import SearchBox

_SIZE, _SIDE, _LEAST = (980, 720), 250, (560, 400)
_MOST_FOUND, _SNIPPET = 60, 90
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
_KEPT_STEPS = 100


@dataclass(frozen=True)
class _Shown:
    page: GuidePage
    pictures: dict[str, QImage]
    anchor: str


class HelpWindow(QDialog):
    """The guide, not modal: the workbench is used beside it. Files are read by `tasks`; Escape closes."""

    def __init__(self, tasks: Tasks, parent: QWidget) -> None:
        super().__init__(parent)
        self._tasks = tasks
        self._guide: Guide | None = None
        self._wanted = ""
        self._back: list[str] = []
        self._forward: list[str] = []
        self._shown: _Shown | None = None
        self.link = ""
        """What is shown, as `page.md#anchor`."""
        self.setWindowTitle("User guide")
        self.setObjectName("help")
        self.setMinimumSize(*_LEAST)
        self.resize(*_SIZE)
        self.search = SearchBox("Search the guide", "Search the user guide")
        self.list = QListWidget()
        self.list.setAccessibleName("Pages of the user guide")
        self.list.setWordWrap(True)
        self.list.setSpacing(3)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.reader = Reader()
        self.back = icon_button("chevron-left", "Back (Alt+Left)", self.go_back)
        self.forward = icon_button("chevron-right", "Forward (Alt+Right)", self.go_forward)
        self.contents = icon_button("menu", "Contents", lambda: self.open_link(f"{CONTENTS}.md"))
        self.title = label("", "heading")
        self._lay_out()
        self.search.textChanged.connect(lambda _: self._fill())
        self.search.installEventFilter(self)
        self.list.itemActivated.connect(self._open_item)
        self.list.itemClicked.connect(self._open_item)
        self.reader.followed.connect(self.follow)
        theme().changed.connect(self._draw_again)
        for key, do in (("Alt+Left", self.go_back), ("Alt+Right", self.go_forward), ("Ctrl+F", self.search.setFocus)):
            QShortcut(QKeySequence(key), self, do)
        self._say_steps()

    def _lay_out(self) -> None:
        side = QWidget()
        left = QVBoxLayout(side)
        left.setContentsMargins(GAP, GAP, GAP, GAP)
        left.setSpacing(GAP)
        left.addWidget(self.search)
        left.addWidget(self.list, 1)
        page = QWidget()
        right = QVBoxLayout(page)
        right.setContentsMargins(0, 0, 0, 0)
        right.setSpacing(0)
        right.addWidget(row(self.back, self.forward, self.contents, self.title, None, margins=(GAP, 6, GAP, 6)))
        right.addWidget(rule())
        right.addWidget(self.reader, 1)
        parts = QSplitter(Qt.Orientation.Horizontal)
        parts.setChildrenCollapsible(False)
        parts.setHandleWidth(1)
        parts.addWidget(side)
        parts.addWidget(page)
        parts.setStretchFactor(1, 1)
        parts.setSizes([_SIDE, _SIZE[0] - _SIDE])
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(parts)

    # -- what is opened

    @property
    def busy(self) -> bool:
        """Whether a page is still being read."""
        return bool(self._wanted)

    def open_link(self, link: str) -> None:
        """Show a page of the guide, and come to the front."""
        self._go(link, step=True)
        self.show()
        self.raise_()
        self.activateWindow()

    def open_window_page(self, name: str) -> None:
        """What explains a page of the main window."""
        self._ask(lambda guide: guide.of_window_page(name))

    def open_failure(self, code: str) -> None:
        """What explains a failure."""
        self._ask(lambda guide: guide.of_failure(code))

    def follow(self, address: str) -> None:
        """A link in the page: another place of the guide, or an address for the system's browser."""
        if "://" in address or address.startswith("mailto:"):
            QDesktopServices.openUrl(QUrl(address))
            return
        name, _, anchor = address.partition("#")
        name = name or self.link.partition("#")[0]
        self._go(f"{name}#{anchor}" if anchor else name, step=True)

    def go_back(self) -> None:
        if self._back:
            self._forward.append(self.link)
            self._go(self._back.pop(), step=False)

    def go_forward(self) -> None:
        if self._forward:
            self._back.append(self.link)
            self._go(self._forward.pop(), step=False)

    def _ask(self, where: Callable[[Guide], str]) -> None:
        self._wanted = "…"
        self._tasks.run(
            lambda: where(read_guide()), lambda link: self._go(link, step=True), self._failed, key="help.page"
        )
        self.show()
        self.raise_()
        self.activateWindow()

    def _go(self, link: str, *, step: bool) -> None:
        if step and self.link and link != self.link:
            self._back = [*self._back, self.link][-_KEPT_STEPS:]
            self._forward.clear()
        self._wanted = link
        self._tasks.run(lambda: _read(link), lambda found: self._take(link, found), self._failed, key="help.page")

    def _take(self, link: str, found: tuple[Guide, _Shown]) -> None:
        guide, shown = found
        self._wanted = ""
        self.link = link
        same = self._shown is not None and self._shown.page == shown.page
        self._shown = shown
        if same:
            self.reader.go_to(shown.anchor)
        else:
            self.reader.show_page(shown.page, shown.pictures, shown.anchor)
        self.title.setText(shown.page.title)
        if self._guide is not guide:
            self._guide = guide
            self._fill()
        if not self.search.text():
            self._choose(shown.page.name)
        self._say_steps()

    def _failed(self, failure: Failure) -> None:
        self._wanted = ""
        self._shown = None
        self.title.setText("The page cannot be shown")
        self.reader.setPlainText("\n".join(failure.lines()))

    def _say_steps(self) -> None:
        self.back.setEnabled(bool(self._back))
        self.forward.setEnabled(bool(self._forward))

    def _draw_again(self) -> None:
        if self._shown is not None:
            self.reader.show_page(self._shown.page, self._shown.pictures, self._shown.anchor)

    # -- contents and search

    def _fill(self) -> None:
        """The pages; with words in the field, the sections that hold them."""
        self.list.clear()
        if self._guide is None:
            return
        text = self.search.text()
        if not text.strip():
            self.list.setAccessibleName("Pages of the user guide")
            for page in self._guide.pages:
                self._add(page.title, f"{page.name}.md")
            if self._shown is not None:
                self._choose(self._shown.page.name)
            return
        found = self._guide.find(text)
        self.list.setAccessibleName(f"Sections that hold “{text}”: {len(found)}")
        titles = {page.name: page.title for page in self._guide.pages}
        for section in found[:_MOST_FOUND]:
            above = "" if section.level == 1 else f"{titles[section.page]}: "
            self._add(f"{above}{section.title}\n{_snippet(section, text)}", section.link)
        if not found:
            self._add("Nothing was found. Try fewer words.", "")

    def _add(self, text: str, link: str) -> None:
        item = QListWidgetItem(text)
        item.setData(Qt.ItemDataRole.UserRole, link)
        if not link:
            item.setFlags(Qt.ItemFlag.NoItemFlags)
        self.list.addItem(item)

    def _choose(self, page: str) -> None:
        for number in range(self.list.count()):
            if self.list.item(number).data(Qt.ItemDataRole.UserRole) == f"{page}.md":
                self.list.setCurrentRow(number)

    def _open_item(self, item: QListWidgetItem) -> None:
        if link := item.data(Qt.ItemDataRole.UserRole):
            self._go(link, step=True)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Down and Enter in the field go to the list."""
        if watched is self.search and event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if event.key() == Qt.Key.Key_Down and self.list.count():
                self.list.setFocus()
                self.list.setCurrentRow(0)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                if first := self.list.item(0):
                    self._open_item(first)
                return True
        return super().eventFilter(watched, event)


def _snippet(section: Section, text: str) -> str:
    """A few words round the first that was looked for."""
    word = text.lower().split()[0]
    at = max(section.words.lower().find(word), 0)
    begins = max(section.words.rfind(" ", 0, max(at - _SNIPPET // 3, 0)), 0)
    cut = section.words[begins : begins + _SNIPPET]
    return f"{'…' if begins else ''}{cut.strip()}{'…' if begins + _SNIPPET < len(section.words) else ''}"


def _read(link: str) -> tuple[Guide, _Shown]:
    """In a thread: the guide, the page of `link` and its pictures."""
    guide = read_guide()
    name, _, anchor = link.partition("#")
    page = guide.page(name)
    pictures = {}
    for address in dict.fromkeys(_PICTURE.findall(page.source)):
        picture = QImage(str(page.path.parent / address))
        if not picture.isNull():
            pictures[address] = picture
    return guide, _Shown(page, pictures, anchor)
