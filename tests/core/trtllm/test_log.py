"""The log of trtllm-build: phases, shares, memory, remaining time; and what the runtime says while it loads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.trtllm.load_log import EngineLoadLog
from workbench.core.trtllm.log import PHASES, BuildLog
from workbench.core.trtllm.log_lines import HARMLESS, parse_line, parse_progress_bar, split_lines

P = "[08/27/2025-08:22:19] [TRT-LLM] [I] "
PW = "[08/27/2025-08:22:19] [TRT-LLM] [W] "
T = "[08/27/2025-08:22:20] [TRT] [I] "
START = [
    "2025-08-27 08:22:19,541 - INFO - flashinfer.jit: Prebuilt kernels not found, using JIT backend",
    "[TensorRT-LLM] TensorRT-LLM version: 1.2.1",
    P + "Set PluginConfig.gemm_plugin to float16.",
    P + "Set nccl_plugin to None.",
    PW + "Overriding paged_state to False",
    P + "max_seq_len is not specified, using deduced value 8192",
    PW + "remove_input_padding is enabled, while opt_num_tokens is not set, setting to max_batch_size*max_beam_width.",
    PW + "padding removal and fMHA are both enabled, max_input_len is not required and will be ignored",
]
NETWORK = [
    T + "[MemUsageChange] Init CUDA: CPU +26, GPU +0, now: CPU 296, GPU 424 (MiB)",
    T + "[MemUsageChange] Init builder kernel library: CPU +1639, GPU +8, now: CPU 2048, GPU 512 (MiB)",
    P + "Total time of constructing network from module object 2.3651156425476074 seconds",
    P + "Total optimization profiles added: 1",
    P + "Total time to initialize the weights in network Unnamed Network 0: 00:00:00",
    P + "Build TensorRT engine Unnamed Network 0",
]
COMPILE = [
    T + "Global timing cache in use. Profiling results in this builder pass will be stored.",
    T + "Compiler backend is used during engine build.",
    T + "[GraphReduction] The approximate region cut reduction algorithm is called.",
    T + "Detected 17 inputs and 1 output network tensors.",
    T + "Total Host Persistent Memory: 36544 bytes",
    T + "Total Device Persistent Memory: 0 bytes",
    T + "Max Scratch Memory: 1073741824 bytes",
    T + "[BlockAssignment] Started assigning block shifts. This will take 210 steps to complete.",
    T + "Total Activation Memory: 2147483648 bytes",
    T + "Total Weights Memory: 3221225472 bytes",
    T + "Compiler backend is used during engine execution.",
    T + "Engine generation completed in 5.37531 seconds.",
    T + "[MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 0 MiB, GPU 2560 MiB",
    T + "[MemUsageStats] Peak memory usage during Engine building and serialization: CPU: 6144 MiB",
    P + "Total time of building Unnamed Network 0: 00:00:08",
]
CLOSE = P + "Total time of building all engines: 00:01:31"


def write(rank: int) -> list[str]:
    return [
        T + "Serialized 12 timing cache entries",
        P + "Timing cache serialized to model.cache",
        P + "Build phase peak memory: 7168.00 MB, children: 1024.00 MB",
        P + f"Serializing engine to /engines/e/rank{rank}.engine...",
        P + "Engine serialized. Total time: 00:00:01",
    ]


def one_rank(rank: int) -> list[str]:
    return [*NETWORK, *COMPILE, *write(rank)]


WHOLE = [*START, *one_rank(0), CLOSE]


def test_shares_add_up_to_the_whole():
    assert sum(phase.share for phase in PHASES) == pytest.approx(1.0)


def test_a_whole_build():
    log, shares, phases = BuildLog(), [], []
    for second, line in enumerate(WHOLE):
        log.feed(line, float(second))
        shares.append(log.share_done)
        if not phases or phases[-1] != log.phase.name:
            phases.append(log.phase.name)
    assert shares == sorted(shares)
    assert shares[-2] == pytest.approx(1.0) and shares[-1] == 1.0
    assert phases == [phase.name for phase in PHASES]
    assert log.closed and log.total_s == 91 and log.version == "1.2.1"
    assert log.ranks_done == 1 and log.ranks_written == {0}
    assert log.settings == {"gemm_plugin": "float16", "nccl_plugin": "None", "max_seq_len": "8192"}
    assert not log.errors and not log.warnings


def test_memory_figures_are_in_gib():
    log = BuildLog()
    log.feed("\n".join(WHOLE))
    assert log.memory_gib == pytest.approx(
        {
            "host_now": 2.0,
            "gpu_now": 0.5,
            "host_persistent": 36544 / 2**30,
            "gpu_persistent": 0.0,
            "gpu_scratch": 1.0,
            "gpu_activations": 2.0,
            "gpu_weights": 3.0,
            "host_allocator_peak": 0.0,
            "gpu_allocator_peak": 2.5,
            "host_compile_peak": 6.0,
            "host_rss": 7.0,
            "host_children_rss": 1.0,
        }
    )


def test_harmless_lines_are_folded_with_a_count():
    log = BuildLog()
    kinds = [fed.kind for line in WHOLE + START for fed in log.feed(line)]
    assert kinds.count("harmless") == log.harmless_count == 6
    assert log.harmless["Overriding paged_state to False"] == 2


@pytest.mark.parametrize("text", HARMLESS)
def test_every_harmless_text_is_known(text):
    assert [fed.kind for fed in BuildLog().feed(PW + text + " and so on")] == ["harmless"]


def test_the_closing_line_of_one_network_is_not_that_of_all():
    log = BuildLog()
    log.feed(P + "Total time of building Unnamed Network 0: 00:00:08")
    assert not log.closed
    log.feed(CLOSE)
    assert log.closed


def test_ranks_one_after_another():
    log = BuildLog(ranks=2, workers=1)
    log.feed("\n".join([*START, *one_rank(0)]))
    assert log.ranks_done == 1 and log.share_done == pytest.approx(0.05 + 0.95 / 2)
    assert log.phase.name == "start"
    log.feed("\n".join(NETWORK))
    assert log.phase.name == "compile" and log.share_done == pytest.approx(0.05 + 0.95 / 2 + 0.20 / 2)
    log.feed("\n".join([*COMPILE, *write(1)]))
    assert log.ranks_written == {0, 1} and log.share_done == pytest.approx(1.0) and not log.closed


def test_ranks_side_by_side_are_counted_by_their_lines():
    log = BuildLog(ranks=2, workers=2)
    log.feed("\n".join(START))
    for line in one_rank(0)[:-2]:
        log.feed(line)
        log.feed(line)
    assert log.share_done == pytest.approx(0.82)
    log.feed(write(1)[-2])
    log.feed(write(0)[-2])
    log.feed(write(0)[-1])
    assert log.ranks_done == 1 and log.share_done == pytest.approx(0.91)


def test_a_line_said_twice_is_no_second_rank():
    log = BuildLog(ranks=2, workers=1)
    log.feed("\n".join([*START, *NETWORK, *NETWORK]))
    assert log.share_done == pytest.approx(0.05 + 0.20 / 2)
    log.feed("\n".join([*COMPILE, *COMPILE, *write(0)]))
    assert log.share_done == pytest.approx(0.05 + 0.95 / 2) and log.phase.name == "start"


def test_a_line_that_is_missing_is_implied_by_a_later_one():
    log = BuildLog()
    log.feed(T + "Engine generation completed in 5.4 seconds.")
    assert log.share_done == pytest.approx(0.80)


def test_remaining_time_is_a_range_around_the_truth():
    log = BuildLog()
    log.feed("\n".join([*START, *NETWORK]), 25.0)
    left = log.remaining(25.0)
    assert log.share_done == pytest.approx(0.25)
    assert left is not None and left.unit == "seconds"
    assert left.low == pytest.approx(25 * 0.2 / 0.8) and left.high == pytest.approx(75.0)
    assert left.covers(60.0)
    log.feed(CLOSE, 80.0)
    closed = log.remaining(80.0)
    assert closed is not None and closed.high == 0


def test_no_remaining_time_before_there_is_a_share():
    assert BuildLog().remaining(10.0) is None


def test_the_bar_moves_in_the_silent_part_and_stays_within_it():
    log = BuildLog()
    log.feed("\n".join([*START, *NETWORK]), 25.0)
    points = [log.share(second) for second in (25.0, 40.0, 80.0, 1000.0, 100_000.0)]
    assert points == sorted(points) and points[0] < points[1] < points[2] < points[3]
    assert points[0] == pytest.approx(0.25) and points[-1] <= 0.80 + 1e-9


def test_a_progress_monitor_gives_the_real_share_of_compiling():
    log = BuildLog()
    log.feed("\n".join([*START, *NETWORK]), 25.0)
    log.note_compile_share(0.5)
    assert log.share_done == pytest.approx(0.25 + 0.55 / 2)
    log.note_compile_share(float("nan"))
    assert log.share_done == pytest.approx(0.25 + 0.55 / 2)


def test_errors_and_warnings_are_kept():
    log = BuildLog()
    error = "[08/27/2025-08:22:20] [TRT] [E] Error Code 2: OutOfMemory (no further information)"
    odd = PW + "max_seq_len 4096 is larger than max_position_embeddings 1024"
    assert [fed.kind for fed in log.feed(f"{error}\n{odd}")] == ["error", "warning"]
    assert list(log.errors) == [error] and list(log.warnings) == [odd]


@pytest.mark.parametrize(
    ("line", "origin", "level", "text", "rank"),
    [
        (P + "hello", "python", "info", "hello", None),
        ("[08/27/2025-08:22:19] [TRT-LLM] [RANK 3] [E] no", "python", "error", "no", 3),
        ("[08/27/2025-08:22:19] [TRT-LLM] [MPI_Rank 1] [W] hm", "python", "warning", "hm", 1),
        ("[08/27/2025-08:22:19] [TRT] [V] deep", "tensorrt", "debug", "deep", None),
        ("[TensorRT-LLM][WARNING] hm", "runtime", "warning", "hm", None),
        ("anything else", "other", "info", "anything else", None),
    ],
)
def test_line_heads(line, origin, level, text, rank):
    parsed = parse_line(line)
    assert (parsed.origin, parsed.level, parsed.text, parsed.rank) == (origin, level, text, rank)


def test_progress_bars_redraw_with_a_carriage_return():
    lines = split_lines(
        "\x1b[32mLoading checkpoint shards:  50%|#####     | 1/2\rLoading checkpoint shards: 100%|##| 2/2\n"
    )
    bars = [parse_progress_bar(line) for line in lines]
    assert [(bar.title, bar.done, bar.total) for bar in bars if bar] == [
        ("Loading checkpoint shards", 1, 2),
        ("Loading checkpoint shards", 2, 2),
    ]
    assert parse_progress_bar("no bar") is None


# --- any text ---

_pieces = st.one_of(
    st.text(max_size=200),
    st.sampled_from([*WHOLE, CLOSE, "\x1b[31m", "99%|", "now: CPU", "\r", "[TRT] [E]"]),
    st.binary(max_size=100).map(lambda data: data.decode("utf-8", "replace")),
)
_times = st.one_of(st.none(), st.floats(), st.floats(0, 1e6))


@settings(max_examples=200, deadline=None)
@given(st.integers(-1, 9), st.integers(-1, 9), st.lists(st.tuples(st.lists(_pieces, max_size=4), _times), max_size=30))
def test_no_text_breaks_the_parser(ranks, workers, chunks):
    log, before, shown = BuildLog(ranks, workers), 0.0, 0.0
    for pieces, elapsed_s in chunks:
        log.feed("".join(pieces), elapsed_s)
        assert before <= log.share_done <= 1.0
        before = log.share_done
        point = log.share(elapsed_s)
        assert max(before, shown) <= point <= 1.0
        shown = point
        left = log.remaining(1.0 if elapsed_s is None else elapsed_s)
        assert left is None or 0 <= left.low <= left.high
        assert 1 <= log.phase_index <= len(PHASES) and 0 <= log.ranks_done <= log.ranks


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(_pieces, st.sampled_from(["Loaded engine size: ", "Allocated 1.2.3 GiB for max tokens"]))))
def test_no_text_breaks_the_load_parser(pieces):
    EngineLoadLog().feed("".join(pieces))


# --- loading ---


def test_an_engine_that_loads():
    i = "[TensorRT-LLM][INFO] "
    log = EngineLoadLog()
    log.feed(
        "\n".join(
            [
                i + "Engine version 1.2.1 found in the config file, assuming engine(s) built by new builder API.",
                i + "MPI size: 1, MPI local size: 1, rank: 0",
                i + "TRTGptModel maxBatchSize: 8",
                i + "TRTGptModel maxSequenceLen: 4096",
                i + "Capacity Scheduler Policy: GUARANTEED_NO_EVICT",
                i + "Context Chunking Scheduler Policy: None",
                i + "Loaded engine size: 1536 MiB",
                i + "[MemUsageChange] Allocated 512.00 MiB for execution context memory.",
                i + "[MemUsageChange] Allocated 1.50 GB GPU memory for runtime buffers.",
                i + "[MemUsageChange] Allocated 512.00 KB GPU memory for decoder.",
                i
                + "Memory usage when calculating max tokens in paged kv cache: total: 79.11 GiB, available: 60.00 GiB",
                i + "Max KV cache blocks per sequence: 128 [window size=4096], tokens per block=32, "
                "primary blocks=1000, secondary blocks=0",
                i + "[MemUsageChange] Allocated 40.00 GiB for max tokens in paged KV cache (31000).",
                i + "[MemUsageChange] Allocated 41.00 GiB for max tokens in paged KV cache (32000).",
            ]
        )
    )
    assert not log.ready
    log.feed("[08/27/2025-08:22:19] [TRT-LLM] [I] get signal from executor worker")
    assert log.ready and log.engine_version == "1.2.1" and log.mpi_size == 1
    assert log.limits == {"max_batch_size": 8, "max_seq_len": 4096}
    assert (log.scheduler_policy, log.chunking_policy) == ("GUARANTEED_NO_EVICT", "None")
    assert (log.kv_blocks_primary, log.kv_blocks_secondary, log.kv_block_tokens) == (1000, 0, 32)
    assert log.kv_tokens == 32000  # the last line counts
    assert log.memory_gib == pytest.approx(
        {
            "weights": 1.5,
            "activations": 0.5,
            "runtime_buffers": 1.5,
            "decoder": 0.5 / 1024,
            "gpu_total": 79.11,
            "gpu_available": 60.0,
            "kv_pool": 41.0,
        }
    )


def test_blocks_as_older_versions_say_them():
    log = EngineLoadLog()
    log.feed("[TensorRT-LLM][INFO] Number of blocks in KV cache primary pool: 22955")
    log.feed("[TensorRT-LLM][INFO] Number of blocks in KV cache secondary pool: 5, onboard blocks to primary memory")
    log.feed("[TensorRT-LLM][INFO] Number of tokens per block: 64.")
    assert (log.kv_blocks_primary, log.kv_blocks_secondary, log.kv_block_tokens) == (22955, 5, 64)
