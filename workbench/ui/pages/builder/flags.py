"""All build flags in a table that is searched, edited and checked at once; what comes out are the preset's flags."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QCheckBox, QComboBox, QDialog, QHeaderView, QLabel, QTableView, QVBoxLayout, QWidget

from workbench.core.preset import Preset
from workbench.toolchains.flag_sheet import FlagRow
from workbench.ui.icons import pixmap
from workbench.ui.models.flags import details, flag_table_of, problem_lines, summary_of
from workbench.ui.pages.builder.flag_rows import (
    DEFAULT,
    FLAG,
    PROBLEM_ROLE,
    ROW_HEIGHT,
    ROW_ROLE,
    VALUE,
    FlagCells,
    FlagsFilter,
    FlagsModel,
)
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import GAP, GAP_SMALL, MARGIN, button, label, restyle, row, rule
from workbench.ui.widgets.search_box import SearchBox

_WIDTHS = {FLAG: 272, VALUE: 212, DEFAULT: 136}
_DETAIL_LINES = 3


class FlagsDialog(QDialog):
    """Opened with a preset. `applied` carries its new [build.flags]; closing without it changes nothing."""

    applied = Signal(dict)

    def __init__(
        self,
        preset: Preset,
        parent: QWidget | None = None,
        *,
        compute_capability: tuple[int, int] | None = None,
        architecture: str | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"All build flags: {preset.title}")
        self.setAccessibleName("All build flags")
        self.model = FlagsModel(flag_table_of(preset, compute_capability=compute_capability, architecture=architecture))
        self._before = self.model.table.flags
        self.proxy = FlagsFilter(self.model)
        self.search = SearchBox("Search name or effect", "Search flags by name or effect")
        self.search.setFixedWidth(280)
        self.only_changed = QCheckBox("Changed only")
        self.only_changed.setAccessibleName("Only flags that are changed")
        self.count = label("", "text2")
        self.table = FlagsView(self.proxy)
        self.nothing = label("No flag matches", "text2")
        self.problem = label("", "error", wrap=True, selectable=True)
        self.problem.setAccessibleName("What is wrong with the flag")
        self.sign = QLabel()
        self.message = label("", "small", wrap=True, selectable=True)
        self.message.setAccessibleName("About the flag")
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.message.setMinimumHeight(16 * _DETAIL_LINES + GAP)
        self.verdict = label("", "small")
        self.reset_button = button("Reset flag", self.reset_flag, tip="As it is without a flag of the preset (Delete)")
        self.reset_all_button = button("Reset all", self.reset_all, tip="Take out all flags of the preset")
        self.cancel_button = button("Cancel", self.reject)
        self.apply_button = button("Use these flags", self.apply, primary=True)
        self._lay_out(preset)
        self.search.textChanged.connect(self._filter)
        self.only_changed.toggled.connect(self._filter)
        self.table.selectionModel().currentChanged.connect(lambda: self._say())
        self.table.reset_asked.connect(self.reset_flag)
        self.model.dataChanged.connect(lambda: self._changed())
        self.model.modelReset.connect(self._changed)
        theme().changed.connect(self.table.viewport().update)
        QShortcut(QKeySequence.StandardKey.Find, self, self.search.setFocus)
        self._changed()
        self._filter()
        self.search.setFocus()

    def _lay_out(self, preset: Preset) -> None:
        for each in (self.reset_button, self.reset_all_button, self.cancel_button, self.apply_button):
            each.setAutoDefault(False)  # Enter is the table's and the search box's
        head = row(self.search, self.only_changed, None, self.count, margins=(MARGIN, 12, MARGIN, GAP))
        foot = row(
            self.reset_button,
            self.reset_all_button,
            None,
            self.verdict,
            self.cancel_button,
            self.apply_button,
            margins=(MARGIN, GAP, MARGIN, 12),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(head)
        layout.addWidget(rule())
        layout.addWidget(self.table, 1)
        layout.addWidget(row(None, self.nothing, None, margins=(MARGIN, GAP, MARGIN, GAP)))
        layout.addWidget(rule())
        self.wrong = row(self.sign, self.problem, margins=(MARGIN, GAP, MARGIN, 0))
        self.wrong.layout().setStretch(1, 1)
        layout.addWidget(self.wrong)
        layout.addWidget(row(self.message, margins=(MARGIN, GAP, MARGIN, GAP_SMALL)))
        layout.addWidget(rule())
        layout.addWidget(foot)
        self.resize(1080, 680)

    # --- verbs ---

    def reset_flag(self) -> None:
        """Take the current flag out of the preset's flags."""
        current = self._current()
        if current is not None and current.from_flags:
            self.model.take(self.model.table.with_value(current.name, None))

    def reset_all(self) -> None:
        self.model.take(self.model.table.reset())

    def apply(self) -> None:
        """Send the flags and close; not while one of them would be refused."""
        if not self.model.table.refused:
            self.applied.emit(self.model.table.flags)
            self.accept()

    def choose(self, name: str) -> None:
        """Go to a flag, as from a line of preflight that names it."""
        for number, found in enumerate(self.model.table.rows):
            if found.name == name:
                index = self.proxy.mapFromSource(self.model.index(number, VALUE))
                self.table.setCurrentIndex(index)
                self.table.scrollTo(index)

    # --- what follows ---

    def _current(self) -> FlagRow | None:
        index = self.table.currentIndex()
        found: FlagRow | None = index.data(ROW_ROLE) if index.isValid() else None
        return found

    def _filter(self) -> None:
        self.proxy.ask(self.search.text(), only_changed=self.only_changed.isChecked())
        self.nothing.parentWidget().setVisible(self.proxy.rowCount() == 0)
        if not self.table.currentIndex().isValid() and self.proxy.rowCount():
            self.table.setCurrentIndex(self.proxy.index(0, VALUE))
        self._say()

    def _changed(self) -> None:
        table = self.model.table
        self.count.setText(summary_of(table.rows))
        self.reset_all_button.setEnabled(bool(table.flags))
        refused = table.refused
        self.apply_button.setEnabled(not refused and table.flags != self._before)
        self.apply_button.setToolTip(refused[0].what if refused else "")
        names = ", ".join(dict.fromkeys(problem.flag for problem in refused))
        self.verdict.setText(f"To be mended: {names}" if refused else "")
        restyle(self.verdict, "role", "error" if refused else "small")
        self._filter()

    def _say(self) -> None:
        index = self.table.currentIndex()
        current = self._current()
        problem = index.data(PROBLEM_ROLE) if index.isValid() else None
        self.reset_button.setEnabled(current is not None and current.from_flags)
        self.message.setText("\n".join(details(current)) if current is not None else "")
        self.wrong.setVisible(problem is not None)
        if problem is not None and current is not None:
            self.problem.setText("\n".join(problem_lines(current, problem)))
            restyle(self.problem, "role", "error" if problem.blocks else "")
            sign, token = ("error", "err") if problem.blocks else ("warn", "warn")
            self.sign.setPixmap(pixmap(sign, token, 16, self.devicePixelRatioF()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter in the search box goes to the table, not out of the dialog."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.search.hasFocus():
                self.table.setFocus()
            event.accept()
            return
        super().keyPressEvent(event)


class FlagsView(QTableView):
    """Enter, F2 or a double click edits the row's value wherever the cursor is; Delete resets it."""

    reset_asked = Signal()

    def __init__(self, proxy: FlagsFilter) -> None:
        super().__init__()
        self.setModel(proxy)
        self.setItemDelegate(FlagCells(self))
        self.setAccessibleName("Build flags")
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        for column, width in _WIDTHS.items():
            self.setColumnWidth(column, width)
        self.doubleClicked.connect(self.edit_value)
        self.clicked.connect(self._clicked)

    def edit_value(self, index: QModelIndex) -> None:
        """Open the editor of this row's value; nothing where the value is set elsewhere."""
        value = index.siblingAtColumn(VALUE)
        if value.isValid() and value.flags() & Qt.ItemFlag.ItemIsEditable:
            self.setCurrentIndex(value)
            self.edit(value)

    def _clicked(self, index: QModelIndex) -> None:
        """A click on a value that is chosen from a list opens the list at once."""
        if index.column() == VALUE and self.state() != QTableView.State.EditingState:
            self.edit_value(index)
            editor = self.indexWidget(index)
            if isinstance(editor, QComboBox):
                editor.showPopup()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        keys = Qt.Key
        if self.state() == QTableView.State.EditingState:
            super().keyPressEvent(event)  # what the editor has left over, such as the Enter that ends it
            return
        if event.key() in (keys.Key_Return, keys.Key_Enter, keys.Key_F2):
            self.edit_value(self.currentIndex())
        elif event.key() in (keys.Key_Delete, keys.Key_Backspace):
            self.reset_asked.emit()
        else:
            super().keyPressEvent(event)
            return
        event.accept()
