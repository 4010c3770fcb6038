"""`tensorrt_llm.models`: classes that read a Hugging Face folder for real and save their rank's part of it."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorrt_llm._standin.convert import config_of, convert, dtype_of
from tensorrt_llm._standin.failures import fail_at
from tensorrt_llm._standin.layout import NotStoodInFor
from tensorrt_llm._standin.log import Log
from tensorrt_llm._standin.tensors import write_safetensors
from tensorrt_llm.mapping import Mapping
from tensorrt_llm.models.modeling_utils import QuantConfig

CONFIG_FIELDS = ("use_parallel_embedding", "embedding_sharding_dim", "disable_weight_only_quant_plugin",
                 "remove_duplicated_kv_heads", "trust_remote_code")  # fmt: skip
OLD_CONVERTER = ("ExaoneForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM")
"""Architectures that the unified converter does not do: TRTLLM_DISABLE_UNIFIED_CONVERTER=1 selects the old one."""


class PretrainedModel:
    arguments: tuple[str, ...] = ("load_model_on_cpu", "use_autoawq")

    def __init__(self, config: dict[str, Any], mapping: Mapping, tensors: dict[str, Any]) -> None:
        self.config = SimpleNamespace(**{**config, "mapping": mapping})
        self._config, self._tensors = config, tensors

    @classmethod
    def from_hugging_face(
        cls,
        hf_model_or_dir: str | Path,
        dtype: str = "auto",
        mapping: Mapping | None = None,
        quant_config: QuantConfig | None = None,
        **kwargs: Any,
    ) -> PretrainedModel:
        log = Log()
        fail_at("convert", log)
        unknown = sorted(set(kwargs) - set(cls.arguments) - set(CONFIG_FIELDS))
        if unknown:
            raise TypeError(f"{cls.__name__}.from_hugging_face() got an unexpected keyword argument '{unknown[0]}'")
        mapping = Mapping() if mapping is None else mapping
        if not isinstance(mapping, Mapping):
            raise TypeError(f"mapping must be a Mapping, got {type(mapping).__name__}")
        if quant_config is not None and not isinstance(quant_config, QuantConfig):
            raise TypeError(f"quant_config must be a QuantConfig, got {type(quant_config).__name__}")
        folder = Path(hf_model_or_dir)
        source = json.loads((folder / "config.json").read_text("utf-8"))
        architecture = source["architectures"][0]
        if MODEL_MAP.get(architecture) is not cls:
            raise ValueError(f"stand-in: {architecture} is not {cls.__name__}'s")
        if architecture in OLD_CONVERTER and os.environ.get("TRTLLM_DISABLE_UNIFIED_CONVERTER") is None:
            raise KeyError(f"model.layers.0 (the unified converter does not know {architecture})")
        quant = QuantConfig() if quant_config is None else quant_config
        table = source.get("quantization_config") or {}
        if quant.quant_algo not in (None, "W4A16_GPTQ"):
            raise NotStoodInFor(f"the stand-in converts nothing to {quant.quant_algo}")
        if (quant.quant_algo == "W4A16_GPTQ") != (table.get("quant_method") == "gptq"):
            raise ValueError(f"stand-in: quant_algo {quant.quant_algo} for a folder of {table.get('quant_method')}")
        if table.get("desc_act"):
            raise ValueError("GPTQ with desc_act=True is not implemented!")
        weights = Path(kwargs.get("quant_ckpt_path") or folder)
        config = config_of(source, dtype_of(dtype, source, log), mapping.to_dict(), quant.to_dict(), kwargs)
        return cls(config, mapping, convert(weights, config, source, mapping))

    def save_checkpoint(self, output_dir: str | Path, save_config: bool = True) -> None:
        """`output_dir` must be there. The config is without a rank and with the mapping as it is by now."""
        out = Path(output_dir)
        mapping = self.config.mapping
        fail_at("save", Log())
        write_safetensors(out / f"rank{mapping.rank}.safetensors", self._tensors)
        if save_config:
            config = copy.deepcopy(self._config) | {"mapping": mapping.to_dict()}
            (out / "config.json").write_text(json.dumps(config, indent=4), "utf-8")


class LLaMAForCausalLM(PretrainedModel):
    arguments = ("load_by_shard", "load_model_on_cpu", "quant_ckpt_path", "use_autoawq")


class QWenForCausalLM(PretrainedModel):
    pass


class GemmaForCausalLM(PretrainedModel):
    arguments = ("load_model_on_cpu",)


class Phi3ForCausalLM(PretrainedModel):
    arguments = ()


class FalconForCausalLM(PretrainedModel):
    arguments = ("load_model_on_cpu",)


MODEL_MAP: dict[str, type[PretrainedModel]] = {
    **dict.fromkeys(
        ("LlamaForCausalLM", "MistralForCausalLM", "InternLMForCausalLM", "SkyworkForCausalLM", *OLD_CONVERTER),
        LLaMAForCausalLM,
    ),
    **dict.fromkeys(("Qwen2ForCausalLM", "Qwen3ForCausalLM"), QWenForCausalLM),
    **dict.fromkeys(("GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM"), GemmaForCausalLM),
    "Phi3ForCausalLM": Phi3ForCausalLM,
    "FalconForCausalLM": FalconForCausalLM,
}
