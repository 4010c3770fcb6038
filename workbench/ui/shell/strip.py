"""The strip under the header in which notices appear: one at a time, with what to do, and a way to close it."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel

from workbench.ui.notices import Notice
from workbench.ui.widgets.basics import GAP, MARGIN, button, column, icon_button, label, set_sign

_SECONDS = {"info": 6, "ok": 6, "warning": 15, "error": 0}
"""How long a notice stays; 0: until it is closed."""
ICONS = {
    "info": ("info", "accent"),
    "ok": ("check-circle", "ok"),
    "warning": ("warn", "warn"),
    "error": ("error", "err"),
}


class NoticeStrip(QFrame):
    """Shows the newest notice; an error is not pushed away by what is less."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "card")
        self.setAccessibleName("Notice")
        self._now: Notice | None = None
        self._icon, self._text = QLabel(), label("", "name", wrap=True)
        self._detail = label("", "text2", wrap=True, selectable=True)
        self._button = button("", self._do)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.close_notice)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(MARGIN, GAP, GAP, GAP)
        layout.addWidget(self._icon)
        layout.addWidget(column(self._text, self._detail, gap=2), 1)
        layout.addWidget(self._button)
        layout.addWidget(icon_button("close", "Close this notice", self.close_notice))
        self.hide()

    def show_notice(self, notice: Notice) -> None:
        if self._now is not None and self._now.level == "error" and notice.level != "error":
            return
        self._now = notice
        name, token = ICONS[notice.level]
        set_sign(self._icon, name, token)
        self._text.setText(notice.text)
        self._detail.setText(notice.detail)
        self._detail.setVisible(bool(notice.detail))
        self._button.setText(notice.button)
        self._button.setAccessibleName(notice.button)
        self._button.setVisible(bool(notice.button))
        self.setAccessibleDescription(notice.text)
        self.show()
        self._timer.stop()
        if seconds := _SECONDS[notice.level]:
            self._timer.start(seconds * 1000)

    def close_notice(self) -> None:
        self._now = None
        self._timer.stop()
        self.hide()

    def _do(self) -> None:
        notice = self._now
        self.close_notice()
        if notice is not None and notice.do is not None:
            notice.do()
