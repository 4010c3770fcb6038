"""The same prompts to a loaded variant, one after the other, for the answers side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from workbench.core.answer import AnswerRecord, EngineRef
from workbench.core.errors import WorkbenchError
from workbench.core.measure.comparison import AnswerOf
from workbench.core.messages import ChatTurn, Finished, Sampling
from workbench.jobs.generation import Generation
from workbench.measure.events import AnswerDone, AnswerText, Listener, Stage
from workbench.measure.subjects import Opened

_LOOK_S = 0.05


def answers_of(
    opened: Opened, prompts: Sequence[str], sampling: Sampling, listen: Listener, stop: threading.Event
) -> Iterator[AnswerOf]:
    """Ask one prompt after the other, blocking. What the engine does not take of `sampling` is left out by it or
    refused in words; a refused prompt is an answer with a failure, and the next one is asked.
    """
    subject = opened.subject
    asked = sampling_for(sampling, opened.client.ready.sampling)
    for number, prompt in enumerate(prompts):
        if stop.is_set():
            return
        listen(Stage("asking", subject.id, number / len(prompts)))
        try:
            generation = _submit(opened, prompt, asked)
        except WorkbenchError as error:
            answer = AnswerOf(subject=subject.id, prompt=number, failure=error.failure)
        else:
            answer = _follow(opened, generation, number, listen, stop)
        listen(AnswerDone(answer))
        yield answer
        if opened.client.failure is not None:
            return


def sampling_for(sampling: Sampling, taken: tuple[str, ...] | None) -> Sampling:
    """The same with log-probabilities asked for where the engine reports them."""
    return sampling.model_copy(update={"logprobs": taken is not None and "logprobs" in taken})


def _submit(opened: Opened, prompt: str, sampling: Sampling) -> Generation:
    if opened.client.ready.chat_template is False:
        return opened.client.submit(prompt=prompt, sampling=sampling)
    return opened.client.submit(messages=[ChatTurn(role="user", content=prompt)], sampling=sampling)


def _follow(opened: Opened, generation: Generation, number: int, listen: Listener, stop: threading.Event) -> AnswerOf:
    subject, index, text = opened.subject, 0, ""
    while True:
        event = generation.event(index, _LOOK_S)
        if event is None:
            if stop.is_set():
                generation.abort()
            continue
        if isinstance(event, Finished):
            break
        news, _ = generation.news(index)
        index, text = news.responses, text + news.text
        listen(AnswerText(subject.id, number, text))
    record = AnswerRecord.from_events(
        generation.take(0),
        t0_s=generation.t0_s,
        chunks=generation.chunks,
        sampling=generation.sampling,
        engine=EngineRef(name=subject.name, toolchain=subject.toolchain, precision=subject.precision, key=subject.key),
        failure=generation.failure,
    )
    return AnswerOf(subject=subject.id, prompt=number, record=record, failure=generation.failure)
