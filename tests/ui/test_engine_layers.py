"""The Engines page over TensorRT-RTX and ONNX Runtime engines: rows, badges, and the view of an engine's layers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from tests.ui.conftest import OpenWindow
from tests.ui.sweep import cut_off, nameless, settle
from tests.ui.test_engines import CPU, WAIT_MS, chosen, make_engine, opened
from workbench.core.artifact import StepRecord, read_provenance, runs_here
from workbench.core.home import Home
from workbench.core.tensorrt_rtx.layers import (
    LAYERS_FILE,
    Layer,
    LayerTable,
    Profile,
    ShapeRange,
    Tensor,
)
from workbench.ui.models.engines import make_row, read_rows
from workbench.ui.pages.engines import EnginesPage
from workbench.ui.pages.engines.layer_table import CONSTANTS, INPUTS, NAME, PROFILE, TYPE
from workbench.ui.pages.engines.provenance import verify_words
from workbench.ui.pages.engines.table import BUILT_FOR, TOOLCHAIN, badge_words, cell
from workbench.ui.session import Session
from workbench.ui.theme import theme

TIMES = "\N{MULTIPLICATION SIGN}"
RESULT: dict[str, Any] = {
    "versions": {"tensorrt-rtx-cu13-libs": "1.7.1.116", "onnxruntime": "1.31.1", "torch": "2.11"},
    "targets": ["8.6", "8.9"], "engine_bytes": 386_000_000, "weight_streaming": True, "stripped": False,
    "build_seconds": 21.4, "limits": {"max_seq_len": 2048, "max_batch_size": 1},
}  # fmt: skip


def table_of(layers: int) -> LayerTable:
    """So many layers of two profiles, every third a matrix product."""
    made = []
    for number in range(layers):
        gemm = number % 3 == 0
        weight = Tensor(name=f"w{number}", dtype="int4" if number % 2 else "fp16", shape=(64, 32))
        made.append(
            Layer(
                name=f"layer_{number}", type="gemm" if gemm else "kgen", profile=int(number >= layers // 2),
                inputs=(Tensor(name="hidden", dtype="fp16", shape=(1, -1, 64)),), constants=(weight,) if gemm else (),
                outputs=(Tensor(name=f"out{number}", dtype="fp16", shape=(1, -1, 32)),),
                precision=weight.dtype if gemm else "fp16", origin=(f"/model/layers.{number}/MatMul",), tactic="t",
            )
        )  # fmt: skip
    ids = {"input_ids": ShapeRange(min=(1, 1), opt=(1, 512), max=(1, 2048))}
    cache = ShapeRange(min=(1, 3, 1, 64), opt=(1, 3, 512, 64), max=(1, 3, 2047, 64))
    caches = {f"past_key_values.{n}.{part}": cache for n in range(2) for part in ("key", "value")}
    profiles = (Profile(name="prefill", shapes=ids), Profile(name="decode", shapes={**ids, **caches}))
    return LayerTable(layers=tuple(made), profiles=profiles)


def make_rtx_engine(place: Path, name: str, layers: int = 12, **changes: Any) -> Path:
    """A TensorRT-RTX engine's folder as its build leaves it, as far as the page reads it."""
    step = StepRecord(
        id="build:fp16", kind="build", worker="tensorrt_rtx.build", argv=("python",), seconds=21.0, key="k",
        result=RESULT,
    )  # fmt: skip
    folder = make_engine(place, name, "fp16", **{"toolchain": "tensorrt_rtx", "steps": (step,), **changes})
    (folder / LAYERS_FILE).write_text(table_of(layers).model_dump_json())
    return folder


@pytest.fixture
def engines(app_home: Home) -> Path:
    return app_home.make().artifacts / "engines"


@pytest.fixture
def page(session: Session, qtbot: QtBot) -> Iterator[EnginesPage]:
    made = EnginesPage(session)
    qtbot.addWidget(made)
    made.resize(1200, 800)
    made.show()
    yield made
    made.close_page()


def show_layers(page: EnginesPage, qtbot: QtBot) -> None:
    qtbot.mouseClick(page.pane.layers_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.pane.layers.layers is not None, timeout=WAIT_MS)


