"""What keeps the person's things: the home folder, the store, workers and the queue of jobs."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from workbench.core.home import HOME_VARIABLE, Home
from workbench.core.plan import Output, Plan, Step, StepInput, cache_key
from workbench.core.units import format_bytes, in_thousands
from workbench.jobs import client
from workbench.jobs.folder import JobFolder
from workbench.selftest.checks import BrokenError, last_lines
from workbench.selftest.manifest import installed_top
from workbench.selftest.room import Room
from workbench.store.store import Store, StoredArtifact
from workbench.toolchains.asking import ask_worker
from workbench.toolchains.base import Environment
from workbench.toolchains.code import package_root

_LOW_DISK_BYTES = 2 * 2**30
_TRIAL_BYTES = 1 << 20
_WORKER = "workbench.workers.selftest"


def home_folder(room: Room) -> str:
    """The person's own folder can be written, or made; one trial file is written there and removed."""
    root = room.real.root
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".workbench-self-test-") as trial:
            trial.write(b"\0" * _TRIAL_BYTES)
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        raise BrokenError(
            "The workbench's own folder cannot be written.",
            evidence=f"{root}: {error}",
            fix=f"Correct its owner and permissions, make room there, or set {HOME_VARIABLE} to another folder.",
        ) from error
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    words = f"{root} {'can be written' if place == root else 'is not there yet and can be made'}"
    words += f", {format_bytes(free)} free"
    return words + (", which is little" if free < _LOW_DISK_BYTES else "") + _own_store(room.real)


def _own_store(home: Home) -> str:
    """The person's store, looked at and not touched. Raises BrokenError when it is damaged or of a newer version."""
    if not home.database.is_file() or home.database.stat().st_size == 0:
        return ""
    from workbench.store.migrations import MIGRATIONS

    # One that nobody has open can be read without the files beside it that SQLite else makes.
    idle = not home.database.with_name(f"{home.database.name}-wal").exists()
    how = "immutable=1" if idle else "mode=ro"
    try:
        db = sqlite3.connect(f"{home.database.absolute().as_uri()}?{how}", uri=True, timeout=5.0)
        try:
            (seen,) = db.execute("PRAGMA quick_check(1)").fetchone()
            applied = {row[0] for row in db.execute("SELECT name FROM migrations")}
        finally:
            db.close()
    except sqlite3.OperationalError as error:  # busy, or not to be opened: that is no damage
        raise BrokenError(
            "Your store cannot be read.", evidence=f"{home.database}: {error}", fix="Check its owner and mode."
        ) from error
    except sqlite3.Error as error:
        seen, applied = str(error), set()
    if seen != "ok":
        raise BrokenError(
            "Your store is damaged.",
            evidence=f"{home.database}: {seen}",
            fix="It is made anew from the folders of jobs and artefacts when the program is started next.",
        )
    newer = sorted(applied - {migration.__name__ for migration in MIGRATIONS})
    if newer:
        raise BrokenError(
            "Your store was written by a newer Engine Workbench.",
            evidence=", ".join(newer),
            fix=f"Install the newer program again, or set {HOME_VARIABLE} to another folder.",
        )
    return "; its store is whole"


def store(room: Room) -> str:
    """A new store is made, brought up to date, written, read and written from another connection."""
    with Store.open(room.home) as first:
        first.sync()
        with Store.open(room.home) as second:
            second.sync()
        if first.notice or first.jobs() or _made_here(first):
            raise BrokenError("A new store is not empty.", evidence=first.notice or "it lists jobs or artefacts")
    db = sqlite3.connect(room.home.database)
    try:
        (mode,) = db.execute("PRAGMA journal_mode").fetchone()
        (seen,) = db.execute("PRAGMA integrity_check").fetchone()
        steps = [row[0] for row in db.execute("SELECT name FROM migrations")]
    finally:
        db.close()
    if seen != "ok" or mode != "wal" or not steps:
        raise BrokenError("The store does not work.", evidence=f"journal {mode}, check {seen}, {len(steps)} migrations")
    return f"made with {len(steps)} migrations, written, whole"


def _made_here(store: Store) -> list[StoredArtifact]:
    """Without those in the engine folders of the settings, which every store lists."""
    return [each for each in store.artifacts() if not each.shared]


