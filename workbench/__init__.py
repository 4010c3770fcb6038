"""Engine Workbench: from a model folder to an answering, measured engine."""

__version__ = "0.1.0"
