"""`workbench docs`: where the user guide stands, and what its pages say."""

from __future__ import annotations

from workbench.cli.context import Context
from workbench.core.guide import CONTENTS, Guide, guide_folder, read_guide


def run_docs(context: Context, page: str, find: str, *, text: bool) -> None:
    """Print paths, so that any reader of Markdown can open them; nothing is opened."""
    guide = read_guide()
    if find:
        _show_found(context, guide, find)
    elif page or text:
        chosen = guide.page(page or CONTENTS)
        data = {"page": chosen.name, "title": chosen.title, "path": str(chosen.path)}
        context.result({**data, "source": chosen.source} if text else data, chosen.source if text else str(chosen.path))
    else:
        rows = [{"page": one.name, "title": one.title, "path": str(one.path)} for one in guide.pages]
        wide = max(len(one.name) for one in guide.pages)
        lines = [str(guide_folder()), "", *(f"  {one.name:{wide}}  {one.title}" for one in guide.pages)]
        context.result({"folder": str(guide_folder()), "pages": rows}, "\n".join(lines))


def _show_found(context: Context, guide: Guide, words: str) -> None:
    folder = guide_folder()
    rows = [
        {"title": one.title, "page": one.page, "link": one.link, "path": str(folder / f"{one.page}.md")}
        for one in guide.find(words)
    ]
    told = "\n".join(f"{folder / row['link']}  {row['title']}" for row in rows)
    context.result(rows, told or f"The user guide says nothing about {words!r}.")
