"""A card that says what went wrong, until it is put away."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from workbench.ui.widgets.basics import MARGIN, button, icon_button, label, row, set_sign


def failure_card(title: QLabel, words: QWidget, explain: Callable[[], None]) -> QFrame:
    """Hidden until it is shown; what stands in `title` and `words` is the page's. `explain` opens the user guide."""
    sign = label()
    set_sign(sign, "error", "err")
    made = QFrame()
    made.setProperty("surface", "card")
    layout = QVBoxLayout(made)
    layout.setContentsMargins(MARGIN, 10, MARGIN, 10)
    more = button("Read more", explain, icon_name="help", small=True, name="Read more in the user guide")
    head = row(sign, title, more, icon_button("close", "Put this away", made.hide))
    head.layout().setStretch(1, 1)
    layout.addWidget(head)
    layout.addWidget(words)
    made.hide()
    return made
