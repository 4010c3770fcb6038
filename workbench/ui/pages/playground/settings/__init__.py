"""The right column: sampling, the runtime of the engine, what the engine is."""
