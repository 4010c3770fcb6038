"""The conversation that is open, and the answer that streams into it: what the playground's view shows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

from PySide6.QtCore import QObject, QTimer, Signal

from workbench.core.answer import AnswerRecord, EngineRef, Piece
from workbench.core.conversation import Conversation, Mode
from workbench.core.errors import BadInputError, Failure, WorkbenchError
from workbench.core.messages import Finished, Sampling, Tokens
from workbench.jobs.generation import BAD_REQUEST, Event, Generation
from workbench.store.conversations import Conversations
from workbench.ui.models.keeper import Keeper
from workbench.ui.models.loading import EngineFacts, LoadedEngine
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
        self._keeper = Keeper(session, store)
        self._keeper.kept.connect(self.kept)
        self._others: dict[Mode, Conversation] = {}
        """What was open in a mode before it was left."""
        self.failed: EngineFacts | None = None
        """The engine whose answer failed last."""
        self._failed_id = ""
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

    def tells_of(self, engine_id: str) -> bool:
        """Whether an answer says, or is about to say, that this engine is gone."""
        return engine_id == self._failed_id or (self._streaming is not None and self._streaming.engine.id == engine_id)

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
            self._keep()

    def forget(self, conversation_id: str) -> None:
        """A conversation was deleted elsewhere: if it is open, another one begins."""
        self._keeper.forget(conversation_id)
        self._others = {mode: kept for mode, kept in self._others.items() if kept.id != conversation_id}
        if conversation_id == self._conversation.id:
            self._frame.stop()
            if self._streaming is not None:
                self._streaming.generation.abort()
                self._streaming = None
            self._conversation = self._store.fresh(self._conversation.mode, self._conversation.system)
            self.changed.emit()

    def set_system(self, text: str) -> None:
        """The system prompt of all that is sent from now on."""
        if text != self._conversation.system:
            self._conversation = self._conversation.with_system(text)
            self._keep()

    def set_mode(self, mode: Mode) -> None:
        """Chat or raw completion: each goes on with what was open in it before."""
        if mode != self._conversation.mode and not self.streaming:
            self._others[self._conversation.mode] = self._conversation
            before = self._others.get(mode)
            if before is not None:
                self._show(before)
            else:
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
        self._keeper.close()

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
            chunks = now.generation.chunks_since(now.seen - len(events))
            pieces = tuple(
                Piece(chunk.t_s, chunk.tokens, event.text, tuple(event.ids), _logprobs(event))
                for event, chunk in zip(tokens, chunks, strict=False)
            )
            self.streamed.emit(now.turn, "".join(event.text for event in tokens), pieces)
        if events and isinstance(events[-1], Finished):
            self._ended(now)
        elif tokens and time.monotonic() - now.kept_s > KEEP_S:
            now.kept_s = time.monotonic()
            self._keep()

    def _ended(self, now: _Streaming) -> None:
        """Make the record off the GUI thread: of a long answer it takes a while."""
        self._frame.stop()
        now.ending = True
        self._session.tasks.run(partial(_record, now), partial(self._finish, now), self._session.notices.fail)

    def _finish(self, now: _Streaming, record: AnswerRecord) -> None:
        if self._streaming is not now:
            return  # the window closed, or another conversation was opened: it was finished there
        self._streaming = None
        if record.failure is not None and record.failure.code != BAD_REQUEST:
            self.failed, self._failed_id = now.engine.facts, now.engine.id
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
        """Have it written; while an answer streams, with what has come of it."""
        now, conversation = self._streaming, self._conversation
        if not conversation.turns:
            return
        if now is None or now.ending:
            self._keeper.keep(conversation)
            return

        def so_far() -> Conversation | None:
            if self._streaming is not now:
                return None  # the whole answer is there, and waits to be written
            record = _record(now)
            if not record.pieces:
                return conversation
            cut = record.model_copy(update={"reason": "error", "failure": _CUT})
            return conversation.answered(record.text, cut, time.time(), to=now.asked)

        self._keeper.keep(conversation, so_far)


def _record(now: _Streaming) -> AnswerRecord:
    """How the answer came to be; of one that is still under way, as if it were stopped here."""
    generation, engine = now.generation, now.engine
    events: tuple[Event, ...] = generation.take(0)
    if not events or not isinstance(events[-1], Finished):
        events = (*events, Finished(request=generation.request, reason="abort"))
    failure, end = generation.failure, events[-1]
    if isinstance(end, Finished) and end.reason == "abort" and generation.done and not now.stopped:
        # Its engine was unloaded or loaded again meanwhile: it ended the answer, and not the person.
        failure = Failure(code="engine-left", what="The engine was unloaded while it answered.", fix="Load it again.")
        events = (*events[:-1], end.model_copy(update={"reason": "error"}))
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
        failure=failure,
        kv_blocks_used=now.kv_used,
        kv_blocks_total=engine.ready.kv_blocks_total,
    )


def _logprobs(event: Tokens) -> tuple[float, ...] | None:
    return None if event.logprobs is None else tuple(event.logprobs)
