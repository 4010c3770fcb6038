"""The user guide that ships: its pages, their sections, and where a page of the window or a failure is explained."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workbench.core.data import resource
from workbench.core.errors import BadInputError

CONTENTS, CAUSES = "index", "troubleshooting"
_HEADING = re.compile(r"^(#{1,4}) +(.+?) *#*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_CODES = re.compile(r"^Codes?: +(.*)$")
_CODE = re.compile(r"`([a-z0-9_-]+)`")
_MARKS = re.compile(r"!\[[^\]]*\]\([^)]*\)|(?<=\])\([^)]*\)|[*`\[\]|]|^#+ |^> ?", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    page: str
    title: str
    anchor: str
    """As in links: `page.md#anchor`; the first section of a page has none."""
    level: int
    words: str
    """What it says, without Markdown's marks."""
    codes: tuple[str, ...] = ()
    """Failures that it explains."""

    @property
    def link(self) -> str:
        return f"{self.page}.md#{self.anchor}" if self.anchor else f"{self.page}.md"


@dataclass(frozen=True)
class GuidePage:
    """One file of the guide; `name` is the file's, without its ending."""

    name: str
    title: str
    path: Path
    source: str
    """Markdown."""
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Guide:
    """All pages, in the order in which the contents name them."""

    pages: tuple[GuidePage, ...]

    def page(self, name: str) -> GuidePage:
        """The page of that name or title, or the only one that begins so. Raises BadInputError that lists them."""
        wanted = name.lower().removesuffix(".md")
        for page in self.pages:
            if wanted in (page.name, page.title.lower()):
                return page
        begun = [page for page in self.pages if page.name.removeprefix("page-").startswith(wanted)]
        if wanted and len(begun) == 1:
            return begun[0]
        raise BadInputError(
            f"The user guide has no page {name[:80]!r}.",
            evidence=", ".join(page.name for page in self.pages),
            fix="Name one of these; `workbench docs` lists them with their titles.",
            code="no-such-page",
        )

    def of_window_page(self, name: str) -> str:
        """The link to what explains a page of the window; to the contents where nothing does."""
        return f"page-{name}.md" if any(page.name == f"page-{name}" for page in self.pages) else f"{CONTENTS}.md"

    def of_failure(self, code: str) -> str:
        """The link to what explains a failure; to the page of failures where nothing does."""
        for page in self.pages:
            for section in page.sections:
                if code in section.codes:
                    return section.link
        return f"{CAUSES}.md"

    def find(self, text: str) -> tuple[Section, ...]:
        """Sections that hold all the words, best first: those with the words in the title, then by the page's place.
        Words of the page's name count for all its sections: `offline wheels` finds those of offline-install."""
        words = text.lower().split()
        if not words:
            return ()
        found = []
        pages = {page.name: f"{page.title}\n{page.name}".lower() for page in self.pages}
        for place, section in enumerate(self._sections()):
            title, whole = section.title.lower(), f"{section.title}\n{section.words}\n{' '.join(section.codes)}".lower()
            of_page = pages[section.page]
            if all(word in whole or word in of_page for word in words):
                in_title = sum(word in title for word in words)
                in_codes = any(text.strip().lower() == code for code in section.codes)
                by_page = sum(word not in whole for word in words)
                found.append((-int(in_codes), -in_title, by_page, place, section))
        return tuple(section for *_, section in sorted(found, key=lambda one: one[:4]))

    def _sections(self) -> Iterator[Section]:
        for page in self.pages:
            yield from page.sections


def anchor_of(title: str) -> str:
    """A heading's anchor, as the usual readers of Markdown make it."""
    plain = unicodedata.normalize("NFC", _CODE.sub(r"\1", title)).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def links_of(source: str) -> list[str]:
    """Where a page's links lead, in order; pictures are not links."""
    return [found.group(2) for line in _prose(source) for found in _LINK.finditer(line)]


def guide_folder() -> Path:
    """Where the guide stands. Raises BadInputError when the installation lacks it."""
    return resource("docs")


@lru_cache(maxsize=2)
def read_guide(folder: Path | None = None) -> Guide:
    """The guide, read once. Raises BadInputError when it cannot be read."""
    folder = folder or guide_folder()
    try:
        sources = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.md"))}
        first = sources[CONTENTS]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise BadInputError(
            "The user guide cannot be read.",
            evidence=f"{folder}: {error}",
            fix="Install the program again.",
            code="broken-install",
        ) from error
    named = [link.partition("#")[0].removesuffix(".md") for link in links_of(first)]
    order = dict.fromkeys([CONTENTS, *(name for name in named if name in sources), *sources])
    return Guide(tuple(_page(name, folder / f"{name}.md", sources[name]) for name in order))


def _page(name: str, path: Path, source: str) -> GuidePage:
    sections = tuple(_sections_of(name, source))
    return GuidePage(name, sections[0].title if sections else name, path, source, sections)


def _sections_of(page: str, source: str) -> Iterator[Section]:
    title, level, lines, anchor = "", 0, [], ""  # type: str, int, list[str], str
    seen: dict[str, int] = {}
    fenced = False
    for line in [*source.split("\n"), "# "]:
        fenced ^= bool(_FENCE.match(line))
        heading = _HEADING.match(line) if not fenced else None
        if heading is None and line != "# ":
            lines.append(line)
            continue
        if title:
            yield _section(page, title, anchor, level, lines)
        if heading is not None:
            lines, level = [], len(heading.group(1))
            title = heading.group(2)
            own = anchor_of(title)
            again = seen.get(own, 0)
            seen[own] = again + 1
            anchor = "" if level == 1 else f"{own}-{again}" if again else own
            title = _MARKS.sub("", title)


def _section(page: str, title: str, anchor: str, level: int, lines: list[str]) -> Section:
    codes = [code for line in lines if (found := _CODES.match(line)) for code in _CODE.findall(found.group(1))]
    words = re.sub(r"\s+", " ", _MARKS.sub("", "\n".join(lines))).strip()
    return Section(page, title, anchor, level, words, tuple(codes))


def _prose(source: str) -> Iterator[str]:
    fenced = False
    for line in source.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield re.sub(r"`[^`]*`", "", line)
