"""Every form of file that a released version wrote is read by today's code; the samples are that version's own."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.old_home import SAMPLES, old_home, versions
from workbench.core.answer import AnswerRecord
from workbench.core.artifact import problems, read_provenance, verification
from workbench.core.endpoint import read_endpoint
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.measure.comparison_file import load_comparison
from workbench.core.measure.run_file import load_run
from workbench.core.older_file import keep_older, upgraded
from workbench.core.preset import apply_overrides, find_preset, load_preset, save_preset
from workbench.core.preset_schema import MIGRATIONS, SCHEMA_VERSION
from workbench.core.report.json_report import read_json
from workbench.jobs.folder import EventTail, JobFolder, job_ids
from workbench.measure.kept import kept_results
from workbench.serve.folder import ServingFolder
from workbench.store.conversations import Conversations
from workbench.store.notes import read_notes
from workbench.store.prompts import read_prompts
from workbench.telemetry.recording import read as read_recording
from workbench.toolchains.looks import last_look
from workbench.toolchains.targets import find_target
from workbench.ui.app import _mode
from workbench.ui.session import STATE_SCHEMA, STATE_STEPS, State
from workbench.ui.theme import read_tokens

ROOT = SAMPLES.parents[2]
NUMBER = re.compile(r"^((?:[A-Z]+_)*(?:SCHEMA|VERSION))(?:: \w+)? = (\d+)$", re.MULTILINE)


@pytest.fixture(params=versions())
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def old(version: str, tmp_path: Path) -> Home:
    return old_home(tmp_path / "home", version)


# --- what there must be


def numbered_forms() -> dict[str, int]:
    """`core/plan.py PLAN_SCHEMA` -> its number, of all modules."""
    package = ROOT / "workbench"
    return {
        f"{path.relative_to(package)} {name}": int(number)
        for path in sorted(package.rglob("*.py"))
        for name, number in NUMBER.findall(path.read_text("utf-8"))
    }


def rows() -> list[list[str]]:
    text = (SAMPLES / "README.md").read_text("utf-8")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"][2:]


def test_every_form_with_a_number_stands_in_the_table_with_its_sample() -> None:
    numbered = [row for row in rows() if re.fullmatch(r"[A-Z_]+ \d+", row[1])]
    told = {f"{row[2]} {row[1].split()[0]}": int(row[1].split()[1]) for row in numbered}
    forms = numbered_forms()
    assert len(forms) > 20 and forms == told, "a form that is new or rose needs a sample: tests/data/old/README.md"
    for row in rows():
        if not row[3].startswith("none"):
            first = row[3].split(" … ")[0]
            assert list(SAMPLES.glob(first)), f"{row[0]}: no sample {first}"


def test_presets_and_the_window_have_a_sample_for_each_schema_before_todays() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(1, SCHEMA_VERSION))
    assert set(STATE_STEPS) <= set(range(1, STATE_SCHEMA))
    kept = {
        int(found[1])
        for path in SAMPLES.glob("*/home/presets/*.toml")
        if (found := re.search(r"^schema = (\d+)$", path.read_text("utf-8"), re.MULTILINE))
    }
    assert set(range(1, SCHEMA_VERSION + 1)) <= kept


# --- what a home keeps


def test_jobs(old: Home) -> None:
    ids = job_ids(old.jobs)
    assert len(ids) == 3
    for each in ids:
        folder = JobFolder(old.jobs / each)
        plan, state = folder.plan(), folder.state()
        assert state.finished and [step.id for step in plan.steps] == [step.id for step in state.steps]
        if folder.events_path.exists():
            with contextlib.closing(EventTail(folder.events_path)) as tail:
                assert [event for event in tail.read() if event["type"] == "hello"]
    states = {JobFolder(old.jobs / each).state().status for each in ids}
    assert states == {"done", "failed"}


def test_artefacts_and_their_records(old: Home) -> None:
    folders = sorted(path.parent for path in old.artifacts.glob("*/*/provenance.json"))
    assert len(folders) == 3
    for folder in folders:
        provenance = read_provenance(folder)
        assert problems(folder, provenance) == []
        if provenance.toolchain != "endpoint":
            assert verification(folder, provenance) is not None
    endpoint = read_endpoint(old.artifacts / "engines" / "box")
    assert (endpoint.base_url, endpoint.model) == ("http://127.0.0.1:8000/v1", "some/model")


def test_presets(old: Home) -> None:
    preset = find_preset("mine", [old.presets])
    assert (preset.precision.weights, preset.precision.group_size) == ("int4", 64)
    path = save_preset(apply_overrides(preset, ["precision.group_size=32"]), old.presets / "mine.toml").source
    assert path is not None and load_preset(path).precision.group_size == 32
    assert path.read_text().startswith("# kept by hand"), "comments stay"


def test_conversations_prompts_and_notes(old: Home) -> None:
    kept = Conversations(old)
    (only,) = kept.list()
    assert not only.problem and only.turns and kept.load(only.id).turns
    kept.save(kept.load(only.id))
    assert [(each.name, each.system) for each in read_prompts(old)] == [("Short", "Be brief.")]
    assert read_notes(old)["0" * 64].tags == ("demo", "kept")
    (burst,) = (old.root / "bursts").iterdir()
    said = json.loads(burst.read_bytes())
    assert (said["kind"], said["schema_version"]) == ("burst", 1)
    assert AnswerRecord.model_validate(said["rows"][0]["answer"]).text == "yes"


def test_results(old: Home, version: str) -> None:
    assert sorted((one.kind, one.problem) for one in kept_results(old)) == [("bench", ""), ("comparison", "")]
    (run,), (comparison,) = old.runs.iterdir(), old.comparisons.iterdir()
    assert len(load_run(run).points) == 6
    found = load_comparison(comparison)
    assert len(found.quality) == 3 and len(found.answers) == 6 and found.run is not None
    report = read_json((SAMPLES / version / "files" / "report.json").read_text("utf-8"))
    assert report.schema_version == 1 and report.points
    recording = read_recording(SAMPLES / version / "files" / "telemetry.jsonl.gz")
    assert recording.gpus and recording.engines and recording.events(0, 1e12)


def test_targets_and_servers(old: Home) -> None:
    target = find_target(old, "box")
    assert (target.kind, target.host) == ("ssh", "anna@box")
    assert last_look(old, target) is not None
    (folder,) = (ServingFolder(path) for path in old.serving.iterdir())
    assert folder.spec().name == "demo" and folder.state().status == "stopped"


def test_the_window(old: Home, version: str) -> None:
    state = State(old.root / "window.json")
    assert state.problem is None and state.get("page") == "engines" and state.table("page.build")["preset"] == "demo"
    assert _mode(old, state) == "light", "what was chosen before there were settings holds"
    assert read_tokens(SAMPLES / version / "files" / "theme.json")["dark"]["accent"]


@pytest.mark.parametrize("toolchain", ["pytorch", "trtllm"])
def test_notes_of_workers(version: str, toolchain: str) -> None:
    facts = json.loads((SAMPLES / version / "files" / f"{toolchain}-engine.json").read_bytes())
    assert facts["schema_version"] == 1 and facts["limits"]["max_seq_len"] > 0 and facts["versions"]["python"]


# --- newer and older ones


def newer(path: Path, key: str = "schema_version") -> Path:
    text = path.read_text("utf-8")
    changed = re.sub(rf'("?{key}"?\s*[:=]\s*)\d+', r"\g<1>99", text, count=1)
    path.write_text(changed if changed != text else text.replace("{", f'{{"{key}": 99,', 1), "utf-8")
    return path


READ: dict[str, Callable[[Home], object]] = {
    "jobs/20261121-083520-dc4d/plan.json": lambda home: JobFolder(home.jobs / "20261121-083520-dc4d").plan(),
    "artifacts/engines/box/provenance.json": lambda home: read_provenance(home.artifacts / "engines" / "box"),
    "artifacts/engines/box/engine.json": lambda home: read_endpoint(home.artifacts / "engines" / "box"),
    "prompts.json": read_prompts,
    "engine-notes.json": read_notes,
    "runs/20261121-193012-3fa9c1/run.json": lambda home: load_run(next(home.runs.iterdir())),
    "comparisons/20261121-193012-3fa9c1/comparison.json": lambda home: load_comparison(
        next(home.comparisons.iterdir())
    ),
    "targets/box.toml": lambda home: find_target(home, "box"),
    "serving/20261121-120000123-aa01/spec.json": lambda home: ServingFolder(next(home.serving.iterdir())).spec(),
    "conversations/20261121-170729-0a2989f4.json": lambda home: Conversations(home).find("0a2989f4"),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_newer_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    home = old_home(tmp_path / "home", versions()[-1], store=False)
    content = newer(home.root / name).read_bytes()
    assert b"99" in content
    with pytest.raises(BadInputError, match=r"newer|this version knows"):
        READ[name](home)
    assert (home.root / name).read_bytes() == content


def test_a_newer_preset_is_neither_read_nor_written_over(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", versions()[-1], store=False)
    path = home.presets / "mine.toml"
    good = load_preset(path)
    content = newer(path, "schema").read_bytes()
    for use in (lambda: load_preset(path), lambda: save_preset(good, path)):
        with pytest.raises(BadInputError, match=r"knows schemas up to|newer Engine Workbench") as caught:
            use()
        assert caught.value.failure.code == "newer-preset"
    assert path.read_bytes() == content and [each.name for each in home.presets.iterdir()] == ["mine.toml"]


def test_an_older_preset_is_kept_before_it_is_written(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", versions()[-1], store=False)
    path = home.presets / "mine.toml"
    good, content = load_preset(path), newer(path, "schema").read_bytes()
    path.write_bytes(content.replace(b"schema = 99", b"schema = 0"))
    path.chmod(0o640)
    save_preset(good, path)
    assert load_preset(path).to_data() == good.to_data()
    kept = path.with_name("mine.toml.schema-0.bak")
    assert b"schema = 0" in kept.read_bytes() and kept.stat().st_mode & 0o777 == 0o640
    assert find_preset("mine", [home.presets]).source == path, "the copy is no preset"


def test_an_older_window_state_is_brought_up_and_kept(tmp_path: Path) -> None:
    path = old_home(tmp_path / "home", versions()[-1], store=False).root / "window.json"
    content = path.read_bytes()

    def renamed(data: dict[str, object]) -> dict[str, object]:
        return {("room" if key == "page" else key): value for key, value in data.items()}

    state = State(path, schema=3, steps={1: renamed, 2: dict})
    assert state.problem is None and state.get("room") == "engines" and state.get("page") is None
    assert path.with_name("window.json.schema-1.bak").read_bytes() == content
    assert state.save() and json.loads(path.read_bytes())["schema"] == 3
    again = State(path, schema=3, steps={})
    assert again.problem is None and again.get("room") == "engines"
    older = State(path, schema=5, steps={4: dict})
    assert older.problem is not None and "another version" in older.problem.what and older.get("room") is None


def test_steps_run_in_order_and_a_copy_is_the_first_one(tmp_path: Path) -> None:
    data = {"n": [1]}
    assert upgraded(data, 1, 3, {1: lambda d: {"n": [*d["n"], 2]}, 2: lambda d: {"n": [*d["n"], 3]}}) == {
        "n": [1, 2, 3]
    }
    assert data == {"n": [1]} and upgraded(data, 3, 3, {}) == data and upgraded(data, 0, 3, {}) is None
    file = tmp_path / "x.json"
    file.write_text("now")
    first = keep_older(file, b"first", 1)
    assert keep_older(file, b"second", 1) == first and first.read_bytes() == b"first"
    with pytest.raises(OSError, match="No such file"):
        keep_older(tmp_path / "gone" / "x.json", b"", 1)


def test_newer_quality_is_left_out_and_said(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", versions()[-1], store=False)
    (folder,) = home.comparisons.iterdir()
    newer(folder / "quality.json")
    found = load_comparison(folder)
    assert found.quality == () and found.answers
    assert "Quality: quality.json was written by a newer Engine Workbench." in found.head.notes
