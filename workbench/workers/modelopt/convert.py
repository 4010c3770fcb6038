"""Worker `modelopt.convert`: Hugging Face folder -> TensorRT-LLM checkpoint at full precision, by ModelOpt's exporter.

Weight-only INT8 and INT4 go this way too: TensorRT-LLM rounds the weights when it builds, the checkpoint says so.
"""

from __future__ import annotations

from typing import Any

from workbench.workers.modelopt.checkpoint import finish
from workbench.workers.modelopt.common import (
    PACKAGES,
    PLAIN,
    Timer,
    export,
    peaks,
    prepare,
    quiet,
)
from workbench.workers.modelopt.load import load_model, source_config
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker

PHASES = ("check", "load", "export", "complete")


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with config.json, a rank{N}.safetensors for each of tp x pp ranks, and the tokenizer of
    `inputs.model`.

    Settings: `precision` ("bf16", "fp16", "int8", "int4"; the last two weight-only), `dtype` ("auto", "bf16",
    "fp16"), `tp`, `pp`, `device` ("cpu", "cuda"), `trust_remote_code`.
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-model`, `bad-parallel`, `not-exported`,
    `unsupported`, `not-expressible`, `already-quantized`, `import-failed`, `source-failed`, `export-failed`,
    `bad-weights`, `bad-checkpoint`.
    """
    timer = Timer(channel, PHASES)
    timer.enter("check")
    job = prepare(spec, PLAIN)
    if job.kv_cache.value in ("fp8", "int8"):
        raise WorkerError(
            "the scales of a quantized KV cache need calibration, which convert does not do",
            code="bad-setting",
            cause=f"kv_cache = {job.kv_cache.value}",
            hint="Use the quantize step.",
        )
    quiet(job.out)
    timer.enter("load")
    model = load_model(job, channel)
    source = source_config(model)
    timer.enter("export")
    export(model, job, channel)
    timer.enter("complete")
    result = finish(job, source, channel)
    timer.stop()
    return (
        result | {"phase_seconds": timer.seconds, "seconds": round(sum(timer.seconds.values()), 2)} | peaks(job.device)
    )


if __name__ == "__main__":
    run_worker("modelopt.convert", work, packages=PACKAGES)
