"""The source model as ModelOpt gets it: loaded without a second copy, with the rope values its config.json states.

transformers 4.57 (the pin of TensorRT-LLM 1.2) does not see the `rope_parameters` table that transformers 5 writes: it
takes a base of 10,000 and no scaling, without a word, and calibration would run on a model that answers nonsense.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.workers.common import explain_import, first_line, read_json
from workbench.workers.modelopt.common import DTYPES, PLAIN, Job
from workbench.workers.modelopt.experts import list_experts
from workbench.workers.protocol import Channel, WorkerError


def load_model(job: Job, channel: Channel) -> Any:
    """The model on `job.device` in evaluation mode, in `job.dtype` where it will be run; where its weights are only
    copied, in the dtype they are stored in, since the export converts tensor by tensor. Raises WorkerError."""
    try:
        import torch
        import transformers
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    if job.device == "cuda" and not torch.cuda.is_available():
        raise WorkerError(
            "there is no CUDA GPU for ModelOpt here",
            code="no-gpu",
            cause=f"torch {torch.__version__} reports none",
            hint='Use device = "cpu": slower, with the same result.',
        )
    copied = job.precision in PLAIN and job.kv_cache.value not in ("fp8", "int8") and job.spec.dtype in DTYPES
    dtype = job.spec.dtype if copied else job.dtype
    options: dict[str, Any] = {"dtype": getattr(torch, DTYPES[dtype])}
    if job.device == "cuda" and importlib.util.find_spec("accelerate") is not None:
        options["device_map"] = "auto"
    try:
        config = readable_config(job.model, job.trust_remote_code)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(job.model), config=config, local_files_only=True, trust_remote_code=job.trust_remote_code, **options
        )
    except MemoryError:
        raise
    except Exception as error:
        raise WorkerError(
            "the source model cannot be loaded",
            code="source-failed",
            cause=f"{type(error).__name__}: {first_line(error)}",
            hint="Run `workbench check` on the folder: a cut-short weight file and a version of transformers that "
            "does not know the model both end here.",
        ) from error
    if job.device == "cuda" and "device_map" not in options:
        model = model.to("cuda")
    if list_experts(model, job.family.decoder):
        channel.log("experts, which this transformers keeps stacked, are laid out one by one for the exporter")
    channel.log(f"{job.spec.architecture}, {job.spec.parameters:,} parameters in {dtype.upper()} on {job.device}")
    return model.eval()


def readable_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """The folder's config as this transformers' own object, with the rope table it would overlook put where it looks.

    Raises what transformers raises.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=trust_remote_code
    )
    if int(transformers.__version__.split(".")[0]) >= 5:
        return config
    given = read_json(folder / "config.json")
    inner = given.get("text_config")
    text = config.get_text_config() if isinstance(inner, Mapping) else config
    for name, value in old_rope_fields(inner if isinstance(inner, Mapping) else given).items():
        setattr(text, name, value)
    return config


def old_rope_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_theta`, `rope_scaling` and the like of transformers 4 for a config.json with transformers 5's
    `rope_parameters`; {} when it has none or says both."""
    table = config.get("rope_parameters")
    if not isinstance(table, Mapping) or config.get("rope_theta") is not None:
        return {}
    full, local = table, None
    if isinstance(table.get("full_attention"), Mapping):
        full, local = table["full_attention"], table.get("sliding_attention")
    fields: dict[str, Any] = {}
    if full.get("rope_theta") is not None:
        fields["rope_theta"] = full["rope_theta"]
    if full.get("partial_rotary_factor") is not None:
        fields["partial_rotary_factor"] = full["partial_rotary_factor"]
    kind = full.get("rope_type") or full.get("type") or "default"
    apart = ("rope_theta", "partial_rotary_factor")
    fields["rope_scaling"] = None if kind == "default" else {k: v for k, v in full.items() if k not in apart}
    if isinstance(local, Mapping) and local.get("rope_theta") is not None:
        fields["rope_local_base_freq"] = local["rope_theta"]
    return fields


def source_config(model: Any) -> dict[str, Any]:
    """The model's config with all defaults of its class; taken before the export, which writes into it."""
    config = copy.deepcopy(model.config.to_dict())
    config.setdefault("architectures", [type(model).__name__])
    return dict(config)
