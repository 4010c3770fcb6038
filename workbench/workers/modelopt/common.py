"""What the ModelOpt workers share: checks before anything loads, and the export to a TensorRT-LLM checkpoint.

ModelOpt 0.37 with transformers 4.57 (the pins of TensorRT-LLM 1.2) and today's ModelOpt with transformers 5 both work;
where they differ is handled here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.model import TOKENIZER_FILES, ModelSpec, read_model
from workbench.core.precision import KvPrecision, Precision
from workbench.core.trtllm.config import FAMILIES, EngineFamily, block_size, check_parallel, family_of_architecture
from workbench.workers.common import explain_import, first_line, input_folder, quiet_environment
from workbench.workers.modelopt.experts import linear_routers
from workbench.workers.modelopt.write import write_rank
from workbench.workers.protocol import Channel, StepSpec, WorkerError

PACKAGES = ("nvidia-modelopt", "transformers", "torch", "safetensors", "tensorrt_llm")
DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
WEIGHT_ONLY = {Precision.INT8: "W8A16", Precision.INT4: "W4A16"}
"""Kept at full precision in the checkpoint: TensorRT-LLM's builder rounds the weights by this algorithm."""
PLAIN = frozenset([Precision.FP16, Precision.BF16, Precision.INT8, Precision.INT4])
"""Precisions whose weights ModelOpt only copies."""
COMPANIONS = (*TOKENIZER_FILES, "generation_config.json")
SCRATCH = ".scratch"
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Job:
    """A step's settings, checked against the model folder; nothing is loaded yet."""

    model: Path
    out: Path
    spec: ModelSpec
    family: EngineFamily
    precision: Precision
    kv_cache: KvPrecision
    dtype: str
    """Of what is not quantized: `fp16` or `bf16`."""
    tp: int
    pp: int
    block: int | None
    block_why: str
    device: str
    trust_remote_code: bool
    remarks: tuple[str, ...]

    @property
    def ranks(self) -> int:
        return self.tp * self.pp


