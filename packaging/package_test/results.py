"""packaging/RESULTS.md: what was checked, on what, when, with what outcome; suites may be run one after the other."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from package_test.bases import TITLES
from package_test.checks import Check, call

SIGNS = {"ok": "ok", "FAILED": "**FAILED**", "not run": "not run"}


def commit(folder: Path) -> str:
    """Of the checkout that the test comes from, and whether it was changed; empty where there is no git."""
    try:
        name = call("git", "-C", folder, "rev-parse", "HEAD")
        changed = call("git", "-C", folder, "status", "--porcelain")
    except OSError:
        return ""
    return name.stdout.strip() + (" and changes that are not committed" if changed.stdout.strip() else "")


def merged(kept: dict[str, Any], facts: dict[str, str], checks: list[Check], extra: dict[str, Any]) -> dict[str, Any]:
    """Outcomes with those of earlier runs on the same package; a group that was run again has the new ones alone."""
    if kept.get("facts", {}).get("package's SHA-256") != facts["package's SHA-256"]:
        kept = {}
    groups = {check.group for check in checks}
    old = [one for one in kept.get("checks", []) if one["group"] not in groups]
    return {
        "facts": {**kept.get("facts", {}), **facts},
        "checks": old + [asdict(check) for check in checks],
        "suites": {**kept.get("suites", {}), **extra},
    }


def write(path: Path, outcomes: Path, facts: dict[str, str], checks: list[Check], suites: dict[str, Any]) -> None:
    """The table, and beside it in `outcomes` what a later run of other suites adds to."""
    kept = json.loads(outcomes.read_text()) if outcomes.is_file() else {}
    now = merged(kept, facts, checks, suites)
    outcomes.parent.mkdir(parents=True, exist_ok=True)
    outcomes.write_text(json.dumps(now, indent=1) + "\n")
    path.write_text(text(now), encoding="utf-8")


def text(kept: dict[str, Any]) -> str:
    """The page in Markdown."""
    checks = [Check(**one) for one in kept["checks"]]
    count = {state: sum(check.state == state for check in checks) for state in SIGNS}
    lines = [
        "# Last test of the package",
        "",
        "Written by `packaging/test_package.sh --results`; how to run it stands there. Not edited by hand.",
        "",
        f"{count['ok']} ok, {count['FAILED']} failed, {count['not run']} not run.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {cell(value)} |" for name, value in kept["facts"].items()),
        "",
    ]
    groups = sorted({check.group for check in checks}, key=lambda one: (one != "package", one))
    for group in groups:
        lines += [f"## {heading(group, kept['suites'].get(group, {}))}", ""]
        lines += ["| check | outcome | seconds | |", "|---|---|---:|---|"]
        for check in checks:
            if check.group == group:
                first = check.detail.splitlines()[0] if check.detail else ""
                lines.append(f"| {check.name} | {SIGNS[check.state]} | {check.seconds:.1f} | {cell(first)} |")
        lines.append("")
        if pulled := kept["suites"].get(group, {}).get("pulled"):
            names = ", ".join(one.split()[0] for one in pulled)
            lines += [f"Installed by apt, with the package ({len(pulled)}): {names}.", ""]
    if failed := [check for check in checks if check.state == "FAILED"]:
        lines += ["## What failed", ""]
        for check in failed:
            lines += [f"{check.group}, {check.name}:", "", "```", *check.detail.splitlines()[:30], "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def heading(group: str, facts: dict[str, Any]) -> str:
    if group == "package":
        return "The package itself"
    return f"{facts.get('system') or TITLES.get(group, group)} ({group})"


def cell(value: str) -> str:
    """Text that a table's cell can hold."""
    return value.replace("|", "\\|").replace("\n", " ")


def today() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
