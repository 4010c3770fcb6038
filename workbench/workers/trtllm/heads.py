"""Worker `trtllm.heads`: a model and the heads trained for it (Medusa, EAGLE) -> one TensorRT-LLM checkpoint.

Only the scripts in TensorRT-LLM's examples make such checkpoints; its wheel does not hold them, its containers do.
ModelOpt's exporter knows no heads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.intake.safetensors_header import read_header
from workbench.core.model import TOKENIZER_FILES, ModelSpec, read_model
from workbench.core.trtllm.log import explain_failure
from workbench.workers.common import announce, input_folder, quiet_environment, read_json
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.trtllm.common import PACKAGES, refuse_newer

PHASES = ("check", "convert", "complete")
EXAMPLES_VARIABLE = "WORKBENCH_TENSORRT_LLM_EXAMPLES"
PLACES = ("/app/tensorrt_llm/examples",)
"""Where NVIDIA's containers have the examples."""
DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
ARCHITECTURES: Mapping[str, Mapping[str, str]] = {
    "medusa": {"LlamaForCausalLM": "llama", "MixtralForCausalLM": "mixtral", "Qwen2ForCausalLM": "qwen2"},
    "eagle": {"LlamaForCausalLM": "llama"},
}
"""What each script takes -> its name of the family."""


