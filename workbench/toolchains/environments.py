"""Finding a toolchain's interpreters: named in the environment, made by the workbench, or this one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from workbench.core.errors import BlockedError
from workbench.core.home import Home
from workbench.core.messages import Error, Result, RubbishError, StepSpec, parse_message
from workbench.toolchains.base import Environment, Package, Toolchain
from workbench.toolchains.code import package_root, staged_root

_PROBE_SECONDS = 60.0


def variable_of(toolchain: str) -> str:
    """The environment variable that names an interpreter for a toolchain."""
    return f"WORKBENCH_{toolchain.upper()}_PYTHON"


def find_environments(toolchain: Toolchain, home: Home, environ: Mapping[str, str]) -> list[Environment]:
    """All interpreters that could hold the toolchain, the preferred one first, each looked at."""
    candidates: list[tuple[str, str]] = []
    if named := environ.get(variable_of(toolchain.name)):
        # Absolute, since workers start in other folders than this one.
        python = shutil.which(named) or named
        candidates.append((str(Path(python).absolute()), f"named by {variable_of(toolchain.name)}"))
    made = home.environments / toolchain.name
    with contextlib.suppress(OSError):
        candidates.extend(
            (str(folder / "bin" / "python"), f"made by the workbench: {folder.name}")
            for folder in sorted(made.iterdir())
            if (folder / "bin" / "python").exists()
        )
    candidates.append((sys.executable, "the workbench's own interpreter"))
    seen: set[str] = set()
    found = []
    for python, origin in candidates:
        if python not in seen:
            seen.add(python)
            found.append(_look(toolchain, python, origin, home))
    return found


def best_environment(toolchain: Toolchain, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first usable environment, else the preferred one: plans can be made, if not run, without any."""
    found = find_environments(toolchain, home, environ)
    return next((environment for environment in found if environment.usable), found[0])


def choose_environment(toolchain: Toolchain, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first usable environment. Raises BlockedError that says what the preferred one lacks."""
    found = best_environment(toolchain, home, environ)
    if not found.usable:
        raise BlockedError(
            f"No interpreter here holds {toolchain.title}.",
            evidence=found.lacks,
            fix=toolchain.install_hint,
            code="no-environment",
        )
    return found


def _look(toolchain: Toolchain, python: str, origin: str, home: Home) -> Environment:
    if python == sys.executable:
        versions = installed_versions(toolchain.packages)
        return _judged(toolchain, python, origin, versions, str(package_root()))
    try:
        worker_path = str(staged_root(home))
        versions = _probe(python, worker_path, toolchain.packages, home)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Environment(toolchain.name, (python,), origin, problem=f"could not be asked: {_first_line(error)}")
    return _judged(toolchain, python, origin, versions, worker_path)


def _judged(
    toolchain: Toolchain, python: str, origin: str, versions: Mapping[str, str], worker_path: str
) -> Environment:
    missing = tuple(p.name for p in toolchain.packages if p.required and p.name not in versions)
    return Environment(toolchain.name, (python,), origin, versions, missing, worker_path=worker_path)


def installed_versions(packages: tuple[Package, ...]) -> dict[str, str]:
    """Versions in this interpreter, from metadata alone."""
    versions = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package.name] = importlib.metadata.version(package.name)
    return versions


def _probe(python: str, worker_path: str, packages: tuple[Package, ...], home: Home) -> dict[str, str]:
    """Ask another interpreter for its versions; the answer is kept until its packages change."""
    site = sorted(Path(python).parent.parent.glob("lib/python3*/site-packages"))
    stamp = [[str(p), p.stat().st_mtime_ns] for p in site]
    cache = home.cache / "environments.json"
    try:
        known = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    entry = known.get(python) if isinstance(known, dict) else None
    wanted = [package.name for package in packages]
    if isinstance(entry, dict) and entry.get("stamp") == stamp and entry.get("packages") == wanted:
        return dict(entry["versions"])
    versions = probe_worker((python,), worker_path, {"packages": wanted, "import": False})["versions"]
    if stamp:
        fresh = {**(known if isinstance(known, dict) else {})}
        fresh[python] = {"stamp": stamp, "packages": wanted, "versions": versions}
        temporary = cache.with_name(f".environments.{os.getpid()}.new")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(fresh), "utf-8")
            temporary.replace(cache)
    return dict(versions)


def probe_worker(prefix: tuple[str, ...], worker_path: str, settings: dict[str, object]) -> dict[str, dict[str, str]]:
    """Run the probe worker to its end and give its result.

    Raises OSError, subprocess.SubprocessError, or ValueError with the reason in words.
    """
    spec = StepSpec(worker="probe", settings=settings).model_dump_json()
    with (
        tempfile.TemporaryFile() as raw,
        subprocess.Popen(
            [*prefix, "-m", "workbench.workers.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=raw,
            cwd="/",  # `-m` looks in the working folder first, and the person's may hold anything
            env={**os.environ, "PYTHONPATH": worker_path},
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        deadline = threading.Timer(_PROBE_SECONDS, process.kill)
        deadline.start()
        try:
            process.stdin.write(spec.encode() + b"\n")
            process.stdin.flush()
            # stdin stays open until the answer is there: the worker takes its end for the end of its starter.
            lines = process.stdout.read().splitlines()
        finally:
            deadline.cancel()
            process.kill()
        raw.seek(0)
        errors = raw.read().decode("utf-8", "replace").strip().splitlines()
    for line in lines:
        with contextlib.suppress(RubbishError):
            message = parse_message(line)
            if isinstance(message, Result):
                return message.data
            if isinstance(message, Error):
                raise ValueError(message.message)
    raise ValueError(errors[-1] if errors else "it said nothing")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
