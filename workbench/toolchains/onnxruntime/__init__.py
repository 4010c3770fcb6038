"""ONNX Runtime: an ONNX folder run by onnxruntime-genai on a CPU, or on a GPU by CUDA where that wheel is there."""
