"""Worker `openvino.verify`: does the engine say what its source model says, and does its pipeline answer?

Two looks. Quality: the engine's IR on the source model's own greedy answers, logits against logits. Service: the
pipeline that will serve the engine loads, answers in the chat template, and is timed.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

from workbench.workers.common import first_line, input_folder, quiet_environment, read_json
from workbench.workers.models.judging import floors, judge, read_prompts, refuse_blank
from workbench.workers.models.quality import Comparison
from workbench.workers.models.source import Baseline, SourceModel
from workbench.workers.openvino.common import MODEL_XML, PACKAGES, read_ir
from workbench.workers.openvino.pipeline import (
    KV_BLOCK_TOKENS,
    TimedAnswer,
    chat_ids,
    load_pipeline,
    standing_in,
    timed_answer,
)
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker

PHASES = ("source", "engine", "pipeline", "judge")
SPEED_TOKENS = 64


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Compare `inputs.engine` with `inputs.model`; makes no folder.

    Input `prompts`: a prompt file. Settings: `prompts` (a list of texts instead), `max_new_tokens` a prompt (default
    32), `precision` (its floors are the default), `min_agreement` (0 to 1), `max_kl` (nats), `trust_remote_code`.
    Raises WorkerError `verify-failed` with the figures when the engine is below a floor or says NaN; else
    `missing-input`, `bad-setting`, `bad-ir`, `source-failed`, `engine-load-failed`, `no-answer`, `import-failed`.
    """
    engine, model = input_folder(spec, "engine"), input_folder(spec, "model")
    prompts = read_prompts(spec.settings.get("prompts") or spec.inputs.get("prompts"))
    max_new_tokens = int(spec.settings.get("max_new_tokens", 32))
    min_agreement, max_kl = floors(spec.settings)
    facts = read_json(engine / "engine.json")
    device = str(facts.get("device", "CPU"))
    quiet_environment()
    started = time.monotonic()

    channel.phase("source", 1, len(PHASES))
    source = SourceModel(model, bool(spec.settings.get("trust_remote_code", False)))
    compute = source.compute
    if compute != "float32":
        channel.log("the source model computes in BF16: float32 does not fit into free memory", "warning")
    baselines = source.baselines(prompts, max_new_tokens, lambda done: channel.progress(done, len(prompts), "prompts"))
    del source
    gc.collect()

    channel.phase("engine", 2, len(PHASES))
    comparison, engine_compute = _compare(engine, device, dict(facts.get("properties") or {}), baselines, channel)
    channel.log(
        f"agreement {comparison.agreement:.4f}, KL {comparison.kl_nats:.5f} nats over {comparison.positions} positions"
    )

    channel.phase("pipeline", 3, len(PHASES))
    answer, speed, load_seconds = _serve(engine, device, facts, prompts[0][1])
    channel.log(f"{prompts[0][1]} -> {answer.text.strip()[:300]}")

    channel.phase("judge", 4, len(PHASES))
    judge(
        comparison,
        min_agreement,
        max_kl,
        model="its source model",
        nan_hint="FP16 overflow gives this: see whether the model was trained in BF16 and keep INT8 or FP32.",
        far_hint="Choose a milder precision, a smaller group size or AWQ, or lower verify.min_agreement and raise "
        "verify.max_kl in the preset if this loss is acceptable.",
    )
    own = baselines[0].ids[baselines[0].prompt_tokens :]
    if blank := refuse_blank(answer.text, answer.ids, own):
        channel.log(blank, "warning")
    return {
        **comparison.figures(),
        "min_agreement": min_agreement,
        "max_kl": max_kl,
        "source_compute": compute,
        "engine_compute": engine_compute,
        "question": prompts[0][1],
        "answer": answer.text.strip(),
        "ttft_ms": round(answer.ttft_ms, 2),
        "itl_ms": None if speed.itl_ms is None else round(speed.itl_ms, 3),
        "output_tok_s": None if speed.output_tok_s is None else round(speed.output_tok_s, 2),
        "speed_tokens": len(speed.ids),
        "load_seconds": round(load_seconds, 3),
        "seconds": round(time.monotonic() - started, 2),
    }


def _compare(
    engine: Path, device: str, properties: dict[str, Any], baselines: list[Baseline], channel: Channel
) -> tuple[Comparison, str | None]:
    """The comparison over all prompts, and the precision that the device computes in."""
    import numpy as np
    import openvino

    read_ir(engine)
    try:
        with standing_in(engine) as here:
            compiled = openvino.Core().compile_model(f"{here}/{MODEL_XML}", device, properties)
    except RuntimeError as error:
        raise WorkerError(
            "OpenVINO cannot compile the engine's model", code="engine-load-failed", cause=first_line(error)
        ) from error
    names = {name for port in compiled.inputs for name in port.get_names()}
    request = compiled.create_infer_request()
    comparison = Comparison()
    for done, baseline in enumerate(baselines, 1):
        # The last token is an answer only: nothing is predicted from it.
        ids = np.asarray([baseline.ids[:-1]], dtype=np.int64)
        feed = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "position_ids": np.arange(ids.shape[1], dtype=np.int64)[None, :],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        request.reset_state()
        request.infer({name: value for name, value in feed.items() if name in names})
        logits = request.get_tensor("logits").data[0, baseline.prompt_tokens - 1 :]
        if logits.shape != baseline.logits.shape:
            raise WorkerError(
                "the engine and the source model differ in vocabulary or length: they do not belong together",
                code="verify-failed",
                cause=f"logits {logits.shape} and {baseline.logits.shape}",
                hint="Give verify the model folder that the engine was made from.",
            )
        comparison.add(baseline.name, baseline.logits, logits)
        channel.progress(done, len(baselines), "prompts")
    return comparison, _compute_type(compiled)


def _compute_type(compiled: Any) -> str | None:
    try:
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    except (RuntimeError, AttributeError):
        return None


def _serve(engine: Path, device: str, facts: dict[str, Any], question: str) -> tuple[TimedAnswer, TimedAnswer, float]:
    """The pipeline's answer, a speed run of fixed length, and seconds to load; the first request after load is not
    timed, since it is slower than all others."""
    block_tokens = facts.get("kv_block_tokens") or min(KV_BLOCK_TOKENS.values())
    begin = time.monotonic()
    pipeline = load_pipeline(engine, device, 2 + 1024 // int(block_tokens), dict(facts.get("properties") or {}))
    load_seconds = time.monotonic() - begin
    ids = chat_ids(pipeline, question)
    timed_answer(pipeline, ids, 4)
    answer = timed_answer(pipeline, ids, SPEED_TOKENS)
    speed = timed_answer(pipeline, ids, SPEED_TOKENS, ignore_eos=True)
    return answer, speed, load_seconds


if __name__ == "__main__":
    run_worker("openvino.verify", work, packages=PACKAGES)
