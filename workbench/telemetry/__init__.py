"""Samplers that read GPUs and the host into time series. No Qt."""