def test_rows_and_badges_of_both_toolchains(app_home: Home, engines: Path) -> None:
    make_rtx_engine(engines, "rtx")
    make_rtx_engine(engines, "one gpu", preset={"gpu": "RTX 4090"}, steps=(_built({**RESULT, "targets": ["8.9"]}),))
    onnx = {"versions": {"onnxruntime": "1.31.1", "torch": "2.11"}, "device": "cpu"}
    make_engine(engines, "onnx", "int4", toolchain="onnxruntime", steps=(_built(onnx),))
    rows = {row.name: row for row in read_rows(app_home, CPU).rows}
    assert cell(rows["rtx"], TOOLCHAIN) == "TensorRT-RTX 1.7.1.116"
    assert cell(rows["rtx"], BUILT_FOR) == "8.6, 8.9" and "RTX 4090" in rows["rtx"].built_for_more
    assert cell(rows["one gpu"], BUILT_FOR) == "RTX 4090 (8.9)"
    assert (cell(rows["onnx"], TOOLCHAIN), cell(rows["onnx"], BUILT_FOR)) == ("ONNX Runtime 1.31.1", "CPU")
    assert badge_words(rows["onnx"]) == ("runs here", "ok", "")


@pytest.mark.parametrize(
    ("here", "badge", "reason"),
    [
        ((), ("runs as ONNX", "ok"), "on the CPU"),
        (((8, 9),), ("runs here", "ok"), ""),
        (((9, 0),), ("does not run", "warn"), "Hopper"),
        (((12, 0),), ("does not run", "warn"), "8.6 and 8.9; here: 12.0"),
    ],
)
def test_whether_an_rtx_engine_runs_here_is_said(
    app_home: Home, engines: Path, here: tuple[tuple[int, int], ...], badge: tuple[str, str], reason: str
) -> None:
    from workbench.store.store import Store

    make_rtx_engine(engines, "rtx")
    with Store.open(app_home) as store:
        store.sync()
        (stored,) = store.artifacts("engine")
    word, kind, why = badge_words(make_row(stored, CPU, here))
    assert (word, kind) == badge and reason in why and bool(reason) == bool(why)


def test_an_engine_of_a_gpu_that_the_provider_refuses_runs_as_onnx(tmp_path: Path) -> None:
    built = _built({**RESULT, "targets": ["7.5", "8.9"]})
    provenance = read_provenance(make_rtx_engine(tmp_path, "old", steps=(built,)))
    assert runs_here(provenance, CPU, ((8, 9),)) == (True, "") == runs_here(provenance, CPU, ((7, 5), (8, 9)))
    runs, remark = runs_here(provenance, CPU, ((7, 5),))
    assert runs and "8.6 and newer, not on 7.5 (Turing): its ONNX model" in remark
    lone = provenance.model_copy(update={"precision": "bf16"})
    assert not runs_here(lone, CPU, ((7, 5),))[0]


def test_what_verify_did_not_run_is_said_beside_its_figures() -> None:
    told = {"agreement": 1.0, "kl_nats": 0.0, "output_tok_s": 33.1, "remark": "the compiled engine was not run"}
    assert verify_words(_built(told))[-1] == "the compiled engine was not run"
    assert len(verify_words(_built({**told, "remark": ""}))) == len(verify_words(_built({}))) == 2


