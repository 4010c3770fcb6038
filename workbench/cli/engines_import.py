"""`workbench engines import`: an engine that was built elsewhere, taken among one's own."""

from __future__ import annotations

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from workbench.cli.context import Context
from workbench.cli.engines import find_engine, summary
from workbench.core.home import expanded
from workbench.core.units import format_bytes
from workbench.deploy.take import take_engine


def run_import(context: Context, folder: str, *, link: bool) -> None:
    """Check, copy, and say whether it runs here. Raises BadInputError, StepFailedError."""
    context.store.refuse_newer()
    columns = (TextColumn("checking and copying"), BarColumn(), DownloadColumn())
    copied = False

    def tell(done: int, total: int) -> None:
        nonlocal copied
        copied = True
        bar.update(task, completed=done, total=total)

    quiet = context.as_json or not context.err.is_terminal
    with Progress(*columns, console=context.err, transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=None)
        taken = take_engine(context.home, expanded(folder), link=link, on_progress=tell)
    context.store.sync()
    row = summary(find_engine(context, str(taken)), context.host.cpu_identity, context.home)
    runs = ("runs here" if row["runs_here"] else "does not run here") + (f": {row['remark']}" if row["remark"] else "")
    words = f"{row['name']}, {format_bytes(row['size_bytes'])}, in {taken}"
    context.result(row, "\n".join([words, *([] if copied else ["was there already: nothing was copied"]), runs]))
