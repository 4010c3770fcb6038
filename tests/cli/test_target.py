"""`workbench target` as a person runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import workbench
from workbench.cli.target_fields import given_fields, kind_fields
from workbench.core.errors import BadInputError


@pytest.mark.slow
def test_from_add_to_remove(tmp_path: Path) -> None:
    added = workbench("target", "add", "me", "--here", "--python", sys.executable)
    assert added.code == 0 and "workbench target test me" in added.out
    # Nobody listens on port 1: the look says so, and it is remembered.
    box = ("--ssh", "nobody@127.0.0.1", "--port", "1", "--folder", str(tmp_path))
    assert workbench("target", "add", "box", *box).code == 0
    gone = workbench("target", "test", "box", "--json")
    assert gone.code in (2, 3) and json.loads(gone.out)["problems"][0]["code"] in ("refused", "no-ssh")
    listed = {row["name"]: row for row in json.loads(workbench("target", "list", "--json").out)}
    assert listed["box"]["problems"] and listed["me"]["look"] is None
    refused = workbench("check", "cpu-int8", "--model", str(tmp_path), "--target", "nobody")
    assert refused.code == 2
    assert workbench("target", "remove", "box", "--yes").code == 0


def test_options_become_fields_of_a_target() -> None:
    fields = given_fields(python=["/opt/py", "tensorrt_llm=/opt/trt/python"], options=["--mem=64G"], folder=None)
    assert fields == {"python": {"default": "/opt/py", "tensorrt_llm": "/opt/trt/python"}, "options": ("--mem=64G",)}
    assert kind_fields("", "docker run -i --rm 'my image'", slurm=False, here=False) == {
        "kind": "container",
        "command": ("docker", "run", "-i", "--rm", "my image"),
    }


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        ({"ssh": "", "container": "", "slurm": False, "here": False}, "none of them"),
        ({"ssh": "box", "container": "", "slurm": True, "here": False}, "--ssh, --slurm"),
        ({"ssh": "", "container": "docker 'run", "slurm": False, "here": False}, "No closing quotation"),
    ],
)
def test_a_target_is_of_one_kind(kinds: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInputError) as raised:
        kind_fields(**kinds)
    assert why in raised.value.evidence


def test_an_interpreter_is_for_a_part_that_there_is() -> None:
    with pytest.raises(BadInputError) as raised:
        given_fields(python=["tensorrtllm=/x"])
    assert "tensorrt_llm, modelopt, tensorrt_rtx, onnxruntime, pytorch, default" in raised.value.evidence
