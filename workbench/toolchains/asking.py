"""Asking an interpreter: which versions it holds, kept until they change, and what a worker in it answers."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from workbench.core.home import Home
from workbench.core.messages import Error, Result, RubbishError, StepSpec, parse_message
from workbench.toolchains.base import Environment, Package

_PROBE_SECONDS = 60.0
_IMPORT_SECONDS = 300.0
"""With imports: TensorRT-LLM's takes 10 to 40 s from a warm disk."""


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


def probed_versions(python: str, environment: Environment, packages: tuple[Package, ...], home: Home) -> dict[str, str]:
    """Ask another interpreter for its versions; the answer is kept until its packages change, or it does itself."""
    site = sorted(Path(python).parent.parent.glob("lib/python3*/site-packages"))
    stamp = [[str(p), p.stat().st_mtime_ns] for p in (*site, Path(os.path.realpath(python)))]
    wanted = [package.name for package in packages]
    name = f"{python} {','.join(wanted)}"
    entry = cached(home, name)
    if entry and entry.get("stamp") == stamp:
        return dict(entry["versions"])
    versions = probe_worker(environment, {"packages": wanted, "import": False})["versions"]
    if site:
        remember(home, name, {"stamp": stamp, "packages": wanted, "versions": versions})
    return dict(versions)


def _cache(home: Home) -> dict[str, Any]:
    try:
        known = json.loads((home.cache / "environments.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def cached(home: Home, name: str) -> dict[str, Any] | None:
    """What was kept of an interpreter's answer under that name."""
    entry = _cache(home).get(name)
    return entry if isinstance(entry, dict) else None


def remember(home: Home, name: str, entry: dict[str, Any]) -> None:
    """Keep an answer; one that cannot be kept is asked for again."""
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
