"""Engine Workbench: from a model folder to an answering, measured engine."""

__version__ = "0.2.0"
