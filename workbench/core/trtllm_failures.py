"""Why a convert, build or load of TensorRT-LLM failed: the table from log line to cause, evidence and fix.

Causes and signatures are those seen in TensorRT-LLM's sources and in its issue threads (`seen_in`: numbers of
NVIDIA/TensorRT-LLM unless another repository is named).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from workbench.core.errors import Failure
from workbench.core.trtllm_log_lines import split_lines

_MAX_OUTCOME = 4000
_MAX_EVIDENCE = 400
_LAST_LINES = 5
_GIB = 2**30


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
    # --- MPI ---
    _row(
        "no-mpi",
        r"libmpi\.so\.\d{1,4}: cannot open shared object",
        "Open MPI is not installed, or not found.",
        "Install Open MPI (libopenmpi-dev on Debian and Ubuntu), or add its folder to LD_LIBRARY_PATH.",
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


def explain_failure(lines: Iterable[str], outcome_text: str = "") -> Failure:
    """The failure of a process of TensorRT-LLM in words. Never raises, whatever the text.

    `lines` is its log (the end of it is enough), `outcome_text` how it ended, such as `exit code 137`. The cause
    that explains most wins; among equals the earliest line. Evidence is the line itself.
    """
    log = [line for text in lines for line in split_lines(text)]
    outcome = outcome_text[:_MAX_OUTCOME]
    best: tuple[tuple[int, int], FailureRow, str, dict[str, str]] | None = None
    for row in ROWS:
        if row.outcome is not None and not row.outcome.search(outcome):
            continue
        if best is not None and row.tier > best[1].tier:
            continue
        place, line, groups = _find(row, log)
        if place is None:
            continue
        rank = (int(row.tier), place)
        if best is None or rank < best[0]:
            best = (rank, row, line, groups)
    if best is None:
        return _unknown(log, outcome)
    _, row, line, groups = best
    if row.tier is Tier.NOTE and _first_error(log, but=line):
        return _unknown(log, outcome)
    if row.tier is Tier.CONSEQUENCE:
        line = _first_error(log, but=line) or line
    what = _fill(row.what, groups)
    if asked := groups.get("bytes"):
        what = f"{what.rstrip('.')}: {int(asked) / _GIB:.1f} GiB more were asked for."
    return Failure(code=row.code, what=what, evidence=_short(line or outcome), fix=row.fix, exit_code=row.exit_code)


def _find(row: FailureRow, log: list[str]) -> tuple[int | None, str, dict[str, str]]:
    """(place of the first line that shows it, the line, named groups); place is None when it is not there."""
    if row.line is None:
        return len(log), "", {}
    start = max(len(log) - _LAST_LINES, 0) if row.at_end else 0
    for place, line in enumerate(log[start:], start):
        if match := row.line.search(line):
            return place, line, {name: value for name, value in match.groupdict().items() if value}
    return None, "", {}


def _fill(what: str, groups: dict[str, str]) -> str:
    """Groups by name into the sentence; a group that was not in the line leaves no brace behind."""
    text = re.sub(r"\{(\w+)\}", lambda found: groups.get(found[1], ""), what)
    return re.sub(r"\s+([.,:])", r"\1", text)


_ERROR = re.compile(r"\[(?:E|F|ERROR)\] |^\[TensorRT-LLM\]\[ERROR\]|^\w*(?:Error|Exception)\b: ")


def _first_error(log: list[str], but: str = "") -> str:
    """The first line of error level that is not `but`; "" without one."""
    return next((line for line in log if line != but and _ERROR.search(line)), "")


def _unknown(log: list[str], outcome: str) -> Failure:
    line = _first_error(log) or (log[-1] if log else "")
    shown = "; ".join(part for part in (outcome.strip(), _short(line)) if part)
    return Failure(
        code="failed",
        what="TensorRT-LLM failed without a known cause.",
        evidence=_short(shown),
        fix="The job's log has the full output.",
    )


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _MAX_EVIDENCE else text[: _MAX_EVIDENCE - 1] + "…"
