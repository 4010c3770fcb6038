"""The draft of an engine: found by folder and by precision, refused in words, handed to its host, built beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.toolchains.test_running import preset_data
from workbench.core.artifact import FileEntry, Machine, Provenance
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.core.load_fit import load_need
from workbench.core.plan import PlanModel
from workbench.core.preset import apply_overrides, find_preset, preset_from_data
from workbench.toolchains.planner import chosen_precisions, kept_preset
from workbench.toolchains.running import EngineStart, engine_start
from workbench.toolchains.tensorrt_llm.flags import settings_from_preset
from workbench.toolchains.tensorrt_llm.runtime import runtime_settings

ENVIRON = {"WORKBENCH_OPENVINO_PYTHON": sys.executable, "WORKBENCH_TENSORRT_LLM_PYTHON": sys.executable}
DRAFT = "speculative.mode=draft_target"


def engine(
    folder: Path, precision: str, *, toolchain: str = "openvino", digest: str = "m" * 8, at: float = 1.0,
    vocabulary: dict[str, int] | None = None, overrides: tuple[str, ...] = (),
) -> Path:  # fmt: skip
    folder.mkdir(parents=True)
    preset = apply_overrides(preset_from_data(preset_data(toolchain), name="p"), list(overrides))
    model = PlanModel(name="m", path="/m", architecture="A", digest=digest, parameters=1, weight_bytes=1)
    made = Provenance(
        kind="engine", name=f"m {precision}", key="k" * 64, created_at=at, workbench="0", toolchain=toolchain,
        precision=precision, preset=preset.to_data(), model=model, steps=(),
        machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"),
        files=(FileEntry(path="openvino_model.bin", bytes=2**30, sha256=""),),
    )  # fmt: skip
    (folder / "provenance.json").write_text(made.model_dump_json())
    tokens = {"model": {"vocab": vocabulary or {"a": 0}}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def started(home: Home, path: Path, *overrides: str) -> EngineStart:
    return engine_start(home, path, list(overrides), ENVIRON)


def test_a_precision_is_the_newest_engine_of_the_same_model(home: Home, tmp_path: Path) -> None:
    engines = home.artifacts / "engines"
    main = engine(engines / "main", "fp16")
    engine(engines / "old", "int4", at=1.0)
    newest = engine(engines / "new", "int4", at=2.0)
    engine(engines / "other", "int4", digest="another", at=3.0)
    start = started(home, main, DRAFT, "speculative.draft=int4", "speculative.draft_tokens=7")
    assert start.draft == newest
    spec = start.start.spec
    assert spec.inputs == {"engine": str(main), "draft": str(newest)}
    assert spec.settings["speculative"] == {"mode": "draft_target", "draft_tokens": 7}
    assert "speculative" not in started(home, main).start.spec.settings, "nothing is guessed unless asked for"


def test_a_folder_is_taken_as_it_is_named(home: Home, tmp_path: Path) -> None:
    main, draft = engine(tmp_path / "main", "fp16"), engine(tmp_path / "small", "int8", digest="smaller")
    assert started(home, main, DRAFT, f"speculative.draft={draft}").draft == draft
    in_home = engine(home.artifacts / "engines" / "small", "int8")
    assert started(home, main, DRAFT, "speculative.draft=small").draft == in_home


def test_a_folder_that_is_typed_is_taken_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "int4").mkdir()
    monkeypatch.chdir(tmp_path)
    gallery = find_preset("cpu-fp16")
    assert gallery.source is not None and gallery.source.parent != tmp_path
    typed = apply_overrides(gallery, [DRAFT, "speculative.draft=small"])
    assert typed.draft_path == tmp_path / "small"
    assert apply_overrides(gallery, [DRAFT, "speculative.draft=int4"]).speculative.draft == "int4", "a precision"
    assert apply_overrides(gallery, [DRAFT, "speculative.draft=name"]).speculative.draft == "name", "an engine's name"


def test_an_engine_remembers_a_draft_that_lay_beside_its_preset(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    data = preset_data("openvino") | {"speculative": {"mode": "draft_target", "draft": "small"}}
    preset = preset_from_data(data, name="p").with_origin("p", tmp_path / "p.toml")
    assert preset.draft_path == tmp_path / "small"
    assert kept_preset(preset).speculative.draft == str(tmp_path / "small")
    absent = apply_overrides(preset, ["speculative.draft=gone"])
    assert kept_preset(absent).speculative.draft == "gone"


@pytest.mark.parametrize(
    ("draft", "code", "seen"),
    [
        ("int4", "no-draft", "no int4 engine of the same model"),
        ("nowhere", "no-draft", "not there"),
        ("none", "no-draft", "needs an engine that guesses"),
        ("fp16", "bad-draft", "its own draft"),
        ("SELF", "bad-draft", "its own draft"),
        ("OTHER", "bad-draft", "another tokenizer"),
        ("TORCH", "bad-draft", "no engine of the same toolchain"),
    ],
)
def test_what_cannot_guess_is_refused_before_anything_is_loaded(
    home: Home, tmp_path: Path, draft: str, code: str, seen: str
) -> None:
    main = engine(tmp_path / "engines" / "main", "fp16")
    named = {
        "SELF": str(main),
        "OTHER": str(engine(tmp_path / "other", "int4", vocabulary={"b": 0})),
        "TORCH": str(engine(tmp_path / "torch", "int8", toolchain="pytorch")),
    }.get(draft, draft)
    with pytest.raises((BadInputError, BlockedError)) as caught:
        started(home, main, DRAFT, f"speculative.draft={named}")
    assert caught.value.failure.code == code and seen in caught.value.what and caught.value.failure.fix


def test_an_engine_that_was_built_as_a_draft_runs_without_one(home: Home, tmp_path: Path) -> None:
    built = (DRAFT, "speculative.draft=int4")
    main = engine(tmp_path / "e" / "main", "fp16", overrides=built)
    draft = engine(tmp_path / "e" / "draft", "int4", overrides=built)
    assert started(home, main).draft == draft
    assert started(home, draft).draft is None and started(home, draft).preset.speculative.mode == "none"
    assert started(home, main, "speculative.mode=none").draft is None


def test_a_tensorrt_engine_has_its_mode_built_in(home: Home, tmp_path: Path) -> None:
    lookahead = apply_overrides(find_preset("trtllm-bf16"), ["speculative.mode=lookahead", "speculative.window_size=2"])
    settings = {"mode": "lookahead", "window_size": 2, "ngram_size": 3, "verification_set": 4}
    assert runtime_settings(lookahead)["speculative"] == settings
    medusa = ["speculative.mode=medusa", "speculative.draft=/x", "speculative.choices=[[0], [0, 0]]"]
    found = runtime_settings(apply_overrides(find_preset("trtllm-bf16"), medusa))["speculative"]
    assert found == {"mode": "medusa", "choices": [[0], [0, 0]]}
    draft = apply_overrides(find_preset("trtllm-bf16"), ["speculative.mode=draft_target"])
    assert "speculative" not in runtime_settings(draft), "the engine API takes no second model"
    main = engine(tmp_path / "e", "fp16", toolchain="tensorrt_llm", overrides=("speculative.mode=lookahead",))
    with pytest.raises(BlockedError, match="has its mode built in"):
        started(home, main, "speculative.mode=none")
    plain = engine(tmp_path / "p", "fp16", toolchain="tensorrt_llm")
    with pytest.raises(BlockedError, match="was built for speculative decoding by none, not lookahead"):
        started(home, plain, "speculative.mode=lookahead")


def test_toolchains_without_guesses_say_so(home: Home, tmp_path: Path) -> None:
    main = engine(tmp_path / "e", "fp16")
    with pytest.raises(BlockedError, match="OpenVINO GenAI has no speculative decoding by medusa"):
        started(home, main, "speculative.mode=medusa", "speculative.draft=x")


def test_the_draft_needs_room_beside_the_engine(home: Home, tmp_path: Path) -> None:
    main, draft = engine(tmp_path / "e" / "main", "fp16"), engine(tmp_path / "e" / "draft", "int4")
    start = started(home, main, DRAFT, f"speculative.draft={draft}", "runtime.kv_cache_gib=0.5")
    alone = load_need(start.provenance, start.preset, 2**33, on_gpu=False)
    both = load_need(start.provenance, start.preset, 2**33, on_gpu=False, draft=start.draft_provenance)
    assert both.total.low - alone.total.low == 2**30 + 2**29, "its weights, and a KV pool of as many blocks"
    assert "draft" in both.words() and "draft" not in alone.words()


def test_the_draft_of_a_precision_is_built_too() -> None:
    preset = find_preset("cpu-speculative-draft")
    assert chosen_precisions(preset, ()) == ("fp16", "int4")
    assert chosen_precisions(preset, ("int8,int4",)) == ("int8", "int4")
    assert chosen_precisions(find_preset("cpu-fp16"), ()) == ("fp16",)


@pytest.mark.parametrize(
    ("overrides", "flags"),
    [
        ((), {}),
        (("speculative.mode=lookahead",), {"speculative_decoding_mode": "lookahead_decoding", "max_draft_len": "15"}),
        (
            ("speculative.mode=draft_target", "speculative.draft_tokens=8"),
            {"speculative_decoding_mode": "draft_tokens_external", "max_draft_len": "8"},
        ),
        (("speculative.mode=draft_target", "speculative.draft=bf16"), {}),
        (
            ("speculative.mode=eagle", "speculative.draft=/x"),
            {"speculative_decoding_mode": "eagle", "max_draft_len": "63"},
        ),
    ],
)
def test_flags_of_trtllm_build_follow_from_the_mode(overrides: tuple[str, ...], flags: dict[str, Any]) -> None:
    preset = apply_overrides(find_preset("trtllm-bf16"), list(overrides))
    made = settings_from_preset(preset)
    names = ("speculative_decoding_mode", "max_draft_len")
    assert {name: str(made[name]) for name in names if name in made} == flags


def test_the_mode_is_not_said_in_two_places() -> None:
    preset = apply_overrides(find_preset("trtllm-bf16"), ["speculative.mode=lookahead", "build.flags.max_draft_len=3"])
    with pytest.raises(BadInputError) as caught:
        settings_from_preset(preset)
    assert caught.value.failure.code == "flag-set-elsewhere"
