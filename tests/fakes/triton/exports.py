"""Reads an export as tests ask it: its texts, its configurations as Triton's schema has them, its failed checks."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from workbench.core.deploy.export import Export


def text(export: Export, path: str) -> str:
    return next(one.text for one in export.texts if one.path == path)


def config(export: Export, model: str) -> Any:
    return text_format.Parse(text(export, f"model_repository/{model}/config.pbtxt"), model_config_pb2.ModelConfig())


def parameters(export: Export, model: str = "tensorrt_llm") -> dict[str, str]:
    return {key: value.string_value for key, value in config(export, model).parameters.items()}


def failed(export: Export) -> dict[str, str]:
    return {check.name: check.found for check in export.failed}
