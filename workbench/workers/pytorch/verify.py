"""Worker `pytorch.verify`: does the engine load and answer by the way that serves it, and how far is its precision from
float32, where that fits beside it?
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

from workbench.core.messages import Sampling
from workbench.workers.common import input_folder, quiet_environment
from workbench.workers.hosts.common import RequestError
from workbench.workers.models.judging import floors, judge, read_prompts
from workbench.workers.models.quality import Comparison
from workbench.workers.models.source import ROOM, SourceModel, weight_bytes
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.pytorch.common import PACKAGES, choose_device, free_bytes
from workbench.workers.pytorch.engine import Engine, load_engine
from workbench.workers.pytorch.load import HostSettings, host_settings, load_model
from workbench.workers.pytorch.reference import Reference, open_reference

PHASES = ("source", "engine", "serve", "judge")
SPEED_TOKENS = 64
_COMPARED_PARAMETERS = 3e9
"""On a CPU a larger model's float32 answers would take minutes and say little of a plain cast."""
_ANSWER_SECONDS = 300.0


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Load `inputs.engine`, let it answer, and compare its logits with the model's in float32; makes no folder.

    Input `prompts`: a prompt file. Settings: `prompts` (a list of texts instead), `max_new_tokens` a prompt (default
    32), `precision` (its floors are the default), `min_agreement` (0 to 1), `max_kl` (nats). Raises WorkerError
    `verify-failed` with the figures, else what loading raises.
    """
    engine_folder = input_folder(spec, "engine")
    prompts = read_prompts(spec.settings.get("prompts") or spec.inputs.get("prompts"))
    min_agreement, max_kl = floors(spec.settings)
    quiet_environment()
    started = time.monotonic()
    reference = open_reference(engine_folder, channel)
    settings = host_settings(reference.settings, channel)
    device = choose_device(settings.device)

    comparison, why_not = None, _why_not_compared(reference.model, device)
    if why_not:
        channel.log(f"not compared with float32: {why_not}", "warning")
    else:
        comparison = _compare(reference, settings, prompts, int(spec.settings.get("max_new_tokens", 32)), channel)
        channel.log(
            f"agreement {comparison.agreement:.4f}, KL {comparison.kl_nats:.5f} nats "
            f"over {comparison.positions} positions"
        )
    channel.phase("serve", 3, len(PHASES))
    served = _serve(reference.model, settings, prompts[0][1], channel)
    channel.log(f"{prompts[0][1]} -> {served['answer'][:300]}")
    channel.phase("judge", 4, len(PHASES))
    if comparison is not None:
        judge(
            comparison,
            min_agreement,
            max_kl,
            model="its model in float32",
            nan_hint="FP16 overflow gives this where the model was trained in BF16: choose bf16.",
            far_hint="Choose bf16 or fp32, or lower verify.min_agreement and raise verify.max_kl in the preset if this "
            "loss is acceptable.",
        )
    if not served["answer"]:
        raise WorkerError(
            "the engine's answer is empty",
            code="verify-failed",
            cause="no text in the first answer",
            hint="See whether the model folder answers elsewhere.",
        )
    compared = {} if comparison is None else {
        **comparison.figures(),
        "source_compute": "float32",
    }  # fmt: skip
    return {
        **compared,
        **({"not_compared": why_not} if why_not else {}),
        "min_agreement": min_agreement,
        "max_kl": max_kl,
        "engine_compute": str(settings.dtype),
        "question": prompts[0][1],
        **served,
        "seconds": round(time.monotonic() - started, 2),
    }


def _why_not_compared(model: Path, device: Any) -> str:
    """Why a float32 copy is too dear here; empty when it is not."""
    stored = weight_bytes(model)
    free = free_bytes(device)
    if free is not None and stored * 2 * ROOM > free:
        return f"its float32 weights take {stored * 2:,} bytes and {free:,} are free"
    if device.type == "cpu" and stored / 2 > _COMPARED_PARAMETERS:
        return "a model of this size takes minutes in float32 on a CPU"
    return ""


def _compare(
    reference: Reference, settings: HostSettings, prompts: list[tuple[str, str]], max_new_tokens: int, channel: Channel
) -> Comparison:
    """The engine's logits on float32's own answers; one model is gone before the other comes."""
    import torch

    device = choose_device(settings.device)
    channel.phase("source", 1, len(PHASES))
    source = SourceModel(reference.model, settings.trust_remote_code, "float32", device.type)
    baselines = source.baselines(prompts, max_new_tokens, lambda done: channel.progress(done, len(prompts), "prompts"))
    del source
    _free(device)
    channel.phase("engine", 2, len(PHASES))
    loaded = load_model(reference.model, settings)
    comparison = Comparison()
    for done, baseline in enumerate(baselines, 1):
        with torch.inference_mode():
            ids = torch.tensor([baseline.ids[:-1]], device=loaded.device)
            logits = loaded.model(input_ids=ids).logits[0, baseline.prompt_tokens - 1 :]
        comparison.add(baseline.name, baseline.logits, logits.float().cpu().numpy())
        channel.progress(done, len(baselines), "prompts")
    del loaded
    _free(device)
    return comparison


def _free(device: Any) -> None:
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


def _serve(model: Path, settings: HostSettings, question: str, channel: Channel) -> dict[str, Any]:
    """An answer and its speed through continuous batching, as the host gives it."""
    small = settings.model_copy(update={"max_batch_size": 2, "kv_blocks": None, "kv_cache_bytes": None})
    engine = load_engine(model, small, channel)
    try:
        ids = _question_ids(engine, question)
        _, answered = _answer(engine, "answer", ids, ends=True)
        times, tokens = _answer(engine, "speed", ids, ends=False)
        text = engine.decode(answered).strip()
        gaps = len(tokens) - 1
        itl_ms = (times[-1] - times[1]) * 1000 / gaps if gaps > 0 else None
        return {
            "answer": text,
            "ttft_ms": round((times[1] - times[0]) * 1000, 2),
            "itl_ms": None if itl_ms is None else round(itl_ms, 3),
            "output_tok_s": None if not itl_ms else round(1000 / itl_ms, 2),
            "speed_tokens": len(tokens),
            "applied": engine.applied(),
            "load_seconds": round(engine.load_seconds, 3),
        }
    finally:
        engine.manager.stop(block=True, timeout=5.0)


def _question_ids(engine: Engine, question: str) -> list[int]:
    tokenizer = engine.tokenizer
    if not tokenizer.chat_template:
        return engine.encode(question, True)
    turns = [{"role": "user", "content": question}]
    return engine.encode(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True), False)


def _answer(engine: Engine, name: str, ids: list[int], *, ends: bool) -> tuple[list[float], list[int]]:
    """Times (asked, then each step that brought tokens) in seconds, and the tokens."""
    times, tokens = [time.monotonic()], []
    try:
        engine.add(name, ids, Sampling(ignore_eos=not ends), SPEED_TOKENS)
    except RequestError as error:
        raise WorkerError("the engine takes no request", code="verify-failed", cause=str(error)) from error
    deadline = times[0] + _ANSWER_SECONDS
    while time.monotonic() < deadline and engine.manager.is_running():
        output = engine.manager.get_result(timeout=0.2)
        if output is None or output.request_id != name:
            continue
        if len(output.generated_tokens) > len(tokens):
            tokens = list(output.generated_tokens)
            times.append(time.monotonic())
        if output.is_finished():
            return times, tokens
        if output.error:
            raise WorkerError("the engine failed on a request", code="verify-failed", cause=str(output.error)[:500])
    raise WorkerError(
        "the engine did not answer",
        code="verify-failed",
        cause=f"{len(tokens)} tokens in {time.monotonic() - times[0]:.0f} s",
        hint="The log has what the library printed.",
    )


if __name__ == "__main__":
    run_worker("pytorch.verify", work, packages=PACKAGES)
