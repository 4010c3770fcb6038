"""Playground: prompts to a loaded engine, answers that stream back, and bursts to watch in-flight batching."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from workbench.core.conversation import Turn
from workbench.core.errors import Failure
from workbench.jobs.generation import BAD_REQUEST
from workbench.store.conversations import Conversations
from workbench.ui.models.burst import BurstModel
from workbench.ui.models.chat import Chat
from workbench.ui.models.counting import Counting
from workbench.ui.models.loading import EngineFacts, LoadedEngine
from workbench.ui.pages.base import Page
from workbench.ui.pages.playground.asking import Asking
from workbench.ui.pages.playground.burst.bar import BurstBar
from workbench.ui.pages.playground.burst.card import BurstCard
from workbench.ui.pages.playground.composer import Composer
from workbench.ui.pages.playground.engine.faces import EngineFace
from workbench.ui.pages.playground.settings.side import Side
from workbench.ui.pages.playground.system_bar import SystemBar
from workbench.ui.pages.playground.talk.conversation import ConversationView
from workbench.ui.pages.playground.verbs import Verbs
from workbench.ui.session import Session
from workbench.ui.widgets.basics import button, icon_button, rule

_MOST_DRAFT = 8_000_000
"""Characters; a longer message cannot be sent in any case."""
_WIDE = 700
"""Width in px from which the settings stand beside the conversation."""
_HIGH = 680
"""Height in px from which there is room for a conversation and the rows of a burst."""


class PlaygroundPage(Page):
    name, title, icon_name = "playground", "Playground", "playground"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.room = session.room
        self.chat = Chat(session, Conversations(session.home))
        self.bursts = BurstModel(session)
        self.counting = Counting(session)
        self.last: EngineFacts | None = None
        """The engine that was loaded last: what "load it again" means."""
        self._lost: Failure | None = None
        self._shown: LoadedEngine | None = None
        self._wants_side: bool | None = None
        """What was asked for; None: as there is room."""
        self._settings: dict[Path, tuple[str, ...]] = {}
        """What each engine was loaded with last."""
        self.bar, self.view, self.side = SystemBar(), ConversationView(), Side()
        self.face = EngineFace(session)
        self.burst_bar, self.burst_card = BurstBar(session), BurstCard(self.bursts)
        self.composer = Composer(self.burst_bar)
        self.asking = Asking(
            session, self.chat, self.bursts, self.counting, self.composer, self.bar, self.side.sampling
        )
        self.verbs = Verbs(session, self, self.chat, self.view, self.composer, self.bar, lambda: self.last)
        self._lay_out()
        self._wire()
        self._add_actions()
        self._show_engine()
        self._show_conversation()

    # -- frame

    def _lay_out(self) -> None:
        self.stack = QStackedWidget()
        self.stack.addWidget(self.face)
        self.stack.addWidget(self.view)
        left = QVBoxLayout()
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(0)
        left.addWidget(self.bar)
        left.addWidget(rule())
        left.addWidget(self.stack, 1)
        left.addWidget(self.burst_card)
        left.addWidget(rule())
        left.addWidget(self.composer)
        across = QHBoxLayout(self)
        across.setContentsMargins(0, 0, 0, 0)
        across.setSpacing(0)
        across.addLayout(left, 1)
        self.side_rule = rule(vertical=True)
        across.addWidget(self.side_rule)
        across.addWidget(self.side)

    def _make_room(self) -> None:
        """On a low page the unfolded rows of a burst take the conversation's place."""
        rows = self.burst_card.is_open and self.bursts.snapshot is not None
        self.stack.setVisible(not rows or self.height() >= _HIGH)
        # With little room beside the monitor the settings are shown when they are asked for.
        shown = self._wants_side if self._wants_side is not None else self.width() >= _WIDE
        self.side.setVisible(shown)
        self.side_rule.setVisible(shown)
        if hasattr(self, "side_button"):
            self.side_button.setChecked(shown)

    def _toggle_side(self) -> None:
        self._wants_side = self.side.isHidden()
        self._make_room()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if (event.size().width() >= _WIDE) != (event.oldSize().width() >= _WIDE):
            self._wants_side = None  # what was asked for was meant for the other width
        self._make_room()

    def header_widgets(self) -> list[QWidget]:
        if not hasattr(self, "_header"):
            self.side_button = icon_button("settings", "Show or hide the settings", self._toggle_side, flat=False)
            self.side_button.setCheckable(True)
            self.engine_button = button("Load engine", self.verbs.pick_engine, icon_name="engines")
            self._header: list[QWidget] = [
                icon_button("star", "Saved prompts", self.verbs.open_prompts, flat=False),
                icon_button("history", "Conversations that were kept", self.verbs.open_history, flat=False),
                self.side_button,
                self.engine_button,
            ]
            self._name_engine_button()
            self._make_room()
        return self._header

    def _wire(self) -> None:
        room, chat, view = self.room, self.chat, self.view
        room.changed.connect(self._show_engine)
        room.stepped.connect(self._show_face)
        room.failed.connect(self._load_failed)
        room.died.connect(self._engine_died)
        room.left.connect(self._engine_left)
        chat.changed.connect(self._show_conversation)
        chat.began.connect(self._begin)
        chat.streamed.connect(view.stream)
        chat.ended.connect(self._end)
        chat.refused.connect(self.asking.refuse)
        view.edited.connect(self.asking.edit)
        view.regenerate.connect(self.asking.regenerate)
        view.chosen.connect(chat.choose)
        view.stop.connect(chat.stop)
        view.reload_engine.connect(self.verbs.load_again)
        view.explain.connect(self.session.events.explain)
        view.link_refused.connect(self.verbs.refuse_link)
        self.bar.mode_asked.connect(self._set_mode)
        self.bar.system_changed.connect(self._set_system)
        self.bar.new_asked.connect(self.verbs.new)
        self.bar.export_asked.connect(self.verbs.export)
        self.composer.send.connect(self.asking.say)
        self.composer.stop.connect(chat.stop)
        self.composer.regenerate.connect(self.verbs.regenerate_last)
        self.composer.edit_last.connect(self.verbs.edit_last)
        self.composer.ask_count.connect(self._count)
        self.counting.counted.connect(self.composer.show_count)
        self.burst_bar.asked.connect(self.asking.burst)
        self.bursts.refused.connect(self.asking.refuse)
        self.bursts.changed.connect(lambda _: self._say_doing())
        self.burst_card.toggled.connect(lambda _: self._make_room())
        self.bursts.changed.connect(lambda _: self._make_room())
        room.changed.connect(self._say_doing)
        self.side.sampling.changed.connect(lambda: self.composer.show_settings_problem(self.side.sampling.check()))
        self.side.runtime.asked_reload.connect(self._reload)
        self.face.asked_load.connect(self.verbs.pick_engine)
        self.face.asked_demo.connect(self.verbs.build_demo)
        self.face.asked_again.connect(lambda path: self.room.load(path, self._settings.get(path, ())))
        self.face.asked_stop.connect(room.stop_loading)
        self.face.asked_log.connect(self.verbs.open_log)
        self.face.explained.connect(self.session.events.explain)
        self.face.closed.connect(self._put_failure_away)
        self.session.events.prompt_with.connect(self.verbs.load_folder)

    def _add_actions(self) -> None:
        add = self.session.actions.add
        for verb, words, do, icon_name in (
            ("load", "Load engine…", self.verbs.pick_engine, "engines"),
            ("unload", "Unload the engine", self.verbs.unload, "close"),
            ("new", "New conversation", self.verbs.new, "plus"),
            ("system", "Write the system prompt", self.bar.system.setFocus, "pencil"),
            ("regenerate", "Answer the last message again", self.verbs.regenerate_last, "refresh"),
            ("edit", "Edit the last message and send it again", self.verbs.edit_last, "pencil"),
            ("stop", "Stop the answer", self.chat.stop, "stop"),
            ("prompts", "Saved prompts", self.verbs.open_prompts, "star"),
            ("history", "Conversations that were kept", self.verbs.open_history, "history"),
            ("export", "Export this conversation", self.verbs.export, "export"),
        ):
            add(f"playground.{verb}", words, partial(self._from_anywhere, do), icon_name=icon_name, group="Playground:")
        for keys, do in (
            ("Ctrl+N", self.verbs.new),
            ("Ctrl+R", self.verbs.regenerate_last),
            ("Ctrl+E", self.verbs.edit_last),
            ("Escape", self.chat.stop),
        ):
            made = QShortcut(QKeySequence(keys), self)
            made.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            made.activated.connect(do)

    def _from_anywhere(self, do: Any) -> None:
        self.session.events.show_page.emit("playground")
        do()

    @property
    def busy(self) -> bool:
        return self.room.loading is not None

    def opened(self) -> None:
        self._show_face()
        if self.room.current is not None:
            self.composer.edit.setFocus()

    # -- the engine

    def _show_engine(self) -> None:
        engine = self.room.current
        if engine is not self._shown:
            self._shown = engine
            if engine is not None:
                self.last, self._lost = engine.facts, None
                self._settings[engine.facts.path] = engine.facts.overrides
            self.side.show_engine(engine)
            self.view.set_engine(engine.facts.toolchain_title if engine is not None else "")
            self.composer.set_ready(engine is not None)
            self.burst_bar.set_ready("" if engine is not None else "Load an engine first")
            self.say_subtitle(f"{engine.name}   {engine.facts.precision_words}" if engine is not None else "")
            self.session.actions["playground.unload"].setEnabled(engine is not None)
            self._name_engine_button()
        self._show_history()
        self._show_face()

    def _name_engine_button(self) -> None:
        if hasattr(self, "engine_button"):
            self.engine_button.setText("Change engine" if self.room.current is not None else "Load engine")
            self.engine_button.setAccessibleName(self.engine_button.text())

    def _show_face(self) -> None:
        """The conversation, or what stands in its place: loading, a failure, or nothing to talk to."""
        loading, current = self.room.loading, self.room.current
        if loading is not None and current is None and not self.chat.streaming:
            self.face.show_loading(loading)
            self.stack.setCurrentWidget(self.face)
        elif self._lost is not None:
            self.stack.setCurrentWidget(self.face)
        elif current is None and not self.chat.conversation.turns:
            self.face.show_nothing()
            self.stack.setCurrentWidget(self.face)
        else:
            self.stack.setCurrentWidget(self.view)

    def _load_failed(self, name: str, failure: Failure) -> None:
        if self.room.current is not None or self.chat.streaming:
            what = f"{name} was not loaded: {failure.what}"
            self.asking.refuse(failure.model_copy(update={"what": what}))
            return
        self._lost = failure
        self.face.show_failure(name, failure, self.verbs.asked_path)
        self._show_face()

    def _engine_died(self, engine: LoadedEngine, failure: Failure) -> None:
        if self.chat.tells_of(engine.id):
            return  # the answer's own card says it
        if self.room.engines:
            others = " and ".join(one.name for one in self.room.engines)
            what = f"{engine.name} is gone: {failure.what}"
            fix = f"{others} is still loaded: choose it, or load {engine.name} again, with Load engine."
            self.asking.refuse(failure.model_copy(update={"what": what, "fix": fix}))
            return
        self._lost = failure
        self.face.show_failure(engine.name, failure, engine.facts.path, died=True)
        self._show_face()

    def _engine_left(self, gone: str, wanted: str) -> None:
        words = f"{gone} was unloaded to make room for {wanted}, which was not loaded."
        self.session.notices.say("info", words, "Load one of them to go on.")

    def _put_failure_away(self) -> None:
        self._lost = None
        self._show_face()

    def _reload(self, overrides: tuple[str, ...]) -> None:
        if self.room.current is not None:
            self.verbs.asked_path = self.room.current.facts.path
            self.room.reload(self.room.current.id, overrides)

    def _say_doing(self) -> None:
        """What goes on, for the status line, which is there on every page."""
        loading, burst = self.room.loading, self.bursts.snapshot
        words = ""
        if loading is not None:
            words = f"Loading {loading.name}"
        elif burst is not None and burst.running:
            now = burst.summary
            words = f"{burst.title}: {now.done} done, {now.active} active, {now.waiting} waiting"
        elif self.chat.streaming:
            words = "An answer streams"
        self.session.events.doing.emit(words)

    # -- the conversation

    def _show_conversation(self) -> None:
        self.view.show_conversation(self.chat.conversation)
        self.bar.show_conversation(self.chat.conversation)
        self.composer.set_raw(self.chat.conversation.mode == "raw")
        self.composer.set_streaming(self.chat.streaming)
        self.composer.recount()
        self._show_history()
        self._show_face()

    def _show_history(self) -> None:
        self.composer.set_history(any(turn.role == "user" for turn in self.chat.conversation.path()))

    def _begin(self, turn: Turn) -> None:
        self.view.begin_answer(turn, t0_s=self.chat.t0_s)
        self.composer.set_streaming(True)
        self.bar.show_buttons(self.chat.conversation, streaming=True)
        self._say_doing()
        self._show_history()

    def _end(self, turn_id: str) -> None:
        turn = self.chat.conversation.turn(turn_id)
        failure = turn.answer.failure if turn.answer is not None else None
        if failure is not None:
            self.view.fail_answer(turn, failure, can_reload=failure.code != BAD_REQUEST)
        else:
            self.view.end_answer(turn)
        self.composer.set_streaming(False)
        self._say_doing()
        self.bar.show_buttons(self.chat.conversation)
        self._show_history()
        self._show_face()
        self.composer.recount()

    def _set_mode(self, mode: str) -> None:
        self.chat.set_mode("raw" if mode == "raw" else "chat")
        self.composer.edit.setFocus()

    def _set_system(self, text: str) -> None:
        self.chat.set_system(text)
        self._count(self.composer.text())

    def _count(self, text: str) -> None:
        self.counting.ask(self.room.current, self.chat.conversation, text)

    # -- between starts

    def state(self) -> dict[str, Any]:
        return {
            "side": self.side.state(),
            "conversation": self.chat.conversation.id if self.chat.conversation.turns else "",
            "system": self.bar.system.toPlainText(),
            "mode": self.chat.conversation.mode,
            "draft": self.composer.text()[:_MOST_DRAFT],
        }

    def restore(self, state: dict[str, Any]) -> None:
        side = state.get("side")
        if isinstance(side, dict):
            self.side.restore(side)
        self.chat.fresh("raw" if state.get("mode") == "raw" else "chat", str(state.get("system", "")))
        self.composer.set_text(str(state.get("draft", "")))
        if kept := str(state.get("conversation", "")):
            self.verbs.open_kept(kept)

    def close_page(self) -> None:
        self.bar.flush()
        self.bar.close_bar()
        self.composer.close_composer()
        self.bursts.close()
        self.chat.close()
