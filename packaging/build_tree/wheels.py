"""The locked libraries and the program itself, installed into the tree's own interpreter."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

from build_tree.components import canonical
from build_tree.words import Refused, called


def wheel_of(source: Path, scratch: Path) -> Path:
    """The program's wheel, built from its sources. Raises Refused when it does not build."""
    scratch.mkdir(parents=True, exist_ok=True)
    called(
        [sys.executable, "-I", "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-input",
         "--disable-pip-version-check", "-w", scratch, source],
        environ={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    found = sorted(scratch.glob("engine_workbench-*.whl"))
    if len(found) != 1:
        raise Refused(f"One wheel of the program was expected in {scratch}: {[path.name for path in found]}.")
    return found[0]


def install(runtime: Path, lock: Path, wheel: Path, scratch: Path) -> dict[str, str]:
    """Everything of the lock, by hash, then the program. Nothing is compiled and no script is kept.

    Gives the SHA-256 of each wheel by its canonical name.
    """
    python = runtime / "bin" / "python3.12"
    site = runtime / "lib" / "python3.12" / "site-packages"
    marker = site.parent / "EXTERNALLY-MANAGED"
    rules = marker.read_bytes()
    marker.unlink()
    pip: list[str | Path] = [sys.executable, "-I", "-m", "pip", "--python", python, "--disable-pip-version-check"]
    pip += ["--no-input", "install", "-q", "--no-compile", "--no-warn-script-location", "--only-binary", ":all:"]
    report = scratch / "installed.json"
    called([*pip, "--require-hashes", "--report", report, "-r", lock])
    called([*pip, "--no-deps", "--no-index", wheel])
    marker.write_bytes(rules)
    for path in sorted((runtime / "bin").iterdir()):
        if not path.name.startswith("python"):
            path.unlink()
    shutil.rmtree(runtime / "share", ignore_errors=True)
    for told in sorted(site.glob("*.dist-info/direct_url.json")):
        told.unlink()
    called([python, "-I", "-m", "pip", "--disable-pip-version-check", "check"])
    hashes = {
        canonical(one["metadata"]["name"]): one["download_info"]["archive_info"]["hashes"]["sha256"]
        for one in json.loads(report.read_text(encoding="utf-8"))["install"]
    }
    hashes["engine-workbench"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return hashes


def true_records(site: Path) -> None:
    """Every RECORD says what is there after pruning; what is gone is not in it."""
    for record in sorted(site.glob("*.dist-info/RECORD")):
        with record.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row and (site / row[0]).is_file() and ".." not in row[0]]
        with record.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(sorted(rows))