def worker(room: Room) -> str:
    """A worker in a process of its own hears its order and answers in the protocol."""
    environment = Environment(
        "selftest", (sys.executable,), "the workbench's own interpreter", worker_path=str(package_root())
    )
    said = "self-test \u2713 " + "x" * 70_000  # more than a pipe holds
    try:
        answer = ask_worker(environment, "selftest", {"say": said}, 30.0 * room.patience)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BrokenError(
            "A worker did not answer.",
            evidence=f"{sys.executable} -m {_WORKER}: {error}",
            fix="Install the program again. If a security tool stops programs here, allow this one.",
        ) from error
    if answer.get("echo") != said or answer.get("sha256") != hashlib.sha256(said.encode()).hexdigest():
        raise BrokenError("A worker's answer is not what it was asked for.", evidence=str(answer)[:200])
    return f"a worker answered {in_thousands(len(said))} characters unharmed"


def _plan(home: Home) -> Plan:
    """Two steps; the second reads what the first made."""
    steps: list[Step] = []
    for name, before in (("convert", ""), ("quantize", "convert")):
        facts = {"worker": "selftest", "step": name}
        key = cache_key(facts)
        steps.append(
            Step(
                id=name,
                kind="convert" if name == "convert" else "quantize",
                title=name.capitalize(),
                worker="selftest",
                argv=(sys.executable, "-m", _WORKER),
                env={"PYTHONPATH": str(package_root())},
                settings={"say": f"{name}. "},
                inputs=(StepInput(role="before", step=before),) if before else (),
                output=Output(
                    kind="checkpoint", path=str(home.artifacts / "checkpoints" / f"self-test-{name}"), name=name
                ),
                lanes=("cpu",),
                key=key,
                key_facts=facts,
            )
        )
    return Plan(title="Self-test", toolchain="openvino", steps=tuple(steps))


def queue(room: Room) -> str:
    """A job of two steps by its own supervisor; a second one, which finds them done; the store knows of both."""
    plan = _plan(room.home)
    folder = client.start(room.home, plan)
    state = client.wait(folder)  # the check's own time ends it
    if state.status != "done":
        raise broken_job("A job of two small steps did not get done.", folder)
    again = client.wait(client.start(room.home, plan))
    if [step.status for step in again.steps] != ["reused", "reused"]:
        raise BrokenError(
            "What a job made was not found again.", evidence=", ".join(f"{s.id} {s.status}" for s in again.steps)
        )
    said = (Path(state.artifacts[-1]) / "said.txt").read_text("utf-8")
    if said != "convert. quantize. ":
        raise BrokenError("A job's second step did not get what the first made.", evidence=repr(said))
    with Store.open(room.home) as known:
        known.sync()
        jobs, artefacts = known.jobs(), _made_here(known)
    if len(jobs) < 2 or len(artefacts) < 2 or any(each.missing for each in artefacts):
        raise BrokenError("The store does not know what was made.", evidence=f"{len(jobs)} jobs, {len(artefacts)} made")
    return "two steps done, and reused by a second job"


def broken_job(what: str, folder: JobFolder) -> BrokenError:
    """The failure of a job in its own words, with the end of its log."""
    state = folder.state()
    failure = state.failure
    try:
        log = last_lines(folder.log_path.read_text("utf-8", "replace"))
    except OSError:
        log = ""
    said = "\n".join(failure.lines()[:2]) if failure else f"it is {state.status}"
    return BrokenError(what, evidence=f"{said}\n{log}".strip(), fix=failure.fix if failure else "")


Marks = dict[str, tuple[int, int]]


def program_marks() -> Marks:
    """Time of change and size of all below the installed program; empty where there is none."""
    top = installed_top()
    if top is None:
        return {}
    marks = {}
    for folder, _, names in os.walk(top):
        for name in (".", *names):
            found = (Path(folder) / name).lstat()
            marks[str(Path(folder) / name)] = (found.st_mtime_ns, found.st_size)
    return marks


def nothing_left(room: Room, before: Marks) -> str:
    """No process of the self-test runs any more, and the program's own folder is as it was."""
    if left := room.processes():
        words = ", ".join(sorted({" ".join(process.cmdline())[:120] for process in left}))
        raise BrokenError("Processes were left running.", evidence=words, fix="They are ended now. Report it.")
    if not before:
        return "nothing runs any more; in a checkout its files are not looked at"
    after = program_marks()
    if changed := sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
        raise BrokenError(
            "Something wrote into the program's own folder.", evidence="\n".join(changed[:12]), fix="Report it."
        )
    return "nothing runs any more, and nothing was written into the program's folder"
