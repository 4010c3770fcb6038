"""The Deploy page: an engine served here, as a Triton repository, or in a folder that runs elsewhere."""

from workbench.ui.pages.deploy.page import DeployPage

__all__ = ["DeployPage"]
