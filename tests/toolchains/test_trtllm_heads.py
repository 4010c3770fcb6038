"""Plans of engines with trained heads: who converts, what decides the key, what is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.toolchains.test_trtllm_plan import steps_of, tiny  # noqa: F401 - a fixture
from workbench.core.home import Home
from workbench.core.model import ModelSpec


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    folder = tmp_path / "heads"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"medusa_num_heads": 4}))
    (folder / "medusa_lm_head.safetensors").write_bytes(b"12345678")
    return folder


def test_the_script_of_the_examples_converts_and_nothing_is_verified(
    home: Home, tiny: ModelSpec, heads: Path  # noqa: F811
) -> None:  # fmt: skip
    steps = steps_of(home, tiny, "speculative.mode=medusa", f"speculative.draft={heads}", "speculative.heads=3")
    convert = steps["convert:bf16"]
    assert convert.worker == "trtllm.heads" and "examples" in convert.note
    assert convert.settings == {
        "mode": "medusa", "dtype": "bf16", "tp": 1, "pp": 1, "draft_tokens": 63, "heads": 3,
    }  # fmt: skip
    assert {each.role: each.path for each in convert.inputs}["heads"] == str(heads)
    assert steps["quantize:bf16"].none_reason and "no reference model" in steps["verify:bf16"].none_reason
    flags = steps["build:bf16"].settings["argv_flags"]
    assert flags["speculative_decoding_mode"] == "medusa" and int(flags["max_draft_len"]) == 63


def test_other_heads_make_another_checkpoint_and_another_window_does_not(
    home: Home, tiny: ModelSpec, heads: Path  # noqa: F811
) -> None:  # fmt: skip
    chosen = ("speculative.mode=medusa", f"speculative.draft={heads}")
    first = steps_of(home, tiny, *chosen)
    assert first["convert:bf16"].key
    again = steps_of(home, tiny, *chosen, "speculative.choices=[[0], [1]]")
    assert again["convert:bf16"].key == first["convert:bf16"].key, "the tree is chosen at load"
    assert again["build:bf16"].key == first["build:bf16"].key
    (heads / "medusa_lm_head.safetensors").write_bytes(b"123456789")
    other = steps_of(home, tiny, *chosen)
    assert other["convert:bf16"].key != first["convert:bf16"].key


def test_lookahead_changes_the_engine_and_not_the_checkpoint(home: Home, tiny: ModelSpec) -> None:  # noqa: F811
    plain = steps_of(home, tiny)
    lookahead = steps_of(home, tiny, "speculative.mode=lookahead")
    assert lookahead["convert:bf16"].key == plain["convert:bf16"].key
    assert lookahead["build:bf16"].key != plain["build:bf16"].key
    assert lookahead["convert:bf16"].worker == plain["convert:bf16"].worker