@dataclass
class Timer:
    """Seconds by phase, and the phase messages that go with them."""

    channel: Channel
    names: tuple[str, ...]
    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    _now: str = ""
    _since: float = 0.0

    def enter(self, name: str) -> None:
        self.stop()
        self.channel.phase(name, self.names.index(name) + 1, len(self.names))
        self._now, self._since = name, time.monotonic()

    def stop(self) -> None:
        if self._now:
            self.seconds[self._now] = round(time.monotonic() - self._since, 2)
            self._now = ""


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Turn core's BadInputError into the worker's error."""
    try:
        yield
    except BadInputError as error:
        raise WorkerError(error.what, code=error.failure.code, cause=error.evidence, hint=error.fix) from error


def prepare(spec: StepSpec, allowed: frozenset[Precision]) -> Job:
    """Settings checked against the model's headers and config alone.

    Raises WorkerError: `missing-input`, `bad-setting`, `bad-model`, `bad-parallel`, `bad-group-size`, `not-exported`,
    `already-quantized`.
    """
    given = spec.settings
    folder = input_folder(spec, "model")
    trust = bool(given.get("trust_remote_code", False))
    precision = Precision(_one_of(given, "precision", tuple(sorted(each.value for each in allowed)), "bf16"))
    kv_cache = KvPrecision(_one_of(given, "kv_cache", ("auto", "fp16", "bf16", "fp8", "int8"), "auto"))
    device = _one_of(given, "device", ("cpu", "cuda"), "cpu")
    tp, pp = _whole(given, "tp", 1), _whole(given, "pp", 1)
    with in_words():
        model = read_model(folder, require_tokenizer=False, trust_remote_code=trust)
        if model.quantization is not None:
            raise BadInputError(
                "the model folder is quantized already, and ModelOpt quantizes and exports full precision alone",
                evidence=f"quantization_config in {folder.name}/config.json",
                fix="Take the model's full-precision folder; GPTQ folders go through TensorRT-LLM's own converter.",
                code="already-quantized",
            )
        family = family_of_architecture(model.architecture)
        remarks = check_parallel(model, tp, pp)
        block, why = block_size(precision, model.input_channels, tp, given.get("group_size") or "auto")
        if model.experts and precision in (Precision.FP8_ROWWISE, Precision.INT8_SQ):
            raise BadInputError(
                f"ModelOpt's exporter cannot write {precision.title} for a model with experts",
                evidence=f"{model.architecture}, {model.experts.count} experts, precision = {precision.value}",
                fix="Use fp8, int4_awq, nvfp4 or int8.",
                code="unsupported",
            )
    awq = precision in (Precision.INT4_AWQ, Precision.W4A8_AWQ)
    if awq and family.engine == "gemma" and model.tied_embeddings and model.vocab_size % 64:
        raise WorkerError(
            "this model's vocabulary does not fit AWQ",
            code="bad-setting",
            cause=f"{model.vocab_size:,} tokens are no multiple of 64, and shared embeddings cannot be padded",
            hint="Choose fp8, int8_sq or int8.",
        )
    dtype, remark = _dtype(_one_of(given, "dtype", ("auto", *DTYPES), "auto"), precision, model.dtype)
    return Job(
        model=folder,
        out=Path(spec.output),
        spec=model,
        family=family,
        precision=precision,
        kv_cache=kv_cache,
        dtype=dtype,
        tp=tp,
        pp=pp,
        block=block,
        block_why=why,
        device=device,
        trust_remote_code=trust,
        remarks=(*remarks, *([remark] if remark else [])),
    )


def _dtype(wanted: str, precision: Precision, stored: str) -> tuple[str, str]:
    """(dtype of what stays unquantized, a remark or "")."""
    if precision in (Precision.FP16, Precision.BF16):
        if wanted not in ("auto", precision.value):
            raise WorkerError(
                f"precision {precision.value} and dtype {wanted} disagree",
                code="bad-setting",
                cause=f"precision = {precision.value}, dtype = {wanted}",
                hint='Set dtype = "auto".',
            )
        wanted = precision.value
    if wanted == "fp32":
        raise WorkerError(
            "ModelOpt's exporter writes FP16 and BF16 alone",
            code="bad-setting",
            cause="dtype = fp32",
            hint="Use bf16 or fp16.",
        )
    if wanted == "auto":
        if stored in ("fp16", "bf16"):
            return stored, ""
        return "fp16", f"the model is stored in {stored.upper()}: FP16 is taken, as TensorRT-LLM does"
    if wanted == "fp16" and stored == "bf16":
        return wanted, "the model was made in BF16; in FP16 values above 65,504 overflow"
    return wanted, ""


def _one_of(given: dict[str, Any], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = str(given.get(key) or default)
    if value not in allowed:
        raise WorkerError(
            f"{key} cannot be {value[:40]} here",
            code="bad-setting",
            cause=f"{key} = {value[:80]}",
            hint=f"Use one of: {', '.join(allowed)}.",
        )
    return value


def _whole(given: dict[str, Any], key: str, default: int) -> int:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise WorkerError(
            f"{key} is not a whole number from 1 on", code="bad-setting", cause=f"{key} = {str(value)[:40]}"
        )
    return value


def quiet(out: Path) -> None:
    """As `quiet_environment`, and whatever the packages cache goes into the output's scratch folder, unless the
    environment names a place for it (TORCH_EXTENSIONS_DIR saves a minute of compiling on a GPU)."""
    quiet_environment()
    for name in ("HF_MODULES_CACHE", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "HF_DATASETS_CACHE"):
        os.environ.setdefault(name, str(out / SCRATCH / name.lower()))
    warnings.filterwarnings("ignore", message=".*incompatible with nvidia-modelopt.*")


def tidy(out: Path) -> None:
    """Remove what `quiet` let the packages write."""
    shutil.rmtree(out / SCRATCH, ignore_errors=True)


def export(model: Any, job: Job, channel: Channel) -> None:
    """Write config.json and the rank files into `job.out`. Raises WorkerError `export-failed`."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from modelopt.torch.export import export_tensorrt_llm_checkpoint, model_config_export
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error
    if job.family.decoder == "phi3" and job.tp > 1:
        _order_phi3_rows(model, job.tp)
    linear_routers(model)
    with _hooks(model_config_export, job, channel), torch.inference_mode():
        try:
            export_tensorrt_llm_checkpoint(
                model,
                job.family.decoder,
                getattr(torch, DTYPES[job.dtype]),
                export_dir=str(job.out),
                inference_tensor_parallel=job.tp,
                inference_pipeline_parallel=job.pp,
            )
        except (MemoryError, WorkerError):
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            raise _export_failed(error) from error
        except Exception as error:
            raise _export_failed(error) from error


def _export_failed(error: Exception) -> WorkerError:
    return WorkerError(
        "ModelOpt could not export the model as a TensorRT-LLM checkpoint",
        code="export-failed",
        cause=where(error),
        hint="Architectures it exports: " + ", ".join(name.removesuffix("ForCausalLM") for name in FAMILIES) + ". "
        "The job's log has more.",
    )


def where(error: BaseException) -> str:
    """An exception in a line: its text, or the place it came from when it has none (a bare assertion)."""
    if str(error).strip():
        return f"{type(error).__name__}: {first_line(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    place = (
        f" in {'/'.join(Path(frames[-1].filename).parts[-3:])}, {frames[-1].name}: {frames[-1].line}" if frames else ""
    )
    return f"{type(error).__name__}{place}"[:500]


