"""The table of TensorRT-LLM's failures: the line that shows one, its cause and its fix.

Causes and signatures are those seen in TensorRT-LLM's sources and in its issue threads (`seen_in`: numbers of
NVIDIA/TensorRT-LLM unless another repository is named).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum


class Tier(IntEnum):
    """How much a row explains; the smallest that is found decides, and within it the earliest line."""

    CAUSE = 0
    ENDING = 1
    """Told by how the process ended, not by a line of its own."""
    CONSEQUENCE = 2
    """A line that says no more than that something failed before."""
    NOTE = 3
    """A warning that does not fail a build by itself."""


@dataclass(frozen=True)
class FailureRow:
    """One row. `line` is searched in each log line, `outcome` in how the process ended; both must hold where
    both are given. `at_end`: only among the last lines. `what` may name groups of `line`."""

    code: str
    what: str
    fix: str
    line: re.Pattern[str] | None = None
    outcome: re.Pattern[str] | None = None
    tier: Tier = Tier.CAUSE
    seen_in: str = ""
    exit_code: int = 4
    at_end: bool = False


def _row(
    code: str,
    line: str,
    what: str,
    fix: str,
    seen_in: str,
    *,
    outcome: str = "",
    tier: Tier = Tier.CAUSE,
    exit_code: int = 4,
    at_end: bool = False,
) -> FailureRow:
    return FailureRow(
        code=code,
        what=what,
        fix=fix,
        line=re.compile(line) if line else None,
        outcome=re.compile(outcome, re.IGNORECASE) if outcome else None,
        tier=tier,
        seen_in=seen_in,
        exit_code=exit_code,
        at_end=at_end,
    )


_SMALLER = (
    "Lower limits.max_num_tokens, limits.max_batch_size, limits.max_seq_len or limits.max_beam_width, close other "
    "programs on the GPU, quantize, or share the model among more GPUs (parallel.tp)."
)
_REBUILD = "Build the engine again with the TensorRT-LLM that is to run it."
_MPI_MIX = (
    "Use the system's Open MPI with mpi4py 4 or newer in this environment, and no MPI of conda beside it; then "
    "`workbench doctor`."
)
_HANG = r"hang|hung|no output|timed? ?out|stall"

ROWS: tuple[FailureRow, ...] = (
    # --- memory ---
    _row(
        "gpu-out-of-memory",
        r"Error Code 2: OutOfMemory"
        r"|Requested amount of GPU memory \((?P<bytes>\d{1,18}) bytes\) could not be allocated|resizePhysical",
        "The GPU ran out of memory while TensorRT tried its kernels.",
        _SMALLER,
        "#2451, #346, #1543, #102",
    ),
    _row(
        "host-out-of-memory",
        "",
        "The process was killed, most likely because the machine ran out of memory: a build's peak is about twice "
        "the checkpoint.",
        "Close other programs, add memory or swap, build with --workers 1, or load the weights on the GPU "
        "(load_model_on_cpu off); then retry.",
        "#743, #102, #538, #2324",
        outcome=r"\b(?:exit code 137|signal 9|SIGKILL|killed)\b",
        tier=Tier.ENDING,
    ),
    _row(
        "kv-pool-too-large",
        r"cudaMallocAsync.{0,400}out of memory|out of memory.{0,400}cudaMallocAsync"
        r"|[^\d.]0 blocks\b|^0 blocks\b|primary blocks=0\b|primary pool: 0\b",
        "The KV cache did not fit into the memory that was free after loading.",
        "Lower runtime.kv_fraction, or limit the KV cache's tokens (max_tokens) or bytes (max_gpu_total_bytes).",
        "#401, #1400, #2773, #486",
    ),
    _row(
        "kv-pool-below-one-sequence",
        r"maxAttentionWindow and maxSequenceLen are too large.{0,400}reduced to (?P<tokens>\d{1,12})",
        "The KV cache holds less than one full sequence: the context is limited to {tokens} tokens.",
        "Give the KV cache more memory (runtime.kv_fraction), or build with a smaller limits.max_seq_len. "
        "fail_fast_on_attention_window_too_large makes this an error.",
        "log in a user's guide",
        tier=Tier.NOTE,
    ),
    _row(
        "tactic-skipped",
        r"[Ss]kipping tactic (?:\w{1,40} )?.{0,80}due to insufficient memory",
        "TensorRT left out a kernel that did not fit into GPU memory; this is usually harmless.",
        "None needed if the build goes on. If not: " + _SMALLER[0].lower() + _SMALLER[1:],
        "#102",
        tier=Tier.NOTE,
    ),
    # --- the build itself ---
    _row(
        "no-supported-format",
        r"could not find any supported formats consistent with input/output data types",
        "TensorRT found no kernel for the types of a layer: too little memory, or a plugin that is off.",
        "Lower the limits, and leave the plugins at auto (take *_plugin out of build.flags).",
        "TensorRT-LLM's troubleshooting page",
    ),
    _row(
        "engine-build-failed",
        r"Engine building failed, please check the error log",
        "TensorRT could not build the engine.",
        "The errors above this line in the job's log say why.",
        "#346",
        tier=Tier.CONSEQUENCE,
    ),
    _row(
        "unsupported-architecture",
        r"Unsupported model architecture: (?P<name>\S{1,80})",
        "TensorRT-LLM 1.2 has no engine for the architecture {name}.",
        "Use another toolchain for this model; TensorRT-LLM's PyTorch backend may know it, its engine path does not.",
        "#8633",
        exit_code=3,
    ),
    _row(
        "unsupported-architecture-convert",
        r"architecture (?P<name>\w{1,80}) is not supported in TRT-LLM yet",
        "TensorRT-LLM's converter does not know the architecture {name}.",
        "Use another toolchain for this model; TensorRT-LLM's PyTorch backend may know it, its engine path does not.",
        "models/automodel.py",
        exit_code=3,
    ),
    _row(
        "refused-on-this-gpu",
        r"is not supported on SM ?>= ?100|\S= ?\S{0,80} is not supported on SM ?100",
        "TensorRT-LLM refuses this quantization or plugin on this GPU.",
        "On compute capability 10.x use FP8 (one scale a tensor) or NVFP4, and take the plugin that the line names "
        "out of build.flags.",
        "builder.py, plugin/plugin.py",
        exit_code=3,
    ),
    _row(
        "torch-lacks-gpu",
        r"no kernel image is available|with CUDA capability sm_\d{1,4} is not compatible with the current PyTorch",
        "The environment's PyTorch was not built for this GPU.",
        "Install the PyTorch build (cu128 or cu130) that the TensorRT-LLM wheel was made for.",
        "#3347, #4275",
    ),
    _row(
        "no-fused-attention",
        r"FMHA kernels are not found|FMHA Kernel doesn't exist",
        "There is no fused attention kernel for this head size on this GPU.",
        'Build with build.flags.context_fmha = "disable" (slow), or on another GPU. If TensorRT-LLM was updated '
        "since, build again: two versions may be mixed.",
        "#4275, #2125",
    ),
    _row(
        "checkpoint-mismatch",
        r"Required but not provided tensors",
        "The checkpoint lacks tensors that this version's model class wants.",
        "Convert again with the version that builds (`workbench build` makes a new checkpoint when versions differ).",
        "models/modeling_utils.py",
    ),
    _row(
        "gptq-act-order",
        r"GPTQ with desc_act=True is not implemented",
        "The GPTQ folder was quantized with act-order (desc_act), which TensorRT-LLM cannot read.",
        "Quantize again without desc_act, or start from the unquantized model.",
        "llama/convert_checkpoint.py",
        exit_code=3,
    ),
    # --- engine and library do not fit ---
    _row(
        "engine-of-other-version",
        r"expecting library version (?P<want>\S{1,40}) got (?P<got>\S{1,40})|Version tag does not match"
        r"|stdVersionRead == kSERIALIZATION_VERSION|Failed to deserialize cuda engine",
        "The engine was built with another TensorRT.",
        _REBUILD + " Its config.json says with which version it was built.",
        "tensorrtllm_backend #424, #531, #235; #1038, #1838",
    ),
    _row(
        "engine-of-other-gpu",
        r"generated on an incompatible device, expecting compute (?P<want>[\d.]{1,10}\d)"
        r" got (?:compute )?(?P<got>[\d.]{1,10}\d)",
        "The engine was built for another kind of GPU: expecting compute capability {want}, got {got}.",
        "Build the engine again on this GPU.",
        "llama_index #12318",
    ),
    _row(
        "config-of-other-version",
        r"Inferred model format .{0,400} but failed to load config\.json",
        "The folder's config.json is of another TensorRT-LLM version: keys it does not know are refused.",
        "Build the engine (or convert the checkpoint) again with this version.",
        "llmapi/llm_args.py",
    ),
    _row(
        "plugin-not-loaded",
        r"getPluginCreator could not find plugin:? (?P<name>\w{1,80}?)[\s,]{0,8}(?:tensorrt_llm )?version",
        "TensorRT does not find TensorRT-LLM's plugin {name}: the plugin library was not loaded, or there are two "
        "TensorRT installations.",
        "Import tensorrt_llm before TensorRT, take other TensorRT folders out of LD_LIBRARY_PATH; trtexec cannot "
        "open these engines without the plugin library.",
        "#107, #1584, #452, #1199; TensorRT #3982",
    ),
    _row(
        "torch-mismatch",
        r"undefined symbol:",
        "PyTorch in this environment is not the one that the TensorRT-LLM wheel was built for.",
        "Install the PyTorch version that the wheel pins again.",
        "#7665, #4275, #1008",
    ),
    _row(
        "cuda-13-missing",
        r"libcublasLt\.so\.13|\.so\.13: cannot open",
        "CUDA 13 libraries are missing: a PyTorch for CUDA 12 stands beside a TensorRT-LLM for CUDA 13.",
        "Install PyTorch's cu130 build last, have the CUDA 13 libraries and set CUDA_HOME.",
        "#9318, notes of 1.2.1 users",
    ),
    _row(
        "no-tensorrt",
        r"libnvinfer\w{0,40}\.so\S{0,20}: cannot open shared object|No module named 'tensorrt(?:_bindings|_libs)?'",
        "TensorRT itself is missing in this environment, or its libraries are not found.",
        "Install the tensorrt version that the wheel pins (10.14 for 1.2.1) again, and take other TensorRT folders out "
        "of LD_LIBRARY_PATH.",
        "what tensorrt_llm loads when it is imported: libnvinfer.so.10",
    ),
    _row(
        "no-driver",
        r"libcuda\.so\.1: cannot open shared object|libnvidia-ml\.so\.1: cannot open shared object"
        r"|Found no NVIDIA driver on your system",
        "There is no NVIDIA driver here, or it is not visible.",
        "Install the driver; in a container, start it with --gpus all and NVIDIA's container toolkit.",
        "torch/cuda/__init__.py; the dynamic linker's message",
        exit_code=3,
    ),
    _row(
        "driver-too-old",
        r"CUDA driver version is insufficient for CUDA runtime version|NVIDIA driver on your system is too old"
        r"|unsupported display driver / cuda driver combination|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
        r"|CUDA_ERROR_COMPAT_NOT_SUPPORTED",
        "The NVIDIA driver is too old for the CUDA libraries of this environment.",
        "Update the driver (the r580 line or newer for CUDA 13), or add cuda-compat on a data-centre GPU.",
        "names and texts of CUDA's error codes; torch/cuda/__init__.py",
        exit_code=3,
    ),
    _row(
        "no-gpu",
        r"no CUDA-capable device is detected|CUDA_ERROR_NO_DEVICE|No CUDA GPUs are available",
        "No GPU is visible to CUDA.",
        "Look at CUDA_VISIBLE_DEVICES and at nvidia-smi; in a container, start it with --gpus all.",
        "names and texts of CUDA's error codes; torch/cuda/__init__.py",
        exit_code=3,
    ),
    _row(
        "gpu-lost",
        r"GPU is lost|fallen off the bus|uncorrectable ECC error|CUDA_ERROR_(?:ECC_UNCORRECTABLE|DEVICE_UNAVAILABLE)"
        r"|device\(s\) is/are busy or unavailable|\bXid\b.{0,80}\b79\b",
        "A GPU went away or broke down while it was in use.",
        "Look at nvidia-smi and the kernel's log (dmesg, Xid); the GPU or the machine has to be reset. Then retry: "
        "finished steps are reused.",
        "names and texts of CUDA's and NVML's error codes",
    ),
    _row(
        "no-tensorrt-llm",
        r"No module named 'tensorrt_llm'$|tensorrt_llm is a placeholder",
        "There is no tensorrt_llm to import: it is not installed in this interpreter, or by name alone, as what is on "
        "PyPI is a placeholder that fetches the real one.",
        "Install tensorrt-llm 1.2.1 from NVIDIA's own package index, with Python 3.10 or 3.12.",
        "the source distribution on PyPI",
        exit_code=3,
    ),
    _row(
        "no-libpython",
        r"libpython3\.\d{1,3}\w{0,4}\.so\S{0,8}: cannot open shared object",
        "Python's shared library is missing.",
        "Install python3-dev of that version, or an interpreter that was built with --enable-shared.",
        "TensorRT-LLM's installation page",
        exit_code=3,
    ),
    _row(
        "system-too-old",
        r"version [`'](?:GLIBC|GLIBCXX|CXXABI)_[\d.]{1,12}' not found",
        "The system's C or C++ library is older than the wheel wants.",
        "Use a newer system, or NVIDIA's container in WORKBENCH_TENSORRT_LLM_PREFIX.",
        "the dynamic linker's message",
        exit_code=3,
    ),
    _row(
        "numpy-mismatch",
        r"compiled using NumPy 1\.x cannot be run in|numpy\.dtype size changed"
        r"|numpy\.core\.multiarray failed to import",
        "NumPy 2 stands beside packages that were made for NumPy 1.",
        'Install "numpy<2" in this environment, as the wheel pins it.',
        "pins of 1.2.1; NumPy's own message",
        exit_code=3,
    ),
    _row(
        "wrong-transformers",
        r"cannot import name '\w{1,80}' from 'transformers",
        "transformers in this environment is not the version that TensorRT-LLM was written for.",
        "Install transformers 4.57.3 there, as 1.2 pins it.",
        "pins of 1.2.1",
        exit_code=3,
    ),
    # --- MPI ---
    _row(
        "no-mpi",
        r"libmpi\.so\.\d{1,4}: cannot open shared object|No module named 'mpi4py'|cannot load MPI library",
        "Open MPI is not installed, or not found.",
        "Install Open MPI (libopenmpi-dev on Debian and Ubuntu) and mpi4py, or add its folder to LD_LIBRARY_PATH.",
        "#167",
    ),
    _row(
        "mpi-pmi",
        r"An error occurred in MPI_Init_thread|PMI2_Init failed|OMPI was not built with SLURM's PMI support",
        "MPI could not start: Slurm's or PMI's variables of the surrounding job are in its way.",
        "Start the program under `mpirun -n 1`, or unset the variables SLURM_* and PMI*.",
        "#2286, TensorRT-LLM's troubleshooting page",
    ),
    _row(
        "mpi-start-hangs",
        r"Initializing MPI with thread mode|import tensorrt_llm",
        "It hung while MPI was starting: two kinds of MPI are mixed (conda's mpich, mpi4py 3), or the network "
        "fabric does not answer.",
        _MPI_MIX,
        "#2405, #2172, #2286",
        outcome=_HANG,
        tier=Tier.ENDING,
        at_end=True,
    ),
    _row(
        "mpirun-doubles",
        r"mpirun (?:-n|-np) (?:[2-9]|\d{2,4})\b",
        "It hung under mpirun: the program was started once a rank, though it starts its own ranks.",
        "Start one process and let it spawn its ranks; across nodes use `mpirun -n WORLD trtllm-llmapi-launch CMD`.",
        "#2337",
        outcome=_HANG,
        tier=Tier.ENDING,
    ),
    _row(
        "mpi-worker-died",
        r"MPI_ABORT was invoked on rank|Failed: MPI error",
        "One of the ranks died and took the others along.",
        "The first error above this line says why. Without one: look at NVLink or peer access between the GPUs, and "
        "at the container's shared memory (--shm-size).",
        "#2813, #1826",
        tier=Tier.CONSEQUENCE,
    ),
    # --- running ---
    _row(
        "prompt-too-long",
        r"Prompt length \((?P<tokens>\d{1,12})\) exceeds maximum input length \((?P<most>\d{1,12})\)",
        "The prompt has {tokens} tokens, the engine takes {most}.",
        "Shorten the prompt, turn on runtime.chunked_prefill, or build with larger limits.max_num_tokens and "
        "limits.max_seq_len (the input is limited by the smaller one).",
        "#2702, #6539, #4641; tensorrtllm_backend #141, #565",
        exit_code=2,
    ),
    _row(
        "garbage-for-long-prompts",
        "",
        "Answers to long prompts are garbage: rope scaling is wrong, or versions are mixed.",
        "Convert again with the version that builds and runs, and let verify compare it.",
        "tensorrtllm_backend #624, #1830",
        outcome=r"garbage|nonsense|gibberish",
        tier=Tier.ENDING,
    ),
    _row(
        "wrong-argument",
        r"got invalid argument: ?(?P<name>\S{0,80})|specific to TensorRT backend",
        "TensorRT-LLM was called with an argument that this class of LLM does not take.",
        "Engines are run with tensorrt_llm._tensorrt_engine.LLM, not with tensorrt_llm.LLM; take the argument out.",
        "llmapi/llm.py",
    ),
    _row(
        "calibration-folder-name",
        r"Config name is missing",
        "The calibration data set was not recognised: a local copy of cnn_dailymail must have that name in its path.",
        "Rename the folder, or use a text or JSONL file (calibration.file).",
        "#5247",
    ),
    _row(
        "batch-above-tokens",
        r"max_batch_size .{0,200}should be less than or equal to max_num_tokens",
        "limits.max_batch_size is above limits.max_num_tokens: the batch can never be filled.",
        "Lower limits.max_batch_size or raise limits.max_num_tokens.",
        "llmapi/llm_args.py",
        tier=Tier.NOTE,
    ),
    _row(
        "metrics-empty",
        "",
        "/metrics gave no record: no request ran since it was last read, or the PyTorch backend runs without "
        "enable_iter_perf_stats.",
        "Send a request, then read it again.",
        "#6364",
        outcome=r"/metrics.{0,80}empty|empty.{0,80}/metrics",
        tier=Tier.ENDING,
    ),
    _row(
        "nvml-on-vgpu",
        r"(?i)nvml.{0,200}(?:not supported|error|fail)",
        "The GPU's monitoring library (NVML) does not answer; an old cluster detection stumbles over this on virtual "
        "GPUs.",
        "Use TensorRT-LLM 1.2: the detection was removed.",
        "#1861",
        tier=Tier.NOTE,
    ),
)
"""All rows, by topic."""
