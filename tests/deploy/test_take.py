"""Engines that were built elsewhere: taken as they were built, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import workbench
from tests.fakes.onnx_engines import make_ort_engine, make_rtx_engine
from workbench.core.artifact import problems, read_provenance
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.launch import LaunchOptions
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.deploy.launch import make_launch
from workbench.deploy.take import take_engine
from workbench.deploy.write import write_export


@pytest.fixture
def launch(tmp_path: Path) -> Path:
    """A launch folder of an engine for RTX cards; the engine itself is gone."""
    engine = make_rtx_engine(tmp_path / "built")
    out = write_export(make_launch(read_engine_facts(engine), LaunchOptions()), tmp_path / "stick")
    shutil.rmtree(engine)
    return out


@pytest.mark.slow
def test_from_a_launch_folder_to_ones_own_engines(launch: Path, home: Home) -> None:
    ran = workbench("engines", "import", str(launch), "--json")
    assert ran.code == 0, ran.err
    taken = Path(ran.json["path"])
    assert taken.parent == home.artifacts / "engines"
    assert taken.name == "tiny-tensorrt-rtx-fp16-builtbuiltbu"
    provenance = read_provenance(taken)
    assert provenance == read_provenance(launch / "engine") and problems(taken, provenance) == []
    assert "8.9 and 12.0" in ran.json["remark"] or not ran.json["runs_here"]
    assert [row["path"] for row in workbench("engines", "--json").json] == [str(taken)]
    again = workbench("engines", "import", str(launch / "engine"))
    assert again.code == 0 and str(taken) in again.out
    shutil.copy(launch / "README.md", launch / "engine" / "model.onnx")
    refused = workbench("engines", "import", str(launch))
    assert refused.code == 2 and "is not whole" in refused.err


@pytest.mark.parametrize("changed", ["engine.trt", "model.onnx.data"])
def test_a_file_that_is_not_what_the_build_wrote(launch: Path, home: Home, changed: str) -> None:
    path = launch / "engine" / changed
    path.write_bytes(path.read_bytes()[:-1] + b"?")  # of the same size
    with pytest.raises(BadInputError, match="not whole") as error:
        take_engine(home, launch)
    assert changed in error.value.evidence and "SHA-256" in error.value.evidence
    assert not list((home.artifacts / "engines").glob("tiny*"))


def test_what_is_not_whole_or_no_engine(tmp_path: Path, home: Home) -> None:
    engine = make_ort_engine(tmp_path / "engine")
    (engine / "model.onnx.data").unlink()
    with pytest.raises(BadInputError, match="not whole") as error:
        take_engine(home, engine)
    assert "model.onnx.data is missing" in error.value.evidence
    with pytest.raises(BadInputError) as error:
        take_engine(home, home.root)
    assert error.value.failure.code == "no-provenance"


@pytest.mark.parametrize(
    ("field", "value"),
    [("path", "../../../../evil"), ("path", "/tmp/evil"), ("path", "a\\b"), ("key", "../../evil/../../evil")],
)
def test_names_that_would_lead_out_of_the_folder(tmp_path: Path, home: Home, field: str, value: str) -> None:
    engine = make_ort_engine(tmp_path / "engine")
    data = json.loads((engine / "provenance.json").read_text())
    if field == "key":
        data["key"] = value
    else:
        data["files"][0]["path"] = value
    (engine / "provenance.json").write_text(json.dumps(data))
    with pytest.raises(BadInputError, match="damaged") as error:
        take_engine(home, engine)
    assert "evil" in error.value.evidence or "a\\\\b" in error.value.evidence
    assert not list(tmp_path.rglob("evil")) and not list(tmp_path.parent.glob("evil*"))


def test_large_files_may_be_links(tmp_path: Path, home: Home) -> None:
    engine = make_ort_engine(tmp_path / "engine")
    weights = engine / "model.onnx.data"
    with weights.open("wb") as file:
        file.truncate(17 * 2**20)
    made = read_provenance(engine)
    files = tuple(
        entry.model_copy(update={"bytes": weights.stat().st_size, "sha256": ""})
        if entry.path == weights.name
        else entry
        for entry in made.files
    )
    (engine / "provenance.json").write_text(made.model_copy(update={"files": files}).model_dump_json())
    taken = take_engine(home, engine, link=True)
    assert (taken / weights.name).samefile(weights) and not (taken / "engine.json").samefile(engine / "engine.json")
