"""Servers that the settings keep to this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.core.settings import SITE_VARIABLE, save_setting
from workbench.serve.client import check_address, network_refusal


def test_no_address_beyond_this_machine_where_the_settings_forbid_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SITE_VARIABLE, str(tmp_path))
    check_address("0.0.0.0", 0, has_key=True, home=home)
    assert network_refusal(home) == ""
    (tmp_path / "lab.toml").write_text('locked = ["serving"]\n[serving]\nallow_network = false\n')
    for host in ("0.0.0.0", "::", "192.0.2.1", "lab.example"):
        with pytest.raises(BlockedError) as refused:
            check_address(host, 0, has_key=True, home=home)
        assert refused.value.failure.code == "no-network-serving" and str(tmp_path) in refused.value.evidence
    check_address("127.0.0.1", 0, has_key=False, home=home)
    with pytest.raises(BadInputError, match="API key"):
        check_address("0.0.0.0", 0, has_key=False, home=home)
    with pytest.raises(BlockedError):
        save_setting(home, None, "serving.allow_network", True)
