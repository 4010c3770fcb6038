"""Runtime settings of the loaded engine, applied by loading it again; and what the engine says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QVBoxLayout, QWidget

from workbench.core.conversation_text import DEFINITIONS
from workbench.core.preset import Preset
from workbench.core.preset_check import KeyPath
from workbench.core.preset_fields import PresetField, fields_by_path, overrides_between, value_at, with_values
from workbench.core.units import format_duration
from workbench.ui.models.jobs import sentence
from workbench.ui.models.loading import EngineFacts, LoadedEngine
from workbench.ui.pages.playground.settings.sampling import LABEL_WIDTH
from workbench.ui.widgets.basics import GAP, MARGIN, button, chip, column, label, restyle, row, segments, set_chip
from workbench.ui.widgets.editors import ChoiceEditor, Editor, NumberEditor, SwitchEditor, make_editor
from workbench.ui.widgets.fold import Fold

_POOL: tuple[tuple[str, str], ...] = (
    ("", "Auto"),
    ("kv_fraction", "Share"),
    ("kv_cache_gib", "GiB"),
    ("kv_blocks", "Blocks"),
)
"""The ways to size the KV pool, of which one counts."""
_POOL_START = {"kv_fraction": 0.9, "kv_cache_gib": 1.0, "kv_blocks": 1024}
_SHORT = {"host_cache_gib": "Host cache", "scheduler_policy": "Scheduler"}


def _from_front(editor: Editor) -> None:
    """A number that is longer than its field is read from its front."""
    if isinstance(editor, NumberEditor):
        editor.edit.home(False)


class PoolSize(QWidget):
    """How large the KV pool is: left to the engine, a share of free memory, GiB, or blocks."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._group = QButtonGroup(self)
        self.buttons: dict[str, QPushButton] = {}
        for at, (name, words) in enumerate(_POOL):
            made = button(words, small=True, name=f"KV pool: {words}")
            if name:
                made.setToolTip(fields_by_path()["runtime", name].help)
            else:
                made.setToolTip("What the engine takes when nothing is asked")
            self._group.addButton(made, at)
            self.buttons[name] = made
        self.editors = {name: make_editor(fields_by_path()["runtime", name]) for name, _ in _POOL if name}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(segments(list(self.buttons.values())))
        for name, editor in self.editors.items():
            unit = label(fields_by_path()["runtime", name].unit.replace("share", "of free memory"), "hint")
            line = row(None, unit, editor)
            layout.addWidget(line)
            editor.line_widget = line  # type: ignore[attr-defined]
            if isinstance(editor, NumberEditor):
                editor.edit.editingFinished.connect(partial(_from_front, editor))
            editor.changed.connect(self.changed)
        self._group.idClicked.connect(self._choose)
        self.set_values({})

    def value(self) -> dict[str, Any]:
        """The three fields, of which at most one is not None. Raises ValueError."""
        chosen = _POOL[max(0, self._group.checkedId())][0]
        return {name: self.editors[name].value() if name == chosen else None for name in self.editors}

    def set_values(self, values: dict[str, Any]) -> None:
        chosen = next((name for name in self.editors if values.get(name) is not None), "")
        self.buttons[chosen].setChecked(True)
        for name, editor in self.editors.items():
            editor.set_value(values.get(name) if name == chosen else _POOL_START[name])
            _from_front(editor)
        self._show()

    def offer(self, names: frozenset[str]) -> None:
        """Only the ways that the engine's host knows."""
        offered = [made for name, made in self.buttons.items() if not name or name in names]
        for made in self.buttons.values():
            made.setVisible(made in offered)
        for place, made in enumerate(offered):  # the last that is seen closes the frame
            restyle(made, "joined", "last" if place == len(offered) - 1 else "inner" if place else "first")

    def show_problem(self, words: str) -> None:
        for editor in self.editors.values():
            editor.show_problem(words)

    def _choose(self, _: int) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        chosen = _POOL[max(0, self._group.checkedId())][0]
        for name, editor in self.editors.items():
            editor.line_widget.setVisible(name == chosen)  # type: ignore[attr-defined]


