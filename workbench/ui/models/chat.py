"""The conversation that is open, and the answer that streams into it: what the playground's view shows."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from PySide6.QtCore import QObject, QTimer, Signal

from workbench.core.answer import AnswerRecord, EngineRef, Piece
from workbench.core.conversation import Conversation, Mode
from workbench.core.errors import BadInputError, Failure, WorkbenchError
from workbench.core.messages import Finished, Sampling, Tokens
from workbench.jobs.generation import Event, Generation
from workbench.store.conversations import Conversations
from workbench.ui.models.loading import LoadedEngine
from workbench.ui.session import Session

KEEP_S = 3.0
"""How often what has come of an answer is kept: a window that is killed loses no more."""
_CUT = Failure(
    code="window-ended",
    what="The window ended before the answer did; what had come is kept.",
    fix="Have it made again.",
)
FRAME_MS = 50
"""How often what has come is shown; the answer's timings are the client's own and do not depend on it."""
_END_S = 2.0
_log = logging.getLogger("workbench.ui")


@dataclass
class _Streaming:
    """The answer under way."""

    asked: str
    """The message's turn."""
    turn: str
    """The turn that the answer will be."""
    generation: Generation
    engine: LoadedEngine
    seen: int = 0
    kv_used: int | None = None
    stopped: bool = False
    kept_s: float = field(default_factory=time.monotonic)
    ending: bool = False
    """All has come, and the record is being made."""


