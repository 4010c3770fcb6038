"""Which wheels an interpreter needs is told from their names and metadata, as pip would choose."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.fakes.wheels import make_wheel
from workbench.core.errors import BadInputError
from workbench.core.wheels import Interpreter, needed_wheels, read_pins, requirement_lines, wheel_of, wheels_in

THREE = Interpreter("3.12")


def names(folder: Path, *wanted: str, pins: dict[str, str] | None = None) -> tuple[list[str], tuple[str, ...]]:
    found = needed_wheels(wanted, pins or {}, wheels_in(folder), THREE)
    return sorted(wheel.requirement for wheel in found.wheels), found.missing


def test_requirements_are_followed_with_markers_and_extras(tmp_path: Path) -> None:
    make_wheel(tmp_path, "top", "1.0", ["middle[fast]>=2", "old; python_version < '3.12'"])
    make_wheel(tmp_path, "middle", "2.1", ["plain", "quick; extra == 'fast'", "slow; extra == 'slow'"])
    make_wheel(tmp_path, "plain", "3")
    assert names(tmp_path, "Top") == (["middle==2.1", "plain==3", "top==1.0"], ("quick",))
    make_wheel(tmp_path, "quick", "1", ["top"])  # a circle
    assert names(tmp_path, "Top")[1] == ()


def test_a_pin_is_met_by_a_local_build_of_its_version_and_by_no_other(tmp_path: Path) -> None:
    make_wheel(tmp_path, "torch", "2.12.0")
    make_wheel(tmp_path, "torch", "2.13.0")
    make_wheel(tmp_path, "torch", "2.14.0")
    assert names(tmp_path, "torch>=2", pins={"torch": "2.13.0"}) == (["torch==2.13.0"], ())
    make_wheel(tmp_path, "torch", "2.13.0+cpu")
    assert names(tmp_path, "torch>=2", pins={"torch": "2.13.0"})[0] == ["torch==2.13.0+cpu"]
    assert names(tmp_path, "torch>=2", pins={"torch": "2.11.0"}) == ([], ("torch==2.11.0",))
    assert names(tmp_path, "torch<2.14")[0] == ["torch==2.13.0+cpu"]


@pytest.mark.parametrize(
    ("file", "fits"),
    [
        ("x-1-py3-none-any.whl", True),
        ("x-1-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        ("x-1-cp310-abi3-manylinux2014_x86_64.whl", True),
        ("x-1-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("x-1-cp312-cp312-manylinux_2_39_x86_64.whl", False),
        ("x-1-cp312-cp312-manylinux_2_28_aarch64.whl", False),
        ("x-1-cp312-cp312-linux_x86_64.whl", True),
    ],
)
def test_tags_that_fit_an_interpreter(file: str, fits: bool) -> None:
    wheel = wheel_of(Path(file))
    assert wheel is not None and bool(wheel.tags & THREE.tags()) is fits


def test_a_wheel_for_another_interpreter_does_not_count(tmp_path: Path) -> None:
    made = make_wheel(tmp_path, "fast", "1.0")
    other = made.rename(tmp_path / "fast-1.0-cp311-cp311-manylinux_2_28_x86_64.whl")
    assert names(tmp_path, "fast") == ([], ("fast",))
    other.rename(tmp_path / "fast-1.0-cp312-cp312-manylinux_2_28_x86_64.whl")
    assert names(tmp_path, "fast") == (["fast==1.0"], ())


def test_what_is_no_wheel_is_said(tmp_path: Path) -> None:
    assert wheel_of(Path("something.whl")) is None
    with pytest.raises(BadInputError, match="cannot be read"):
        wheels_in(tmp_path / "none")
    path = make_wheel(tmp_path, "cut", "1.0")
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(BadInputError, match=r"A wheel is damaged: cut-1\.0"):
        names(tmp_path, "cut")
    with zipfile.ZipFile(tmp_path / "bent-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(inside := "bent-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: bent\n" * 9)
    data = bytearray((tmp_path / "bent-1.0-py3-none-any.whl").read_bytes())
    data[30 + len(inside)] = 0xFF  # where the packed text begins: no kind of block that there is
    (tmp_path / "bent-1.0-py3-none-any.whl").write_bytes(data)
    with pytest.raises(BadInputError, match=r"A wheel is damaged: bent-1\.0"):
        names(tmp_path, "bent")
    with pytest.raises(BadInputError, match="no version"):
        Interpreter("3").tags()


def test_pins_and_lists_are_read_with_their_markers(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("# what all want\none>=1  # why\n")
    (tmp_path / "more.txt").write_text("-r base.txt\ntwo\n\n")
    assert requirement_lines(tmp_path / "more.txt") == ("one>=1", "two")
    (tmp_path / "lock").write_text("one==1 ; python_version < '3.12'\none==2 ; python_version >= '3.12'\nTwo_x==3\n")
    assert read_pins(tmp_path / "lock", THREE) == {"one": "2", "two-x": "3"}
    assert read_pins(tmp_path / "lock", Interpreter("3.10"))["one"] == "1"
