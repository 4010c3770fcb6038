"""Help in groups, without Rich: importing it for that would take as long again as importing typer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo

_LONG = 400
_F = TypeVar("_F", bound=Callable[..., Any])


class Command(TyperCommand):
    """Options stand under their `rich_help_panel`, in the order in which the panels come; the rest at the end."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        rest: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            panel = getattr(param, "rich_help_panel", None)
            if param.param_type_name == "argument":
                groups.setdefault("Arguments", []).append((record[0], self._argument_help(param, record[1])))
            elif panel:
                groups.setdefault(panel, []).append(record)
            else:
                rest.append(record)
        named = [name for name in groups if name != "Arguments"]
        for title, rows in {**groups, "Other options" if named else "Options": rest}.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _argument_help(self, param: Any, shown: str) -> str:
        """Click 8.5 drops the help that older Typers give an argument; it is read from the annotation then."""
        if getattr(param, "help", None) or self.callback is None:
            return shown
        hint = get_type_hints(inspect.unwrap(self.callback), include_extras=True).get(param.name or "")
        told = next((info.help for info in getattr(hint, "__metadata__", ()) if isinstance(info, ArgumentInfo)), None)
        return f"{told}  {shown}".rstrip() if told else shown


class Group(TyperGroup):
    """Commands stand under the titles of `panels`, in that order, each with the whole first sentence of its help."""

    panels: ClassVar[dict[str, tuple[str, ...]]] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows[name] = command.get_short_help_str(_LONG)
        wide = max(map(len, rows), default=0)
        known = {name for names in self.panels.values() for name in names}
        rest = tuple(name for name in rows if name not in known)
        for title, names in {**self.panels, "Commands": rest}.items():
            shown = [(name.ljust(wide), rows[name]) for name in names if name in rows]
            if shown:
                with formatter.section(title):
                    formatter.write_dl(shown)


class App(typer.Typer):
    """A Typer whose help is ours."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"cls": Group, "rich_markup_mode": None, **options})

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **options: Any
    ) -> Callable[[_F], _F]:
        return super().command(name, cls=cls or Command, **options)
