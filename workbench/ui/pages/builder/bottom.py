"""The bar under the form: the exact commands, and the verbs Build, several precisions, save as preset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout

from workbench.core.target import Target
from workbench.core.units import format_bytes
from workbench.ui.models.preflight import Command
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, row, rule
from workbench.ui.widgets.command_box import CommandBox
from workbench.ui.widgets.search_box import Choice

MAKES = (
    ("Engine", "", "All steps: convert, quantize, build, verify"),
    ("Checkpoint only", "quantize", "Stop before the build; checkpoints can be made without the GPU"),
)
"""What to make: words, the last step, and what that means."""


class BottomBar(QFrame):
    """Shows commands and what keeps Build from starting; the page does what its buttons say."""

    def __init__(
        self,
        build: Callable[[], None],
        anyway: Callable[[], None],
        several: Callable[[], None],
        save_preset: Callable[[], None],
        copy: Callable[[], None],
        save_script: Callable[[], None],
        stop: Callable[[], None],
        make: Callable[[], None],
    ) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self.about = label("", "hint")
        self.copy = button("Copy", copy, icon_name="copy", small=True, name="Copy the commands")
        self.script = button("Save as script", save_script, icon_name="script", small=True)
        self.box = CommandBox()
        self.box.setFont(mono_font(12))
        self.save_preset = button("Save as preset", save_preset, icon_name="save", small=True)
        self.make = Choice()
        for words, until, tip in MAKES:
            self.make.addItem(words, until)
            self.make.setItemData(self.make.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.make.setAccessibleName("What to make")
        self.make.setToolTip("Where to stop")
        self.make.currentIndexChanged.connect(lambda _: make())
        self.where = Choice()
        self.where.addItem("This machine", "")
        self.where.setAccessibleName("Run on")
        self.where.setToolTip("The machine that the steps run on: `workbench target add` adds one")
        self.where.currentIndexChanged.connect(lambda _: make())
        self.where.hide()
        self._target = ""
        self.several = button("Build in several precisions…", several)
        self.anyway = button("Build anyway", anyway, small=True, tip="Only an estimate objects; you may know better")
        self.build: QPushButton = button("Build", build, icon_name="play", primary=True)
        self.build.setMinimumWidth(96)
        self.build.setToolTip("Ctrl+Return")
        self.why = label("", "small", wrap=True)
        self.why.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for one in (self.copy, self.script, self.save_preset):
            one.setProperty("flat", True)
        self.reading = label("", "text2")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Reading the model's files")
        self.stop = button("Cancel", stop, small=True, name="Stop reading the model's files")
        self.progress = row(self.reading, self.bar, self.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(rule())
        inner = QVBoxLayout()
        inner.setContentsMargins(MARGIN, GAP, MARGIN, 12)
        inner.setSpacing(6)
        inner.addWidget(row(label("Commands", "heading"), self.about, None, self.copy, self.script, self.save_preset))
        inner.addWidget(self.box)
        inner.addWidget(self.progress)
        objection = QHBoxLayout()
        objection.setSpacing(GAP)
        objection.addWidget(self.why, 1)
        objection.addWidget(self.anyway)
        inner.addLayout(objection)
        verbs = QHBoxLayout()
        verbs.setSpacing(GAP)
        verbs.addStretch(1)
        for one in (self.several, self.make, self.where, self.build):
            verbs.addWidget(one)
        inner.addLayout(verbs)
        layout.addLayout(inner)
        self.show_reading(None, None)
        self.anyway.hide()

    @property
    def until(self) -> str:
        """The last step that is wanted; empty: all."""
        return str(self.make.currentData() or "")

    def set_until(self, until: str) -> None:
        self.make.setCurrentIndex(max(self.make.findData(until), 0))

    @property
    def target(self) -> str:
        """The target that the steps are to run on; empty: this machine."""
        return str(self.where.currentData() or "")

    def set_target(self, name: str) -> None:
        """Choose a target; one that is not known yet is chosen once it is."""
        self._target = name
        self.where.setCurrentIndex(max(self.where.findData(name), 0))

    def set_targets(self, targets: Sequence[Target]) -> None:
        """The targets that there are; the chosen one stays, as long as it is among them."""
        chosen = self.target or self._target
        blocked = self.where.blockSignals(True)
        before = self.target
        while self.where.count() > 1:
            self.where.removeItem(1)
        for target in targets:
            self.where.addItem(f"On {target.name}", target.name)
            self.where.setItemData(self.where.count() - 1, target.words, Qt.ItemDataRole.ToolTipRole)
        self.where.setCurrentIndex(max(self.where.findData(chosen), 0))
        self.where.blockSignals(blocked)
        self.where.setVisible(bool(targets))
        if self.target != before:
            self.where.currentIndexChanged.emit(self.where.currentIndex())

    def show_commands(self, commands: Sequence[Command], why_none: str = "") -> None:
        """The command line that builds the same, and the tools that it runs."""
        tools = len(commands) - 1 if not why_none else 0
        words = (
            f"runs {tools} of the toolchain's own programs" if tools > 1 else "runs this program" if tools == 1 else ""
        )
        self.about.setText(why_none or words)
        self.box.set_lines([command.text for command in commands])
        self.copy.setEnabled(bool(commands))
        self.script.setEnabled(bool(commands) and not why_none)

    def show_ready(self, ready: bool, why_not: str, *, may_anyway: bool) -> None:
        """Whether Build can start, and else why not, in a few words."""
        self.build.setEnabled(ready)
        self.several.setEnabled(ready or may_anyway)
        self.anyway.setVisible(may_anyway)
        self.anyway.setEnabled(may_anyway)
        self.why.setText(why_not)
        self.why.setVisible(bool(why_not))

    def wait(self) -> None:
        """An answer is awaited: nothing can be started, and what is said stays until then."""
        for one in (self.build, self.several, self.anyway, self.copy, self.script):
            one.setEnabled(False)

    def show_reading(self, done: int | None, total: int | None) -> None:
        """How far the model's files are read; None takes it away."""
        self.progress.setVisible(done is not None)
        if done is not None and total:
            self.reading.setText(f"Reading the model's files: {format_bytes(done)} of {format_bytes(total)}")
            self.bar.setRange(0, 1000)
            self.bar.setValue(int(done / total * 1000))
        elif done is not None:
            self.reading.setText("Reading the model's files")
            self.bar.setRange(0, 0)
