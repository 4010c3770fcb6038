"""`workbench flags`: the flags of trtllm-build that a preset may set, and today's way for those that are gone."""

from __future__ import annotations

from rich.table import Table

from workbench.cli.context import Context
from workbench.core.errors import BadInputError
from workbench.toolchains.tensorrt_llm.flag_table import Flag, find_flag, flag_table, gone_flags, unknown_flag


def run_flags(context: Context, wanted: str) -> None:
    """All flags in a table, those whose name or help holds `wanted`, or one in full. Raises BadInputError."""
    name = wanted.lstrip("-").replace("-", "_")
    flag = find_flag(name) if name else None
    if flag is not None:
        context.result(flag, "\n".join(_in_full(flag)))
        return
    found = [f for f in flag_table() if name in f.name or wanted.lower() in f.help.lower()]
    if not found or any(gone.name == name for gone in gone_flags()):
        problem = unknown_flag(wanted)
        # The fix is for a preset's line; nothing is to be taken out of a search.
        fix = problem.fix if problem.code == "gone-flag" else "`workbench flags` lists all."
        raise BadInputError(problem.what, fix=fix, code=problem.code)
    if context.as_json:
        context.result(found)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("flag", "group", "type", "default", "what it does"):
        table.add_column(column, no_wrap=column == "flag")
    for f in found:
        table.add_row(f"--{f.name}", f.group, _type(f), _default(f), f.help)
    context.out.print(table)


def _type(flag: Flag) -> str:
    return " | ".join(flag.choices) + (" | ..." if flag.choices_open else "") if flag.choices else flag.type


def _default(flag: Flag) -> str:
    if flag.default is None:
        return flag.default_note or "not set"
    return str(flag.default)


def _in_full(flag: Flag) -> list[str]:
    lines = [
        f"--{flag.name}" + (f" ({', '.join(flag.aliases)})" if flag.aliases else ""),
        flag.help,
        f"type     {_type(flag)}" + (f", {flag.unit}" if flag.unit else ""),
        f"default  {_default(flag)}",
        f"group    {flag.group}",
    ]
    for need in flag.depends:
        values = f" = {' or '.join(need.values)}" if need.values else ""
        lines.append(f"needs    --{need.flag}{values}: {need.why}" + ("" if need.blocks else " (else without effect)"))
    lines += [f"GPUs     {rule.reason}" for rule in flag.gpu_rules]
    if flag.note:
        lines.append(f"note     {flag.note}")
    lines.append(f"preset   [build.flags] {flag.name} = ...")
    return lines
