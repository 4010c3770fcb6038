"""The report as JSON, with its schema and version, and back."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from workbench.core.errors import BadInputError
from workbench.core.report.model import REPORT_SCHEMA, Report

SCHEMA_ID = f"urn:engine-workbench:report:{REPORT_SCHEMA}"


def write_json(report: Report) -> str:
    """The whole report; values that are not reported are null."""
    return report.model_dump_json(indent=1) + "\n"


def report_json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what `write_json` writes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Report.model_json_schema(mode="serialization"),
    }


def read_json(text: str) -> Report:
    """A report back. Raises BadInputError when it is none, broken, or of a newer schema."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise BadInputError("This is not a JSON file.", evidence=str(error), code="bad-report") from error
    if not isinstance(raw, dict) or raw.get("kind") != "engine-workbench-report":
        raise BadInputError(
            "This is not a report of the workbench.",
            evidence=f"kind is {raw.get('kind')!r}" if isinstance(raw, dict) else f"it holds a {type(raw).__name__}",
            fix="Choose a file that `--json` wrote.",
            code="bad-report",
        )
    version = raw.get("schema_version")
    if isinstance(version, int) and version > REPORT_SCHEMA:
        raise BadInputError(
            "This report is from a newer workbench.",
            evidence=f"schema {version}, this program reads up to {REPORT_SCHEMA}",
            fix="Update the workbench.",
            code="newer-report",
        )
    try:
        return Report.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInputError(
            "This report is damaged.",
            evidence=f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}",
            code="bad-report",
        ) from error


if __name__ == "__main__":
    print(json.dumps(report_json_schema(), indent=1))
