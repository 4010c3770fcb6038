"""`workbench toolchain`: list, check, install, uninstall, bundle."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from workbench.cli.context import Context
from workbench.cli.follow import start_and_follow
from workbench.cli.jobs import end_with
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.plan import Plan
from workbench.core.preset_check import shown_argv
from workbench.core.units import format_bytes
from workbench.jobs import client
from workbench.toolchains.install.checks import Check, refuse
from workbench.toolchains.install.manage import Found, environment_folder, inventory, uninstall
from workbench.toolchains.install.plan import (
    Install,
    bundle_plan,
    checks_without_python,
    install_checks,
    install_plan,
    plan_install,
)
from workbench.toolchains.install.recipes import RECIPES, recipe_of


def run_list(context: Context) -> None:
    with context.err.status("Looking …"):
        found = inventory(context.home)
    if context.as_json:
        context.result([_row(each) for each in found])
        return
    lines = []
    for name, recipe in RECIPES.items():
        lines.append(f"{name}  {recipe.title}")
        mine = [each for each in found if each.toolchain == name]
        # This program's own interpreter is none, where nobody has put the toolchain into it.
        shown = [each for each in mine if each.environment.usable or each.name or each.environment.named
                 or "administrator" in each.environment.origin]  # fmt: skip
        for each in shown:
            environment = each.environment
            state = "used" if each.used else "ok" if environment.usable else "not usable"
            lines.append(f"  {state:<10} {' '.join(shown_argv(environment.prefix))} ({environment.origin})")
            if not environment.usable:
                lines.append(f"             {environment.problem or 'lacks ' + ', '.join(environment.missing)}")
        if not shown:
            lines.append(f"  none; to have it: workbench toolchain install {name}")
    context.result(None, "\n".join(lines))


def _row(found: Found) -> dict[str, Any]:
    environment = found.environment
    return {
        "toolchain": found.toolchain,
        "name": found.name or None,
        "interpreter": list(shown_argv(environment.prefix)),
        "origin": environment.origin,
        "used": found.used,
        "usable": environment.usable,
        "problem": environment.problem,
        "missing": list(environment.missing),
        "versions": dict(environment.versions),
    }


def _prepared(context: Context, name: str, called: str = "", **options: Any) -> tuple[Install, tuple[Check, ...]]:
    with context.err.status("Looking …"):
        install = plan_install(context.home, name, name=called, **options)
        checks = install_checks(install)
    return install, checks


def _say(context: Context, install: Install, checks: Sequence[Check]) -> None:
    verb = "goes on with" if install.goes_on else "to be made:"
    lines = [f"{install.recipe.title}, {verb} {install.folder}", *(f"  {check.words()}" for check in checks)]
    context.err.print("\n".join(lines), markup=False, soft_wrap=True)


def run_check(context: Context, name: str, **options: Any) -> None:
    try:
        install, checks = _prepared(context, name, **options)
        folder = str(install.folder)
    except BlockedError as error:
        if error.failure.code != "no-python":
            raise
        there = {key: options[key] for key in ("wheels", "index", "extra_indexes") if key in options}
        checks, folder = checks_without_python(context.home, name, error.failure, **there), ""
    blocked = any(check.state == "blocked" for check in checks)
    data = {"toolchain": name, "folder": folder, "checks": [asdict(c) for c in checks], "can": not blocked}
    lines = [recipe_of(name).title + (f" in {folder}" if folder else ""), *(f"  {check.words()}" for check in checks)]
    lines.append("It cannot be installed here." if blocked else "It can be installed.")
    context.result(data, "\n".join(lines))
    if blocked:
        raise typer.Exit(3)


def run_install(context: Context, name: str, called: str, *, detach: bool, **options: Any) -> None:
    install, checks = _prepared(context, name, called, **options)
    _say(context, install, checks)
    refuse(checks, install.recipe.title)
    plan = install_plan(install, context.home, checks)
    data = {"toolchain": name, "name": install.name, "folder": str(install.folder)}
    if result := _run(context, plan, data, detach=detach):
        words = f"made {install.folder}\n{len(result['versions'])} packages; `workbench toolchain list` shows it"
        context.result({**data, "python": result["python"], "versions": result["versions"]}, words)


def run_bundle(context: Context, name: str, out: Path, python_version: str, *, detach: bool, **options: Any) -> None:
    plan = bundle_plan(context.home, name, out, python_version=python_version, **options)
    step = plan.steps[0]
    data = {"toolchain": name, "folder": step.settings["out"], "python_version": step.settings["python_version"]}
    if result := _run(context, plan, data, detach=detach):
        words = f"{result['wheels']} wheels, {format_bytes(result['bytes'])}, in {result['folder']}"
        then = f"there: workbench toolchain install {name} --wheels FOLDER"
        context.result({**data, **result}, f"{words}\n{then}")


def _run(context: Context, plan: Plan, data: dict[str, Any], *, detach: bool) -> dict[str, Any]:
    """The step's result; empty when the job was left to itself. Raises the failure that it ended with."""
    context.store.refuse_newer()
    if detach:
        folder = client.start(context.home, plan)
        context.note(f"`workbench jobs log -f {folder.id[-4:]}` follows it.")
        context.result({**data, "job": folder.id}, folder.id)
        return {}
    state = start_and_follow(context, lambda: client.start(context.home, plan))
    end_with(context, state)
    return dict(state.steps[-1].result)


def run_uninstall(context: Context, toolchain: str, name: str, *, yes: bool) -> None:
    folder = environment_folder(context.home, toolchain, name)
    if not yes:
        if not sys.stdin.isatty():
            raise BadInputError(
                "Nobody is there to be asked.", fix="Give --yes to remove without asking.", code="not-asked"
            )
        if not typer.confirm(f"Remove {folder}?", err=True):
            raise typer.Exit(0)
    with context.err.status("Removing …"):
        removed = uninstall(context.home, toolchain, name)
    context.result({"removed": str(removed)}, f"removed {removed}")
