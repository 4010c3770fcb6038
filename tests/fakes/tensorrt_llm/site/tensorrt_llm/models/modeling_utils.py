"""`tensorrt_llm.models.modeling_utils`: how a model is to be quantized."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict

from tensorrt_llm._standin.layout import KV_ALGOS, QUANT_ALGOS


class QuantConfig(BaseModel):
    """The documented fields and no other."""

    model_config = ConfigDict(extra="forbid")

    quant_algo: str | None = None
    kv_cache_quant_algo: str | None = None
    group_size: int | None = 128
    smoothquant_val: float = 0.5
    clamp_val: list[float] | None = None
    use_meta_recipe: bool = False
    has_zero_point: bool = False
    pre_quant_scale: bool = False
    exclude_modules: list[str] | None = None
    mamba_ssm_cache_dtype: str | None = None

    def model_post_init(self, _: Any) -> None:
        for name, known in (("quant_algo", QUANT_ALGOS), ("kv_cache_quant_algo", KV_ALGOS)):
            value = getattr(self, name)
            value = value.value if isinstance(value, Enum) else value
            if value is not None and value not in known:
                raise ValueError(f"Unknown {name} {value}")
            setattr(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
