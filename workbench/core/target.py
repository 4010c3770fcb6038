"""A target: the machine that a toolchain's steps run on. This one, a container, an SSH host, or a Slurm partition."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

TARGET_SCHEMA = 1
TargetKind = Literal["here", "container", "ssh", "slurm"]
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
_HOST = re.compile(r"[A-Za-z0-9_.\[\]][^\s\x00-\x1f;&|<>$`'\"]{0,254}")
"""No dash first: `ssh` would read it as an option."""
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:+@-]{0,120}")
TIME_LIMIT = re.compile(r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}")
_NOT_FOR_STEPS = (
    *("array", "wrap", "wait", "test-only", "help", "usage", "version", "hold", "requeue", "parsable", "output"),
    *("error", "input", "job-name", "chdir", "open-mode", "begin", "dependency", "clusters", "cluster", "quiet"),
)
_SSH_FIELDS = ("host", "port", "identity_file", "known_hosts")
_SLURM_FIELDS = ("partition", "account", "time_limit", "gpus", "options")


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

    @field_validator("host")
    @classmethod
    def _no_option(cls, value: str) -> str:
        if value and not _HOST.fullmatch(value):
            raise ValueError("a host is `name`, `user@name` or a Host of ssh_config, without spaces or a dash first")
        return value

    @field_validator("partition", "account")
    @classmethod
    def _one_word(cls, value: str) -> str:
        if value and not _WORD.fullmatch(value):
            raise ValueError("a partition or account is one word")
        return value

    @field_validator("time_limit")
    @classmethod
    def _a_time(cls, value: str) -> str:
        if value and value != "UNLIMITED" and not TIME_LIMIT.fullmatch(value):
            raise ValueError("a time limit is written as sbatch takes it: 30 (minutes), 2:00:00 or 1-12 (days-hours)")
        return value

    @field_validator("folder", "identity_file", "known_hosts")
    @classmethod
    def _absolute(cls, value: str, info: ValidationInfo) -> str:
        here = info.field_name != "folder" and value.startswith("~/")
        if value and not here and (not value.startswith("/") or any(ord(c) < 32 for c in value)):
            raise ValueError("a path is absolute: /data/workbench")
        return value.rstrip("/") if len(value) > 1 else value

    @field_validator("python")
    @classmethod
    def _interpreters(cls, value: dict[str, str]) -> dict[str, str]:
        for part, python in value.items():
            if not python or python.startswith("-") or any(c in python for c in "\n\0"):
                raise ValueError(f"the interpreter for {part} is a path or a name, such as /opt/venv/bin/python")
        return value

    @field_validator("options")
    @classmethod
    def _long_options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for option in value:
            if not re.fullmatch(r"--[a-z][a-z0-9-]*(=[^\x00-\x1f]*)?", option):
                raise ValueError(f"sbatch's options are written long, such as --constraint=h100; not {option!r}")
            given = option.partition("=")[0][2:]
            if any(name.startswith(given) for name in _NOT_FOR_STEPS):  # Slurm takes words that are cut short
                raise ValueError(f"{option.partition('=')[0]} cannot be used: a step is one job that is followed")
        return value

    @model_validator(mode="after")
    def _of_its_kind(self) -> Target:
        problem = ""
        if self.kind == "ssh" and not self.host:
            problem = "an SSH target needs a host"
        elif self.kind == "container" and len(self.command) < 2:
            problem = "a container target needs its command, such as docker run -i --rm --gpus all IMAGE"
        elif self.kind in ("ssh", "slurm") and not self.folder and not self.shared:
            problem = "it needs a folder there, or the home shared under the same name"
        elif self.kind not in ("ssh", "slurm") and any(getattr(self, name) for name in _SSH_FIELDS):
            problem = f"a host belongs to SSH and Slurm targets, not to one of kind {self.kind}"
        elif self.kind != "slurm" and any(getattr(self, name) not in ("", (), None) for name in _SLURM_FIELDS):
            problem = f"partition, time limit and GPUs to ask for belong to Slurm, not to a target of kind {self.kind}"
        elif self.kind != "container" and self.command:
            problem = f"a command belongs to containers, not to a target of kind {self.kind}"
        if problem:
            raise ValueError(problem)
        return self

    @property
    def is_remote(self) -> bool:
        """Whether steps go there through a relay: files are sent, and the worker is followed from here."""
        return self.kind in ("ssh", "slurm")

    def python_of(self, part: str) -> str:
        """The interpreter there for a toolchain or a part of one."""
        return self.python.get(part) or self.python.get("default") or "python3"

    def lane(self, name: str) -> str:
        """A lane of that machine by the name that it has here: `target:box:gpu:0`."""
        return f"target:{self.name}:{name}"

    @property
    def words(self) -> str:
        """The machine in a few words: `SSH trt@gpu-box:2222`."""
        at = self.host + (f":{self.port}" if self.port else "")
        if self.kind == "ssh":
            return f"SSH {at}"
        if self.kind == "slurm":
            where = f"partition {self.partition}" if self.partition else "its default partition"
            return f"Slurm, {where}" + (f", by SSH {at}" if at else "")
        if self.kind == "container":
            return f"container {self.command[-1]}"
        return "this machine"
