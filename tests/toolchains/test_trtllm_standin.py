"""The stand-in takes what is documented and nothing else: its names are held against the facts that were read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import workbench
from tests.fakes import trtllm
from tests.fakes.trtllm_checkpoints import write_checkpoint
from workbench.toolchains.tensorrt_llm.flags import flag_table, gone_flags

API = json.loads(
    (Path(workbench.__file__).parent / "toolchains" / "tensorrt_llm" / "api_names.json").read_text("utf-8")
)


def run(program: str, **options: object) -> Any:
    """What a program that imports the stand-in prints last, as JSON."""
    env = {**os.environ, **trtllm.environment(**options)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def trtllm_build(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **trtllm.environment(seconds=0, **options)}
    program = str(trtllm.BIN / "trtllm-build")
    with tempfile.TemporaryDirectory() as cwd:  # where it leaves its timing cache
        return subprocess.run([program, *argv], env=env, cwd=cwd, capture_output=True, text=True, timeout=60)


def test_its_names_are_the_documented_ones() -> None:
    found = run("""
import inspect, json
from tensorrt_llm import _tensorrt_engine as engine
from tensorrt_llm import llmapi
from tensorrt_llm.mapping import Mapping
from tensorrt_llm.models import CONFIG_FIELDS, LLaMAForCausalLM, PretrainedModel
from tensorrt_llm.models.modeling_utils import QuantConfig

def arguments(function):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [n for n, p in inspect.signature(function).parameters.items() if n != "self" and p.kind not in kinds]

converter = {*arguments(PretrainedModel.from_hugging_face), *LLaMAForCausalLM.arguments, *CONFIG_FIELDS}
print(json.dumps({
    "LLM": sorted({*arguments(engine.LLM.__init__), *engine.SHARED, *engine.ENGINE_ONLY}),
    "SamplingParams": sorted(llmapi.SAMPLING),
    "KvCacheConfig": sorted(llmapi.KvCacheConfig.model_fields),
    "SchedulerConfig": sorted(llmapi.SchedulerConfig.model_fields),
    "DynamicBatchConfig": sorted(llmapi.DynamicBatchConfig.model_fields),
    "ExtendedRuntimePerfKnobConfig": sorted(llmapi.ExtendedRuntimePerfKnobConfig.model_fields),
    "generate": sorted(arguments(engine.LLM.generate)),
    "generate_async": sorted(arguments(engine.LLM.generate_async)),
    "get_stats": sorted(arguments(engine.LLM.get_stats)),
    "from_hugging_face": sorted(converter),
    "save_checkpoint": sorted(arguments(PretrainedModel.save_checkpoint)),
    "Mapping": sorted(arguments(Mapping.__init__)),
    "QuantConfig": sorted(QuantConfig.model_fields),
}))
""")
    assert found == {name: sorted(API["calls"][name]) for name in found}


def test_its_flags_are_the_documented_ones() -> None:
    names = run(
        "import json; from tensorrt_llm._standin.flags import FLAGS; print(json.dumps([f.name for f in FLAGS]))"
    )
    assert sorted(names) == sorted(flag.name for flag in flag_table())


@pytest.mark.parametrize("gone", [flag.name for flag in gone_flags()][:6])
def test_flags_that_are_gone_are_refused(tmp_path: Path, gone: str) -> None:
    done = trtllm_build("--checkpoint_dir", str(tmp_path), f"--{gone}", "1")
    assert done.returncode == 2 and "error:" in done.stderr


def test_its_records_are_the_documented_ones(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    done = trtllm_build("--checkpoint_dir", str(checkpoint), "--output_dir", str(tmp_path / "engine"))
    assert done.returncode == 0, done.stderr[-2000:]
    config = json.loads((tmp_path / "engine" / "config.json").read_text())
    assert sorted(config) == sorted(API["fields"]["engine_config"])
    assert sorted(config["build_config"]) == sorted(API["fields"]["build_config"])
    assert not list((tmp_path / "engine").glob("token*")), "no tokenizer is copied"
    said = run(f"""
import json
from tensorrt_llm._tensorrt_engine import LLM, SamplingParams
llm = LLM(model={str(tmp_path / "engine")!r}, tokenizer={str(checkpoint)!r})
out = llm.generate("x", SamplingParams(max_tokens=3))
record = llm.get_stats(2)[0]
request = llm.generate_async([5], SamplingParams(max_tokens=400, ignore_eos=True), streaming=True)
steps = [len(next(request).outputs[0].token_ids) for _ in range(3)]
request.abort()
last = request.result().outputs[0].finish_reason
print(json.dumps({{"record": sorted(record), "kv": sorted(record["kvCacheStats"]), "steps": steps, "last": last,
                  "inflight": sorted(record["inflightBatchingStats"]), "reason": out.outputs[0].finish_reason}}))
llm.shutdown()
""")
    assert said["record"] == sorted(API["fields"]["iteration"])
    assert said["kv"] == sorted(API["fields"]["kvCacheStats"])
    assert said["inflight"] == sorted(API["fields"]["inflightBatchingStats"])
    assert said["steps"] == [1, 2, 3] and (said["last"], said["reason"]) == ("cancelled", "length")


def test_what_is_not_documented_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    assert trtllm_build("--checkpoint_dir", str(checkpoint), "--output_dir", str(tmp_path / "e")).returncode == 0
    engine, tokenizer = str(tmp_path / "e"), str(checkpoint)
    said = run(f"""
import json
from tensorrt_llm import LLM as Other
from tensorrt_llm._tensorrt_engine import LLM, SamplingParams
from tensorrt_llm.llmapi import KvCacheConfig
tried = {{
    "graphs": lambda: LLM(model={engine!r}, tokenizer={tokenizer!r}, cuda_graph_config=1),
    "a table for a config": lambda: LLM(model={engine!r}, tokenizer={tokenizer!r}, kv_cache_config={{}}),
    "KV dtype": lambda: LLM(model={engine!r}, tokenizer={tokenizer!r}, kv_cache_config=KvCacheConfig(dtype="fp8")),
    "other sizes": lambda: LLM(model={engine!r}, tokenizer={tokenizer!r}, tensor_parallel_size=2),
    "a checkpoint": lambda: LLM(model={tokenizer!r}),
    "no tokenizer": lambda: LLM(model={engine!r}).generate("x"),
    "the other class": lambda: Other(model={engine!r}),
    "unknown sampling": lambda: SamplingParams(magic=1),
    "greedy twice": lambda: SamplingParams(n=2),
    "unknown KV": lambda: KvCacheConfig(max_util_for_resume=1),
    "above 1": lambda: KvCacheConfig(free_gpu_memory_fraction=1.1),
}}
found = {{}}
for name, attempt in tried.items():
    try:
        attempt()
        found[name] = "taken"
    except Exception as error:
        found[name] = type(error).__name__
print(json.dumps(found))
""")
    assert "taken" not in said.values(), said
    assert said["unknown sampling"] == "TypeError" and said["graphs"] == "ValueError"
