"""Draws curves as small SVG pictures, readable on light and on dark pages."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

WIDTH = 720
LEFT, RIGHT, TOP, BOTTOM = 72, 696, 48, 320
"""The edges of the area in which the curves are."""

COLOURS = ("#3b82f6", "#f97316", "#10a37f", "#a855f7", "#e0457b", "#b58900", "#0891b2", "#8a6d5c")
GREY = "#7d8590"
RED = "#e5484d"

TICKS_ABOUT = 5
LEGEND, LEGEND_STEP, LEGEND_LINE = BOTTOM + 76, 34, 18
LETTER = 6.6
"""About how wide one is, in the legend."""


class Line(NamedTuple):
    """One curve: a value for each place on the curve's x axis, None where there is none."""

    name: str
    values: Sequence[float | None]


class Curve(NamedTuple):
    """Some curves over the same places."""

    title: str
    x: str
    """What the places are."""
    places: Sequence[str]
    """As they are written below the axis, which gives each the same width."""
    y: str
    """What the values are, with their unit."""
    lines: Sequence[Line]
    limit: float | None = None
    """Where the values should stay on one side."""


def keep(curve: Curve, file: Path) -> None:
    """Draw into a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(svg(curve), encoding="utf-8")


def svg(curve: Curve) -> str:
    """Draw."""
    values = [value for line in curve.lines for value in line.values if value is not None]
    steps = _ticks(max([*values, curve.limit or 0, 1e-9]))
    places = _legend_places(curve.lines)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {places[-1][1] + 20}" role="img">',
        f"<title>{escape(curve.title)}</title>",
        f'<g font-family="system-ui, sans-serif" font-size="12" fill="{GREY}">',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">{escape(curve.title)}</text>',
        *_axes(curve, steps),
    ]
    if curve.limit is not None:
        drawn += _limit(_height(curve.limit, steps[-1]), _number(curve.limit))
    for line, place, colour in zip(curve.lines, places, cycle(COLOURS), strict=False):
        drawn += _line(curve, line, colour, steps[-1])
        drawn += _entry(line.name, place, colour)
    return "\n".join([*drawn, "</g>", "</svg>", ""])


def _legend_places(lines: Sequence[Line]) -> Sequence[tuple[float, int]]:
    """Where each line's name stands: in rows, below the axis."""
    places: list[tuple[float, int]] = []
    x, y = float(LEFT), LEGEND
    for line in lines:
        width = LEGEND_STEP + LETTER * len(line.name)
        if x > LEFT and x + width > RIGHT:
            x, y = float(LEFT), y + LEGEND_LINE
        places.append((x, y))
        x += width
    return places


def _entry(name: str, place: tuple[float, int], colour: str) -> Iterator[str]:
    x, y = place
    yield f'<rect x="{x:.0f}" y="{y - 9}" width="10" height="10" rx="2" fill="{colour}"/>'
    yield f'<text x="{x + 15:.0f}" y="{y}">{escape(name)}</text>'


def _axes(curve: Curve, steps: Sequence[float]) -> Iterator[str]:
    for step in steps:
        y = _height(step, steps[-1])
        yield _across_all(y, f'stroke="{GREY}" stroke-opacity="0.25"')
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(step)}</text>'
    for index, place in enumerate(curve.places):
        x = _across(index, len(curve.places))
        yield f'<text x="{x:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{escape(place)}</text>'
    middle = (LEFT + RIGHT) / 2
    yield f'<text x="{middle:.0f}" y="{BOTTOM + 44}" text-anchor="middle">{escape(curve.x)}</text>'
    middle = (TOP + BOTTOM) / 2
    yield (
        f'<text transform="rotate(-90 16 {middle:.0f})" x="16" y="{middle:.0f}" '
        f'text-anchor="middle">{escape(curve.y)}</text>'
    )


def _limit(y: float, words: str) -> Iterator[str]:
    yield _across_all(y, f'stroke="{RED}" stroke-dasharray="6 4"')
    yield f'<text x="{RIGHT}" y="{y - 5:.1f}" text-anchor="end" fill="{RED}">limit {words}</text>'


def _across_all(y: float, style: str) -> str:
    return f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" {style}/>'


def _line(curve: Curve, line: Line, colour: str, top: float) -> Iterator[str]:
    points = [
        (_across(index, len(curve.places)), _height(value, top))
        for index, value in enumerate(line.values)
        if value is not None
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _across(index: int, places: int) -> float:
    return LEFT + (RIGHT - LEFT) * (index + 0.5) / places


def _height(value: float, top: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * value / top


def _ticks(highest: float) -> Sequence[float]:
    """Round steps from 0 to beyond the highest value: of 1, 2, 2.5 or 5 times a power of ten."""
    rough = highest / TICKS_ABOUT
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [step * index for index in range(math.ceil(highest / step - 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"
