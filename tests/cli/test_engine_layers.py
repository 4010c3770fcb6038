"""`workbench engines layers` over an engine's folder as its build leaves it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import workbench
from tests.ui.test_engine_layers import make_rtx_engine
from tests.ui.test_engines import make_engine
from workbench.cli.column_widths import column_widths
from workbench.core.tensorrt_rtx.layers import LAYERS_FILE

TIMES = "\N{MULTIPLICATION SIGN}"


def test_layers_profiles_and_targets_are_printed(tmp_path: Path) -> None:
    folder = make_rtx_engine(tmp_path, "rtx")
    ran = workbench("engines", "layers", str(folder), "--type", "gemm")
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "") and len([line for line in lines if line.startswith("layer_")]) == 4
    assert any(line.split()[:3] == ["layer_3", "gemm", "int4"] for line in lines)
    assert f"1{TIMES}512" in ran.out and f"past_key_values.N.* (4 inputs)  1{TIMES}3{TIMES}1{TIMES}64" in ran.out
    assert "8.9 Ada Lovelace (RTX 4080, RTX 4090" in ran.out and "weight streaming  on" in ran.out

    told = workbench("engines", "layers", str(folder), "--json").json
    assert told["targets"] == ["8.6", "8.9"] and len(told["layers"]) == 12 and len(told["bindings"]) == 0
    assert {one["name"]: one["layers"] for one in told["by_type"]} == {"kgen": 8, "gemm": 4}
    assert told["layers"][0]["constants_bytes"] == 4096 and told["layers"][11]["profile"] == "decode"


def test_short_columns_stay_whole_where_names_are_long() -> None:
    heads, long = ("layer", "type", "constants", "inputs", "outputs"), ("layer", "inputs", "outputs")
    lines = [("n" * 115, "runtime_fusion", "4.0 KiB", "i" * 60, "o" * 10)]
    assert column_widths(heads, lines, long, 400) == [115, 14, 9, 60, 10], "there is room for all"
    assert column_widths(heads, lines, long, 101) == [30, 14, 9, 30, 10]
    assert column_widths(heads, lines, long, 80) == [20, 14, 9, 19, 10]
    assert column_widths(heads, lines, long, 20) == [6, 14, 9, 6, 6]


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    folder = make_rtx_engine(tmp_path, "rtx")
    none = workbench("engines", "layers", str(folder), "--type", "conv")
    assert none.code == 2 and "No layer is of the type 'conv'" in none.err and "kgen, gemm" in none.err
    (folder / LAYERS_FILE).write_text("{")
    damaged = workbench("engines", "layers", str(folder), "--json")
    assert damaged.code == 2 and damaged.json["error"]["code"] == "bad-layers"
    other = workbench("engines", "layers", str(make_engine(tmp_path, "plain")))
    assert other.code == 2 and "toolchain openvino" in other.err
