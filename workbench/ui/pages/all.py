"""The pages of this version, in the order of the rail."""

from __future__ import annotations

from workbench.ui.pages.base import Page

PAGES: tuple[type[Page], ...] = ()
