"""A Triton export as data: golden facts of FP8 engines, checks, speculative modes, scripts and monitoring."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.fakes import trtllm
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.deploy.export import Export
from workbench.core.deploy.facts import EngineFacts, Speculative, read_engine_facts
from workbench.core.deploy.triton.checks import repository_checks
from workbench.core.deploy.triton.export import triton_export
from workbench.core.deploy.triton.models import repository
from workbench.core.deploy.triton.options import Baseline, TritonOptions
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


def text(export: Export, path: str) -> str:
    return next(one.text for one in export.texts if one.path == path)


def config(export: Export, model: str) -> Any:
    return text_format.Parse(text(export, f"model_repository/{model}/config.pbtxt"), model_config_pb2.ModelConfig())


def parameters(export: Export, model: str = "tensorrt_llm") -> dict[str, str]:
    return {key: value.string_value for key, value in config(export, model).parameters.items()}


def failed(export: Export) -> dict[str, str]:
    return {check.name: check.found for check in export.failed}


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


def test_a_draft_engine_must_fit_its_target(facts: EngineFacts) -> None:
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
    assert found["a container for TensorRT-LLM 1.2.9"] == "the table has containers of 1.2.1, 1.2.0, 1.1.0, 1.0.0"
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


def test_an_engine_of_another_toolchain_is_refused(facts: EngineFacts) -> None:
    with pytest.raises(BadInputError, match="runs no openvino engine"):
        triton_export(replace(facts, toolchain="openvino"))


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


def rules(export: Export) -> dict[str, str]:
    groups = yaml.safe_load(text(export, "monitoring/alerts.yml"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in groups[0]["rules"]}


def test_alerts_compare_with_what_was_measured(facts: EngineFacts) -> None:
    base = Baseline("20261121-run", 1000.0, latency_p99_ms=2000.0)
    found = rules(triton_export(facts, TritonOptions(baseline=base)))
    assert set(found) == {
        "TritonDown",
        "TritonThroughputUnderBaseline",
        "TritonQueueGrowing",
        "TritonP99",
        "TritonErrors",
        "TritonKvCacheFull",
    }
    assert "< 800.0" in found["TritonThroughputUnderBaseline"] and "> 3.000" in found["TritonP99"]
    assert "TritonThroughputUnderBaseline" not in rules(triton_export(facts))
    python = rules(triton_export(facts, TritonOptions(form="llmapi", baseline=base)))
    assert not any("nv_trt_llm" in expression or "nv_llm" in expression for expression in python.values())


REPORTED = {
    *("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_pending_request_count"),
    *("nv_inference_request_summary_us", "nv_inference_queue_summary_us", "nv_gpu_memory_used_bytes"),
    *("nv_gpu_utilization", "nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics"),
    *("nv_trt_llm_inflight_batcher_metrics", "nv_llm_output_token_len_sum", "nv_llm_input_token_len_sum"),
}


@pytest.mark.parametrize("form", ["ensemble", "llmapi"])
def test_the_dashboard_asks_for_metrics_that_triton_reports(facts: EngineFacts, form: Any) -> None:
    import re

    export = triton_export(facts, TritonOptions(form=form, baseline=Baseline("run", 500.0, 900.0)))
    document = json.loads(text(export, "monitoring/grafana-dashboard.json"))
    asked = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    names = {name for expression in [*asked, *rules(export).values()] for name in re.findall(r"nv_\w+", expression)}
    assert names <= REPORTED and len(document["panels"]) >= 6
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]}) == len(
        document["panels"]
    )
    assert document["templating"]["list"][0]["type"] == "datasource"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("form", ["ensemble", "llmapi"])
def test_promtool_takes_the_configuration_and_the_rules(facts: EngineFacts, tmp_path: Path, form: Any) -> None:
    base = Baseline('run "x" {{ $y }}', 1234.5, 100.0)
    folder = write_export(triton_export(facts, TritonOptions(form=form, baseline=base, host="::1")), tmp_path / "out")
    done = subprocess.run(
        ["promtool", "check", "config", "monitoring/prometheus.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules(triton_export(facts, TritonOptions(form=form, baseline=base))))} rules" in done.stdout


SERIES = """
rule_files: [alerts.yml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: 'nv_llm_output_token_len_sum{{model="tensorrt_llm",response_metric_type="total_output_tokens"}}'
        values: '0+{tokens}x80'
      - series: 'nv_trt_llm_request_metrics{{model="tensorrt_llm",request_type="waiting"}}'
        values: '{waiting}'
      - series: 'nv_inference_request_success{{job="triton",model="ensemble"}}'
        values: '0+100x80'
      - series: 'nv_inference_request_failure{{job="triton",model="ensemble",reason="OTHER"}}'
        values: '0+{failed}x80'
      - series: 'nv_inference_request_failure{{job="triton",model="ensemble",reason="CANCELED"}}'
        values: '0+50x80'
      - series: 'nv_inference_request_success{{job="triton",model="postprocessing"}}'
        values: '0+5000x80'
    alert_rule_test:
"""


def ringing(names: list[str]) -> str:
    lines = []
    for name in ("TritonThroughputUnderBaseline", "TritonQueueGrowing", "TritonErrors"):
        lines += ["      - eval_time: 18m", f"        alertname: {name}"]
        if name in names:
            lines += ["        exp_alerts:", "          - exp_labels:"]
            lines += [f"              severity: {'critical' if name == 'TritonErrors' else 'warning'}"]
            lines += ["              model: ensemble"] * (name == "TritonErrors")
            lines += ["            exp_annotations: {}"]
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("tokens", "waiting", "failures", "rings"),
    [
        (1500, "0x80", 0, []),  # 100 tok/s and nobody waits: idle
        (1500, "2x80", 0, ["TritonThroughputUnderBaseline"]),
        (15000, "2x80", 0, []),  # 1000 tok/s
        (15000, "0+3x80", 0, ["TritonQueueGrowing"]),
        (15000, "0x80", 5, ["TritonErrors"]),
    ],
)
def test_the_rules_ring_when_they_should(
    facts: EngineFacts, tmp_path: Path, tokens: int, waiting: str, failures: int, rings: list[str]
) -> None:
    export = triton_export(facts, TritonOptions(baseline=Baseline("run", 1000.0, 2000.0)))
    bare = [line for line in text(export, "monitoring/alerts.yml").splitlines() if "summary:" not in line]
    bare = [line for line in bare if "description:" not in line and "annotations:" not in line]
    (tmp_path / "alerts.yml").write_text("\n".join(bare) + "\n")
    (tmp_path / "tests.yml").write_text(SERIES.format(tokens=tokens, waiting=waiting, failed=failures) + ringing(rings))
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def launch(folder: Path, tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """launch.sh as inside the container: its own root and a server there, the stand-in's package and nvidia-smi."""
    server = tmp_path / "tritonserver"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "GPUs ${CUDA_VISIBLE_DEVICES-all}"\n')
    server.chmod(0o755)
    script = folder / "launch.sh"
    backend = tmp_path / "backends" / "tensorrtllm" / "libtriton_tensorrtllm.so"
    backend.parent.mkdir(parents=True, exist_ok=True)
    backend.touch()
    words = script.read_text().replace("ROOT=/triton\n", f"ROOT={folder}\n")
    words = words.replace("backend=/opt/tritonserver/", f"backend={tmp_path}/")
    script.write_text(words.replace("server=/opt/tritonserver/bin/tritonserver", f"server={server}"))
    env = {**os.environ, **trtllm.environment(), **more}
    mpirun = tmp_path / "bin" / "mpirun"
    mpirun.parent.mkdir(exist_ok=True)
    mpirun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    mpirun.chmod(0o755)
    env["PATH"] = f"{mpirun.parent}:{trtllm.BIN}:{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run([str(script)], capture_output=True, text=True, env=env, check=False)


@pytest.fixture
def place(engines: dict[int, Path], tmp_path: Path) -> Path:
    return write_export(triton_export(read_engine_facts(engines[2])), tmp_path / "out")


def test_launch_checks_what_is_there_and_starts_a_server_a_rank(place: Path, tmp_path: Path) -> None:
    done = launch(place, tmp_path, CHECK_ONLY="1")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "checks passed: 2 rank(s), TensorRT-LLM 1.2.1" in done.stderr
    given = launch(place, tmp_path, HTTP_PORT="9000").stdout.splitlines()
    first, second = given[: given.index(":")], given[given.index(":") + 1 :]
    server = str(tmp_path / "tritonserver")
    for rank, argv in enumerate((first, second)):
        assert ["-n", "1", server] == argv[argv.index("-n") :][:3]
        assert {f"--model-repository={place}/model_repository", "--http-port=9000"} <= set(argv)
        assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(argv)
        assert f"--backend-config=python,shm-region-prefix-name=rank{rank}_" in argv
    assert "--load-model=tensorrt_llm" in second and "--load-model=tensorrt_llm" not in first


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"TRTLLM_STANDIN_GPUS": "1"}, "1 GPU(s) are here; the engine needs 2"),
        ({"TRTLLM_STANDIN_SM": "89", "TRTLLM_STANDIN_GPU": "NVIDIA L40S"}, "built on NVIDIA H100 80GB HBM3"),
        ({"TRTLLM_STANDIN_VERSION": "1.2.0"}, "the engine was built with 1.2.1"),
    ],
)
def test_launch_refuses_in_words(place: Path, tmp_path: Path, more: dict[str, str], words: str) -> None:
    if "TRTLLM_STANDIN_VERSION" in more:
        script = place / "launch.sh"
        script.write_text(script.read_text().replace("TENSORRT_LLM=1.2.1", "TENSORRT_LLM=1.2.0"))
        words = "TensorRT-LLM here is 1.2.1; the engine was built with 1.2.0"
    done = launch(place, tmp_path, CHECK_ONLY="1", **more)
    assert done.returncode == 1 and words in done.stderr and "fix:" in done.stderr


