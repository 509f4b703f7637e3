"""Tables of what was measured, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from tests.benchmarks.pacing import FORECAST, GITHUB, GOOGLE, PLAIN, TOGETHER, Figures

__all__ = ["pacing_report", "table"]

_SMALL: Final = 10


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Make a table; the names of the columns are those of the first row."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([_text(row[head]) for head in heads] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def pacing_report(figures: Sequence[Figures]) -> str:
    """Make a table a workload, and one of how the aims were met."""
    parts = [
        f"## {workload}\n\n{table([_row(figure) for figure in group])}\n"
        for workload, group in groupby(figures, key=lambda figure: figure.workload)
    ]
    return "".join([*parts, "## The aims\n\n", table(list(_aims(figures)))])


def _row(figure: Figures) -> dict[str, object]:
    return {
        "policy": figure.policy,
        "requests per operation": figure.requests,
        "delay p50 (s)": figure.p50,
        "p95": figure.p95,
        "p99": figure.p99,
        "max": figure.worst,
    }


def _aims(figures: Sequence[Figures]) -> Iterable[dict[str, object]]:
    """Hold our policies against the schedules that they are to beat."""
    for workload, group in groupby(figures, key=lambda figure: figure.workload):
        by_policy = {figure.policy: figure for figure in group}
        google, github, plain = by_policy[GOOGLE], by_policy[GITHUB], by_policy[PLAIN]
        for name in (FORECAST, TOGETHER):
            own = by_policy[name]
            beaten = plain.requests < own.requests and plain.p95 < own.p95
            yield {
                "workload": workload,
                "policy": name,
                "requests : google-api-core": own.requests / google.requests,
                "p95 : google-api-core (≤ 0.2)": own.p95 / google.p95,
                "requests : fixed 3 s (≤ 0.1)": own.requests / github.requests,
                "p95 : fixed 3 s (≤ 1)": own.p95 / github.p95,
                "beaten in both by plain backoff": "yes" if beaten else "no",
            }


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < _SMALL else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
