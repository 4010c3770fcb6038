"""What Slurm prints, told in words: lines as Slurm 22.05 printed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from workbench.core.target import Target
from workbench.remote.far import Far
from workbench.remote.runner import Look, Request
from workbench.remote.slurm import SlurmRunner, batch_script, parse_squeue, sbatch_options
from workbench.remote.slurm_words import refused_words, state_failure, waiting_words
from workbench.remote.transport import Done, Transport


def squeue(*cells: str) -> str:
    widths = (30, 90, 14, 20, 20, 60, 20)
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def test_a_line_of_the_queue_is_read_by_its_columns() -> None:
    job = parse_squeue(squeue("PENDING", "Resources", "187", "0:00", "4:00:00", "", "31"))
    assert (job.id, job.state, job.reason, job.pending_s, job.limit) == ("31", "PENDING", "Resources", 187.0, "4:00:00")
    assert job.is_waiting and job.is_alive
    ended = parse_squeue(squeue("TIMEOUT", "TimeLimit", "1", "0:14", "1:00", "vm", "9"))
    assert not ended.is_alive and ended.nodes == "vm" and ended.used == "0:14"
    assert parse_squeue(squeue("RUNNING", "None", "N/A", "1-02:03:04", "UNLIMITED", "n[1-2]", "7")).pending_s is None


@pytest.mark.parametrize(
    ("reason", "seconds", "words"),
    [
        ("Resources", 187.0, "pending: Resources, for 3 min (it waits for free nodes, cores or GPUs)"),
        ("Priority", 12.0, "pending: Priority (jobs of higher priority come first)"),
        ("", None, "pending: not looked at yet"),
        ("QOSMaxGRESPerUser", 3700.0, "pending: QOSMaxGRESPerUser, for 1 h 01 min (a limit of your account or QOS)"),
        ("ReqNodeNotAvail, UnavailableNodes:n7", 0.0,
         "pending: ReqNodeNotAvail (the nodes it asks for are down, drained or reserved)"),
    ],
)  # fmt: skip
def test_what_a_waiting_job_waits_for(reason: str, seconds: float | None, words: str) -> None:
    assert waiting_words("PENDING", reason, seconds) == words


def test_reasons_that_waiting_does_not_mend_say_so() -> None:
    assert "it will not start: it asks for more time" in waiting_words("PENDING", "PartitionTimeLimit", 60.0)
    assert "scontrol release" in waiting_words("PENDING", "JobHeldUser", None)


@pytest.mark.parametrize(
    ("state", "code", "part"),
    [
        ("TIMEOUT", "out-of-time", "--time"),
        ("OUT_OF_MEMORY", "out-of-memory", "--mem"),
        ("NODE_FAIL", "node-failed", "Retry"),
        ("PREEMPTED", "preempted", "--partition"),
        ("CANCELLED", "cancelled-there", "Ask who"),
        ("SOMETHING_NEW", "slurm-failed", "nodes"),
    ],
)
def test_each_end_has_its_evidence_and_its_fix(state: str, code: str, part: str) -> None:
    failure = state_failure(
        state=state, title="Convert", job="9", nodes="vm", took="0:14 of 1:00", reason="", said="", by="", target="box"
    )
    assert failure.code == code and part in failure.fix
    assert failure.evidence == f"job 9 on vm: {state} after 0:14 of 1:00"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid "
         "partition name specified", "no-partition"),
        ("sbatch: error: Invalid generic resource (gres) specification", "no-gpus-there"),
        ("sbatch: error: Memory specification can not be satisfied\nsbatch: error: Batch job submission failed: "
         "Requested node configuration is not available", "too-much-asked"),
        ("[Errno 2] No such file or directory: 'sbatch'", "no-slurm"),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", "no-slurm"),
        ("sbatch: error: something else", "sbatch-refused"),
    ],
)  # fmt: skip
def test_refusals_are_told_with_what_sbatch_said(said: str, code: str) -> None:
    told = refused_words(said, "box")
    assert told["code"] == code and said.splitlines()[0].removeprefix("sbatch: error: ")[:20] in told["evidence"]


def test_the_batch_script_is_one_program_whose_words_are_quoted() -> None:
    assert batch_script(["/opt/my env/python", "keeper.py", "$(x)"]) == (
        "#!/bin/sh\nexec '/opt/my env/python' keeper.py '$(x)'\n"
    )


def test_what_must_hold_stands_after_the_persons_own_options() -> None:
    target = Target(
        name="c", kind="slurm", folder="/f", partition="h100", time_limit="2:00:00", gpus=4, options=("--nodes=2",)
    )
    options = sbatch_options(target, "wb-x", "/f/out")
    assert options[:3] == ["--partition=h100", "--time=2:00:00", "--gres=gpu:4"]
    assert options.index("--nodes=2") > options.index("--nodes=1")
    assert options[-4:-1] == ["--no-requeue", "--job-name=wb-x", "--output=/f/out"]
    assert not any(
        option.startswith("--gres") for option in sbatch_options(target.model_copy(update={"gpus": 0}), "a", "b")
    )


class Queue:
    """A far side whose Slurm answers what it is told to; what was asked is kept."""

    title = "cluster"
    copies = True

    def __init__(self, state: str, keeper: str = "waiting", reason: str = "None") -> None:
        self.state, self.keeper, self.reason = state, keeper, reason
        self.asked: list[str] = []
        self.jobs = 40

    def run(self, words: Sequence[str], *, data: bytes = b"", seconds: float = 60.0) -> Done:
        program = words[0]
        self.asked.append(program if program != "python3" else f"keeper {words[2]}")
        if program == "sbatch":
            self.jobs += 1
            return Done(0, f"{self.jobs}\n".encode(), "")
        if program == "squeue" and self.state == "gone":
            return Done(1, b"", "slurm_load_jobs error: Invalid job id specified")
        if program == "squeue" and self.state == "silent":
            return Done(1, b"", "slurm_load_jobs error: Unable to contact slurm controller")
        if program == "squeue":
            line = squeue(self.state, self.reason, "1", "0:14", "1:00", "n7", str(self.jobs))
            return Done(0, line.encode(), "")
        if program == "sacct":
            return Done(1, b"", "Slurm accounting storage is disabled")
        if program == "tail":
            return Done(0, b"/opt/py: not found\n", "")
        if program == "python3" and words[1] == "-c":
            return Done(0, b"", "")
        assert program == "python3", words
        return Done(0, f'@keeper {{"state": "{self.keeper}"}}\n'.encode(), "")


def runner(queue: Queue) -> tuple[SlurmRunner, Far]:
    far = Far(cast(Transport, queue), "python3", "/far/keeper.py")
    made = SlurmRunner(Target(name="cluster", kind="slurm", folder="/far"), 2)
    queue.keeper, before = "none", queue.keeper
    assert made.start(far, "/far/runs/a", Request(argv=("x",), spec="{}", title="Convert"))["started"]
    queue.keeper = before
    return made, far


@pytest.mark.parametrize(
    ("state", "code", "part"),
    [("FAILED", "slurm-failed", "it said: /opt/py: not found"), ("gone", "job-gone", "job 41: UNKNOWN")],
)
def test_a_job_that_ends_without_its_keepers_word_has_failed(state: str, code: str, part: str) -> None:
    made, far = runner(Queue(state))
    looks = [made.look(far, "/far/runs/a", {"state": "waiting"}) for _ in range(3)]
    assert [look.failure for look in looks[:2]] == [None, None], "its word may be on the way through a shared folder"
    assert looks[2].failure is not None and looks[2].failure.code == code and part in looks[2].failure.evidence


def test_a_controller_that_is_silent_for_a_while_is_no_failure() -> None:
    made, far = runner(Queue("silent"))
    for _ in range(5):
        look = made.look(far, "/far/runs/a", {"state": "running"})
        assert look.failure is None and look.note.startswith("Slurm does not answer")


def test_a_lost_node_is_tried_again_and_not_for_ever() -> None:
    queue = Queue("NODE_FAIL", "lost")
    made, far = runner(queue)
    for job in (41, 42, 43):
        look = made.ended(far, "/far/runs/a", {"state": "lost"})
        assert look.failure is None
        assert look.note == f"job {job} lost its node after 0:14; queued again as job {job + 1}, from the beginning"
    last = made.ended(far, "/far/runs/a", {"state": "lost"})
    assert last.failure is not None and last.failure.code == "node-failed" and queue.asked.count("sbatch") == 4


def test_a_worker_that_ended_by_itself_is_not_slurms_doing() -> None:
    queue = Queue("FAILED", "ended")
    made, far = runner(queue)
    assert made.ended(far, "/far/runs/a", {"state": "ended", "exit": {"code": 3, "why": "ended"}}) == Look()
    assert "squeue" not in queue.asked
