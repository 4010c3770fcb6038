"""Any OpenAI-compatible server, by its URL."""
