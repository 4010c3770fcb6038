"""The gallery over the shipped presets and GPUs of the catalogue: who runs here, why not, what is nearest, filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QStyleOptionViewItem
from pytestqt.qtbot import QtBot

from tests.fakes.models import make_weightless_folder
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.model import ModelSpec, read_model
from workbench.core.precision import Precision
from workbench.core.preflight_gpu import gpu_engine
from workbench.core.preset import PresetList, apply_overrides, find_preset, gallery_folders, list_presets, save_preset
from workbench.ui.models.gallery import (
    GOALS,
    NO_GPU,
    RUNS_HERE,
    Card,
    Gallery,
    filtered,
    make_gallery,
    read_gallery,
    weights_text,
    why_not,
)
from workbench.ui.pages.builder.gallery import GalleryPane
from workbench.ui.pages.builder.gallery_cards import BROKEN_TITLE
from workbench.ui.session import Session

ACCESSIBLE, TIP = Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole


def machine(*names: str) -> tuple[GpuSpec, ...]:
    return tuple(find_gpu(name).model_copy(update={"index": index}) for index, name in enumerate(names))


def shipped(*names: str, lacking: dict[str, str] | None = None) -> Gallery:
    """The shipped gallery on a machine with these GPUs, whose toolchains are set up."""
    return make_gallery(list_presets(), machine(*names), lacking or {}, Path("/nobody"))


def card_of(gallery: Gallery, preset_id: str) -> Card:
    found = gallery.card(preset_id)
    assert found is not None
    return found


@pytest.fixture
def llama(tmp_path: Path) -> ModelSpec:
    return read_model(make_weightless_folder(tmp_path / "llama"))


@pytest.fixture
def pane(session: Session, qtbot: QtBot) -> Iterator[GalleryPane]:
    made = GalleryPane()
    qtbot.addWidget(made)
    made.resize(304, 700)
    made.set_gallery(shipped("RTX 3090"))
    made.show()
    yield made


# --- the model ---


def test_every_shipped_preset_is_a_card_in_the_order_of_goals() -> None:
    gallery = shipped("RTX 3090")
    assert [group.title for group in gallery.groups] == [title for _, title in GOALS]
    assert sorted(card.id for card in gallery.cards) == sorted(preset.id for preset in list_presets().presets)
    assert all(card.runs_here != bool(card.why_not) for card in gallery.cards)
    assert all(card.runs_here or card_of(gallery, card.nearest).runs_here for card in gallery.cards)


@pytest.mark.parametrize(
    ("gpus", "preset_id", "why", "near"),
    [
        (["RTX 3090"], "trtllm-fp8", "Needs compute capability 8.9; this GPU is 8.6.", "trtllm-int8-sq"),
        (["H200"], "trtllm-nvfp4", "Needs compute capability 10.0; this GPU is 9.0.", "trtllm-fp8"),
        (["H100 SXM"], "llama-3.3-70b-fp8-8xh200", "Needs 8 GPUs; this machine has 1.", "llama-3.3-70b-int4-awq-a100"),
        (["A100 80GB"] * 2, "trtllm-w4a8-awq", "Needs compute capability 8.9; these GPUs are 8.0.", "trtllm-int4-awq"),
        (
            ["RTX 4090", "H100 SXM"],
            "llama-3.3-70b-fp8-2xh100",
            "Needs 2 GPUs of one kind; this machine has 1.",
            "llama-3.3-70b-int4-awq-a100",
        ),
        (
            ["RTX 3090"],
            "llama-3.3-70b-fp8-2xh100",
            "Needs compute capability 8.9; this GPU is 8.6. Needs 2 GPUs; this machine has 1.",
            "llama-3.3-70b-int4-awq-a100",
        ),
        ([], "llama-3.1-8b-int4-awq-rtx4090", NO_GPU, "cpu-int4"),
    ],
)
def test_why_a_card_cannot_run_and_what_is_nearest(gpus: list[str], preset_id: str, why: str, near: str) -> None:
    gallery = shipped(*gpus)
    card = card_of(gallery, preset_id)
    assert (card.runs_here, card.why_not, card.nearest) == (False, why, near)
    assert card.nearest_title == card_of(gallery, near).title


def test_a_newer_gpu_that_refuses_a_precision_is_not_told_to_be_newer() -> None:
    card = card_of(shipped("RTX 5090"), "trtllm-int8-sq")
    assert not card.runs_here and "12.0" in card.why_not and "Needs compute" not in card.why_not


def test_torchaos_precisions_need_a_gpu_and_the_plain_ones_do_not() -> None:
    assert card_of(shipped(), "pytorch-bf16").runs_here
    assert card_of(shipped(), "pytorch-int8").why_not == card_of(shipped(), "pytorch-fp8").why_not == NO_GPU
    assert card_of(shipped("A100 80GB"), "pytorch-int8").runs_here
    assert "8.9" in card_of(shipped("A100 80GB"), "pytorch-fp8").why_not


def test_an_fp8_cache_alone_needs_a_gpu_for_it() -> None:
    preset = find_preset("trtllm-bf16")
    wanted = apply_overrides(preset, ["precision.kv_cache=fp8"])
    assert why_not(preset, machine("A100 80GB")) == ""
    assert why_not(wanted, machine("A100 80GB")) == "Needs compute capability 8.9; this GPU is 8.0."


def test_a_toolchain_that_is_not_set_up_counts_last() -> None:
    gallery = shipped("RTX 3090", lacking={"tensorrt_llm": "not here"})
    assert card_of(gallery, "trtllm-bf16").why_not == "not here"
    assert card_of(gallery, "trtllm-fp8").why_not.startswith("Needs compute capability")
    assert card_of(gallery, "trtllm-fp8").nearest == "cpu-fp16", "nothing of its own toolchain runs"
    assert card_of(gallery, "demo").runs_here


def test_own_presets_come_first_and_broken_files_are_kept(app_home: Home) -> None:
    app_home.presets.mkdir(parents=True)
    mine = find_preset("demo").model_copy(update={"title": "Mine"})
    save_preset(mine, app_home.presets / "demo.toml")
    (app_home.presets / "torn.toml").write_text("schema = 1\nweights = \n")
    gallery = read_gallery(app_home, machine("RTX 3090"))
    assert card_of(gallery, "demo").title == "Mine" and card_of(gallery, "demo").own
    assert not card_of(gallery, "cpu-int8").own
    assert [broken.name for broken in gallery.broken] == ["torn.toml"]
    assert "line 2" in gallery.broken[0].failure.what
    # This interpreter holds no TensorRT-LLM, whatever the GPU.
    assert "TensorRT-LLM is not set up here" in card_of(gallery, "trtllm-bf16").why_not


def test_filters_keep_what_fits_all_of_them() -> None:
    gallery = shipped("RTX 3090")
    assert {card.id for card in filtered(gallery, "70b FP8 two").cards} == {
        "llama-3.3-70b-fp8-2xh100",
        "llama-3.3-70b-fp8-2xh200",
    }
    assert all(card.runs_here for card in filtered(gallery, gpu=RUNS_HERE).cards)
    assert {card.gpu for card in filtered(gallery, gpu="H200").cards} == {"H200"}
    assert {card.precision for card in filtered(gallery, precision="nvfp4").cards} == {Precision.NVFP4}
    assert {card.toolchain for card in filtered(gallery, toolchain="openvino").cards} == {"openvino"}
    assert filtered(gallery, "smoothquant", toolchain="openvino").empty
    assert filtered(gallery) == gallery
    assert set(gallery.gpu_names) == {card.gpu for card in gallery.cards if card.gpu}


def test_weights_are_those_of_preflight(llama: ModelSpec) -> None:
    gallery = shipped("H100 SXM")
    card = card_of(gallery, "llama-3.3-70b-fp8-2xh100")
    preset = find_preset(card.id)
    (weights,) = (
        part
        for part in gpu_engine(preset, llama, Precision.FP8, machine("H100 SXM", "H100 SXM")).parts
        if part.name == "weights"
    )
    assert weights_text(card, llama) == f"2 \N{MULTIPLICATION SIGN} {weights.bytes.high / 2**30:.1f} GiB"
    assert weights_text(card_of(gallery, "cpu-fp16"), llama) == "15.0 GiB"
    assert weights_text(card, None) == ""


# --- the pane ---


def texts(pane: GalleryPane) -> list[str]:
    return [str(pane.cards.index(number).data()) for number in range(pane.cards.rowCount())]


def test_headings_stand_above_cards_and_the_keyboard_steps_over_them(pane: GalleryPane, qtbot: QtBot) -> None:
    assert texts(pane)[:4] == ["Try it", "Demo: INT8 on the CPU", "Latency", "CPU INT8"]
    pane.search.setFocus()
    qtbot.keyClick(pane.search, Qt.Key.Key_Down)
    assert pane.view.currentIndex().data() == "Demo: INT8 on the CPU"
    with qtbot.assertNotEmitted(pane.chosen):
        qtbot.keyClick(pane.view, Qt.Key.Key_Down)
    assert pane.view.currentIndex().data() == "CPU INT8"
    with qtbot.waitSignal(pane.chosen) as sent:
        qtbot.keyClick(pane.view, Qt.Key.Key_Return)
    assert sent.args == ["cpu-int8"] == [pane.chosen_id]
    with qtbot.assertNotEmitted(pane.chosen):
        qtbot.keyClick(pane.view, Qt.Key.Key_Return)


def test_a_click_chooses_also_what_cannot_run_here(pane: GalleryPane, qtbot: QtBot) -> None:
    pane.search.setText("trtllm-fp8")
    index = pane.cards.first_index()
    with qtbot.waitSignal(pane.chosen) as sent:
        qtbot.mouseClick(pane.view.viewport(), Qt.MouseButton.LeftButton, pos=pane.view.visualRect(index).center())
    assert sent.args == ["trtllm-fp8"]
    said = index.data(ACCESSIBLE)
    assert "Needs compute capability 8.9; this GPU is 8.6" in said and "Nearest: TensorRT-LLM INT8" in said
    assert said.endswith("Chosen") and index.data(TIP).startswith("TensorRT-LLM FP8\n")
    assert pane.view.selectionModel().isSelected(index)


def test_choosing_by_id_sends_nothing_and_brings_the_card_into_view(pane: GalleryPane, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(pane.chosen):
        pane.choose("llama-3.3-70b-nvfp4-2xb200")
    place = pane.view.visualRect(pane.cards.chosen_index())
    assert pane.view.viewport().rect().contains(place.center())
    pane.choose("no-such-preset")
    assert not pane.cards.chosen_index().isValid()


def test_filters_that_hide_all_can_be_cleared(pane: GalleryPane, qtbot: QtBot) -> None:
    pane.search.setText("no such thing")
    assert pane.nothing.isVisible() and pane.clear_button.isVisible() and not pane.view.isVisible()
    qtbot.mouseClick(pane.clear_button, Qt.MouseButton.LeftButton)
    assert pane.view.isVisible() and len(pane.cards.all_cards) == len(list_presets().presets)
    pane.gpu.setCurrentIndex(pane.gpu.findData(RUNS_HERE))
    assert pane.cards.all_cards and all(card.runs_here for card in pane.cards.all_cards)


def test_weights_are_shown_for_the_chosen_model(pane: GalleryPane, llama: ModelSpec) -> None:
    index = pane.cards.first_index()
    assert "Weights" not in index.data(TIP)
    pane.set_model(llama)
    assert "Weights: 8.5 GiB" in index.data(TIP)
    pane.set_model(None)
    assert "Weights" not in index.data(TIP)


def test_filters_and_choice_are_taken_back_before_or_after_the_presets_come(pane: GalleryPane, qtbot: QtBot) -> None:
    pane.toolchain.setCurrentIndex(pane.toolchain.findData("openvino"))
    pane.search.setText("int4")
    pane.choose("cpu-int4")
    kept = pane.state()
    fresh = GalleryPane()
    qtbot.addWidget(fresh)
    fresh.restore({**kept, "gpu": 7, "precision": "no such"})
    assert fresh.state()["toolchain"] == "openvino", "kept until the presets are here"
    fresh.set_gallery(shipped("RTX 3090"))
    assert fresh.chosen_id == "cpu-int4" and fresh.toolchain.currentData() == "openvino"
    assert [card.id for card in fresh.cards.all_cards] == [card.id for card in pane.cards.all_cards]
    assert len(fresh.cards.all_cards) < len(shipped().cards)


def test_a_file_that_cannot_be_read_is_shown_with_its_failure(pane: GalleryPane, app_home: Home, qtbot: QtBot) -> None:
    app_home.presets.mkdir(parents=True)
    (app_home.presets / "torn.toml").write_text("schema = 1\nweights = \n")
    found: PresetList = list_presets([app_home.presets, *gallery_folders()])
    pane.set_gallery(make_gallery(found, machine("RTX 3090"), {}, app_home.presets))
    assert texts(pane)[-2:] == [BROKEN_TITLE, "torn.toml"]
    index = pane.cards.index(pane.cards.rowCount() - 1)
    assert "line 2" in index.data(TIP) and "To do:" in index.data(TIP)
    pane.view.setCurrentIndex(index)
    with qtbot.assertNotEmitted(pane.chosen):
        qtbot.keyClick(pane.view, Qt.Key.Key_Return)


def test_nothing_is_cut_off(pane: GalleryPane, llama: ModelSpec) -> None:
    pane.set_model(llama)
    option = QStyleOptionViewItem()
    delegate = pane.view.itemDelegate()
    for number in range(pane.cards.rowCount()):
        size = delegate.sizeHint(option, pane.cards.index(number))
        assert size.width() <= pane.view.width() and size.height() >= 24
    for box in (pane.gpu, pane.precision, pane.toolchain):
        assert QFontMetrics(box.font()).horizontalAdvance(box.itemText(0)) <= box.width() - 28
        assert box.accessibleName()
    assert pane.view.horizontalScrollBar().maximum() == 0
