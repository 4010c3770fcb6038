"""Colours by name: both schemes whole, text readable, errors in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QFontInfo
from PySide6.QtWidgets import QApplication

from workbench.core.data import resource
from workbench.core.errors import BadInputError
from workbench.ui.icons import pixmap
from workbench.ui.theme import MONO_FACE, SCHEMES, TEXT_FACE, Theme, mono_font, read_tokens, text_font

TOKENS = read_tokens(resource("theme.json"))
ON = ("bg", "panel", "raised", "sunken")


def luminance(value: str) -> float:
    """Relative luminance by WCAG 2."""
    colour = QColor(value)
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("text", ["text", "text2", "text3", "accent", "ok", "warn", "err"])
def test_text_is_readable_on_every_surface(scheme: str, text: str) -> None:
    colours = TOKENS[scheme]
    assert min(contrast(colours[text], colours[surface]) for surface in ON) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_state_words_are_readable_on_their_chips(scheme: str) -> None:
    colours = TOKENS[scheme]
    pairs = [("on_accent", "accent"), *((state, f"{state}_bg") for state in ("ok", "warn", "err"))]
    assert all(contrast(colours[a], colours[b]) >= 4.5 for a, b in pairs)


def test_both_schemes_name_the_same_colours() -> None:
    assert set(TOKENS["dark"]) == set(TOKENS["light"]) and len(TOKENS["dark"]) > 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["dark"].update(bg="blau"), "dark.bg = 'blau'"),
        (lambda d: d.pop("light"), "no table 'light'"),
        (lambda d: d.update(schema=9), "schema must be 1"),
        (lambda d: d["light"].pop("text"), "text"),
        (lambda d: (d["light"].pop("text"), d["dark"].pop("text")), "text"),
    ],
)
def test_a_theme_file_with_an_error_says_where(tmp_path: Path, change: object, words: str) -> None:
    data = json.loads(resource("theme.json").read_text())
    change(data)  # type: ignore[operator]
    path = tmp_path / "theme.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BadInputError) as caught:
        read_tokens(path)
    assert words in caught.value.evidence


def test_a_bad_theme_file_is_told_and_the_shipped_one_used(qapp: QApplication, tmp_path: Path) -> None:
    (tmp_path / "theme.json").write_text("{")
    theme = Theme(qapp, "dark", tmp_path / "theme.json")
    try:
        assert theme.problem is not None and "cannot be read" in theme.problem.what
        assert theme.hex("bg") == TOKENS["dark"]["bg"]
    finally:
        theme.setParent(None)


def test_the_scheme_changes_palette_and_tells(qapp: QApplication) -> None:
    theme = qapp.findChild(Theme)
    assert theme is not None
    theme.set_mode("dark")
    told: list[str] = []
    theme.changed.connect(lambda: told.append(theme.scheme))
    theme.set_mode("light")
    assert told == ["light"] and qapp.palette().window().color().name() == TOKENS["light"]["bg"]
    theme.set_mode("light")
    assert told == ["light"], "no change, no word"
    theme.set_mode("dark")
    assert qapp.palette().window().color().name() == TOKENS["dark"]["bg"]


def test_the_shipped_faces_are_used(qapp: QApplication) -> None:
    assert QFontInfo(text_font()).family() == TEXT_FACE
    assert QFontInfo(mono_font()).family() == MONO_FACE and QFontInfo(mono_font()).fixedPitch()


def test_every_icon_draws_something_in_its_colour(qapp: QApplication) -> None:
    names = sorted(path.stem for path in resource("icons").glob("*.svg"))
    assert len(names) > 30
    for name in names:
        image = pixmap(name, "accent", 16, 2.0).toImage()
        drawn = [image.pixelColor(x, y) for x in range(0, 32, 2) for y in range(0, 32, 2)]
        assert any(colour.alpha() > 100 for colour in drawn), name
