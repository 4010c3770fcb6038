"""TensorRT-RTX called directly, for benchmarks/trt_build.py: the plain way to build an engine from an ONNX file.

`python _trt_direct.py MODEL.onnx ENGINE PROFILES.json TARGET...`; the profiles and what else decides the engine are
those of the workbench's build, the logger is TensorRT's own, and nothing watches.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from pathlib import Path


def folder_of(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def main(model: str, engine: str, profiles: str, *targets: str) -> None:
    found = [*folder_of("nvidia").glob("cu13/lib/libcudart.so.13"), *folder_of("nvidia").glob("*/lib/libcudart.so.13")]
    ctypes.CDLL(str(found[0]), mode=ctypes.RTLD_GLOBAL)
    for name in ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"):
        ctypes.CDLL(str(folder_of("tensorrt_rtx_libs") / name), mode=ctypes.RTLD_GLOBAL)
    import tensorrt_rtx_bindings as trt

    logger = trt.Logger(trt.Logger.INFO)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(model)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    config.num_compute_capabilities = len(targets)
    for place, target in enumerate(targets):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{target.replace('.', '')}"), place)
    for each in json.loads(Path(profiles).read_text()):
        profile = builder.create_optimization_profile()
        for name, shape in each["shapes"].items():
            profile.set_shape(name, shape["min"], shape["opt"], shape["max"])
        assert config.add_optimization_profile(profile) >= 0
    built = builder.build_serialized_network(network, config)
    assert built is not None
    Path(engine).write_bytes(built)


if __name__ == "__main__":
    main(*sys.argv[1:])
