"""Engines: all that was built, each with where it came from."""

from workbench.ui.pages.engines.page import EnginesPage

__all__ = ["EnginesPage"]
