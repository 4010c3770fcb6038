"""A target: the machine that a toolchain's steps run on. This one, a container, an SSH host, or a Slurm partition."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

TARGET_SCHEMA = 1
TargetKind = Literal["here", "container", "ssh", "slurm"]
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")


class Target(BaseModel):
    """`targets/NAME.toml` in the home. No password and no key stands here: SSH's own agent and files have them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = TARGET_SCHEMA
    name: str
    kind: TargetKind
    python: dict[str, str] = Field(default_factory=dict)
    """Toolchain or part -> interpreter there, such as {"tensorrt_llm": "/opt/trt/bin/python"}; `default` for the others
    and for the keeper, which needs nothing but Python 3.10's own library."""
    folder: str = ""
    """Absolute folder there for code, inputs, runs and outputs. Of a shared one, the home itself is used."""
    shared: bool = False
    """The home is seen there under the same name: nothing is copied."""
    # ssh, and slurm whose commands are on another machine
    host: str = ""
    """`user@host` or a Host of ssh_config; empty for slurm: its commands are here."""
    port: int | None = Field(default=None, ge=1, le=65535)
    identity_file: str = ""
    known_hosts: str = ""
    """A known_hosts file of its own; empty: ssh's."""
    # container
    command: tuple[str, ...] = ()
    """Of a container: `("docker", "run", "-i", "--rm", "--gpus", "all", "IMAGE")`, without the interpreter."""
    # slurm
    partition: str = ""
    account: str = ""
    time_limit: str = ""
    """As sbatch takes it: `2:00:00`; empty: the partition's."""
    gpus: int | None = Field(default=None, ge=0, le=1024)
    """GPUs that a step asks for; None: as many as it uses."""
    options: tuple[str, ...] = ()
    """Further options for sbatch, such as `--constraint=h100`."""

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("a target's name is letters, digits, dot, dash and underscore, 41 at most")
        return value
