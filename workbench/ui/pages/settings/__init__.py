"""The Settings page."""

from workbench.ui.pages.settings.page import SettingsPage

__all__ = ["SettingsPage"]
