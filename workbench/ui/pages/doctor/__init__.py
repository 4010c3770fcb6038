"""Doctor: what this machine has and lacks, each problem with its fix."""

from workbench.ui.pages.doctor.page import DoctorPage

__all__ = ["DoctorPage"]
