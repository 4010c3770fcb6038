"""A copy of the checkout that may be broken, and what its self-test says then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.plans import ROOT


@dataclass(frozen=True)
class Said:
    """What the self-test found, by the names of its checks."""

    code: int
    found: dict[str, dict[str, Any]]
    text: str = ""

    @property
    def failed(self) -> set[str]:
        return {name for name, each in self.found.items() if each["status"] == "failed"}

    def words(self, name: str) -> str:
        """A failure's sentence and its evidence."""
        failure = self.found[name]["failure"]
        return f"{failure['what']}\n{failure['evidence']}\n{failure['fix']}"


def copy_tree(folder: Path) -> Path:
    """The package, its data and its project file, with what was compiled."""
    for name in ("workbench", "resources", "presets"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def environment(home: Path, tree: Path = ROOT) -> dict[str, str]:
    return {**os.environ, "WORKBENCH_HOME": str(home), "PYTHONPATH": str(tree), "COLUMNS": "200"}


def self_test_of(tree: Path, home: Path, *options: str) -> Said:
    """The command, by the tree's own code."""
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "self-test", "--json", "--patience", "4", *options],
        cwd=tree, env=environment(home, tree), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return Said(done.returncode, {each["name"]: each for each in json.loads(done.stdout)["findings"]}, done.stderr)