def test_layers_are_shown_searched_and_copied(page: EnginesPage, engines: Path, qtbot: QtBot) -> None:
    make_engine(engines, "plain")
    make_rtx_engine(engines, "rtx")
    opened(page, qtbot, 2)
    chosen(page, qtbot, "plain")
    assert not page.pane.layers_button.isVisible()
    chosen(page, qtbot, "rtx")
    assert page.pane.layers_button.isVisible() and not page.pane.layers.table.isVisible()
    show_layers(page, qtbot)
    pane = page.pane.layers
    table = pane.table.model()
    assert pane.table.isVisible() and table.rowCount() == 12 and not pane.table.isColumnHidden(PROFILE)
    first = [str(table.index(0, column).data()) for column in (NAME, TYPE, CONSTANTS, INPUTS, PROFILE)]
    assert first == ["layer_0", "gemm", "4 KiB", f"hidden fp16 1{TIMES}?{TIMES}64", "prefill"]
    assert pane.layers is not None and pane.layers.facts[:2] == (("Engine", "368 MiB"), ("Weight streaming", "on"))
    assert [(one.name, one.layers) for one in pane.layers.by_type] == [("kgen", 8), ("gemm", 4)]
    assert [(one.name, one.layers) for one in pane.layers.by_precision] == [("fp16", 10), ("int4", 2)]
    decode = pane.layers.profiles[1].inputs[1]
    assert (decode.name, decode.count, decode.most) == (
        "past_key_values.N.*", 4, f"1{TIMES}3{TIMES}2047{TIMES}64",
    )  # fmt: skip

    qtbot.keyClicks(pane.search, "layers.3/ gemm")
    assert [table.index(n, NAME).data() for n in range(table.rowCount())] == ["layer_3"]
    assert pane.count.text() == "1 of 12 layers"
    pane.search.clear()
    pane.type.setCurrentIndex(pane.type.findData("gemm"))
    pane.profile.setCurrentIndex(pane.profile.findData("decode"))
    qtbot.mouseClick(pane.copy, Qt.MouseButton.LeftButton)
    head, *lines = QGuiApplication.clipboard().text().splitlines()
    assert head.startswith("Layer\tType\tPrecision\tConstants\t") and [line.split("\t")[0] for line in lines] == [
        "layer_6", "layer_9",
    ]  # fmt: skip
    pane.table.selectRow(0)
    qtbot.keyClick(pane.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text().splitlines()[1].startswith("layer_6\tgemm\tfp16\t4096\t")
    qtbot.keyClick(pane.table, Qt.Key.Key_Home)  # else Qt takes Ctrl for held down in all that follows
    pane.search.setText("nothing is called so")
    assert pane.none_fit.isVisible() and not pane.copy.isEnabled()


def test_the_view_is_kept_and_goes_with_the_engine(page: EnginesPage, engines: Path, qtbot: QtBot) -> None:
    make_engine(engines, "plain")
    make_rtx_engine(engines, "rtx")
    make_rtx_engine(engines, "other", layers=3)
    opened(page, qtbot, 3)
    chosen(page, qtbot, "rtx")
    show_layers(page, qtbot)
    assert page.state()["layers"] is True
    chosen(page, qtbot, "other")
    qtbot.waitUntil(lambda: page.pane.layers.filter.rowCount() == 3, timeout=WAIT_MS)
    chosen(page, qtbot, "plain")
    assert page.pane.provenance.isVisible() and page.pane.shows == "one"
    chosen(page, qtbot, "rtx")
    qtbot.waitUntil(lambda: page.pane.layers.filter.rowCount() == 12, timeout=WAIT_MS)
    page.table.selectAll()
    assert page.pane.shows == "nothing" and not page.pane.layers_button.isVisible()


@pytest.mark.parametrize("damage", [None, '{"layers": [{"na', '{"schema_version": 99}'])
def test_a_list_that_is_missing_or_damaged_is_said(
    page: EnginesPage, engines: Path, qtbot: QtBot, damage: str | None
) -> None:
    file = make_rtx_engine(engines, "rtx") / LAYERS_FILE
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    opened(page, qtbot, 1)
    chosen(page, qtbot, "rtx")
    qtbot.mouseClick(page.pane.layers_button, Qt.MouseButton.LeftButton)
    pane = page.pane.layers
    qtbot.waitUntil(pane.failure.isVisible, timeout=WAIT_MS)
    assert "list of" in pane.what.text() and str(file) in pane.evidence.text() and "Build the engine again" in (
        pane.fix.text()
    )  # fmt: skip
    assert not pane.search.isEnabled()


def test_five_thousand_layers_hold_up_nobody(page: EnginesPage, engines: Path, qtbot: QtBot) -> None:
    make_rtx_engine(engines, "rtx", layers=5000)
    opened(page, qtbot, 1)
    chosen(page, qtbot, "rtx")
    show_layers(page, qtbot)
    pane = page.pane.layers
    for text in ("m", "matmul 49", "matmul 499"):
        began = time.perf_counter()
        pane.search.setText(text)
        assert time.perf_counter() - began < 0.3, "a key of the search holds the window up"
    assert pane.filter.rowCount() == 15


@pytest.mark.parametrize("size", [(960, 600), (1280, 800)])
def test_nothing_of_the_layers_is_cut_off_or_nameless(
    open_window: OpenWindow, app_home: Home, engines: Path, qtbot: QtBot, size: tuple[int, int]
) -> None:
    make_rtx_engine(engines, "a name of many words for an engine of one model at one precision")
    window = open_window(size=size)
    window.show_page("engines")
    page = window.page("engines")
    assert isinstance(page, EnginesPage)
    qtbot.waitUntil(lambda: page.detail is not None, timeout=WAIT_MS)
    show_layers(page, qtbot)
    for mode in ("dark", "light"):
        theme().set_mode(mode)
        settle(window)
        assert "\n".join(cut_off(window)) == "" and nameless(window) == []


def _built(result: dict[str, Any]) -> StepRecord:
    return StepRecord(id="b", kind="build", worker="w", argv=("python",), seconds=1.0, key="k", result=result)
