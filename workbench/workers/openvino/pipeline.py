"""Loading the pipeline that serves an engine folder, in one way for build and verify, and timing a request on it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.workers.common import explain_import, first_line
from workbench.workers.protocol import WorkerError

KV_BLOCK_TOKENS = {"CPU": 32, "GPU": 16}
"""Tokens in a KV block, fixed by OpenVINO's plugins."""
KV_PRECISIONS = {"fp16": "f16", "bf16": "bf16", "fp32": "f32", "int8": "u8"}
"""The workbench's word -> OpenVINO's, for the property KV_CACHE_PRECISION."""
HERE = "/proc/self/cwd"


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[str]:
    """Make `folder` the working folder and give a path for it that is the same wherever it lies.

    OpenVINO names a compiled blob by a hash that the model's absolute path is part of, so a blob made in NAME.partial
    would never be found in NAME. The working folder's own link is not resolved, so the hash stays.
    """
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield HERE if Path(HERE).exists() else str(folder)
    finally:
        os.chdir(before)


def load_pipeline(folder: Path, device: str, kv_blocks: int, properties: dict[str, Any]) -> Any:
    """A ContinuousBatchingPipeline over an engine folder with `kv_blocks` KV blocks.

    Raises WorkerError `import-failed` or `engine-load-failed`.
    """
    try:
        import openvino_genai
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = kv_blocks
    try:
        with standing_in(folder) as here:
            return openvino_genai.ContinuousBatchingPipeline(here, scheduler, device, dict(properties))
    except RuntimeError as error:
        raise WorkerError(
            "OpenVINO GenAI could not load the model as a pipeline",
            code="engine-load-failed",
            cause=first_line(error),
            hint="The job's log has the full text; an architecture that it cannot batch ends here.",
        ) from error


@dataclass(frozen=True)
class TimedAnswer:
    """One request, timed from the moment it was handed to the pipeline."""

    ids: list[int]
    text: str
    ttft_ms: float
    itl_ms: float | None
    """(tN - t1) / (n - 1); None with fewer than two tokens."""

    @property
    def output_tok_s(self) -> float | None:
        """Output speed per user, 1000 / ITL: TTFT left out."""
        return 1000.0 / self.itl_ms if self.itl_ms else None


def timed_answer(pipeline: Any, prompt_ids: Any, max_new_tokens: int, *, ignore_eos: bool = False) -> TimedAnswer:
    """Greedy answer to prompt ids (an OpenVINO tensor of shape (1, tokens)), alone on the pipeline.

    Raises WorkerError `no-answer` when the pipeline ends without a token.
    """
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = max_new_tokens
    config.do_sample = False
    config.ignore_eos = ignore_eos
    config.eos_token_id = pipeline.get_config().eos_token_id
    config.stop_token_ids = pipeline.get_config().stop_token_ids
    ids: list[int] = []
    first = last = 0.0
    begin = time.monotonic()
    handle = pipeline.add_request(0, prompt_ids, config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
        now = time.monotonic()
        while handle.can_read():
            new = [token for output in handle.read().values() for token in output.generated_ids]
            if new:
                first, last = first or now, now
                ids += new
    if not ids:
        raise WorkerError(
            "the engine gave no token at all",
            code="no-answer",
            cause=f"status {handle.get_status()}",
            hint="The KV cache may be too small for the prompt.",
        )
    itl_ms = (last - first) * 1000.0 / (len(ids) - 1) if len(ids) > 1 else None
    text = pipeline.get_tokenizer().decode(ids)
    return TimedAnswer(ids, text, (first - begin) * 1000.0, itl_ms)


def chat_ids(pipeline: Any, question: str) -> Any:
    """Token ids of a question in the model's chat template, or as it is when the model has none."""
    tokenizer = pipeline.get_tokenizer()
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
        return tokenizer.encode(text, add_special_tokens=False).input_ids
    return tokenizer.encode(question).input_ids
