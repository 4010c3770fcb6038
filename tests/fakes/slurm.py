"""A real Slurm of one node on loopback: munged, slurmctld and slurmd of this machine's packages, with ports, a key and
folders of their own, as whoever runs the tests. Nothing of an installed Slurm is read, written or signalled."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")

CPUS = 8
"""Said to Slurm whatever this machine has, so that several jobs run at once."""

_CONF = """\
ClusterName=workbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=2
MinJobAge=300
InactiveLimit=0
SlurmctldTimeout=300
SlurmdTimeout=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=work Nodes={host} Default=YES MaxTime=60 DefaultTime=30 State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=60 DefaultTime=30 State=UP PriorityTier=10
PartitionName=closed Nodes={host} MaxTime=60 DefaultTime=30 State=DOWN
"""


def missing_programs() -> list[str]:
    """What this machine lacks for it."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


def version() -> tuple[int, int]:
    """Of this machine's Slurm, such as (22, 5); (0, 0) when it does not say."""
    program = shutil.which("slurmd", path=_PATH)
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout if program else ""
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class OneNodeSlurm:
    """Partitions: `work` (the default), `urgent`, which preempts it, and `closed`, where jobs stay pending."""

    def __init__(self) -> None:
        # The socket's path must be short, and each folder above it closed to others or sticky, as munged checks.
        self.folder = Path(tempfile.mkdtemp(prefix="wb-slurm-", dir="/tmp"))
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.host = socket.gethostname().split(".")[0]

    @property
    def env(self) -> dict[str, str]:
        """What a program needs in its environment to speak to it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> OneNodeSlurm:
        """Raises RuntimeError with the daemons' own words when it does not come up."""
        os.chmod(self.folder, 0o755)
        for name in ("state", "spool"):
            (self.folder / name).mkdir(mode=0o700)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        (self.folder / "slurm.conf").write_text(
            _CONF.format(
                host=self.host,
                folder=self.folder,
                user=getpass.getuser(),
                controller_port=_free_port(),
                node_port=_free_port(),
                cpus=CPUS,
            )
        )
        if version() >= (23, 2):  # before that there was no such word, and nothing looked for control groups
            (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        munge = self.folder / "munge.sock"
        self._run(
            "munged",
            "--foreground",
            f"--socket={munge}",
            f"--key-file={key}",
            f"--log-file={self.folder / 'munged.log'}",
            f"--pid-file={self.folder / 'munged.pid'}",
            f"--seed-file={self.folder / 'munged.seed'}",
            "--num-threads=2",
        )
        self._wait(munge.exists, "munged made no socket")
        self._run("slurmctld", "-D", "-c")
        self._run("slurmd", "-D", "-c", "-N", self.host)
        self._wait(lambda: "idle" in self.command("sinfo", "-h", "-o", "%T"), "the node did not become idle")
        return self

    def command(self, *argv: str) -> str:
        """What a Slurm command prints; empty when it fails."""
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env={**os.environ, **self.env})
        return done.stdout if done.returncode == 0 else ""

    def stop(self) -> None:
        """End the jobs, the daemons by their own numbers, and the folder."""
        if len(self._daemons) == 3:
            self.command("scancel", "--user", getpass.getuser(), "--signal=KILL", "--full")
            self.command("scancel", "--user", getpass.getuser())
            end = time.monotonic() + 5
            while self.command("squeue", "-h") and time.monotonic() < end:
                time.sleep(0.1)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> str:
        """The ends of all logs, for a failed test."""
        ends = []
        for path in sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("*.out")):
            with contextlib.suppress(OSError):
                ends.append(f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]))
        return "\n".join(ends)

    def _run(self, program: str, *argv: str) -> None:
        path = shutil.which(program, path=_PATH)
        assert path is not None, program
        with (self.folder / f"{program}.out").open("wb") as out:
            self._daemons.append(
                subprocess.Popen(
                    [path, *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.env},
                    start_new_session=True,
                )
            )

    def _wait(self, ready: Callable[[], bool], words: str) -> None:
        end = time.monotonic() + 20
        while not ready():
            dead = next((d for d in self._daemons if d.poll() is not None), None)
            if dead is not None or time.monotonic() > end:
                logs = self.logs()
                self.stop()
                raise RuntimeError(f"{words}\n{logs}")
            time.sleep(0.1)
