"""The parts of workbench.core.model: config.json and safetensors headers read without torch."""