class Chat(QObject):
    """One conversation. Methods are for the GUI thread and never wait.

    Signals: `changed` (other turns are shown), `began` (the turn that will be the answer), `streamed` (its id, new
    text, new pieces), `ended` (its id; the conversation holds it now), `refused` (Failure: nothing was sent),
    `kept` (the conversation is in the store).
    """

    changed = Signal()
    began = Signal(object)
    streamed = Signal(str, str, object)
    ended = Signal(str)
    refused = Signal(object)
    kept = Signal()

    def __init__(self, session: Session, store: Conversations) -> None:
        super().__init__()
        self._session, self._store = session, store
        self._conversation = store.fresh()
        self._streaming: _Streaming | None = None
        self._saving = self._unsaved = False
        self._writing = threading.Lock()
        self._frame = QTimer(self)
        self._frame.setInterval(FRAME_MS)
        self._frame.timeout.connect(self._take)

    @property
    def conversation(self) -> Conversation:
        return self._conversation

    @property
    def store(self) -> Conversations:
        """Where conversations are kept; its methods are for background tasks."""
        return self._store

    @property
    def t0_s(self) -> float | None:
        """When the request under way was handed over, on the monotonic clock."""
        return self._streaming.generation.t0_s if self._streaming is not None else None

    @property
    def streaming(self) -> bool:
        return self._streaming is not None

    # -- which conversation

    def fresh(self, mode: Mode | None = None, system: str | None = None) -> None:
        """Begin another conversation; the old one is in the store."""
        self.stop()
        before = self._conversation
        self._show(
            self._store.fresh(before.mode if mode is None else mode, before.system if system is None else system)
        )

    def open(self, conversation: Conversation) -> None:
        """Go on with one that was kept."""
        self.stop()
        self._show(conversation)

    def take_name(self, renamed: Conversation) -> None:
        """A conversation was renamed elsewhere: what is saved later must not undo it."""
        if renamed.id == self._conversation.id:
            self._conversation = self._conversation.renamed(renamed.title)

    def forget(self, conversation_id: str) -> None:
        """A conversation was deleted elsewhere: if it is open, another one begins."""
        if conversation_id == self._conversation.id:
            self._unsaved = False
            self._conversation = self._store.fresh(self._conversation.mode, self._conversation.system)
            self.changed.emit()

    def set_system(self, text: str) -> None:
        """The system prompt of all that is sent from now on."""
        if text != self._conversation.system:
            self._conversation = self._conversation.with_system(text)
            self._keep()

    def set_mode(self, mode: Mode) -> None:
        """Chat or raw completion; a conversation that has begun stays as it is, and another one begins."""
        if mode != self._conversation.mode:
            self.fresh(mode)

    def choose(self, turn_id: str) -> None:
        """Show the branch of a turn."""
        if not self.streaming:
            self._change(partial(self._conversation.choose, turn_id))

    # -- asking

    def say(self, engine: LoadedEngine, sampling: Sampling, text: str) -> bool:
        """Send a message; whether it was sent."""
        return self._ask(engine, sampling, partial(self._conversation.say, text, time.time()))

    def edit(self, engine: LoadedEngine, sampling: Sampling, turn_id: str, text: str) -> bool:
        """Send another version of a message: a new branch."""
        return self._ask(engine, sampling, partial(self._conversation.edit, turn_id, text, time.time()))

    def regenerate(self, engine: LoadedEngine, sampling: Sampling, turn_id: str) -> bool:
        """Have a message answered again: a new branch."""
        return self._ask(engine, sampling, partial(self._conversation.regenerate, turn_id))

    def stop(self) -> None:
        """Have the engine stop the answer; what came stays."""
        if self._streaming is not None and not self._streaming.stopped:
            self._streaming.stopped = True
            self._streaming.generation.abort()

    def close(self) -> None:
        """The window closes: keep what came of the answer."""
        self._finish_now()
        if self._saving and self._conversation.turns:  # tasks that have not begun are dropped at the end
            last = threading.Thread(target=self._save_at_the_end, name="conversation-save", daemon=True)
            last.start()
            last.join(_END_S)

    def _save_at_the_end(self) -> None:
        try:
            self._save(self._conversation)
        except WorkbenchError as error:
            _log.warning("the conversation was not kept: %s", error)

    def _ask(self, engine: LoadedEngine, sampling: Sampling, step: object) -> bool:
        if self.streaming:
            fix = "Wait for its end, or stop it."
            self.refused.emit(Failure(code="busy", what="An answer is still streaming.", fix=fix))
            return False
        try:
            asked: Conversation = step()  # type: ignore[operator]
            raw = asked.mode == "raw"
            generation = engine.client.submit(
                messages=None if raw else asked.messages(), prompt=asked.prompt() if raw else None, sampling=sampling
            )
        except WorkbenchError as error:
            self.refused.emit(error.failure)
            return False
        assert asked.leaf is not None
        # The turn that the answer will be: shown while it streams, and taken over by name at its end.
        coming = asked.answered("", None, time.time(), to=asked.leaf).turns[-1]
        self._streaming = _Streaming(asked.leaf, coming.id, generation, engine)
        self._conversation = asked
        self.changed.emit()
        self.began.emit(coming)
        self._frame.start()
        self._keep()
        return True

    def _take(self) -> None:
        """A frame: show what has come since the last one."""
        now = self._streaming
        if now is None or now.ending:
            self._frame.stop()
            return
        stats = now.engine.client.stats
        if stats is not None and stats.kv_blocks_used is not None:
            now.kv_used = max(now.kv_used or 0, stats.kv_blocks_used)
        events = now.generation.take(now.seen)
        now.seen += len(events)
        tokens = [event for event in events if isinstance(event, Tokens)]
        if tokens:
            pieces = tuple(
                Piece(event.t, len(event.ids), event.text, tuple(event.ids), _logprobs(event)) for event in tokens
            )
            self.streamed.emit(now.turn, "".join(event.text for event in tokens), pieces)
        if events and isinstance(events[-1], Finished):
            self._ended(now)
        elif tokens and time.monotonic() - now.kept_s > KEEP_S:
            now.kept_s = time.monotonic()
            self._keep_so_far(now)

    def _ended(self, now: _Streaming) -> None:
        """Make the record off the GUI thread: of a long answer it takes a while."""
        self._frame.stop()
        now.ending = True
        self._session.tasks.run(partial(_record, now), partial(self._finish, now), self._session.notices.fail)

    def _finish(self, now: _Streaming, record: AnswerRecord) -> None:
        if self._streaming is not now:
            return  # the window closed, or another conversation was opened: it was finished there
        self._streaming = None
        self._conversation = self._conversation.answered(record.text, record, time.time(), to=now.asked)
        self.ended.emit(now.turn)
        self._keep()

    def _finish_now(self) -> None:
        """Take what came of the answer and let go of the rest."""
        self._frame.stop()
        if self._streaming is not None:
            self._streaming.generation.abort()
            self._finish(self._streaming, _record(self._streaming))

    # -- keeping

    def _show(self, conversation: Conversation) -> None:
        self._finish_now()
        if self._unsaved:  # the old one's last state is still to be written
            self._session.tasks.run(partial(self._save, self._conversation), None, self._session.notices.fail)
            self._unsaved = False
        self._conversation = conversation
        self.changed.emit()

    def _change(self, step: object) -> None:
        try:
            self._conversation = step()  # type: ignore[operator]
        except BadInputError as error:
            self.refused.emit(error.failure)
            return
        self.changed.emit()
        self._keep()

    def _keep(self) -> None:
        """Write it to the store in the background: one writing at a time, so that an older one never comes last."""
        if self._saving:
            self._unsaved = True
        elif self._conversation.turns:
            self._saving, self._unsaved = True, False
            self._session.tasks.run(partial(self._save, self._conversation), self._kept, self._not_kept)

    def _save(self, conversation: Conversation) -> None:
        with self._writing:
            self._store.save(conversation)

    def _keep_so_far(self, now: _Streaming) -> None:
        if self._saving:
            return  # the disk is slow; the next time will do
        conversation = self._conversation

        def work() -> None:
            record = _record(now).model_copy(update={"reason": "error", "failure": _CUT})
            so_far = conversation.answered(record.text, record, time.time(), to=now.asked)
            with self._writing:
                if self._streaming is now:  # else the whole answer is there, and may be written already
                    self._store.save(so_far)

        self._saving, self._unsaved = True, True
        self._session.tasks.run(work, self._kept_so_far, self._not_kept)

    def _kept_so_far(self, _: object) -> None:
        self._saving = False
        if self._unsaved and self._streaming is None:
            self._keep()

    def _kept(self, _: object) -> None:
        self._saving = False
        self.kept.emit()
        if self._unsaved:
            self._keep()

    def _not_kept(self, failure: Failure) -> None:
        self._saving = self._unsaved = False
        self._session.notices.fail(failure)


def _record(now: _Streaming) -> AnswerRecord:
    """How the answer came to be; of one that is still under way, as if it were stopped here."""
    generation, engine = now.generation, now.engine
    events: tuple[Event, ...] = generation.take(0)
    if not events or not isinstance(events[-1], Finished):
        events = (*events, Finished(request=generation.request, reason="abort"))
    return AnswerRecord.from_events(
        events,
        t0_s=generation.t0_s,
        chunks=generation.chunks,
        sampling=generation.sampling,
        engine=EngineRef(
            name=engine.name,
            toolchain=engine.facts.toolchain_title,
            precision=engine.facts.precision,
            key=engine.facts.key,
        ),
        failure=generation.failure,
        kv_blocks_used=now.kv_used,
        kv_blocks_total=engine.ready.kv_blocks_total,
    )


def _logprobs(event: Tokens) -> tuple[float, ...] | None:
    return None if event.logprobs is None else tuple(event.logprobs)
