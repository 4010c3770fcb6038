"""A transformers model as something that can be scored: the PyTorch engine's, and one with simulated quantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.workers.common import first_line
from workbench.workers.hosts.text import ChatTemplate, TemplateError
from workbench.workers.protocol import WorkerError
from workbench.workers.pytorch.common import is_out_of_memory, out_of_memory
from workbench.workers.scoring.ends import end_ids
from workbench.workers.scoring.model import SteppedModel

ANSWER_BATCH = 8
"""Prompts answered together: a step reads all weights whatever the batch, so it costs little more."""


class HfModel(SteppedModel):
    """`model` in evaluation mode on its device, and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, folder: Path, template: ChatTemplate | None) -> None:
        self._model, self._tokenizer, self._template = model, tokenizer, template
        config = model.config.get_text_config()
        vocabulary, longest = getattr(config, "vocab_size", None), getattr(config, "max_position_embeddings", None)
        self.vocabulary = vocabulary if isinstance(vocabulary, int) else None
        self.max_seq_len = longest if isinstance(longest, int) else None
        self.end_ids = end_ids(folder)
        self.device = next(model.parameters()).device
        self.settings: dict[str, str] = {
            "device": str(self.device),
            "compute_precision": str(model.dtype).removeprefix("torch."),
            "attention": str(getattr(model.config, "_attn_implementation", "") or "not reported"),
        }
        self._past: Any = None

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))

    def chat(self, text: str) -> list[int]:
        if self._template is not None:
            try:
                rendered = self._template.render([{"role": "user", "content": text}])
                return list(self._tokenizer.encode(rendered, add_special_tokens=False))
            except TemplateError:
                pass  # the question goes as plain text, as the host would take it
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)

    def _begin(self) -> None:
        self._past = None

    def _feed(self, ids: Sequence[int]) -> Any:
        import torch

        try:
            with torch.inference_mode():
                given = torch.tensor([list(ids)], device=self.device)
                out = self._model(input_ids=given, past_key_values=self._past, use_cache=True)
                self._past = out.past_key_values
                return out.logits[0].float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            raise self._failed(error) from error

    @staticmethod
    def _failed(error: BaseException) -> WorkerError:
        text = f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, MemoryError) or is_out_of_memory(text):
            return out_of_memory("there is not enough memory to score", text)
        return WorkerError("the model failed while it was scored", code="engine-failed", cause=text)

    def answers(self, prompts: Sequence[Sequence[int]], most: int, done: Callable[[int], None]) -> list[list[int]]:
        found: list[list[int]] = []
        for at in range(0, len(prompts), ANSWER_BATCH):
            found += self._batch(prompts[at : at + ANSWER_BATCH], most)
            done(len(found))
        return found

    def _batch(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """By the library's own loop, prompts padded on the left."""
        import torch
        from transformers import GenerationConfig

        ends = sorted(self.end_ids)
        pad = ends[0] if ends else 0
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in prompts], device=self.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts], device=self.device)
        # Not the model's own settings: those may draw tokens.
        config = GenerationConfig(do_sample=False, max_new_tokens=most, eos_token_id=ends or None, pad_token_id=pad)
        try:
            with torch.inference_mode():
                out = self._model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        except (RuntimeError, MemoryError) as error:
            raise self._failed(error) from error
        return [_until_end(row[longest:].tolist(), self.end_ids) for row in out]


def _until_end(ids: list[int], ends: frozenset[int]) -> list[int]:
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids
