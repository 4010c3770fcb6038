"""Worker `trtllm.convert`: Hugging Face folder -> checkpoint by TensorRT-LLM's own converter, one call a rank.

For environments that hold tensorrt_llm. It also reads GPTQ folders, and architectures that ModelOpt's exporter does
not know. What its config.json says is held against the model's: TensorRT-LLM 1.2 comes with transformers 4.57, which
does not see the rope table that transformers 5 writes, and takes a default without a word.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.intake.safetensors_header import read_header
from workbench.core.model import TOKENIZER_FILES, ModelSpec, read_model
from workbench.core.precision import Precision
from workbench.core.trtllm.config import FAMILIES, complete
from workbench.core.trtllm.log import explain_failure, split_lines
from workbench.core.trtllm.parallel import check_parallel
from workbench.workers.common import announce, first_line, input_folder, quiet_environment, read_json, write_json
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.trtllm.common import (
    HANG_SECONDS,
    PACKAGES,
    hang_watch,
    installed_version,
    refuse_newer,
    without_source_lines,
)
from workbench.workers.trtllm.engine import raw_log_lines

PHASES = ("check", "import", "convert", "complete")
PRECISIONS = (Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4, Precision.INT4_GPTQ)
WEIGHT_ONLY = {Precision.INT8: "W8A16", Precision.INT4: "W4A16"}
"""Converted at 16 bits and rounded by the builder, as with ModelOpt's checkpoints: so they can be verified."""
DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
OLD_CONVERTER = ("ExaoneForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM")
"""Architectures that need TensorRT-LLM's converter of before the unified one."""
UNQUANTIZED = ("*lm_head", "*router", "*vocab_embedding", "*position_embedding", "*block_embedding",
               "*shared_expert_gate")  # fmt: skip
COMPARED = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_size",
    "vocab_size", "max_position_embeddings", "norm_epsilon", "rotary_base", "rotary_scaling",
    "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "sliding_window",
    "rope_local_base_freq", "original_max_position_embeddings", "longrope_scaling_short_factors",
    "longrope_scaling_long_factors", "runtime_defaults",
)  # fmt: skip
"""Fields of config.json that the source model's config decides, whoever converts."""


