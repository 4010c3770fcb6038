"""The tokenizer of an ONNX folder: the model's own files, and tokenizer.json made of those where it is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

from workbench.workers.common import explain_import, first_line
from workbench.workers.protocol import WorkerError

_COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tekken.json",
    "*.model",
    "*.tiktoken",
    "chat_template*.*",
)


def take_tokenizer(model: Path, out: Path, trust_remote_code: bool) -> None:
    """Copy configuration, tokenizer and chat template; write tokenizer.json where the model has only other forms.

    onnxruntime-genai reads tokenizer.json alone. Raises WorkerError `no-tokenizer`, `import-failed`.
    """
    for pattern in _COMPANIONS:
        for path in sorted(model.glob(pattern)):
            if path.is_file():
                shutil.copyfile(path, out / path.name)
    if (out / "tokenizer.json").is_file():
        return
    try:
        from transformers import AutoTokenizer
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(model), local_files_only=True, trust_remote_code=trust_remote_code
        )
        tokenizer.save_pretrained(str(out))
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unusable(error) from error
    except Exception as error:
        raise _unusable(error) from error
    if not (out / "tokenizer.json").is_file():
        raise _unusable(ValueError(f"{type(tokenizer).__name__} has no form as tokenizer.json"))


def _unusable(error: Exception) -> WorkerError:
    return WorkerError(
        "the model's tokenizer cannot be used",
        code="no-tokenizer",
        cause=f"{type(error).__name__}: {first_line(error)}",
        hint="The model folder needs tokenizer.json (a fast tokenizer) beside its weights.",
    )
