"""The form's group for the toolchain's own build: the GPUs that it is built for, and the few flags that it has."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QGridLayout, QLabel, QVBoxLayout, QWidget

from workbench.core.preset import Preset
from workbench.core.preset_check import KeyPath
from workbench.ui.models.flag_fields import (
    FIELDS,
    THIS,
    WITH_TARGETS,
    chosen_targets,
    shown,
    target_choices,
    targets_summary,
    with_targets,
    with_value,
)
from workbench.ui.pages.builder.form_row import LABEL_WIDTH, FormRow
from workbench.ui.widgets.basics import GAP, MARGIN, label
from workbench.ui.widgets.editors import NumberEditor
from workbench.ui.widgets.fold import Fold

TITLE = "Build options"
_INDENT = 24
"""px: GPUs stand under the words of their box."""


class TargetsField(QWidget):
    """A box for each kind of GPU, with the names of those that are of it. `changed` is sent with the words chosen."""

    changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.here = ""
        """This machine's GPUs in words; empty: it has none."""
        self.boxes: dict[str, QCheckBox] = {}
        self._hints: dict[str, QLabel] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)

    def show_preset(self, preset: Preset) -> None:
        """Tick what the preset is built for; a kind that cannot have its precision is grey and says why."""
        chosen = chosen_targets(preset)
        for choice in target_choices(preset):
            if choice.word not in self.boxes:
                box, hint = QCheckBox(choice.title), label("", "hint", wrap=True)
                hint.setContentsMargins(_INDENT, 0, 0, 4)
                box.clicked.connect(lambda _: self._clicked())
                self._layout.addWidget(box, 0, Qt.AlignmentFlag.AlignLeft)
                self._layout.addWidget(hint)
                self.boxes[choice.word], self._hints[choice.word] = box, hint
                if self.focusProxy() is None:
                    self.setFocusProxy(box)
            box = self.boxes[choice.word]
            box.setChecked(choice.word in chosen)
            box.setEnabled(not choice.why_not or choice.word in chosen)
            box.setToolTip(choice.why_not or choice.gpus or self.here)
            box.setAccessibleName(f"Build for {choice.title}")
            box.setAccessibleDescription(choice.why_not or choice.gpus)
            here = self.here or "none is in this machine"
            self._hints[choice.word].setText(here if choice.word == THIS else choice.short_why_not or choice.gpus)

    def _clicked(self) -> None:
        self.changed.emit(tuple(word for word, box in self.boxes.items() if box.isChecked()))


class BuildOptions(Fold):
    """Hidden for toolchains that have none. `changed` is sent with the whole of [build.flags]."""

    changed = Signal(dict)

    def __init__(self) -> None:
        self._preset: Preset | None = None
        self._base: Preset | None = None
        self._toolchain = ""
        self.rows: dict[KeyPath, FormRow] = {}
        self.targets = TargetsField()
        body = QWidget()
        self._layout = QVBoxLayout(body)
        self._layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        self._layout.setSpacing(6)
        self._fields: QWidget | None = None
        self._targets_line = QWidget()
        line = QGridLayout(self._targets_line)
        line.setContentsMargins(0, 0, 0, 0)
        line.setHorizontalSpacing(6)
        name = label("Built for", "text2")
        name.setMinimumWidth(LABEL_WIDTH)
        name.setToolTip("GPUs that the engine is built for; several cost no room.\nbuild.flags.targets")
        self.mark = QLabel("")
        self.mark.setProperty("role", "mark")
        self.mark.setFixedWidth(10)
        line.addWidget(name, 0, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self.mark, 0, 1, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self.targets, 0, 2)
        line.setColumnStretch(2, 1)
        self._layout.addWidget(self._targets_line)
        super().__init__(TITLE, body)
        self.targets.changed.connect(self._targets_changed)

    def show_preset(self, preset: Preset, base: Preset) -> None:
        """Show a preset's options; `base` is the chosen one, from which changes are marked."""
        self._preset, self._base = preset, base
        self.setVisible(preset.toolchain in FIELDS)
        if not self.isVisibleTo(self.parentWidget()) and preset.toolchain not in FIELDS:
            return
        if preset.toolchain != self._toolchain:
            self._make_fields(preset.toolchain)
        with_targets_ = preset.toolchain in WITH_TARGETS
        self._targets_line.setVisible(with_targets_)
        if with_targets_:
            self.targets.show_preset(preset)
            differs = chosen_targets(preset) != chosen_targets(base)
            self.mark.setText("●" if differs else "")
            self.mark.setToolTip("Differs from the preset" if differs else "")
        values, base_values = shown(preset), shown(base)
        for path, row in self.rows.items():
            value = values[path[-1]]
            if isinstance(value, str) and isinstance(row.editor, NumberEditor):
                row.editor.edit.setText(value)  # what was typed and is no number
            else:
                row.show_value(value)
            row.show_state(value, base_values.get(path[-1]), self._problem(row))
        self.summary.setText(targets_summary(preset) if with_targets_ else "")

    def _make_fields(self, toolchain: str) -> None:
        if self._fields is not None:
            self._fields.hide()
            self._fields.deleteLater()
        self._toolchain, self.rows = toolchain, {}
        self._fields = QWidget()
        grid = QGridLayout(self._fields)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(3, 1)
        for number, field in enumerate(FIELDS[toolchain]):
            self.rows[field.path] = FormRow(field, grid, 2 * number, self._edited)
        self._layout.addWidget(self._fields)

    @staticmethod
    def _problem(row: FormRow) -> str:
        try:
            row.editor.value()
        except ValueError:
            field = row.field
            least = "above 0" if field.open_low else f"from {field.low:g}"
            kind = "a whole number" if field.kind == "whole" else "a number"
            return f"{field.title} must be {kind} {least} to {field.high:g}."
        return ""

    def _edited(self, path: KeyPath) -> None:
        if self._preset is None:
            return
        row = self.rows[path]
        value: Any
        try:
            value = row.editor.value()
        except ValueError:
            # Preflight refuses it, so that nothing is built with another value than the one that is seen.
            value = row.editor.edit.text() if isinstance(row.editor, NumberEditor) else None
        self.changed.emit(with_value(self._preset.build.flags, row.field, value))

    def _targets_changed(self, words: tuple[str, ...]) -> None:
        if self._preset is not None:
            self.changed.emit(with_targets(self._preset, words))
            self.targets.show_preset(self._preset)