@dataclass(frozen=True)
class Job:
    """A step's settings, checked against the folder's headers; nothing is loaded yet."""

    model: Path
    out: Path
    spec: ModelSpec
    source: dict[str, Any]
    """The folder's config.json."""
    precision: Precision
    dtype: str
    tp: int
    pp: int
    trust_remote_code: bool
    remarks: tuple[str, ...]

    @property
    def ranks(self) -> int:
        return self.tp * self.pp


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with config.json, a rank{N}.safetensors for each of tp x pp ranks, and the tokenizer of
    `inputs.model`.

    Settings: `precision` ("bf16", "fp16"; "int8", "int4" weight-only; "int4_gptq" from a GPTQ folder), `dtype` ("auto",
    "bf16", "fp16"), `tp`, `pp`, `trust_remote_code`, `why` (said in the log: why this converter), `hang_seconds`
    (default 300: how long the import may be silent).
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-model`, `bad-parallel`, `already-quantized`, `not-gptq`,
    `gptq-act-order`, `no-engine-runtime`, `import-failed`, `convert-failed`, `bad-checkpoint`, and codes of
    workbench.core.trtllm.failures.
    """
    began = time.monotonic()
    channel.phase("check", 1, len(PHASES))
    job = _prepare(spec)
    for text in (*([str(spec.settings["why"])] if spec.settings.get("why") else ()), *job.remarks):
        channel.log(text)
    quiet_environment()
    if job.spec.architecture in OLD_CONVERTER:
        os.environ["TRTLLM_DISABLE_UNIFIED_CONVERTER"] = "1"
    channel.phase("import", 2, len(PHASES))
    with raw_log_lines() as lines:
        # Here MPI starts, and may hang.
        with hang_watch(channel, lines, float(spec.settings.get("hang_seconds", HANG_SECONDS))):
            version = _import(lines)
        channel.phase("convert", 3, len(PHASES))
        channel.log(f"TensorRT-LLM {version}, {job.spec.architecture} in {job.dtype.upper()}, {job.ranks} rank(s)")
        seconds = _convert_ranks(job, channel, lines)
    channel.phase("complete", 4, len(PHASES))
    return _finish(job, channel) | {
        "tensorrt_llm": version,
        "rank_seconds": seconds,
        "seconds": round(time.monotonic() - began, 2),
    }


def _prepare(spec: StepSpec) -> Job:
    given = spec.settings
    folder = input_folder(spec, "model")
    trust = bool(given.get("trust_remote_code", False))
    precision = Precision(_one_of(given, "precision", tuple(each.value for each in PRECISIONS), "bf16"))
    tp, pp = _whole(given, "tp"), _whole(given, "pp")
    try:
        model = read_model(folder, require_tokenizer=False, trust_remote_code=trust)
        remarks = check_parallel(model, tp, pp)
    except BadInputError as error:
        raise WorkerError(error.what, code=error.failure.code, cause=error.evidence, hint=error.fix) from error
    source = read_json(folder / "config.json")
    _check_quantization(model, source, precision)
    stored = model.dtype if model.dtype in DTYPES else "fp16"
    dtype = _one_of(given, "dtype", ("auto", *DTYPES), "auto")
    if precision in (Precision.BF16, Precision.FP16):
        if dtype not in ("auto", precision.value):
            raise WorkerError(
                f"precision {precision.value} and dtype {dtype} disagree",
                code="bad-setting",
                cause=f"precision = {precision.value}, dtype = {dtype}",
                hint='Set dtype = "auto".',
            )
        dtype = precision.value
    elif dtype == "auto":
        dtype = stored
    return Job(folder, Path(spec.output), model, source, precision, dtype, tp, pp, trust, tuple(remarks))


def _check_quantization(model: ModelSpec, source: Mapping[str, Any], precision: Precision) -> None:
    """GPTQ folders for `int4_gptq`, full precision for all else. Raises WorkerError."""
    own = model.quantization
    if precision is not Precision.INT4_GPTQ:
        if own is not None:
            gptq = own.method == "gptq"
            raise WorkerError(
                f"the model folder is quantized already ({own.method}); {precision.value} starts from full precision",
                code="already-quantized",
                cause=f"quantization_config in {model.path.name}/config.json",
                hint='Set precision.weights = "int4_gptq".' if gptq else "Use the unquantized model folder.",
            )
        return
    if own is None or own.method != "gptq" or own.bits != 4:
        found = "full precision" if own is None else f"{own.method}, {own.bits} bits"
        raise WorkerError(
            "int4_gptq wants a folder that GPTQ has quantized to 4 bits",
            code="not-gptq",
            cause=f"{model.path.name}: {found}",
            hint="Give such a folder, or choose int4_awq, which is made here.",
        )
    table = source.get("quantization_config") or {}
    if table.get("desc_act"):
        raise WorkerError(
            "the GPTQ folder was quantized with act-order (desc_act), which TensorRT-LLM cannot read",
            code="gptq-act-order",
            cause=f"desc_act = true in {model.path.name}/config.json",
            hint="Quantize again without desc_act, or start from the unquantized model.",
        )
    if own.group_size is None:
        raise WorkerError(
            "the GPTQ folder has one scale a channel, and TensorRT-LLM's kernels want groups",
            code="not-gptq",
            cause=f"group_size = {table.get('group_size')} in {model.path.name}/config.json",
            hint="Quantize again with a group size of 128 or 64.",
        )


def _one_of(given: Mapping[str, Any], key: str, allowed: Sequence[str], default: str) -> str:
    value = str(given.get(key) or default)
    if value not in allowed:
        raise WorkerError(
            f"{key} cannot be {value[:40]} with TensorRT-LLM's own converter",
            code="bad-setting",
            cause=f"{key} = {value[:80]}",
            hint=f"Use one of: {', '.join(allowed)}.",
        )
    return value


def _whole(given: Mapping[str, Any], key: str) -> int:
    value = given.get(key, 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise WorkerError(
            f"{key} is not a whole number from 1 on", code="bad-setting", cause=f"{key} = {str(value)[:40]}"
        )
    return value


def _import(lines: Any) -> str:
    """Import what converts; the version. Raises WorkerError `no-engine-runtime`, `import-failed` or the known cause."""
    if not installed_version():
        raise WorkerError(
            "TensorRT-LLM is not installed in this environment",
            code="import-failed",
            cause=f"no distribution tensorrt_llm for {sys.executable}",
            hint="Set model.converter to modelopt, or choose another environment; `workbench doctor` lists them.",
        )
    refuse_newer("converts no checkpoints for engines")
    try:
        import tensorrt_llm
        from tensorrt_llm.models.automodel import AutoModelForCausalLM  # noqa: F401  (where a wrong torch shows)
    except (ImportError, OSError, RuntimeError, SystemError) as error:
        raise _explained("TensorRT-LLM cannot be imported", "import-failed", error, lines()) from error
    return str(tensorrt_llm.__version__)


def _convert_ranks(job: Job, channel: Channel, lines: Any) -> list[float]:
    """Each rank read, converted and saved by itself; seconds by rank."""
    seconds = []
    for rank in range(job.ranks):
        began = time.monotonic()
        try:
            model = _load_rank(job, rank)
            read = time.monotonic()
            channel.progress(10 * rank + 8, 10 * job.ranks, "tenths of a rank")
            model.save_checkpoint(str(job.out), save_config=rank == 0)
        except (MemoryError, WorkerError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise _explained(f"TensorRT-LLM cannot convert rank {rank}", "convert-failed", error, lines()) from error
        del model
        gc.collect()
        seconds.append(round(time.monotonic() - began, 2))
        channel.progress(10 * (rank + 1), 10 * job.ranks, "tenths of a rank")
        channel.log(
            f"rank {rank}: {read - began:.1f} s to read and convert, {seconds[-1] - (read - began):.1f} s to save"
        )
    return seconds


def _load_rank(job: Job, rank: int) -> Any:
    """The rank's model of TensorRT-LLM. Remote code needs the class itself: the automatic one trusts none."""
    from tensorrt_llm.mapping import Mapping as RankMapping
    from tensorrt_llm.models.automodel import AutoModelForCausalLM
    from tensorrt_llm.models.modeling_utils import QuantConfig
    from tensorrt_llm.quantization import QuantAlgo

    more: dict[str, Any] = {}
    quant_config = None
    if job.precision is Precision.INT4_GPTQ:
        assert job.spec.quantization is not None
        quant_config = QuantConfig(
            quant_algo=QuantAlgo.W4A16_GPTQ, group_size=job.spec.quantization.group_size, has_zero_point=True
        )
        if FAMILIES.get(job.spec.architecture) is None or FAMILIES[job.spec.architecture].engine == "llama":
            more["quant_ckpt_path"] = str(job.model)  # the Llama class alone takes it; others read the folder itself
    kind = AutoModelForCausalLM
    if job.trust_remote_code:
        kind = AutoModelForCausalLM.get_trtllm_model_class(str(job.model), trust_remote_code=True)
        more["trust_remote_code"] = True
    mapping = RankMapping(
        world_size=job.ranks, rank=rank, tp_size=job.tp, pp_size=job.pp, moe_tp_size=job.tp, moe_ep_size=1
    )
    return kind.from_hugging_face(
        str(job.model), dtype=DTYPES[job.dtype], mapping=mapping, quant_config=quant_config, **more
    )


def _explained(what: str, code: str, error: BaseException, lines: list[str]) -> WorkerError:
    """The failure in words: the known cause, else the error itself."""
    text = f"{type(error).__name__}: {error}"
    failure = explain_failure([*without_source_lines(lines), *split_lines(text)])
    if failure.code != "failed":
        return WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)
    return WorkerError(
        what,
        code=code,
        cause=f"{type(error).__name__}: {first_line(error)}",
        hint="The job's log has all that it printed. For a model that ModelOpt knows, model.converter = modelopt is "
        "the other way.",
    )


def _finish(job: Job, channel: Channel) -> dict[str, Any]:
    """Check what was written, make config.json say what the model says, copy the tokenizer."""
    path = job.out / "config.json"
    files = [job.out / f"rank{rank}.safetensors" for rank in range(job.ranks)]
    absent = [each.name for each in (path, *files) if not each.is_file()]
    if absent:
        raise WorkerError(
            "the checkpoint is not complete",
            code="bad-checkpoint",
            cause=f"not written: {', '.join(absent)}",
            hint="Run the step again; a full disk leaves such folders.",
        )
    tensors = 0
    for each in files:
        try:
            tensors += len(read_header(each))
        except BadInputError as error:
            raise WorkerError(
                f"{each.name} is not a whole safetensors file",
                code="bad-checkpoint",
                cause=error.evidence or error.what,
                hint="Run the step again; a full disk leaves such files.",
            ) from error
    config = read_json(path)
    corrected = _correct(config, job)
    if job.precision in WEIGHT_ONLY:
        table = dict(config.get("quantization") or {})
        # An empty list would have the builder round the output layer and the embedding too.
        config["quantization"] = table | {
            "quant_algo": WEIGHT_ONLY[job.precision],
            "exclude_modules": list(UNQUANTIZED),
        }
    write_json(path, config)
    for text in corrected:
        channel.log(f"config.json corrected: {text}", "warning")
    names = [*TOKENIZER_FILES, "generation_config.json"]
    copied = [
        source.name
        for source in sorted(job.model.iterdir())
        if source.is_file() and (source.name in names or source.name.endswith((".tiktoken", ".bpe.model")))
    ]
    for name in copied:
        (job.out / name).write_bytes((job.model / name).read_bytes())
    quantization = config.get("quantization") or {}
    return {
        "converter": "tensorrt_llm",
        "precision": job.precision.value,
        "dtype": job.dtype,
        "quant_algo": quantization.get("quant_algo"),
        "kv_cache_quant_algo": quantization.get("kv_cache_quant_algo"),
        "group_size": job.spec.quantization.group_size if job.spec.quantization else None,
        "tp": job.tp,
        "pp": job.pp,
        "ranks": job.ranks,
        "tensors": tensors,
        "bytes": announce(channel, "checkpoint", job.out),
        "weight_bytes": sum(each.stat().st_size for each in files),
        "source_weight_bytes": job.spec.weight_bytes,
        "config_corrected": corrected,
        "remarks": list(job.remarks),
        "companions": copied,
    }


def _correct(config: dict[str, Any], job: Job) -> list[str]:
    """Put the source's values where config.json contradicts them; what was changed, in words.

    For the families whose fields are known here; others are taken as TensorRT-LLM wrote them.
    """
    if job.spec.architecture not in FAMILIES:
        return []
    try:
        found = complete(config, job.source)
    except BadInputError:
        return []  # a field that this converter knows how to express and we do not
    wrong = [each for each in found.corrected if each.field in COMPARED]
    absent = {name: value for name, value in found.added.items() if name in COMPARED and value is not None}
    config |= {each.field: each.source for each in wrong} | absent
    return [*map(str, wrong), *(f"{name}: not there -> {value}" for name, value in absent.items())]


if __name__ == "__main__":
    run_worker("trtllm.convert", work, packages=PACKAGES)
