"""What every page is to the window."""

from __future__ import annotations

from typing import Any, Protocol

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from workbench.ui.session import Session


class PageKind(Protocol):
    """What the window has to know of a page before it makes it: a subclass of Page, or who makes one later."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def icon_name(self) -> str: ...
    @property
    def with_monitor(self) -> bool: ...
    def __call__(self, session: Session) -> Page: ...


class Page(QWidget):
    """A page of the window. Subclasses set `name`, `title` and `icon_name` and build themselves in `__init__`."""

    name = ""
    title = ""
    icon_name = ""
    with_monitor = True
    """Whether the monitor stands beside it before a person chose."""
    subtitle_changed = Signal(str)
    badge_changed = Signal(int)
    """Number shown on the page's place in the rail; 0 hides it."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.subtitle = ""
        self.setObjectName(f"page-{self.name}")
        self.setAccessibleName(self.title)

    def say_subtitle(self, text: str) -> None:
        """The line beside the title."""
        if text != self.subtitle:
            self.subtitle = text
            self.subtitle_changed.emit(text)

    def header_widgets(self) -> list[QWidget]:
        """Buttons that stand in the header while the page is shown."""
        return []

    @property
    def busy(self) -> bool:
        """Whether an answer of its own background work is awaited."""
        return False

    def opened(self) -> None:
        """The page is shown: look again at what may have changed."""

    def state(self) -> dict[str, Any]:
        """What to remember between starts, as JSON values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave; anything may be missing."""

    def close_page(self) -> None:
        """The window closes: stop timers."""
