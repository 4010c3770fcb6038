"""The TensorRT-LLM host against the stand-in's LLM class, which takes documented arguments alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import trtllm
from tests.fakes.trtllm_checkpoints import write_checkpoint
from tests.workers.conftest import RunWorker, result_of
from tests.workers.hosts.harness import (
    ROOT,
    Bare,
    BareProtocol,
    ends,
    failure_of,
    files_of,
    idle_processor_s,
    is_idle,
    refused,
    user,
    wait_for_stats,
)
from workbench.core.errors import Failure, StepFailedError
from workbench.core.messages import Finished, Sampling, Stats, StepSpec, Tokens
from workbench.jobs.engine import EngineClient, HostCommand

ARGV = (sys.executable, "-m", "workbench.workers.trtllm.host")
SAYS = "STAND-IN: no engine ran. \U0001f389 \u4f60\u597d."
LENGTH = len(SAYS.encode())
"""Tokens of the answer: the tokenizer knows single bytes."""
LIMITS = {"max_batch_size": 4, "max_seq_len": 512, "max_num_tokens": 256}

MakeEngine = Callable[..., Path]


@pytest.fixture(scope="session")
def make_engine(run_worker: RunWorker, tmp_path_factory: pytest.TempPathFactory) -> MakeEngine:
    """`make_engine(family=, precision=, tp=, pp=, flags=, options=)`: an engine by the build worker."""

    def make(flags: dict[str, Any] | None = None, options: dict[str, Any] | None = None, **shape: Any) -> Path:
        folder = tmp_path_factory.mktemp("engine")
        checkpoint = write_checkpoint(folder / "checkpoint", **shape)
        settings = {"argv_flags": {**LIMITS, **(flags or {})}}
        spec = {"inputs": {"checkpoint": str(checkpoint)}, "settings": settings, "output": str(folder / "engine")}
        env = trtllm.environment(seconds=0, **(options or {}))
        result_of(run_worker("trtllm.build", spec, timeout_s=60, env=env))
        return folder / "engine"

    return make


@pytest.fixture(scope="session")
def engine(make_engine: MakeEngine) -> Path:
    return make_engine()


def spec(engine: Path, **settings: Any) -> StepSpec:
    return StepSpec(worker="trtllm.host", inputs={"engine": str(engine)}, settings=settings)


@contextlib.contextmanager
def serving(
    engine: Path, log: Path, on_stats: Any = None, options: dict[str, Any] | None = None, **settings: Any
) -> Iterator[EngineClient]:
    env = trtllm.environment(**(options or {}))
    env["PYTHONPATH"] += os.pathsep + str(ROOT)
    command = HostCommand(argv=ARGV, env=env, spec=spec(engine, **settings))
    with EngineClient.start(command, log, timeout_s=60, on_stats=on_stats) as client:
        yield client


@pytest.fixture(scope="module")
def host(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    log = tmp_path_factory.mktemp("host") / "host.log"
    with serving(engine, log, kv_blocks=100) as client:
        yield client


@pytest.mark.slow
def test_ready_says_what_the_engine_can_take(host: EngineClient) -> None:
    ready = host.ready
    assert ready.limits == {"max_seq_len": 512, "max_batch_size": 4, "max_num_batched_tokens": 256, "kv_tokens": 3200}
    assert (ready.kv_blocks_total, ready.kv_block_tokens) == (100, 32)
    assert ready.chat_template is True
    assert ready.load_seconds is not None and ready.load_seconds > 0
    told = ("device", "scheduler", "prefix_caching", "chunked_prefill")
    assert [ready.settings[name] for name in told] == ["1 GPU", "guaranteed_no_evict", "on", "on"]
    assert ready.settings["kv_cache_precision"] == ready.settings["compute_precision"]


def test_a_prompt_is_counted_as_it_is_used(host: EngineClient) -> None:
    counted = host.count(prompt="ab").result(30)
    answer = host.submit(prompt="ab", sampling=Sampling(max_tokens=2)).result(30)
    assert answer.usage is not None and counted.tokens == answer.usage.input_tokens
    assert not counted.problem and counted.limit is not None
    assert host.ready.sampling is not None and "logprobs" not in host.ready.sampling, "no logits are kept"


def test_the_answer_comes_in_whole_characters(host: EngineClient) -> None:
    generation = host.submit(messages=user("Say hello"), sampling=Sampling(max_tokens=100))
    events = list(generation)
    answer = generation.result(1)
    assert answer.text == SAYS and answer.reason == "stop"
    parts = [event.text for event in events if isinstance(event, Tokens)]
    assert len(parts) >= LENGTH and "\U0001f389" in parts
    assert not any("\ufffd" in part for part in parts)
    assert answer.usage is not None and answer.usage.output_tokens == LENGTH
    template = "<|im_start|>user\nSay hello<|im_end|>\n<|im_start|>assistant\n"
    # Each special token is one, every other character too.
    assert answer.usage.input_tokens == len(template) - 2 * len("|im_start|>") - 1 * len("|im_end|>")
    assert {"host_ttft_ms", "host_queue_ms", "host_latency_ms"} <= set(answer.engine_timings_ms)


def test_fixed_length_and_stop_strings(host: EngineClient) -> None:
    long = host.submit(prompt="x", sampling=Sampling(max_tokens=60, ignore_eos=True)).result(30)
    assert (long.reason, long.output_tokens) == ("length", 60) and long.text.startswith(SAYS + "STAND-IN")
    short = host.submit(prompt="x", sampling=Sampling(max_tokens=60, stop=("engine",))).result(30)
    assert (short.reason, short.text) == ("stop", "STAND-IN: no ")
    wait_for_stats(host, is_idle)


def test_sampling_draws_by_its_seed_and_greedy_does_not(host: EngineClient) -> None:
    def said(**sampling: Any) -> str:
        return host.submit(prompt="x", sampling=Sampling(max_tokens=30, **sampling)).result(30).text

    assert said() == said(temperature=0.0, seed=7) == SAYS.encode()[:30].decode(errors="ignore")
    assert said(temperature=1.0, seed=1) == said(temperature=1.0, seed=1) != said(temperature=1.0, seed=2)
    assert said(temperature=0.5, top_k=5, seed=1) != said()
    assert len({said(temperature=1.0) for _ in range(4)}) == 4, "without a seed each draws its own"


def test_stats_are_the_iteration_records(engine: Path, tmp_path: Path) -> None:
    seen: list[Stats] = []
    with serving(engine, tmp_path / "log", on_stats=seen.append, kv_blocks=100) as client:
        client.set_stats_interval(0.001)
        sampling = Sampling(max_tokens=64, ignore_eos=True)
        generations = [client.submit(prompt="x" * 40, sampling=sampling) for _ in range(10)]
        assert {generation.result(60).output_tokens for generation in generations} == {64}
        last = wait_for_stats(client, is_idle)
    busy = [stats for stats in seen if stats.requests_active]
    assert max(stats.requests_active or 0 for stats in busy) == 4, "the engine's batch"
    assert max(stats.requests_queued or 0 for stats in busy) >= 4
    assert max(stats.batch or 0 for stats in busy) == 4
    # Two KV blocks a prompt, and room for all of its answer.
    assert max(stats.kv_blocks_used or 0 for stats in busy) == 4 * 4
    assert all((stats.kv_blocks_used or 0) + (stats.kv_blocks_free or 0) == 100 for stats in busy)
    assert all(stats.iteration_ms is not None and stats.iteration_ms > 0 for stats in busy)
    assert (last.context_tokens, last.generated_tokens) == (400, 640)
    assert last.kv_blocks_reused_since_load is not None and last.kv_blocks_reused_since_load > 0, (
        "all prompts begin alike"
    )
    # 2 x layers x KV heads x head size x bytes of FP16, a token.
    assert last.memory_bytes["kv_pool"] == 100 * 32 * (2 * 2 * 2 * 32 * 2)
    assert last.memory_bytes["gpu"] == 36100332423 and last.memory_bytes["process"] > 0


def test_an_abort_is_answered_at_once_and_frees_its_blocks(host: EngineClient) -> None:
    sampling = Sampling(max_tokens=400, ignore_eos=True)
    generations = [host.submit(prompt="x" * 90, sampling=sampling) for _ in range(16)]
    generations[0].event(0, 10)
    begin = time.monotonic()
    for generation in generations:
        generation.abort()
    answers = [generation.result(5) for generation in generations]
    assert time.monotonic() - begin < 0.3
    assert {answer.reason for answer in answers} == {"abort"}
    assert any(answer.output_tokens == 0 for answer in answers), "one in the queue was aborted too"
    wait_for_stats(host, is_idle)
    assert host.submit(prompt="x", sampling=Sampling(max_tokens=100)).result(30).text == SAYS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": "x" * 600}, "600 tokens and the engine's longest sequence is 512"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"prompt": ""}, "empty"),
        ({"ids": [1, 10**6]}, "token id 1000000 is not in the vocabulary"),
        ({"messages": []}, "conversation is empty"),
        ({"prompt": "x", "sampling": Sampling(temperature=1.0, seed=-1)}, "seed"),
        ({"prompt": "x", "sampling": Sampling(logprobs=True)}, "gather_generation_logits"),
    ],
)
def test_a_bad_request_is_refused_in_words_and_the_host_lives(
    host: EngineClient, given: dict[str, Any], words: str
) -> None:
    assert words in refused(host, **given)
    assert host.submit(prompt="x", sampling=Sampling(max_tokens=100)).result(30).text == SAYS


@pytest.mark.slow
def test_idle_uses_no_processor_time(host: EngineClient) -> None:
    host.submit(prompt="x").result(30)
    assert idle_processor_s(host, 1.0) < 0.05


# Settings


@pytest.mark.slow
def test_chunked_prefill_and_its_absence(engine: Path, tmp_path: Path) -> None:
    with serving(engine, tmp_path / "on.log") as client:
        answer = client.submit(prompt="x" * 300, sampling=Sampling(max_tokens=100)).result(30)
        assert answer.text == SAYS, "300 tokens over iterations of 256"
    with serving(engine, tmp_path / "off.log", enable_chunked_prefill=False) as client:
        assert "300 tokens and an iteration takes 256" in refused(client, prompt="x" * 300)


def test_an_answer_over_the_pool_is_cut(engine: Path, tmp_path: Path) -> None:
    with serving(engine, tmp_path / "log", kv_blocks=4) as client:
        assert client.ready.kv_blocks_total == 4
        assert "130 tokens and the KV pool holds 128" in refused(client, prompt="x" * 130)
        answer = client.submit(prompt="x" * 100, sampling=Sampling(max_tokens=400, ignore_eos=True)).result(30)
        assert (answer.reason, answer.output_tokens) == ("length", 28)
    assert "400 tokens asked for, there is room for 28" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("settings", "blocks"),
    [
        ({}, 900),
        ({"kv_cache_free_gpu_memory_fraction": 0.5}, 500),
        ({"max_tokens": 320, "kv_blocks": 50}, 10),
        ({"kv_cache_bytes": 20 * 32 * 512}, 20),
    ],
)
def test_the_kv_pool_is_as_large_as_asked_for(
    engine: Path, tmp_path: Path, settings: dict[str, Any], blocks: int
) -> None:
    with serving(engine, tmp_path / "log", **settings) as client:
        assert client.ready.kv_blocks_total == blocks


def test_a_gpu_with_a_display_keeps_more_memory_free(engine: Path, tmp_path: Path) -> None:
    with serving(engine, tmp_path / "log", options={"display": 1}) as client:
        assert client.ready.kv_blocks_total == 800
    assert "drives a display" in (tmp_path / "log").read_text()


def test_every_setting_is_one_that_the_library_takes(engine: Path, tmp_path: Path) -> None:
    settings = {
        "scheduler_policy": "max_utilization", "context_chunking_policy": "equal_progress", "host_cache_size": 10**9,
        "enable_block_reuse": True, "enable_partial_reuse": False, "copy_on_partial_reuse": False,
        "onboard_blocks": True, "secondary_offload_min_priority": 30, "max_attention_window": [512],
        "sink_token_length": 0, "event_buffer_max_size": 16, "use_uvm": False, "enable_batch_size_tuning": True,
        "enable_max_num_tokens_tuning": True, "max_batch_size": 2, "max_num_tokens": 128, "multi_block_mode": True,
        "enable_context_fmha_fp32_acc": True, "cuda_graph_mode": True, "cuda_graph_cache_size": 4,
        "gather_generation_logits": True, "return_perf_metrics": True, "fail_fast_on_attention_window_too_large": True,
        "normalize_log_probs": True, "iter_stats_max_iterations": 50, "trust_remote_code": True,
        "tokenizer_mode": "slow", "max_seq_len": 200, "unheard_of": 1,
    }  # fmt: skip
    with serving(engine, tmp_path / "log", **settings) as client:
        limits = client.ready.limits
        assert (limits["max_batch_size"], limits["max_num_batched_tokens"], limits["max_seq_len"]) == (2, 128, 200)
        sampling = Sampling(max_tokens=20, logprobs=True, temperature=0.7, top_p=0.9, min_p=0.1, repetition_penalty=1.1)
        generation = client.submit(prompt="x", sampling=sampling)
        events = list(generation)
        answer = generation.result(1)
        assert [event.logprobs for event in events if isinstance(event, Tokens)] == [[-0.5]] * 20
        assert {"queue_ms", "ttft_ms", "tpot_ms"} <= set(answer.engine_timings_ms)
        assert client.submit(prompt="x" * 150, sampling=Sampling(max_tokens=5)).result(30).output_tokens == 5
    log = (tmp_path / "log").read_text()
    assert "unheard_of" in log and "MAX_UTILIZATION" in log and "EQUAL_PROGRESS" in log


@pytest.mark.slow
def test_the_policy_decides_what_starts(engine: Path, tmp_path: Path) -> None:
    def most_active(policy: str) -> int:
        seen: list[Stats] = []
        settings = {"kv_blocks": 8, "scheduler_policy": policy, "enable_block_reuse": False}
        with serving(engine, tmp_path / policy, on_stats=seen.append, **settings) as client:
            client.set_stats_interval(0.001)
            sampling = Sampling(max_tokens=100, ignore_eos=True)
            generations = [client.submit(prompt="x" * 40, sampling=sampling) for _ in range(4)]
            assert {generation.result(60).output_tokens for generation in generations} == {100}
        return max(stats.requests_active or 0 for stats in seen)

    # A request needs five blocks in all and two to begin with.
    assert most_active("guaranteed_no_evict") == 1
    assert most_active("max_utilization") > 1


@pytest.mark.slow
def test_an_engine_without_paged_context_attention_is_run_without_chunks(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    engine = make_engine(flags={"use_paged_context_fmha": "disable"})
    with serving(engine, tmp_path / "log", enable_chunked_context=True) as client:
        assert "an iteration takes 256" in refused(client, prompt="x" * 300)
    log = (tmp_path / "log").read_text()
    assert "no chunked prefill" in log and "no block reuse" in log


@pytest.mark.slow
@pytest.mark.parametrize(("tp", "pp"), [(2, 1), (1, 2), (2, 2)])
def test_several_ranks_start_their_own_processes(make_engine: MakeEngine, tmp_path: Path, tp: int, pp: int) -> None:
    engine = make_engine(tp=tp, pp=pp)
    with serving(engine, tmp_path / "log", kv_blocks=10) as client:
        assert client.hello is not None
        ranks = [
            one for one in psutil.Process(client.hello.pid).children(recursive=True)
            if "spawn_main" in " ".join(one.cmdline())
        ]  # fmt: skip
        assert len(ranks) == tp * pp - 1
        assert all(Path(f"/proc/{one.pid}/fd/0").resolve() == Path(os.devnull) for one in ranks), "commands are ours"
        answer = client.submit(prompt="x", sampling=Sampling(max_tokens=100)).result(30)
        assert answer.text == SAYS
        # On each GPU: layers over pp, KV heads over tp.
        stats = wait_for_stats(client, is_idle)
        assert stats.memory_bytes["kv_pool"] == 10 * 32 * (2 * (2 // pp) * (2 // tp) * 32 * 2)
    psutil.wait_procs(ranks, timeout=5)
    assert not [one for one in ranks if one.is_running()]


# Failures to load


def told(engine: Path, log: Path, options: dict[str, Any] | None = None, **settings: Any) -> Failure:
    failure = failure_of(serving(engine, log, options=options, **settings))
    assert failure.fix
    return failure


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"version": "1.2.0"}, "engine-of-other-version", "1.2.0"),
        ({"sm": 89, "gpu": "NVIDIA L40S"}, "engine-of-other-gpu", "NVIDIA L40S (8.9)"),
        ({"fail": "no-mpi"}, "no-mpi", "libmpi.so.40"),
        ({"fail": "torch-mismatch"}, "torch-mismatch", "undefined symbol"),
        ({"fail": "cuda-13-missing"}, "cuda-13-missing", "libcublasLt.so.13"),
        ({"fail": "no-tensorrt"}, "no-tensorrt", "libnvinfer.so.10"),
        ({"fail": "no-driver"}, "no-driver", "libcuda.so.1"),
        ({"fail": "driver-too-old"}, "driver-too-old", "insufficient"),
        ({"fail": "engine-of-other-version"}, "engine-of-other-version", "Version tag does not match"),
        ({"fail": "engine-of-other-gpu"}, "engine-of-other-gpu", "expecting compute 8.9"),
        ({"fail": "config-of-other-version"}, "config-of-other-version", "config.json"),
        ({"fail": "kv-pool-too-large"}, "kv-pool-too-large", "out of memory"),
        ({"fail": "prompt-too-long"}, "prompt-too-long", "9000"),
        ({"kv_blocks": 0}, "kv-pool-too-large", "0 blocks"),
    ],
)
def test_a_failure_to_load_is_explained(
    engine: Path, tmp_path: Path, options: dict[str, Any], code: str, words: str
) -> None:
    env_engine = engine
    if "version" in options:  # the engine's own claim, since the installed version is metadata
        env_engine = Path(shutil.copytree(engine, tmp_path / "engine"))
        config = json.loads((env_engine / "config.json").read_text())
        (env_engine / "config.json").write_text(json.dumps({**config, "version": options["version"]}))
        options = {}
    failure = told(env_engine, tmp_path / "log", options)
    assert failure.code == code
    assert words in f"{failure.what} {failure.evidence}"


@pytest.mark.slow
@pytest.mark.parametrize(("failure", "when"), [("import-hangs", "import"), ("mpi-hangs-loading", "load")])
def test_a_start_that_hangs_is_ended_and_explained(engine: Path, tmp_path: Path, failure: str, when: str) -> None:
    found = told(engine, tmp_path / "log", {"fail": failure}, hang_seconds=1.0)
    assert found.code == "mpi-start-hangs" and "no output for 1 s" in found.evidence


@pytest.mark.slow
def test_without_mpis_launcher_several_ranks_are_refused_before_loading(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    # The stand-in's programs less its mpirun; python3 itself comes from the tests' own interpreter.
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").symlink_to(trtllm.BIN / "nvidia-smi")
    (programs / "python3").symlink_to(sys.executable)
    env = trtllm.environment() | {"PATH": str(programs)}
    env["PYTHONPATH"] += os.pathsep + str(ROOT)

    def start(engine: Path) -> None:
        command = HostCommand(argv=ARGV, env=env, spec=spec(engine))
        with EngineClient.start(command, tmp_path / "log", timeout_s=60):
            pass

    with pytest.raises(StepFailedError, match="launcher is missing") as caught:
        start(make_engine(tp=2))
    assert caught.value.failure.code == "no-mpi-launcher" and "openmpi-bin" in caught.value.failure.fix
    start(make_engine())  # one rank spawns none


def test_a_gpu_that_disappears_ends_the_host_with_its_reason(engine: Path, tmp_path: Path) -> None:
    options = {"fail": "gpu-lost-running", "iteration_ms": 30}  # its other requests are still open at the first failure
    with serving(engine, tmp_path / "log", options=options) as client:
        sampling = Sampling(max_tokens=400, ignore_eos=True)
        generations = [client.submit(prompt="x", sampling=sampling) for _ in range(6)]
        answers = [generation.result(30) for generation in generations]
        assert {answer.reason for answer in answers} == {"error"}
        assert answers[0].failure is not None
        assert (
            "ECC" in f"{answers[0].failure.what} {answers[0].failure.evidence}"
            or "went away" in answers[0].failure.what
        )
        deadline = time.monotonic() + 10
        while client.failure is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert client.failure is not None and client.failure.code == "gpu-lost"
        assert "went away" in client.failure.what


def test_a_pool_below_one_sequence_limits_requests_and_is_said(engine: Path, tmp_path: Path) -> None:
    options = {"fail": "kv-pool-below-one-sequence"}
    with serving(engine, tmp_path / "log", options=options) as client:
        assert client.ready.limits["max_seq_len"] == 512
    assert "requests are limited to 512 tokens" in (tmp_path / "log").read_text()


def test_too_few_gpus_are_told_before_loading(make_engine: MakeEngine, tmp_path: Path) -> None:
    failure = told(make_engine(tp=2), tmp_path / "log", {"gpus": 1})
    assert failure.code == "not-enough-gpus" and "needs 2 GPUs, 1 are visible" in failure.what
    assert "TensorRT-LLM version" not in (tmp_path / "log").read_text(), "nothing was imported"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("rank0.engine is gone", "bad-engine"),
        ("rank0.engine is cut", "engine-of-other-version"),
        ("config.json is gone", "bad-engine"),
        ("config.json is half", "bad-engine"),
        ("config.json is a checkpoint's", "bad-engine"),
        ("config.json has a key of another version", "config-of-other-version"),
        ("no tokenizer", "no-tokenizer"),
    ],
)
def test_a_damaged_engine_is_told(engine: Path, tmp_path: Path, damage: str, code: str) -> None:
    broken = Path(shutil.copytree(engine, tmp_path / "engine"))
    config = json.loads((broken / "config.json").read_text())
    match damage:
        case "rank0.engine is gone":
            (broken / "rank0.engine").unlink()
        case "rank0.engine is cut":
            (broken / "rank0.engine").write_bytes((broken / "rank0.engine").read_bytes()[:20])
        case "config.json is gone":
            (broken / "config.json").unlink()
        case "config.json is half":
            (broken / "config.json").write_bytes((broken / "config.json").read_bytes()[:100])
        case "config.json is a checkpoint's":
            (broken / "config.json").write_text(json.dumps(config["pretrained_config"]))
        case "config.json has a key of another version":
            config["build_config"]["auto_parallel_config"] = {}
            (broken / "config.json").write_text(json.dumps(config))
        case _:
            for path in [*broken.glob("token*.json"), broken / "generation_config.json"]:
                path.unlink()
    assert told(broken, tmp_path / "log").code == code


@pytest.mark.parametrize(
    "settings",
    [
        {"kv_cache_free_gpu_memory_fraction": 1.5},
        {"max_tokens": 0},
        {"scheduler_policy": "whatever"},
        {"max_batch_size": "many"},
    ],
)
def test_settings_that_cannot_be_are_told(engine: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    failure = told(engine, tmp_path / "log", **settings)
    assert failure.code == "bad-settings" and next(iter(settings)) in failure.what


def test_the_tokenizer_may_be_the_models_folder(engine: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(engine, tmp_path / "bare"))
    model = tmp_path / "model"
    model.mkdir()
    for path in [*bare.glob("token*.json"), bare / "generation_config.json"]:
        path.rename(model / path.name)
    env = trtllm.environment()
    env["PYTHONPATH"] += os.pathsep + str(ROOT)
    given = StepSpec(worker="trtllm.host", inputs={"engine": str(bare), "tokenizer": str(model)})
    with EngineClient.start(HostCommand(argv=ARGV, env=env, spec=given), tmp_path / "log", timeout_s=60) as client:
        assert client.submit(messages=user("x"), sampling=Sampling(max_tokens=100)).result(30).text == SAYS


def test_loading_leaves_the_engine_folder_as_it_is(engine: Path, tmp_path: Path) -> None:
    before = files_of(engine)
    with serving(engine, tmp_path / "log") as client:
        client.submit(prompt="x").result(30)
    assert files_of(engine) == before


# The bare protocol


def start_bare(engine: Path, tmp_path: Path, early: bytes = b"") -> Bare:
    return Bare(ARGV, spec(engine, kv_blocks=64), tmp_path / "bare.log", trtllm.environment(), early)


@pytest.fixture
def bare(engine: Path, tmp_path: Path) -> Iterator[Bare]:
    started = start_bare(engine, tmp_path)
    yield started
    started.close()


def test_commands_that_come_with_the_spec_are_not_lost(engine: Path, tmp_path: Path) -> None:
    early = b'{"type":"generate","request":"early","prompt":"x"}\n{"type":"generate","request":"second","prompt":"y"}\n'
    host = start_bare(engine, tmp_path, early)
    names = [message.request for message in host.until(ends("second")) if isinstance(message, Finished)]
    assert set(names) == {"early", "second"}
    host.close()


def test_commands_that_make_no_sense_are_answered_or_logged(bare: Bare) -> None:
    bare.write("this is not JSON")
    bare.command(type="dance")
    bare.command(type="generate", request="s", prompt="x", sampling={"temperature": -1})
    bare.command(type="abort", request="nobody")
    bare.command(type="generate", request="good", prompt="x", surprise=1)
    seen = bare.until(ends("good"))
    words = {message.request: message.message for message in seen if isinstance(message, Finished)}
    assert "temperature" in words["s"] and "no request named 'nobody'" in words["nobody"]
    assert seen[-1].reason == "stop"
    assert [message.level for message in seen if message.type == "log"] == ["warning"] * 2


class TestBareProtocol(BareProtocol):
    """Of a host that lives in an event loop."""
