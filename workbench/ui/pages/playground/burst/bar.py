"""The burst's controls in the composer's line: how many requests, of which prompts, and off they go."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QSizePolicy, QSpinBox, QWidget

from workbench.core.errors import BadInputError, Failure
from workbench.core.home import Home
from workbench.jobs.burst import MOST_REQUESTS, SUFFIXES, Prompt, read_prompts
from workbench.store.prompts import read_prompts as read_saved
from workbench.ui.session import Session
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import button, label, set_icon
from workbench.ui.widgets.editors import number_words
from workbench.ui.widgets.search_box import Choice

COUNT_KEY, FILES_KEY = "burst_count", "burst_files"
_MOST_FILES = 5
_FIRST_COUNT = 16
_SEND = "Send burst"
_SPACE = 6
_LEAST, _FIT, _MOST, _ICON_ONLY = 80, 118, 150, 44
MESSAGE, SAVED, OTHER = "message", "saved", "other"
_THIS, _SAVED, _OTHER = "this message", "saved prompts", "From a file\u2026"


class _Number(QSpinBox):
    """The wheel scrolls the page and changes no number."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


class BurstBar(QWidget):
    """`asked` is sent with the number of requests, the prompts (a tuple of Prompt; None: the message that stands in the
    composer) and where they are from, in words. Prompts are read again each time, off the GUI thread.
    """

    asked = Signal(int, object, str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._reading = False
        self._why_not = ""
        self._choice = 0
        self.count = _Number()
        self.count.setRange(1, MOST_REQUESTS)
        self.count.setValue(_whole(session.state.get(COUNT_KEY), _FIRST_COUNT))
        self.count.setFont(mono_font())
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.count.setFixedWidth(40)
        self.count.setAccessibleName("Requests in the burst")
        self.count.setToolTip(f"1 to {MOST_REQUESTS} requests at once")
        self.count.valueChanged.connect(lambda value: session.state.put(COUNT_KEY, value))
        self.source = Choice()
        self.source.setAccessibleName("Prompts of the burst")
        self.source.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.source.setMinimumContentsLength(14)
        self.source.setMinimumWidth(_LEAST)
        self.source.setMaximumWidth(_MOST)
        self.source.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.source.activated.connect(self._chosen)
        self.send = button(_SEND, self.ask, icon_name="burst")
        kept = session.state.get(FILES_KEY)
        self._files = [one for one in kept if isinstance(one, str)][:_MOST_FILES] if isinstance(kept, list) else []
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(_SPACE)
        self._words = label("Burst", "text2")
        self._words.setBuddy(self.count)
        self._words.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        for part in (self._words, self.count, self.source, self.send):
            layout.addWidget(part)
        self.send.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        fixed, height = self.count.width() + 2 * _SPACE, layout.sizeHint().height()
        self._with_text = fixed + _FIT + self.send.sizeHint().width()
        self._with_all = self._with_text + _SPACE + self._words.sizeHint().width()
        self._least = QSize(fixed + _LEAST + _ICON_ONLY, height)
        self._full = QSize(self._with_all + _MOST - _FIT, height)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        self._fill(0)
        self._show_ready()

    def minimumSizeHint(self) -> QSize:
        return self._least

    def sizeHint(self) -> QSize:
        return self._full

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room the word before it goes, then the one in the button."""
        super().resizeEvent(event)
        self._words.setVisible(self.width() >= self._with_all)
        text = _SEND if self.width() >= self._with_text else ""
        if text != self.send.text():
            self.send.setText(text)
            set_icon(self.send, "burst", "text2")

    @property
    def source_words(self) -> str:
        """Where the prompts are from."""
        return self.source.itemText(self._choice)

    @property
    def can_ask(self) -> bool:
        return not self._why_not and not self._reading

    def set_ready(self, why_not: str = "") -> None:
        """Let bursts be sent, or say why none can be."""
        self._why_not = why_not
        self._show_ready()

    def ask(self) -> None:
        """Send `asked`, after the prompts were read."""
        if not self.can_ask:
            return
        self.count.interpretText()
        kind, count = self.source.itemData(self._choice), self.count.value()
        words = self.source_words
        if kind == MESSAGE:
            self.asked.emit(count, None, words)
            return
        read = partial(_saved, self._session.home) if kind == SAVED else partial(read_prompts, Path(kind))
        self._read(read, lambda prompts: self.asked.emit(count, prompts, words))

    def choose_file(self, path: Path) -> None:
        """Take the prompts from a file from now on, if they can be read."""
        self._read(partial(read_prompts, path), partial(self._take_file, path))

    def _chosen(self, place: int) -> None:
        if self.source.itemData(place) != OTHER:
            self._choice = place
            self._show_tip("")
            return
        self.source.setCurrentIndex(self._choice)
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        start = str(Path(self._files[0]).parent) if self._files else ""
        path, _ = QFileDialog.getOpenFileName(self, "Prompts of the burst", start, f"Prompts ({kinds})")
        if path:
            self.choose_file(Path(path))

    def _take_file(self, path: Path, prompts: tuple[Prompt, ...]) -> None:
        self._files = [str(path), *(one for one in self._files if one != str(path))][:_MOST_FILES]
        self._session.state.put(FILES_KEY, list(self._files))
        self._fill(2)
        self._show_tip(f"{number_words(len(prompts))} prompt{'s' if len(prompts) != 1 else ''}")

    def _fill(self, choice: int) -> None:
        self.source.clear()
        self.source.addItem(_THIS, MESSAGE)
        self.source.addItem(_SAVED, SAVED)
        for path in self._files:
            self.source.addItem(Path(path).name, path)
            self.source.setItemData(self.source.count() - 1, path, Qt.ItemDataRole.ToolTipRole)
        self.source.addItem(_OTHER, OTHER)
        self._choice = choice
        self.source.setCurrentIndex(choice)
        self._show_tip("")

    def _show_tip(self, more: str) -> None:
        kind = self.source.itemData(self._choice)
        where = {MESSAGE: f"{_THIS}: what stands in the field", SAVED: f"{_SAVED}: all of them, in their order"}
        tip = ", ".join(part for part in (where.get(kind, str(kind)), more) if part)
        self.source.setToolTip(tip)
        self.source.setAccessibleDescription(tip)

    def _read(self, read: partial[tuple[Prompt, ...]], then: object) -> None:
        self._reading = True
        self._show_ready()
        self._session.tasks.run(read, partial(self._done, then), self._failed)

    def _done(self, then: object, prompts: tuple[Prompt, ...]) -> None:
        self._reading = False
        self._show_ready()
        assert callable(then)
        then(prompts)

    def _failed(self, failure: Failure) -> None:
        self._reading = False
        self._show_ready()
        self._session.notices.fail(failure)

    def _show_ready(self) -> None:
        self.send.setEnabled(self.can_ask)
        tip = self._why_not or ("Reading the prompts \u2026" if self._reading else "")
        self.send.setToolTip(tip or f"{_SEND}: the same or several prompts at once")
        self.send.setAccessibleDescription(tip)


def _saved(home: Home) -> tuple[Prompt, ...]:
    """The saved prompts that have a text. Raises BadInputError when there is none."""
    found = tuple(
        Prompt(prompt.text, system=prompt.system or None) for prompt in read_saved(home) if prompt.text.strip()
    )
    if not found:
        raise BadInputError("There is no saved prompt yet.", fix="Save a prompt first: Saved prompts.", code="empty")
    return found


def _whole(value: object, otherwise: int) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_REQUESTS
    return value if fits and isinstance(value, int) else otherwise
