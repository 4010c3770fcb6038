"""Prompts to several variants for the answers side by side: all loaded together, or one after the other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from workbench.core.errors import CancelledError, WorkbenchError
from workbench.core.home import Home
from workbench.core.load_fit import load_need
from workbench.core.measure.comparison import AnswerOf, ComparisonHead
from workbench.core.measure.comparison_file import write_answers, write_comparison_head
from workbench.core.measure.record import Subject
from workbench.core.messages import Sampling
from workbench.core.units import format_bytes
from workbench.measure.answers import answers_of
from workbench.measure.events import AnswerDone, AnswerText, Event, Listener, Stage, SubjectFailed, SubjectKnown
from workbench.measure.subjects import Asked, Opened, describe, open_subject
from workbench.toolchains.gpus import detected_gpus


@dataclass(frozen=True)
class PromptRequest:
    """What to ask of whom; `head` and `answers` are the comparison's as they are, and are written anew."""

    subjects: tuple[Subject, ...]
    prompts: tuple[tuple[int, str], ...]
    """Number in the comparison, and text."""
    sampling: Sampling
    head: ComparisonHead
    folder: Path
    answers: tuple[AnswerOf, ...] = ()
    together: bool = False


@dataclass(frozen=True)
class Room:
    """Whether the variants can be loaded at once."""

    words: str
    fits: bool | None
    """None: nobody can tell."""


def ask_variants(
    home: Home, request: PromptRequest, listen: Listener, stop: threading.Event
) -> tuple[ComparisonHead, tuple[AnswerOf, ...]]:
    """Load and ask, blocking; the comparison's head and all answers as they are kept. A variant that cannot be
    loaded is told and left out.
    """
    return _Asking(home, request, listen, stop).run()


class _Asking:
    def __init__(self, home: Home, request: PromptRequest, listen: Listener, stop: threading.Event) -> None:
        self._home, self._request, self._listen, self._stop = home, request, listen, stop
        self._head = request.head
        self._answers = {(one.subject, one.prompt): one for one in request.answers}
        self._lock = threading.Lock()

    def run(self) -> tuple[ComparisonHead, tuple[AnswerOf, ...]]:
        write_comparison_head(self._request.folder, self._head)
        with contextlib.suppress(CancelledError):
            if self._request.together:
                self._together()
            else:
                for subject in self._request.subjects:
                    if self._stop.is_set():
                        break
                    opened = self._open(subject, ())
                    if opened is not None:
                        with opened:
                            self._ask(opened)
        return self._head, tuple(self._answers.values())

    def _together(self) -> None:
        loaded: list[Opened] = []
        with contextlib.ExitStack() as all_of_them:
            for subject in self._request.subjects:
                opened = self._open(subject, [one.subject.name for one in loaded])
                if opened is not None:
                    loaded.append(all_of_them.enter_context(opened))
            threads = [threading.Thread(target=self._ask, args=(one,), daemon=True) for one in loaded]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _open(self, subject: Subject, beside: Sequence[str]) -> Opened | None:
        self._listen(Stage("loading", subject.id))
        try:
            _, start = describe(self._home, Asked(Path(subject.path), subject.overrides, subject.name), subject.id)
            opened = open_subject(
                self._home, subject, start, lambda words: self._listen(Stage(words, subject.id)), self._stop, beside
            )
        except CancelledError:
            raise
        except WorkbenchError as error:
            self._listen(SubjectFailed(subject.id, error.failure))
            for number, _ in self._request.prompts:
                self._take(AnswerOf(subject=subject.id, prompt=number, failure=error.failure))
            return None
        opened.subject = opened.subject.model_copy(update={"failure": None})
        self._know(opened.subject)
        return opened

    def _ask(self, opened: Opened) -> None:
        for number, text in self._request.prompts:
            if self._stop.is_set() or opened.client.failure is not None:
                return
            for answer in answers_of(opened, (text,), self._request.sampling, self._numbered(number), self._stop):
                self._keep(answer.model_copy(update={"prompt": number}))

    def _numbered(self, number: int) -> Callable[[Event], None]:
        """Tells events with the prompt's number in the comparison."""

        def tell(event: Event) -> None:
            if isinstance(event, AnswerText):
                event = AnswerText(event.subject, number, event.text)
            elif isinstance(event, AnswerDone):
                event = AnswerDone(event.answer.model_copy(update={"prompt": number}))
            self._listen(event)

        return tell

    def _take(self, answer: AnswerOf) -> None:
        self._keep(answer)
        self._listen(AnswerDone(answer))

    def _keep(self, answer: AnswerOf) -> None:
        with self._lock:
            self._answers[answer.subject, answer.prompt] = answer
            write_answers(self._request.folder, tuple(self._answers.values()))

    def _know(self, subject: Subject) -> None:
        subjects = tuple(subject if one.id == subject.id else one for one in self._head.subjects)
        self._head = self._head.model_copy(update={"subjects": subjects})
        write_comparison_head(self._request.folder, self._head)
        self._listen(SubjectKnown(subject))


def room_for(home: Home, subjects: Sequence[Subject]) -> Room:
    """Whether these can be loaded at once, beside what runs: the least that each takes. Reads disk and driver."""
    need, on_gpu, count = 0.0, False, 0
    free = int(psutil.virtual_memory().available)
    for subject in subjects:
        if subject.toolchain == "endpoint" or subject.simulated:
            continue
        try:
            _, start = describe(home, Asked(Path(subject.path), subject.overrides), subject.id)
        except WorkbenchError as error:
            return Room(f"{subject.name}: {error.failure.what}", None)
        if start.on_gpu and not on_gpu:
            gpus = detected_gpus()
            if not gpus:
                return Room("No GPU is here.", False)
            on_gpu, free = True, min(gpu.memory_bytes - (gpu.memory_used_bytes or 0) for gpu in gpus)
        need += load_need(start.provenance, start.preset, free, on_gpu=start.on_gpu).total.low
        count += 1
    device = "GPU memory" if on_gpu else "memory"
    fits = need <= free
    words = f"Together {format_bytes(int(need))} at least, of {format_bytes(free)} {device} free"
    return Room(words if fits else f"{words}: ask one after the other", fits) if count else Room("", True)
