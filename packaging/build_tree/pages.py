"""Manual pages and shell completion, from the program's own command tree. Runs with the Python of the built tree.

python3.12 pages.py OUT: writes man/man1/{workbench,engine-workbench}.1, bash-completion/, zsh/, fish/ below OUT.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMPLETE = "_WORKBENCH_COMPLETE"
COMPLETIONS = {
    "bash": "bash-completion/completions/workbench",
    "zsh": "zsh/vendor-completions/_workbench",
    "fish": "fish/vendor_completions.d/workbench.fish",
}


def escaped(text: str) -> str:
    """Text as roff takes it: no line is a request, no hyphen of an option becomes a dash."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = text.replace("…", "...").replace("\u202f", " ").replace("\u00d7", "x").replace("→", "\\(->")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def paragraphs(text: str) -> Iterator[str]:
    """A help text as roff: paragraphs are filled, those that begin with \\b keep their lines."""
    for part in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in part.strip().splitlines()]
        if lines and lines[0] == "\b":
            yield ".PP\n.nf\n" + "\n".join(escaped(line) for line in lines[1:]) + "\n.fi"
        elif lines:
            yield ".PP\n" + escaped(" ".join(lines))


def options(command: Any, context: Any) -> Iterator[str]:
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is None:
            continue
        told = record[1] or getattr(param, "help", "") or ""
        if hasattr(command, "_argument_help") and param.param_type_name == "argument":
            told = command._argument_help(param, record[1])
        yield f".TP\n.B {escaped(record[0])}\n{escaped(' '.join(told.split())) or chr(92) + '&'}"


def commands(command: Any, context: Any, path: tuple[str, ...]) -> Iterator[str]:
    """A command, then those below it, depth first in their own order."""
    import click

    if len(path) > 1:
        usage = " ".join(command.collect_usage_pieces(context))
        yield f".SS {escaped(' '.join(path))} {escaped(usage)}".rstrip()
    yield from paragraphs((command.help or "").split("\f")[0])
    yield from options(command, context)
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        below = command.get_command(context, name)
        if below is not None and not below.hidden:
            inner = click.Context(below, info_name=name, parent=context)
            yield from commands(below, inner, (*path, name))


def workbench_page(version: str, date: str) -> str:
    import click
    import typer.main

    from workbench.cli.app import app

    root = typer.main.get_command(app)
    context = click.Context(root, info_name="workbench", **root.context_settings)
    parts = list(commands(root, context, ("workbench",)))
    return page("workbench", "turn language models into answering, measured engines", version, date, [
        ".SH SYNOPSIS", ".B workbench\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]", ".SH DESCRIPTION",
        *parts, *ending("engine-workbench"),
    ])  # fmt: skip


def window_page(version: str, date: str) -> str:
    words = [
        ".SH SYNOPSIS", ".B engine\\-workbench\n[\\fIFILE\\fR]...", ".SH DESCRIPTION",
        "Opens the window of Engine Workbench. Where it is open already for the same WORKBENCH_HOME, that window comes "
        "to the front.", ".PP\n\\fIFILE\\fR is a preset (*.toml) or a model folder, which the Build page then shows.",
        *ending("workbench"),
    ]  # fmt: skip
    return page("engine-workbench", "window of Engine Workbench", version, date, words)


def ending(other: str) -> list[str]:
    return [
        ".SH ENVIRONMENT", ".TP\n.B WORKBENCH_HOME\nFolder of this user's state.",
        ".TP\n.B WORKBENCH_SITE\nFolder of the site's settings, instead of /etc/engine\\-workbench.",
        ".SH FILES", ".TP\n.I /etc/engine\\-workbench/*.toml\nSettings of the site: defaults for all users, and locks.",
        ".TP\n.I ~/.local/share/engine\\-workbench\nState of one user: jobs, engines, settings, presets.",
        ".TP\n.I /usr/share/doc/engine\\-workbench/guide\nThe user guide.",
        ".SH SEE ALSO", f".BR {escaped(other)} (1)",
    ]  # fmt: skip


def page(name: str, what: str, version: str, date: str, parts: list[str]) -> str:
    head = [
        f'.TH {escaped(name).upper()} 1 "{date}" "Engine Workbench {version}" "User Commands"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(what)}",
    ]
    # A heading begins a paragraph itself.
    return re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", "\n".join([*head, *parts]) + "\n", flags=re.MULTILINE)


def completion(shell: str) -> str:
    from typer.completion import get_completion_script

    script = get_completion_script(prog_name="workbench", complete_var=COMPLETE, shell=shell).strip() + "\n"
    if shell != "zsh":
        return script
    # zsh loads the file by the first Tab, as the function itself: it must answer that one too.
    define = next(line for line in script.splitlines() if line.startswith("compdef "))
    function = define.split()[1]
    answer = f'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n  {function} "$@"\nelse\n  {define}\nfi'
    return script.replace(define, answer)


def main(out: Path) -> int:
    import time

    from workbench import __version__

    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "0") or 0)))
    files = {
        "man/man1/workbench.1": workbench_page(__version__, date),
        "man/man1/engine-workbench.1": window_page(__version__, date),
        **{place: completion(shell) for shell, place in COMPLETIONS.items()},
    }
    for place, text in files.items():
        path = out / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
