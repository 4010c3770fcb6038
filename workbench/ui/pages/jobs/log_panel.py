"""The log of the chosen job with its tools: level, search, follow, wrap, copy, open file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QLineEdit, QPushButton, QToolButton, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.ui.models.jobs import grouped
from workbench.ui.models.log import COPY_LINES, Filter, LogReader, LogWindow
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, button, fill, icon_button, label, restyle, rule, segments, surface
from workbench.ui.widgets.log_view import LogView

LIVE_MS = 120
_TYPING_MS = 200
_WIDE = 1000
"""From this width on the tools have words."""
_FILTERS: tuple[tuple[Filter, str], ...] = (
    ("all", "All"), ("info", "Info"), ("warning", "Warnings"), ("error", "Errors"),
)  # fmt: skip


class LogPanel(QWidget):
    """Shows the log at a path; reads on while `live`, and as long as there is more to read."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._reader: LogReader | None = None
        self._live = False
        self._asking = self._again = False
        self._filter: Filter = "all"
        self._pattern = ""
        self.view = LogView()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(LIVE_MS)
        self._timer.timeout.connect(self.look)
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(_TYPING_MS)
        self._typing.timeout.connect(self._search)
        self._make_tools()
        self._lay_out()
        self.view.wanted.connect(self.look)
        self.view.follow_changed.connect(self._show_follow)
        self.view.unfold.connect(self._unfold)
        self.view.copy_rows.connect(self._copy)

    # -- parts

    def _make_tools(self) -> None:
        self._levels = QButtonGroup(self)
        self._level_buttons: dict[Filter, QPushButton] = {}
        for kind, text in _FILTERS:
            made = button(text, small=True, name=f"Show {text.lower()} lines")
            made.setCheckable(True)
            made.setChecked(kind == "all")
            made.clicked.connect(lambda _=False, own=kind: self.set_filter(own))
            self._levels.addButton(made)
            self._level_buttons[kind] = made
        self.field = QLineEdit()
        self.field.setPlaceholderText("Search (regex)")
        self.field.setAccessibleName("Search the log, a regular expression")
        self.field.setMinimumWidth(150)
        self.field.setMaximumWidth(360)
        self.field.textChanged.connect(lambda _: self._typing.start())
        self.field.installEventFilter(self)
        self.count = label("", "hint")
        self.count.setMinimumWidth(56)
        self.before = icon_button("chevron-up", "Previous match (Shift+Enter)", lambda: self.step(-1))
        self.after = icon_button("chevron-down", "Next match (Enter)", lambda: self.step(1))
        self.follow = self._tool("follow", "Follow", lambda: self.view.set_follow(self.follow.isChecked()))
        self.wrap = self._tool("wrap", "Wrap", lambda: self.set_wrap(self.wrap.isChecked()))
        for made in (self.follow, self.wrap):
            made.setCheckable(True)
        self.follow.setChecked(True)
        self.copy = self._tool("copy", "Copy", self.view.copy)
        self.file = self._tool("open", "Open file", self._open_file)
        for made, tip in (
            (self.follow, "Stay at the end of the log"),
            (self.wrap, "Wrap long lines"),
            (self.copy, f"Copy the selected lines, or all (at most {grouped(COPY_LINES)})"),
            (self.file, "Open the log's file"),
        ):
            made.setToolTip(tip)

    @staticmethod
    def _tool(icon_name: str, name: str, do: Callable[[], None]) -> QToolButton:
        made = icon_button(icon_name, name, do, flat=False)
        made.setText(name)
        made.setProperty("small", True)
        return made

    def _lay_out(self) -> None:
        frame = surface("card")
        bar = QWidget()
        across = QHBoxLayout(bar)
        across.setContentsMargins(12, 5, 8, 5)
        across.setSpacing(GAP)
        levels = segments(list(self._level_buttons.values()))
        across.addWidget(label("Log", "name"))
        across.addWidget(levels)
        across.addWidget(self.field, 8)
        fill(across, [self.count, self.before, self.after, None, self.follow, self.wrap, self.copy, self.file])
        inside = QVBoxLayout(frame)
        inside.setContentsMargins(1, 1, 1, 1)
        inside.setSpacing(0)
        fill(inside, [bar, rule()])
        inside.addWidget(self.view, 1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(frame)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        style = Qt.ToolButtonStyle
        wide = style.ToolButtonTextBesideIcon if self.width() >= _WIDE else style.ToolButtonIconOnly
        for made in (self.follow, self.wrap, self.copy, self.file):
            made.setToolButtonStyle(wide)

    # -- which log

    @property
    def path(self) -> Path | None:
        return self._reader.path if self._reader is not None else None

    @property
    def reader(self) -> LogReader | None:
        return self._reader

    def show_log(self, path: Path | None, *, live: bool) -> None:
        """Show another log, or the same one, which may have begun or ceased to grow."""
        again = live or self._live
        self._live = live
        if path != self.path:
            self._reader = LogReader(path) if path is not None else None
            self.view.clear()
            self.view.set_follow(True)
            self._show_counts(None)
            again = True
        for made in (self.copy, self.file, self.field):
            made.setEnabled(path is not None)
        if again:
            self.look()

    def look(self) -> None:
        """Read what came, and the lines that the view needs, in the background."""
        if self._reader is None:
            return
        if self._asking:
            self._again = True
            return
        self._asking = True
        self._timer.stop()
        reader, kind, pattern = self._reader, self._filter, self._pattern
        first, count, end = self.view.request()

        def read() -> tuple[LogReader, LogWindow]:
            reader.set_search(pattern)
            counts = reader.advance()
            return reader, replace(reader.window(kind, first, count, end=end), counts=counts)

        self._session.tasks.run(read, self._take, self._fail)

    def _fail(self, failure: Failure) -> None:
        self._asking = False
        self._session.notices.fail(failure)

    def _take(self, answer: tuple[LogReader, LogWindow]) -> None:
        reader, window = answer
        self._asking = False
        if reader is self._reader:
            self.view.show_window(window)
            self._show_counts(window)
        if self._again or reader is not self._reader:
            self._again = False
            self.look()
        elif not window.counts.complete:
            self._timer.start(10)
        elif self._live:
            self._timer.start(LIVE_MS)

    def _show_counts(self, window: LogWindow | None) -> None:
        counts = {"warning": window.counts.warnings, "error": window.counts.errors} if window is not None else {}
        for kind, text in _FILTERS:
            number = counts.get(kind)
            words = f"{text} {grouped(number)}" if number is not None else text
            made = self._level_buttons[kind]
            if made.text() != words:
                made.setText(words)
                made.setAccessibleName(f"Show {words.lower()} lines")
        found = window.found if window is not None else 0
        problem = window.problem if window is not None else ""
        self.field.setToolTip(problem)
        if bool(self.field.property("wrong")) != bool(problem):
            restyle(self.field, "wrong", bool(problem))
        if problem:
            self.count.setText("not a pattern")
        elif not self._pattern:
            self.count.setText("")
        elif not self.count.text().endswith(f" of {grouped(found)}"):
            self.count.setText(f"{grouped(found)} found" if found else "none found")
        for made_tool in (self.before, self.after):
            made_tool.setEnabled(found > 0)

    # -- tools

    def set_filter(self, kind: Filter) -> None:
        """Show all lines, or those of one level."""
        self._filter = kind
        self._level_buttons[kind].setChecked(True)
        self.look()

    def set_wrap(self, on: bool) -> None:
        """Break long lines, or let them run to the right."""
        self.wrap.setChecked(on)
        self.view.set_wrap(on)

    def _show_follow(self, on: bool) -> None:
        self.follow.setChecked(on)

    def _search(self) -> None:
        if self.field.text() != self._pattern:
            self._pattern = self.field.text()
            self.count.setText("")
            self.look()

    def step(self, direction: int) -> None:
        """Go to the next (1) or previous (-1) match, round the end."""
        self._search()
        reader, kind = self._reader, self._filter
        if reader is None or not self._pattern:
            return
        line = self.view.line_at(self.view.current)
        here = line.number - 1 if line is not None else -1 if direction > 0 else 2**31

        def find() -> tuple[int, int, int, int] | None:
            hit = reader.find_next(here, direction)
            if hit is None:
                return None
            place, number, of = hit
            return place, number, reader.row_of(kind, number), of

        def go(hit: tuple[int, int, int, int] | None) -> None:
            if hit is None or reader is not self._reader:
                return
            place, number, row, of = hit
            self.count.setText(f"{grouped(place + 1)} of {grouped(of)}")
            self.view.go_to(row, number)

        self._session.tasks.run(find, go, key="log.step")

    def go_to_line(self, number: int) -> None:
        """Show line `number` (from 1) in the middle, among all lines."""
        reader = self._reader
        if reader is None:
            return
        self.set_filter("all")
        self._session.tasks.run(
            lambda: reader.row_of("all", number - 1),
            lambda row: self.view.go_to(row, number - 1) if reader is self._reader else None,
            key="log.goto",
        )

    def _unfold(self, number: int) -> None:
        if self._reader is not None:
            self._session.tasks.run(lambda own=self._reader: own.unfold(number), lambda _: self.look())

    def _copy(self, first: int, last: int) -> None:
        reader, kind = self._reader, self._filter
        if reader is None or last < first:
            return

        def put(text: str) -> None:
            QGuiApplication.clipboard().setText(text)
            lines = text.count("\n") + 1
            more = last - first + 1 - lines
            cut = f" The first {grouped(lines)} of {grouped(last - first + 1)}." if more > 0 else ""
            self._session.notices.say("info", f"{grouped(lines)} {'lines' if lines > 1 else 'line'} copied.{cut}")

        self._session.tasks.run(lambda: reader.text(kind, first, last), put, self._session.notices.fail)

    def _open_file(self) -> None:
        if self._reader is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._reader.path)))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Enter goes to the next match, Shift+Enter to the one before, Escape clears."""
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self.step(-1 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1)
                return True
            if event.key() == Qt.Key.Key_Escape and self.field.text():
                self.field.clear()
                return True
        return super().eventFilter(watched, event)

    def close_panel(self) -> None:
        self._live = False
        self._reader = None
        self._timer.stop()
        self._typing.stop()
