"""The left side: the engine, the three ways to deploy it, the form of the chosen way, and the command that does it."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import join

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QButtonGroup, QFrame, QPushButton, QScrollArea, QStackedWidget, QVBoxLayout, QWidget

from workbench.ui.pages.deploy.engine import EngineCard
from workbench.ui.widgets.basics import GAP, MARGIN, button, column, icon_button, label, row, rule, segments
from workbench.ui.widgets.text_block import TextBlock

SERVE, TRITON, LAUNCH = "serve", "triton", "launch"
WAYS = (
    (SERVE, "Serve here", "An OpenAI-compatible server on this machine"),
    (TRITON, "Triton", "A model repository for Triton's TensorRT-LLM backend"),
    (LAUNCH, "Launch folder", "One folder that runs the engine elsewhere"),
)
WIDTH, NARROW = 432, 412


class _Faces(QStackedWidget):
    """As high as the face that is shown: a stack is else as high as its highest."""

    def fit(self) -> None:
        for number in range(self.count()):
            face = self.widget(number)
            policy = face.sizePolicy()
            shown = number == self.currentIndex()
            policy.setVerticalPolicy(policy.Policy.Preferred if shown else policy.Policy.Ignored)
            face.setSizePolicy(policy)
        self.updateGeometry()


class Left(QFrame):
    """`way_changed` with one of serve, triton, launch; `started`: Start was pressed; `copied` with words."""

    way_changed = Signal(str)
    started = Signal()
    copied = Signal(str)

    def __init__(self, forms: dict[str, QWidget]) -> None:
        super().__init__()
        self.setProperty("surface", "bg")
        self.engine = EngineCard()
        self._group = QButtonGroup(self)
        self.way_buttons: dict[str, QPushButton] = {}
        for place, (way, words, tip) in enumerate(WAYS):
            made = QPushButton(words)
            made.setAccessibleName(f"Deploy as: {words}")
            made.setToolTip(tip)
            made.setAutoDefault(False)
            self._group.addButton(made, place)
            self.way_buttons[way] = made
        ways = segments(list(self.way_buttons.values()))
        for made in self.way_buttons.values():
            ways.layout().setStretchFactor(made, 1)
        self.forms = forms
        self.faces = _Faces()
        for way, _, _ in WAYS:
            self.faces.addWidget(forms[way])
        inside = column(self.engine, ways, self.faces, None, gap=MARGIN, margins=(MARGIN, MARGIN, MARGIN, MARGIN))
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        self.area = area
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(area, 1)
        self.foot = column(rule(), self._foot(), gap=0)
        layout.addWidget(self.foot)
        self._group.idToggled.connect(lambda place, on: self._take_way(WAYS[place][0]) if on else None)
        self.way_buttons[SERVE].setChecked(True)
        self.faces.fit()

    def _foot(self) -> QWidget:
        made = QFrame()
        made.setProperty("surface", "panel")
        self.problem = label("", "error", wrap=True)
        self.problem.setAccessibleName("What is missing")
        self.command = TextBlock("Command that does the same", 4)
        self.copy_button = icon_button("copy", "Copy the command", self._copy)
        self.head = row(label("Command that does the same", "heading"), None, self.copy_button)
        self.start = button("Start", self.started.emit, icon_name="play", primary=True, name="Start the server")
        self.start.setMinimumHeight(34)
        layout = QVBoxLayout(made)
        layout.setContentsMargins(MARGIN, 10, MARGIN, 12)
        layout.setSpacing(GAP)
        for part in (self.head, self.command, self.problem, self.start):
            layout.addWidget(part)
        return made

    @property
    def way(self) -> str:
        return WAYS[max(0, self._group.checkedId())][0]

    def choose_way(self, way: str) -> None:
        """Show the form of a way."""
        if way in self.way_buttons:
            self.way_buttons[way].setChecked(True)

    def _take_way(self, way: str) -> None:
        if not hasattr(self, "start"):
            return
        self.faces.setCurrentWidget(self.forms[way])
        self.faces.fit()
        self.start.setVisible(way == SERVE)
        self._fit_foot()
        self.area.verticalScrollBar().setValue(0)
        self.way_changed.emit(way)

    def show_command(self, command: Sequence[str]) -> None:
        """It can be done, by this."""
        self.command.say(join(command))
        for part in (self.head, self.command):
            part.setVisible(bool(command))
        self._say("")

    def show_problem(self, words: str) -> None:
        """It cannot be done, and why."""
        self.command.say("")
        for part in (self.head, self.command):
            part.hide()
        self._say(words)

    def _say(self, words: str) -> None:
        self.problem.setText(words)
        self.problem.setVisible(bool(words))
        self.start.setEnabled(not words)
        self.start.setToolTip(words)
        self._fit_foot()

    def _fit_foot(self) -> None:
        """There is no foot where nothing is in it."""
        self.foot.setVisible(not all(part.isHidden() for part in (self.command, self.problem, self.start)))

    def show_starting(self, starting: bool) -> None:
        """A server is being started: no second one meanwhile."""
        self.start.setText("Starting …" if starting else "Start")
        self.start.setEnabled(not starting and not self.problem.text())

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.command.text())
        self.copied.emit("The command is on the clipboard.")
