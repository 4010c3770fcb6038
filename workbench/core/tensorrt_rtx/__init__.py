"""What is known of TensorRT for RTX without importing it: targets, log grammar, failures, an engine's layers."""
