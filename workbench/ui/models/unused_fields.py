"""Settings of a preset that do nothing with its toolchain, for the form to grey out."""

from __future__ import annotations

import functools

from workbench.core.preset import Preset
from workbench.core.preset_check import KeyPath
from workbench.toolchains import get
from workbench.ui.models.gallery import TOOLCHAIN_TITLES

IN_ONE_PIECE = frozenset(("openvino", "onnxruntime", "tensorrt_rtx"))
"""Toolchains whose engines are not split over GPUs."""
_JUDGED = frozenset(("onnxruntime", "tensorrt_rtx"))
_LIMITS = ("max_batch_size", "max_seq_len")
"""What engines made of an ONNX model are limited in."""


@functools.cache
def _runtime(toolchain: str) -> frozenset[str]:
    return get(toolchain).runtime_settings


def unused_words(preset: Preset, path: KeyPath) -> str:
    """Why a key of [limits] or [runtime] does nothing with this toolchain; empty: it is used, or nobody knows."""
    if preset.toolchain not in _JUDGED:
        return ""
    used = path[1] in _LIMITS if path[0] == "limits" else path[1] in _runtime(preset.toolchain)
    return "" if used else f"{TOOLCHAIN_TITLES[preset.toolchain]} has no use for it."
