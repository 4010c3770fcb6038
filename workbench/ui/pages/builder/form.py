"""The form of a preset, made from its schema: a field that the schema gains appears here with no code of its own."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from workbench.core.precision import KvPrecision, Precision, kv_supported, supported
from workbench.core.preset import Preset, apply_overrides
from workbench.core.preset_check import KeyPath
from workbench.core.preset_fields import (
    FieldGroup,
    PresetField,
    fields_by_path,
    preset_groups,
    value_at,
    with_values,
)
from workbench.ui.models.gallery import TOOLCHAIN_TITLES
from workbench.ui.models.preflight import Answer
from workbench.ui.models.unused_fields import IN_ONE_PIECE, unused_words
from workbench.ui.pages.builder.form_row import FormRow
from workbench.ui.widgets.basics import GAP, MARGIN
from workbench.ui.widgets.editors import ChoiceEditor, number_words
from workbench.ui.widgets.fold import Fold

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Precision", ("precision",)),
    ("Calibration", ("calibration",)),
    ("Engine limits", ("limits", "parallel")),
    ("Runtime", ("runtime",)),
)
"""What people change; every other table, and the rare fields of these, stand in More."""
MORE = "More"
HIDDEN: frozenset[KeyPath] = frozenset({("title",), ("goal",), ("description",), ("toolchain",), ("build", "flags")})
"""What has a place of its own: the gallery, "Save as preset" and the table of flags."""


class Form(QWidget):
    """All fields in folding groups. `edited` is sent when a person changed something."""

    edited = Signal()

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self._base, self._base_data = preset, preset.to_data()
        self._preset: Preset | None = preset
        self._last = preset
        self._words: dict[KeyPath, str] = {}
        self.problem = ""
        """What is wrong among several values, in words; "" when it is said beside a field."""
        self.rows: dict[KeyPath, FormRow] = {}
        self.folds: dict[str, Fold] = {}
        self._flags: dict[str, Any] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        for title, fields in _grouped():
            fold = Fold(title, self._body(fields), is_open=title != MORE)
            self.folds[title] = fold
            layout.addWidget(fold)
        self.layout_ = layout
        self.set_preset(preset)

    def _body(self, fields: list[PresetField]) -> QWidget:
        body = QWidget()
        grid = QGridLayout(body)
        grid.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(3, 1)
        for number, field in enumerate(fields):
            self.rows[field.path] = FormRow(field, grid, 2 * number, self._edited)
        return body

    def add_options(self, options: QWidget) -> None:
        """Put what is the toolchain's own below the engine's limits."""
        self.layout_.insertWidget(self.layout_.indexOf(self.folds["Engine limits"]) + 1, options)

    # -- the preset

    @property
    def preset(self) -> Preset | None:
        """What the form says; None while a value is wrong."""
        return self._preset

    @property
    def last(self) -> Preset:
        """What the form said when it last was a preset."""
        return self._last

    @property
    def base(self) -> Preset:
        """The preset that was chosen."""
        return self._base

    @property
    def changes(self) -> int:
        """Fields that differ from the preset."""
        return sum(1 for path in self.rows if self._value_of(path) != self._base_value(path)) + (
            self._flags != self._base.build.flags
        )

    def set_preset(self, preset: Preset) -> None:
        """Choose a preset: all fields take its values."""
        self._base, self._base_data = preset, preset.to_data()
        self.show_preset(preset)
        self.folds["Calibration"].set_open(preset.needs_calibration)

    def show_preset(self, preset: Preset) -> None:
        """Take a changed preset's values, the chosen one stays the measure."""
        data = preset.to_data()
        self._flags = dict(preset.build.flags)
        for path, row in self.rows.items():
            row.show_value(value_at(data, fields_by_path()[path]))
        self._read()

    def set_flags(self, flags: dict[str, Any]) -> None:
        """The toolchain's own flags, from the table of all of them."""
        self._flags = dict(flags)
        self._read()
        self.edited.emit()

    def apply(self, overrides: tuple[str, ...]) -> None:
        """Do what a piece of advice says. Raises BadInputError when that does not fit what else stands there."""
        self.show_preset(apply_overrides(self._last, overrides))
        self.edited.emit()

    def try_values(self, data: dict[str, Any]) -> None:
        """Take back what `Preset.to_data()` gave; what does not fit any more is left as the preset has it."""
        values = {f.path: value_at(data, f) for f in fields_by_path().values() if f.path in self.rows}
        flags = value_at(data, fields_by_path()[("build", "flags")])
        made, _ = with_values(self._base, {**values, ("build", "flags"): flags or None})
        if made is not None:
            self.show_preset(made)

    # -- reading it

    def _edited(self, path: KeyPath) -> None:
        self._read()
        self.edited.emit()

    def _read(self) -> None:
        values: dict[KeyPath, Any] = {}
        self._words = {}
        for path, row in self.rows.items():
            try:
                values[path] = row.editor.value()
            except ValueError as error:
                self._words[path] = str(error)
        values[("build", "flags")] = self._flags or None
        self._preset, self.problem = None, ""
        if not self._words:
            self._preset, problems = with_values(self._base, values)
            for problem in problems:
                if problem.path in self.rows:
                    self._words[problem.path] = problem.what
                else:
                    self.problem = problem.what
        if self._preset is not None:
            self._last = self._preset
        for path, row in self.rows.items():
            row.show_state(self._value_of(path), self._base_value(path), self._words.get(path, ""))
        self._show_use()
        self._summaries()

    def _value_of(self, path: KeyPath) -> Any:
        try:
            return self.rows[path].editor.value()
        except ValueError:
            return ...

    def _base_value(self, path: KeyPath) -> Any:
        return value_at(self._base_data, fields_by_path()[path])

    @property
    def wrong(self) -> str:
        """What keeps the form from being a preset, in words."""
        return next(iter(self._words.values()), self.problem)

    # -- what does nothing, and what cannot be had

    def _show_use(self) -> None:
        preset = self._last
        for name in type(preset.precision).model_fields:
            path = ("precision", name)
            unused = path in self.rows and name in preset.inapplicable_precision
            if path in self.rows:
                self.rows[path].set_used(
                    not unused, f"Not used with {preset.precision.weights.title}." if unused else ""
                )
        needs = preset.needs_calibration
        for path, row in self.rows.items():
            if path[0] == "calibration":
                row.set_used(needs, "" if needs else "This precision is made without calibration text.")
            if path[0] == "parallel":
                whole = preset.toolchain in IN_ONE_PIECE and getattr(preset.parallel, path[1]) == 1
                title = TOOLCHAIN_TITLES.get(preset.toolchain, preset.toolchain)
                row.set_used(not whole, f"{title} engines run in one piece." if whole else "")
            if path[0] in ("limits", "runtime"):
                why_not = unused_words(preset, path)
                row.set_used(not why_not or self._value_of(path) != row.field.default, why_not)

    def set_facts(self, answer: Answer) -> None:
        """Grey out precisions that this toolchain, GPU or architecture cannot have."""
        preset = answer.question.preset
        architecture = answer.model.architecture if answer.model else None

        def weights(value: Any) -> str:
            return supported(Precision(value), preset.toolchain, answer.capability, architecture).reason

        def cache(value: Any) -> str:
            return kv_supported(KvPrecision(value), preset.toolchain, answer.capability).reason

        for path, why_not in ((("precision", "weights"), weights), (("precision", "kv_cache"), cache)):
            editor = self.rows[path].editor
            if isinstance(editor, ChoiceEditor):
                editor.set_reasons(why_not)

    def _summaries(self) -> None:
        preset = self._last
        own = {
            "Precision": f"{preset.precision.weights.title}, KV cache {preset.precision.kv_cache.title}",
            "Calibration": f"{number_words(preset.calibration.samples)} samples"
            if preset.needs_calibration
            else "not needed",
            "Runtime": "used when the engine is loaded; no rebuild",
        }
        for title, fold in self.folds.items():
            changed = sum(1 for path in self._paths_of(title) if self._value_of(path) != self._base_value(path))
            words = [own.get(title, "")] if own.get(title) else []
            if changed:
                words.append(f"{changed} changed")
            fold.summary.setText(" · ".join(words))

    def _paths_of(self, title: str) -> list[KeyPath]:
        return [field.path for name, fields in _grouped() if name == title for field in fields]


def _grouped() -> list[tuple[str, list[PresetField]]]:
    """The fields by the form's groups."""
    tables: dict[str, FieldGroup] = {group.name: group for group in preset_groups()}
    placed = {table: title for title, names in GROUPS for table in names}
    found: dict[str, list[PresetField]] = {title: [] for title, _ in GROUPS} | {MORE: []}
    for title, names in GROUPS:
        found[title] += [f for name in names for f in tables[name].fields if not f.rare and f.path not in HIDDEN]
    for name, group in tables.items():
        found[MORE] += [f for f in group.fields if (name not in placed or f.rare) and f.path not in HIDDEN]
    return list(found.items())
