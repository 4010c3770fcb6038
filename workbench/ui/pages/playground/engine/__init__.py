"""Engines to load, and the faces of the page while none is loaded."""
