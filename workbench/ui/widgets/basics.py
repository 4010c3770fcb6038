"""Labels, buttons, chips, rules and the empty state: the small parts, each in the theme's roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from workbench.ui.icons import icon, pixmap
from workbench.ui.theme import BASE, mono_font

GAP, GAP_SMALL, GAP_LARGE, MARGIN = 8, 4, 16, 16
ICON = 16
_ICON_GAP = 4


def label(text: str = "", role: str = "", *, wrap: bool = False, selectable: bool = False) -> QLabel:
    """A label in a role of the style sheet: title, name, text2, text3, hint, small, heading, error."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    if role:
        made.setProperty("role", role)
    made.setWordWrap(wrap)
    if selectable:
        made.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
    return made


def figure(text: str = "", size: int = BASE, role: str = "", *, bold: bool = False) -> QLabel:
    """A number: the mono face, to the right."""
    made = label(text, role)
    made.setFont(mono_font(size, bold=bold))
    made.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return made


def restyle(widget: QWidget, name: str, value: object) -> None:
    """Set a property that the style sheet looks at, and have it looked at again; nothing when it is so already."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def chip(text: str, kind: str = "plain") -> QLabel:
    """A state in a word: ok, warn, err, accent or plain."""
    made = label(text)
    made.setProperty("chip", kind)
    made.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
    return made


def set_chip(made: QLabel, text: str, kind: str) -> None:
    made.setText(text)
    restyle(made, "chip", kind)


def button(
    text: str,
    do: Callable[[], None] | None = None,
    *,
    icon_name: str = "",
    primary: bool = False,
    small: bool = False,
    name: str = "",
    tip: str = "",
) -> QPushButton:
    """A push button; `name` is its accessible name where the text does not say enough."""
    made = QPushButton(text)
    made.setProperty("primary", primary)
    made.setAutoDefault(primary)  # else a dialog takes each button that has the focus for its main one
    made.setProperty("small", small)
    if icon_name:
        set_icon(made, icon_name, "on_accent" if primary else "text2")
    made.setAccessibleName(name or text.replace("&", ""))
    if tip:
        made.setToolTip(tip)
    if do is not None:
        made.clicked.connect(lambda: do())
    return made


def set_icon(made: QAbstractButton, name: str, token: str = "text2") -> None:
    """An icon in a token's colour, drawn anew when the theme changes."""
    gap = _ICON_GAP if isinstance(made, QPushButton) and made.text() else 0
    made.setIcon(icon(name, token, ICON, gap))
    made.setIconSize(QSize(ICON + gap, ICON))
    made.setProperty("icon_of", [name, token, ICON, gap])


def set_sign(made: QLabel, name: str, token: str, size: int = ICON) -> None:
    """A label that is an icon, drawn anew when the theme changes."""
    made.setPixmap(pixmap(name, token, size, made.devicePixelRatioF()))
    made.setProperty("icon_of", [name, token, size])


def recolour(widget: QWidget) -> None:
    """Draw the icon of a button or a label in the theme's colours of now."""
    drawn = widget.property("icon_of")
    if drawn and isinstance(widget, QAbstractButton):
        widget.setIcon(icon(*drawn))
    elif drawn and isinstance(widget, QLabel):
        set_sign(widget, *drawn)


def icon_button(icon_name: str, name: str, do: Callable[[], None] | None = None, *, flat: bool = True) -> QToolButton:
    """A button that shows an icon alone; `name` is its tool tip and accessible name."""
    made = QToolButton()
    set_icon(made, icon_name, "text2")
    made.setProperty("icon_only", True)
    made.setProperty("flat", flat)
    made.setToolTip(name)
    made.setAccessibleName(name)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if do is not None:
        made.clicked.connect(lambda: do())
    return made


def segments(buttons: Sequence[QPushButton]) -> QWidget:
    """Buttons of which one is chosen, joined to one control. They want a QButtonGroup of their own."""
    for place, made in enumerate(buttons):
        made.setCheckable(True)
        made.setProperty("joined", "first" if not place else "last" if place == len(buttons) - 1 else "inner")
    return row(*buttons, gap=0)


def rule(*, vertical: bool = False) -> QFrame:
    """A hairline."""
    made = QFrame()
    made.setProperty("line", True)
    if vertical:
        made.setFixedWidth(1)
    else:
        made.setFixedHeight(1)
    return made


def surface(kind: str = "panel") -> QFrame:
    """A frame with a background: panel, bg, card or sunken."""
    made = QFrame()
    made.setProperty("surface", kind)
    return made


def row(*parts: QWidget | int | None, gap: int = GAP, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> QWidget:
    """Widgets side by side; None is a stretch, a number a space in px."""
    made = QWidget()
    layout = QHBoxLayout(made)
    layout.setContentsMargins(*margins)
    layout.setSpacing(gap)
    fill(layout, parts)
    return made


def fill(layout: QHBoxLayout | QVBoxLayout, parts: Sequence[QWidget | int | None]) -> None:
    """Put parts into a box layout; None is a stretch, a number a space in px."""
    for part in parts:
        if part is None:
            layout.addStretch(1)
        elif isinstance(part, int):
            layout.addSpacing(part)
        else:
            layout.addWidget(part)


def column(*parts: QWidget | int | None, gap: int = GAP, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> QWidget:
    """Widgets one below the other; None is a stretch, a number a space in px."""
    made = QWidget()
    layout = QVBoxLayout(made)
    layout.setContentsMargins(*margins)
    layout.setSpacing(gap)
    fill(layout, parts)
    return made


class EmptyState(QWidget):
    """What a page shows before there is anything: a sentence of what to do next, and the one button."""

    def __init__(
        self, sentence: str, detail: str = "", button_text: str = "", do: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        sentence_label = label(sentence, "title", wrap=True)
        sentence_label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        detail_label = label(detail, "text2", wrap=True)
        detail_label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        parts: list[QWidget | int | None] = [None, sentence_label]
        if detail:
            parts.append(detail_label)
        self.button: QPushButton | None = None
        if button_text:
            self.button = button(button_text, do, icon_name="play", primary=True)
            self.button.setMinimumHeight(34)
            parts += [GAP, row(None, self.button, None)]
        parts.append(None)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        fill(layout, parts)
        self.setAccessibleName(sentence)
