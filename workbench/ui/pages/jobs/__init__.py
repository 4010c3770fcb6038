"""The Jobs page: the queue, the chosen job's steps and cause, and its live log."""

from workbench.ui.pages.jobs.page import JobsPage

__all__ = ["JobsPage"]
