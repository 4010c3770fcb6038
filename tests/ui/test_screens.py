"""Pictures of every page, with recorded objects where nothing was built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from tests.fakes.plans import ROOT
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.ui.models.engines import read_rows
from workbench.ui.models.jobs import JobsReader
from workbench.ui.pages.all import PAGES
from workbench.ui.recorded import has_engines, recorded_home
from workbench.ui.theme import SCHEMES


def test_the_recorded_home_holds_what_was_measured(tmp_path: Path) -> None:
    home = recorded_home(tmp_path / "home")
    assert has_engines(home) and not has_engines(Home(tmp_path / "other"))
    rows = read_rows(home, read_host().cpu_identity).rows
    assert {row.name: round(row.size_bytes / 1e6, 1) for row in rows} == {
        "SmolLM2-135M-Instruct fp16, recorded": 277.3,
        "SmolLM2-135M-Instruct int8, recorded": 143.5,
        "SmolLM2-135M-Instruct int4, recorded": 94.8,
    }
    assert not any(row.missing for row in rows)
    jobs = JobsReader(home.jobs).read()
    assert [row.status for row in jobs.rows].count("done") == 3 and not jobs.unreadable
    (failed,) = (row for row in jobs.rows if row.status == "failed")
    assert failed.failure is not None and failed.failure.code == "bad-group-size"
    assert all("recorded" in row.title for row in jobs.rows) and failed.words(time.time())[0] == "Failed in Quantize"
    whole = sum(path.stat().st_blocks * 512 for path in home.root.rglob("*"))
    assert whole < 2 << 20, "the large files hold nothing"


def test_the_records_name_no_machine() -> None:
    for path in (ROOT / "resources" / "recorded").rglob("*"):
        if path.is_file():
            found = re.findall(r"(?<![\w}~.])/(?:tmp|home|root|work|mnt|usr)/\S*", path.read_text("utf-8"))
            assert not found, path


@pytest.mark.early
@pytest.mark.slow
def test_every_page_is_pictured_in_both_schemes_and_scales(tmp_path: Path) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "workbench.ui.screens", "--out", str(out), "--home", str(empty)],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "recorded objects are shown" in done.stderr
    for kind in PAGES:
        for scheme in SCHEMES:
            for scale in (1, 2):
                image = QImage(str(out / f"{kind.name}-{scheme}-{scale}x.png"))
                assert (image.width(), image.height()) == (1600 * scale, 1000 * scale)
    assert not list(empty.iterdir()), "the home that was named stays as it is"
