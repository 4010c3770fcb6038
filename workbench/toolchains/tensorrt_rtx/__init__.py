"""TensorRT for RTX: a compiled engine of an ONNX folder, built on any machine for the RTX GPUs that it names."""
