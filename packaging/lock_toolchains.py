"""Writes the toolchains' requirements.lock files: the versions that pip takes today, for their versions of Python.

`python packaging/lock_toolchains.py --python PATH --python PATH --python PATH [--keep torch==2.13.0 ...]`, with an
interpreter of each version from 3.10 to 3.12; `--only NAME` for one toolchain. Run by hand when versions are to be
moved on, with a torch that is not of a CPU build in sight: a CPU build wants no CUDA libraries, and their versions
would be missing. Then test what was locked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from workbench.toolchains.install.recipes import RECIPES  # noqa: E402

_HEAD = """\
# Versions that were tested together, for Python {first} to {last} on Linux x86-64. Used as pip's constraints: what is \
not
# wanted by an environment (a CPU build of torch wants no CUDA library) is not installed. A version here is also met by
# its local builds (2.13.0+cpu). Made by packaging/lock_toolchains.py.
"""


def head_of(pythons: Sequence[str]) -> str:
    """What a lock begins with; `pythons` are its recipe's, the best first."""
    return _HEAD.format(first=pythons[-1], last=pythons[0])


def resolved(python: str, files: list[Path], keep: list[str]) -> tuple[str, dict[str, str]]:
    """The interpreter's version, and name -> version of all that its pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "keep.txt"), Path(folder, "report.json")
        constraints.write_text("\n".join(keep) + "\n")
        argv = [sys.executable, "-m", "pip", "--python", python, "install", "--dry-run", "--ignore-installed", "-q"]
        argv += ["--report", str(report), "-c", str(constraints)]
        for file in files:
            argv += ["-r", str(file)]
        subprocess.run(argv, check=True)
        found = json.loads(report.read_text())
    versions = {
        re.sub(r"[-_.]+", "-", row["metadata"]["name"]).lower(): row["metadata"]["version"].split("+")[0]
        for row in found["install"]
    }
    return found["environment"]["python_version"], versions


def version_of(python: str) -> str:
    """The interpreter's version, such as 3.12."""
    program = "import sys; print('{}.{}'.format(*sys.version_info[:2]))"
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def lines(by_python: Mapping[str, Mapping[str, str]]) -> list[str]:
    """`name==version` for all, or with a marker where versions of Python differ; an older one takes its successor's."""
    pythons = sorted(by_python, key=lambda text: int(text.split(".")[1]))
    found = []
    for name in sorted({name for versions in by_python.values() for name in versions}):
        wanted = [by_python[python].get(name) for python in pythons]
        for at in range(len(wanted) - 1, -1, -1):
            wanted[at] = wanted[at] or next((v for v in wanted[at + 1 :] + wanted[at::-1] if v), None)
        if len(set(wanted)) == 1:
            found.append(f"{name}=={wanted[0]}")
            continue
        begins = [at for at in range(len(pythons)) if at == 0 or wanted[at] != wanted[at - 1]]
        for at, after in itertools.pairwise([*begins, len(pythons)]):
            bounds = [f">= '{pythons[at]}'"] if at else []
            bounds += [f"< '{pythons[after]}'"] if after < len(pythons) else []
            marker = " and ".join(f"python_version {bound}" for bound in bounds)
            if at and after == at + 1 < len(pythons):
                marker = f"python_version == '{pythons[at]}'"
            found.append(f"{name}=={wanted[at]} ; {marker}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", required=True)
    parser.add_argument("--keep", action="append", default=[])
    parser.add_argument("--only", action="append", default=[], help="a recipe's name; left out: all")
    given = parser.parse_args()
    pythons = {version_of(python): python for python in given.python}
    for recipe in (each for each in RECIPES.values() if not given.only or each.name in given.only):
        every = [each for each in (*recipe.lists, *recipe.lists_gpu) if each.lock is not None]
        if every:
            files = [each.file for each in every]
            fitting = sorted(set(pythons) & set(recipe.pythons))
            by_python = dict(resolved(pythons[version], files, given.keep) for version in fitting)
            lock = every[0].lock
            assert lock is not None
            lock.write_text(head_of(recipe.pythons) + "\n".join(lines(by_python)) + "\n")
            print(f"{lock.relative_to(ROOT)}: {', '.join(f'{k} {len(v)}' for k, v in by_python.items())}")


if __name__ == "__main__":
    main()
