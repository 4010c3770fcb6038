"""What toolchains need from around them: CUDA, MPI, and where pip gets packages from. For the doctor's report."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.toml_words import PASSWORD

_ANSWER_S = 15.0
_REACH_S = 60.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_ALWAYS_THERE = "pip"
"""Every package index that can install anything has it."""


def cuda_version(number: int) -> str:
    """CUDA's own way to write a version as a number, 12040, as people write it: 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def cuda_toolkit(environ: Mapping[str, str]) -> dict[str, str] | None:
    """Folder and version of the CUDA toolkit: by CUDA_HOME, nvcc on PATH, or the usual place. None: none was found."""
    found = shutil.which("nvcc", path=environ.get("PATH"))
    named = [environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if environ.get(name)]
    places = [*map(Path, named), *([Path(found).resolve().parent.parent] if found else []), Path("/usr/local/cuda")]
    for place in places:
        if version := _toolkit_version(place):
            return {"path": str(place), "version": version}
    return {"path": str(places[0]), "version": ""} if named or found else None


def _toolkit_version(place: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((place / "version.json").read_text("utf-8"))["cuda"]["version"])
    nvcc = place / "bin" / "nvcc"
    if not nvcc.is_file():
        return ""
    found = re.search(r"release (\d+\.\d+)", _said([str(nvcc), "--version"]))
    return found[1] if found else ""


def mpi_report(environ: Mapping[str, str]) -> dict[str, str]:
    """`mpirun`: its path, empty when there is none; `version`: what it says of itself."""
    path = shutil.which("mpirun", path=environ.get("PATH")) or ""
    said = _said([path, "--version"]).strip().splitlines() if path else []
    return {"mpirun": path, "version": said[0].strip()[:120] if said else ""}


def network_report(environ: Mapping[str, str], *, reach: bool = False) -> dict[str, Any]:
    """Where pip is set to get packages from, proxies, and whether this machine has a route out. With `reach` pip is
    asked whether the index answers, which takes up to a minute; `reached` is None when it was not asked.

    Passwords in addresses are not shown.
    """
    settings = pip_settings(environ)
    reached, problem = _reach(environ) if reach else (None, "")
    proxies = {
        name.lower(): without_password(value)
        for name, value in sorted(environ.items())
        if name.lower() in _PROXIES and value
    }
    if "proxy" in settings:
        proxies["pip's proxy"] = without_password(settings["proxy"])
    indexes = [*settings.get("index-url", "").split(), *settings.get("extra-index-url", "").split()]
    return {
        "indexes": [without_password(index) for index in indexes],
        "find_links": [without_password(place) for place in settings.get("find-links", "").split()],
        "no_index": settings.get("no-index", "").lower() in ("1", "true", "yes", "on"),
        "proxies": proxies,
        "route": has_route(),
        "reached": reached,
        "problem": problem,
    }


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What `pip config list` says, the environment's word last, as pip itself reads it. Empty when pip says nothing."""
    found: dict[str, str] = {}
    of_environment: dict[str, str] = {}
    for line in _said([sys.executable, "-m", "pip", "config", "list"], environ).splitlines():
        match = re.match(r"(:env:|global|install|download)\.([a-z-]+)='(.*)'$", line)
        if match:
            (of_environment if match[1] == ":env:" else found)[match[2]] = match[3].replace("\\n", " ")
    return {**found, **of_environment}


def has_route(folder: Path = Path("/proc/net")) -> bool | None:
    """Whether there is a way out of this machine: a default route. None where the system does not tell."""
    told = False
    for name, column, nowhere in (("route", 1, "0" * 8), ("ipv6_route", 0, "0" * 32)):
        try:
            lines = (folder / name).read_text().splitlines()
        except OSError:
            continue
        told = True
        for line in lines:
            words = line.split()
            if len(words) > column and words[column] == nowhere and words[-1] != "lo":
                return True
    return False if told else None


def without_password(address: str) -> str:
    """An address without the name and password that may stand in it."""
    return PASSWORD.sub("(not shown)@", address)


def offline_words(network: Mapping[str, Any]) -> str:
    """Why packages cannot be had from an index, in a sentence; empty when they can, as far as is known."""
    if network.get("forbidden"):
        return f"The settings forbid the network: network.offline is true in {network['forbidden']}."
    if network["no_index"]:
        return "pip is set to use no package index."
    if network["reached"] is False:
        return "The package index does not answer."
    local = any(place.startswith(("/", "file:")) for place in (*network["indexes"], *network["find_links"]))
    if network["route"] is False and network["reached"] is None and not local and not network["proxies"]:
        return "This machine has no route to a network."
    return ""


def _reach(environ: Mapping[str, str]) -> tuple[bool, str]:
    argv = [sys.executable, "-m", "pip", "index", "versions", _ALWAYS_THERE]
    argv += ["--disable-pip-version-check", "--retries", "0", "--timeout", "10"]
    try:
        done = _run(argv, environ, _REACH_S)
    except (OSError, subprocess.SubprocessError) as error:
        return False, str(error)[:200]
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return done.returncode == 0, "" if done.returncode == 0 else without_password(errors[0][:300] if errors else "")


def _said(argv: list[str], environ: Mapping[str, str] | None = None) -> str:
    """What a program prints; empty when it cannot be run, fails, or does not end in time."""
    try:
        done = _run(argv, environ, _ANSWER_S)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _run(argv: list[str], environ: Mapping[str, str] | None, seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        cwd="/",  # `-m` looks in the working folder first
        env=dict(environ) if environ is not None else None,
        check=False,
    )
