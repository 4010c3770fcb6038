"""`workbench export launch`: one folder that runs an engine elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.cli.context import Context
from workbench.cli.export import facts_of, finish
from workbench.core.deploy.launch import LaunchOptions
from workbench.core.deploy.slurm import SlurmOptions
from workbench.core.home import expanded
from workbench.deploy.launch import make_launch


def run_launch(
    context: Context,
    engine: str,
    out: Path,
    fields: dict[str, Any],
    slurm: SlurmOptions,
    overrides: list[str],
    *,
    link: bool,
    check: bool,
) -> None:
    """`fields` are LaunchOptions', as they were typed."""
    hosts = tuple(name.strip() for name in fields.pop("hosts").split(",") if name.strip())
    if fields["tokenizer"] is not None:
        fields["tokenizer"] = expanded(fields["tokenizer"])
    options = LaunchOptions(**fields, hosts=hosts, slurm=slurm)
    finish(context, make_launch(facts_of(context, engine), options, overrides), expanded(out), link=link, check=check)
