"""One start: `ours` is `python -m workbench.ui` (its own `main`), `page` the same until the first page is painted too,
`bare` a QMainWindow with a pyqtgraph plot in it.

Prints the monotonic clock, which all processes share, when the paint is done; then closes the window.
"""

import sys
import time

from PySide6.QtCore import QEvent, QObject, QRegularExpression, QTimer
from PySide6.QtWidgets import QApplication, QMainWindow, QWidget


class FirstPaint(QObject):
    """Hears that the main window is exposed: it answers by painting all that is in it, before anything else."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Expose:
            watched.removeEventFilter(self)
            QTimer.singleShot(0, self.painted)
        return False

    def painted(self) -> None:
        if sys.argv[1] == "page" and not self._page_is_there():
            QTimer.singleShot(1, self.painted)
            return
        print(time.monotonic(), flush=True)
        QTimer.singleShot(50, QApplication.closeAllWindows)

    @staticmethod
    def _page_is_there() -> bool:
        """Whether a page is made, and painted: what is asked for here is painted at once."""
        for widget in QApplication.topLevelWidgets():
            for page in widget.findChildren(QWidget, QRegularExpression("^page-")):
                if page.isVisible():
                    page.repaint()
                    return True
        return False


def watch_first_paint() -> None:
    """From the moment the event loop is entered; before it nothing is exposed."""
    loop, seen = QApplication.exec, FirstPaint()

    def watched() -> int:
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QMainWindow):
                widget.windowHandle().installEventFilter(seen)
        return loop()

    QApplication.exec = staticmethod(watched)  # type: ignore[assignment, method-assign]


def ours() -> int:
    from workbench.ui.start import main

    return main(["engine-workbench"])


def bare() -> int:
    app = QApplication(["bare"])
    import pyqtgraph

    window = QMainWindow()
    window.resize(1280, 800)
    window.setCentralWidget(pyqtgraph.PlotWidget())
    window.show()
    return app.exec()


if __name__ == "__main__":
    watch_first_paint()
    sys.exit({"ours": ours, "page": ours, "bare": bare}[sys.argv[1]]())
