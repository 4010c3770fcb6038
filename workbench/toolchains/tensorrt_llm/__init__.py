"""TensorRT-LLM 1.2: checkpoints by ModelOpt, engines by trtllm-build, run by its own executor."""
