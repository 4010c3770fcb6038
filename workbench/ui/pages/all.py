"""The pages of this version, in the order of the rail."""

from __future__ import annotations

from workbench.ui.pages.base import Page
from workbench.ui.pages.doctor import DoctorPage
from workbench.ui.pages.engines import EnginesPage
from workbench.ui.pages.jobs import JobsPage

PAGES: tuple[type[Page], ...] = (JobsPage, EnginesPage, DoctorPage)
