"""The settings column: what is wrong is said in words, Reset ends all of it, and numbers are read from their front."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from workbench.core.preset_fields import fields_by_path
from workbench.ui.pages.playground.settings.runtime import PoolSize, RuntimePanel
from workbench.ui.pages.playground.settings.sampling import SamplingPanel


@pytest.fixture
def panel(qtbot: QtBot) -> SamplingPanel:
    made = SamplingPanel()
    qtbot.addWidget(made)
    made.resize(276, 600)
    made.show()
    return made


def asked(panel: SamplingPanel) -> list[int]:
    """An entry for each time that the panel tells of a change."""
    times: list[int] = []
    panel.changed.connect(lambda: times.append(1))
    return times


def test_reset_leaves_nothing_wrong_and_nothing_off(panel: SamplingPanel, qtbot: QtBot) -> None:
    panel.seed.selectAll()
    qtbot.keyClicks(panel.seed, "12x")
    qtbot.mouseClick(panel.logprobs, Qt.MouseButton.LeftButton)
    panel.rows["top_p"].edit.setText("7")
    assert not panel.logprobs.isChecked() and panel.check()
    times = asked(panel)
    panel.reset()
    assert times == [1] and panel.check() == ""
    assert panel.sampling().logprobs and not panel.keep_seed.isChecked()
    panel.seed.setText("12x")
    qtbot.mouseClick(panel.draw_button, Qt.MouseButton.LeftButton)
    assert times == [1, 1] and panel.check() == ""


def test_a_key_tells_of_one_change(panel: SamplingPanel, qtbot: QtBot) -> None:
    times = asked(panel)
    panel.seed.selectAll()
    qtbot.keyClicks(panel.seed, "7")
    assert times == [1] and panel.keep_seed.isChecked()
    panel.rows["top_p"].edit.selectAll()
    qtbot.keyClicks(panel.rows["top_p"].edit, "1")
    assert times == [1, 1]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("temperature", "nan", "Temperature must be a number."),
        ("temperature", "99", "Temperature is from 0 to 10; 99 is not."),
        ("temperature", "1e400", "Temperature is too large."),
        ("repetition_penalty", "much", "Repetition penalty must be a number."),
        ("max_tokens", "1.5", "Max tokens must be a whole number."),
    ],
)
def test_what_is_wrong_is_a_sentence_at_its_field(panel: SamplingPanel, name: str, text: str, words: str) -> None:
    panel.rows[name].edit.setText(text)
    assert panel.check() == words and panel.rows[name].problem.text() == words
    assert panel.rows[name].edit.accessibleDescription() == words


def test_long_numbers_are_shown_from_their_front(panel: SamplingPanel, qtbot: QtBot) -> None:
    panel.restore({"seed": "4294967295"})
    assert panel.seed.cursorPosition() == 0
    panel.draw_seed()
    assert panel.seed.cursorPosition() == 0
    pool = PoolSize()
    qtbot.addWidget(pool)
    pool.set_values({"kv_blocks": 123_456_789_012})
    assert pool.editors["kv_blocks"].edit.cursorPosition() == 0  # type: ignore[attr-defined]


def test_one_term_for_the_tokens_of_a_pass(qtbot: QtBot) -> None:
    made = RuntimePanel()
    qtbot.addWidget(made)
    path = ("runtime", "max_num_batched_tokens")
    name, editor = made._lines[path]
    assert name.text() == fields_by_path()[path].title == "Tokens per pass"  # type: ignore[attr-defined]
    assert editor.focusProxy().accessibleName() == "Tokens per pass, tokens"