def test_launch_refuses_a_triton_that_runs_no_engines(place: Path, tmp_path: Path) -> None:
    script = place / "launch.sh"
    script.write_text(script.read_text().replace("libtriton_tensorrtllm.so", "libtriton_other.so"))
    done = launch(place, tmp_path, CHECK_ONLY="1")
    assert done.returncode == 1 and "no backend that runs engines" in done.stderr and "older container" in done.stderr


def test_the_python_form_sees_the_gpus_that_were_chosen(engines: dict[int, Path], tmp_path: Path) -> None:
    export = triton_export(read_engine_facts(engines[2]), TritonOptions(form="llmapi", gpu_ids=(2, 3)))
    assert not parameters(export)  # LLM reads none: they would be said and not done
    folder = write_export(export, tmp_path / "out")
    done = launch(folder, tmp_path, TRTLLM_STANDIN_GPUS="4")
    assert done.stdout.splitlines()[-1] == "GPUs 2,3", done.stderr


def test_launch_refuses_a_missing_rank_and_a_changed_file(place: Path, tmp_path: Path) -> None:
    script = (place / "launch.sh").read_text()
    (place / "engine" / "rank1.engine").unlink()
    done = launch(place, tmp_path, CHECK_ONLY="1")
    assert "rank 1 of 2 is missing: engine/rank1.engine" in done.stderr and done.returncode == 1
    (place / "engine" / "rank1.engine").write_text("x")
    (place / "launch.sh").write_text(script)
    done = launch(place, tmp_path, CHECK_ONLY="1", CHECK_SUMS="1")
    assert done.returncode == 1 and "differs from SHA256SUMS" in done.stderr


@pytest.mark.parametrize("name", ["launch.sh", "aiperf.sh"])
def test_scripts_are_whole(place: Path, name: str) -> None:
    assert subprocess.run(["bash", "-n", str(place / name)], check=False).returncode == 0
    assert "#@SETTINGS@" not in (place / name).read_text()
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", str(place / name)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("form", ["ensemble", "llmapi"])
def test_aiperfs_payload_is_what_the_model_takes(facts: EngineFacts, form: Any) -> None:
    export = triton_export(facts, TritonOptions(form=form))
    assert "payload_template:$here/aiperf-payload.jinja" in text(export, "aiperf.sh")
    rendered = jinja2.Template(text(export, "aiperf-payload.jinja"), autoescape=False).render(
        text='a "b"', max_tokens=8
    )
    body = json.loads(rendered)
    model = "tensorrt_llm_bls" if form == "ensemble" else "tensorrt_llm"
    assert body["text_input"] == 'a "b"' and set(body) <= {one.name for one in config(export, model).input}
