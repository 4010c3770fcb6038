"""Worker `onnx.verify`: does an ONNX engine say what its source model says, and does it answer?

For engines of both toolchains over one ONNX folder, `onnxruntime` and `tensorrt_rtx`. Quality: the folder's own model
by ONNX Runtime on the source's greedy answers, logits against logits. Service: onnxruntime-genai answers in the chat
template and is timed, on the device that a host would take. A compiled TensorRT-RTX engine is run where there is an
RTX GPU that it is for, for the answer and its speed alone; `remark` says what was run.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.workers.common import input_folder, quiet_environment
from workbench.workers.models.judging import floors, judge, read_prompts, refuse_blank
from workbench.workers.models.quality import Comparison
from workbench.workers.models.source import Baseline, SourceModel
from workbench.workers.onnx.common import PACKAGES
from workbench.workers.onnx.logits import OnnxLogits
from workbench.workers.onnxruntime.common import engine_facts, read_tokenizer
from workbench.workers.onnxruntime.devices import Place, choose
from workbench.workers.onnxruntime.engine import Engine, load_engine
from workbench.workers.onnxruntime.settings import HostSettings, Wish
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker

PHASES = ("source", "engine", "answer", "judge")
SPEED_TOKENS = 64
PLAIN_TOKENS = 24
"""Tokens of an answer that ONNX Runtime makes by itself, where onnxruntime-genai cannot run the engine."""
_OF_ONNX = (
    "agreement and KL are those of the engine's ONNX model, run by ONNX Runtime; the compiled engine itself gave the "
    "answer and the speed"
)
_NOT_RUN = "the compiled TensorRT-RTX engine itself was not run here; its ONNX model was, by ONNX Runtime"


@dataclass
class Served:
    """An answer and its speed; times are None where nothing that serves the engine made it."""

    ids: list[int]
    text: str
    ttft_ms: float | None = None
    itl_ms: float | None = None
    speed_tokens: int = 0
    load_seconds: float | None = None
    device: str | None = None

    @property
    def output_tok_s(self) -> float | None:
        """Output speed per user, 1000 / ITL: TTFT left out."""
        return 1000.0 / self.itl_ms if self.itl_ms else None


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Compare `inputs.engine` with `inputs.model`; makes no folder.

    Input `prompts`: a prompt file. Settings: `prompts` (a list of texts instead), `max_new_tokens` a prompt (default
    32), `precision` (its floors are the default), `min_agreement` (0 to 1), `max_kl` (nats), `trust_remote_code`.
    Peak memory: the source model in float32, then the ONNX model as OnnxLogits holds it, then as genai does.
    Raises WorkerError `verify-failed` with the figures when the engine is below a floor or says NaN; else
    `missing-input`, `bad-setting`, `bad-engine`, `bad-onnx`, `missing-onnx-data`, `source-failed`,
    `engine-load-failed`, `engine-run-failed`, `no-answer`, `import-failed`.
    """
    engine, model = input_folder(spec, "engine"), input_folder(spec, "model")
    prompts = read_prompts(spec.settings.get("prompts") or spec.inputs.get("prompts"))
    max_new_tokens = int(spec.settings.get("max_new_tokens", 32))
    min_agreement, max_kl = floors(spec.settings)
    facts = engine_facts(engine)
    quiet_environment()
    started = time.monotonic()
    place, why_not = _place(engine, facts)
    remarks = [why_not] if why_not else []
    if place is not None and place.device == "rtx":
        remarks.append(_OF_ONNX)
    elif facts.get("toolchain") == "tensorrt_rtx":
        why = "" if place is None else place.remark.removeprefix("the compiled engine is not run: ")
        remarks.append(_NOT_RUN + (f" ({why})" if why else ""))

    channel.phase("source", 1, len(PHASES))
    source = SourceModel(model, bool(spec.settings.get("trust_remote_code", False)))
    compute = source.compute
    if compute != "float32":
        channel.log("the source model computes in BF16: float32 does not fit into free memory", "warning")
    baselines = source.baselines(prompts, max_new_tokens, lambda done: channel.progress(done, len(prompts), "prompts"))
    del source
    gc.collect()

    channel.phase("engine", 2, len(PHASES))
    logits = OnnxLogits(engine, "cuda" if place is not None and place.device == "cuda" else "cpu")
    settings = dict(logits.settings)
    if settings.get("remark"):
        remarks.append(settings["remark"])
    comparison = _compare(logits, baselines, channel)
    channel.log(
        f"agreement {comparison.agreement:.4f}, KL {comparison.kl_nats:.5f} nats over {comparison.positions} positions"
    )

    channel.phase("answer", 3, len(PHASES))
    question = baselines[0].ids[: baselines[0].prompt_tokens]
    if place is None:
        served = _plain_answer(logits, engine, question, baselines[0].ids[-1])
        del logits
    else:
        del logits
        gc.collect()
        served = _serve(engine, question)
    channel.log(f"{prompts[0][1]} -> {served.text.strip()[:300]}")
    for remark in remarks:
        channel.log(remark, "warning")

    channel.phase("judge", 4, len(PHASES))
    judge(
        comparison,
        min_agreement,
        max_kl,
        model="its source model",
        nan_hint="FP16 overflow gives this: see whether the model was trained in BF16 and take BF16 or FP32 instead.",
        far_hint="Choose a milder precision, a smaller group size or AWQ, or lower verify.min_agreement and raise "
        "verify.max_kl in the preset if this loss is acceptable.",
    )
    own = baselines[0].ids[baselines[0].prompt_tokens :]
    if blank := refuse_blank(served.text, served.ids, own):
        channel.log(blank, "warning")
        remarks.append(blank)
    result = {
        **comparison.figures(),
        "min_agreement": min_agreement,
        "max_kl": max_kl,
        "source_compute": compute,
        "engine_compute": settings.get("compute_precision"),
        "question": prompts[0][1],
        "answer": served.text.strip(),
        "ttft_ms": _rounded(served.ttft_ms, 2),
        "itl_ms": _rounded(served.itl_ms, 3),
        "output_tok_s": _rounded(served.output_tok_s, 2),
        "speed_tokens": served.speed_tokens,
        "load_seconds": _rounded(served.load_seconds, 3),
        "device": served.device,
        "seconds": round(time.monotonic() - started, 2),
    }
    return result | ({"remark": "; ".join(remarks)} if remarks else {})


