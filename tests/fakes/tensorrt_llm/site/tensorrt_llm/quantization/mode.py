"""`tensorrt_llm.quantization.mode`: the names of algorithms."""

from __future__ import annotations

from enum import Enum

from tensorrt_llm._standin.layout import QUANT_ALGOS

QuantAlgo = Enum("QuantAlgo", {name: name for name in QUANT_ALGOS}, type=str)  # type: ignore[misc]
