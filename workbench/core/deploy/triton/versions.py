"""Which container runs an engine: an engine loads in the TensorRT-LLM version that built it, and in no other."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict

from workbench.core.data import resource

TABLE = "deploy/triton/versions.json"


class Container(BaseModel):
    """A row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str
    image: str
    tensorrt_llm: str
    tensorrt: str
    cuda: str
    driver: str
    """Of the GPU, that the container was made with."""
    python: str


class _Table(BaseModel):
    source: str
    note: str
    containers: tuple[Container, ...]


def containers() -> tuple[Container, ...]:
    """All that are known, newest first."""
    return _Table.model_validate(json.loads(resource(TABLE).read_bytes())).containers


def container_for(version: str) -> Container | None:
    """The newest container that holds a TensorRT-LLM version; None: the table has none, and none is guessed."""
    return next((row for row in containers() if row.tensorrt_llm == version), None)


def container_of(image: str) -> Container | None:
    """The row of an image that somebody chose, where it is known."""
    return next((row for row in containers() if row.image == image), None)