@contextlib.contextmanager
def _hooks(exporter: Any, job: Job, channel: Channel) -> Iterator[None]:
    """Three functions of the exporter's module wrapped while it runs.

    Its way of writing config.json without TensorRT-LLM knows a few decoder types by name and refuses the others, after
    their weights are done; core/trtllm_config.py writes the fields, so any type's frame will do. The other two hold a
    whole rank converted in memory: what they do is done tensor by tensor when the rank's file is written, which is
    also the only progress there is to tell.
    """
    write_config, postprocess, save_file = (
        exporter.convert_to_tensorrt_llm_config,
        exporter.postprocess_tensors,
        exporter.save_file,
    )
    saved = 0
    embeddings: dict[int, Any] = {}
    how: dict[str, Any] = {}

    def config_of(model_config: Any, *rest: Any, **named: Any) -> Any:
        kinds = [layer.decoder_type for layer in model_config.layers]
        for layer in model_config.layers:
            layer.decoder_type = "llama"
        try:
            return write_config(model_config, *rest, **named)
        finally:
            for layer, kind in zip(model_config.layers, kinds, strict=True):
                layer.decoder_type = kind

    def later(weights: dict[str, Any], **named: Any) -> None:
        how.update(named)

    def convert(name: str, tensor: Any) -> Any:
        one = {name: tensor}
        postprocess(one, **how)
        return one[name]

    def save(tensors: dict[str, Any], path: Any) -> None:
        nonlocal saved
        # The order of saving is not that of the ranks: all stages of one shard come first.
        stage, shard = divmod(int(Path(path).stem.removeprefix("rank")), job.tp)
        if stage == 0:
            embeddings[shard] = tensors["transformer.vocab_embedding.weight"]
        if job.pp > 1 and stage == job.pp - 1 and HEAD not in tensors:
            # Shared embeddings (Gemma): the exporter leaves the output layer out also where the stage that needs it
            # does not hold the embedding, and the builder then ends with a missing tensor.
            tensors[HEAD] = embeddings[shard]
        write_rank(tensors, Path(path), convert)
        saved += 1
        channel.progress(saved, job.ranks, "ranks")

    exporter.convert_to_tensorrt_llm_config, exporter.postprocess_tensors, exporter.save_file = config_of, later, save
    _say_no_fp4_kernels()
    try:
        yield
    finally:
        exporter.convert_to_tensorrt_llm_config = write_config
        exporter.postprocess_tensors, exporter.save_file = postprocess, save_file


def _say_no_fp4_kernels() -> None:
    """Without a GPU: ModelOpt 0.37 asks for one's compute capability before it looks whether there is one."""
    import torch
    from modelopt.torch.quantization.qtensor import nvfp4_tensor

    if not torch.cuda.is_available() and hasattr(nvfp4_tensor, "fp4_compatible"):
        nvfp4_tensor.fp4_compatible = lambda: False


def _order_phi3_rows(model: Any, tp: int) -> None:
    """Put the rows of each fused gate_up projection in the order that makes the exporter's cut the engine's.

    The engine's class wants [up; gate] on every GPU. The exporter swaps the halves of the whole projection and then
    cuts it in `tp` parts, so that one GPU would get up alone and another gate alone, with no word of it.
    """
    import torch

    for module in model.modules():
        linear = getattr(module, "gate_up_proj", None)
        if linear is None or not hasattr(linear, "weight"):
            continue
        rows = linear.weight.shape[0]
        gate, up = torch.arange(rows // 2).chunk(tp), torch.arange(rows // 2, rows).chunk(tp)
        wanted = torch.cat([part for pair in zip(up, gate, strict=True) for part in pair])
        order = torch.cat([wanted[rows // 2 :], wanted[: rows // 2]])  # the exporter swaps these halves back
        linear.weight.data = linear.weight.data[order.to(linear.weight.device)].contiguous()
        for quantizer in _quantizers(getattr(linear, "weight_quantizer", None)):
            amax = getattr(quantizer, "_amax", None)
            if amax is not None and amax.numel() > 1:
                by_row = amax.reshape(rows, -1)[order.to(amax.device)]
                quantizer._amax.data = by_row.reshape(amax.shape).contiguous()


def _quantizers(quantizer: Any) -> list[Any]:
    """A quantizer, or the several of a sequential one (W4A8)."""
    if quantizer is None:
        return []
    return list(quantizer) if hasattr(quantizer, "__iter__") else [quantizer]


def copy_companions(source: Path, target: Path) -> list[str]:
    """Copy tokenizer, chat template and generation settings; their names."""
    names = [
        path.name
        for path in sorted(source.iterdir())
        if path.is_file() and (path.name in COMPANIONS or path.name.endswith((".tiktoken", ".bpe.model")))
    ]
    for name in names:
        shutil.copyfile(source / name, target / name)
    return names


def peaks(device: str) -> dict[str, int]:
    """Peak memory of this process so far, in bytes: host always, GPU when one is used."""
    found = {"host_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device == "cuda":
        import torch

        found["gpu_peak_bytes"] = sum(
            torch.cuda.max_memory_reserved(index) for index in range(torch.cuda.device_count())
        )
    return found
