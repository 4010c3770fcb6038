"""What an engine's folder says of the engine, read from engines that the stand-in's trtllm-build made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.interpreter import make_engine_folder
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.artifact import PROVENANCE_FILE
from workbench.core.deploy.facts import BuiltFor, Speculative, read_engine_facts
from workbench.core.errors import BadInputError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trtllm_engine(tmp_path_factory.mktemp("facts") / "tp2", tp=2)


@pytest.fixture
def engine(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tp2"))


def change(engine: Path, *keys: str, to: Any) -> None:
    config = json.loads((engine / "config.json").read_text())
    table = config
    for key in keys[:-1]:
        table = table[key]
    table[keys[-1]] = to
    (engine / "config.json").write_text(json.dumps(config))


def test_a_tensorrt_engines_limits_ranks_and_gpu(made: Path) -> None:
    facts = read_engine_facts(made)
    assert (facts.toolchain, facts.toolchain_version, facts.precision) == ("tensorrt_llm", "1.2.1", "fp8")
    assert (facts.tp, facts.pp, facts.cp, facts.world_size, facts.gpus) == (2, 1, 1, 2, 2)
    assert (facts.ranks_present, facts.ranks_missing) == ((0, 1), ())
    limits = (facts.max_batch_size, facts.max_input_len, facts.max_seq_len, facts.max_num_tokens, facts.max_beam_width)
    assert limits == (8, 192, 256, 512, 1)
    assert (facts.kv_cache, facts.kv_cache_type, facts.tokens_per_block) == ("fp8", "paged", 32)
    assert facts.paged_context_fmha is True and facts.speculative is None
    assert facts.gpu_built_for == BuiltFor("NVIDIA H100 80GB HBM3", "9.0")
    assert facts.tokenizer == made
    assert [file.path for file in facts.tokenizer_files] == [
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [file.path for file in facts.engine_files] == ["config.json", "rank0.engine", "rank1.engine"]
    assert facts.size_bytes == sum(path.stat().st_size for path in made.iterdir())
    assert facts.slug == "tiny-fp8-tp2"


def test_an_engine_that_trtllm_build_wrote_by_hand(tmp_path: Path) -> None:
    flags = {"speculative_decoding_mode": "lookahead_decoding", "max_draft_len": 7}
    engine = make_trtllm_engine(tmp_path / "by-hand", "fp16", pp=2, flags=flags, tokenizer=False)
    with_notes = read_engine_facts(engine)
    assert with_notes.tokenizer == tmp_path / "by-hand-model", "the model's, where the engine has none"
    assert with_notes.speculative == Speculative("lookahead_decoding", 7)
    for name in (PROVENANCE_FILE, "engine.json"):
        (engine / name).unlink()
    facts = read_engine_facts(engine)
    assert (facts.name, facts.precision, facts.kv_cache) == ("by-hand", "fp16", "fp16")
    assert (facts.pp, facts.world_size, facts.provenance) == (2, 2, None)
    assert (facts.tokenizer, facts.gpu_built_for, facts.model_path) == (None, None, "")


def test_an_openvino_engine(tmp_path: Path) -> None:
    engine = make_engine_folder(tmp_path / "int8")
    facts = read_engine_facts(engine)
    assert (facts.toolchain, facts.precision, facts.world_size, facts.gpus) == ("openvino", "int8", 1, 0)
    assert facts.engine_files == facts.files and facts.slug == "tiny-int8"
    (engine / "openvino_model.bin").write_bytes(b"short")
    with pytest.raises(BadInputError, match="not complete") as error:
        read_engine_facts(engine)
    assert "openvino_model.bin" in error.value.evidence


def test_a_missing_rank_is_named(engine: Path) -> None:
    (engine / "rank1.engine").unlink()
    with pytest.raises(BadInputError) as error:
        read_engine_facts(engine)
    assert error.value.failure.code == "missing-rank"
    assert error.value.what == "tp2 lacks 1 of its 2 ranks." and "rank1.engine" in error.value.evidence
    facts = read_engine_facts(engine, allow_missing=True)
    assert (facts.ranks_present, facts.ranks_missing) == ((0,), (1,))


@pytest.mark.parametrize("kept", [0, 40])
def test_a_rank_that_is_cut_short_is_never_taken(engine: Path, kept: int) -> None:
    data = (engine / "rank0.engine").read_bytes()
    (engine / "rank0.engine").write_bytes(data[:kept])
    with pytest.raises(BadInputError) as error:
        read_engine_facts(engine, allow_missing=True)
    assert error.value.failure.code == "bad-rank" and f"rank0.engine has {kept} bytes" in error.value.evidence


@pytest.mark.parametrize(
    ("keys", "value", "code"),
    [
        (("version",), "1.1.0", "engine-of-other-version"),
        (("version",), "1.3.0rc2", "engine-of-other-version"),
        (("version",), None, "engine-of-other-version"),
        (("build_config",), {}, "engine-of-other-version"),
        (("pretrained_config", "mapping", "tp_size"), "2", "broken-engine"),
        (("pretrained_config", "mapping", "pp_size"), 0, "broken-engine"),
        (("pretrained_config", "mapping", "tp_size"), 10**9, "broken-engine"),
    ],
)
def test_configs_that_cannot_be_used(engine: Path, keys: tuple[str, ...], value: Any, code: str) -> None:
    change(engine, *keys, to=value)
    with pytest.raises(BadInputError) as error:
        read_engine_facts(engine)
    assert error.value.failure.code == code and error.value.evidence and error.value.fix


@pytest.mark.parametrize("text", ["", "{", "[]", "nul\0"])
def test_a_config_that_is_no_json(engine: Path, text: str) -> None:
    (engine / "config.json").write_text(text)
    with pytest.raises(BadInputError) as error:
        read_engine_facts(engine)
    assert error.value.failure.code == "broken-engine" and "config.json" in error.value.evidence


def test_what_is_no_engine(tmp_path: Path, made: Path) -> None:
    model = made.with_name("tp2-model")
    for folder in (tmp_path / "nothing", tmp_path, model):
        with pytest.raises(BadInputError) as error:
            read_engine_facts(folder)
        assert error.value.failure.code == "no-engine"
