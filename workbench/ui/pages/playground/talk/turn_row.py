"""One turn of a conversation as a row: who, the text, the figures below, and what can be done with it.

A row costs next to nothing until it comes into sight: then its parts are made.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QRect, Qt
from PySide6.QtGui import QEnterEvent, QFocusEvent, QKeyEvent, QKeySequence, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QWidget

from workbench.core.answer import Piece
from workbench.core.conversation import Turn
from workbench.core.errors import Failure
from workbench.ui.pages.playground.talk.answer import Body, copy_text
from workbench.ui.pages.playground.talk.answer_cause import AnswerCause
from workbench.ui.pages.playground.talk.dress import LINE
from workbench.ui.pages.playground.talk.editor import TurnEditor
from workbench.ui.pages.playground.talk.figures import FiguresLine, figures_of
from workbench.ui.pages.playground.talk.live_answer import LiveAnswer
from workbench.ui.pages.playground.talk.parts import rough_height
from workbench.ui.pages.playground.talk.row_buttons import QuietButton, RowButtons, Verbs
from workbench.ui.pages.playground.talk.text_part import TextPart
from workbench.ui.pages.playground.talk.token_view import LogpScale, TokenView, cells_of
from workbench.ui.pages.playground.talk.turn_words import NOTHING_SAID, nothing_said, was_refused, why_no_scale
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import label

GUTTER = 84
"""The role stands left of the text, its right edge 12 px before it."""
_TOP, _BELOW_SAID, _BELOW_ANSWER, _TEXT_GAP, _FOOT_GAP, _DROP = 4, 10, 5, 12, 10, 3
"""Distances in px; a line of text stands `_DROP` below the middle of its height."""


class TurnRow(QWidget):
    """Shows a turn; `number` is that of the answer in the conversation, `siblings` the ids of its versions."""

    def __init__(
        self, turn: Turn, number: int, siblings: Sequence[str], verbs: Verbs, *, raw: bool = False, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.turn, self.number, self.siblings = turn, number, tuple(siblings)
        self.raw = raw
        self._verbs = verbs
        self.made = False
        """Whether its parts exist."""
        self.body: Body | None = None
        self.figures: FiguresLine | None = None
        self.tokens: TokenView | None = None
        self.editor: TurnEditor | None = None
        self.cause: AnswerCause | None = None
        self.actions = RowButtons(self)
        self._role: QLabel | None = None
        self._rule_y = -1
        self._height, self._height_for = 0, 0
        self._rest, self._laid_for = 0, 0
        """Its height without the text, at the width that its parts were placed for."""
        self._hovered = self._focused = False
        self.failure: Failure | None = turn.answer.failure if turn.answer is not None else None
        self.can_reload = False
        self._live: LiveAnswer | None = None
        """An answer that streams."""
        self.engine_words = ""
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(self.role_words)

    # -- what it is

    @property
    def is_answer(self) -> bool:
        return self.turn.role == "assistant"

    @property
    def role_words(self) -> str:
        if self.raw:
            return f"completion {self.number}" if self.is_answer else "prompt"
        return f"answer {self.number}" if self.is_answer else "you"

    @property
    def text(self) -> str:
        return self._live.text if self._live is not None else self.turn.text

    @property
    def streaming(self) -> bool:
        return self._live is not None

    @property
    def hot(self) -> bool:
        """Hovered, or the focus is in it."""
        return self._hovered or self._focused

    def update_turn(self, turn: Turn, number: int, siblings: Sequence[str]) -> None:
        """The same turn as it is now."""
        same = turn.text == self.turn.text and turn.answer is self.turn.answer
        known = same and tuple(siblings) == self.siblings and number == self.number
        self.turn, self.number, self.siblings = turn, number, tuple(siblings)
        if known:
            return
        if not same:
            self.failure = turn.answer.failure if turn.answer is not None else None
        self.setAccessibleName(self.role_words)
        self._remake(body=not same)

    @property
    def buttons(self) -> dict[str, QuietButton]:
        """Copy, edit, regenerate, before, after, tokens or stop, as far as the row has them."""
        return self.actions.by_name

    # -- streaming

    def begin(self, live: LiveAnswer) -> None:
        self._live, self.failure = live, None
        self._remake(body=True)

    def stream(self, text: str, pieces: Sequence[Piece]) -> None:
        """More of the answer. O(new): what is drawn is seen to when the view lays out."""
        if self._live is None:
            return
        self._live.add(text, pieces)
        if self.body is not None:
            self.body.feed(text)
        if self.tokens is not None:
            self.tokens.add(cells_of(pieces))
        self._forget_height()

    def set_note(self, note: str) -> None:
        """What is said beside "streaming"."""
        if self._live is not None:
            self._live.note = note
            self._forget_height()

    def end(self, turn: Turn, number: int, siblings: Sequence[str], failure: Failure | None, can_reload: bool) -> None:
        """The answer is over; its figures and buttons come."""
        shown = self.text
        self._live = None
        self.turn, self.number, self.siblings = turn, number, tuple(siblings)
        self.failure = failure or (turn.answer.failure if turn.answer is not None else None)
        self.can_reload = can_reload
        self.setAccessibleName(self.role_words)
        if self.body is not None and turn.text == shown and turn.text.strip():
            self.body.finish()
            self._remake(body=False)
        else:
            self._remake(body=True)

    # -- made and given back

    def make(self) -> None:
        """Make the parts: it comes into sight."""
        self.made = True
        self._role = label(self.role_words, "hint")
        self._role.setParent(self)
        self._role.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if self.body is None:
            self._make_body()
        if self.is_answer:
            self.figures = FiguresLine(self)
            self.figures.set_figures(self._live.figures() if self._live is not None else figures_of(self.turn.answer))
        self._make_buttons()
        if self.failure is not None and not self.streaming:
            refused = was_refused(self.turn, self.text, self.failure)
            reload = self._verbs.reload if self.can_reload and not refused else None
            self.cause = AnswerCause(self.failure, reload, self._verbs.explain, self, refused=refused)
        for child in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            child.show()
        if self.body is not None and (self.tokens is not None or self.editor is not None):
            self.body.hide()
        self._set_chain()

    def _make_body(self) -> None:
        verbs = self._verbs
        self.body = Body(f"{self.role_words}: text", self._body_changed, verbs.follow_link, verbs.drag_to, self)
        self.body.set_source(lambda: self.text)
        if self._live is not None:
            self.body.begin()
            if self._live.text:
                self.body.feed(self._live.text)
        elif nothing_said(self.turn):
            self.body.set_note(NOTHING_SAID)
        elif self.is_answer:
            self.body.set_markdown(self.turn.text)
        else:
            self.body.set_plain(self.turn.text)

    def _make_buttons(self) -> None:
        add = self.actions.add
        if self.streaming:
            add("stop", "stop", "Stop  Esc", f"Stop {self.role_words}", self._verbs.stop).loud = True
            return
        add("copy", "copy", "", f"Copy {self.role_words}", lambda: copy_text(self.text))
        if self.is_answer:
            add("regenerate", "refresh", "", "Regenerate: answer again, as another branch", self._regenerate)
        else:
            add("edit", "pencil", "", "Edit and resend, as another branch", self.edit)
        self.actions.add_branch(self.siblings, self.turn.id, self._verbs.choose)
        if self.is_answer:
            made = add("tokens", "tokens", "Tokens", f"Show {self.role_words} as tokens", self._toggle_tokens)
            made.setCheckable(True)
            made.setChecked(self.tokens is not None)
        self.actions.set_busy(self._verbs.busy())
        if self.tokens is not None:
            self.actions.scale = self._make_scale(self.tokens)

    def release(self) -> bool:
        """Give the parts back: it is far out of sight. False when something in it is in use."""
        kept = self.editor is not None or self.tokens is not None or self._focused or self.streaming
        if not self.made or kept or (self.body is not None and self.body.has_selection):
            return False
        self._unmake(body=True)
        return True

    def _unmake(self, *, body: bool) -> None:
        gone: list[QWidget | None] = [self._role, self.figures, self.cause]
        if body:
            gone.append(self.body)
            self.body = None
        for widget in gone:
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.actions.clear()
        self.made = False
        self._role = self.figures = self.cause = None

    def _remake(self, *, body: bool) -> None:
        """Parts anew where they exist; the focus, if it was in a button, goes to the row."""
        self._forget_height()
        if not self.made:
            if body and self.body is not None:
                self.body.deleteLater()
                self.body = None
            return
        within = self._focused and not self.hasFocus()
        if body:
            self._drop_tokens()
        self._laid_for = 0
        self._unmake(body=body)
        if within:
            self.setFocus(Qt.FocusReason.OtherFocusReason)
        self.make()
        self._verbs.again()

    def recolour(self) -> None:
        """The theme has changed."""
        if self.body is not None:
            self.body.recolour()

    def chain(self) -> list[QWidget]:
        """What Tab visits, in order."""
        found: list[QWidget] = [self]
        if self.editor is not None:
            found += self.editor.chain()
        elif self.tokens is not None:
            found.append(self.tokens)
        elif self.body is not None:
            found += self.body.chain()
        if self.cause is not None:
            found += self.cause.buttons
        if self.figures is not None:
            found.append(self.figures)
        return [*found, *self.buttons.values()]

    def _set_chain(self) -> None:
        chain = self.chain()
        for before, after in itertools.pairwise(chain):
            QWidget.setTabOrder(before, after)

    # -- verbs

    def edit(self) -> None:
        """Turn into an editor of the message."""
        if self.editor is not None or self.is_answer:
            return
        self.editor = TurnEditor(self.turn.text, self._send_edit, self._end_edit, self._edit_grew, self)
        self.editor.show()
        if self.body is not None:
            self.body.hide()
        self._set_chain()
        self._edit_grew()
        self.editor.focus()

    def _edit_grew(self) -> None:
        self._forget_parts()
        self._verbs.again()

    def _send_edit(self, text: str) -> None:
        self._end_edit()
        self._verbs.edit(self.turn.id, text)

    def _end_edit(self) -> None:
        self.setFocus(Qt.FocusReason.OtherFocusReason)  # first: a field that is hidden gives its focus to any widget
        if self.editor is not None:
            self.editor.hide()
            self.editor.deleteLater()
            self.editor = None
        if self.body is not None:
            self.body.show()
        self._edit_grew()

    def _regenerate(self) -> None:
        self._verbs.regenerate(self.turn.id)

    def _toggle_tokens(self) -> None:
        self.set_tokens(self.tokens is None)

    def set_tokens(self, shown: bool) -> None:
        """Show the answer as token cells, or as text."""
        if shown == (self.tokens is not None) or not self.is_answer:
            return
        if shown:
            pieces: Sequence[Piece] = self.turn.answer.pieces if self.turn.answer is not None else ()
            pieces = self._live.pieces if self._live is not None else pieces
            self.tokens = TokenView(f"{self.role_words} as tokens", self)
            self.tokens.set_cells(cells_of(pieces))
            self.tokens.show()
            if self.body is not None:
                self.body.hide()
            self.actions.scale = self._make_scale(self.tokens)
        else:
            self._drop_tokens()
        if "tokens" in self.buttons:
            self.buttons["tokens"].setChecked(shown)
        self._set_chain()
        self._forget_parts()
        self._verbs.again()

    def _make_scale(self, tokens: TokenView) -> QWidget:
        made: QWidget
        if tokens.reported:
            made = LogpScale(self)
        else:
            why = why_no_scale(self.turn, self.streaming, bool(tokens.cells), self.engine_words)
            made = label(why, "hint")
            made.setParent(self)
        made.show()
        return made

    def _drop_tokens(self) -> None:
        for widget in (self.tokens, self.actions.scale):
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.tokens = self.actions.scale = None
        if self.body is not None and self.editor is None:
            self.body.show()

    # -- laying out

    def height_at(self, width: int) -> int:
        """Its height in px; an estimate until it was in sight at this width."""
        if self._height_for != width:
            if self.made and width == self._laid_for:
                self._height = self._text_height(max(width - GUTTER, 60)) + self._rest
            elif self.made:
                self._height = self._lay_out(width)
            elif self._height and self._height_for:
                self._height = max(round(self._height * min(self._height_for / max(width, 1), 3)), LINE)
            else:
                self._height = rough_height(self.text, max(width - GUTTER, 60), self.is_answer)
            self._height_for = width
        return self._height

    def reveal(self, top: int, bottom: int, width: int) -> bool:
        """Make what lies between two heights of it; whether its height changed."""
        before = self._height
        if not self.made:
            self.make()
        changed = False
        if self.body is not None and not self.body.isHidden():
            inner = max(width - GUTTER, 60)
            changed = self.body.reveal(top - self.body.y(), bottom - self.body.y(), inner)
            if changed or self.body.fresh:
                self.body.fresh = False
                self._set_chain()
        self._height, self._height_for = self._lay_out(width), width
        return changed or self._height != before

    def anchor_at(self, y: int) -> tuple[int, int] | int:
        """A place in it that stays the same text when heights change."""
        if self.body is None or self.body.isHidden() or y < self.body.y() or y > self.body.geometry().bottom():
            return y
        return self.body.anchor_at(y - self.body.y())

    def y_of(self, anchor: tuple[int, int] | int) -> int:
        if isinstance(anchor, int) or self.body is None:
            return anchor if isinstance(anchor, int) else 0
        return self.body.y_of(anchor) + self.body.y()

    def _body_changed(self) -> None:
        self._forget_height()
        self._verbs.again()

    def _forget_parts(self) -> None:
        """Something came or went below the text, or in its place."""
        self._laid_for = 0
        self._forget_height()

    def _forget_height(self) -> None:
        if self.made or not self._height:
            self._height_for = 0

    def _lay_out(self, width: int) -> int:
        inner = max(width - GUTTER, 60)
        y = _TOP
        assert self._role is not None
        self._role.setGeometry(0, y + _DROP, GUTTER - _TEXT_GAP, LINE)
        height = height_of_text = self._text_height(inner)
        text = self.editor or self.tokens or self.body
        assert text is not None
        text.setGeometry(GUTTER, y, inner, height)
        y += height
        if self.cause is not None:
            height = self.cause.fit(inner)
            self.cause.setGeometry(GUTTER, y + 10, inner, height)
            y += 10 + height
        y = self._lay_foot(inner, y) if self.is_answer else self._lay_said(inner, y)
        self._rest, self._laid_for = y - height_of_text, width
        return y

    def _text_height(self, inner: int) -> int:
        if self.editor is not None:
            return self.editor.fit(inner)
        if self.tokens is not None:
            return self.tokens.fit(inner)
        assert self.body is not None
        return max(self.body.lay_out(inner), LINE)

    def _lay_foot(self, inner: int, y: int) -> int:
        assert self.figures is not None
        if self._live is not None:
            self.figures.set_figures(self._live.figures())
        self._rule_y = y + _FOOT_GAP
        self.update()
        return self.actions.lay_foot(self.figures, GUTTER, inner, self._rule_y + 4) + _BELOW_ANSWER

    def _lay_said(self, inner: int, y: int) -> int:
        self._rule_y = -1
        return self.actions.lay_said(GUTTER + inner, y, hidden=self.editor is not None) + _BELOW_SAID

    # -- Qt

    def set_focused(self, focused: bool) -> None:
        """Whether the focus is on it or in it."""
        if focused != self._focused:
            self._focused = focused
            self._show_buttons()

    def _show_buttons(self) -> None:
        self.actions.update()
        self.update()

    def enterEvent(self, event: QEnterEvent) -> None:
        self._hovered = True
        self._show_buttons()

    def leaveEvent(self, event: QEvent) -> None:
        self._hovered = False
        self._show_buttons()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.setAccessibleDescription(self.text[:400])

    def inputMethodQuery(self, query: Qt.InputMethodQuery) -> object:
        if query == Qt.InputMethodQuery.ImCursorRectangle:  # what is brought into sight when the focus comes
            return QRect(0, 0, 1, LINE)
        return super().inputMethodQuery(query)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = Qt.Key(event.key())
        keys = {Qt.Key.Key_E: "edit", Qt.Key.Key_R: "regenerate", Qt.Key.Key_T: "tokens"}
        keys |= {Qt.Key.Key_Left: "before", Qt.Key.Key_Right: "after"}
        plain = not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if event.matches(QKeySequence.StandardKey.Copy):
            copy_text(self.text)
        elif not self.hasFocus():
            super().keyPressEvent(event)
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and plain:
            self._verbs.walk(self, -1 if key == Qt.Key.Key_Up else 1)
        elif plain and keys.get(key) in self.buttons:
            self.buttons[keys[key]].click()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        colours = theme()
        if self._rule_y >= 0:
            painter.fillRect(GUTTER, self._rule_y, self.width() - GUTTER, 1, colours.colour("line2"))
        if self.hasFocus():
            painter.setPen(QPen(colours.colour("accent"), 2))
            painter.drawRoundedRect(QRect(1, 1, GUTTER - 8, LINE + 5), 4, 4)
        within = self.focusWidget() if self._focused and not self.hasFocus() else None
        if isinstance(within, TextPart) and within.hasFocus():
            top = within.mapTo(self, within.rect().topLeft()).y()
            painter.fillRect(GUTTER - 8, top, 2, within.height(), colours.colour("accent"))