class RuntimePanel(Fold):
    """What can be changed of the engine that is loaded. `asked_reload` gets the overrides."""

    asked_reload = Signal(tuple)

    def __init__(self) -> None:
        body = QWidget()
        super().__init__("Engine runtime", body)
        self._facts: EngineFacts | None = None
        self._load_seconds: float | None = None
        self._wanted: Preset | None = None
        self.pool = PoolSize()
        self.editors: dict[KeyPath, Editor] = {}
        self._lines: dict[KeyPath, tuple[QWidget, ...]] = {}
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        self.pool_name = label("KV pool", "text2")
        self.pool_name.setMinimumWidth(LABEL_WIDTH)
        grid.addWidget(self.pool_name, 0, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.pool, 0, 1)
        fields = [f for p, f in fields_by_path().items() if p[0] == "runtime" and p[1] not in _POOL_START]
        for at, field in enumerate(fields, 1):
            self._add(field, grid, at)
        self.state_chip = chip("", "warn")
        self.state_chip.hide()
        self.problem = label("", "error", wrap=True)
        self.problem.hide()
        self.reload_button = button("Reload engine", self._reload, icon_name="refresh")
        self.undo_button = button("Undo", self._undo, small=True, name="Undo the changes to the runtime settings")
        self.undo_button.setProperty("flat", True)
        self.reload_words = label("", "hint", wrap=True)
        layout = QVBoxLayout(body)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, 12)
        layout.setSpacing(GAP)
        layout.addLayout(grid)
        layout.addWidget(self.problem)
        layout.addWidget(row(self.state_chip, None, self.undo_button))
        layout.addWidget(row(self.reload_button, None))
        layout.addWidget(self.reload_words)
        self.pool.changed.connect(self._edited)
        self.show_engine(None)

    def _add(self, field: PresetField, grid: QGridLayout, at: int) -> None:
        name = label(_SHORT.get(field.path[1], field.title), "text2")
        name.setToolTip(f"{field.help}\n{'.'.join(field.path)}")
        editor = make_editor(field)
        editor.setToolTip(field.help)
        wide = isinstance(editor, ChoiceEditor)
        self.editors[field.path] = editor
        self._lines[field.path] = (name, editor)
        grid.addWidget(name, at, 0)
        side = Qt.AlignmentFlag.AlignRight if not wide else Qt.AlignmentFlag(0)
        if isinstance(editor, SwitchEditor):
            side = Qt.AlignmentFlag.AlignLeft
        grid.addWidget(editor, at, 1, side)
        editor.changed.connect(self._edited)

    def show_engine(self, engine: LoadedEngine | None) -> None:
        """Show what the engine is loaded with; what was changed and not applied is dropped."""
        self._facts = engine.facts if engine is not None else None
        self._load_seconds = engine.ready.load_seconds if engine is not None else None
        names = self._facts.runtime_settings if self._facts is not None else frozenset()
        self.body.setEnabled(engine is not None)
        self.pool.offer(names)
        for path, widgets in self._lines.items():
            for widget in widgets:
                widget.setVisible(path[1] in names)
        self._undo()

    def _undo(self) -> None:
        if self._facts is not None:
            data = self._facts.preset.to_data()
            for path, editor in self.editors.items():
                editor.set_value(value_at(data, fields_by_path()[path]))
                _from_front(editor)
            runtime = data.get("runtime", {})
            self.pool.set_values({name: runtime.get(name) for name in _POOL_START})
        self._edited()

    def _values(self) -> dict[KeyPath, Any]:
        names = self._facts.runtime_settings if self._facts is not None else frozenset()
        found = {path: editor.value() for path, editor in self.editors.items() if path[1] in names}
        return found | {("runtime", name): value for name, value in self.pool.value().items() if name in names}

    def _edited(self) -> None:
        """Say how many settings differ from what is loaded, or what is wrong with them."""
        words, self._wanted = "", None
        if self._facts is not None:
            try:
                self._wanted, problems = with_values(self._facts.preset, self._values())
                words = problems[0].message if problems else ""
            except ValueError as error:
                words = str(error)
        changes = 0
        if self._wanted is not None and self._facts is not None:
            changes = len(overrides_between(self._facts.preset, self._wanted))
        self.problem.setText(words)
        self.problem.setVisible(bool(words))
        set_chip(self.state_chip, f"{changes} change{'s' * (changes != 1)}, reload to apply", "warn")
        self.state_chip.setVisible(bool(changes))
        self.undo_button.setVisible(bool(changes) or bool(words))
        self.summary.setText("reload to apply" if changes else "")
        self.reload_button.setEnabled(self._facts is not None and not words)
        took = f"It took {format_duration(self._load_seconds)} to load; " if self._load_seconds is not None else ""
        self.reload_words.setText(f"{took}{'its' if took else 'Its'} active requests end.")

    def _reload(self) -> None:
        if self._facts is not None and self._wanted is not None:
            self.asked_reload.emit(overrides_between(self._facts.built, self._wanted))


