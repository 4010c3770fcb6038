"""What is given to open: by path or address, presets and model folders apart from what is neither; ids of presets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.core.opening import absolute_paths, sort_out
from workbench.core.preset import find_preset, list_presets, load_preset, preset_id_of, save_preset


def test_arguments_become_absolute_paths() -> None:
    words = ["-style", "a.toml", "/b/../c.toml", "file:///home/anna/my%20preset.toml", "", "--", "-x.toml"]
    assert absolute_paths(words, "/work") == ("/work/a.toml", "/c.toml", "/home/anna/my preset.toml", "/work/-x.toml")
    assert absolute_paths(["file://[x"], "/work") == ("/work/file:/[x",), "it begins as an address, and is none"


def test_a_name_that_is_no_utf8_goes_through_whole(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.toml"
    Path(os.fsdecode(path)).touch()
    (taken,) = absolute_paths(["file://" + str(tmp_path) + "/%FF.toml"])
    assert os.fsencode(taken) == path and sort_out([taken]).preset == taken


def test_presets_and_folders_are_told_apart(tmp_path: Path) -> None:
    folder, one, two = tmp_path / "model.toml.d", tmp_path / "one.TOML", tmp_path / "two.toml"
    folder.mkdir()
    one.touch(), two.touch()
    given = sort_out([str(one), str(folder), str(two), str(one)])
    assert (given.preset, given.model, given.left, given.refused) == (str(one), str(folder), (str(two),), ())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.toml", "There is no file or folder"),
        ("picture.png", "neither a preset nor a model folder"),
        ("\0.toml", "There is no file or folder"),
        ("x" * 300 + ".toml", "There is no file or folder"),
    ],
)
def test_what_cannot_be_opened_is_said(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "picture.png").touch()
    given = sort_out([str(tmp_path / name)])
    assert not given.preset and not given.model
    (failure,) = given.refused
    assert (said in failure.what or "cannot be opened" in failure.what) and failure.fix


def test_the_ending_of_presets_on_a_desktop_is_no_part_of_their_id(tmp_path: Path) -> None:
    shown = ["a.toml", "a.preset.toml", "a.b.toml", ".preset.toml", "preset.toml"]
    assert [preset_id_of(Path(name)) for name in shown] == ["a", "a", "a.b", ".preset", "preset"]
    preset = find_preset("cpu-int8")
    assert save_preset(preset, tmp_path / "ours.preset.toml").id == "ours"
    assert load_preset(tmp_path / "ours.preset.toml").id == "ours"
    assert find_preset("ours", [tmp_path]).source == tmp_path / "ours.preset.toml"
    save_preset(preset, tmp_path / "ours.toml")
    assert [p.source for p in list_presets([tmp_path]).presets] == [tmp_path / "ours.toml"], "the plain name wins"
