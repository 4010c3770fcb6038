"""Runtime settings that a server may start its engine with: those that the engine's toolchain takes at load."""

from __future__ import annotations

import shlex
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLineEdit, QWidget

from workbench.core.errors import BadInputError
from workbench.core.preset import Preset
from workbench.core.preset_check import KeyPath
from workbench.core.preset_fields import fields_by_path, overrides_between, value_at, with_values
from workbench.toolchains.running import runtime_preset
from workbench.ui.pages.playground.settings.runtime import PoolSize
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import GAP, label
from workbench.ui.widgets.editors import ChoiceEditor, Editor, SwitchEditor, make_editor

_POOL = ("kv_fraction", "kv_cache_gib", "kv_blocks")
_LABEL = 132


class RuntimeFields(QWidget):
    """`changed` is sent when a person changed something."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._built: Preset | None = None
        self._names: frozenset[str] = frozenset()
        self.pool = PoolSize()
        self.editors: dict[KeyPath, Editor] = {}
        self._lines: dict[KeyPath, tuple[QWidget, QWidget]] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        self._pool_label = label("KV pool", "text2")
        self._pool_label.setMinimumWidth(_LABEL)
        grid.addWidget(self._pool_label, 0, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.pool, 0, 1)
        fields = [field for path, field in fields_by_path().items() if path[0] == "runtime" and path[1] not in _POOL]
        for at, field in enumerate(fields, 1):
            name = label(field.title, "text2", wrap=True)
            name.setToolTip(f"{field.help}\n{'.'.join(field.path)}")
            editor = make_editor(field)
            editor.setToolTip(field.help)
            editor.changed.connect(self.changed)
            self.editors[field.path], self._lines[field.path] = editor, (name, editor)
            grid.addWidget(name, at, 0)
            side = Qt.AlignmentFlag(0) if isinstance(editor, ChoiceEditor) else Qt.AlignmentFlag.AlignRight
            grid.addWidget(editor, at, 1, Qt.AlignmentFlag.AlignLeft if isinstance(editor, SwitchEditor) else side)
        self.none = label("This engine takes none.", "text3", wrap=True)
        grid.addWidget(self.none, len(fields) + 1, 0, 1, 2)
        self.others = QLineEdit()
        self.others.setFont(mono_font())
        self.others.setPlaceholderText("KEY=VALUE …")
        self.others.setAccessibleName("Other settings, as the command line's --set takes them")
        self.others.setToolTip(
            "What --set takes besides, with spaces between, such as\n"
            "speculative.mode=prompt_lookup speculative.draft_tokens=5"
        )
        self.others.textEdited.connect(lambda _: self.changed.emit())
        self._others_label = label("Others", "text2")
        self._others_label.setBuddy(self.others)
        grid.addWidget(self._others_label, len(fields) + 2, 0)
        grid.addWidget(self.others, len(fields) + 2, 1)
        self.pool.changed.connect(self.changed)
        self.show_engine(None, frozenset())

    def show_engine(self, built: Preset | None, names: frozenset[str]) -> None:
        """Show what the engine was built with; `names` are the fields that can be set at load."""
        self._built, self._names = built, names if built is not None else frozenset()
        self.pool.offer(self._names)
        some_pool = bool(self._names & set(_POOL))
        self._pool_label.setVisible(some_pool)
        self.pool.setVisible(some_pool)
        for path, widgets in self._lines.items():
            for widget in widgets:
                widget.setVisible(path[1] in self._names)
        self.none.setVisible(not self._names)
        self.others.clear()
        if built is None:
            return
        data = built.to_data()
        for path, editor in self.editors.items():
            editor.set_value(value_at(data, fields_by_path()[path]))
        runtime = data.get("runtime", {})
        self.pool.set_values({name: runtime.get(name) for name in _POOL})

    def overrides(self) -> tuple[str, ...]:
        """`--set` items, of what differs from the engine's own. Raises ValueError with words for people."""
        if self._built is None:
            return ()
        values: dict[KeyPath, Any] = {p: e.value() for p, e in self.editors.items() if p[1] in self._names}
        values |= {("runtime", name): value for name, value in self.pool.value().items() if name in self._names}
        wanted, problems = with_values(self._built, values)
        if wanted is None:
            raise ValueError(problems[0].message if problems else "The runtime settings do not fit together.")
        items = overrides_between(self._built, wanted)
        try:
            others = tuple(shlex.split(self.others.text()))
            runtime_preset(wanted, others)
        except BadInputError as error:
            raise ValueError(f"{error.what} {error.fix}".strip()) from error
        return (*items, *others)
