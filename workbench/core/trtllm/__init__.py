"""What is known of TensorRT-LLM without importing it: checkpoint configuration, log grammar, failures."""
