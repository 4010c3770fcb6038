"""Whose home it is: the environment names it, else the site's settings, else the platform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.core.errors import BlockedError
from workbench.core.home import HOME_VARIABLE, Home, expanded
from workbench.core.settings_load import site_home
from workbench.core.trust import distrust


def home_from(environment: Mapping[str, str]) -> Home:
    """The home that the environment names, else the site's settings, else the platform's; nothing is created.

    Raises BlockedError when the folder that the site's settings give this user is somebody else's.
    """
    named = environment.get(HOME_VARIABLE, "")
    if named:
        return Home(expanded(named))
    import platformdirs  # which a toolchain's interpreter need not have

    place = site_home(environment)
    if place is not None and (why := distrust(place)):
        raise BlockedError(
            "The folder for your data is not safe to use.",
            evidence=why,
            fix=f"Ask the administrator: folders.home of the site's settings names it. {HOME_VARIABLE} names another.",
            code="home-not-writable",
        )
    return Home(place or Path(platformdirs.user_data_dir("engine-workbench", appauthor=False)))
