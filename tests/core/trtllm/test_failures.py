"""Every row of the failure table: from the log line to a card with cause, evidence and fix."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.trtllm.failures import ROWS, Tier, explain_failure

E = "[08/27/2025-08:22:20] [TRT] [E] "
PE = "[08/27/2025-08:22:20] [TRT-LLM] [E] "
W = "[08/27/2025-08:22:20] [TRT] [W] "
C = "[TensorRT-LLM][ERROR] "

# (code, the line, outcome); with no line it is the outcome that tells.
CASES = [
    ("gpu-out-of-memory", E + "Error Code 2: OutOfMemory (no further information)", "exit code 1"),
    (
        "gpu-out-of-memory",
        E + "Requested amount of GPU memory (17179869184 bytes) could not be allocated.",
        "exit code 1",
    ),
    ("gpu-out-of-memory", E + "[resizingAllocator.cpp::resizePhysical::120] failed", "exit code 1"),
    ("host-out-of-memory", "", "exit code 137"),
    ("host-out-of-memory", "", "ended by SIGKILL"),
    ("host-out-of-memory", "", "ended by signal 9"),
    (
        "tactic-skipped",
        W + "Skipping tactic 3 due to insufficient memory on requested size of 8589934592",
        "exit code 1",
    ),
    (
        "no-supported-format",
        E + "Error Code 10: could not find any supported formats consistent with input/output data types",
        "",
    ),
    ("engine-build-failed", PE + "Engine building failed, please check the error log.", "exit code 1"),
    ("unsupported-architecture", "AssertionError: Unsupported model architecture: Llama4ForConditionalGeneration", ""),
    (
        "unsupported-architecture-convert",
        "NotImplementedError: The given huggingface model architecture OddForCausalLM is not supported in TRT-LLM yet",
        "",
    ),
    ("refused-on-this-gpu", "RuntimeError: INT8/INT4 weight-only quantization is not supported on SM>=100", ""),
    ("refused-on-this-gpu", "NotImplementedError: low_latency_gemm_plugin=fp8 is not supported on SM 100.", ""),
    ("torch-lacks-gpu", "RuntimeError: CUDA error: no kernel image is available for execution on the device", ""),
    (
        "torch-lacks-gpu",
        "NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation.",
        "",
    ),
    ("no-fused-attention", C + "FMHA kernels are not found (kernelMeta: ...)", ""),
    ("no-fused-attention", "RuntimeError: FMHA Kernel doesn't exist", ""),
    ("checkpoint-mismatch", "RuntimeError: Required but not provided tensors:{'transformer.ln_f.bias'}", ""),
    ("gptq-act-order", "NotImplementedError: GPTQ with desc_act=True is not implemented in TRT-LLM", ""),
    (
        "engine-of-other-version",
        E + "Error Code 1: The engine plan file is not compatible, expecting library version 10.14.1.48 got 10.9.0.34",
        "",
    ),
    (
        "engine-of-other-version",
        E + "1: [stdArchiveReader.cpp::StdArchiveReader::47] Error Code 1: Serialization assertion "
        "stdVersionRead == kSERIALIZATION_VERSION failed.",
        "",
    ),
    (
        "engine-of-other-version",
        E + "Version tag does not match. Note: Current Version: 0, Serialized Engine Version: 1",
        "",
    ),
    ("engine-of-other-version", "RuntimeError: Failed to deserialize cuda engine.", ""),
    (
        "engine-of-other-gpu",
        E + "6: The engine plan file is generated on an incompatible device, expecting compute 8.6 got "
        "compute 8.9, please rebuild.",
        "",
    ),
    (
        "config-of-other-version",
        "ValueError: Inferred model format _ModelFormatKind.TLLM_ENGINE, but failed to load config.json: extra keys",
        "",
    ),
    (
        "plugin-not-loaded",
        E + "IPluginRegistry::getCreator: Error Code 4: getPluginCreator could not find plugin: "
        "GPTAttention tensorrt_llm version: 1",
        "",
    ),
    ("plugin-not-loaded", E + "3: getPluginCreator could not find plugin: GPTAttentiontensorrt_llm version: 1", ""),
    ("torch-mismatch", "ImportError: /x/tensorrt_llm/bindings.so: undefined symbol: _ZN3c105ErrorC2E", ""),
    (
        "cuda-13-missing",
        "ImportError: libcublasLt.so.13: cannot open shared object file: No such file or directory",
        "",
    ),
    ("cuda-13-missing", "OSError: libcudart.so.13: cannot open shared object file", ""),
    ("no-tensorrt", "ImportError: libnvinfer.so.10: cannot open shared object file: No such file or directory", ""),
    ("no-tensorrt", "ImportError: libnvinfer_plugin.so.10: cannot open shared object file", ""),
    ("no-tensorrt", "ModuleNotFoundError: No module named 'tensorrt'", ""),
    ("no-driver", "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory", ""),
    ("no-driver", "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU", ""),
    ("driver-too-old", "RuntimeError: CUDA driver version is insufficient for CUDA runtime version", ""),
    ("driver-too-old", "RuntimeError: The NVIDIA driver on your system is too old (found version 12040).", ""),
    ("no-gpu", "RuntimeError: No CUDA GPUs are available", ""),
    ("no-gpu", C + "CUDA runtime error in cudaGetDeviceCount(&n): no CUDA-capable device is detected", ""),
    ("gpu-lost", "pynvml.NVMLError_GpuIsLost: GPU is lost", ""),
    ("gpu-lost", C + "CUDA runtime error in cudaEventSynchronize(get()): uncorrectable ECC error encountered", ""),
    ("gpu-lost", "NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.", ""),
    ("no-tensorrt-llm", "ModuleNotFoundError: No module named 'tensorrt_llm'", ""),
    ("no-libpython", "ImportError: libpython3.12.so.1.0: cannot open shared object file: No such file", ""),
    ("system-too-old", "OSError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found", ""),
    ("numpy-mismatch", "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.1.3 as it may crash.", ""),
    ("wrong-transformers", "ImportError: cannot import name 'AutoModelForX' from 'transformers' (/x/init)", ""),
    ("no-mpi", "ModuleNotFoundError: No module named 'mpi4py'", "exit code 1"),
    ("no-mpi", "RuntimeError: cannot load MPI library", ""),
    ("no-mpi", "ImportError: libmpi.so.40: cannot open shared object file: No such file or directory", ""),
    ("mpi-start-hangs", "[TensorRT-LLM][INFO] Initializing MPI with thread mode 3", "no output for 300 s"),
    ("mpi-start-hangs", ">>> import tensorrt_llm", "it hung and was timed out"),
    ("mpi-pmi", "*** An error occurred in MPI_Init_thread", "exit code 1"),
    ("mpi-pmi", "PMI2_Init failed to initialize.  Return code: 14", ""),
    (
        "mpi-pmi",
        "The application appears to have been direct launched using srun, but OMPI was not built with "
        "SLURM's PMI support",
        "",
    ),
    ("mpi-worker-died", "MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD", "exit code 1"),
    ("mpi-worker-died", C + "Assertion failed: Failed: MPI error /src/mpiUtils.cpp:200 '15'", "exit code 1"),
    ("mpirun-doubles", "+ mpirun -n 2 python run.py", "no output for 300 s"),
    (
        "kv-pool-too-large",
        "RuntimeError: [TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMallocAsync(ptr, n, s): out of memory",
        "",
    ),
    ("kv-pool-too-large", C + "Assertion failed: KV cache got 0 blocks", ""),
    (
        "kv-pool-below-one-sequence",
        "[TensorRT-LLM][WARNING] maxAttentionWindow and maxSequenceLen are too large for at least one "
        "sequence to fit in kvCache. they are reduced to 2592",
        "",
    ),
    ("prompt-too-long", C + "Prompt length (1025) exceeds maximum input length (1024). Set log level to info", ""),
    ("garbage-for-long-prompts", "", "answers to long prompts are garbage"),
    ("wrong-argument", "ValueError: LLM got invalid argument: cuda_graph_config", ""),
    ("wrong-argument", "ValueError: build_config is specific to TensorRT backend", ""),
    ("calibration-folder-name", "ValueError: Config name is missing.", ""),
    (
        "batch-above-tokens",
        "[08/27/2025-08:22:19] [TRT-LLM] [W] max_batch_size [2048] should be less than or equal to "
        "max_num_tokens [1024]",
        "",
    ),
    ("metrics-empty", "", "/metrics is empty"),
    ("nvml-on-vgpu", "pynvml.NVMLError_NotSupported: Not Supported: nvml call not supported on a vGPU", "exit code 1"),
]


@pytest.mark.parametrize(("code", "line", "outcome"), CASES)
def test_line_to_card(code, line, outcome):
    log = ["[08/27/2025-08:22:19] [TRT-LLM] [I] Set gemm_plugin to auto.", *([line] if line else [])]
    failure = explain_failure(log, outcome)
    assert failure.code == code
    assert failure.what.endswith(".") and failure.fix and "{" not in failure.what
    assert failure.evidence == (line or outcome)


def test_every_row_has_a_case():
    assert {row.code for row in ROWS} == {code for code, _, _ in CASES}


def test_codes_are_given_once():
    assert len({row.code for row in ROWS}) == len(ROWS)


def test_sentences_carry_the_figures():
    assert "16.0 GiB" in explain_failure([CASES[1][1]]).what
    assert (
        "Llama4ForConditionalGeneration"
        in explain_failure(["Unsupported model architecture: Llama4ForConditionalGeneration"]).what
    )
    other = next(line for code, line, _ in CASES if code == "engine-of-other-gpu")
    assert "expecting compute capability 8.6, got 8.9" in explain_failure([other]).what
    assert (
        "1025 tokens, the engine takes 1024"
        in explain_failure(["Prompt length (1025) exceeds maximum input length (1024)"]).what
    )
    for plugin in ("GPTAttention tensorrt_llm version: 1", "GPTAttentiontensorrt_llm version: 1"):
        assert "plugin GPTAttention:" in explain_failure([f"getPluginCreator could not find plugin: {plugin}"]).what


def test_a_cause_wins_over_its_consequence():
    log = [
        W + "Skipping tactic 3 due to insufficient memory on requested size of 8589934592",
        PE + "Engine building failed, please check the error log.",
        E + "Error Code 2: OutOfMemory (no further information)",
        "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD",
    ]
    assert explain_failure(log, "exit code 1").code == "gpu-out-of-memory"


def test_a_kill_wins_over_a_warning_and_over_a_consequence():
    log = [W + "Skipping tactic 3 due to insufficient memory", "MPI_ABORT was invoked on rank 0"]
    assert explain_failure(log, "exit code 137").code == "host-out-of-memory"


def test_a_consequence_shows_the_error_before_it():
    cause = E + "Error Code 9: Internal Error (a layer is odd)"
    failure = explain_failure([cause, PE + "Engine building failed, please check the error log."], "exit code 1")
    assert failure.code == "engine-build-failed" and failure.evidence == cause


def test_a_warning_does_not_explain_an_unknown_error():
    unknown = E + "Error Code 9: Internal Error (a layer is odd)"
    failure = explain_failure([W + "Skipping tactic 3 due to insufficient memory", unknown], "exit code 1")
    assert failure.code == "failed" and unknown in failure.evidence


def test_an_old_line_does_not_explain_a_late_hang():
    log = ["[TensorRT-LLM][INFO] Initializing MPI with thread mode 3", *["[TRT] [I] going on"] * 20]
    assert explain_failure(log, "no output for 300 s").code == "failed"


def test_nothing_known_still_says_what_was_seen():
    failure = explain_failure(["hm"], "exit code 3")
    assert failure.code == "failed" and "exit code 3" in failure.evidence and "hm" in failure.evidence
    assert explain_failure([], "").code == "failed"


def test_rows_say_where_they_were_seen():
    assert all(row.seen_in and (row.line or row.outcome) for row in ROWS)
    assert all(row.outcome for row in ROWS if row.tier is Tier.ENDING)


_pieces = st.one_of(
    st.text(max_size=300), st.sampled_from([line for _, line, _ in CASES]), st.just("out of memory " * 40)
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(_pieces, max_size=20), st.one_of(st.text(max_size=60), st.sampled_from([how for _, _, how in CASES])))
def test_no_text_breaks_it(lines, outcome):
    failure = explain_failure(lines, outcome)
    assert failure.code and failure.what and len(failure.evidence) <= 400
