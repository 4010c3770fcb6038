"""From nothing to an answer without a network: a toolchain from a folder of wheels, the demo engine, a prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from package_test.checks import must
from package_test.system import System

WHEELS = "/wheels"
QUESTION, ANSWER = "What is the capital of France? Answer in one sentence.", "Paris"
HOME = ".local/share/engine-workbench"


def check_flow(system: System) -> None:
    """As a user with loopback alone."""
    run, needs = system.run, "apt installs it"
    run("toolchain check from wheels", lambda: checked(system), needs)
    run("toolchain installed offline", lambda: installed(system), needs)
    run("demo engine built", lambda: built(system), "toolchain installed offline")
    run("prompt answers Paris", lambda: asked(system), "demo engine built")
    run("self-test with a toolchain", lambda: system.self_test(toolchain=True), "toolchain installed offline")
    run("nothing below /opt by the flow", system.whole, "toolchain installed offline")


def checked(system: System) -> str:
    system.as_user("workbench", "toolchain", "check", "openvino", "--wheels", WHEELS)
    return ""


def installed(system: System) -> str:
    system.as_user("workbench", "toolchain", "install", "openvino", "--wheels", WHEELS, seconds=2400)
    return f"{interpreter(system)}"


def interpreter(system: System, home: str = HOME) -> str:
    """Of the environment that was made, as the user sees it."""
    place = system.chroot.home(system.user) / home / "toolchains" / "openvino"
    # Not by its interpreter: seen from outside, that link leads nowhere.
    found = sorted(path.parent for path in place.glob("*/pyvenv.cfg"))
    must(found, f"no environment in {place}")
    return f"/home/{system.user}/{home}/toolchains/openvino/{found[-1].name}/bin/python"


def built(system: System, environ: Mapping[str, str] | None = None) -> str:
    said = system.as_user(
        "workbench", "demo", seconds=1500, environ={"WORKBENCH_DEMO_WHEEL": WHEELS, **(environ or {})}
    )
    return next((line.strip() for line in said.splitlines() if "TTFT" in line or "tok/s" in line), "")


def asked(system: System, environ: Mapping[str, str] | None = None) -> str:
    said = system.as_user("workbench", "prompt", "last", QUESTION, "--max-tokens", "40", environ=environ)
    must(ANSWER in said, f"it answers: {said}")
    return " ".join(said.split())[:120]


def listed(system: System, what: str, environ: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """`workbench jobs|engines|presets --json`."""
    found = json.loads(system.as_user("workbench", what, "--json", environ=environ))
    return list(found if isinstance(found, list) else next(one for one in found.values() if isinstance(one, list)))


def kept_files(system: System, pattern: str) -> list[Path]:
    """Files of the user's home of the program, from outside."""
    return sorted((system.chroot.home(system.user) / HOME).glob(pattern))
