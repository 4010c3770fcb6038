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
from workbench.measure.subjects import Opened, open_subject, start_of
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
            start = start_of(self._home, subject)
            step = lambda words: self._listen(Stage(words, subject.id))  # noqa: E731
            opened = open_subject(self._home, subject, start, step, self._stop, beside)
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
        self._head = self._head.with_subject(subject)
        write_comparison_head(self._request.folder, self._head)
        self._listen(SubjectKnown(subject))


def room_for(home: Home, subjects: Sequence[Subject]) -> Room:
    """Whether these can be loaded at once, beside what runs: the least that each takes, on the device that it takes it
    on. Reads disk and driver.
    """
    free: dict[str, int] = {}
    need: dict[str, float] = {}
    for subject in subjects:
        if subject.toolchain == "endpoint" or subject.simulated:
            continue
        try:
            start = start_of(home, subject)
        except WorkbenchError as error:
            return Room(f"{subject.name}: {error.failure.what}", None)
        device = "GPU memory" if start.on_gpu else "memory"
        if device not in free:
            gpus = detected_gpus() if start.on_gpu else ()
            if start.on_gpu and not gpus:
                return Room("No GPU is here.", False)
            unknown = [gpu for gpu in gpus if gpu.memory_used_bytes is None]
            if unknown:
                return Room(f"What is free of GPU {unknown[0].index} is not reported.", None)
            each = [gpu.memory_bytes - (gpu.memory_used_bytes or 0) for gpu in gpus]
            free[device] = min(each) if each else int(psutil.virtual_memory().available)
        low = load_need(
            start.provenance, start.preset, free[device], on_gpu=start.on_gpu, draft=start.draft_provenance
        ).total.low
        need[device] = need.get(device, 0.0) + low
    if not need:
        return Room("", True)
    told = [f"{format_bytes(int(need[name]))} at least, of {format_bytes(free[name])} {name} free" for name in need]
    fits, words = all(need[name] <= free[name] for name in need), f"Together {' and '.join(told)}"
    return Room(words if fits else f"{words}: ask one after the other", fits)
