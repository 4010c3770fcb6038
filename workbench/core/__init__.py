"""The domain: Pydantic models and pure functions. No Qt, no torch, no subprocess, no hidden clock."""
