"""What the playground shows where there is no engine to talk to: nothing loaded, one being loaded, one that failed."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QFontMetricsF, QHideEvent, QResizeEvent, QShowEvent, QTextOption
from PySide6.QtWidgets import (
    QFrame,
    QPlainTextEdit,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.ui.models.engines import read_first_rows
from workbench.ui.models.room import Loading
from workbench.ui.session import Session
from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, button, column, figure, label, row, set_sign

DEMO_TEXT = "The demo engine needs no GPU; its small model is fetched once."
_TICK_MS = 500
_CARD_WIDTH = 620
_MOST_LINES = 8
_FRAMES = 6
"""Both frames of a text field that has the focus, and room for rounding."""


def loading_words(loading: Loading) -> str:
    """The step of loading as a sentence's beginning: `Compile the model, 40 %`."""
    words = loading.step.words.strip() or "loading"
    words = words[0].upper() + words[1:]
    share = loading.step.share
    return words if share is None else f"{words}, {100 * min(max(share, 0.0), 1.0):.0f} %"


def seconds_words(seconds: float) -> str:
    """`8 s`, `2 min 05 s`."""
    whole = max(0, int(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def anything_built(home: Home) -> bool:
    """Whether the store remembers an engine. Reads the disk."""
    return bool(read_first_rows(home).rows)


class Evidence(QPlainTextEdit):
    """The line or value that shows what happened: mono, wrapped anywhere, as high as it needs up to some lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setFont(mono_font(SMALL))
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("What shows it")
        self.document().setDocumentMargin(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_text(self, text: str) -> None:
        self.setPlainText(text)
        self.setVisible(bool(text))
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        lines = min(max(1, int(self.document().size().height())), _MOST_LINES)
        line_px = QFontMetricsF(self.font()).lineSpacing()
        self.setFixedHeight(math.ceil(lines * line_px + 2 * self.document().documentMargin()) + _FRAMES)


class FailureText(QWidget):
    """A failure to be read and copied: what happened, what shows it, what to do. `code` is that of the shown one."""

    def __init__(self) -> None:
        super().__init__()
        self.code = ""
        self.what = label("", "", wrap=True, selectable=True)
        self.what.setAccessibleName("What happened")
        self.evidence = Evidence()
        self.fix = label("", "text2", wrap=True, selectable=True)
        self.fix.setAccessibleName("What to do")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        for part in (self.what, self.evidence, self.fix):
            layout.addWidget(part)

    def show_failure(self, failure: Failure) -> None:
        self.code = failure.code
        self.what.setText(failure.what)
        self.evidence.show_text(failure.evidence)
        self.fix.setText(failure.fix)
        self.fix.setVisible(bool(failure.fix))
        self.setAccessibleDescription(" ".join(failure.lines()))


class LoadingCard(QFrame):
    """An engine that is being loaded: which, how far, for how long, and how to stop it."""

    stopped = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "card")
        self._id = ""
        self._since_s = 0.0
        self.title = label("", "name", wrap=True)
        self.elapsed = figure("", role="text2")
        self.elapsed.setAccessibleName("Time since loading began")
        self.words = label("", "text2", wrap=True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("How far the engine is loaded")
        self.stop_button = button("Stop loading", self.stopped.emit, icon_name="stop")
        self.stop_button.setAutoDefault(False)
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._tick)
        head = row(self.title, self.elapsed)
        head.layout().setStretch(0, 1)
        foot = row(self.words, self.stop_button)
        foot.layout().setStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 12, MARGIN, 12)
        layout.setSpacing(GAP)
        for part in (head, self.bar, foot):
            layout.addWidget(part)

    def show_loading(self, loading: Loading) -> None:
        if loading.id != self._id:
            self._id, self._since_s = loading.id, time.monotonic()
        words = loading_words(loading)
        self.title.setText(f"Loading {loading.name}")
        self.words.setText(words)
        share = loading.step.share
        if share is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(int(1000 * min(max(share, 0.0), 1.0)))
        self.setAccessibleName(f"Loading {loading.name}")
        self.setAccessibleDescription(words)
        self._tick()

    def _tick(self) -> None:
        self.elapsed.setText(seconds_words(time.monotonic() - self._since_s))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._tick()
        self._clock.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._clock.stop()


class FailureCard(QFrame):
    """Why an engine is not there (any more), and what can be done."""

    asked_again = Signal(object)
    asked_log = Signal()
    explained = Signal(str)
    closed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "card")
        self._path: Path | None = None
        self._sign = label()
        self.title = label("", "name", wrap=True)
        self.text = FailureText()
        self.again = button("Load again", lambda: self.asked_again.emit(self._path), icon_name="refresh", primary=True)
        self.log = button("Open the engine's log", self.asked_log.emit, icon_name="script")
        self.more = button(
            "Read more",
            lambda: self.explained.emit(self.text.code),
            icon_name="help",
            name="Read more in the user guide",
        )
        self.close_button = button("Close", self.closed.emit)
        head = row(self._sign, self.title)
        head.layout().setStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 12, MARGIN, MARGIN)
        layout.setSpacing(12)
        layout.addWidget(head)
        layout.addWidget(self.text)
        layout.addWidget(row(self.again, self.log, self.more, None, self.close_button))

    def show_failure(self, name: str, failure: Failure, path: Path | None = None, *, died: bool = False) -> None:
        """`died`: it was loaded and its host is gone; else it could not be loaded. Without a path: not again."""
        self._path = path
        set_sign(self._sign, "error", "err")
        self.title.setText(f"{name} ended" if died else f"{name} could not be loaded")
        self.text.show_failure(failure)
        self.again.setVisible(path is not None)
        self.setAccessibleName(self.title.text())
        self.setAccessibleDescription(" ".join(failure.lines()))


class NothingFace(QWidget):
    """No engine is loaded: the one thing to do next."""

    def __init__(self) -> None:
        super().__init__()
        self.sentence = label("Load an engine to talk to it.", "title", wrap=True)
        self.detail = label("", "text2", wrap=True)
        self.load = button("Load an engine\N{HORIZONTAL ELLIPSIS}", icon_name="play", primary=True)
        self.demo = button("Build the demo engine", icon_name="play", primary=True)
        for made in (self.load, self.demo):
            made.setMinimumHeight(34)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(GAP)
        layout.addStretch(1)
        for text in (self.sentence, self.detail):
            text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            layout.addWidget(text)
        layout.addSpacing(GAP)
        layout.addWidget(row(None, self.load, self.demo, None))
        layout.addStretch(1)
        self.show_built(True)

    def show_built(self, built: bool) -> None:
        """Offer to load an engine, or to build the demo where there is none."""
        self.detail.setText("" if built else f"Nothing was built yet. {DEMO_TEXT}")
        self.detail.setVisible(not built)
        self.load.setVisible(built)
        self.demo.setVisible(not built)
        self.setAccessibleName(self.sentence.text())
        self.setAccessibleDescription(self.detail.text())

    @property
    def offered(self) -> QWidget:
        """The button to press next."""
        return self.demo if self.load.isHidden() else self.load


class EngineFace(QStackedWidget):
    """The page's faces without an engine. With a session it looks itself whether an engine was built."""

    asked_load = Signal()
    asked_demo = Signal()
    asked_again = Signal(object)
    """The engine's folder (Path): load it again."""
    asked_stop = Signal()
    asked_log = Signal()
    explained = Signal(str)
    """A failure's code: read more of it."""
    closed = Signal()
    """The failure was read and put away; nothing is shown instead."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__()
        self._session = session
        self.nothing, self.loading, self.failure = NothingFace(), LoadingCard(), FailureCard()
        self.nothing.load.clicked.connect(lambda: self.asked_load.emit())
        self.nothing.demo.clicked.connect(lambda: self.asked_demo.emit())
        self.loading.stopped.connect(self.asked_stop)
        self.failure.asked_again.connect(self.asked_again)
        self.failure.asked_log.connect(self.asked_log)
        self.failure.explained.connect(self.explained)
        self.failure.closed.connect(self._put_away)
        self._faces = [self.nothing, _centred(self.loading), _centred(self.failure)]
        for face in self._faces:
            self.addWidget(face)

    def show_nothing(self, built: bool | None = None) -> None:
        """No engine is loaded. `built`: whether there is one to load; None: look, where there is a session."""
        self.setCurrentIndex(0)
        if built is not None:
            self.nothing.show_built(built)
        elif self._session is not None:
            look = partial(anything_built, self._session.home)
            self._session.tasks.run(look, self.nothing.show_built, lambda _: None, key=f"built-{id(self)}")

    def show_loading(self, loading: Loading) -> None:
        """Call it at each step; the seconds run by themselves."""
        self.loading.show_loading(loading)
        self.setCurrentIndex(1)

    def show_failure(self, name: str, failure: Failure, path: Path | None = None, *, died: bool = False) -> None:
        self.failure.show_failure(name, failure, path, died=died)
        self.setCurrentIndex(2)

    def take_focus(self) -> None:
        """The keyboard goes to what is to be done next."""
        (self.nothing.offered, self.loading.stop_button, self.failure.again)[self.currentIndex()].setFocus()

    def _put_away(self) -> None:
        self.show_nothing()
        self.closed.emit()


def _centred(card: QFrame) -> QScrollArea:
    """A card in the middle of the page, which scrolls where the page is too small for it."""
    card.setMaximumWidth(_CARD_WIDTH)
    across = row(card, margins=(MARGIN, MARGIN, MARGIN, MARGIN))
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(column(None, across, None, gap=0))
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return area
