"""Worker `openvino.score`: quality of an OpenVINO engine from its logits.

The engine's IR is run with the properties that its host would load it with, KV-cache precision among them. The
pipeline that serves it gives no logits, and batches only change the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.core.measure.scores import tokenizer_digest
from workbench.workers.common import explain_import, first_line, input_folder, quiet_environment, read_json
from workbench.workers.hosts.serving import usable_template
from workbench.workers.hosts.text import ChatTemplate, TemplateError
from workbench.workers.openvino.common import MODEL_XML, PACKAGES, check_tokenizers, read_ir
from workbench.workers.openvino.engine import host_settings, properties_of, text_config
from workbench.workers.openvino.pipeline import standing_in
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.scoring.ends import end_ids
from workbench.workers.scoring.model import SteppedModel
from workbench.workers.scoring.score import PHASES, read_questions, score


class Model(SteppedModel):
    """The compiled IR with its state, and the engine's own tokenizer."""

    def __init__(self, folder: Path, device: str, properties: dict[str, Any], template: ChatTemplate | None) -> None:
        try:
            import openvino
            import openvino_genai
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error
        read_ir(folder)
        check_tokenizers(folder)
        try:
            with standing_in(folder) as here:
                compiled = openvino.Core().compile_model(f"{here}/{MODEL_XML}", device, properties)
                self._tokenizer = openvino_genai.Tokenizer(here)
        except RuntimeError as error:
            raise WorkerError(
                "OpenVINO cannot compile the engine's model",
                code="engine-load-failed",
                cause=first_line(error),
                hint="The job's log has the full text.",
            ) from error
        config = text_config(read_json(folder / "config.json"))
        vocabulary, longest = config.get("vocab_size"), config.get("max_position_embeddings")
        self.vocabulary = vocabulary if isinstance(vocabulary, int) else None
        self.max_seq_len = longest if isinstance(longest, int) else None
        self.end_ids = end_ids(folder)
        self.settings = applied(compiled, device)
        self._template = template
        self._names = {name for port in compiled.inputs for name in port.get_names()}
        self._request = compiled.create_infer_request()
        self._past = 0

    def encode(self, text: str) -> list[int]:
        return self._ids(text, True)

    def chat(self, text: str) -> list[int]:
        if self._template is not None:
            try:
                return self._ids(self._template.render([{"role": "user", "content": text}]), False)
            except TemplateError:
                pass  # logged when it was read
        return self._ids(text, True)

    def _ids(self, text: str, special: bool) -> list[int]:
        encoded = self._tokenizer.encode(text, add_special_tokens=special)
        ids: list[int] = encoded.input_ids.data[0].tolist() if encoded.input_ids.size else []
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _begin(self) -> None:
        self._request.reset_state()
        self._past = 0

    def _feed(self, ids: Sequence[int]) -> Any:
        import numpy as np

        length = self._past + len(ids)
        feed = {
            "input_ids": np.asarray([ids], dtype=np.int64),
            "attention_mask": np.ones((1, length), dtype=np.int64),
            "position_ids": np.arange(self._past, length, dtype=np.int64)[None, :],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        self._request.infer({name: value for name, value in feed.items() if name in self._names})
        self._past = length
        # A copy: the next call writes into the same memory.
        return np.array(self._request.get_tensor("logits").data[0], dtype=np.float32)


def applied(compiled: Any, device: str) -> dict[str, str]:
    """What a compiled model says that it runs with."""
    told = {"device": device}
    for name, key in (
        ("compute_precision", "INFERENCE_PRECISION_HINT"),
        ("kv_cache_precision", "KV_CACHE_PRECISION"),
        ("threads", "INFERENCE_NUM_THREADS"),
    ):
        try:
            value = compiled.get_property(key)
        except (RuntimeError, AttributeError):
            continue
        told[name] = str(value.to_string() if hasattr(value, "to_string") else value)
    return told


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Score `inputs.engine` on `inputs.questions`; `inputs.baseline`: the folder that the baseline's score filled, or
    not given for the baseline itself. Settings: as for the host. Fills `spec.output`."""
    folder = input_folder(spec, "engine")
    questions = read_questions(spec)
    settings = host_settings(spec.settings, channel)
    facts = read_json(folder / "engine.json") if (folder / "engine.json").is_file() else {}
    device = settings.device or str(facts.get("device") or "CPU")
    quiet_environment()
    channel.phase("load", 1, len(PHASES))
    model = Model(folder, device, properties_of(settings, facts), usable_template(folder, channel))
    return score(model, spec, questions, tokenizer_digest(folder), channel)


if __name__ == "__main__":
    run_worker("openvino.score", work, packages=PACKAGES)
