"""The page's second face: a run that is measured or was, as chart and numbers, with the drawer that repeats it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QWidget,
)

from workbench.core.measure.record import Subject
from workbench.ui.models.bench_view import Live, RunView
from workbench.ui.pages.benchmark.against import AgainstPane
from workbench.ui.pages.benchmark.charts import TABS, Axes, chart_of, spread_words, tab_title
from workbench.ui.pages.benchmark.columns import table_csv
from workbench.ui.pages.benchmark.live import LiveStrip
from workbench.ui.pages.benchmark.numbers import NumbersTable
from workbench.ui.pages.benchmark.reproduce import WIDTH, Reproduce
from workbench.ui.pages.benchmark.summary import Summary
from workbench.ui.plots.data import Chart
from workbench.ui.plots.line_chart import LineChart
from workbench.ui.widgets.basics import GAP, MARGIN, button, column, row, rule, segments, set_icon
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.marker import marker_icon
from workbench.ui.widgets.search_box import Choice

NUMBERS, AB, BASELINE = "numbers", "ab", "baseline"
_LEAST = 740
"""px that a result needs beside the drawer."""
_PANES = ((NUMBERS, "Numbers"), (AB, "A/B"), (BASELINE, "Against a baseline"))


class ResultView(QWidget):
    """Shows a RunView. Signals: `stopped`, `again` (subject, level or None), `wants_ab`, `wants_baseline`, `said`
    (words for a notice), `drawer_closed`.
    """

    stopped = Signal()
    again = Signal(object, object)
    wants_ab = Signal()
    wants_baseline = Signal()
    said = Signal(str)
    drawer_closed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.view: RunView | None = None
        self._subject = ""
        self._level: float | None = None
        self._running = False
        self._by_hand = False
        """Whether a person chose the level that is shown."""
        self._axes = Axes()
        self._tab = TABS[0][0]
        self.summary, self.live, self.drawer = Summary(), LiveStrip(), Reproduce()
        self.chart = LineChart("Chart of the run")
        self.numbers = NumbersTable()
        self.ab, self.baseline = AgainstPane("Engines of the run against the first"), AgainstPane("Against a baseline")
        self._make_chart_bar()
        self._make_numbers_bar()
        self._lay_out()
        self.live.stopped.connect(self.stopped)
        self.chart.chosen.connect(self._choose_in_chart)
        self.numbers.level_chosen.connect(self._choose_level)
        self.drawer.closed.connect(self._close_drawer)
        self.drawer.again.connect(self.again)
        self.drawer.copied.connect(self.said)
        self.live.hide()
        self.drawer.hide()

    # -- frame

    def _make_chart_bar(self) -> None:
        self._tabs = QButtonGroup(self)
        made = []
        for place, (_, title) in enumerate(TABS):
            tab = QPushButton(title)
            tab.setProperty("small", True)
            tab.setAccessibleName(f"Chart: {title}")
            self._tabs.addButton(tab, place)
            made.append(tab)
        self.tabs = made
        self._tab_row = segments(made)
        made[0].setChecked(True)
        self._tabs.idClicked.connect(lambda place: self.show_tab(TABS[place][0]))
        self.bars_hint = ElidedLine("hint")
        self.bars_hint.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.axes_button = QToolButton()
        self.axes_button.setText("Axes")
        self.axes_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.axes_button.setProperty("flat", True)
        self.axes_button.setProperty("small", True)
        self.axes_button.setAccessibleName("Axes of the chart")
        self.axes_button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.axes_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        set_icon(self.axes_button, "settings", "text2")
        menu = QMenu(self.axes_button)
        self._x_log = menu.addAction("Levels by doubling")
        self._y_log = menu.addAction("Values on a logarithmic axis")
        self._y_zero = menu.addAction("Values from zero")
        for action, on in ((self._x_log, True), (self._y_log, False), (self._y_zero, True)):
            action.setCheckable(True)
            action.setChecked(on)
            action.toggled.connect(self._take_axes)
        self.axes_button.setMenu(menu)

    def _make_numbers_bar(self) -> None:
        self._panes = QButtonGroup(self)
        self.panes = []
        for place, (_, title) in enumerate(_PANES):
            made = QPushButton(title)
            made.setProperty("small", True)
            made.setAccessibleName(f"Below the chart: {title}")
            self._panes.addButton(made, place)
            self.panes.append(made)
        self._pane_row = segments(self.panes)
        self.panes[0].setChecked(True)
        self._panes.idClicked.connect(lambda place: self.show_pane(_PANES[place][0]))
        self._subjects = QButtonGroup(self)
        self._subjects.idClicked.connect(self._choose_subject)
        self._subject_row = QHBoxLayout()
        self._subject_row.setContentsMargins(0, 0, 0, 0)
        self._subject_row.setSpacing(0)
        self._subject_names: tuple[str, ...] = ()
        self.subject_choice = Choice()
        self.subject_choice.setAccessibleName("Numbers of")
        self.subject_choice.setSizeAdjustPolicy(Choice.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.subject_choice.setMinimumContentsLength(10)
        self.subject_choice.activated.connect(self._choose_subject)
        self.hint = ElidedLine("hint")
        self.csv_button = button("Copy as CSV", self.copy_csv, icon_name="copy", small=True)
        self.csv_button.setProperty("flat", True)

    def _lay_out(self) -> None:
        bar = row(self._tab_row, self.bars_hint, self.axes_button, margins=(MARGIN, 10, MARGIN, 0))
        bar.layout().setStretch(1, 1)
        self.notes = ElidedLine("small")
        self.notes.setContentsMargins(MARGIN, 4, MARGIN, 0)
        self.notes.hide()
        above = column(bar, self.notes, row(self.chart, margins=(MARGIN, 6, 4, 0)), gap=0)
        above.layout().setStretch(2, 1)
        self.chart.setMinimumHeight(130)
        subjects = QWidget()
        subjects.setLayout(self._subject_row)
        head = row(
            self._pane_row, subjects, self.subject_choice, self.hint, self.csv_button, margins=(MARGIN, GAP, MARGIN, 6)
        )
        head.layout().setStretch(3, 1)
        self.stack = QStackedWidget()
        for pane in (self.numbers, self.ab, self.baseline):
            self.stack.addWidget(pane)
        below = column(rule(), head, self.stack, gap=0)
        below.layout().setStretch(2, 1)
        below.setMinimumHeight(120)
        self.split = QSplitter(Qt.Orientation.Vertical)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(above)
        self.split.addWidget(below)
        self.split.setStretchFactor(0, 3)
        self.split.setStretchFactor(1, 2)
        self.split.setSizes([560, 300])
        self._left = left = column(self.summary, rule(), self.live, self.split, gap=0)
        left.layout().setStretch(3, 1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(left, 1)
        self._drawer_rule = rule(vertical=True)
        self._drawer_rule.hide()
        layout.addWidget(self._drawer_rule)
        layout.addWidget(self.drawer)

    # -- what is shown

    def show_view(self, view: RunView, *, fresh: bool) -> None:
        """Show a run; `fresh`: it is another one, or begins anew."""
        self.view = view
        if fresh:
            self._level, self._by_hand = None, False
            self.panes[0].setChecked(True)
            self.stack.setCurrentWidget(self.numbers)
            for pane in (self.ab, self.baseline):
                pane.show_words("")
                pane.other.hide()
        if self.subject is None and view.head.subjects:
            self._subject = view.head.subjects[0].id
        self._offer_subjects(view)
        if not self._by_hand or self._level not in view.levels:
            measured = [one.level for one in view.of(self._subject) if one.completed]
            self._level = measured[-1] if measured else None
        self.panes[1].setEnabled(self._several and not self._running)
        self.panes[1].setToolTip("" if len(view.head.subjects) > 1 else "Of two engines or more")
        self.summary.show_view(view)
        self.summary.show()
        self.csv_button.setEnabled(bool(view.figures))
        for tab, (name, _) in zip(self.tabs, TABS, strict=True):
            tab.setText(tab_title(name, view))
        notes = [*view.head.notes, *self._point_notes()]
        self.notes.say(notes[0] if notes else "", "\n".join(notes[1:]))
        self.notes.setVisible(bool(notes))
        self._show_chart()
        self._show_numbers()
        self._show_drawer()

    def show_nothing(self) -> None:
        """Another run begins: nothing of the one before stays in sight."""
        self.view, self._level, self._by_hand = None, None, False
        self._subject, self._subject_names = "", ()
        self.chart.show_chart(Chart(empty="Nothing is measured yet."))
        self.chart.mark(None)
        self.numbers.show_subject(None, "", None)
        self.panes[0].setChecked(True)
        self.stack.setCurrentWidget(self.numbers)
        self.csv_button.setEnabled(False)
        for line in (self.notes, self.bars_hint, self.hint):
            line.say("")
        self.summary.hide()
        self._show_subjects()

    def show_live(self, live: Live, view: RunView | None) -> None:
        """Show how the run goes."""
        self.live.show_live(live, view)

    def set_running(self, running: bool) -> None:
        """While it runs: how it goes, and nothing that reads raw timings beside it."""
        self._running = running
        self.live.setVisible(running)
        self.drawer.set_running(running)
        for pane in self.panes[1:]:
            pane.setEnabled(not running and (pane is not self.panes[1] or self._several))

    @property
    def _several(self) -> bool:
        return self.view is not None and len(self.view.head.subjects) > 1

    @property
    def subject(self) -> Subject | None:
        """The one whose numbers are shown."""
        return self.view.subject(self._subject) if self.view is not None else None

    @property
    def level(self) -> float | None:
        """The level that is chosen."""
        return self._level

    def show_tab(self, name: str) -> None:
        """Show one of the four charts."""
        self._tab = name
        self.tabs[[tab for tab, _ in TABS].index(name)].setChecked(True)
        self._show_chart()

    def show_pane(self, name: str) -> None:
        """Show the numbers, the A/B table or the one against a baseline."""
        place = [pane for pane, _ in _PANES].index(name)
        self.panes[place].setChecked(True)
        self.stack.setCurrentIndex(place)
        self._show_numbers()
        if name == AB:
            self.wants_ab.emit()
        elif name == BASELINE:
            self.wants_baseline.emit()

    def show_drawer(self, shown: bool) -> None:
        """Show or hide what repeats the chosen point."""
        self.drawer.setVisible(shown)
        self._make_room()
        self._show_drawer()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()

    def _make_room(self) -> None:
        """On a narrow page the drawer stands in the place of the result."""
        shown, narrow = not self.drawer.isHidden(), self.width() < WIDTH + _LEAST
        self._left.setVisible(not (shown and narrow))
        self.drawer.set_wide(narrow)
        self._drawer_rule.setVisible(shown and not narrow)
        self._show_subjects()

    def copy_csv(self) -> None:
        """The numbers of all engines, for a spreadsheet."""
        if self.view is not None:
            QGuiApplication.clipboard().setText(table_csv(self.view))
            self.said.emit("The numbers are on the clipboard as CSV.")

    def recolour(self) -> None:
        """The theme changed: markers on buttons are drawn anew."""
        for slot, made in enumerate(self._subjects.buttons()):
            made.setIcon(marker_icon(slot))
            self.subject_choice.setItemIcon(slot, marker_icon(slot))

    # -- its parts

    def _show_chart(self) -> None:
        if self.view is None:
            return
        self.chart.show_chart(chart_of(self._tab, self.view, self._axes))
        self.chart.mark(self._level)
        self.bars_hint.say(spread_words(self.view) if self._tab != "per_user" else "beside the dots: their level")

    def _show_numbers(self) -> None:
        view = self.view
        if view is None:
            return
        shows = self.stack.currentWidget() is self.numbers
        self._show_subjects()
        self.csv_button.setVisible(shows)
        load = view.head.load
        pooled = f"{load.repeats} repeats a point, pooled; " if load.repeats > 1 else ""
        self.hint.say(f"{pooled}point at a heading for its definition" if shows else "")
        self.numbers.show_subject(view, self._subject, self._level)

    def _show_subjects(self) -> None:
        """A button for each, or one list where there is no room for buttons."""
        several = self.stack.currentWidget() is self.numbers and len(self._subject_names) > 1
        room = self.width() - (WIDTH if not self.drawer.isHidden() and not self._left.isHidden() else 0)
        need = sum(made.sizeHint().width() for made in self._subjects.buttons())
        fits = need + self._pane_row.sizeHint().width() + self.csv_button.sizeHint().width() + 80 <= room
        for made in self._subjects.buttons():
            made.setVisible(several and fits)
        self.subject_choice.setVisible(several and not fits)
        place = self.view.slot(self._subject) if self.view is not None else -1
        if 0 <= place < self.subject_choice.count():
            self.subject_choice.setCurrentIndex(place)
            self.subject_choice.setToolTip(self._subject_names[place])

    def _show_drawer(self) -> None:
        subject = self.subject
        if self.view is not None and subject is not None and not self.drawer.isHidden():
            self.drawer.show_point(self.view, subject, self._level)

    def _point_notes(self) -> list[str]:
        if self.view is None:
            return []
        found = []
        for one in self.view.figures:
            subject = self.view.subject(one.subject)
            name = subject.name if subject is not None else one.subject
            found += [f"{name}, {self.view.level_words(one.level)}: {note}" for note in one.notes]
        found += [
            f"{subject.name}: {name}: {text}"
            for subject in self.view.head.subjects
            for name, text in subject.not_applied.items()
        ]
        return found

    def _offer_subjects(self, view: RunView) -> None:
        names = tuple(subject.name for subject in view.head.subjects)
        if names == self._subject_names:
            return
        self._subject_names = names
        for old in self._subjects.buttons():
            self._subjects.removeButton(old)
            self._subject_row.removeWidget(old)
            old.hide()
            old.deleteLater()
        made = []
        for slot, name in enumerate(names):
            one = QPushButton(name if len(name) <= 24 else f"{name[:23]}…")
            one.setIcon(marker_icon(slot))
            one.setProperty("small", True)
            one.setToolTip(name)
            one.setAccessibleName(f"Numbers of {name}")
            one.setCheckable(True)
            one.setProperty("joined", "first" if not slot else "last" if slot == len(names) - 1 else "inner")
            self._subjects.addButton(one, slot)
            self._subject_row.addWidget(one)
            made.append(one)
        self.subject_choice.clear()
        for slot, name in enumerate(names):
            self.subject_choice.addItem(marker_icon(slot), name)
        place = view.slot(self._subject)
        if made:
            made[place].setChecked(True)

    # -- what is chosen

    def _choose_subject(self, place: int) -> None:
        if self.view is not None:
            self._subject = self.view.head.subjects[place].id
            self._subjects.button(place).setChecked(True)
            self._show_numbers()
            self._show_drawer()

    def _choose_in_chart(self, key: float, line: str) -> None:
        if line and self.view is not None:
            self._subject = line
            self._subjects.button(self.view.slot(line)).setChecked(True)
        self._choose_level(key)
        self._show_numbers()

    def _choose_level(self, level: float) -> None:
        self._level, self._by_hand = level, True
        self.chart.mark(level)
        self.numbers.choose(level)
        self._show_drawer()

    def _take_axes(self) -> None:
        self._axes = Axes(self._y_log.isChecked(), self._y_zero.isChecked(), self._x_log.isChecked())
        self._show_chart()

    def _close_drawer(self) -> None:
        self.show_drawer(False)
        self.drawer_closed.emit()
