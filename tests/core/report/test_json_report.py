"""JSON of a report: it fits the schema that ships, reads back as it was, and refuses what it is not."""

from __future__ import annotations

import json

import jsonschema
import pytest

from tests.core.report.made import a_report
from workbench.core.data import resource
from workbench.core.errors import BadInputError
from workbench.core.report.json_report import read_json, report_json_schema, write_json
from workbench.core.report.model import REPORT_SCHEMA


def test_it_fits_its_schema() -> None:
    written = json.loads(write_json(a_report(intervals=True)))
    jsonschema.Draft202012Validator.check_schema(report_json_schema())
    jsonschema.validate(written, report_json_schema(), cls=jsonschema.Draft202012Validator)
    assert written["schema_version"] == REPORT_SCHEMA


def test_the_schema_refuses_what_is_no_report() -> None:
    written = json.loads(write_json(a_report()))
    written["points"][0]["ttft_p50_ms"] = "fast"
    with pytest.raises(jsonschema.ValidationError, match="ttft_p50_ms"):
        jsonschema.validate(written, report_json_schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_that_ships_is_the_programs() -> None:
    """`python -m workbench.core.report.json_report > resources/report/report.schema.json` writes it again."""
    assert json.loads(resource("report/report.schema.json").read_text(encoding="utf-8")) == report_json_schema()


def test_what_is_not_reported_is_null() -> None:
    written = json.loads(write_json(a_report()))
    assert written["points"][0]["goodput_req_s"] is None


def test_reads_back_as_it_was() -> None:
    report = a_report(intervals=True)
    assert read_json(write_json(report)) == report


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad-report"),
        ("[1, 2]", "bad-report"),
        ('{"kind": "bench"}', "bad-report"),
        (f'{{"kind": "engine-workbench-report", "schema_version": {REPORT_SCHEMA + 1}}}', "newer-report"),
        ('{"kind": "engine-workbench-report", "schema_version": 1, "title": 5}', "bad-report"),
    ],
)
def test_what_is_no_report_is_said(text: str, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_json(text)
    assert caught.value.failure.code == code
    assert caught.value.evidence
