"""What a person gives to open: preset files and model folders, from a file manager, a drop or the command line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workbench.core.errors import BadInputError, Failure
from workbench.core.toml_words import clean

_FIX = "Open a preset (a file that ends in .toml) or a model folder."


@dataclass(frozen=True)
class Given:
    """What of it can be opened: one preset and one model at a time."""

    preset: str = ""
    model: str = ""
    refused: tuple[Failure, ...] = ()
    left: tuple[str, ...] = ()
    """Further ones, that another was opened in place of."""


def absolute_paths(words: Iterable[str], folder: str | None = None) -> tuple[str, ...]:
    """Arguments as absolute paths: `file:` addresses are read, others are taken from `folder`, by default the working
    folder. What else begins with a dash is an option, unless `--` stands before it."""
    found: list[str] = []
    options = True
    for word in words:
        if options and word == "--":
            options = False
        elif word and not (options and word.startswith("-")):
            if word.startswith("file:"):
                with contextlib.suppress(ValueError):  # no address after all, as file://[x
                    word = unquote(urlsplit(word).path, errors="surrogateescape")
            found.append(os.path.normpath(word if word.startswith("/") else Path(folder or Path.cwd()) / word))
    return tuple(found)


def sort_out(paths: Sequence[str]) -> Given:
    """Which of the paths is a preset, which a model folder. Looks at the disk; raises nothing."""
    presets: list[str] = []
    models: list[str] = []
    refused: list[Failure] = []
    for path in dict.fromkeys(paths):
        try:
            (models if _is_folder(path) else presets).append(path)
        except BadInputError as error:
            refused.append(error.failure)
    return Given("".join(presets[:1]), "".join(models[:1]), tuple(refused), (*presets[1:], *models[1:]))


def _is_folder(path: str) -> bool:
    """Whether it is a folder; False: a file that may be a preset. Raises BadInputError."""
    shown = clean(path, 300)
    try:
        if Path(path).is_dir():
            return True
        there = Path(path).exists()
    except (OSError, ValueError) as error:
        raise BadInputError(f"{shown} cannot be opened.", evidence=str(error), fix=_FIX, code="not-opened") from None
    if not there:
        raise BadInputError(f"There is no file or folder {shown}.", fix="Check the path.", code="not-opened")
    if not path.lower().endswith(".toml"):
        raise BadInputError(f"{shown} is neither a preset nor a model folder.", fix=_FIX, code="not-opened")
    return False
