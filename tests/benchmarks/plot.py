"""Requests against delay as an SVG written by hand: a panel a workload, logarithmic both ways."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from math import floor, log10
from typing import Final

from tests.benchmarks.pacing import Figures

__all__ = ["draw"]

_WIDTH, _HEIGHT = 420, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 34, 12, 40
_COLUMNS: Final = 3
_COLOURS: Final = (
    "#9aa0a6 #5f6368 #80868b #bdc1c6 #f29900 #a142f4 #12a4af #c5221f #1a73e8 #8ab4f8 #188038"
).split()
_X: Final = (0.05, 5000.0)
_Y: Final = (0.3, 300.0)


def draw(figures: Sequence[Figures]) -> str:
    """Draw the 95th percentile of the delay against requests per operation."""
    policies = list(dict.fromkeys(figure.policy for figure in figures))
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(policies)}
    panels = [
        (name, list(group)) for name, group in groupby(figures, key=lambda figure: figure.workload)
    ]
    rows = -(-len(panels) // _COLUMNS)
    legend = 20 * len(policies) + 20
    parts = [
        _panel(name, group, colours, (number % _COLUMNS) * _WIDTH, (number // _COLUMNS) * _HEIGHT)
        for number, (name, group) in enumerate(panels)
    ]
    parts += [
        f'<circle cx="20" cy="{rows * _HEIGHT + 20 * n + 16}" r="5" fill="{colours[name]}"/>'
        f'<text x="32" y="{rows * _HEIGHT + 20 * n + 20}">{escape(name)}</text>'
        for n, name in enumerate(policies)
    ]
    width, height = _COLUMNS * _WIDTH, rows * _HEIGHT + legend
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _panel(
    name: str, figures: Sequence[Figures], colours: dict[str, str], left: int, top: int
) -> str:
    parts = [f'<g transform="translate({left} {top})">']
    parts.append(f'<text x="{_LEFT}" y="20" font-weight="bold">{escape(name)}</text>')
    for value in _decades(*_X):
        x = _x(value)
        parts.append(f'<path d="M{x} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#e8eaed"/>')
        parts.append(f'<text x="{x}" y="{_HEIGHT - 26}" text-anchor="middle">{value:g}</text>')
    for value in _decades(*_Y):
        y = _y(value)
        parts.append(f'<path d="M{_LEFT} {y}H{_WIDTH - _RIGHT}" stroke="#e8eaed"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g} s</text>')
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 10}" text-anchor="middle" fill="#5f6368">'
        "requests per operation → delay, 95th percentile ↑</text>"
    )
    parts += [
        f'<circle cx="{_x(each.requests)}" cy="{_y(each.p95)}" r="5" '
        f'fill="{colours[each.policy]}"><title>{escape(each.policy)}: '
        f"{each.requests:.1f} requests, {each.p95:.1f} s</title></circle>"
        for each in figures
    ]
    return "".join([*parts, "</g>"])


def _decades(low: float, high: float) -> list[float]:
    exponents = range(floor(log10(low)) + 1, floor(log10(high)) + 1)
    return [10.0**exponent for exponent in exponents]


def _x(value: float) -> float:
    return round(_LEFT + _part(value, _X) * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float) -> float:
    return round(_HEIGHT - _BOTTOM - _part(value, _Y) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _part(value: float, bounds: tuple[float, float]) -> float:
    low, high = (log10(bound) for bound in bounds)
    return min(1.0, max(0.0, (log10(max(value, 1e-9)) - low) / (high - low)))
