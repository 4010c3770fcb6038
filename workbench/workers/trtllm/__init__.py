"""Workers of the TensorRT-LLM toolchain: convert, verify, build, and the engine host."""
