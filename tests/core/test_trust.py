"""What somebody else could have written does not say what runs here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.core.errors import BlockedError
from workbench.core.home import Home
from workbench.core.home_choice import home_from
from workbench.core.settings import SITE_VARIABLE, is_locked, load_settings
from workbench.core.trust import distrust

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
SITE = """locked = ["serving"]
[folders]
home = "/elsewhere"
models = ["/srv/models"]
toolchains = ["/srv/toolchains"]
[network]
offline = true
package_index = "https://packages.example/simple"
extra_package_indexes = ["https://more.example/simple"]
wheels = "/srv/wheels"
[toolchains.openvino]
python = "/srv/python"
prefix = ["/srv/run", "python3"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    file = tmp_path / "site" / "a.toml"
    file.write_text(SITE)
    file.chmod(0o644)
    return file


def test_what_runs_is_not_taken_from_a_file_that_everybody_may_write(home: Home, site: Path) -> None:
    environ = {SITE_VARIABLE: str(site.parent)}
    good = load_settings(home, environ)
    assert not good.problems and good.values.toolchains["openvino"].prefix == ("/srv/run", "python3")
    site.chmod(0o666)
    loaded = load_settings(home, environ)
    assert not loaded.values.toolchains and "/srv/toolchains" not in loaded.values.folders.toolchains
    network = loaded.values.network
    assert (network.package_index, network.extra_package_indexes, network.wheels) == ("", (), "")
    assert loaded.values.folders.home == "" and home_from(environ).root != Path("/elsewhere")
    assert network.offline and loaded.values.folders.models == ("/srv/models",), "the rest counts"
    assert is_locked(loaded, "serving.allow_network"), "and its locks hold"
    said = " ".join(problem.what for problem in loaded.problems)
    assert len(loaded.problems) == 7 and "toolchains.openvino.prefix" in said and f"may write to {site}" in said
    site.chmod(0o664)
    assert not load_settings(home, environ).problems, "a group is the administrator's to choose"


@needs_root
@pytest.mark.parametrize("own", [False, True])
def test_nor_from_one_of_another_user(home: Home, site: Path, own: bool) -> None:
    environ = {SITE_VARIABLE: str(site.parent)}
    if own:
        site = site.rename(home.root / "settings.toml")
        site.write_text('[toolchains.openvino]\nprefix = ["/srv/run", "python3"]\n')
    assert load_settings(home, environ).values.toolchains
    os.chown(site, 65534, 65534)
    loaded = load_settings(home, environ)
    assert not loaded.values.toolchains and "another user (number 65534)" in loaded.problems[-1].what


@needs_root
def test_a_home_of_the_site_that_is_somebody_elses_is_not_used(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.toml").write_text(f'[folders]\nhome = "{place}"\n')
    environ = {SITE_VARIABLE: str(tmp_path / "site")}
    assert home_from(environ).root == place
    os.chown(place, 65534, 65534)
    with pytest.raises(BlockedError, match="not safe to use") as caught:
        home_from(environ)
    assert str(place) in caught.value.evidence


def test_folders_with_the_sticky_bit_are_as_good_as_what_is_in_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    assert distrust(tmp_path) == "" == distrust(tmp_path / "not-there")
    tmp_path.chmod(0o777)
    assert "everybody" in distrust(tmp_path)
