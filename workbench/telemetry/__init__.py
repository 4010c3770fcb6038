"""Samplers (NVML, host, engine) into time-series rings. No Qt."""
