"""What the Build page asks in a dialog: which precisions, and under which name a preset is kept."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QCheckBox, QDialog, QGridLayout, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from workbench.core.estimate import weight_bytes
from workbench.core.model import ModelSpec
from workbench.core.precision import Precision, supported
from workbench.core.preset import Preset, is_preset_id
from workbench.ui.models.preflight import Answer
from workbench.ui.widgets.basics import GAP, MARGIN, button, figure, label, row


class PrecisionsDialog(QDialog):
    """A checklist of what the toolchain can make of the model, by bit width; each goes into a folder of its own."""

    def __init__(self, answer: Answer, build: Callable[[tuple[str, ...]], None], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Build in several precisions")
        self.setModal(True)
        self._build = build
        preset, model = answer.question.preset, answer.model
        self.boxes: dict[Precision, QCheckBox] = {}
        grid = QGridLayout()
        grid.setHorizontalSpacing(GAP * 2)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(0, 1)
        at = 0
        for precision in sorted(Precision, key=lambda p: -p.weight_bits):
            support = supported(precision, preset.toolchain, answer.capability, model.architecture if model else None)
            if not support.ok:
                continue
            box = QCheckBox(precision.title)
            box.setChecked(precision is preset.precision.weights)
            box.setAccessibleName(precision.title)
            box.setToolTip(support.caution)
            box.toggled.connect(self._count)
            self.boxes[precision] = box
            grid.addWidget(box, at, 0)
            grid.addWidget(figure(_weights(model, precision)), at, 1)
            at += 1
        self.start = button("Build", self._start, icon_name="play", primary=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(12)
        layout.addWidget(
            label("Each precision is built into a folder of its own; common steps run once.", "text2", wrap=True)
        )
        layout.addLayout(grid)
        layout.addWidget(row(None, button("Cancel", self.reject), self.start))
        self.setMinimumWidth(420)
        self._count()

    @property
    def chosen(self) -> tuple[str, ...]:
        """In the order of the list: the most bits first."""
        return tuple(precision.value for precision, box in self.boxes.items() if box.isChecked())

    def _count(self) -> None:
        count = len(self.chosen)
        self.start.setText(f"Build {count}" if count else "Build")
        self.start.setEnabled(count > 0)

    def _start(self) -> None:
        self.accept()
        self._build(self.chosen)


def _weights(model: ModelSpec | None, precision: Precision) -> str:
    return str(weight_bytes(model, precision.value)) if model is not None else ""


class SavePresetDialog(QDialog):
    """Name, title and description of a preset of one's own."""

    def __init__(
        self,
        preset: Preset,
        taken: frozenset[str],
        shipped: frozenset[str],
        save: Callable[[Preset, str], None],
        export: Callable[[Preset], None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Save as preset")
        self.setModal(True)
        self._preset, self._taken, self._shipped, self._save = preset, taken, shipped, save
        self._export = export
        self.name = QLineEdit(f"my-{preset.id or 'preset'}" if preset.id in shipped or not preset.id else preset.id)
        self.name.setMaxLength(100)
        self.title = QLineEdit(preset.title)
        self.title.setMaxLength(120)
        self.text = QPlainTextEdit(preset.description)
        self.text.setTabChangesFocus(True)
        self.text.setFixedHeight(80)
        grid = QGridLayout()
        grid.setVerticalSpacing(6)
        for at, (words, field) in enumerate((("Name", self.name), ("Title", self.title), ("Description", self.text))):
            field.setAccessibleName(words)
            grid.addWidget(label(words, "text2"), at, 0)
            grid.addWidget(field, at, 1)
        self.said = label("", "small", wrap=True)
        self.ok = button("Save", self._done, icon_name="save", primary=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(12)
        layout.addLayout(grid)
        layout.addWidget(self.said)
        self.to_file = button("Export to a file…", self._to_file, icon_name="export")
        layout.addWidget(row(self.to_file, None, button("Cancel", self.reject), self.ok))
        self.setMinimumWidth(460)
        self.name.textChanged.connect(lambda _: self._say())
        self._say()

    @property
    def preset_id(self) -> str:
        """What was typed, without an ending."""
        return self.name.text().strip().removesuffix(".toml")

    def _say(self) -> None:
        name = self.preset_id
        if name and not is_preset_id(name):
            self.said.setText("Use letters, digits, dots, dashes and underscores, and begin with a letter or digit.")
            self.ok.setEnabled(False)
            return
        self.said.setText(
            f"{name}.toml is one of your presets; it will be replaced, its comments are kept."
            if name in self._taken
            else f"Kept as {name}.toml among your presets; it hides the shipped one of that name."
            if name in self._shipped
            else f"Kept as {name}.toml among your presets."
            if name
            else "A preset needs a name."
        )
        self.ok.setEnabled(bool(name))

    def _named(self) -> Preset:
        values = {"title": self.title.text().strip() or self._preset.title, "description": self.text.toPlainText()}
        return self._preset.model_copy(update=values)

    def _done(self) -> None:
        self.accept()
        self._save(self._named(), self.preset_id)

    def _to_file(self) -> None:
        """To be given away: it need not be named among one's own."""
        self.accept()
        self._export(self._named().with_origin(self.preset_id or self._preset.id, self._preset.source))
