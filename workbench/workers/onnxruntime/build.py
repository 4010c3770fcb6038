"""Worker `onnxruntime.build`: ONNX folder -> engine folder that is known to answer here.

ONNX Runtime has no compiled form of its own that would load quicker or run on another machine, so the engine is the
ONNX folder (hard links to the checkpoint's files where that works) with `engine.json`, once onnxruntime-genai has
loaded it and answered.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from workbench.core.messages import StepSpec
from workbench.workers.common import announce, input_folder, quiet_environment, write_json
from workbench.workers.hosts.serving import usable_template
from workbench.workers.hosts.text import TemplateError
from workbench.workers.onnx.common import check_folder, read_facts, take_model
from workbench.workers.onnxruntime.common import ENGINE_FILE, ENGINE_SCHEMA, PACKAGES
from workbench.workers.onnxruntime.engine import Engine, load_engine
from workbench.workers.onnxruntime.settings import HostSettings, Wish
from workbench.workers.protocol import Channel, WorkerError, run_worker, versions_of

PHASES = ("files", "load", "answer", "describe")
DEVICES = ("auto", "cpu", "cuda")
_ANSWER_TOKENS = 16
_QUESTION = "Hi"


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with an engine made of `inputs.checkpoint`.

    Settings: `device` ("auto", "cpu" or "cuda"; default "auto": decided when it is loaded). Raises WorkerError:
    `missing-input`, `bad-setting`, `bad-onnx`, `missing-onnx-data`, `no-tokenizer`, `no-answer`, and what
    `engine.load_engine` raises.
    """
    source, out = input_folder(spec, "checkpoint"), Path(spec.output)
    device = str(spec.settings.get("device") or "auto")
    if device not in DEVICES:
        raise WorkerError(
            f"ONNX Runtime engines have no device {device}",
            code="bad-setting",
            cause=f"device = {device}",
            hint=f"Use one of: {', '.join(DEVICES)}.",
        )
    quiet_environment()
    started = time.monotonic()
    channel.phase("files", 1, len(PHASES))
    facts = read_facts(source)
    check_folder(source)
    linked = take_model(source, out, channel)
    engine_file = {"schema_version": ENGINE_SCHEMA, "toolchain": "onnxruntime", "device": device}
    # Written before the trial too: the engine is loaded as a host will load it.
    write_json(out / ENGINE_FILE, {**facts, **engine_file})

    channel.phase("load", 2, len(PHASES))
    engine = load_engine(out, HostSettings(device=device))
    channel.phase("answer", 3, len(PHASES))
    template = usable_template(out, channel)
    prompt = engine.encode(_QUESTION, True)
    if template is not None:
        try:
            prompt = engine.encode(template.render([{"role": "user", "content": _QUESTION}]), False)
        except TemplateError as error:
            channel.log(f"the trial answer is made without the chat template: {error}", "warning")
    answer = _answer(engine, prompt)

    channel.phase("describe", 4, len(PHASES))
    described = {
        **facts,
        **engine_file,
        "versions": versions_of(*PACKAGES),
        "limits": {"max_seq_len": facts.get("max_seq_len")},
        "kv_cache_precision": engine.applied["kv_cache_precision"],
        "kv_bytes_per_token": engine.kv_bytes_per_token,
        "chat_template": template is not None,
        "trial": {"device": engine.place.words, "execution_provider": engine.place.provider, **answer},
    }
    write_json(out / ENGINE_FILE, described)
    size = announce(channel, "engine", out)
    return {
        **{key: value for key, value in described.items() if key != "schema_version"},
        "bytes": size,
        "files_linked": linked,
        "load_seconds": round(engine.load_seconds, 3),
        "seconds": round(time.monotonic() - started, 2),
    }


def _answer(engine: Engine, prompt: list[int]) -> dict[str, Any]:
    """A few greedy tokens: their text, and tokens a second after the first. Raises WorkerError `no-answer`."""
    ids: list[int] = []
    most = min(_ANSWER_TOKENS, engine.limits.max_seq_len - len(prompt))
    try:
        answering = engine.start(prompt, Wish({"do_sample": False}, most))
        while len(ids) < most and not (ids and ids[-1] in engine.end_ids):
            token = answering.step()
            ids += [] if token is None else [token]
    except Exception as error:  # RequestError, or the library's RuntimeError
        raise WorkerError(
            "the engine loads but does not answer",
            code="no-answer",
            cause=str(error)[:500],
            hint="Choose another precision, or see the job's log.",
        ) from error
    speed = (len(ids) - 1) / answering.decode_s if answering.decode_s > 0 and len(ids) > 1 else None
    return {"answer": engine.decode(ids), "tokens_per_second": None if speed is None else round(speed, 1)}


if __name__ == "__main__":
    run_worker("onnxruntime.build", work, packages=PACKAGES)
