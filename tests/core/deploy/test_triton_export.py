"""A Triton export as data: golden facts of FP8 engines, checks, forms and speculative modes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.fakes.triton.exports import config, failed, parameters, text
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.deploy.facts import EngineFacts, Speculative, read_engine_facts
from workbench.core.deploy.triton.checks import repository_checks
from workbench.core.deploy.triton.export import triton_export
from workbench.core.deploy.triton.models import repository
from workbench.core.deploy.triton.options import TritonOptions
from workbench.core.deploy.triton.parameters import KNOWN
from workbench.core.deploy.triton.pbtxt import Model, config_text
from workbench.core.deploy.triton.versions import container_for, containers
from workbench.core.errors import BadInputError, BlockedError
from workbench.deploy.write import write_export

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    top = tmp_path_factory.mktemp("triton")
    return {tp: make_trtllm_engine(top / f"tp{tp}", tp=tp) for tp in (1, 2)}


@pytest.fixture
def facts(engines: dict[int, Path]) -> EngineFacts:
    return read_engine_facts(engines[1])


GOLDEN = {
    "gpt_model_type": "inflight_fused_batching",
    "gpt_model_path": "/triton/engine",
    "max_beam_width": "1",
    "batch_scheduler_policy": "guaranteed_no_evict",
    "exclude_input_in_output": "true",
    "enable_kv_cache_reuse": "true",
    "enable_chunked_context": "true",
    "normalize_log_probs": "true",
    "cancellation_check_period_ms": "100",
    "stats_check_period_ms": "100",
    "executor_worker_path": "/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker",
    "tokenizer_dir": "/triton/tokenizer",
    "guided_decoding_backend": "",
    "xgrammar_tokenizer_info_path": "",
    "kv_cache_free_gpu_mem_fraction": "0.9",
}


@pytest.mark.parametrize("tp", [1, 2])
def test_golden_facts_of_an_fp8_engine(engines: dict[int, Path], tp: int, tmp_path: Path) -> None:
    facts = read_engine_facts(engines[tp])
    options = TritonOptions(gpu_ids=(2, 3)) if tp == 2 else TritonOptions()
    export = triton_export(facts, options)
    assert export.kind == "triton" and export.name == ("tiny-fp8-triton" if tp == 1 else "tiny-fp8-tp2-triton")
    assert not failed(export)
    assert parameters(export) == GOLDEN | ({"gpu_device_ids": "2,3"} if tp == 2 else {})
    models = ["preprocessing", "tensorrt_llm", "postprocessing", "ensemble", "tensorrt_llm_bls"]
    for model in models:
        parsed = config(export, model)
        assert parsed.max_batch_size == 8 and parsed.name == model
        assert "${" not in text(export, f"model_repository/{model}/config.pbtxt")
    backend = config(export, "tensorrt_llm")
    assert backend.backend == "tensorrtllm" and backend.model_transaction_policy.decoupled
    assert list(backend.dynamic_batching.preferred_batch_size) == [8]
    logits = next(one for one in backend.output if one.name == "generation_logits")
    assert logits.data_type == model_config_pb2.TYPE_FP16  # as the checkpoint's logits_dtype says
    assert parameters(export, "preprocessing") == {
        "tokenizer_dir": "/triton/tokenizer",
        "add_special_tokens": "true",
        "max_seq_len": "256",
        "max_input_len": "192",
        "vocab_size": "320",
    }
    launch = text(export, "launch.sh")
    for line in (
        f"WORLD_SIZE={tp}",
        f"USES_MPI={tp - 1}",
        "TENSORRT_LLM=1.2.1",
        "COMPUTE_CAPABILITY=9.0",
        f"IMAGE={IMAGE}",
    ):
        assert f"\n{line}\n" in launch
    folder = write_export(export, tmp_path / "out")
    ranks = sorted(path.name for path in (folder / "engine").iterdir())
    assert ranks == ["config.json", *(f"rank{rank}.engine" for rank in range(tp))]
    assert (folder / "tokenizer" / "tokenizer.json").is_file() and os.access(folder / "launch.sh", os.X_OK)
    assert f"| max_seq_len | 256 |" in (folder / "README.md").read_text()  # noqa: F541


def test_limits_of_the_engine_decide_and_not_wishes(facts: EngineFacts) -> None:
    plain = replace(facts, paged_context_fmha=False, max_num_tokens=100, max_beam_width=4, kv_cache_type="continuous")
    found = parameters(triton_export(plain))
    assert found["enable_kv_cache_reuse"] == found["enable_chunked_context"] == "false"
    assert found["max_beam_width"] == "4" and found["gpt_model_type"] == "v1"
    assert "kv_cache_free_gpu_mem_fraction" not in found
    # Without chunks a prompt must go through in one step.
    assert parameters(triton_export(plain), "preprocessing")["max_input_len"] == "100"


def test_all_parameters_are_the_backends(facts: EngineFacts) -> None:
    export = triton_export(facts, TritonOptions(kv_host_bytes=2**30, gpu_ids=(0,), scheduler="max_utilization"))
    assert set(parameters(export)) <= KNOWN
    assert parameters(export)["kv_cache_host_memory_bytes"] == str(2**30)


@pytest.mark.parametrize(
    ("mode", "most", "options", "wanted"),
    [
        ("medusa", 63, {"choices": "[[0], [0, 0], [1]]"}, {"medusa_choices": "{0}, {0, 0}, {1}"}),
        ("eagle", 63, {}, {}),
        (
            "lookahead_decoding",
            83,
            {},
            {
                "lookahead_window_size": "7",
                "lookahead_ngram_size": "7",
                "lookahead_verification_set_size": "7",
            },
        ),
        ("lookahead_decoding", 83, {"lookahead": (4, 3, 5)}, {"lookahead_window_size": "4"}),
        ("explicit_draft_tokens", 5, {}, {}),
    ],
)
def test_the_decoding_mode_is_the_engines(
    facts: EngineFacts, mode: str, most: int, options: dict[str, Any], wanted: dict[str, str]
) -> None:
    built = replace(facts, speculative=Speculative(mode, most))
    export = triton_export(built, TritonOptions(**options))
    names = {"lookahead_decoding": "lookahead", "explicit_draft_tokens": "redrafter"}
    assert not failed(export)
    found = parameters(export)
    assert found["decoding_mode"] == names.get(mode, mode)
    assert wanted.items() <= found.items()


def test_lookahead_sizes_that_the_engine_cannot_hold_are_refused(facts: EngineFacts) -> None:
    built = replace(facts, speculative=Speculative("lookahead_decoding", 20))
    export = triton_export(built, TritonOptions(lookahead=(7, 7, 7)))
    assert failed(export) == {
        "decoding mode fits the engine": "lookahead_decoding: sizes (7, 7, 7) need 83 draft tokens, the engine holds 20"
    }
    with pytest.raises(BadInputError, match="--choices is no tree"):
        triton_export(replace(facts, speculative=Speculative("medusa", 63)), TritonOptions(choices="[[0], ['x']]"))


def test_a_draft_engine_must_fit_its_target(facts: EngineFacts, tmp_path: Path) -> None:
    target = replace(facts, speculative=Speculative("draft_tokens_external", 4))
    draft = replace(facts, vocab_size=999, toolchain_version="1.2.0", world_size=2)
    export = triton_export(target, TritonOptions(draft=draft, draft_tokens=5))
    assert set(failed(export)) == {
        "the target takes draft tokens",
        "draft and target share the vocabulary",
        "draft and target are of one TensorRT-LLM version",
        "all ranks of the draft engine are there",
    }
    export = triton_export(target, TritonOptions(draft=facts, draft_tokens=4))
    assert not failed(export)
    assert parameters(export, "tensorrt_llm_draft")["gpt_model_path"] == "/triton/draft_engine"
    assert parameters(export, "tensorrt_llm_bls")["num_draft_tokens"] == "4"
    assert any(copied.path == "draft_engine/rank0.engine" for copied in export.copies)
    # As many tokens, and others: two families of 32,000.
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"another": 0}}}')
    export = triton_export(target, TritonOptions(draft=replace(facts, tokenizer=tmp_path), draft_tokens=4))
    assert set(failed(export)) == {"draft and target share the vocabulary"}
    assert "name other tokens" in failed(export)["draft and target share the vocabulary"]


def test_what_is_missing_is_said_before_anything_is_written(engines: dict[int, Path], tmp_path: Path) -> None:
    broken = Path(shutil.copytree(engines[2], tmp_path / "broken"))
    (broken / "rank1.engine").unlink()
    shutil.rmtree(engines[2].with_name("gone"), ignore_errors=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (broken / name).unlink()
    facts = replace(read_engine_facts(broken, allow_missing=True), toolchain_version="1.2.9")
    facts = replace(facts, tokenizer=None, tokenizer_files=())
    export = triton_export(facts, TritonOptions(gpus_here=1))
    found = failed(export)
    assert found["all ranks are there"] == "1 rank file for tp 2 x pp 1; missing: rank1.engine"
    assert found["2 GPUs for tp 2 x pp 1"] == "1 there"
    assert found["the tokenizer is there"].startswith(f"none in {broken}")
    assert found["a container for TensorRT-LLM 1.2.9"] == (
        "the table has containers of 1.2.1, 1.2.0, 1.1.0, 1.0.3.2510, 1.0.0"
    )
    with pytest.raises(BlockedError, match="4 checks failed"):
        write_export(export, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_engine_for_another_gpu_is_refused(facts: EngineFacts) -> None:
    found = failed(triton_export(facts, TritonOptions(gpu="L40S")))
    assert list(found) == ["the GPU is of the kind it was built for"]
    assert "built on NVIDIA H100 80GB HBM3 (9.0)" in found["the GPU is of the kind it was built for"]
    assert not failed(triton_export(facts, TritonOptions(gpu="H100")))
    unknown = triton_export(replace(facts, gpu_built_for=None))
    assert not failed(unknown) and any(not check.ok for check in unknown.checks)


def test_the_table_names_a_container_or_none() -> None:
    newest = container_for("1.2.1")
    assert newest is not None and (newest.image, newest.tensorrt) == (IMAGE, "10.14.1.48")
    assert container_for("1.2.0") is not None and container_for("1.3.0") is None
    assert all(row.image.endswith(f":{row.tag}-trtllm-python-py3") for row in containers())


def test_another_container_is_held_against_the_version(facts: EngineFacts) -> None:
    older = container_for("1.2.0")
    assert older is not None
    assert "a container for TensorRT-LLM 1.2.1" in failed(triton_export(facts, TritonOptions(container=older.image)))
    own = triton_export(facts, TritonOptions(container="registry.lab/triton:1"))
    assert not failed(own) and any("not in the table" in check.found for check in own.checks)
    assert yaml.safe_load(text(own, "compose.yaml"))["services"]["triton"]["image"] == "registry.lab/triton:1"


@pytest.mark.parametrize(
    ("toolchain", "title"),
    [("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime"), ("tensorrt_rtx", "TensorRT-RTX")],
)
def test_an_engine_of_another_toolchain_is_refused(facts: EngineFacts, toolchain: str, title: str) -> None:
    with pytest.raises(BadInputError, match=f"runs no {title} engine"):
        triton_export(replace(facts, toolchain=toolchain))


def changed(models: tuple[Model, ...], name: str, **fields: Any) -> list[str]:
    """The checks that fail when one model of the repository is another."""
    made = tuple(replace(model, **fields) if model.name == name else model for model in models)
    checks = repository_checks(made, {model.name: config_text(model) for model in made})
    return [check.found for check in checks if not check.ok]


def test_a_repository_that_does_not_fit_together_is_found(facts: EngineFacts) -> None:
    models = repository(facts, TritonOptions())
    assert not changed(models, "ensemble")
    by_name = {model.name: model for model in models}
    backend, pre = by_name["tensorrt_llm"], by_name["preprocessing"]
    assert changed(models, "tensorrt_llm", parameters={**backend.parameters, "kv_cache_fraction": "0.9"}) == [
        "kv_cache_fraction"
    ]
    wrong = {key: value for key, value in backend.parameters.items() if key != "guided_decoding_backend"}
    assert changed(models, "tensorrt_llm", parameters=wrong | {"max_beam_width": "one"}) == [
        "max_beam_width = one, guided_decoding_backend is missing"
    ]
    outputs = tuple(replace(one, dtype="INT64") if one.name == "INPUT_ID" else one for one in pre.outputs)
    assert changed(models, "preprocessing", outputs=outputs) == [
        "_INPUT_ID is INT64, input_ids of tensorrt_llm is INT32"
    ]
    steps = by_name["ensemble"].steps
    unfed = {key: value for key, value in steps[1].inputs.items() if key != "input_lengths"}
    assert changed(models, "ensemble", steps=(steps[0], replace(steps[1], inputs=unfed), steps[2])) == [
        "input_lengths of tensorrt_llm is not fed"
    ]
    texts = {model.name: config_text(model) for model in models}
    texts["postprocessing"] = texts["postprocessing"].replace("TYPE_STRING", "TYPE_TEXT")
    found = [check.found for check in repository_checks(models, texts) if not check.ok]
    assert len(found) == 1 and "TYPE_TEXT" in found[0]


@pytest.mark.parametrize("value", ['quo"te', "back\\slash", "ümlaut 東京", "new\nline", "tab\t"])
def test_any_text_survives_the_protobuf_text_form(value: str) -> None:
    made = Model("m", "python", 1, (), (), {"key": value})
    parsed = text_format.Parse(config_text(made), model_config_pb2.ModelConfig())
    assert parsed.parameters["key"].string_value == value


def test_the_python_form_brings_settings_of_the_engine(engines: dict[int, Path]) -> None:
    export = triton_export(read_engine_facts(engines[2]), TritonOptions(form="llmapi", kv_fraction=0.5))
    assert export.kind == "triton_llmapi" and not failed(export)
    settings = yaml.safe_load(text(export, "model_repository/tensorrt_llm/1/model.yaml"))
    assert settings == {
        "model": "/triton/engine",
        "backend": "tensorrt",
        "tokenizer": "/triton/tokenizer",
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 1,
        "max_batch_size": 8,
        "max_num_tokens": 512,
        "max_seq_len": 256,
        "max_beam_width": 1,
        "enable_chunked_prefill": True,
        "trust_remote_code": False,
        "kv_cache_config": {"free_gpu_memory_fraction": 0.5, "enable_block_reuse": True},
        "scheduler_config": {"capacity_scheduler_policy": "GUARANTEED_NO_EVICT"},
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    assert config(export, "tensorrt_llm").max_batch_size == 0
    assert "\nUSES_MPI=0\n" in text(export, "launch.sh")  # the LLM class starts its ranks itself


@pytest.mark.parametrize(
    "fields",
    [
        {"kv_fraction": 0.0},
        {"kv_fraction": 1.1},
        {"http_port": 0},
        {"grpc_port": 8000},
        {"gpu_ids": (0, 0)},
        {"nodes": 0},
        {"host": ""},
        {"host": "box"},
        {"host": "127.0.0.1:1"},
    ],
)
def test_values_that_no_export_can_have(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        TritonOptions(**fields)


def test_a_mounted_engine_stays_where_it_is(engines: dict[int, Path], tmp_path: Path) -> None:
    odd = Path(shutil.copytree(engines[1], tmp_path / "a $b 'c' é"))
    export = triton_export(read_engine_facts(odd), TritonOptions(copy_engine=False, host="0.0.0.0", http_port=9000))
    assert not [copied for copied in export.copies if copied.path.startswith("engine/")]
    service = yaml.safe_load(text(export, "compose.yaml"))["services"]["triton"]
    assert service["volumes"][1] == {
        "type": "bind",
        "source": str(odd).replace("$", "$$"),
        "target": "/triton/engine",
        "read_only": True,
    }
    assert service["ports"][0] == "0.0.0.0:9000:9000"


def test_loopback_unless_asked(facts: EngineFacts) -> None:
    export = triton_export(facts)
    service = yaml.safe_load(text(export, "compose.yaml"))["services"]["triton"]
    assert service["ports"] == ["127.0.0.1:8000:8000", "127.0.0.1:8001:8001", "127.0.0.1:8002:8002"]
    assert (service["cap_drop"], service["cap_add"]) == (["ALL"], ["DAC_OVERRIDE"])
    assert service["security_opt"] == ["no-new-privileges:true"] and all(one["read_only"] for one in service["volumes"])
    assert 'address="${TRITON_ADDRESS:-127.0.0.1}"' in text(export, "launch.sh")


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000")])
def test_what_others_can_reach_is_said(facts: EngineFacts, host: str, url: str) -> None:
    export = triton_export(facts, TritonOptions(host=host))
    assert any("asks for no key" in note for note in export.notes)
    assert url in text(export, "README.md") and url in text(export, "smoke_test.py")
    assert not any("asks for no key" in note for note in triton_export(facts, TritonOptions(host="::1")).notes)


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_python_form_takes_one_node_and_plain_engines(engines: dict[int, Path], nodes: int) -> None:
    facts = read_engine_facts(engines[2])
    if nodes == 1:
        facts = replace(facts, speculative=Speculative("medusa", 63))
    wants = "medusa" if nodes == 1 else "2 nodes"
    found = failed(triton_export(facts, TritonOptions(form="llmapi", nodes=nodes)))
    assert found["the form can run it"].startswith(f"llmapi for {wants}:")
