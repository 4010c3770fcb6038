"""Colours by name, dark and light, and what Qt needs of them: palette, style sheet, fonts.

No widget names a colour by its value: it asks for a token (`theme.colour("accent")`), so that one file changes all.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from workbench.core.data import resource
from workbench.core.errors import BadInputError

Mode = Literal["system", "dark", "light"]
MODES: tuple[Mode, ...] = ("system", "dark", "light")
SCHEMES = ("dark", "light")
SCHEMA = 1
SMALL, BASE, LARGE = 11, 13, 18
"""Text sizes in px."""
_FONTS = ("Inter-Regular.otf", "Inter-SemiBold.otf", "JetBrainsMono-Regular.ttf", "JetBrainsMono-SemiBold.ttf")
TEXT_FACE, MONO_FACE = "Inter", "JetBrains Mono"


def read_tokens(path: Path) -> dict[str, dict[str, str]]:
    """Scheme -> token -> `#rrggbb`. Raises BadInputError that names the token at fault."""

    def bad(what: str, evidence: str) -> BadInputError:
        return BadInputError(
            what, evidence=f"{path}: {evidence}", fix="Mend the file, or take it away.", code="bad-theme"
        )

    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise bad("The theme file cannot be read.", str(error)) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise bad("The theme file is of another version.", f"schema must be {SCHEMA}")
    found: dict[str, dict[str, str]] = {}
    for scheme in SCHEMES:
        table = data.get(scheme)
        if not isinstance(table, dict):
            raise bad(f"The theme has no {scheme} colours.", f"no table {scheme!r}")
        for name, value in table.items():
            if not isinstance(value, str) or not QColor.isValidColorName(value):
                raise bad("The theme holds a value that is no colour.", f"{scheme}.{name} = {value!r}")
        found[scheme] = dict(table)
    absent = sorted(set(_shipped()["dark"]) - set(found["dark"]) if path != resource("theme.json") else ())
    if absent or set(found["dark"]) != set(found["light"]):
        odd = absent or sorted(set(found["dark"]) ^ set(found["light"]))
        raise bad("The theme lacks colours.", ", ".join(odd[:6]))
    return found


@lru_cache(maxsize=1)
def _shipped() -> dict[str, dict[str, str]]:
    return read_tokens(resource("theme.json"))


class Theme(QObject):
    """The tokens of the scheme in use; `changed` is sent when it changes, after palette and style sheet are set.

    `own` is a person's theme file; one with an error is not used, and `problem` says why.
    """

    changed = Signal()

    def __init__(self, app: QApplication, mode: Mode = "system", own: Path | None = None) -> None:
        super().__init__(app)
        self._app = app
        self._mode: Mode = mode
        self.problem: BadInputError | None = None
        self._tokens = _shipped()
        if own is not None and own.is_file():
            try:
                self._tokens = read_tokens(own)
            except BadInputError as error:
                self.problem = error
        self._scheme = self._wanted()
        app.styleHints().colorSchemeChanged.connect(self._follow)
        self._apply()

    @property
    def mode(self) -> Mode:
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        """Follow the system, or stay dark or light."""
        self._mode = mode
        self._follow()

    @property
    def scheme(self) -> str:
        """ "dark" or "light"."""
        return self._scheme

    def hex(self, token: str) -> str:
        """`#rrggbb` of a token. Raises KeyError for a name that the theme file lacks."""
        return self._tokens[self._scheme][token]

    def colour(self, token: str) -> QColor:
        """A token as a colour. Raises KeyError."""
        return QColor(self.hex(token))

    def _wanted(self) -> str:
        if self._mode != "system":
            return self._mode
        # Where the platform tells nothing (offscreen, plain X), dark is the default.
        return "light" if self._app.styleHints().colorScheme() == Qt.ColorScheme.Light else "dark"

    def _follow(self) -> None:
        wanted = self._wanted()
        if wanted != self._scheme:
            self._scheme = wanted
            self._apply()
            self.changed.emit()

    def _apply(self) -> None:
        self._app.setPalette(self._palette())
        self._app.setStyleSheet(_style(self._tokens[self._scheme], self._scheme))

    def _palette(self) -> QPalette:
        palette = QPalette()
        roles = QPalette.ColorRole
        for role, token in (
            (roles.Window, "bg"),
            (roles.Base, "sunken"),
            (roles.AlternateBase, "panel"),
            (roles.Button, "raised"),
            (roles.Text, "text"),
            (roles.WindowText, "text"),
            (roles.ButtonText, "text"),
            (roles.BrightText, "text"),
            (roles.PlaceholderText, "text3"),
            (roles.Highlight, "accent_bg"),
            (roles.HighlightedText, "text"),
            (roles.Link, "accent"),
            (roles.Accent, "accent"),
            (roles.ToolTipBase, "raised"),
            (roles.ToolTipText, "text"),
            (roles.Mid, "line2"),
            (roles.Midlight, "line"),
            (roles.Dark, "line2"),
            (roles.Light, "raised"),
            (roles.Shadow, "bg"),
        ):
            palette.setColor(role, self.colour(token))
        for role in (roles.Text, roles.WindowText, roles.ButtonText):
            palette.setColor(QPalette.ColorGroup.Disabled, role, self.colour("disabled"))
        return palette


def load_fonts(app: QApplication) -> None:
    """Make the shipped faces known and Inter the program's own; without them Qt takes the system's."""
    for name in _FONTS:
        QFontDatabase.addApplicationFont(str(resource("fonts") / name))
    app.setFont(text_font())


def text_font(size: int = BASE, *, bold: bool = False) -> QFont:
    """Inter; `size` in px, `bold` is weight 600."""
    return _font(TEXT_FACE, size, bold)


def mono_font(size: int = BASE, *, bold: bool = False) -> QFont:
    """JetBrains Mono with figures of one width and without ligatures, for numbers, code and logs."""
    font = _font(MONO_FACE, size, bold)
    font.setStyleHint(QFont.StyleHint.Monospace)
    if hasattr(QFont, "setFeature"):  # Qt 6.7
        font.setFeature(QFont.Tag("calt"), 0)
    return font


def _font(face: str, size: int, bold: bool) -> QFont:
    font = QFont(face)
    font.setPixelSize(size)
    font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    return font


def theme() -> Theme:
    """The program's theme. Raises RuntimeError before one was made."""
    app = QGuiApplication.instance()
    found = app.findChild(Theme) if app is not None else None
    if found is None:
        raise RuntimeError("no theme yet: make a Theme(app) first")
    return found


