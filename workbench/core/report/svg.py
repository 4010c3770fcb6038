"""A chart as inline SVG; colours are the page's custom properties, so that it follows light and dark."""

from __future__ import annotations

from html import escape

from workbench.core.report.drawing import Box, Drawing, Label, Mark, Stroke
from workbench.core.report.marks import Shape, outline


def to_svg(drawing: Drawing) -> str:
    """Markup with all text escaped; scales to the width it is given."""
    parts = [
        f'<svg viewBox="0 0 {drawing.width:g} {drawing.height:g}" role="img" '
        f'aria-label="{escape(f"{drawing.title}. {drawing.summary}")}">'
    ]
    parts.extend(_item(item) for item in drawing.items)
    parts.append("</svg>")
    return "\n".join(parts)


def marker_svg(shape: Shape, tone: str, filled: bool = True, size: float = 10.0) -> str:
    """A marker alone, for legends and tables."""
    box = size + 4
    mark = Mark(box / 2, box / 2, shape, tone, filled, size)
    return (
        f'<svg class="m" viewBox="0 0 {box:g} {box:g}" width="{box:g}" height="{box:g}" aria-hidden="true">'
        f"{_item(mark)}</svg>"
    )


def _item(item: Box | Stroke | Mark | Label) -> str:
    if isinstance(item, Box):
        return (
            f'<rect x="{item.x:.1f}" y="{item.y:.1f}" width="{item.width:.1f}" height="{item.height:.1f}" '
            f'style="fill:var(--{item.tone})"/>'
        )
    if isinstance(item, Stroke):
        dash = ' stroke-dasharray="2 3"' if item.dotted else ""
        return (
            f'<polyline points="{_points(item.points)}" fill="none" style="stroke:var(--{item.tone})" '
            f'stroke-width="{item.width:g}"{dash}/>'
        )
    if isinstance(item, Label):
        weight = ' font-weight="600"' if item.bold else ""
        face = ' class="fig"' if item.figures else ""
        return (
            f'<text x="{item.x:.1f}" y="{item.y:.1f}" font-size="{item.size:g}" text-anchor="{item.anchor}"'
            f'{weight}{face} style="fill:var(--{item.tone})">{escape(item.text)}</text>'
        )
    paint = "var(--panel)" if not item.filled else f"var(--{item.tone})"
    style = f'style="fill:{paint};stroke:var(--{item.tone})" stroke-width="1.5"'
    title = f"<title>{escape(item.title)}</title>" if item.title else ""
    corners = outline(item.shape, item.x, item.y, item.size)
    if not corners:
        return f'<circle cx="{item.x:.1f}" cy="{item.y:.1f}" r="{item.size / 2 - 0.25:.2f}" {style}>{title}</circle>'
    return f'<polygon points="{_points(corners)}" {style}>{title}</polygon>'


def _points(points: tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
