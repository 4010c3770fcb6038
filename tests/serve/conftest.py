"""No server outlives the test that started it, whatever becomes of the test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from workbench.core.home_choice import home_from
from workbench.serve import client


@pytest.fixture(autouse=True)
def _no_server_is_left(_own_home: None) -> Iterator[None]:
    home = home_from(os.environ)
    yield
    for each in client.list_servings(home):
        if client.stop(each.folder, now=True):
            client.wait_ended(each.folder, 30)