@dataclass(frozen=True)
class Job:
    """A step's settings, checked; nothing runs yet."""

    mode: str
    model: Path
    heads: Path
    out: Path
    spec: ModelSpec
    heads_config: dict[str, Any]
    dtype: str
    tp: int
    pp: int
    draft_tokens: int
    count: int | None


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with config.json, a rank{N}.safetensors for each of tp x pp ranks, and the tokenizer.

    Inputs: `model`, `heads`. Settings: `mode` ("medusa", "eagle"), `dtype` ("bf16", "fp16"), `tp`, `pp`,
    `draft_tokens` (nodes of the tree), `heads` (how many; None: as the folder says, else 4).
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-model`, `bad-heads`, `no-converter`, `no-engine-runtime`,
    `convert-failed`, `bad-checkpoint`.
    """
    began = time.monotonic()
    channel.phase("check", 1, len(PHASES))
    quiet_environment()
    refuse_newer("converts no checkpoints for engines")
    job = _prepare(spec)
    script = find_script(job.mode, os.environ)
    channel.phase("convert", 2, len(PHASES))
    argv = [sys.executable, str(script), *arguments(job)]
    channel.log(f"runs {script}")
    log_from = os.fstat(2).st_size
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=2, stderr=2, check=False)
    if done.returncode:
        raise _explained(done.returncode, log_from)
    channel.phase("complete", 3, len(PHASES))
    return _finish(job, channel) | {"script": str(script), "seconds": round(time.monotonic() - began, 2)}


def find_script(mode: str, environ: Mapping[str, str]) -> Path:
    """The example's convert_checkpoint.py. Raises WorkerError `no-converter`."""
    named = environ.get(EXAMPLES_VARIABLE, "")
    places = [Path(named)] if named else [Path(place) for place in PLACES]
    for place in places:
        script = place / mode / "convert_checkpoint.py"
        if script.is_file():
            return script
    raise WorkerError(
        f"TensorRT-LLM's converter for {mode} heads is not here",
        code="no-converter",
        cause=f"no {mode}/convert_checkpoint.py in {', '.join(map(str, places))}",
        hint="NVIDIA's TensorRT-LLM containers have it; elsewhere set "
        f"{EXAMPLES_VARIABLE} to the examples folder of the source tree of the same version.",
    )


def arguments(job: Job) -> list[str]:
    """Arguments of the script."""
    made = ["--model_dir", str(job.model), "--output_dir", str(job.out), "--dtype", DTYPES[job.dtype],
            "--tp_size", str(job.tp), "--pp_size", str(job.pp)]  # fmt: skip
    if job.mode == "eagle":
        return [
            *made, "--eagle_model_dir", str(job.heads), "--max_draft_len", str(job.draft_tokens),
            "--num_eagle_layers", str(job.count or 4),
        ]  # fmt: skip
    return [
        *made, "--medusa_model_dir", str(job.heads), "--max_medusa_token_len", str(job.draft_tokens),
        "--num_medusa_heads", str(job.count or _whole(job.heads_config, "medusa_num_heads", 4)),
        "--num_medusa_layers", str(_whole(job.heads_config, "medusa_num_layers", 1)),
        "--model_type", ARCHITECTURES["medusa"][job.spec.architecture],
    ]  # fmt: skip


def _prepare(spec: StepSpec) -> Job:
    given = spec.settings
    model, heads = input_folder(spec, "model"), input_folder(spec, "heads")
    mode, dtype = str(given.get("mode")), str(given.get("dtype") or "fp16")
    tp, pp = _whole(given, "tp", 1), _whole(given, "pp", 1)
    if mode not in ARCHITECTURES or dtype not in DTYPES:
        raise WorkerError(
            "heads are converted for medusa and eagle, at fp16 or bf16",
            code="bad-setting",
            cause=f"mode = {mode}, dtype = {dtype}",
        )
    try:
        found = read_model(model, require_tokenizer=False)
    except BadInputError as error:
        raise WorkerError(error.what, code=error.failure.code, cause=error.evidence, hint=error.fix) from error
    if found.architecture not in ARCHITECTURES[mode]:
        raise WorkerError(
            f"TensorRT-LLM's converter of {mode} heads does not know {found.architecture[:60]}",
            code="bad-model",
            cause=f"it knows {', '.join(ARCHITECTURES[mode])}",
            hint="Choose lookahead, which needs no heads, or a model that it knows.",
        )
    if mode == "eagle" and pp > 1:
        raise WorkerError(
            "EAGLE has no pipeline parallelism",
            code="bad-setting",
            cause=f"parallel.pp = {pp}",
            hint="Use tensor parallelism.",
        )
    config_path = heads / "config.json"
    if not config_path.is_file():
        raise WorkerError(
            "the folder of heads has no config.json",
            code="bad-heads",
            cause=str(heads),
            hint="Name the folder as it was downloaded or trained, in speculative.draft.",
        )
    config = read_json(config_path)
    width = config.get("hidden_size")
    if mode == "eagle" and isinstance(width, int) and width != found.hidden_size:
        raise WorkerError(
            "the heads were trained for another model",
            code="bad-heads",
            cause=f"hidden_size {width} in {config_path}, the model's is {found.hidden_size}",
            hint="Choose heads for this model.",
        )
    tokens, count = _whole(given, "draft_tokens", 63), given.get("heads")
    out = Path(spec.output)
    return Job(mode, model, heads, out, found, config, dtype, tp, pp, tokens, count if isinstance(count, int) else None)


def _whole(given: Mapping[str, Any], key: str, default: int) -> int:
    value = given.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise WorkerError(
            f"{key} is not a whole number from 1 on", code="bad-setting", cause=f"{key} = {str(value)[:40]}"
        )
    return value


def _explained(status: int, log_from: int) -> WorkerError:
    """The script's failure in words, by what it printed since `log_from` where the raw log is a file."""
    lines: list[str] = []
    try:
        with Path("/proc/self/fd/2").open("rb") as log:
            log.seek(log_from)
            lines = log.read(1 << 20).decode("utf-8", "replace").splitlines()
    except OSError:
        pass
    failure = explain_failure(lines)
    if failure.code != "failed":
        return WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return WorkerError(
        "TensorRT-LLM's converter of heads failed",
        code="convert-failed",
        cause=last[:300] or f"exit status {status}",
        hint="The job's log has all that it printed; heads of another model or layout end here.",
    )


def _finish(job: Job, channel: Channel) -> dict[str, Any]:
    """Check what was written, and put the tokenizer beside it."""
    ranks = job.tp * job.pp
    files = [job.out / f"rank{rank}.safetensors" for rank in range(ranks)]
    absent = [each.name for each in (job.out / "config.json", *files) if not each.is_file()]
    if absent:
        raise WorkerError(
            "the checkpoint is not complete",
            code="bad-checkpoint",
            cause=f"not written: {', '.join(absent)}",
            hint="Run the step again; a full disk leaves such folders.",
        )
    config = read_json(job.out / "config.json")
    room = config.get("max_draft_len")
    if not isinstance(room, int) or room < job.draft_tokens:
        raise WorkerError(
            "the checkpoint has room for fewer guesses than were asked for",
            code="bad-checkpoint",
            cause=f"max_draft_len {room} in config.json, asked for {job.draft_tokens}",
        )
    try:
        tensors = sum(len(read_header(each)) for each in files)
    except BadInputError as error:
        raise WorkerError(
            "a rank file is not whole", code="bad-checkpoint", cause=error.evidence or error.what, hint="Run it again."
        ) from error
    copied = [name for name in (*TOKENIZER_FILES, "generation_config.json") if (job.model / name).is_file()]
    for name in copied:
        (job.out / name).write_bytes((job.model / name).read_bytes())
    return {
        "converter": "tensorrt_llm examples",
        "mode": job.mode,
        "dtype": job.dtype,
        "tp": job.tp,
        "pp": job.pp,
        "ranks": ranks,
        "max_draft_len": room,
        "tensors": tensors,
        "bytes": announce(channel, "checkpoint", job.out),
        "weight_bytes": sum(each.stat().st_size for each in files),
        "companions": copied,
    }


if __name__ == "__main__":
    run_worker("trtllm.heads", work, packages=PACKAGES)
