"""`tensorrt_llm.models.automodel`: the class of a model folder, by its first architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorrt_llm import models
from tensorrt_llm.mapping import Mapping
from tensorrt_llm.models.modeling_utils import QuantConfig


class AutoModelForCausalLM:
    @staticmethod
    def get_trtllm_model_class(
        hf_model_or_dir: str | Path, trust_remote_code: bool = False, decoding_mode: Any = None
    ) -> type[models.PretrainedModel]:
        assert decoding_mode is None, "stand-in: decoding modes are not stood in for"
        path = Path(hf_model_or_dir) / "config.json"
        assert path.is_file(), f"{hf_model_or_dir} must be a local folder with a config.json"
        config = json.loads(path.read_text("utf-8"))
        if config.get("auto_map") and not trust_remote_code:
            raise ValueError(
                f"The repository {hf_model_or_dir} contains custom code which must be executed to correctly load the "
                "model. Please pass the argument `trust_remote_code=True` to allow custom code to be run."
            )
        architecture = (config.get("architectures") or ["none"])[0]
        found = models.MODEL_MAP.get(architecture)
        if found is None:
            raise NotImplementedError(
                f"The given huggingface model architecture {architecture} is not supported in TRT-LLM yet"
            )
        return found

    @staticmethod
    def from_hugging_face(
        hf_model_or_dir: str | Path,
        dtype: str = "auto",
        mapping: Mapping | None = None,
        quant_config: QuantConfig | None = None,
        **kwargs: Any,
    ) -> models.PretrainedModel:
        # The class is looked up without trust, whatever kwargs say.
        found = AutoModelForCausalLM.get_trtllm_model_class(hf_model_or_dir)
        return found.from_hugging_face(hf_model_or_dir, dtype, mapping=mapping, quant_config=quant_config, **kwargs)
