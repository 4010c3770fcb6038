"""Targets: what can be one, and what a description may not smuggle into a command line."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from workbench.core.target import Target

SSH: dict[str, Any] = {"name": "box", "kind": "ssh", "host": "me@box", "folder": "/data/wb"}
SLURM: dict[str, Any] = {"name": "c", "kind": "slurm", "folder": "/scratch/wb"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({**SSH, "host": ""}, "needs a host"),
        ({**SSH, "host": "-oProxyCommand=touch /tmp/x"}, "dash first"),
        ({**SSH, "host": "box; rm -rf /"}, "without spaces"),
        ({**SSH, "host": "a\nb"}, "without spaces"),
        ({**SSH, "folder": "wb"}, "absolute"),
        ({**SSH, "folder": ""}, "needs a folder"),
        ({**SSH, "folder": "~/wb"}, "absolute"),
        ({**SSH, "name": "../x"}, "a target's name"),
        ({**SSH, "name": "Box"}, "a target's name"),
        ({**SSH, "partition": "gpu"}, "belong to Slurm"),
        ({**SSH, "python": {"default": "-c"}}, "interpreter"),
        ({**SSH, "port": 70_000}, "65535"),
        ({**SSH, "password": "hunter2"}, "not permitted"),
        ({**SLURM, "time_limit": "soon"}, "time limit"),
        ({**SLURM, "partition": "a b"}, "one word"),
        ({**SLURM, "options": ("-p", "x")}, "written long"),
        ({**SLURM, "options": ("--array=1-9",)}, "cannot be used"),
        ({**SLURM, "options": ("--wra=reboot",)}, "cannot be used"),  # Slurm takes words that are cut short
        ({**SLURM, "options": ("--output=/etc/passwd",)}, "cannot be used"),
        ({**SLURM, "options": ("--comment=a\n#SBATCH",)}, "written long"),
        ({"name": "d", "kind": "container"}, "needs its command"),
        ({"name": "d", "kind": "here", "host": "x"}, "belongs to SSH"),
    ],
)
def test_what_is_no_target_is_refused_in_words(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Target(**fields)


@pytest.mark.parametrize("host", ["box", "me@box", "box.lab.example.org", "10.0.0.7", "me@[2001:db8::1]", "gpu_box-2"])
def test_hosts_as_people_write_them(host: str) -> None:
    assert Target(**{**SSH, "host": host}).host == host


def test_interpreters_lanes_and_words() -> None:
    target = Target(
        **{**SSH, "port": 2222, "python": {"tensorrt_llm": "/opt/trt/python", "default": "/usr/bin/python3"}}
    )
    assert target.python_of("tensorrt_llm") == "/opt/trt/python"
    assert target.python_of("openvino") == "/usr/bin/python3"
    assert Target(**SSH).python_of("openvino") == "python3"
    assert target.lane("gpu:0") == "target:box:gpu:0"
    assert target.words == "SSH me@box:2222" and target.is_remote
    assert (
        Target(**{**SLURM, "host": "me@login", "partition": "h100"}).words == "Slurm, partition h100, by SSH me@login"
    )
    assert Target(**{**SSH, "folder": "/data/wb/"}).folder == "/data/wb"
    assert Target(**{**SSH, "folder": "", "shared": True}).shared