def _style(t: dict[str, str], scheme: str) -> str:
    """The style sheet: what a palette cannot say of Fusion's controls. Sizes are the 4 px grid's."""
    # A style sheet takes pictures from files alone; those in use are of one grey, or a tick for each scheme.
    drawn = resource("controls").as_posix()
    return f"""
* {{ outline: none; }}
QToolTip {{ background: {t["raised"]}; color: {t["text"]}; border: 1px solid {t["line2"]}; padding: 4px 8px; }}
QPushButton, QToolButton {{
  background: {t["raised"]}; color: {t["text"]}; border: 1px solid {t["line2"]}; border-radius: 4px;
  padding: 0 12px; min-height: 26px;
}}
QPushButton:hover, QToolButton:hover {{ border-color: {t["ctl"]}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {t["track"]}; }}
QPushButton:checked, QToolButton:checked {{ background: {t["accent_bg"]}; border-color: {t["accent_line"]}; }}
QPushButton:disabled, QToolButton:disabled {{
  color: {t["disabled"]}; background: {t["panel"]}; border-color: {t["line"]};
}}
QPushButton:focus, QToolButton:focus {{ border: 2px solid {t["accent"]}; padding: 0 11px; min-height: 24px; }}
QPushButton:default, QPushButton[primary="true"] {{
  background: {t["accent"]}; color: {t["on_accent"]}; border-color: {t["accent"]}; font-weight: 600;
}}
QPushButton[primary="true"]:focus {{ border: 2px solid {t["text"]}; }}
QPushButton[primary="true"]:disabled {{
  background: {t["panel"]}; color: {t["disabled"]}; border-color: {t["line"]};
}}
QPushButton[small="true"], QToolButton[small="true"] {{ min-height: 22px; padding: 0 8px; font-size: {SMALL}px; }}
QPushButton[small="true"]:focus, QToolButton[small="true"]:focus {{ min-height: 20px; padding: 0 7px; }}
/* Qt adds 3 px to what a tool button asks for. */
QToolButton {{ min-height: 26px; max-height: 26px; }}
QToolButton:focus {{ min-height: 24px; max-height: 24px; }}
QToolButton[small="true"] {{ min-height: 22px; max-height: 22px; }}
QToolButton[small="true"]:focus {{ min-height: 20px; max-height: 20px; }}
QToolButton[flat="true"], QPushButton[flat="true"] {{ background: transparent; border-color: transparent; }}
QToolButton[flat="true"]:hover, QPushButton[flat="true"]:hover {{ background: {t["raised"]}; }}
QToolButton[flat="true"]:focus, QPushButton[flat="true"]:focus {{ border: 2px solid {t["accent"]}; }}
QPushButton[segment="true"] {{ border-radius: 0; margin-left: -1px; padding: 0 10px; background: {t["sunken"]}; }}
QPushButton[segment="true"]:checked {{
  background: {t["accent_bg"]}; border: 1px solid {t["accent_line"]}; border-bottom: 2px solid {t["accent"]};
}}
QPushButton[segment="true"]:focus {{ border: 2px solid {t["accent"]}; padding: 0 9px; }}
QPushButton[segment="true"]:disabled {{ color: {t["disabled"]}; }}
QToolButton[heading="true"] {{ font-weight: 600; padding: 0 8px; }}
QToolButton[icon_only="true"] {{ padding: 0 4px; }}
QToolButton[icon_only="true"]:focus {{ padding: 0 3px; }}
/* The button in a field that empties it. */
QLineEdit QToolButton, QLineEdit QToolButton:hover {{
  min-height: 0; max-height: 32px; padding: 0; border: none; background: transparent;
}}
QToolButton::menu-indicator {{ image: none; }}
QLineEdit, QPlainTextEdit, QTextEdit, QSpinBox, QDoubleSpinBox, QComboBox {{
  background: {t["sunken"]}; color: {t["text"]}; border: 1px solid {t["line2"]}; border-radius: 4px;
  selection-background-color: {t["accent_line"]}; selection-color: {t["text"]};
}}
QLineEdit, QSpinBox, QDoubleSpinBox, QComboBox {{ min-height: 26px; padding: 0 8px; }}
QLineEdit[locked="true"] {{ background: {t["panel"]}; color: {t["text2"]}; border-color: {t["line"]}; }}
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus {{
  border: 2px solid {t["accent"]};
}}
QLineEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus {{ min-height: 24px; padding: 0 7px; }}
QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled, QComboBox:disabled {{
  color: {t["disabled"]}; border-color: {t["line"]};
}}
QLineEdit[wrong="true"], QSpinBox[wrong="true"], QDoubleSpinBox[wrong="true"] {{ border-color: {t["err"]}; }}
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button, QDoubleSpinBox::down-button {{
  width: 0; border: none;
}}
QSlider {{ min-height: 20px; }}
QSlider::groove:horizontal {{ height: 2px; background: {t["track"]}; border-radius: 1px; }}
QSlider::sub-page:horizontal {{ background: {t["accent"]}; border-radius: 1px; }}
QSlider::handle:horizontal {{
  width: 12px; height: 12px; margin: -5px 0; border-radius: 6px; background: {t["text"]};
}}
QSlider::handle:horizontal:focus {{ background: {t["accent"]}; }}
QSlider::sub-page:horizontal:disabled, QSlider::handle:horizontal:disabled {{ background: {t["disabled"]}; }}
QComboBox::drop-down {{ border: none; width: 24px; }}
QComboBox::down-arrow {{ image: url("{drawn}/arrow-down.svg"); width: 14px; height: 14px; }}
QComboBox QAbstractItemView {{
  background: {t["panel"]}; color: {t["text"]}; border: 1px solid {t["line2"]};
  selection-background-color: {t["accent_bg"]}; selection-color: {t["text"]};
}}
QCheckBox {{ spacing: 8px; }}
QCheckBox::indicator {{
  width: 14px; height: 14px; border: 1px solid {t["ctl"]}; border-radius: 3px; background: {t["sunken"]};
}}
QCheckBox::indicator:checked {{
  background: {t["accent"]}; border-color: {t["accent"]}; image: url("{drawn}/check-{scheme}.svg");
}}
QCheckBox::indicator:focus {{ border: 2px solid {t["accent"]}; }}
QTableView, QTreeView, QListView {{
  background: {t["panel"]}; alternate-background-color: {t["panel"]}; border: none; gridline-color: {t["line"]};
}}
QTableView::item:selected, QTreeView::item:selected, QListView::item:selected {{
  background: {t["accent_bg"]}; color: {t["text"]};
}}
/* Qt adds 3 px to what a cell asks for; the headings have 8. */
QTableView[padded="true"]::item {{ padding: 0 5px; }}
QTableView:focus, QTreeView:focus, QListView:focus {{ border: 1px solid {t["accent_line"]}; }}
QHeaderView {{ background: {t["panel"]}; }}
QHeaderView::section {{
  background: {t["panel"]}; color: {t["text3"]}; border: none; border-bottom: 1px solid {t["line"]};
  padding: 0 8px; font-size: {SMALL}px; font-weight: 600; min-height: 26px;
}}
JobsTable QHeaderView::section {{ padding: 0 12px; }}
/* The arrow of a sorted column stands in the padding at the left: at the right Qt cuts the title for it. */
QHeaderView::up-arrow {{ image: url("{drawn}/arrow-up.svg"); }}
QHeaderView::down-arrow {{ image: url("{drawn}/arrow-down.svg"); }}
QHeaderView::up-arrow, QHeaderView::down-arrow {{
  width: 8px; height: 8px; subcontrol-origin: margin; subcontrol-position: center left;
}}
Reader {{ border: 2px solid transparent; border-radius: 0; }}
Reader:focus {{ border-color: {t["accent"]}; }}
QScrollArea {{ background: transparent; border: none; }}
QMainWindow::separator {{ background: {t["line"]}; width: 1px; height: 1px; }}
QStatusBar {{ background: {t["panel"]}; border-top: 1px solid {t["line"]}; }}
QStatusBar::item {{ border: none; }}
Rail {{ border-right: 1px solid {t["line"]}; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
QScrollBar::handle {{ background: {t["line2"]}; border-radius: 3px; min-height: 24px; min-width: 24px; margin: 2px; }}
QScrollBar::handle:hover {{ background: {t["ctl"]}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QSplitter::handle {{ background: {t["line"]}; }}
QMenu {{ background: {t["panel"]}; border: 1px solid {t["line2"]}; padding: 4px; }}
QMenu::item {{ padding: 4px 24px 4px 12px; border-radius: 4px; }}
QMenu::item:selected {{ background: {t["accent_bg"]}; }}
QMenu::item:disabled {{ color: {t["disabled"]}; }}
QProgressBar {{ background: {t["track"]}; border: none; border-radius: 2px; max-height: 4px; min-height: 4px; }}
QProgressBar::chunk {{ background: {t["accent"]}; border-radius: 2px; }}
QFrame[surface="panel"] {{ background: {t["panel"]}; }}
QFrame[surface="bg"] {{ background: {t["bg"]}; }}
QFrame[surface="card"] {{ background: {t["panel"]}; border: 1px solid {t["line"]}; border-radius: 6px; }}
QFrame[surface="sunken"] {{ background: {t["sunken"]}; border: 1px solid {t["line"]}; border-radius: 6px; }}
QFrame[line="true"] {{ background: {t["line"]}; border: none; }}
QPushButton[joined] {{ border-radius: 0; border-right: none; }}
QPushButton[joined="first"] {{ border-top-left-radius: 4px; border-bottom-left-radius: 4px; }}
QPushButton[joined="last"] {{
  border-top-right-radius: 4px; border-bottom-right-radius: 4px; border-right: 1px solid {t["line2"]};
}}
QPushButton[joined]:checked {{ border: 1px solid {t["accent_line"]}; border-bottom: 2px solid {t["accent"]}; }}
QPushButton[joined]:focus {{ border: 2px solid {t["accent"]}; }}
QPushButton[field="true"] {{
  background: {t["sunken"]}; color: {t["text3"]}; text-align: left; padding: 0 10px;
}}
QPushButton[field="true"]:focus {{ padding: 0 9px; }}
QPushButton[field="true"][narrow="true"] {{ text-align: center; }}
QLabel {{ background: transparent; }}
QLabel[role="title"] {{ font-size: {LARGE}px; font-weight: 600; }}
QLabel[role="name"] {{ font-weight: 600; }}
QLabel[role="text2"] {{ color: {t["text2"]}; }}
QLabel[role="text3"] {{ color: {t["text3"]}; }}
QLabel[role="hint"] {{ color: {t["text3"]}; font-size: {SMALL}px; }}
QLabel[role="small"] {{ color: {t["text2"]}; font-size: {SMALL}px; }}
QLabel[role="heading"] {{ color: {t["text2"]}; font-size: {SMALL}px; font-weight: 600; }}
QLabel[role="off"] {{ color: {t["disabled"]}; }}
QLabel[role="mark"] {{ color: {t["accent"]}; font-size: 8px; }}
QLabel[role="error"] {{ color: {t["err"]}; }}
QLabel[chip="ok"] {{ color: {t["ok"]}; background: {t["ok_bg"]}; }}
QLabel[chip="warn"] {{ color: {t["warn"]}; background: {t["warn_bg"]}; }}
QLabel[chip="err"] {{ color: {t["err"]}; background: {t["err_bg"]}; }}
QLabel[chip="accent"] {{
  color: {t["text"]}; background: {t["accent_bg"]}; border: 1px solid {t["accent_line"]};
}}
QLabel[chip="plain"] {{ color: {t["text2"]}; background: transparent; border: 1px solid {t["line2"]}; }}
QLabel[chip] {{ border-radius: 4px; padding: 2px 8px; font-size: {SMALL}px; }}
"""
