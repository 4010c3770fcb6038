"""The HTML of a report: whole, escaped, in need of nothing, and with all that repeats the measurement."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.core.report.made import WHEN, a_report, a_run, not_loaded, point, subject
from workbench.core.measure.record import RunRecord
from workbench.core.report.build import report_of_runs
from workbench.core.report.fit import fit_to_page
from workbench.core.report.html import write_html
from workbench.core.report.marks import colours
from workbench.core.report.model import Report
from workbench.core.report.tables import quality_table

_EMPTY = {"meta", "br"}
EVIL = "<script>alert(\"x\")</script> & 'quoted' \u6f22"


class _Page(HTMLParser):
    """Tags as they open and close, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def _parsed(report: Report) -> _Page:
    page = _Page()
    page.feed(write_html(report))
    page.close()
    return page


def _evil_report() -> Report:
    run = a_run(levels=(1, 2), repeats=1)
    evil = subject(4, EVIL, settings={"x": EVIL}, not_applied={EVIL: EVIL}, url="https://box.lab/v1?a=<b>", path="")
    head = run.head.model_copy(
        update={
            "title": EVIL,
            "notes": (EVIL,),
            "command": ("workbench", EVIL),
            "subjects": (*run.head.subjects, evil, not_loaded(5, "BF16")),
        }
    )
    points = (*run.points, point("s4", 1, ttft_ms=9, itl_ms=9, failed=EVIL))
    return report_of_runs([RunRecord(head, points)], created_at=WHEN)


def test_every_tag_is_closed() -> None:
    page = _parsed(a_report(intervals=True))
    assert page.wrong == []
    assert page.open == []


def test_it_needs_nothing_else_and_runs_nothing() -> None:
    page = _parsed(_evil_report())
    assert not {tag for tag, _ in page.seen} & {"script", "link", "img", "iframe", "object", "form", "a"}
    for _, attributes in page.seen:
        assert not any(name.startswith("on") or name in ("src", "href") for name in attributes)
    style = re.search(r"<style>.*?</style>", write_html(a_report()), re.DOTALL)
    assert style is not None
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    policy = next(a["content"] for tag, a in page.seen if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_text_of_others_is_text() -> None:
    report = _evil_report()
    page = _parsed(report)
    assert page.wrong == []
    assert page.open == []
    assert "<script>" not in write_html(report)
    assert "".join(page.text).count(EVIL) >= 6, "title, legend, matrix, numbers, settings, statements"


def test_light_and_dark_are_the_themes() -> None:
    page = write_html(a_report())
    light, _, dark = page.partition("prefers-color-scheme: dark")
    assert f"--v2: {colours('light')['v2']};" in light
    assert f"--v2: {colours('dark')['v2']};" in dark
    assert re.search(r"@media screen and \(prefers-color-scheme: dark\)", page), "paper stays light"


def test_all_that_repeats_it_is_there() -> None:
    text = "".join(_parsed(a_report()).text)
    for told in (
        "workbench compare FP16 INT8 INT4 --levels 1,4,8 --seed 1234",
        "workload 1234, load 1234",
        "02bd" * 16,
        "NVIDIA H100 80GB HBM3",
        "580.95.05",
        "SM 1,980 MHz, not locked",
        "700 W",
        "openvino 2026.4.0",
        "alternated",
        "workload.output",
        "load.warmup_requests: 2",
    ):
        assert told in text, told


def test_absent_values_are_dashes_with_a_reason() -> None:
    text = "".join(_parsed(a_report()).text)
    assert "\u2013not reported" in text
    assert "\u2013no log-probs" in text


def test_few_values_say_how_many_beside_p99() -> None:
    text = "".join(_parsed(report_of_runs([a_run(levels=(1, 16), repeats=1)], created_at=WHEN)).text)
    assert "(n 6)" in text
    assert "(n 96)" in text
    assert "(n 192)" not in text


def test_headings_carry_definitions() -> None:
    titles = [a["title"] for tag, a in _parsed(a_report()).seen if tag == "th" and a.get("title")]
    assert any(title and "(last token - first token) / (output tokens - 1)" in title for title in titles)


def test_charts_have_words_for_those_who_cannot_see_them() -> None:
    labels = [a["aria-label"] for tag, a in _parsed(a_report()).seen if tag == "svg" and a.get("role") == "img"]
    assert len(labels) == 4
    assert any(label and "Output throughput by load" in label and "INT8: " in label for label in labels)


@pytest.mark.parametrize("variants", [1, 3, 6])
@pytest.mark.parametrize("levels", [1, 4, 10])
def test_paper_has_room_for_what_stays_on_it(variants: int, levels: int) -> None:
    """Fewer rows of numbers on paper when there are more of them, the same levels of every variant, and it is said."""
    run = a_run(levels=(1,), repeats=1)
    subjects = tuple(subject(number, f"Variant {number}") for number in range(1, variants + 1))
    points = tuple(
        point(one.id, 2**place, ttft_ms=10, itl_ms=10, rounds=1, tokens=3)
        for one in subjects
        for place in range(levels)
    )
    load = run.head.load.model_copy(update={"levels": tuple(2.0**place for place in range(levels))})
    head = run.head.model_copy(update={"subjects": subjects, "load": load})
    report = report_of_runs([RunRecord(head, points)], created_at=WHEN)
    fit = fit_to_page(report, 3, quality_table(report)[1])
    assert 1.5 <= fit.rem_mm <= 2.75
    page = write_html(report)
    hidden = page.count('<tr class="screen">')
    shown = variants * levels - hidden
    assert shown <= fit.most_rows
    assert shown % variants == 0, "of every variant the same levels"
    if hidden:
        assert "more rows in the file itself" in page or f"all {variants * levels} points" in page
