"""Prompts that a person saves to use again: one file in the home."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.core.conversation import clean_text, first_problem
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.store.private_file import locked, write_private

PROMPTS_FILE = "prompts.json"
PROMPTS_SCHEMA = 1
_NAME_CHARACTERS = 100


class SavedPrompt(BaseModel):
    """A prompt by its name, which is unique."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    text: str
    system: str = ""


class _PromptsFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int
    prompts: tuple[SavedPrompt, ...] = ()


def prompts_path(home: Home) -> Path:
    return home.root / PROMPTS_FILE


def read_prompts(home: Home) -> tuple[SavedPrompt, ...]:
    """The saved prompts by name; none when there is no file. Raises BadInputError for a file that cannot be read."""
    path = prompts_path(home)
    try:
        found = _PromptsFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        raise _unreadable(path, first_problem(error)) from error
    if found.schema_version > PROMPTS_SCHEMA:
        raise _unreadable(path, f"schema {found.schema_version}, this version knows {PROMPTS_SCHEMA}")
    return tuple(sorted(found.prompts, key=lambda prompt: (prompt.name.casefold(), prompt.name)))


def write_prompt(home: Home, prompt: SavedPrompt) -> tuple[SavedPrompt, ...]:
    """Keep a prompt, in place of one of the same name; returns all. Other programs may write others meanwhile.

    Raises BadInputError for an empty name or prompt, and when the file is damaged (it is left as it is) or cannot be
    written.
    """
    name = " ".join(clean_text(prompt.name).split())[:_NAME_CHARACTERS]
    if not name or not (prompt.text.strip() or prompt.system.strip()):
        raise BadInputError("A saved prompt needs a name and a text.", code="empty-prompt")
    own = SavedPrompt(name=name, text=clean_text(prompt.text), system=clean_text(prompt.system))
    return _changed(home, name, own)


def remove_prompt(home: Home, name: str) -> tuple[SavedPrompt, ...]:
    """Take a prompt away; returns the others. Raises BadInputError as `write_prompt` does."""
    return _changed(home, name, None)


def _changed(home: Home, name: str, prompt: SavedPrompt | None) -> tuple[SavedPrompt, ...]:
    try:
        with locked(home.root / "prompts.lock"):
            others = tuple(kept for kept in read_prompts(home) if kept.name != name)
            prompts = others if prompt is None else (*others, prompt)
            kept_file = _PromptsFile(schema_version=PROMPTS_SCHEMA, prompts=prompts)
            write_private(prompts_path(home), kept_file.model_dump_json(indent=1))
            return read_prompts(home)
    except OSError as error:
        raise BadInputError(
            "The prompt could not be kept.",
            evidence=f"{prompts_path(home)}: {error}",
            fix="Check the folder's owner, mode and free space.",
            code="not-writable",
        ) from error


def _unreadable(path: Path, evidence: str) -> BadInputError:
    return BadInputError(
        "The saved prompts cannot be read.",
        evidence=f"{path}: {evidence}",
        fix="Mend the file, or move it away; nothing else depends on it.",
        code="bad-prompts",
    )
