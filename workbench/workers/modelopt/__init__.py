"""Workers that make TensorRT-LLM checkpoints with NVIDIA ModelOpt."""
