"""A stand-in for TensorRT-LLM, for tests of Engine Workbench. It computes no model; see README.md two folders up."""

from tensorrt_llm import _standin
from tensorrt_llm._standin.failures import fail_at
from tensorrt_llm._standin.log import Log

__version__ = _standin.version()

print(f"[TensorRT-LLM] TensorRT-LLM version: {__version__}", flush=True)
fail_at("import", Log())


class LLM:
    """The real one is the PyTorch backend's, which runs no engine."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ValueError(
            "tensorrt_llm.LLM is the PyTorch backend's class: an engine folder is specific to TensorRT backend, "
            "use tensorrt_llm._tensorrt_engine.LLM"
        )
