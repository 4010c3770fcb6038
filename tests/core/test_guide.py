"""The user guide: every link, picture, command and failure in it is there, and every failure is in it."""

from __future__ import annotations

import functools
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.plans import ROOT
from workbench.core.errors import BadInputError
from workbench.core.guide import CAUSES, CONTENTS, anchor_of, guide_folder, links_of, read_guide

GUIDE = read_guide()
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(workbench [^`]+)`")
WINDOW_PAGES = ("build", "jobs", "engines", "playground", "compare", "benchmark", "deploy", "doctor", "settings")


def test_the_contents_name_every_page_once() -> None:
    named = [link.removesuffix(".md") for link in links_of(GUIDE.page(CONTENTS).source) if "#" not in link]
    assert {page.name for page in GUIDE.pages} - {CONTENTS} == set(named)
    assert len({page.title for page in GUIDE.pages}) == len(GUIDE.pages)
    assert GUIDE.pages[0].name == CONTENTS


@pytest.mark.parametrize("page", GUIDE.pages, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page) -> None:  # type: ignore[no-untyped-def]
    anchors = {one.name: {section.anchor for section in one.sections} for one in GUIDE.pages}
    for link in links_of(page.source):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        name = name.removesuffix(".md") or page.name
        assert name in anchors, f"{page.name}: {link}"
        assert not anchor or anchor in anchors[name], f"{page.name}: {link}"


def test_every_picture_is_there_small_and_told_in_words() -> None:
    used = set()
    for page in GUIDE.pages:
        for words, address in PICTURE.findall(page.source):
            path = guide_folder() / address
            used.add(path.name)
            assert len(words) > 10, f"{page.name}: {address} is not described"
            assert path.read_bytes().startswith(b"\x89PNG"), path
            assert path.stat().st_size < 150_000, f"{path.name} has {path.stat().st_size:,} bytes"
    assert used == {path.name for path in (guide_folder() / "pictures").iterdir()}, "no picture lies about unused"


def test_every_page_of_the_window_has_a_page_with_its_picture() -> None:
    for name in WINDOW_PAGES:
        page = GUIDE.page(f"page-{name}")
        assert GUIDE.of_window_page(name) == f"page-{name}.md"
        assert f"pictures/{name}.png" in page.source


def commands(source: str) -> list[str]:
    """All of a page that begins with `workbench`, once each."""
    found = []
    for block in FENCED.findall(source):
        for line in block.replace("\\\n", " ").splitlines():
            parts = [re.sub(r"^(?:sudo |\w+=\S+ )+", "", part.strip()) for part in line.split("|")]
            found += [part for part in parts if part.startswith("workbench ")]
    return list(dict.fromkeys(found + INLINE.findall(FENCED.sub("", source))))


@functools.cache
def program() -> Any:
    """The command line, not run. What its libraries say of each other's age is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from typer.main import get_command

        from workbench.cli.app import app

        return get_command(app)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_command_is_one_that_the_program_takes() -> None:
    wrong, taken = [], 0
    for page in GUIDE.pages:
        for line in commands(page.source):
            try:
                parse(program(), shlex.split(line, comments=True)[1:])
                taken += 1
            except Exception as error:
                wrong.append(f"{page.name}: {line}: {error}")
    assert not wrong, "\n".join(wrong)
    assert taken > 80
    for line in (
        "workbench nothing",
        "workbench build cpu-int8",
        "workbench jobs --lost",
        "workbench serve last --prot 1",
    ):
        with pytest.raises(Exception, match=r"[Nn]o such|[Mm]issing"):
            parse(program(), shlex.split(line)[1:])


def parse(command: Any, words: list[str]) -> None:
    """As the program reads its command line, with nothing done. Raises what a person would be told."""
    words = [word for word in words if word not in ("--help", "-h", "--version")]  # these end the reading
    if not hasattr(command, "get_command"):
        if words or not any(param.required for param in command.params):  # else it is only named in a sentence
            command.make_context(command.name, words)
    elif words:
        context = command.make_context(command.name, words)
        name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None, name
        parse(inner, rest)


CODE = re.compile(
    r"""\bcode=\(?\s*["']([a-z][a-z0-9_-]*)["']|\b_row\(\s*["']([a-z0-9-]+)["']|\bdefault_code = ["']([a-z0-9-]+)["']"""
    r"""|\b[A-Z_]*CODE\b(?:: str)? = ["']([a-z0-9-]+)["']"""
)


def codes_in_the_program() -> dict[str, str]:
    """Every failure's code that stands in the source, with one file that has it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "workbench").rglob("*.py")):
        for match in CODE.finditer(path.read_text("utf-8")):
            found.setdefault(next(filter(None, match.groups())), str(path.relative_to(ROOT)))
    return found


def test_every_failure_has_a_section_and_no_section_speaks_of_another() -> None:
    named = [code for section in GUIDE.page(CAUSES).sections for code in section.codes]
    assert len(named) == len(set(named)), sorted({code for code in named if named.count(code) > 1})
    there = codes_in_the_program()
    untold = {code: path for code, path in there.items() if code not in named}
    assert not untold, f"name these in a `Codes:` line of resources/docs/{CAUSES}.md: {untold}"
    whole = "".join(path.read_text("utf-8") for path in (ROOT / "workbench").rglob("*.py"))
    gone = [code for code in named if f'"{code}"' not in whole]
    assert not gone, f"the program has no such failures: {gone}"
    for code in named:
        assert GUIDE.of_failure(code).startswith(f"{CAUSES}.md#")
    assert GUIDE.of_failure("no-such-code") == f"{CAUSES}.md"


def test_a_page_is_found_by_its_name_its_title_or_its_beginning(tmp_path: Path) -> None:
    for asked in ("calibration", "Calibration.md", "calib"):
        assert GUIDE.page(asked).name == "calibration"
    assert GUIDE.page("build").name == "page-build" and GUIDE.page("offline").name == "offline-install"
    with pytest.raises(BadInputError) as told:
        GUIDE.page("nothing like it")
    assert "calibration" in told.value.evidence and told.value.failure.code == "no-such-page"
    with pytest.raises(BadInputError) as told:
        read_guide(tmp_path)
    assert told.value.failure.code == "broken-install"


def test_the_search_wants_all_words_and_puts_titles_first() -> None:
    assert not GUIDE.find("") and not GUIDE.find("calibration zebra")
    assert GUIDE.find("gpu ran out of memory")[0].title == "The GPU ran out of memory"
    for code in {code for page in GUIDE.pages for section in page.sections for code in section.codes}:
        assert code in GUIDE.find(code)[0].codes, f"{code}: what explains it comes first"
    assert "offline-install" in {section.page for section in GUIDE.find("offline wheels")}
    words = GUIDE.find("chunked prefill")
    assert words and all("chunked" in f"{one.title} {one.words} {' '.join(one.codes)}".lower() for one in words)


def test_anchors_are_those_of_other_readers_of_markdown() -> None:
    assert anchor_of("Driver and GPU") == "driver-and-gpu"
    assert anchor_of("1. An environment for OpenVINO") == "1-an-environment-for-openvino"
    assert anchor_of("PyTorch, CUDA or NumPy do not match") == "pytorch-cuda-or-numpy-do-not-match"
    assert anchor_of("The `code` of it") == "the-code-of-it"


def test_headings_in_code_are_no_sections_and_equal_headings_get_numbers(tmp_path: Path) -> None:
    text = "# Contents\n\nWords.\n\n```bash\n# no heading\n```\n\n## Same\n\n## Same\n\nCodes: `one`, `two`\n"
    (tmp_path / "index.md").write_text(text)
    (page,) = read_guide(tmp_path).pages
    assert [(one.title, one.anchor) for one in page.sections] == [
        ("Contents", ""), ("Same", "same"), ("Same", "same-1"),
    ]  # fmt: skip
    assert page.sections[2].codes == ("one", "two")
