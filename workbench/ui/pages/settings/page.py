"""Settings: each with where it comes from and whether it is locked; a change is saved at once."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.ui.models.settings import (
    GROUPS,
    SettingRow,
    SettingsView,
    Updated,
    change_setting,
    fetch_presets,
    read_settings,
)
from workbench.ui.pages.base import Page
from workbench.ui.pages.settings.row import SettingLine
from workbench.ui.session import Session
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, rule

_WIDEST = 1080


class SettingsPage(Page):
    name, title, icon_name = "settings", "Settings", "settings"
    with_monitor = False

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.view = SettingsView()
        self.lines: dict[str, SettingLine] = {}
        self._wanted: list[tuple[str, Any]] = []
        """Changes that are not saved yet, the first of them under way."""
        self.problems = QFrame()
        self.problems.setProperty("surface", "card")
        self.problem_words = label("", "error", wrap=True, selectable=True)
        self.problem_words.setAccessibleName("What is wrong in the files of settings")
        inside = QVBoxLayout(self.problems)
        inside.setContentsMargins(MARGIN, 12, MARGIN, 12)
        inside.addWidget(self.problem_words)
        self.problems.hide()
        self.waiting = label("Reading the settings …", "text2")
        self.fetch_button = button(
            "Fetch presets", self.fetch_presets, icon_name="refresh",
            tip="Bring the Git repositories that the preset folders name, where they name some",
        )  # fmt: skip
        self.fetch_button.setEnabled(False)
        self._fetching = False
        body = QWidget()
        body.setMaximumWidth(_WIDEST)
        self._body = QVBoxLayout(body)
        self._body.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        self._body.setSpacing(MARGIN)
        self._body.addWidget(self.problems)
        self._body.addWidget(self.waiting)
        self._body.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setAccessibleName("Settings")
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setWidget(body)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.scroll)
        session.actions.add(
            "settings.presets", "Fetch the Git repositories of presets", self.fetch_presets, icon_name="refresh",
            group="Settings:",
        )  # fmt: skip
        session.events.settings_changed.connect(lambda _: self.look() if self.isVisible() else None)

    def header_widgets(self) -> list[QWidget]:
        return [self.fetch_button]

    @property
    def busy(self) -> bool:
        return bool(self._wanted) or self._fetching

    def opened(self) -> None:
        self.scroll.setFocus()
        self.look()

    def look(self) -> None:
        """Read all files anew."""
        home = self.session.home
        self.session.tasks.run(lambda: read_settings(home), self._take, self.session.notices.fail, key="settings")

    def _take(self, view: SettingsView) -> None:
        self.view = view
        if self._wanted:
            return  # what a person changes is not shown as it was; the last that is saved shows all
        if not self.lines:
            self._lay_out(view)
        for row in view.rows:
            if (line := self.lines.get(row.field.key)) is not None:
                line.show_row(row)
        self.problems.setVisible(bool(view.problems))
        self.problem_words.setText("\n\n".join("\n".join(problem.lines()) for problem in view.problems))
        self.fetch_button.setEnabled(view.has_repositories and not self._fetching)
        self.say_subtitle(f"yours are in {view.path}")

    def _lay_out(self, view: SettingsView) -> None:
        """A card a table, a line a setting."""
        self.waiting.hide()
        for table, title in GROUPS:
            rows = [row for row in view.rows if row.field.key.rpartition(".")[0] == table]
            self._body.insertWidget(self._body.count() - 1, self._card(title, rows))

    def _card(self, title: str, rows: list[SettingRow]) -> QFrame:
        card = QFrame()
        card.setProperty("surface", "card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(MARGIN, 12, MARGIN, MARGIN)
        inside.setSpacing(12)
        inside.addWidget(label(title, "heading"))
        for row in rows:
            line = SettingLine(row)
            line.asked.connect(self.change)
            self.lines[row.field.key] = line
            inside.addWidget(rule())
            inside.addWidget(line)
        inside.addSpacing(GAP)
        return card

    # -- changing

    def change(self, key: str, value: Any) -> None:
        """Save a setting, or with None take one's own back; the line shows it when it is written."""
        self._wanted.append((key, value))
        if len(self._wanted) == 1:
            self._save()

    def _save(self) -> None:
        """One at a time: they are saved in the order in which they were asked for."""
        home, (key, value) = self.session.home, self._wanted[0]
        self.session.tasks.run(
            lambda: change_setting(home, key, value), partial(self._changed, key), partial(self._refused, key)
        )

    def _next(self) -> None:
        self._wanted.pop(0)
        if self._wanted:
            self._save()
        else:
            self._take(self.view)

    def _changed(self, key: str, view: SettingsView) -> None:
        self.view = view
        self._next()
        if key == "window.theme":
            theme().set_mode(view.values.window.theme)
        self.session.events.settings_changed.emit(key)

    def _refused(self, key: str, failure: Failure) -> None:
        self._next()
        if (line := self.lines.get(key)) is not None:
            line.show_problem(failure)

    def fetch_presets(self) -> None:
        """Bring the Git repositories of presets, in the background."""
        if self._fetching:
            return
        home = self.session.home
        self._fetching = True
        self.fetch_button.setEnabled(False)
        self.say_subtitle("fetching presets …")
        self.session.tasks.run(lambda: fetch_presets(home), self._fetched, self._not_fetched)

    def _fetched(self, made: Updated) -> None:
        self._fetching = False
        self._take(made.view)
        for failure in made.failures:
            self.session.notices.fail(failure)
        if made.words:
            self.session.notices.say("ok", "Presets are fetched.", "\n".join(made.words))
            self.session.events.settings_changed.emit("folders.presets")

    def _not_fetched(self, failure: Failure) -> None:
        self._fetching = False
        self.fetch_button.setEnabled(self.view.has_repositories)
        self.say_subtitle(f"yours are in {self.view.path}" if self.view.path else "")
        self.session.notices.fail(failure)
