"""Background work: answers on the GUI thread, the last question wins, failures in words, a quiet end."""

from __future__ import annotations

import threading
import time

from pytestqt.qtbot import QtBot

from workbench.core.errors import BadInputError, Failure
from workbench.ui.bridge import Poll, Tasks


def test_answers_come_on_the_gui_thread(qtbot: QtBot) -> None:
    tasks = Tasks()
    seen: list[tuple[int, int]] = []
    tasks.run(threading.get_ident, lambda worker: seen.append((worker, threading.get_ident())))
    qtbot.waitUntil(lambda: bool(seen))
    worker, here = seen[0]
    assert worker != here and here == threading.get_ident()
    assert tasks.busy == 0 and tasks.close()


def test_the_last_question_wins(qtbot: QtBot) -> None:
    tasks, answers, gate = Tasks(), [], threading.Event()

    def slow() -> str:
        gate.wait(5)
        return "old"

    tasks.run(slow, answers.append, key="check")
    tasks.run(lambda: "new", answers.append, key="check")
    tasks.run(lambda: "other", answers.append, key="another")
    qtbot.waitUntil(lambda: len(answers) == 2)
    gate.set()
    qtbot.waitUntil(lambda: tasks.busy == 0)
    assert sorted(answers) == ["new", "other"]
    assert tasks.close()


def test_failures_are_words_and_never_a_traceback(qtbot: QtBot) -> None:
    tasks, failures = Tasks(), []

    def bad() -> None:
        raise BadInputError("The folder is gone.", evidence="/models/x", fix="Choose another.", code="no-model")

    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    tasks.run(bad, None, failures.append)
    tasks.run(broken, None, failures.append)
    qtbot.waitUntil(lambda: len(failures) == 2)
    by_code: dict[str, Failure] = {failure.code: failure for failure in failures}
    assert by_code["no-model"].fix == "Choose another."
    assert "ZeroDivisionError" in by_code["internal"].evidence and "Traceback" not in by_code["internal"].evidence
    assert tasks.close()


def test_nothing_is_delivered_after_the_end(qtbot: QtBot) -> None:
    tasks, answers = Tasks(), []
    tasks.run(lambda: time.sleep(0.2), answers.append)
    assert tasks.close()
    tasks.run(lambda: 1, answers.append)
    qtbot.wait(50)
    assert answers == []


def test_turns_are_taken_one_by_one_on_the_gui_thread_and_end_with_the_window(qtbot: QtBot) -> None:
    tasks = Tasks()
    seen: list[object] = []
    with qtbot.waitSignal(tasks.idle):
        tasks.run_here([lambda: None, lambda: seen.append(tasks.busy), lambda: seen.append(tasks.busy)])
        assert tasks.busy == 3 and not seen
    assert seen == [1, 0]
    tasks.run_here([lambda: seen.append("late")])
    assert tasks.close() and not tasks.busy
    tasks.run_here([lambda: seen.append("later")])
    qtbot.wait(30)
    assert seen == [1, 0]


def test_a_poll_asks_again_tells_changes_alone_and_never_twice_at_once(qtbot: QtBot) -> None:
    tasks, told, asked, running, most = Tasks(), [], [], [], []

    def ask() -> int:
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        asked.append(1)
        running.pop()
        return len(asked) // 3

    poll: Poll[int] = Poll(tasks, ask, 5)
    poll.answered.connect(told.append)
    poll.start()
    poll.now()
    qtbot.waitUntil(lambda: len(asked) >= 7)
    poll.stop()
    qtbot.waitUntil(lambda: tasks.busy == 0)
    assert max(most) == 1
    assert told == sorted(set(told)) and told[0] == 0
    assert tasks.close()