class FactsPanel(Fold):
    """What the loaded engine reports of itself."""

    def __init__(self) -> None:
        self._grid_widget = QWidget()
        super().__init__("This engine", self._grid_widget)
        self._grid = QGridLayout(self._grid_widget)
        self._grid.setContentsMargins(MARGIN, GAP, MARGIN, 12)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(1, 1)
        self.values: dict[str, str] = {}

    def show_engine(self, engine: LoadedEngine | None) -> None:
        while self._grid.count():
            item = self._grid.takeAt(0)
            if item is not None and (widget := item.widget()) is not None:
                widget.hide()  # it would be seen until the event loop gets round to it
                widget.deleteLater()
        self.values = facts_of(engine) if engine is not None else {}
        for at, (name, value) in enumerate(self.values.items()):
            shown = label(value, "", selectable=True)
            shown.setAlignment(Qt.AlignmentFlag.AlignRight)
            shown.setAccessibleName(name)
            self._grid.addWidget(label(name, "text2"), at, 0)
            self._grid.addWidget(shown, at, 1)
        if engine is not None and (remark := engine.ready.settings.get("remark")):
            words = label(sentence(remark), "small", wrap=True, selectable=True)
            words.setAccessibleName("Remark")
            self._grid.addWidget(words, len(self.values), 0, 1, 2)


def facts_of(engine: LoadedEngine) -> dict[str, str]:
    """Name -> value in words; what is not reported says so."""
    ready, facts = engine.ready, engine.facts

    def count(value: int | None, unit: str = "") -> str:
        return "not reported" if value is None else f"{value:,}".replace(",", "\u202f") + (f" {unit}" if unit else "")

    blocks, size = ready.kv_blocks_total, ready.kv_block_tokens
    return {
        "Toolchain": facts.toolchain_title,
        "Precision": facts.precision_words,
        **_device(ready.settings),
        "Max. batch size": count(ready.limits.get("max_batch_size")),
        "Tokens per pass": count(ready.limits.get("max_num_batched_tokens")),
        "Max. sequence": count(ready.limits.get("max_seq_len"), "tokens"),
        "KV blocks": count(blocks),
        "Tokens per block": count(size),
        "KV cache holds": count(blocks * size if blocks is not None and size is not None else None, "tokens"),
        **_guesses(ready.settings),
        "Chat template": {True: "yes", False: "none", None: "not reported"}[ready.chat_template],
        "Loaded in": "not reported" if ready.load_seconds is None else format_duration(ready.load_seconds),
    }


_PROVIDERS = {
    "CPUExecutionProvider": "CPU",
    "CUDAExecutionProvider": "CUDA",
    "NvTensorRTRTXExecutionProvider": "TensorRT-RTX",
}


def _device(settings: Mapping[str, str]) -> dict[str, str]:
    """Where it runs and by what, of engines that say it."""
    found = {"Device": settings["device"].replace("NVIDIA ", "")} if settings.get("device") else {}
    provider = settings.get("execution_provider", "")
    if provider and (words := _PROVIDERS.get(provider, provider)) != found.get("Device"):
        found["Computed by"] = words
    return found


def _guesses(settings: Mapping[str, str]) -> dict[str, str]:
    """Nothing without speculative decoding."""
    if "speculative" not in settings:
        return {}
    words = settings["speculative"].replace("_", " ")
    words += f" by {settings['draft']}" if "draft" in settings else ""
    return {"Speculative decoding": words, "Guesses per pass": settings.get("draft_tokens", "not reported")}


TOGETHER = "all output tokens of a burst over the time from its start to its last token."


class DefinitionsPanel(Fold):
    """What the figures mean, in one place."""

    def __init__(self) -> None:
        parts: list[QWidget] = []
        for name, words in {**DEFINITIONS, "all together": TOGETHER}.items():
            parts.append(column(label(name, "name"), label(words, "small", wrap=True), gap=0))
        super().__init__("Definitions", column(*parts, margins=(MARGIN, GAP, MARGIN, 12)), is_open=False)
        self.summary.setText("TTFT, speed, stop reasons")
