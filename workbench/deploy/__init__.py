"""Writes exports: from an engine's folder to one that runs it elsewhere."""
