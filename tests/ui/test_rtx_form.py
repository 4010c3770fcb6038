"""The form and the gallery for TensorRT-RTX and ONNX Runtime: GPUs to build for, flags, cards that are built here."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.ui.test_gallery import card_of, shipped
from workbench.core.precision import TOOLCHAINS
from workbench.core.preset import Preset, apply_overrides, find_preset
from workbench.toolchains import get, names
from workbench.ui.models.flag_fields import FIELDS, chosen_targets, targets_summary, with_targets
from workbench.ui.models.gallery import RUNS_HERE, TOOLCHAIN_TITLES, filtered
from workbench.ui.models.unused_fields import unused_words
from workbench.ui.pages.builder.form import Form
from workbench.ui.pages.builder.options import BuildOptions
from workbench.ui.widgets.editors import NumberEditor

_LEFT = QPoint(8, 8)
HOPPER = "TensorRT-RTX does not support compute capability 9.0 (Hopper)."


def preset_of(name: str, *overrides: str) -> Preset:
    return apply_overrides(find_preset(name), list(overrides))


class Shown:
    """A form with its options, as the Build page has them."""

    def __init__(self, qtbot: QtBot, preset: Preset) -> None:
        self.qtbot, self.options, self.form = qtbot, BuildOptions(), Form(preset)
        self.form.add_options(self.options)
        self.options.changed.connect(self.form.set_flags)
        self.form.edited.connect(self.show)
        qtbot.addWidget(self.form)
        self.show()
        self.form.resize(480, 1600)
        self.form.show()
        qtbot.waitExposed(self.form)
        QApplication.processEvents()

    def show(self) -> None:
        self.options.show_preset(self.form.last, self.form.base)

    @property
    def flags(self) -> dict[str, Any]:
        return self.form.last.build.flags

    def tick(self, word: str) -> None:
        self.qtbot.mouseClick(self.options.targets.boxes[word], Qt.MouseButton.LeftButton, pos=_LEFT)

    def ticked(self) -> list[str]:
        return [word for word, box in self.options.targets.boxes.items() if box.isChecked()]


def test_every_toolchain_has_the_title_that_it_has_itself() -> None:
    of = {name: get(name).title for name in names()}
    assert set(TOOLCHAIN_TITLES) == set(of) == set(TOOLCHAINS)
    assert all(TOOLCHAIN_TITLES[name] in of[name] for name in of)


def test_gpus_to_build_for_are_ticked_and_become_flags(qtbot: QtBot) -> None:
    shown = Shown(qtbot, preset_of("trtrtx-fp16"))
    assert shown.ticked() == ["this"] and shown.flags == {}
    assert shown.options.summary.text() == "built for this machine's GPU"
    shown.tick("8.9")
    shown.tick("this")
    shown.tick("12.0")
    assert shown.flags == {"targets": ["8.9", "12.0"]} and shown.form.changes == 1 and shown.options.mark.text()
    assert shown.options.summary.text() == "built for 8.9, 12.0"
    shown.tick("12.0")
    shown.tick("8.9")
    assert shown.flags == {} and shown.ticked() == ["this"], "with none chosen it is as the preset has it"


def test_a_gpus_name_counts_as_its_kind_and_the_presets_gpu_is_implied() -> None:
    named = preset_of("trtrtx-fp16", 'build.flags.targets=["RTX 5090", "sm_89", "this"]')
    assert chosen_targets(named) == ("12.0", "8.9", "this")
    for_4090 = preset_of("llama-3.1-8b-fp8-trtrtx-rtx4090")
    assert chosen_targets(for_4090) == ("8.9",) and targets_summary(for_4090) == "built for RTX 4090 (8.9)"
    assert "targets" not in with_targets(for_4090, ["8.9"]) and with_targets(for_4090, ["12.0", "8.9"])["targets"] == [
        "8.9", "12.0",
    ]  # fmt: skip
    assert chosen_targets(preset_of("trtrtx-fp16", "build.flags.targets=RTX 9999")) == ("RTX 9999",)


def test_a_kind_that_cannot_have_the_precision_is_grey_and_says_so(qtbot: QtBot) -> None:
    targets = Shown(qtbot, preset_of("trtrtx-nvfp4")).options.targets
    able = [word for word, box in targets.boxes.items() if box.isEnabled()]
    assert able == ["this", "12.0", "12.1"] and "NVFP4 needs" in targets.boxes["8.9"].toolTip()


def test_flags_are_fields_and_a_default_is_not_written_down(qtbot: QtBot) -> None:
    shown = Shown(qtbot, preset_of("trtrtx-fp16"))
    rows = {path[-1]: row for path, row in shown.options.rows.items()}
    assert set(rows) == {field.path[-1] for field in FIELDS["tensorrt_rtx"]}
    level, prompt = rows["optimization_level"].editor, rows["opt_prompt"].editor
    assert isinstance(level, NumberEditor) and isinstance(prompt, NumberEditor)
    qtbot.keyClicks(level.edit, "3")
    prompt.edit.clear()
    qtbot.keyClicks(prompt.edit, "1024")
    assert shown.flags == {"optimization_level": 3, "opt_prompt": 1024}
    prompt.edit.selectAll()
    qtbot.keyClicks(prompt.edit, "512")
    level.edit.selectAll()
    qtbot.keyClick(level.edit, Qt.Key.Key_Delete)
    assert shown.flags == {}
    qtbot.keyClicks(level.edit, "9")
    assert shown.flags == {"optimization_level": "9"}, "what is wrong is kept, for preflight to refuse"
    assert rows["optimization_level"].problem.text() == "Optimization level must be a whole number from 0 to 5."


def test_options_go_with_the_toolchain(qtbot: QtBot) -> None:
    shown = Shown(qtbot, preset_of("onnx-int4"))
    assert shown.options.isVisible() and not shown.options.targets.isVisible()
    assert [path[-1] for path in shown.options.rows] == ["device"]
    shown.form.set_preset(preset_of("cpu-int8"))
    shown.show()
    assert not shown.options.isVisible()
    shown.form.set_preset(preset_of("trtrtx-fp16-lab"))
    shown.show()
    assert shown.options.isVisible() and shown.ticked() == ["8.6", "8.9", "12.0"]


def test_settings_that_do_nothing_are_grey(qtbot: QtBot) -> None:
    preset = preset_of("trtrtx-fp16")
    form = Shown(qtbot, preset).form
    for path, used in {
        ("limits", "max_seq_len"): True, ("limits", "max_input_len"): False, ("runtime", "kv_cache_gib"): True,
        ("runtime", "prefix_caching"): False, ("parallel", "tp"): False,
    }.items():  # fmt: skip
        assert form.rows[path].editor.isEnabled() is used, path
    assert "TensorRT-RTX" in unused_words(preset, ("limits", "max_input_len"))
    assert unused_words(preset_of("trtllm-fp8"), ("limits", "max_input_len")) == ""


# --- the gallery ---


@pytest.mark.parametrize(
    ("gpus", "why", "built_here"),
    [
        ([], "Built here for RTX 4090 (8.9); here it runs as ONNX on the CPU.", True),
        (["RTX 4090"], "", False),
        (["RTX 5090"], "Built here for RTX 4090 (8.9); this GPU is 12.0.", True),
        (
            ["H200"],
            f"Built here for RTX 4090 (8.9). {HOPPER}",
            True,
        ),
    ],
)
def test_an_rtx_card_says_what_it_is_built_for(gpus: list[str], why: str, built_here: bool) -> None:
    card = card_of(shipped(*gpus), "llama-3.1-8b-fp8-trtrtx-rtx4090")
    assert (card.why_not, card.built_here, card.runs_here) == (why, built_here, not why)


def test_an_rtx_preset_without_a_gpu_asks_for_one_and_hopper_is_refused() -> None:
    assert card_of(shipped(), "trtrtx-fp16").why_not.startswith("Choose the GPUs that it is built for")
    hopper = card_of(shipped("H200"), "trtrtx-fp16")
    assert "Hopper" in hopper.why_not and not hopper.built_here
    passed_over = card_of(shipped("A100"), "trtrtx-fp16")
    assert "8.6 and newer, not on 8.0" in passed_over.why_not and passed_over.built_here
    lacking = card_of(shipped(lacking={"tensorrt_rtx": "not here"}), "trtrtx-fp16-lab")
    assert (lacking.why_not, lacking.built_here) == ("not here", False)


def test_filters_find_the_presets_of_both_toolchains() -> None:
    gallery = shipped()
    assert {"onnxruntime", "tensorrt_rtx"} <= set(gallery.toolchains)
    rtx = filtered(gallery, toolchain="tensorrt_rtx").cards
    assert rtx and {card.toolchain for card in rtx} == {"tensorrt_rtx"}
    for_4090 = {card.id for card in filtered(gallery, gpu="RTX 4090", toolchain="tensorrt_rtx").cards}
    assert {"trtrtx-fp16-lab", "llama-3.1-8b-fp8-trtrtx-rtx4090"} <= for_4090
    assert "llama-3.1-8b-nvfp4-trtrtx-rtx5090" not in for_4090
    assert not [card for card in filtered(gallery, gpu=RUNS_HERE).cards if card.toolchain == "tensorrt_rtx"]
    assert [card for card in filtered(gallery, gpu=RUNS_HERE).cards if card.toolchain == "onnxruntime"]
