"""Advice on speculative decoding, through the preflight that the command line and the window show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fakes.models import write_tokenizer
from tests.toolchains.gallery_models import gallery_folder
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.model import read_model
from workbench.core.preset import apply_overrides, find_preset
from workbench.toolchains import get
from workbench.toolchains.base import Environment
from workbench.toolchains.planner import Report, check, chosen_precisions, make_request

NAMED = "llama-3.1-8b-fp8-h100"
DRAFT = "speculative.mode=draft_target"


def report(tmp_path: Path, preset: str, *overrides: str) -> Report:
    chosen = apply_overrides(find_preset(preset), list(overrides))
    model = read_model(gallery_folder(tmp_path, NAMED), require_weights=False)
    request = make_request(
        chosen, model, precisions=chosen_precisions(chosen, ()), home=Home(tmp_path / "home").make(),
        environment=Environment(chosen.toolchain, (sys.executable,), "here"), host=read_host(), detected=(),
    )  # fmt: skip
    return check(get(chosen.toolchain), request)


def told(found: Report) -> dict[str, str]:
    return {advice.code: advice.level for advice in found.advice}


@pytest.mark.parametrize(
    ("preset", "overrides", "code", "level"),
    [
        ("cpu-int8", ["speculative.mode=eagle", "speculative.draft=/x"], "no-speculation", "block"),
        ("pytorch-bf16", ["speculative.mode=prompt_lookup"], "no-speculation", "block"),
        ("cpu-fp16", [DRAFT], "no-draft", "block"),
        ("cpu-int8", [DRAFT, "speculative.draft=fp16"], "draft-too-large", "warning"),
        ("cpu-fp16", ["speculative.mode=prompt_lookup"], "speculation-at-large-batch", "hint"),
        (NAMED, ["speculative.mode=lookahead", "limits.max_beam_width=2"], "speculation-and-beams", "block"),
        (NAMED, ["speculative.mode=lookahead"], "speculation-at-large-batch", "hint"),
        (NAMED, [DRAFT], "draft-target-elsewhere", "hint"),
        (NAMED, ["speculative.mode=eagle", "speculative.draft=/x"], "heads-precision", "block"),
        (NAMED, ["speculative.mode=medusa", "speculative.draft=/nowhere"], "no-heads", "block"),
        ("trtllm-bf16", [DRAFT, "speculative.draft=int4_awq"], "draft-of-the-same-model", "hint"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_wasteful_is_said(
    tmp_path: Path, preset: str, overrides: list[str], code: str, level: str
) -> None:
    if code == "no-heads":
        overrides = [*overrides, "precision.weights=bf16", "precision.kv_cache=auto"]
    found = report(tmp_path, preset, *overrides)
    assert told(found).get(code) == level, told(found)
    assert all(advice.fix for advice in found.advice if advice.code == code)


def test_presets_of_the_gallery_have_nothing_to_be_told_but_what_they_are(tmp_path: Path) -> None:
    for name in ("cpu-speculative-draft", "cpu-speculative-lookup"):
        codes = {code for code in told(report(tmp_path, name)) if "draft" in code or "specul" in code}
        assert codes == set(), name


def test_a_draft_with_another_tokenizer_blocks(tmp_path: Path) -> None:
    (tmp_path / "draft").mkdir()
    write_tokenizer(tmp_path / "draft")
    data = (tmp_path / "draft" / "tokenizer.json").read_text("utf-8")
    same = report(tmp_path, "cpu-fp16", DRAFT, f"speculative.draft={tmp_path / 'draft'}")
    assert "draft-tokenizer" not in told(same)
    (tmp_path / "draft" / "tokenizer.json").write_text(data.replace('"vocab": {', '"vocab": {"other": 99999, ', 1))
    other = report(tmp_path / "again", "cpu-fp16", DRAFT, f"speculative.draft={tmp_path / 'draft'}")
    assert told(other).get("draft-tokenizer") == "block"


def test_a_draft_that_is_gone_or_no_engine_blocks_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for named, code in ((tmp_path / "gone", "no-draft"), (tmp_path / "empty", "bad-draft")):
        found = report(tmp_path / f"for-{named.name}", "cpu-fp16", DRAFT, f"speculative.draft={named}")
        (advice,) = [advice for advice in found.advice if advice.code == code]
        assert advice.level == "block" and str(named) in advice.arithmetic + advice.text and advice.fix


def test_the_draft_takes_its_part_of_each_gpu(tmp_path: Path) -> None:
    alone = report(tmp_path, NAMED, DRAFT).numbers.engines[0]
    fp8, int4 = report(tmp_path / "both", NAMED, DRAFT, "speculative.draft=int4_awq").numbers.engines
    assert fp8.part("draft").low == int4.part("weights").low + int4.part("activations").low
    assert fp8.kv_pool_bytes < alone.kv_pool_bytes, "it leaves less for the engine's KV cache"
    for engine in (alone, int4):
        with pytest.raises(KeyError):
            engine.part("draft")


def test_trained_heads_take_their_part_of_each_gpu(tmp_path: Path) -> None:
    heads = tmp_path / "heads"
    heads.mkdir()
    overrides = ["speculative.mode=medusa", f"speculative.draft={heads}", "precision.weights=bf16", "parallel.tp=2"]
    with pytest.raises(KeyError):
        report(tmp_path, NAMED, *overrides).numbers.engines[0].part("draft")
    with (heads / "medusa_lm_head.pt").open("wb") as file:
        file.truncate(2**30)
    (heads / "config.json").write_text("{}")
    part = report(tmp_path / "again", NAMED, *overrides).numbers.engines[0].part("draft")
    assert (part.low, part.high) == (2**28, 2**30), "at 32 bits and split by two, or 16 bits and whole on each"


def test_the_draft_is_in_the_memory_picture(tmp_path: Path) -> None:
    found = report(tmp_path, "cpu-speculative-draft")
    fp16, int4 = found.numbers.engines
    draft = fp16.part("draft")
    assert draft.low > int4.part("weights").low, "its weights and a KV pool"
    assert fp16.total.low == pytest.approx(sum(part.bytes.low for part in fp16.parts))
    with pytest.raises(KeyError):
        int4.part("draft")
    assert {step.id for step in found.steps} >= {"build:fp16", "build:int4"}
