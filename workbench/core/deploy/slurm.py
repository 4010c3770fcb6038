"""Slurm and MPI files of an engine that takes several GPUs: a batch script, a hostfile."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.core.data import resource
from workbench.core.errors import BadInputError

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:,/+-]{0,199}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_TIME = re.compile(r"(\d+-)?\d{1,4}(:\d{2}){0,2}")


@dataclass(frozen=True)
class SlurmOptions:
    """What a site's Slurm wants to hear; empty: its own default."""

    partition: str = ""
    account: str = ""
    time_limit: str = ""
    """As sbatch takes it: `4:00:00`."""

    def check(self) -> SlurmOptions:
        """Itself. Raises BadInputError for what cannot stand in a batch script's head."""
        for name, value, form in (
            ("--partition", self.partition, _WORD),
            ("--account", self.account, _WORD),
            ("--time", self.time_limit, _TIME),
        ):
            if value and not form.fullmatch(value):
                raise BadInputError(
                    f"{name} {value[:60]!r} is not one.",
                    evidence=f"{value[:60]!r}",
                    fix="Give a plain name, and a time such as 4:00:00.",
                    code="bad-slurm",
                )
        return self


def batch_script(name: str, nodes: int, gpus_per_node: int, options: SlurmOptions) -> str:
    """`job.sbatch`: one task a GPU, `nodes` x `gpus_per_node` of them."""
    options.check()
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:60] or "engine"
    head = [
        "#!/usr/bin/env bash",
        f"#SBATCH --job-name={safe}",
        f"#SBATCH --nodes={nodes}",
        f"#SBATCH --ntasks={nodes * gpus_per_node}",
        f"#SBATCH --ntasks-per-node={gpus_per_node}",
        f"#SBATCH --gpus-per-node={gpus_per_node}",
        "#SBATCH --output=slurm-%j.log",
    ]
    for flag, value in (("partition", options.partition), ("account", options.account), ("time", options.time_limit)):
        if value:
            head.append(f"#SBATCH --{flag}={value}")
    return "\n".join(head) + "\n" + script("job-body.sh")


def hostfile(hosts: tuple[str, ...], nodes: int, gpus_per_node: int) -> str | None:
    """Of Open MPI, `gpus_per_node` processes a node; None where several nodes are needed and none was named.

    Raises BadInputError for names that are none, or too few of them.
    """
    if not hosts:
        return f"localhost slots={gpus_per_node}\n" if nodes == 1 else None
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise BadInputError(
                f"{host[:60]!r} is not a host's name.",
                fix="Give names as ssh takes them: node1,node2.",
                code="bad-host",
            )
    if len(set(hosts)) != nodes:
        raise BadInputError(
            f"{len(set(hosts))} host{'s' if len(set(hosts)) > 1 else ''} named, {nodes} needed.",
            evidence=f"{nodes} x {gpus_per_node} processes; hosts: {', '.join(hosts)}",
            fix="Name as many hosts as nodes, or change --gpus-per-node.",
            code="bad-hosts",
        )
    return "".join(f"{host} slots={gpus_per_node}\n" for host in hosts)


def script(name: str) -> str:
    """The text of a script that ships, resources/deploy/launch/NAME."""
    return resource(f"deploy/launch/{name}").read_text(encoding="utf-8")
