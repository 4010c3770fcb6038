"""What differs between two engines, and only that."""

from __future__ import annotations

from typing import Any

from workbench.core.artifact import FileEntry, Machine, Provenance, StepRecord
from workbench.core.provenance_diff import Difference, differences

MACHINE = Machine(cpu="a CPU", cpu_identity="cpu-1", memory_bytes=2**34, os="Linux")


def engine(precision: str, group: int, **changes: Any) -> Provenance:
    step = StepRecord(
        id=f"quantize:{precision}",
        kind="quantize",
        worker="w",
        argv=("python", "-m", "w"),
        settings={"weights": precision, "nested": {"group": group}},
        versions={"torch": "2.9"},
        seconds=1.0,
        key="k",
    )
    values: dict[str, Any] = {
        "kind": "engine", "name": "e", "key": precision, "created_at": 1.0, "workbench": "0", "toolchain": "openvino",
        "precision": precision, "machine": MACHINE, "steps": (step,),
        "files": (FileEntry(path="a.bin", bytes=1, sha256="0" * 64),),
    }  # fmt: skip
    return Provenance(**{**values, **changes})


def test_the_same_engine_built_later_differs_in_nothing() -> None:
    assert differences(engine("int4", 64), engine("int4", 64, created_at=9.0, name="other")) == ()


def test_steps_of_two_precisions_stand_beside_each_other() -> None:
    found = differences(engine("int4", 64), engine("int8", 64))
    assert found == (
        Difference("Engine", "precision", "int4", "int8"),
        Difference("Step quantize", "settings.weights", "int4", "int8"),
    )


def test_what_one_side_lacks_and_changed_files_are_said() -> None:
    other = engine(
        "int4", 128, steps=(*engine("int4", 128).steps, engine("int4", 1).steps[0]),
        files=(FileEntry(path="a.bin", bytes=1, sha256="1" * 64),),
    )  # fmt: skip
    found = differences(engine("int4", 64), other)
    assert Difference("Step quantize", "settings.nested.group", "64", "128") in found
    assert Difference("Step quantize 2", "versions.torch", "", "2.9") in found
    assert found[-1] == Difference("Files (SHA-256)", "a.bin", "0" * 16, "1" * 16)
