"""Runs on disk: what is written comes back, a crash keeps what was measured, bad files are said in words."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from tests.core.measure.made import one_after_the_other, point, run
from workbench.core.errors import BadInputError, Failure
from workbench.core.measure.record import RUN_SCHEMA, ClientHealth, PointRecord, RequestRecord, Sample
from workbench.core.measure.run_file import append_point, load_head, load_run, start_run, write_head, write_run
from workbench.core.metrics import Chunk

FULL = PointRecord(
    subject="s2", level=2.5, repeat=1, began_at=1234.5, duration_s=3.25, end="failed",
    requests=(
        RequestRecord(0, 0.0, 0.0, (Chunk(0.1, 1), Chunk(0.12, 1)), "length", 0.14, 0, 12, 2, 2, "server usage"),
        RequestRecord(1, 0.5, 0.500123, (Chunk(0.6, 0), Chunk(0.7, 3)), "stop", 0.8, 7, warmup=True),
        RequestRecord(2, 1.0, 1.0, (), "timeout", 61.0, wanted_tokens=4, error="no end within 60 s", malformed=2,
                      draft_tokens=9, accepted_tokens=4, draft_passes=3),
    ),
    samples=(Sample(t_s=0.5, kv_blocks_used=3, kv_blocks_total=10, power_w=71.5),),
    client=ClientHealth(cpu_share=0.97, bottleneck=True, words="its loop was late"),
    failure=Failure(code="gone", what="The server is gone."), saturated="no more throughput", order=4,
    measured_from_s=0.25,
)  # fmt: skip


def test_all_that_is_written_comes_back(tmp_path: Path) -> None:
    whole = run([FULL, one_after_the_other(20)])
    write_run(tmp_path / "r", whole)
    found = load_run(tmp_path / "r")
    assert found.head == whole.head
    assert found.points[0] == FULL
    for kept, made in zip(found.points[1].requests, whole.points[1].requests, strict=True):
        assert [chunk.t_s for chunk in kept.chunks] == pytest.approx([chunk.t_s for chunk in made.chunks], abs=1e-6)
        assert dataclasses.replace(kept, chunks=(), due_s=0, sent_s=0, ended_s=0) == dataclasses.replace(
            made, chunks=(), due_s=0, sent_s=0, ended_s=0
        )


def test_every_field_of_a_point_and_of_a_request_is_kept(tmp_path: Path) -> None:
    """A field that is added to the records and forgotten here would be lost without a word."""
    for records in ((FULL,), FULL.requests):
        for each in dataclasses.fields(records[0]):
            if each.default is not dataclasses.MISSING:
                assert any(getattr(record, each.name) != each.default for record in records), each.name
    write_run(tmp_path / "r", run([FULL]))
    assert load_run(tmp_path / "r").points == (FULL,)


def test_points_stay_when_the_run_never_ended(tmp_path: Path) -> None:
    start_run(tmp_path, run([], status="running").head)
    for repeat in range(12):
        append_point(tmp_path, one_after_the_other(2, repeat=repeat))
    (tmp_path / "points" / ".012.json.gz.77.new").write_bytes(b"half")
    found = load_run(tmp_path)
    assert found.head.status == "running"
    assert [each.repeat for each in found.points] == list(range(12))


def test_a_run_is_never_overwritten_but_its_head_is_brought_up_to_date(tmp_path: Path) -> None:
    head = run([]).head
    start_run(tmp_path, head)
    with pytest.raises(BadInputError, match="never overwritten"):
        start_run(tmp_path, head)
    write_head(tmp_path, head.model_copy(update={"status": "stopped"}))
    assert load_head(tmp_path).status == "stopped"
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_point_is_left_out_and_said(tmp_path: Path) -> None:
    write_run(tmp_path, run([one_after_the_other(3), one_after_the_other(4)]))
    first = tmp_path / "points" / "000.json.gz"
    first.write_bytes(first.read_bytes()[:-20])
    found = load_run(tmp_path)
    assert [len(each.requests) for each in found.points] == [4]
    assert len(found.head.notes) == 1 and "points/000.json.gz" in found.head.notes[0]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ('"measured_from_s":0.0', '"measured_from_s":"soon"'),
        ('"duration_s":', '"duration_s":NaN,"x":'),
        ('"due_us":0', f'"due_us":{10**400}'),
        ('"gaps_us":[', '"gaps_us":[null,'),
        ('"requests":[', '"requests":[3,'),
    ],
)
def test_a_point_with_a_field_that_cannot_be_is_left_out_and_said(tmp_path: Path, was: str, now: str) -> None:
    write_run(tmp_path, run([one_after_the_other(3)]))
    path = tmp_path / "points" / "000.json.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    assert was in text
    path.write_bytes(gzip.compress(text.replace(was, now, 1).encode()))
    found = load_run(tmp_path)
    assert not found.points and "points/000.json.gz could not be read" in found.head.notes[0]


@pytest.mark.parametrize(
    ("text", "evidence"),
    [("{", "run.json"), ('{"schema_version": 1, "kind": "bench"}', "id"), ('{"schema_version": 1}', "kind")],
)
def test_what_is_no_run_is_said(tmp_path: Path, text: str, evidence: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadInputError) as caught:
        load_run(tmp_path)
    assert caught.value.failure.code == "bad-run" and evidence in caught.value.evidence


def test_an_empty_folder_and_newer_schemas_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no benchmark run"):
        load_head(tmp_path)
    write_run(tmp_path, run([point([], 0.0)]))
    path = tmp_path / "points" / "000.json.gz"
    later = {**json.loads(gzip.decompress(path.read_bytes())), "schema_version": RUN_SCHEMA + 1, "end": "moved"}
    path.write_bytes(gzip.compress(json.dumps(later).encode()))
    with pytest.raises(BadInputError, match="newer Engine Workbench"):
        load_run(tmp_path)
    head = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**head, "schema_version": RUN_SCHEMA + 1}))
    with pytest.raises(BadInputError, match="newer Engine Workbench"):
        load_head(tmp_path)


def test_raw_timings_are_small_on_disk(tmp_path: Path) -> None:
    write_run(tmp_path, run([one_after_the_other(500)]))
    size = (tmp_path / "points" / "000.json.gz").stat().st_size
    assert size < 500 * 16 * 6  # six bytes a response
