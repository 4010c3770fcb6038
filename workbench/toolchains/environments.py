"""Finding a toolchain's interpreters: named in the environment, made by the workbench, or this one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.core.messages import Error, Result, RubbishError, StepSpec, parse_message
from workbench.toolchains.base import Environment, Package, Toolchain
from workbench.toolchains.code import package_root, staged_root

_PROBE_SECONDS = 60.0
_IMPORT_SECONDS = 300.0
"""With imports: TensorRT-LLM's takes 10 to 40 s from a warm disk."""


_REMOTE_SECONDS = 600.0
"""How long an answer from a container or another machine is kept: nothing here shows when packages change there."""


class Wanted(Protocol):
    """What is looked for: a toolchain, or a part of one that has an interpreter of its own."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def packages(self) -> tuple[Package, ...]: ...
    @property
    def install_hint(self) -> str: ...


def variable_of(toolchain: str) -> str:
    """The environment variable that names an interpreter for a toolchain."""
    return f"WORKBENCH_{toolchain.upper()}_PYTHON"


def prefix_variable_of(toolchain: str) -> str:
    """The one that names an argv prefix whose last word is an interpreter in a container or on another machine."""
    return f"WORKBENCH_{toolchain.upper()}_PREFIX"


def find_environments(toolchain: Wanted, home: Home, environ: Mapping[str, str]) -> list[Environment]:
    """All interpreters that could hold the toolchain, the preferred one first, each looked at."""
    candidates: list[tuple[str, str]] = []
    found = []
    if prefix := _named_prefix(toolchain.name, environ):
        found.append(look_at_prefix(toolchain, prefix, home, f"named by {prefix_variable_of(toolchain.name)}"))
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
    for python, origin in candidates:
        if python not in seen:
            seen.add(python)
            found.append(_look(toolchain, python, origin, home))
    return found


def best_environment(toolchain: Toolchain, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first usable environment, else the preferred one: plans can be made, if not run, without any.

    With those of the toolchain's further parts, found in the same way.
    """
    others = {part.name: _best(part, home, environ) for part in toolchain.parts}
    return replace(_best(toolchain, home, environ), others=others)


def _best(wanted: Wanted, home: Home, environ: Mapping[str, str]) -> Environment:
    found = find_environments(wanted, home, environ)
    return next((environment for environment in found if environment.usable), found[0])


