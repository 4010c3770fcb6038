"""The source model as the baseline of verify: its own greedy answers and their logits, by transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.workers.common import explain_import, first_line
from workbench.workers.modelopt.load import readable_config
from workbench.workers.protocol import WorkerError

ROOM = 1.2
"""Memory for weights and what runs beside them, as a multiple of the weights."""
BATCH = 6
"""Prompts generated for together: the memory is that of the weights, so a batch costs little more time than one."""


@dataclass(frozen=True)
class Baseline:
    """One prompt with the source model's greedy answer."""

    name: str
    ids: list[int]
    """Prompt and answer."""
    prompt_tokens: int
    logits: Any
    """Float32, (answer tokens, vocabulary): row i is what the answer's token i was chosen from."""

    @property
    def answer_tokens(self) -> int:
        return len(self.ids) - self.prompt_tokens


class SourceModel:
    """The model folder, loaded in float32 when that fits into free memory, else in BF16; `compute` names one.

    `device` is "cpu" or "cuda".
    """

    def __init__(self, folder: Path, trust_remote_code: bool, compute: str | None = None, device: str = "cpu") -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error
        self.device = device
        self.compute = compute or ("float32" if weight_bytes(folder) * 2 * ROOM < free_bytes(device) else "bfloat16")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=trust_remote_code
            )
            self._model = AutoModelForCausalLM.from_pretrained(
                str(folder),
                config=readable_config(folder, trust_remote_code),
                dtype=getattr(torch, self.compute),
                local_files_only=True,
                trust_remote_code=trust_remote_code,
            ).eval()
            if device != "cpu":
                self._model = self._model.to(device)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, ImportError):
                raise explain_import(error) from error
            raise WorkerError(
                "transformers cannot load the source model to compare with",
                code="source-failed",
                cause=f"{type(error).__name__}: {first_line(error)}",
                hint="The engine is built; run verify again once the model folder is whole.",
            ) from error
        self._torch = torch

    @property
    def vocabulary(self) -> int:
        """Number of logits a position."""
        return int(self._model.get_output_embeddings().weight.shape[0])

    def encode(self, text: str) -> list[int]:
        """Token ids of a user's question, in the chat template where the model has one."""
        if self._tokenizer.chat_template:
            rendered = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            return list(self._tokenizer(rendered, add_special_tokens=False)["input_ids"])
        return list(self._tokenizer(text)["input_ids"])

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text as it is, with the special tokens that the tokenizer puts in front."""
        return list(self._tokenizer(text)["input_ids"])

    def logits(self, ids: list[int]) -> Any:
        """Logits after each of `ids`: float32, (len(ids), vocabulary)."""
        return self._logits([*ids, 0], 1)

    def round_weights(self, dtype: str) -> None:
        """Round the weights to a type of torch's, by name, and go on computing as before."""
        kept = getattr(self._torch, dtype)
        with self._torch.no_grad():
            for weight in self._model.parameters():
                weight.copy_(weight.to(kept))

    def baselines(
        self, prompts: list[tuple[str, str]], max_new_tokens: int, progress: Callable[[int], None]
    ) -> list[Baseline]:
        """Greedy answers to (name, text) prompts with the logits they came from; `progress` gets prompts done."""
        done: list[Baseline] = []
        for start in range(0, len(prompts), BATCH):
            batch = prompts[start : start + BATCH]
            encoded = [self.encode(text) for _, text in batch]
            for (name, _), ids, answer in zip(batch, encoded, self._answers(encoded, max_new_tokens), strict=True):
                done.append(Baseline(name, ids + answer, len(ids), self._logits(ids + answer, len(ids))))
                progress(len(done))
        return done

    def _answers(self, encoded: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        torch = self._torch
        ends = self._end_ids()
        pad = self._tokenizer.pad_token_id
        if pad is None:
            pad = next(iter(ends), 0)
        longest = max(map(len, encoded))
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in encoded])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in encoded])
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=pad,
                # The model's own sampling settings would only be warned about.
                temperature=None,
                top_p=None,
                top_k=None,
            )
        return [_until_end(row[longest:].tolist(), ends) for row in out]

    def _end_ids(self) -> set[int]:
        found = self._model.generation_config.eos_token_id
        if found is None:
            found = self._tokenizer.eos_token_id
        if found is None:
            return set()
        return set(found) if isinstance(found, list) else {int(found)}

    def _logits(self, ids: list[int], prompt_tokens: int) -> Any:
        with self._torch.inference_mode():
            given = self._torch.tensor([ids], device=self.device)
            logits = self._model(input_ids=given).logits[0, prompt_tokens - 1 : -1]
        return logits.float().cpu().numpy()


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    """Ids up to the first end token, which is itself a choice the model made and so stays."""
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids


def weight_bytes(folder: Path) -> int:
    """Bytes of the folder's weights as stored: 16-bit in most."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def free_bytes(device: str) -> int:
    """Free memory of the host, or of the GPU that "cuda" means."""
    if device == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    import torch

    return int(torch.cuda.mem_get_info()[0])
