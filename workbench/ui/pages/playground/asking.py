"""From a wish to a request: settings that can be sent, a prompt that the engine will take, an engine to ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from workbench.core.conversation import Conversation
from workbench.core.errors import Failure
from workbench.core.messages import Counted, Sampling
from workbench.core.sampling_fields import SamplingError
from workbench.ui.models.burst import BurstModel
from workbench.ui.models.chat import Chat
from workbench.ui.models.counting import Counting
from workbench.ui.models.loading import LoadedEngine
from workbench.ui.pages.playground.composer import Composer, sentence
from workbench.ui.pages.playground.settings.sampling import SamplingPanel
from workbench.ui.pages.playground.system_bar import SystemBar
from workbench.ui.session import Session

_SPARE_TOKENS = 64
"""What a chat template may add to a message."""


class Asking:
    """What is sent, and why it is not. A prompt that may be too long is counted by the engine before it is sent."""

    def __init__(
        self,
        session: Session,
        chat: Chat,
        bursts: BurstModel,
        counting: Counting,
        composer: Composer,
        bar: SystemBar,
        sampling: SamplingPanel,
    ) -> None:
        self._session, self._chat, self._bursts, self._counting = session, chat, bursts, counting
        self._composer, self._bar, self._sampling = composer, bar, sampling

    def say(self, text: str) -> None:
        """Send what was written, and clear the composer once it is sent."""

        def send(engine: LoadedEngine, sampling: Sampling) -> None:
            if self._chat.say(engine, sampling, text):
                self._composer.clear()

        self._when_it_fits(partial(self._chat.conversation.say, text, time.time()), text, send)

    def edit(self, turn_id: str, text: str) -> None:
        """Send another version of a message."""

        def send(engine: LoadedEngine, sampling: Sampling) -> None:
            if self._chat.edit(engine, sampling, turn_id, text):
                self._composer.edit.setFocus()

        self._when_it_fits(partial(self._chat.conversation.edit, turn_id, text, time.time()), text, send)

    def regenerate(self, turn_id: str) -> None:
        asking = self._ready()
        if asking is not None:
            self._chat.regenerate(*asking, turn_id)

    def burst(self, count: int, prompts: tuple[Any, ...] | None, source: str) -> None:
        """Send many requests at once; without `prompts` the message that stands in the composer."""
        text = self._composer.text()
        if prompts is None and not text.strip():
            fix = "Write one, or choose saved prompts or a file."
            self.refuse(Failure(code="empty-prompt", what="The burst has no message.", fix=fix))
            return

        def send(engine: LoadedEngine, sampling: Sampling) -> None:
            conversation = self._chat.conversation
            self._bursts.start(
                engine,
                prompts if prompts is not None else (text,),
                count,
                sampling=sampling.model_copy(update={"logprobs": False}),
                system=conversation.system,
                chat=conversation.mode == "chat",
                source=source or "this message",
            )

        if prompts is None:
            # A burst sends the message by itself, without what was said before.
            alone = Conversation(id="burst", mode=self._chat.conversation.mode, system=self._chat.conversation.system)
            self._when_it_fits(partial(alone.say, text, time.time()), text, send)
        else:
            asking = self._ready()
            if asking is not None:
                send(*asking)

    def refuse(self, failure: Failure) -> None:
        """Say why nothing was sent."""
        self._session.notices.fail(failure)

    def _ready(self) -> tuple[LoadedEngine, Sampling] | None:
        """The engine and the settings of the next request; None, with words, when it cannot be sent."""
        engine = self._session.room.current
        if engine is None:
            self.refuse(Failure(code="no-engine", what="No engine is loaded.", fix="Load an engine first."))
            return None
        try:
            sampling = self._sampling.sampling(draw=True)
        except SamplingError as error:
            self._composer.show_settings_problem(str(error))
            return None
        self._bar.flush()
        return engine, sampling

    def _when_it_fits(
        self, step: Callable[[], Conversation], text: str, send: Callable[[LoadedEngine, Sampling], None]
    ) -> None:
        asking = self._ready()
        if asking is None:
            return
        if self._surely_fits(asking[0], text):
            send(*asking)
            return

        def take(counted: Counted | None) -> None:
            if counted is not None and counted.problem:
                words = sentence(counted.problem)
                self._composer.show_count(counted, self._composer.text() if text == self._composer.text() else "")
                self.refuse(Failure(code="refused", what=words, fix="Shorten it; nothing was sent."))
            elif self._session.room.current is asking[0]:
                send(*asking)

        self._counting.check(asking[0], step, take)

    def _surely_fits(self, engine: LoadedEngine, text: str) -> bool:
        """Whether the prompt cannot be too long, whatever the tokenizer: a token is a byte at least."""
        limits = [engine.ready.limits[name] for name in ("max_seq_len", "kv_tokens") if name in engine.ready.limits]
        if not limits or "\0" in text:
            return False
        before = 0
        for turn in self._chat.conversation.path():
            if turn.answer is not None and turn.answer.usage is not None:
                before = turn.answer.usage.input_tokens + turn.answer.usage.output_tokens
        size = len((self._chat.conversation.system + text).encode("utf-8", "replace"))
        return before + size + _SPARE_TOKENS < min(limits)
