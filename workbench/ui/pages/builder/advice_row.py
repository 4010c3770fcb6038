"""A line of advice: what, why in figures, what to do, and the button that does it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from workbench.core.advice import Advice
from workbench.core.preset_fields import choice_words, fields_by_path
from workbench.ui.icons import pixmap
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, rule
from workbench.ui.widgets.editors import number_words, spaced

_ICONS = {
    "block": ("error", "err"),
    "warning": ("warn", "warn"),
    "hint": ("info", "text2"),
    "ok": ("check-circle", "ok"),
}
_OTHER_FIXES = {
    "no-environment": ("Open Doctor", "doctor"),
    "disk": ("Open Engines", "engines"),
    "no-gpu": ("Make the checkpoint only", "checkpoint"),
    **dict.fromkeys(("no-target", "bad-gpu-target"), ("Choose the GPUs", "targets")),
    "no-weights": ("Choose another model", "model"),
    "no-chat-template": ("Choose another model", "model"),
    "already-quantized": ("Choose another model", "model"),
    "host-memory": ("Open Jobs", "jobs"),
    # What is wrong with another machine: the doctor says all of it, and looks again.
    **dict.fromkeys(
        (
            "no-such-target", "bad-target", "no-such-host", "login-refused", "host-key-unknown", "host-key-changed",
            "unreachable", "timed-out", "no-connection", "connection-lost", "no-answer", "no-rsync-there", "no-slurm",
            "no-python-there", "old-python",
        ),
        ("Open Doctor", "doctor"),
    ),
}  # fmt: skip
"""For advice whose fix is no setting: the button's words and where it leads."""
_ELSE = ("Choose another preset", "presets")


def fix_button(advice: Advice) -> tuple[str, str]:
    """(words, where it leads) of the button; "apply" sets the advice's overrides."""
    if advice.overrides:
        return "Set " + ", ".join(override_words(item) for item in advice.overrides), "apply"
    return _OTHER_FIXES.get(advice.code, _ELSE)


def override_words(item: str) -> str:
    """`runtime.kv_cache_gib=2.5` as "KV cache size 2.5 GiB"."""
    name, _, value = item.partition("=")
    field = fields_by_path().get(tuple(name.split(".")))
    if field is None:
        return f"{name.removeprefix('build.flags.')} {value}"
    words = value
    if field.kind == "choice":
        words = next((choice_words(field, c) for c in field.choices if str(c).lower() == value.lower()), value)
    elif field.kind in ("whole", "number"):
        try:
            words = number_words(float(value) if field.kind == "number" else int(value))
        except ValueError:
            words = value
    elif field.kind == "switch":
        words = {"true": "on", "false": "off"}.get(value.lower(), value)
    if value.lower() == "none":
        words = "empty"
    return f"{field.title[:1].lower() + field.title[1:] if field.title[1:2].islower() else field.title} {words}" + (
        f" {field.unit}" if field.unit and field.kind in ("whole", "number") else ""
    )


class AdviceRow(QWidget):
    """One line of advice. `lead` is called with the advice and where its button leads."""

    def __init__(self, advice: Advice, lead: Callable[[Advice, str], None]) -> None:
        super().__init__()
        self.advice = advice
        icon, token = _ICONS[advice.level]
        sign = QLabel()
        sign.setPixmap(pixmap(icon, token, 16, self.devicePixelRatioF()))
        sign.setFixedWidth(20)
        sign.setAlignment(Qt.AlignmentFlag.AlignTop)
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(label(spaced(advice.text), "name", wrap=True, selectable=False))
        if advice.arithmetic:
            words.addWidget(label(spaced(advice.arithmetic), "small", wrap=True))
        if advice.fix:
            words.addWidget(label(spaced(advice.fix), "text2", wrap=True))
        text, where = fix_button(advice)
        self.button = button(text, lambda: lead(advice, where), small=True, name=f"{text}: {advice.text}")
        line = QHBoxLayout()
        line.addWidget(self.button)
        line.addStretch(1)
        words.addLayout(line)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(rule())
        inner = QHBoxLayout()
        inner.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        inner.addWidget(sign, 0, Qt.AlignmentFlag.AlignTop)
        inner.addLayout(words, 1)
        layout.addLayout(inner)