def _place(engine: Path, facts: dict[str, Any]) -> tuple[Place | None, str]:
    """Where onnxruntime-genai runs the engine here; None and why it cannot, for what no CPU has kernels for."""
    try:
        return choose("auto", facts, engine), ""
    except WorkerError as error:
        if error.code != "not-supported":
            raise
        return None, f"no speed is measured: {error.cause}"


def _compare(logits: OnnxLogits, baselines: list[Baseline], channel: Channel) -> Comparison:
    comparison = Comparison()
    for done, baseline in enumerate(baselines, 1):
        logits.begin()
        # The last token is an answer only: nothing is predicted from it.
        ours = logits.feed(baseline.ids[:-1])[baseline.prompt_tokens - 1 :]
        if ours.shape != baseline.logits.shape:
            raise WorkerError(
                "the engine and the source model differ in vocabulary or length: they do not belong together",
                code="verify-failed",
                cause=f"logits {ours.shape} and {baseline.logits.shape}",
                hint="Give verify the model folder that the engine was made from.",
            )
        comparison.add(baseline.name, baseline.logits, ours)
        channel.progress(done, len(baselines), "prompts")
    return comparison


def _serve(engine: Path, question: list[int]) -> Served:
    """Answer and speed by what serves the engine; the first request after load is not timed, since it is slower."""
    loaded = load_engine(engine, HostSettings())
    _timed(loaded, question, 4)
    answer = _timed(loaded, question, SPEED_TOKENS)
    speed = _timed(loaded, question, SPEED_TOKENS, to_the_end=True)
    answer.itl_ms, answer.speed_tokens = speed.itl_ms, len(speed.ids)
    answer.load_seconds, answer.device = loaded.load_seconds, loaded.place.words
    return answer


def _timed(engine: Engine, question: list[int], most: int, *, to_the_end: bool = False) -> Served:
    """A greedy answer, alone on the engine. `to_the_end`: past end tokens. Raises WorkerError `no-answer`."""
    most = min(most, engine.limits.max_seq_len - len(question))
    if most < 1:
        raise WorkerError(
            "the first prompt leaves the engine no room for an answer",
            code="no-answer",
            cause=f"{len(question):,} tokens with its chat template; the engine's longest sequence is "
            f"{engine.limits.max_seq_len:,}",
            hint="Verify with shorter prompts, or build with a larger limits.max_seq_len.",
        )
    ids: list[int] = []
    first = last = 0.0
    begin = time.monotonic()
    try:
        answering = engine.start(question, Wish({"do_sample": False}, most))
        while len(ids) < most and (to_the_end or not ids or ids[-1] not in engine.end_ids):
            token = answering.step()
            if token is not None:
                last = time.monotonic()
                first = first or last
                ids.append(token)
    except Exception as error:  # RequestError, or the library's RuntimeError
        raise WorkerError(
            "the engine loads but does not answer",
            code="no-answer",
            cause=str(error)[:500],
            hint="Choose another precision, or see the job's log.",
        ) from error
    itl_ms = (last - first) * 1000.0 / (len(ids) - 1) if len(ids) > 1 else None
    return Served(ids, engine.decode(ids), (first - begin) * 1000.0, itl_ms)


def _plain_answer(logits: OnnxLogits, engine: Path, question: list[int], end: int) -> Served:
    """A greedy answer from logits alone, up to the source's own last token; untimed: nothing would serve it so."""
    logits.begin()
    row, ids = logits.feed(question)[-1], []
    while len(ids) < PLAIN_TOKENS and (not ids or ids[-1] != end):
        ids.append(int(row.argmax()))
        row = logits.feed(ids[-1:])[-1]
    return Served(ids, str(read_tokenizer(engine).decode(ids, skip_special_tokens=True)))


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


if __name__ == "__main__":
    run_worker("onnx.verify", work, packages=PACKAGES)
