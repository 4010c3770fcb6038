"""PyTorch workers: serve a Hugging Face folder as it is, by transformers' continuous batching."""