def engine_environment(toolchain: Wanted, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first that is usable, else the first that lacks only what builds need: it runs engines all the same.

    Raises BlockedError.
    """
    found = find_environments(toolchain, home, environ)
    for_builds = {package.name for package in toolchain.packages if package.for_builds}
    runs = (environment for environment in found if not environment.problem and for_builds >= {*environment.missing})
    usable = next((environment for environment in found if environment.usable), None) or next(runs, None)
    return usable or choose_environment(toolchain, home, environ)


def choose_environment(toolchain: Wanted, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first usable environment. Raises BlockedError that says what the preferred one lacks."""
    found = _best(toolchain, home, environ)
    if not found.usable:
        raise BlockedError(
            f"No interpreter here holds {toolchain.title}.",
            evidence=found.lacks,
            fix=toolchain.install_hint,
            code="no-environment",
        )
    return found


def _named_prefix(name: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The prefix that the environment names. Raises BadInputError when it is no command line."""
    text = environ.get(prefix_variable_of(name), "")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInputError(
            f"{prefix_variable_of(name)} is not a command line.",
            evidence=f"{text}: {error}",
            fix="Write it as in: docker run -i --rm --gpus all IMAGE python3",
            code="bad-prefix",
        ) from None
    return tuple(words)


def look_at_prefix(toolchain: Wanted, prefix: tuple[str, ...], home: Home, origin: str) -> Environment:
    """Ask an interpreter in a container or on another machine; its answer is kept for a while."""
    environment = Environment(toolchain.name, prefix, origin, named=True)
    try:
        environment = replace(environment, worker_path=str(staged_root(home)))
        wanted = [package.name for package in toolchain.packages]
        known = _cached(home, shlex.join(prefix))
        if known and known.get("packages") == wanted and abs(time.time() - float(known["at"])) < _REMOTE_SECONDS:
            versions = dict(known["versions"])
        else:
            settings: dict[str, object] = {"packages": wanted, "import": False, "paths": [str(home.root)]}
            found: dict[str, Any] = dict(probe_worker(environment, settings, paths=(home.root,)))
            if found.get("unseen"):
                raise ValueError(_not_seen(home.root))
            versions = dict(found["versions"])
            _remember(home, shlex.join(prefix), {"at": time.time(), "packages": wanted, "versions": versions})
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        text = _first_line(error)
        if re.search(r"No module named '?workbench", text):
            text = _not_seen(Path(environment.worker_path))
        if "python" not in Path(prefix[-1]).name:
            text += f"; a prefix ends with the interpreter, such as python3, and this one with {prefix[-1]}"
        return replace(environment, problem=f"could not be asked: {text}")
    return judged(toolchain, environment, versions)


def _not_seen(folder: Path) -> str:
    return (
        f"{folder} is not there under that name, and workers read and write under it; share it with that machine, or "
        "set WORKBENCH_HOME to a folder that both see"
    )


def look_at_python(toolchain: Wanted, python: str, origin: str, home: Home) -> Environment:
    """Ask an interpreter of this machine, whose name or path is given."""
    found = shutil.which(python) or python
    return replace(_look(toolchain, str(Path(found).absolute()), origin, home), named=True)


def _look(toolchain: Wanted, python: str, origin: str, home: Home) -> Environment:
    named = origin.startswith("named by")
    made = origin.startswith("made by")
    environment = Environment(
        toolchain.name, (python,), origin, worker_path=str(package_root()), named=named, made=made
    )
    if python == sys.executable:
        return judged(toolchain, environment, installed_versions(toolchain.packages))
    try:
        environment = replace(environment, worker_path=str(staged_root(home)))
        versions = _probe(python, environment, toolchain.packages, home)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return replace(environment, problem=f"could not be asked: {_first_line(error)}")
    return judged(toolchain, environment, versions)


def judged(toolchain: Wanted, environment: Environment, versions: Mapping[str, str]) -> Environment:
    """The environment with these versions, and what is missing or wrong among them."""
    missing = tuple(p.name for p in toolchain.packages if p.required and p.name not in versions)
    problems = [_version_problem(p, versions[p.name]) for p in toolchain.packages if p.name in versions]
    problem = "; ".join(text for text in problems if text)
    return replace(environment, versions=versions, missing=missing, problem=problem)


def _version_problem(package: Package, version: str) -> str:
    """Why this version cannot be used; empty when it can."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
    if package.newest and numbers[: len(package.newest)] > package.newest:
        return f"has {package.name} {version}: {package.too_new}"
    if package.oldest and numbers[: len(package.oldest)] < package.oldest:
        return f"has {package.name} {version}, older than {'.'.join(map(str, package.oldest))}"
    return ""


def installed_versions(packages: tuple[Package, ...]) -> dict[str, str]:
    """Versions in this interpreter, from metadata alone."""
    versions = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    by_folder = _versions_by_folder(tuple(sys.path))
    for package in packages:
        # Reading one METADATA file takes 2 ms, and `check` is to answer at once.
        if version := by_folder.get(re.sub(r"[-_.]+", "_", package.name).lower()):
            versions[package.name] = version
            continue
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package.name] = importlib.metadata.version(package.name)
    return versions


def _versions_by_folder(path: tuple[str, ...]) -> dict[str, str]:
    """Versions as the names of NAME-VERSION.dist-info folders tell them; the first on the path counts."""
    found: dict[str, str] = {}
    for place in path:
        with contextlib.suppress(OSError):
            for name in os.listdir(place or "."):  # noqa: PTH208 - names alone, and pathlib is slower
                words = name.removesuffix(".dist-info").split("-") if name.endswith(".dist-info") else []
                if len(words) == 2:
                    found.setdefault(re.sub(r"[-_.]+", "_", words[0]).lower(), words[1])
    return found


def _probe(python: str, environment: Environment, packages: tuple[Package, ...], home: Home) -> dict[str, str]:
    """Ask another interpreter for its versions; the answer is kept until its packages change."""
    site = sorted(Path(python).parent.parent.glob("lib/python3*/site-packages"))
    stamp = [[str(p), p.stat().st_mtime_ns] for p in site]
    wanted = [package.name for package in packages]
    name = f"{python} {','.join(wanted)}"
    entry = _cached(home, name)
    if entry and entry.get("stamp") == stamp:
        return dict(entry["versions"])
    versions = probe_worker(environment, {"packages": wanted, "import": False})["versions"]
    if stamp:
        _remember(home, name, {"stamp": stamp, "packages": wanted, "versions": versions})
    return dict(versions)


def _cache(home: Home) -> dict[str, Any]:
    try:
        known = json.loads((home.cache / "environments.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _cached(home: Home, name: str) -> dict[str, Any] | None:
    entry = _cache(home).get(name)
    return entry if isinstance(entry, dict) else None


def _remember(home: Home, name: str, entry: dict[str, Any]) -> None:
    cache = home.cache / "environments.json"
    temporary = cache.with_name(f".environments.{os.getpid()}.new")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps({**_cache(home), name: entry}), "utf-8")
        temporary.replace(cache)


class WorkerSaidError(ValueError):
    """A worker's own words of why it has no answer: `message` has them with cause and hint."""

    def __init__(self, message: Error) -> None:
        super().__init__(message.message)
        self.message = message


def probe_worker(
    environment: Environment, settings: dict[str, object], *, paths: tuple[Path, ...] = ()
) -> dict[str, dict[str, str]]:
    """Run the probe worker to its end and give its result. `paths` are what a container must see.

    Raises OSError, subprocess.SubprocessError, or ValueError with the reason in words.
    """
    seconds = _IMPORT_SECONDS if settings.get("import") else _PROBE_SECONDS
    return ask_worker(environment, "probe", settings, seconds, paths=paths)


def ask_worker(
    environment: Environment, worker: str, settings: dict[str, object], seconds: float, *, paths: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Run a worker that only answers, to its end; it is killed after `seconds`. Its result.

    Raises OSError, subprocess.SubprocessError, or ValueError with the reason in words; a WorkerSaidError, which is
    one, where the worker gave it.
    """
    spec = StepSpec(worker=worker, settings=settings).model_dump_json()
    with (
        tempfile.TemporaryFile() as raw,
        subprocess.Popen(
            environment.argv(f"workbench.workers.{worker}", paths=paths),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=raw,
            cwd="/",  # `-m` looks in the working folder first, and the person's may hold anything
            env={**os.environ, **environment.env()},
            start_new_session=True,
            bufsize=0,  # what a dead program does not take is not tried again when its pipe is closed
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        deadline = threading.Timer(seconds, process.kill)
        deadline.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once: what it said tells why
                process.stdin.write(spec.encode() + b"\n")
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
                raise WorkerSaidError(message)
    raise ValueError(errors[-1] if errors else "it said nothing")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
