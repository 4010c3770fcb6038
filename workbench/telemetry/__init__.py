"""Samplers that read GPUs, the host and engines into time series. No Qt."""
