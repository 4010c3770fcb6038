"""Whether a model folder holds a tokenizer at all."""

from __future__ import annotations

from pathlib import Path

from workbench.workers.protocol import WorkerError

SOURCES = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "*.tiktoken", "tekken.json")


def check_tokenizer_files(model: Path) -> None:
    """Raise WorkerError `no-tokenizer` when no file can hold one: transformers 5 then makes up an empty tokenizer."""
    if not any(any(model.glob(pattern)) for pattern in SOURCES):
        raise WorkerError(
            "the model folder holds no tokenizer",
            code="no-tokenizer",
            cause=f"none of {', '.join(SOURCES)} in {model}",
            hint="Copy tokenizer.json and tokenizer_config.json of the model into its folder.",
        )
