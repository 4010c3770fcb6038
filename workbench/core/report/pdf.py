"""The report as a PDF of one page."""

from __future__ import annotations

from typing import Literal

from workbench.core.report.model import Report

PaperSize = Literal["A4", "Letter"]


def write_pdf(report: Report, paper: PaperSize = "A4") -> bytes:
    """One page, landscape."""
    return b""
