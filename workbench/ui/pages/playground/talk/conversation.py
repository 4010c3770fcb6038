"""A conversation as rows, of which only those in sight cost anything; answers stream into it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication, QEvent, QPoint, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QKeyEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QScrollArea, QWidget

from workbench.core.answer import Piece
from workbench.core.conversation import Conversation, Turn
from workbench.core.errors import Failure
from workbench.ui.pages.playground.talk.live_answer import LiveAnswer
from workbench.ui.pages.playground.talk.row_buttons import Verbs
from workbench.ui.pages.playground.talk.turn_row import TurnRow
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import MARGIN, button

_AHEAD_PX = 300
"""Rows so far above and below what is seen are made already."""
_KEPT_PX = 2000
_NEAR_END_PX = 12
_RIGHT = 8
_DRAG_PX = 40
_ROUNDS = 8
_OPENED = ("http", "https", "mailto")
_SETTLE = QEvent.Type(QEvent.registerEventType())


class ConversationView(QScrollArea):
    """Shows the path of a conversation; what a person asks for goes out as signals.

    `stream` may be called for any number of answers at once, at most 20 times a second each, with gathered text.
    """

    edited = Signal(str, str)
    """turn_id, the new text: send it as another branch."""
    regenerate = Signal(str)
    """turn_id of an answer that is to be made again."""
    chosen = Signal(str)
    """turn_id of a version that is to be shown."""
    stop = Signal()
    reload_engine = Signal()
    """Load the engine again: the button of a failed answer's card."""
    explain = Signal(str)
    """A failure's code: the button that reads more of it in the user guide."""
    link_refused = Signal(str)
    """The address of a link that is not opened: only http, https and mailto are."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Conversation")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._canvas = QWidget()
        self._canvas.setStyleSheet(_STYLE)
        self.setWidget(self._canvas)
        self.verticalScrollBar().setSingleStep(22)
        self._rows: list[TurnRow] = []
        self._by_id: dict[str, TurnRow] = {}
        self._conversation: Conversation | None = None
        self._engine_words = ""
        self._follow = True
        self._asked = self._settling = False
        self._focused: TurnRow | None = None
        self._verbs = Verbs(
            again=self._ask,
            edit=self.edited.emit,
            regenerate=self.regenerate.emit,
            choose=self.chosen.emit,
            stop=self.stop.emit,
            reload=self.reload_engine.emit,
            explain=self.explain.emit,
            follow_link=self._follow_link,
            drag_to=self._drag_to,
            walk=self._walk,
            busy=lambda: self.streaming,
        )
        self.newest_button = button("↓ newest", self.go_to_newest, small=True, name="Go to the newest text")
        self.newest_button.setParent(self)
        self.newest_button.hide()
        self.verticalScrollBar().valueChanged.connect(self._scrolled)
        theme().changed.connect(self._recolour)
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.focusChanged.connect(self._focus_moved)

    # -- what it shows

    @property
    def rows(self) -> Sequence[TurnRow]:
        return self._rows

    @property
    def streaming(self) -> bool:
        """Whether an answer is under way."""
        return any(row.streaming for row in reversed(self._rows))

    @property
    def following(self) -> bool:
        """Whether the end is kept in sight."""
        return self._follow

    def row(self, turn_id: str) -> TurnRow | None:
        return self._by_id.get(turn_id)

    def set_engine(self, words: str) -> None:
        """Who does not report what is missing, where an answer does not say it: the toolchain's name."""
        self._engine_words = words
        for row in self._rows:
            row.engine_words = words

    def show_conversation(self, conversation: Conversation) -> None:
        """Show the path of a conversation. Rows that stay as they were are kept, and so is the place in them.

        An answer that streams stays when the path ends at its message.
        """
        other = self._conversation is None or self._conversation.id != conversation.id
        self._conversation = conversation
        path = conversation.path()
        raw = conversation.mode == "raw"
        versions: dict[tuple[str | None, str], list[str]] = {}
        for turn in conversation.turns:
            versions.setdefault((turn.parent, turn.role), []).append(turn.id)
        wanted = [turn.id for turn in path]
        kept = 0
        while not other and kept < min(len(self._rows), len(wanted)) and self._rows[kept].turn.id == wanted[kept]:
            kept += 1
        live = [] if other else self._rows[kept:]
        live = [row for row in live if row.streaming and wanted and row.turn.parent == wanted[-1]]
        gone = [row for row in self._rows[kept:] if row not in live]
        for row in gone:
            del self._by_id[row.turn.id]
        self._rows = self._rows[:kept]
        number = 0
        for place, turn in enumerate(path):
            number += turn.role == "assistant"
            siblings = versions[turn.parent, turn.role]
            if place < kept:
                self._rows[place].update_turn(turn, number, siblings)
            else:
                self._rows.append(self._make_row(turn, number, siblings, raw))
        self._rows += live
        if self._focused in gone and self._rows:
            # Before it is hidden: else any other widget gets the focus.
            self._rows[-1 if other else min(kept, len(self._rows) - 1)].setFocus(Qt.FocusReason.OtherFocusReason)
        for row in gone:
            self._remove(row)
        if other:
            self._follow = True
        self._ask()

    def begin_answer(
        self, turn: Turn, *, t0_s: float | None = None, input_tokens: int | None = None, note: str = ""
    ) -> None:
        """An answer comes: a row at the end, with a caret, and from now on the end is followed. `turn.id` may be a
        provisional one.

        `t0_s` is when the request was handed over (monotonic; without it TTFT shows only at the end), `note` is said
        beside "streaming".
        """
        row = self._by_id.get(turn.id)
        if row is None:
            number = sum(other.is_answer for other in self._rows) + 1
            raw = self._conversation is not None and self._conversation.mode == "raw"
            row = self._make_row(turn, number, (), raw)
            self._rows.append(row)
        row.begin(LiveAnswer(t0_s, input_tokens, note))
        self._follow = True
        self._set_busy()
        self._ask()

    def stream(self, turn_id: str, text: str, pieces: Sequence[Piece] = ()) -> None:
        """More of an answer: its text, and the responses that it came in, for the token view and the figures."""
        row = self._by_id.get(turn_id)
        if row is not None:
            row.stream(text, pieces)
            self._ask()

    def set_note(self, turn_id: str, note: str) -> None:
        """What is said beside "streaming"."""
        row = self._by_id.get(turn_id)
        if row is not None and row.streaming:
            row.set_note(note)
            self._ask()

    def end_answer(self, turn: Turn, begun: str = "") -> None:
        """An answer is over; `begun` is the id it was begun with, where that was another."""
        self._end(turn, begun, None)

    def fail_answer(self, turn: Turn, failure: Failure, begun: str = "", *, can_reload: bool = True) -> None:
        """An answer failed: what streamed stays, and a card says why. `turn.text` may lack what streamed."""
        self._end(turn, begun, failure, can_reload)

    def edit(self, turn_id: str) -> None:
        """Turn a message of the person into an editor, in its place."""
        row = self._by_id.get(turn_id)
        if row is not None and not self.streaming:
            self._bring(row)
            row.edit()

    def clear(self) -> None:
        """Show nothing."""
        for row in self._rows:
            self._remove(row)
        self._rows, self._conversation, self._follow = [], None, True
        self._ask()

    def go_to_newest(self) -> None:
        """To the end, and stay there."""
        self._follow = True
        self._settle()

    def focus_last(self) -> None:
        """Give the focus to the last row."""
        if self._rows:
            self._walk(self._rows[-1], 0)

    def _end(self, turn: Turn, begun: str, failure: Failure | None, can_reload: bool = False) -> None:
        row = self._by_id.get(begun or turn.id)
        if row is None:
            return
        if failure is not None and not turn.text and row.text:
            turn = turn.model_copy(update={"text": row.text})
        del self._by_id[row.turn.id]
        self._by_id[turn.id] = row
        siblings: list[str] = []
        if self._conversation is not None:
            siblings = [t.id for t in self._conversation.turns if t.parent == turn.parent and t.role == turn.role]
            siblings += [] if turn.id in siblings else [turn.id]
        row.end(turn, row.number, siblings, failure, can_reload)
        self._set_busy()
        self._ask()

    def _make_row(self, turn: Turn, number: int, siblings: Sequence[str], raw: bool) -> TurnRow:
        row = TurnRow(turn, number, siblings, self._verbs, raw=raw, parent=self._canvas)
        row.engine_words = self._engine_words
        self._by_id[turn.id] = row
        if self._rows:
            QWidget.setTabOrder(self._rows[-1].chain()[-1], row)
        row.show()
        return row

    def _remove(self, row: TurnRow) -> None:
        if self._by_id.get(row.turn.id) is row:
            del self._by_id[row.turn.id]
        if self._focused is row:
            self._focused = None
        row.hide()
        row.deleteLater()

    def _set_busy(self) -> None:
        busy = self.streaming
        for row in self._rows:
            row.actions.set_busy(busy)

    def _follow_link(self, address: str) -> None:
        url = QUrl(address)
        if url.scheme().lower() in _OPENED:
            QDesktopServices.openUrl(url)
        else:
            self.link_refused.emit(address)

    def _drag_to(self, place: QPoint) -> None:
        y = self.viewport().mapFromGlobal(place).y()
        beyond = min(y, 0) or max(y - self.viewport().height(), 0)
        if beyond:
            bar = self.verticalScrollBar()
            bar.setValue(bar.value() + max(min(beyond, _DRAG_PX), -_DRAG_PX))

    # -- laying out

    def _ask(self) -> None:
        """Lay out once, when this turn of the event loop is over."""
        if not self._asked:
            self._asked = True
            QCoreApplication.postEvent(self, QEvent(_SETTLE))

    def _settle(self) -> None:
        if self._settling:
            return
        self._asked, self._settling = False, True
        try:
            self._lay_out()
        finally:
            self._settling = False
        self._place_newest()

    def _lay_out(self) -> None:
        bar, height = self.verticalScrollBar(), self.viewport().height()
        wide = self.viewport().width()
        # Room for the scroll bar is always left, so that its coming changes no line.
        width = max(self.width() - bar.sizeHint().width() - MARGIN - _RIGHT, 120)
        at = bar.value()
        held = next((row for row in self._rows if row.geometry().bottom() >= at), None)
        anchor = held.anchor_at(at - held.y()) if held is not None else 0
        total = 0
        # What is followed soon lies elsewhere: nothing is made ahead of it.
        ahead = 0 if self._follow and self.streaming else _AHEAD_PX
        for _ in range(_ROUNDS):
            total = self._place(width)
            if self._follow:
                at = max(total - height, 0)
            elif held is not None:
                at = min(max(held.y() + held.y_of(anchor), 0), max(total - height, 0))
            changed = False
            for row in self._rows:
                top, bottom = row.y(), row.y() + row.height()
                if bottom < at - ahead or top > at + height + ahead:
                    if bottom < at - _KEPT_PX or top > at + height + _KEPT_PX:
                        row.release()
                    continue
                if row.reveal(at - ahead - top, at + height + ahead - top, width):
                    changed = True
            if not changed:
                break
        else:
            total = self._place(width)
        if self._canvas.width() != wide or self._canvas.height() != total:
            self._canvas.resize(wide, total)
        bar.setValue(bar.maximum() if self._follow else at)

    def _place(self, width: int) -> int:
        heights = [row.height_at(width) for row in self._rows]
        # A short conversation stands at the end of the page, next to where the person writes.
        y = max(self.viewport().height() - sum(heights) - MARGIN, MARGIN)
        for row, high in zip(self._rows, heights, strict=True):
            now = row.geometry()
            if now.y() != y or now.width() != width or now.height() != high or now.x() != MARGIN:
                row.setGeometry(MARGIN, y, width, high)
            y += high
        return max(y + MARGIN, self.viewport().height())

    def _place_newest(self) -> None:
        shown = not self._follow and bool(self._rows)
        if shown:
            hint = self.newest_button.sizeHint()
            viewport = self.viewport().geometry()
            self.newest_button.setGeometry(
                viewport.center().x() - hint.width() // 2, viewport.bottom() - 24 - 12, hint.width(), 24
            )
            self.newest_button.raise_()
        self.newest_button.setVisible(shown)

    def _scrolled(self, value: int) -> None:
        if self._settling:
            return
        self._follow = value >= self.verticalScrollBar().maximum() - _NEAR_END_PX
        self._ask()
        self._place_newest()

    def _recolour(self) -> None:
        for row in self._rows:
            row.recolour()

    # -- the keyboard

    def _walk(self, row: QWidget, step: int) -> None:
        if not isinstance(row, TurnRow) or row not in self._rows:
            return
        place = min(max(self._rows.index(row) + step, 0), len(self._rows) - 1)
        found = self._rows[place]
        found.setFocus(Qt.FocusReason.TabFocusReason)
        self._bring(found)

    def _bring(self, row: TurnRow) -> None:
        """Its beginning into sight."""
        bar = self.verticalScrollBar()
        if not bar.value() <= row.y() < bar.value() + self.viewport().height() - 40:
            bar.setValue(row.y() - MARGIN)

    def _focus_moved(self, before: QWidget | None, now: QWidget | None) -> None:
        found: QWidget | None = now
        while found is not None and not (isinstance(found, TurnRow) and found.parent() is self._canvas):
            found = found.parentWidget()
        row = found if isinstance(found, TurnRow) else None
        if self._focused is not None and self._focused is not row:
            self._focused.set_focused(False)
        self._focused = row
        if row is not None:
            row.set_focused(True)
            row.update()

    # -- Qt

    def event(self, event: QEvent) -> bool:
        if event.type() == _SETTLE:
            self._asked = False
            if self.isVisible():  # else it is done when it is shown
                self._settle()
            return True
        return super().event(event)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._settle()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._settle()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        bar = self.verticalScrollBar()
        key = event.key()
        if key == Qt.Key.Key_Escape and self.streaming:
            self.stop.emit()
        elif key == Qt.Key.Key_Home:
            bar.setValue(0)
        elif key == Qt.Key.Key_End:
            self.go_to_newest()
        else:
            super().keyPressEvent(event)


_STYLE = """
TextPart, TextPart:focus { background: transparent; border: none; padding: 0; }
QPushButton[row_icon="true"] { padding: 0 3px; }
QPushButton[row_icon="true"]:focus { padding: 0 2px; }
"""
