"""Workers of the ONNX Runtime toolchain; its host runs the engines of TensorRT-RTX too."""
