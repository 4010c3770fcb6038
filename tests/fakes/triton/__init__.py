"""A stand-in for Triton, stricter than the real one: it loads an exported repository and runs its Python models."""
