"""`workbench export triton` and an endpoint of Triton's API, as a person calls them."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.cli.command import workbench
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.artifact import read_provenance
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord, RequestRecord, RunHead, Subject
from workbench.core.measure.run_file import append_point, start_run
from workbench.core.measure.workload import Workload
from workbench.core.metrics import Chunk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trtllm_engine(tmp_path_factory.mktemp("export") / "tiny-fp8")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_repository_is_written_with_its_checksums(engine: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = workbench("export", "triton", str(engine), "--out", str(out))
    assert done.code == 0, done.err
    assert "docker compose up" in done.out and "ok     all ranks are there" in done.err
    assert (out / "SHA256SUMS").is_file() and (out / "model_repository" / "tensorrt_llm" / "config.pbtxt").is_file()
    again = workbench("export", "triton", str(engine), "--out", str(out))
    assert again.code == 2 and str(out) in again.err


def test_only_checked_nothing_is_written(engine: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = workbench("export", "triton", str(engine), "--out", str(out), "--form", "llmapi", "--check", "--json")
    told = json.loads(done.out)
    assert done.code == 0 and not out.exists() and told["kind"] == "triton_llmapi"
    assert all(check["ok"] for check in told["checks"])
    assert "model_repository/tensorrt_llm/1/model.yaml" in told["files"]


def test_a_missing_rank_blocks_with_its_name(engine: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(engine, tmp_path / "broken"))
    (broken / "rank0.engine").unlink()
    out = tmp_path / "out"
    done = workbench("export", "triton", str(broken), "--out", str(out), "--gpus", "0")
    assert done.code == 3 and "missing: rank0.engine" in done.err and not out.exists()
    checked = workbench("export", "triton", str(broken), "--out", str(out), "--check", "--json")
    assert checked.code == 3
    assert [one["name"] for one in json.loads(checked.out)["checks"] if not one["ok"]] == ["all ranks are there"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--form", "python", "known: ensemble, llmapi"),
        ("--kv-fraction", "2", "it goes from 0.01 to 1"),
    ],
)
def test_bad_values_are_refused_in_words(engine: Path, tmp_path: Path, option: str, value: str, words: str) -> None:
    done = workbench("export", "triton", str(engine), "--out", str(tmp_path / "out"), option, value)
    assert done.code == 2 and words in done.err


def measured_run(folder: Path, engine: Path, key: str) -> None:
    """One point of 4 requests with 10 tokens each in 2 s."""
    subject = Subject(id="s1", name="tiny", toolchain="tensorrt_llm", path=str(engine), key=key)
    head = RunHead(
        id="20261121-abcd", created_at=time.time(), status="complete", workload=Workload(), load=Load(requests=4)
    )
    start_run(folder, head.model_copy(update={"subjects": (subject,)}))
    requests = tuple(
        RequestRecord(
            number=number,
            due_s=0.0,
            sent_s=0.0,
            chunks=tuple(Chunk(0.2 * (at + 1), 1) for at in range(10)),
            end="length",
            ended_s=2.0,
            wanted_tokens=10,
            count_source="engine ids",
        )
        for number in range(4)
    )
    point = PointRecord(
        subject="s1", level=4.0, repeat=0, began_at=0.0, duration_s=2.0, end="complete", requests=requests
    )
    append_point(folder, point)


def test_alerts_know_what_a_run_of_this_engine_measured(engine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    measured_run(run, engine, read_provenance(engine).key)
    out = tmp_path / "out"
    done = workbench("export", "triton", str(engine), "--out", str(out), "--baseline", str(run))
    assert done.code == 0, done.err
    alerts = (out / "monitoring" / "alerts.yml").read_text()
    assert "Under 80% of the 20.0 tok/s that run 20261121-abcd measured" in alerts and "> 3.000" in alerts
    other = tmp_path / "other"
    measured_run(other, tmp_path / "elsewhere", "another")
    done = workbench("export", "triton", str(engine), "--out", str(tmp_path / "out2"), "--baseline", str(other))
    assert done.code == 2 and "did not measure tiny fp8" in done.err


def test_an_endpoint_of_tritons_own_api_is_added(tmp_path: Path) -> None:
    url = "http://127.0.0.1:8000/v2/models/tensorrt_llm_bls/generate_stream"
    done = workbench("endpoint", "add", "box", "--url", url, "--model", "tensorrt_llm_bls", "--api", "triton", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["api"], told["base_url"]) == ("triton", "http://127.0.0.1:8000/v1")
    wrong = workbench("endpoint", "add", "other", "--url", url, "--model", "m", "--api", "grpc")
    assert wrong.code == 2
