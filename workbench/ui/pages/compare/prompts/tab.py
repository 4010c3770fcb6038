"""One prompt to all variants: answers side by side, with what differs from the baseline; below, all prompts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics, QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from workbench.bench.own_file import read_own
from workbench.core.measure.comparison import AnswerOf
from workbench.measure.prompting import Room, room_for
from workbench.ui.models.comparing import Comparing
from workbench.ui.models.comparison_view import Shown, Variant
from workbench.ui.pages.compare.prompts.column import AnswerColumn
from workbench.ui.pages.compare.prompts.sampling import SamplingDialog
from workbench.ui.pages.compare.prompts.table import PromptsModel, PromptsTable
from workbench.ui.pages.playground.settings.stops import Flow
from workbench.ui.session import Session
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label, row, rule, segments, surface
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.marker import marker_icon

_MOST_FROM_FILE = 200
_MOST_CHARS = 100_000
_NAME = 120
_WIDE = 1100
"""px from which the verbs stand beside the prompt."""


class PromptsTab(QWidget):
    """Asks through the page's model and shows what it holds."""

    def __init__(self, session: Session, model: Comparing) -> None:
        super().__init__()
        self._session, self._model = session, model
        self._shown: Shown | None = None
        self._number = 0
        """Of the prompt that is shown."""
        self._hidden: set[str] = set()
        self._room: Room | None = None
        self._roomed: tuple[str, ...] = ()
        self._wide: bool | None = None
        self._awaited: dict[tuple[str, int], AnswerOf | None] = {}
        """What is being asked, by variant and prompt, with the answer of before."""
        self._toggled: tuple[tuple[str, int, str], ...] = ()
        """The variants that there are toggles of."""
        self.columns: list[AnswerColumn] = []
        self.sampling = SamplingDialog(self)
        self._make_parts()
        self._lay_out()

    # -- frame

    def _make_parts(self) -> None:
        self.which, self.circumstances, self.room_words = label("", "hint"), label("", "hint"), ElidedLine("hint")
        self.room_words.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.edit = QLineEdit()
        self.edit.setMaxLength(_MOST_CHARS)
        self.edit.setPlaceholderText("A prompt to put to all variants")
        self.edit.setAccessibleName("Prompt")
        self.edit.returnPressed.connect(self.run)
        self.edit.textEdited.connect(lambda _: self._say())
        self.previous = icon_button("chevron-up", "Previous prompt", partial(self.step, -1), flat=False)
        self.next = icon_button("chevron-down", "Next prompt", partial(self.step, 1), flat=False)
        self.file = icon_button("folder", "Prompts from a file", self._ask_file, flat=False)
        self.together, self.one_by_one = QPushButton("Together"), QPushButton("One after the other")
        self.plain, self.differences = QPushButton("Plain"), QPushButton("Differences")
        self._how, self._look = QButtonGroup(self), QButtonGroup(self)
        for group, buttons in (
            (self._how, (self.together, self.one_by_one)),
            (self._look, (self.differences, self.plain)),
        ):
            for each in buttons:
                each.setCheckable(True)
                each.setAccessibleName(each.text())
                group.addButton(each)
        self.one_by_one.setChecked(True)
        self.differences.setChecked(True)
        self._look.buttonToggled.connect(lambda *_: self._show_answers())
        self.sampling_button = button("Sampling", self._ask_sampling, icon_name="settings")
        self.run_all = button("All prompts", self.run_every, tip="Put all prompts to all variants")
        self.run_button = button("Run on all", self.run, icon_name="play", primary=True)
        self.sampling.asked.connect(self._take_sampling)

    def _lay_out(self) -> None:
        self._toggles = Flow(4)
        toggles = QWidget()
        toggles.setLayout(self._toggles)
        shown = row(label("Shown", "hint"), toggles, segments((self.differences, self.plain)))
        shown.layout().setStretch(1, 1)
        first = row(self.which, self.circumstances, self.room_words, gap=MARGIN)
        first.layout().setStretch(2, 1)
        self._line = row(self.edit, self.previous, self.next, self.file)
        self._line.layout().setStretch(0, 1)
        self._tools = row(
            segments((self.together, self.one_by_one)), None, self.sampling_button, self.run_all, self.run_button
        )
        self._asking = QGridLayout()
        self._asking.setContentsMargins(0, 0, 0, 0)
        self._asking.setSpacing(6)
        self._asking.setColumnStretch(0, 1)
        top = surface("bg")
        within = QVBoxLayout(top)
        within.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        within.setSpacing(6)
        within.addWidget(shown)
        within.addWidget(first)
        within.addLayout(self._asking)
        self._across = QHBoxLayout()
        self._across.setContentsMargins(MARGIN, 12, MARGIN, 12)
        self._across.setSpacing(12)
        inside = QWidget()
        inside.setLayout(self._across)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(inside)
        self.area = area
        self.model = PromptsModel(self)
        self.table = PromptsTable(self.model)
        self.table.prompt_chosen.connect(self.show_prompt)
        area.setMinimumHeight(200)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for part in (top, rule(), area, self.table):
            layout.addWidget(part)
        layout.setStretch(2, 1)
        self._arrange()
        theme().changed.connect(self._recolour)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        """The verbs stand beside the prompt where there is room."""
        wide = self.width() >= _WIDE
        if wide == self._wide:
            return
        self._wide = wide
        for part in (self._line, self._tools):
            self._asking.removeWidget(part)
        self._asking.addWidget(self._line, 0, 0)
        self._asking.addWidget(self._tools, *((0, 1) if wide else (1, 0)))
        self._asking.setHorizontalSpacing(MARGIN if wide else 0)

    def _recolour(self) -> None:
        if self._shown is not None:
            self._toggled = ()
            self._show_columns(tuple(column.variant for column in self.columns))

    # -- what is shown

    def show_shown(self, shown: Shown) -> None:
        before = self._shown
        self._shown = shown
        asked = tuple(one for one in shown.variants if not one.subject.simulated)
        self._show_columns(asked)
        self.model.take(shown, self._model.prompts, tuple(one for one in asked if not one.is_baseline))
        self.table.setVisible(bool(self._model.prompts))
        if before is None or self._number >= len(self._model.prompts):
            self._number = 0
        if before is None or before.head.id != shown.head.id:
            self.show_prompt(self._number)
        self.table.choose(self._number)
        self._show_answers()
        self._ask_room(asked)
        self._say()

    def _show_columns(self, variants: tuple[Variant, ...]) -> None:
        """A column a variant; those that are there already stay, with what was selected in them."""
        ids = [one.id for one in variants]
        if [column.variant.id for column in self.columns] != ids:
            for column in self.columns:
                self._across.removeWidget(column)
                column.hide()
                column.deleteLater()
            self.columns = [AnswerColumn(one) for one in variants]
            for column in self.columns:
                self._across.addWidget(column)
        for column, variant in zip(self.columns, variants, strict=True):
            column.show_variant(variant)
            column.setVisible(variant.id not in self._hidden)
        named = tuple((one.id, one.slot, one.subject.name) for one in variants)
        if named == self._toggled:
            return  # they keep the keyboard and the mouse while a measuring tells its news
        self._toggled = named
        while self._toggles.count():
            item = self._toggles.takeAt(0)
            if item is not None and (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        for variant in variants:
            self._toggles.addWidget(self._toggle(variant))

    def _toggle(self, variant: Variant) -> QPushButton:
        made = QPushButton()
        made.setProperty("small", True)
        made.setCheckable(True)
        made.setIcon(marker_icon(variant.slot))
        name = variant.subject.name
        made.setText(QFontMetrics(made.font()).elidedText(name, Qt.TextElideMode.ElideMiddle, _NAME).replace("&", "&&"))
        made.setToolTip(name)
        made.setAccessibleName(f"Show the answers of {name}")
        made.setChecked(variant.id not in self._hidden)
        made.toggled.connect(partial(self._show_variant, variant.id))
        return made

    def _show_variant(self, subject_id: str, on: bool) -> None:
        (self._hidden.discard if on else self._hidden.add)(subject_id)
        for column in self.columns:
            column.setVisible(column.variant.id not in self._hidden)
        if self._shown is not None:
            self._roomed = ()
            self._ask_room(tuple(column.variant for column in self.columns))

    def show_prompt(self, number: int) -> None:
        """Show a prompt of the comparison and the answers to it."""
        prompts = self._model.prompts
        if prompts:
            self._number = min(max(number, 0), len(prompts) - 1)
            self.edit.setText(prompts[self._number])
            self.edit.setCursorPosition(0)
        self.table.choose(self._number)
        for column in self.columns:
            if (column.variant.id, self._number) in self._awaited:
                column.stream("")
        self._show_answers()
        self._say()

    def step(self, by: int) -> None:
        """To the previous or the next prompt."""
        self.show_prompt(self._number + by)

    def stream(self, subject: str, prompt: int, text: str) -> None:
        """An answer so far; those to another prompt are not shown."""
        if prompt == self._number:
            for column in self.columns:
                if column.variant.id == subject:
                    column.stream(text)

    def set_running(self, running: bool) -> None:
        if not running:
            self._awaited = {}
        self._say()

    def _show_answers(self) -> None:
        shown = self._shown
        if shown is None:
            return
        for column in self.columns:
            subject = column.variant.id
            answer = shown.answer(subject, self._number)
            asked = (subject, self._number)
            if asked in self._awaited and answer is self._awaited[asked]:
                continue  # it waits or streams: an answer of before is not shown again meanwhile
            column.show_answer(answer, shown.diffs.get((subject, self._number)), plain=self.plain.isChecked())

    def _say(self) -> None:
        """Words and what can be done now."""
        prompts, running = self._model.prompts, self._model.running
        text = self.edit.text().strip()
        known = text in prompts
        self.which.setText(f"Prompt {self._number + 1} of {len(prompts)}" if known and prompts else "New prompt")
        sampling = self._model.settings.sampling
        warm = f"Temperature {sampling.temperature or 0:g}"
        self.circumstances.setText(f"{warm}, seed {sampling.seed or 0}, max. {sampling.max_tokens} tokens")
        fits = self._room is None or self._room.fits is not False
        self.together.setEnabled(fits)
        self.together.setToolTip("" if fits or self._room is None else self._room.words)
        if not fits and self.together.isChecked():
            self.one_by_one.setChecked(True)
        self.room_words.say(self._room.words if self._room is not None else "")
        self.previous.setEnabled(self._number > 0)
        self.next.setEnabled(self._number + 1 < len(prompts))
        free = self._model.free
        self.run_button.setEnabled(free and bool(text))
        self.run_all.setEnabled(free and len(prompts) > 1)
        refusal = None if running else self._session.refuse_measuring()
        busy = refusal.what if refusal is not None else ""
        self.run_button.setToolTip(busy)
        self.run_all.setToolTip(busy or "Put all prompts to all variants")
        self.run_all.setVisible(len(prompts) > 1)
        self.sampling_button.setEnabled(not running)

    def _ask_room(self, variants: tuple[Variant, ...]) -> None:
        """Whether all that are shown fit together; asked when they change."""
        subjects = tuple(one.subject for one in variants if one.id not in self._hidden)
        paths = tuple(subject.path for subject in subjects)
        if paths != self._roomed:
            self._roomed = paths
            work = partial(room_for, self._session.home, subjects)
            self._session.tasks.run(work, self._take_room, lambda _: None, key="compare.room")

    def _take_room(self, room: Room) -> None:
        self._room = room
        self._say()

    # -- verbs

    def run(self) -> None:
        """Put the prompt to all variants that are shown."""
        text = self.edit.text().strip()
        if not text or not self._model.free:
            return
        if text not in self._model.prompts:
            self._number = self._model.add_prompts([text])
        else:
            self._number = self._model.prompts.index(text)
        self._run([self._number])

    def run_every(self) -> None:
        """Put all prompts to all variants that are shown."""
        self._run(list(range(len(self._model.prompts))))

    def _run(self, numbers: list[int]) -> None:
        if not self._model.free:
            return
        subjects = [column.variant.id for column in self.columns if column.variant.id not in self._hidden]
        shown = self._shown
        self._awaited = {
            (name, number): shown.answer(name, number) if shown is not None else None
            for name in subjects
            for number in numbers
        }
        for column in self.columns:
            if column.variant.id in subjects and self._number in numbers:
                column.stream("")
        together = self.together.isChecked()
        self._model.ask(numbers, subjects, self._model.settings.sampling, together=together)

    def _ask_sampling(self) -> None:
        self.sampling.ask(self._model.settings.sampling)

    def _take_sampling(self, sampling: object) -> None:
        self._model.set_sampling(sampling)
        self._say()

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Prompts", "", "Prompts (*.txt *.jsonl)")
        if path:
            self.read_file(Path(path))

    def read_file(self, path: Path) -> None:
        """Take the prompts of a text or JSONL file in."""

        def read() -> tuple[str, ...]:
            own, _ = read_own(path)
            texts = (each.text or (each.messages[-1].content if each.messages else "") for each in own)
            return tuple(text.strip() for text in texts if text.strip())[:_MOST_FROM_FILE]

        self._session.tasks.run(read, self._take_file, self._session.notices.fail)

    def _take_file(self, texts: tuple[str, ...]) -> None:
        if texts and not self._model.running:
            self._number = self._model.add_prompts(texts)
            self.show_prompt(self._number)
