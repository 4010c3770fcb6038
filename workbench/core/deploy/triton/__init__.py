"""A model repository for Triton's TensorRT-LLM backend, and what is needed to run and watch it."""
