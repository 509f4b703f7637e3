"""The benchmark in virtual time: repeatable, readable, and its aims hold on a steady send."""

from xml.dom import minidom

import pytest

from poller.tracking.pacing import Policy
from tests.benchmarks.pacing import FORECAST, GITHUB, GOOGLE, HINTED, TOGETHER, Figures, measure
from tests.benchmarks.plot import draw
from tests.benchmarks.report import pacing_report

STEADY = ["medium sends (2–15 min)"]


@pytest.fixture(scope="module")
def figures() -> list[Figures]:
    """Measure one workload, small."""
    return list(measure(operations=10, together=30, seed=7, workloads=STEADY))


def test_the_aims_hold_on_a_steady_send(figures: list[Figures]) -> None:
    """A fifth of one schedule's delay with fewer requests; a tenth of another's requests."""
    by_policy = {figure.policy: figure for figure in figures}
    google, github = by_policy[GOOGLE], by_policy[GITHUB]
    for own in (by_policy[FORECAST], by_policy[TOGETHER]):
        assert own.requests <= google.requests
        assert own.p95 <= google.p95 / 5
        assert own.p95 <= github.p95
        assert own.requests <= github.requests / 7


def test_hints_cost_little_where_they_bring_nothing(figures: list[Figures]) -> None:
    """The forecast finds the end of a steady send as soon: a hint costs one request, no delay."""
    by_policy = {figure.policy: figure for figure in figures}
    hinted, alone = by_policy[HINTED], by_policy[FORECAST]
    assert hinted.p95 <= Policy().min_interval
    assert hinted.requests <= alone.requests + 3


def test_the_same_seed_gives_the_same_figures() -> None:
    """Virtual time has no luck."""
    first, again = (
        list(measure(operations=2, together=4, seed=7, workloads=STEADY)) for _ in range(2)
    )
    assert again == first


def test_results_can_be_read(figures: list[Figures]) -> None:
    """Every policy has a row in the table and a point on the plot."""
    report = pacing_report(figures)
    plot = minidom.parseString(draw(figures))  # noqa: S318 - our own
    assert len(plot.getElementsByTagName("title")) == len(figures)
    for figure in figures:
        assert f"| {figure.policy} |" in report
