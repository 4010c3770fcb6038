"""The PyTorch toolchain: transformers as it is, the baseline that everything else is compared with."""
