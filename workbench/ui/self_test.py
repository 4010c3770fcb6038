"""The window's part of the self-test, as a process of its own: every page is painted, and the paint is looked at.

    python -m workbench.ui.self_test --out DIR

Nothing is shown: it paints offscreen. It prints one JSON line that says what was seen; pictures are written to DIR.
The exit status is 0 also when something is wrong: what is wrong stands in `problems`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.data import resource
from workbench.core.home_choice import home_from

if TYPE_CHECKING:
    from PySide6.QtCore import QMessageLogContext, QtMsgType
    from PySide6.QtGui import QImage

    from workbench.ui.window import Window

SIZE = (1280, 800)
_SETTLE_S, _PAGE_S = 0.15, 20.0
_FEWEST_COLOURS = 12
"""A page that painted text has far more shades; one flat surface has one."""
_SHARE_OF_ONE = 0.995
"""Of a picture's points, at most so many have one colour."""


def look_at_fonts() -> list[str]:
    """What is wrong with the faces that ship: each must be there, load, be used, and draw."""
    from PySide6.QtGui import QFontDatabase, QFontInfo

    from workbench.ui.theme import _FONTS, MONO_FACE, TEXT_FACE, mono_font, text_font

    problems = []
    for name in _FONTS:
        path = resource("fonts") / name
        if not path.is_file():
            problems.append(f"the font {name} is missing")
        elif QFontDatabase.addApplicationFont(str(path)) < 0:
            problems.append(f"the font {name} cannot be read")
    for face, font in ((TEXT_FACE, text_font(24)), (MONO_FACE, mono_font(24))):
        used = QFontInfo(font).family()
        if used != face:
            problems.append(f"{used or 'no font'} is used for {face}")
        elif share_of_ink(face) < 0.01:
            problems.append(f"{face} draws nothing")
    return problems


def share_of_ink(face: str) -> float:
    """How much of a line of text in this face is not background, 0 to 1."""
    from PySide6.QtCore import Qt
    from PySide6.QtGui import QFont, QImage, QPainter

    image = QImage(200, 40, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.white)
    painter = QPainter(image)
    font = QFont(face)
    font.setPixelSize(24)
    painter.setFont(font)
    painter.drawText(image.rect(), Qt.AlignmentFlag.AlignCenter, "Engine 0123")
    painter.end()
    points = bytes(image.constBits())
    return sum(value != 0xFF for value in points[::4]) / (image.width() * image.height())


def look_at_icons() -> list[str]:
    """Icons that come out empty."""
    from workbench.ui.icons import pixmap

    empty = []
    for path in sorted(resource("icons").glob("*.svg")):
        image = pixmap(path.stem).toImage()
        if not any(image.pixelColor(x, y).alpha() for x in range(image.width()) for y in range(image.height())):
            empty.append(path.stem)
    return [f"icons that draw nothing: {', '.join(empty[:8])}"] if empty else []


def blank(image: QImage) -> str:
    """Why a picture is no page; empty: it is one."""
    from collections import Counter

    small = image.convertToFormat(image.Format.Format_RGB32)
    points = Counter(memoryview(bytes(small.constBits())).cast("I").tolist())
    most = points.most_common(1)[0][1] / points.total()
    if len(points) < _FEWEST_COLOURS or most > _SHARE_OF_ONE:
        return f"{len(points)} colours, {most:.1%} of it one"
    return ""


def settle(window: Window) -> bool:
    """Until the background work is done and nothing was asked anew for a moment; whether that came."""
    from PySide6.QtWidgets import QApplication

    def busy() -> bool:
        return bool(window.session.tasks.busy) or any(page.busy for page in window.made_pages)

    ends = time.monotonic() + _PAGE_S
    calm = time.monotonic()
    while time.monotonic() - calm < _SETTLE_S:
        if time.monotonic() > ends:
            return False
        before = busy()
        QApplication.processEvents()
        if before or busy():  # also where the answer came just now: what it shows is laid out in the next rounds
            calm = time.monotonic()
        time.sleep(0.005)
    return True


def paint(out: Path) -> dict[str, object]:
    """Open the window over the home of the environment, and look at all its pages: `pages`, `problems`, `qt`."""
    from PySide6.QtCore import QtMsgType, qInstallMessageHandler, qVersion

    from workbench.ui.app import make_application, make_window
    from workbench.ui.pages.all import PAGES

    said: list[str] = []

    def hear(kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        if kind in (QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg):
            said.append(text)

    qInstallMessageHandler(hear)
    app = make_application(["engine-workbench"])
    problems = look_at_fonts()
    home = home_from(os.environ).make()
    window = make_window(app, home, PAGES)
    window.resize(*SIZE)
    window.show()
    window.start()
    problems += look_at_icons()
    pages = []
    for kind in PAGES:
        try:
            window.show_page(kind.name)
            if not settle(window):
                problems.append(f"the page {kind.title} was still at work after {_PAGE_S:g} s")
            whole, page = window.grab().toImage(), window.page(kind.name).grab().toImage()
        except Exception as error:  # each page is tried, whatever becomes of one
            problems.append(f"the page {kind.title} cannot be shown: {type(error).__name__}: {error}")
            continue
        problems += [f"{what} is blank: {why}" for what, image in
                     (("the window", whole), (f"the page {kind.title}", page)) if (why := blank(image))]  # fmt: skip
        picture = out / f"{kind.name}.png"
        if not whole.save(str(picture)) or not picture.stat().st_size:
            problems.append(f"no picture of {kind.title} can be written as PNG")
        pages.append(kind.name)
    problems += [f"{each.level}: {each.text}" for each in window.session.notices.kept if each.level == "error"]
    window.close()
    problems += [f"Qt says: {text}" for text in said[:5]]
    return {"pages": pages, "problems": problems, "qt": qVersion(), "platform": app.platformName()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ.pop("QT_SCALE_FACTOR", None)
    os.environ.pop("QT_PLUGIN_PATH", None)
    gc.disable()  # as the program's own start does; this process is over before it matters
    sys.stdout.write(json.dumps(paint(given.out)) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # what Qt's libraries do at the end of a process is no part of the test
