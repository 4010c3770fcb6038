"""The PDF of a report: one page of the right size, whatever is in it."""

from __future__ import annotations

import re

import pytest

from tests.core.report.made import WHEN, a_report, a_run, not_loaded, point, subject
from tests.core.report.test_html import EVIL
from workbench.core.measure.record import RunRecord
from workbench.core.report.build import report_of_runs
from workbench.core.report.model import Report
from workbench.core.report.pdf import PaperSize, write_pdf


def _pages(data: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", data))


def _large(variants: int, levels: int) -> Report:
    run = a_run(levels=(1,), repeats=1)
    subjects = (
        *(subject(number, f"Variant {number} of a rather long name {EVIL}") for number in range(1, variants + 1)),
        not_loaded(variants + 1, "BF16"),
    )
    points = tuple(
        point(one.id, 2**place, ttft_ms=10 + place, itl_ms=10, rounds=1, tokens=3, failed=EVIL)
        for one in subjects[:-1]
        for place in range(levels)
    )
    command = ("workbench", "bench", *(f"/home/lab/engines/{EVIL}/{number}" for number in range(12)))
    head = run.head.model_copy(update={"subjects": subjects, "command": command, "notes": (EVIL,) * 9})
    return report_of_runs([RunRecord(head, points)], created_at=WHEN)


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "size"), [("A4", (841.89, 595.28)), ("Letter", (792.0, 612.0))])
def test_one_lying_page_with_its_fonts(paper: PaperSize, size: tuple[float, float]) -> None:
    data = write_pdf(a_report(), paper)
    assert data.startswith(b"%PDF-")
    assert _pages(data) == 1
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    assert box is not None
    assert (float(box[1]), float(box[2])) == pytest.approx(size, abs=0.02)
    assert b"Inter" in data
    assert b"JetBrainsMono" in data
    assert len(data) < 200_000, "only the letters that are used are in it"


@pytest.mark.slow
@pytest.mark.parametrize(("variants", "levels"), [(6, 10), (12, 8)])
def test_a_large_report_is_one_page_too(variants: int, levels: int) -> None:
    assert _pages(write_pdf(_large(variants, levels))) == 1


def test_nothing_measured_is_a_page_too() -> None:
    run = a_run(levels=(1,), repeats=1)
    report = report_of_runs([RunRecord(run.head, ())], created_at=WHEN)
    assert _pages(write_pdf(report)) == 1


@pytest.mark.slow
def test_the_same_report_is_the_same_file() -> None:
    report = a_report()
    assert write_pdf(report) == write_pdf(report)
