"""The documented failures, shown on request: TRTLLM_STANDIN_FAIL=<id>, a key of SHOWN.

The texts are those that the real programs were seen to print; where several are known, one is enough.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Literal, NoReturn

from tensorrt_llm._standin import option
from tensorrt_llm._standin.log import Log

Stage = Literal[
    "import", "convert", "save", "start", "load", "network", "compile", "serialize", "engine-load", "run", "run-later"
]


@dataclass(frozen=True)
class Shown:
    """`lines` are printed at `stage`; then the program ends as `end` says."""

    stage: Stage
    lines: tuple[str, ...]
    end: Literal["exit", "raise", "kill", "hang", "go-on"] = "exit"
    error: str = ""
    """Text of the exception, with `raise`."""
    kind: type[Exception] = RuntimeError


_FAILED = "Engine building failed, please check the error log."
SHOWN: dict[str, Shown] = {
    "gpu-out-of-memory": Shown(
        "compile",
        (
            "E TRT [virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (Requested size was "
            "2097152 bytes.)",
            "E TRT Requested amount of GPU memory (17179869184 bytes) could not be allocated. There may not be enough "
            "free memory for allocation to succeed.",
        ),
        "raise",
        _FAILED,
        AssertionError,
    ),
    "host-out-of-memory": Shown("compile", (), "kill"),
    "tactic-skipped": Shown(
        "compile",
        ("W TRT Tactic Device request: 12064MB Available: 9012MB. Device memory is insufficient to use tactic.",
         "W TRT UNSUPPORTED_STATE: Skipping tactic 3 due to insufficient memory on requested size of 12064 detected."),
        "go-on",
    ),
    "no-supported-format": Shown(
        "compile",
        ("E TRT Error Code 4: Internal Error (LlamaForCausalLM/transformer/layers/0/attention/GPTAttention_0: "
         "could not find any supported formats consistent with input/output data types)",),
        "raise", _FAILED, AssertionError,
    ),
    "engine-build-failed": Shown(
        "compile", ("E TRT Error Code 10: Internal Error (Could not find any implementation for node)",), "raise",
        _FAILED, AssertionError,
    ),
    "unsupported-architecture": Shown(
        "load", (), "raise", "Unsupported model architecture: Llama4ForConditionalGeneration", AssertionError
    ),
    "unsupported-architecture-convert": Shown(
        "convert", (), "raise",
        "The given huggingface model architecture OddForCausalLM is not supported in TRT-LLM yet", NotImplementedError,
    ),
    "gptq-act-order": Shown("convert", (), "raise", "GPTQ with desc_act=True is not implemented!", ValueError),
    "refused-on-this-gpu": Shown("network", (), "raise", "INT8/INT4 quantization is not supported on SM>=100"),
    "torch-lacks-gpu": Shown(
        "start", (), "raise", "CUDA error: no kernel image is available for execution on the device"
    ),
    "no-fused-attention": Shown(
        "network", ("C ERROR Assertion failed: FMHA kernels are not found",), "raise",
        "[TensorRT-LLM][ERROR] Assertion failed: FMHA kernels are not found",
    ),
    "checkpoint-mismatch": Shown(
        "load", (), "raise",
        "Required but not provided tensors:{'transformer.layers.0.attention.kv_cache_scaling_factor'}",
    ),
    "plugin-not-loaded": Shown(
        "compile",
        ("E TRT IPluginRegistry::getPluginCreator: Error Code 4: Internal Error (getPluginCreator could not find "
         "plugin: GPTAttentiontensorrt_llm version: 1)",),
        "raise", _FAILED, AssertionError,
    ),
    "torch-mismatch": Shown(
        "import", (), "raise",
        "/usr/lib/tensorrt_llm/libs/libth_common.so: undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationE",
        ImportError,
    ),
    "cuda-13-missing": Shown(
        "import", (), "raise", "libcublasLt.so.13: cannot open shared object file: No such file or directory",
        ImportError,
    ),
    "no-tensorrt": Shown(
        "import", (), "raise", "libnvinfer.so.10: cannot open shared object file: No such file or directory",
        ImportError,
    ),
    "no-driver": Shown(
        "import", (), "raise", "libcuda.so.1: cannot open shared object file: No such file or directory", ImportError
    ),
    "driver-too-old": Shown(
        "import", (), "raise", "CUDA driver version is insufficient for CUDA runtime version"
    ),
    "wrong-transformers": Shown(
        "import", (), "raise", "cannot import name 'AutoModelForVision2Seq' from 'transformers' (unknown location)",
        ImportError,
    ),
    "import-hangs": Shown("import", (), "hang"),
    "no-gpu": Shown("start", (), "raise", "CUDA error: no CUDA-capable device is detected"),
    "gpu-lost": Shown(
        "compile",
        ("E TRT Error Code 1: Cuda Runtime (uncorrectable ECC error encountered)",),
        "raise", _FAILED, AssertionError,
    ),
    "gpu-lost-running": Shown(
        "run-later", (), "raise",
        "[TensorRT-LLM][ERROR] CUDA runtime error in cudaEventSynchronize(get()): uncorrectable ECC error encountered",
    ),
    "no-mpi": Shown(
        "import", (), "raise", "libmpi.so.40: cannot open shared object file: No such file or directory",
        ImportError,
    ),
    "mpi-start-hangs": Shown("start", ("C INFO Initializing MPI with thread mode 3",), "hang"),
    "mpi-hangs-loading": Shown("engine-load", ("C INFO Initializing MPI with thread mode 3",), "hang"),
    "mpi-pmi": Shown(
        "start",
        ("P The application appears to have been direct launched using \"srun\",",
         "P but OMPI was not built with SLURM's PMI support and therefore cannot execute.",
         "P *** An error occurred in MPI_Init_thread"),
        "exit",
    ),
    "mpi-worker-died": Shown(
        "serialize",
        ("P MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD",),
        "exit",
    ),
    "engine-of-other-version": Shown(
        "engine-load",
        ("C ERROR IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
         "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 240, "
         "Serialized Engine Version: 239)",),
        "raise", "Executor worker returned error",
    ),
    "engine-of-other-gpu": Shown(
        "engine-load",
        ("C ERROR The engine plan file is generated on an incompatible device, expecting compute 8.9 got compute 9.0, "
         "please rebuild.",),
        "raise", "Executor worker returned error",
    ),
    "config-of-other-version": Shown(
        "engine-load", (), "raise",
        "Inferred model format _ModelFormatKind.TLLM_ENGINE, but failed to load config.json: extra_forbidden",
        ValueError,
    ),
    "kv-pool-too-large": Shown(
        "engine-load",
        ("C ERROR [TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMallocAsync(ptr, n, mMemPool->getPool(), "
         "mCudaStream->get()): out of memory",),
        "raise", "Executor worker returned error",
    ),
    "kv-pool-below-one-sequence": Shown(
        "engine-load",
        ("C WARNING The value of maxAttentionWindow and maxSequenceLen are too large for at least one sequence to fit "
         "in kvCache. they are reduced to 512",),
        "go-on",
    ),
    "prompt-too-long": Shown(
        "run", (), "raise", "Prompt length (9000) exceeds maximum input length (8192). Set log level to info and check "
        "TRTGptModel logs for how maximum input length is set",
    ),
}  # fmt: skip


def fail_at(stage: Stage, log: Log) -> None:
    """Show the wished failure when it belongs to this stage."""
    wished = option("FAIL", "")
    if not wished:
        return
    if wished not in SHOWN:
        print(f"stand-in: no failure named {wished!r}", file=sys.stderr)
        raise SystemExit(2)
    shown = SHOWN[wished]
    if shown.stage == stage:
        _show(shown, log)


def _show(shown: Shown, log: Log) -> None:
    for line in shown.lines:
        log.raw(line)
    if shown.end == "raise":
        raise shown.kind(shown.error)
    if shown.end == "kill":
        _kill()
    if shown.end == "hang":
        time.sleep(3600)
    if shown.end == "exit":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _kill() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit(137)
