"""Icons: 16 px outlines drawn in one file each (resources/icons), coloured by token when they are asked for."""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from workbench.core.data import resource
from workbench.ui.theme import theme


def icon(name: str, colour: str = "text2", size: int = 16, gap: int = 0) -> QIcon:
    """An icon by its file's name, in the colour of a token, at `size` px; sharp at scale 1 and 2.

    `gap` px right of it stay empty: Qt puts a button's text too close to its icon.
    """
    found = QIcon()
    for scale in (1.0, 2.0):
        drawn = pixmap(name, colour, size, scale, gap)
        found.addPixmap(drawn)
        found.addPixmap(drawn, QIcon.Mode.Selected)  # in a chosen row; Qt would tint it
        found.addPixmap(pixmap(name, "disabled", size, scale, gap), QIcon.Mode.Disabled)
    return found


def pixmap(name: str, colour: str = "text2", size: int = 16, scale: float = 1.0, gap: int = 0) -> QPixmap:
    """The icon as a pixmap of `size` px at a device pixel ratio of `scale`, with `gap` empty px at the right."""
    return QPixmap(_drawn(name, theme().hex(colour), size, scale, gap))


@lru_cache(maxsize=1024)
def _drawn(name: str, colour: str, size: int, scale: float, gap: int) -> QPixmap:
    """Drawn once for each colour: pages share their icons, and tables paint the same ones again and again."""
    image = QPixmap(int((size + gap) * scale), int(size * scale))
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    QSvgRenderer(QByteArray(_svg(name, colour).encode())).render(painter, QRectF(0, 0, image.height(), image.height()))
    painter.end()
    image.setDevicePixelRatio(scale)
    return image


@lru_cache(maxsize=512)
def _svg(name: str, colour: str) -> str:
    return (resource("icons") / f"{name}.svg").read_text("utf-8").replace("currentColor", colour)
