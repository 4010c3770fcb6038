"""Worker `onnxruntime.score`: quality of an ONNX engine from its logits, for both toolchains that have such folders.

The ONNX model is run by ONNX Runtime itself: onnxruntime-genai gives the logits of a prompt's last token alone. A
compiled TensorRT-RTX engine is not run here, its ONNX model is; `settings` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.core.measure.scores import tokenizer_digest
from workbench.core.messages import StepSpec
from workbench.workers.common import input_folder, quiet_environment
from workbench.workers.hosts.serving import usable_template
from workbench.workers.hosts.settings import checked_settings
from workbench.workers.hosts.text import ChatTemplate, TemplateError
from workbench.workers.onnx.logits import OnnxLogits
from workbench.workers.onnxruntime.common import CONTEXT_FILE, PACKAGES, engine_facts, read_tokenizer
from workbench.workers.onnxruntime.settings import HostSettings
from workbench.workers.protocol import Channel, run_worker
from workbench.workers.scoring.ends import end_ids
from workbench.workers.scoring.model import SteppedModel
from workbench.workers.scoring.score import PHASES, read_questions, score


class Model(SteppedModel):
    """The ONNX model with its KV cache, and the engine's own tokenizer."""

    def __init__(self, folder: Path, device: str, threads: int | None, template: ChatTemplate | None) -> None:
        self._tokenizer = read_tokenizer(folder)
        self._logits = OnnxLogits(folder, device, threads)
        self._template = template
        self.vocabulary = self._logits.vocabulary
        self.max_seq_len = self._logits.max_seq_len
        self.end_ids = end_ids(folder)
        self.settings = dict(self._logits.settings)
        if (folder / CONTEXT_FILE).is_file():
            said = "the ONNX model is scored, the compiled engine is not run"
            self.settings["remark"] = "; ".join(filter(None, (self.settings.get("remark", ""), said)))

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def chat(self, text: str) -> list[int]:
        if self._template is not None:
            try:
                prompt = self._template.render([{"role": "user", "content": text}])
                return list(self._tokenizer.encode(prompt, add_special_tokens=False).ids)
            except TemplateError:
                pass  # logged when it was read
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _begin(self) -> None:
        self._logits.begin()

    def _feed(self, ids: Sequence[int]) -> Any:
        return self._logits.feed(ids)


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Score `inputs.engine` on `inputs.questions`; `inputs.baseline`: the folder that the baseline's score filled, or
    not given for the baseline itself. Settings: as for the host. Fills `spec.output`."""
    folder = input_folder(spec, "engine")
    questions = read_questions(spec)
    settings = checked_settings(HostSettings, spec.settings, channel)
    facts = engine_facts(folder)
    wanted = facts.get("device") if settings.device == "auto" else settings.device
    quiet_environment()
    channel.phase("load", 1, len(PHASES))
    device = "cuda" if wanted == "cuda" else "cpu"
    model = Model(folder, device, settings.num_threads, usable_template(folder, channel))
    return score(model, spec, questions, tokenizer_digest(folder), channel)


if __name__ == "__main__":
    run_worker("onnxruntime.score", work, packages=PACKAGES)
