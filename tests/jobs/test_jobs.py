"""Jobs run for real: a detached supervisor, a worker process, and what is left when either goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes.plans import scripted_plan, scripted_step
from tests.jobs.soundness import orphans, partial_folders, processes_in, unsound
from workbench.core.artifact import problems, read_provenance, read_record
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.job import JobState
from workbench.core.plan import FileMark, PlanModel, Step, StepInput
from workbench.jobs import client
from workbench.jobs.folder import EventTail, JobFolder, create, find, job_ids
from workbench.jobs.lanes import held

SECONDS = 60.0


def run(home: Home, *steps: object) -> tuple[JobFolder, JobState]:
    folder = client.start(home, scripted_plan(*steps))  # type: ignore[arg-type]
    return folder, client.wait(folder, SECONDS)


def events(folder: JobFolder) -> list[dict[str, object]]:
    tail = EventTail(folder.events_path)
    found = list(tail.read())
    tail.close()
    return found


def leftovers(home: Home, *others: Path) -> list[object]:
    """Folders that look complete and are not, and partial ones."""
    return [*partial_folders(home), *unsound(home, *others)]


def processes_of(folder: JobFolder) -> list[psutil.Process]:
    return processes_in(folder.path)


def wait_gone(folder: JobFolder) -> list[psutil.Process]:
    return orphans(folder.path)


@pytest.mark.slow
def test_a_job_makes_its_artefacts_one_after_the_other(home: Home) -> None:
    first = scripted_step(home, "convert", [["phase", "read", 1, 2], ["write", "a/w.bin", "x", 1000], ["log", "hello"]])
    second = scripted_step(home, "build", [["write", "engine", "y"]], after="convert", kind="build")
    folder, state = run(home, first, second)
    assert state.status == "done"
    assert [s.status for s in state.steps] == ["done", "done"]
    provenance = read_provenance(Path(state.artifacts[1]))
    assert [record.id for record in provenance.steps] == ["convert", "build"]
    assert provenance.steps[0].result == {"actions": 3}
    assert {entry.path: entry.bytes for entry in read_provenance(Path(state.artifacts[0])).files} == {"a/w.bin": 1000}
    assert "hello" in folder.log_path.read_text()
    kinds = [e["type"] for e in events(folder)]
    assert kinds[0] == "job" and kinds[-1] == "job" and "hello" in kinds and "result" in kinds
    assert not leftovers(home) and not wait_gone(folder)


@pytest.mark.slow
def test_equal_steps_are_reused_and_changed_ones_are_not(home: Home, tmp_path: Path) -> None:
    counter = tmp_path / "runs"
    step = scripted_step(home, "convert", [["append", str(counter), "ran"], ["write", "w", "x"]])
    _, first = run(home, step)
    _, second = run(home, step)
    assert (first.steps[0].status, second.steps[0].status) == ("done", "reused")
    assert second.steps[0].result == first.steps[0].result
    assert counter.read_text().count("ran") == 1
    _, third = run(
        home, scripted_step(home, "convert", [["append", str(counter), "ran"], ["write", "w", "x"]], salt="2")
    )
    assert third.steps[0].status == "done"
    assert counter.read_text().count("ran") == 2


@pytest.mark.slow
def test_an_artefact_that_lost_a_file_is_put_aside_and_made_again(home: Home) -> None:
    step = scripted_step(home, "convert", [["write", "w", "x"]])
    _, first = run(home, step)
    path = Path(first.artifacts[0])
    (path / "w").unlink()
    (path / "notes.txt").write_text("mine")
    _, second = run(home, step)
    assert second.status == "done" and second.steps[0].status == "done"
    assert not leftovers(home, path) and (path / "w").is_file()
    aside = list(path.parent.glob("*.damaged-*"))
    assert len(aside) == 1 and (aside[0] / "notes.txt").read_text() == "mine"
    assert not (aside[0] / "provenance.json").exists()


@pytest.mark.slow
def test_a_folder_that_the_person_named_is_never_put_aside(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    step = scripted_step(home, "convert", [["write", "w", "x"]], out=out)
    run(home, step)
    (out / "w").unlink()
    _, second = run(home, step)
    assert second.failure is not None and second.failure.code == "output-exists"
    assert "nothing that exists is overwritten" in second.failure.what and second.failure.exit_code == 2


@pytest.mark.slow
def test_a_record_is_kept_inside_the_artefact_and_reused(home: Home) -> None:
    build = scripted_step(home, "build", [["write", "e", "x"]], kind="build")
    verify = scripted_step(
        home, "verify", [["log", "ok"]], after="build", kind="verify", folder=False, record="verify.json"
    )
    _, first = run(home, build, verify)
    record = read_record(Path(first.artifacts[0]) / "verify.json")
    assert record is not None and record.key == verify.key and record.step.result == {"actions": 1}
    _, second = run(home, build, verify)
    assert [s.status for s in second.steps] == ["reused", "reused"]
    assert second.steps[1].result == {"actions": 1}


@pytest.mark.slow
def test_a_named_output_folder_gets_a_copy_of_an_equal_artefact(home: Home, tmp_path: Path) -> None:
    _, first = run(home, scripted_step(home, "convert", [["write", "w", "x"]]))
    out = tmp_path / "mine" / "engine"
    again = scripted_step(home, "convert", [["write", "w", "x"]], out=out, alternates=(first.artifacts[0],))
    _, second = run(home, again)
    assert second.steps[0].status == "reused" and "copied" in second.steps[0].note
    assert read_provenance(out).key == again.key and not problems(out, read_provenance(out))


FAILURES = [
    ([["write", "w", "x"], ["kill", "SIGKILL"]], "killed", "SIGKILL"),
    ([["write", "w", "x"], ["kill", "SIGSEGV"]], "crashed", "SIGSEGV"),
    ([["write", "w", "x"], ["exit", 7]], "failed", "exit code 7"),
    ([["write", "w", "x"], ["exit", 0]], "no-result", "exit code 0"),
    ([["write", "w", "x"], ["rubbish"], ["sleep", 30]], "rubbish", "not a message"),
    ([["write", "w", "x"], ["long_line"], ["sleep", 30]], "line-too-long", "limit"),
    ([["write", "w", "x"], ["error", "the model has no heads"]], "planned", "line 7"),
    ([["write", "w", "x"], ["raise", "boom"]], "crashed", "boom"),
    ([["log", "nothing made"]], "empty-output", ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("actions", "code", "evidence"), FAILURES, ids=[f"{row[1]}-{row[2]}" for row in FAILURES])
def test_a_worker_that_goes_wrong_leaves_words_and_nothing_else(
    home: Home, actions: list[list[object]], code: str, evidence: str
) -> None:
    folder, state = run(
        home, scripted_step(home, "convert", actions), scripted_step(home, "build", [["write", "e", "x"]])
    )
    assert state.status == "failed"
    assert [s.status for s in state.steps] == ["failed", "pending"]
    assert state.failure is not None and state.failure.code == code
    assert evidence in state.failure.evidence
    assert "Traceback" not in " ".join(state.failure.lines())
    assert not leftovers(home) and not list(home.artifacts.rglob("w"))
    assert not wait_gone(folder)


@pytest.mark.slow
def test_unknown_messages_are_logged_and_ignored(home: Home) -> None:
    folder, state = run(home, scripted_step(home, "convert", [["unknown_type"], ["write", "w", "x"]]))
    assert state.status == "done"
    assert "weather" in folder.log_path.read_text()


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_and_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STALL_SECONDS", "1")
    folder, state = run(home, scripted_step(home, "convert", [["phase", "stuck here", 1, 2], ["hang"]]))
    assert state.failure is not None and state.failure.code == "stalled"
    assert "stuck here" in state.failure.evidence
    assert not wait_gone(folder)


@pytest.mark.slow
def test_raw_output_of_any_length_is_kept_whole(home: Home) -> None:
    folder, state = run(home, scripted_step(home, "convert", [["flood", 200_000], ["write", "w", "x"]]))
    assert state.status == "done"
    numbers = [line.split()[1] for line in folder.log_path.read_text().splitlines() if line.endswith("raw output")]
    assert numbers == [str(n) for n in range(200_000)]


def wait_for(path: Path) -> None:
    end = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("stubborn", [False, True])
def test_cancel_ends_the_worker_and_its_children(
    home: Home, tmp_path: Path, stubborn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    actions = [["ignore_term"]] if stubborn else []
    actions += [["write", "w", "x"], ["child"], ["child", True], ["touch", str(mark)], ["sleep", 60]]
    folder = client.start(home, scripted_plan(scripted_step(home, "convert", actions)))
    wait_for(mark)
    assert len(processes_of(folder)) == 5, "keeper, supervisor, worker and its two children"
    assert client.cancel(folder)
    state = client.wait(folder, SECONDS)
    assert state.status == "cancelled" and state.steps[0].status == "cancelled"
    assert not wait_gone(folder) and not leftovers(home)
    assert not client.cancel(folder), "a finished job cannot be cancelled"


@pytest.mark.slow
def test_a_killed_supervisor_takes_its_worker_along_and_retry_goes_on(home: Home, tmp_path: Path) -> None:
    mark, go = tmp_path / "mark", tmp_path / "go"
    first = scripted_step(home, "convert", [["write", "w", "x"]])
    second = scripted_step(
        home, "build", [["write", "e", "x"], ["touch", str(mark)], ["wait_for", str(go)]], after="convert", kind="build"
    )
    folder = client.start(home, scripted_plan(first, second))
    wait_for(mark)
    supervisor = folder.state().supervisor_pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    assert not wait_gone(folder)
    state = folder.state()
    assert state.status == "interrupted" and state.steps[1].status == "interrupted"
    assert state.failure is not None and "retry" in state.failure.fix
    assert not Path(second.output.path).exists()  # type: ignore[union-attr]
    go.touch()
    client.retry(folder)
    state = client.wait(folder, SECONDS)
    assert state.status == "done" and state.attempt == 2
    assert [s.status for s in state.steps] == ["reused", "done"]
    assert not leftovers(home)
    with pytest.raises(BadInputError, match="nothing to retry"):
        client.retry(folder)


@pytest.mark.slow
def test_only_one_supervisor_runs_a_job(home: Home, tmp_path: Path) -> None:
    go = tmp_path / "go"
    folder = client.start(
        home, scripted_plan(scripted_step(home, "convert", [["wait_for", str(go)], ["write", "w", "x"]]))
    )
    with pytest.raises(BadInputError, match="being run already"):
        client.retry(folder)
    go.touch()
    assert client.wait(folder, SECONDS).status == "done"


@pytest.mark.slow
def test_two_jobs_that_make_the_same_thing_end_with_one_artefact(home: Home, tmp_path: Path) -> None:
    counter = tmp_path / "runs"
    step = scripted_step(home, "convert", [["append", str(counter), "ran"], ["sleep", 0.5], ["write", "w", "x"]])
    jobs = [client.start(home, scripted_plan(step)) for _ in range(3)]
    states = [client.wait(job, SECONDS) for job in jobs]
    assert [s.status for s in states] == ["done"] * 3
    assert sorted(s.steps[0].status for s in states) == ["done", "reused", "reused"]
    assert counter.read_text().count("ran") == 1
    assert not leftovers(home)


def slow_pair(home: Home, letter: str, out: Path) -> Step:
    """Two files with a pause between them and no lane, so that only the guards keep two builds apart."""
    actions = [["write", "a", letter, 1000], ["sleep", 0.4], ["write", "b", letter, 1000]]
    return scripted_step(home, "convert", actions, out=out, lanes=())


@pytest.mark.slow
@pytest.mark.parametrize("homes", [1, 2])
def test_two_different_builds_into_one_folder_one_wins_the_other_is_told(
    home: Home, tmp_path: Path, homes: int
) -> None:
    out = tmp_path / "out"
    other = home if homes == 1 else Home(tmp_path / "another home").make()
    jobs = [
        client.start(where, scripted_plan(slow_pair(where, letter, out)))
        for where, letter in ((home, "a"), (other, "b"))
    ]
    states = [client.wait(job, SECONDS) for job in jobs]
    assert sorted(s.status for s in states) == ["done", "failed"]
    loser = next(s for s in states if s.status == "failed")
    assert loser.failure is not None and loser.failure.code == "output-exists" and loser.failure.exit_code == 2
    assert not leftovers(home, out) and not list(tmp_path.glob("*.partial"))
    assert (out / "a").read_bytes() == (out / "b").read_bytes(), "files of one job only"


def test_a_folder_of_the_persons_that_is_called_partial_is_left_alone(home: Home, tmp_path: Path) -> None:
    mine = tmp_path / "out.partial"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    _, state = run(home, scripted_step(home, "convert", [["write", "w", "x"]], out=tmp_path / "out"))
    assert state.status == "done" and (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_a_model_that_changes_while_its_job_waits_is_noticed(home: Home, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    stat = (model / "config.json").stat()
    step = scripted_step(home, "convert", [["write", "w", "x"]])
    step = step.model_copy(update={"inputs": (StepInput(role="model", path=str(model)),)})
    plan = scripted_plan(step).model_copy(
        update={
            "model": PlanModel(name="m", path=str(model), architecture="X", digest="0", parameters=1, weight_bytes=1),
            "source_files": (FileMark(path=str(model / "config.json"), bytes=stat.st_size, mtime_ns=stat.st_mtime_ns),),
        }
    )
    with held(home.lanes, "cpu"):
        folder = client.start(home, plan)
        end = time.monotonic() + SECONDS
        while "waits for cpu" not in folder.state().steps[0].note:
            assert time.monotonic() < end
            time.sleep(0.02)
        (model / "config.json").write_text('{"changed": true}')
    state = client.wait(folder, SECONDS)
    assert state.failure is not None and state.failure.code == "input-changed"
    assert not leftovers(home) and "waits for cpu" in folder.log_path.read_text()


@pytest.mark.slow
def test_what_a_step_took_is_without_its_wait(home: Home, tmp_path: Path) -> None:
    with held(home.lanes, "cpu"):
        folder = client.start(home, scripted_plan(scripted_step(home, "convert", [["write", "w", "x"]])))
        end = time.monotonic() + SECONDS
        while "waits for cpu" not in folder.state().steps[0].note:
            assert time.monotonic() < end
            time.sleep(0.02)
        free = time.time()
    step = client.wait(folder, SECONDS).steps[0]
    assert step.status == "done" and step.started_at is not None and step.started_at >= free


def test_a_read_only_place_is_said(home: Home, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    _, state = run(home, scripted_step(home, "convert", [["write", "w", "x"]], out=blocker / "engine"))
    assert state.status == "failed" and state.failure is not None
    assert str(blocker) in state.failure.evidence


@pytest.mark.skipif(os.geteuid() != 0, reason="a small full disk needs a mount")
def test_a_full_disk_is_said_and_leaves_nothing(home: Home, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        _, state = run(home, scripted_step(home, "convert", [["write", "w", "x" * 1000, 4000]], out=small / "engine"))
        assert state.status == "failed" and state.failure is not None and state.failure.code == "disk-full"
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_ids_sort_by_time_also_within_a_second(home: Home) -> None:
    plan = scripted_plan(scripted_step(home, "convert", [["write", "w", "x"]]))
    made = [create(home.jobs, plan, 1_800_000_000 + n / 100).id for n in range(20)]
    assert job_ids(home.jobs) == made


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a small full disk needs a mount")
def test_a_full_home_is_said_and_not_called_an_interruption(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        home = Home(small / "home").make()
        _, state = run(home, scripted_step(home, "convert", [["flood", 400_000], ["write", "w", "x" * 1000, 8000]]))
        assert state.status == "failed" and state.failure is not None
        assert "No space left" in state.failure.evidence or state.failure.code == "disk-full", state.failure
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.slow
def test_jobs_are_found_by_a_part_of_their_id(home: Home) -> None:
    folder, _ = run(home, scripted_step(home, "convert", [["write", "w", "x"]]))
    assert find(home.jobs, folder.id[-4:]).id == folder.id
    assert find(home.jobs, "last").id == folder.id
    with pytest.raises(BadInputError, match="No job is called"):
        find(home.jobs, "nonesuch")


def test_a_reader_that_comes_late_sees_all_events_once(home: Home) -> None:
    folder, _ = run(
        home, scripted_step(home, "convert", [["log", f"line {n}"] for n in range(50)] + [["write", "w", "x"]])
    )
    tail = EventTail(folder.events_path)
    texts = [e["text"] for e in tail.read() if e["type"] == "log"]
    assert texts == [f"line {n}" for n in range(50)]
    assert list(tail.read()) == []
    tail.close()
    for line in folder.events_path.read_text().splitlines():
        assert "at" in json.loads(line)
