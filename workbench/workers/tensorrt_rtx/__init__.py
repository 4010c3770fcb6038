"""Worker of the TensorRT-RTX toolchain: an ONNX folder to an engine for named GPUs, on any machine."""
