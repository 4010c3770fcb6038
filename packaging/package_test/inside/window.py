"""Run by the package's own Python: opens the window offscreen as a person has it, draws a page, closes it.

    python3.12 window.py OUT.png [PAGE]

Prints JSON: the page that was shown at the start, the size, how many colours the picture has. Without PAGE the window
stays on the page where it was left. It uses only what the previous version has too.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(out: str, page: str = "") -> int:
    from PySide6.QtWidgets import QApplication

    try:
        from workbench.core.home_choice import home_from
    except ModuleNotFoundError:  # 0.1.0
        from workbench.core.home import home_from
    from workbench.ui.app import make_application, make_window
    from workbench.ui.pages.all import PAGES

    app = make_application(["engine-workbench"])
    window = make_window(app, home_from(os.environ), PAGES)
    if page:
        window.resize(1111, 777)
    window.show()
    window.start()
    _settle(window, QApplication)
    first = window.session.state.get("page", "")
    if page:
        window.show_page(page)
        _settle(window, QApplication)
    picture = window.grab()
    if not picture.save(out):
        return 3
    image = picture.toImage()
    steps = [(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)]
    colours = len({image.pixel(x, y) for x, y in steps})
    size = [window.width(), window.height()]
    window.close()
    ends = time.monotonic() + 5
    while time.monotonic() < ends and window.session.tasks.busy:
        QApplication.processEvents()
        time.sleep(0.02)
    sys.stdout.write(json.dumps({"page": first, "size": size, "colours": colours}) + "\n")
    return 0


def _settle(window: object, application: object) -> None:
    """Until the background work is done and nothing was asked anew for a moment."""
    ends, calm = time.monotonic() + 40, time.monotonic()
    while time.monotonic() < ends and time.monotonic() - calm < 0.4:
        application.processEvents()  # type: ignore[attr-defined]
        if window.session.tasks.busy or any(page.busy for page in window.made_pages):  # type: ignore[attr-defined]
            calm = time.monotonic()
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
