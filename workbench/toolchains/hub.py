"""Looking for models on the Hugging Face Hub, by a worker in an interpreter that has its library."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.core.settings import refuse_offline
from workbench.toolchains import get
from workbench.toolchains.asking import WorkerSaidError, ask_worker
from workbench.toolchains.environments import choose_environment

_SECONDS = 30.0


class FoundModel(BaseModel):
    """A repository of the Hub. Numbers that it does not report are None."""

    model_config = ConfigDict(frozen=True)

    id: str
    downloads: int | None = None
    """In the last 30 days."""
    likes: int | None = None
    gated: bool = False
    """Its authors ask for consent before it can be downloaded."""


def search_models(home: Home, query: str, environ: Mapping[str, str] = os.environ) -> tuple[FoundModel, ...]:
    """Text-generation models by words of their names, those with most downloads first.

    Raises BadInputError with the Hub's or the network's words, BlockedError when no interpreter has the library, or
    the settings forbid the network.
    """
    fix = "Choose a folder, or a model of the shared folders; the one who set it can allow the network."
    refuse_offline(home, "Hugging Face is not searched: the settings forbid the network.", fix, environ)
    environment = choose_environment(get("openvino"), home, environ)
    try:
        answer = ask_worker(environment, "models.search", {"query": query}, _SECONDS)
    except WorkerSaidError as error:
        said = error.message
        raise BadInputError(
            f"{said.message[:1].upper()}{said.message[1:]}.", evidence=said.cause, fix=said.hint, code=said.code
        ) from error
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BlockedError(
            "The search did not answer.",
            evidence=str(error)[:300],
            fix="Check the network and the proxy variables; a name can also be typed as org/model.",
            code="network",
        ) from error
    return tuple(FoundModel.model_validate(each) for each in answer.get("models", ()))
