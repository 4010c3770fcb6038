"""Every verb of the window in one place: its name, key, icon and what it does; menus and the palette show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QWidget

from workbench.ui.icons import icon


class Actions(QObject):
    """Actions by id. Pages add theirs once; nothing else makes a QAction of its own for a verb."""

    def __init__(self) -> None:
        super().__init__()
        self._window: QWidget | None = None
        self._by_id: dict[str, QAction] = {}

    def belong_to(self, window: QWidget) -> None:
        """The window whose keys these are; those added before and after."""
        self._window = window
        self.setParent(window)
        for action in self:
            window.addAction(action)

    def add(
        self,
        name: str,
        title: str,
        do: Callable[[], None],
        *,
        key: str = "",
        icon_name: str = "",
        group: str = "",
        enabled: bool = True,
    ) -> QAction:
        """A new action, reachable by its key from the whole window and listed in the palette under `group`."""
        if name in self._by_id:
            raise ValueError(f"there is an action {name!r} already")
        action = QAction(title, self)
        action.setObjectName(name)
        action.setProperty("group", group)
        action.setEnabled(enabled)
        if icon_name:
            action.setIcon(icon(icon_name))
            action.setProperty("icon_name", icon_name)
        if key:
            action.setShortcut(QKeySequence(key))
        action.triggered.connect(lambda: do())
        if self._window is not None:
            self._window.addAction(action)
        self._by_id[name] = action
        return action

    def __getitem__(self, name: str) -> QAction:
        return self._by_id[name]

    def __iter__(self) -> Iterator[QAction]:
        return iter(self._by_id.values())

    def recolour(self) -> None:
        """Draw the icons anew, after the theme changed."""
        for action in self:
            if name := action.property("icon_name"):
                action.setIcon(icon(name))
