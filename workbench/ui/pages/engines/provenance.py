"""Where an engine came from: model, calibration, every command, library versions, machine, what verify found."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from workbench.core.artifact import StepRecord
from workbench.core.units import format_bytes, format_count, format_duration
from workbench.ui.models.engines import EngineDetail
from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import MARGIN, label


class Elided(QLabel):
    """One line that gives way in its middle where there is no room; the tool tip has it whole."""

    def __init__(self, text: str, role: str = "", font: QFont | None = None) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        if role:
            self.setProperty("role", role)
        if font is not None:
            self.setFont(font)
        self.setMinimumWidth(40)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.full = text
        self.setToolTip(text)
        self.setAccessibleName(text)
        self.setText(text)

    def say(self, text: str) -> None:
        """Show another text, in the room that there is."""
        self.full = text
        self.setToolTip(text)
        self.setAccessibleName(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setText(QFontMetrics(self.font()).elidedText(self.full, Qt.TextElideMode.ElideMiddle, self.width()))


class ProvenancePane(QScrollArea):
    """Rows of a name and lines; made anew for each engine."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Provenance")
        self.lines: list[tuple[str, str]] = []

    def show_detail(self, detail: EngineDetail) -> None:
        body = QWidget()
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        self.lines = []
        for number, (name, parts) in enumerate(provenance_rows(detail)):
            head = label(name, "text2")
            grid.addWidget(head, number, 0, Qt.AlignmentFlag.AlignTop)
            cell = QWidget()
            lines = QVBoxLayout(cell)
            lines.setContentsMargins(0, 0, 0, 0)
            lines.setSpacing(2)
            for role, text in parts:
                font = mono_font(SMALL) if role in ("code", "hash") else None
                lines.addWidget(Elided(text, {"code": "", "hash": "text3", "text": ""}.get(role, role), font))
                self.lines.append((name, text))
            grid.addWidget(cell, number, 1)
        whole = QVBoxLayout(body)
        whole.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
        whole.addLayout(grid)
        whole.addStretch(1)
        self.setWidget(body)


def provenance_rows(detail: EngineDetail) -> list[tuple[str, list[tuple[str, str]]]]:
    """(name, [(role, text)]): role is text, code, hash, or one of a label's."""
    p = detail.provenance
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    if detail.missing_files:
        rows.append(("Not whole", [("error", text) for text in detail.missing_files[:5]]))
    if detail.row.shared:
        rows.append(("Shared", [("text", f"under {detail.row.shared}: used from here, and never changed")]))
    if p.model is not None:
        rows.append(
            (
                "Model",
                [
                    ("text", p.model.path),
                    ("text", f"{p.model.architecture}, {format_count(p.model.parameters)} parameters"),
                    ("hash", f"digest {p.model.digest}"),
                ],
            )
        )
    if calibration := _calibration(p.steps):
        rows.append(("Calibration", calibration))
    commands: list[tuple[str, str]] = []
    for step in p.steps:
        commands.append(("text", f"{step.kind}  {format_duration(step.seconds)}"))
        commands.append(("code", " ".join(step.argv)))
        if step.settings:
            commands.append(("hash", _settings(step.settings)))
    rows.append(("Commands", commands or [("text", "not reported")]))
    versions: dict[str, str] = {}
    for step in p.steps:
        versions |= step.versions
    pairs = [f"{name} {version}" for name, version in versions.items()]
    lines = [", ".join(pairs[at : at + 3]) for at in range(0, len(pairs), 3)]
    rows.append(("Libraries", [("text", line) for line in lines] or [("text", "not reported")]))
    gpus = ", ".join(p.machine.gpus) or "none"
    rows.append(("GPU", [("text", gpus + (f", driver {p.machine.driver}" if p.machine.driver else ""))]))
    memory = format_bytes(p.machine.memory_bytes)
    rows.append(("Machine", [("text", f"{p.machine.cpu}, {memory}"), ("text", p.machine.os)]))
    rows.append(("Verified", [("text", text) for text in verify_words(detail.verified)]))
    rows.append(("Workbench", [("text", p.workbench + (f", preset {p.preset_id}" if p.preset_id else ""))]))
    rows.append(("Key", [("hash", p.key)]))
    return rows


def verify_words(step: StepRecord | None) -> list[str]:
    """What verify found, in lines; what it did not report is said."""
    if step is None:
        return ["no"]
    agreement, kl = step.result.get("agreement"), step.result.get("kl_nats")
    speed = step.result.get("output_tok_s")
    same = f"agreement {100 * agreement:.1f} % with the source model" if agreement is not None else ""
    return [
        same or "agreement not reported",
        ", ".join(
            (
                f"mean KL {kl:.4f} nats" if kl is not None else "KL not reported",
                f"{speed:.1f} tokens/s" if speed is not None else "speed not reported",
            )
        ),
        *filter(None, str(step.result.get("remark") or "").split("; ")),
    ]


def _calibration(steps: tuple[StepRecord, ...]) -> list[tuple[str, str]]:
    for step in steps:
        found = step.result.get("calibration")
        if isinstance(found, dict) and found:
            digest = str(found.get("sha256") or found.get("digest") or "")
            plain = {k: v for k, v in found.items() if not isinstance(v, list | dict) and str(v) != digest}
            words = ", ".join(f"{name} {value}" for name, value in plain.items())
            return [("text", words)] + ([("hash", f"sha256 {digest}")] if digest else [])
    return []


def _settings(settings: dict[str, Any]) -> str:
    """Settings in words: a list as its items, and nothing of what was left open."""
    said = {name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)
