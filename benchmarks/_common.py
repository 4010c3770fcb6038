"""What the benchmarks share: a table for people, one JSON line for machines, and the engine to measure."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.core.home_choice import home_from


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Text columns; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def finish(name: str, ratio: float, bar: float, detail: dict[str, Any], *, at_most: bool = False) -> None:
    """Print the result as the last line and end the program: 0 when the bar is met, else 1.

    `ratio` must be at least `bar`, or at most with `at_most`.
    """
    ok = ratio <= bar if at_most else ratio >= bar
    result = {"name": name, "ratio": round(ratio, 4), "bar": bar, "ok": ok, "detail": detail}
    print(json.dumps(result), flush=True)
    sys.exit(0 if ok else 1)


def find_engine(named: str | None) -> Path:
    """The engine folder to measure: the one named, else the demo's under WORKBENCH_HOME, else the newest there.

    Ends the program with a message and code 2 when there is none.
    """
    if named is not None:
        folder = Path(named).expanduser().resolve()
        if (folder / "openvino_model.xml").is_file():
            return folder
        print(f"{folder} holds no OpenVINO engine (no openvino_model.xml)", file=sys.stderr)
        sys.exit(2)
    home = home_from(os.environ).root
    engines = [path.parent for path in home.glob("**/engine.json") if (path.parent / "openvino_model.xml").is_file()]
    engines.sort(key=lambda folder: (_preset_of(folder) == "demo", (folder / "engine.json").stat().st_mtime))
    if not engines:
        print(f"no engine under {home}; run `workbench demo` first or give --engine DIR", file=sys.stderr)
        sys.exit(2)
    return engines[-1]


def _preset_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / "provenance.json").read_bytes()).get("preset_id", ""))
    except (OSError, ValueError, AttributeError):
        return ""
