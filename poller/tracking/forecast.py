"""When an operation will end, guessed from the counters of its last looks.

Two signals move towards an end: messages leave the queue (an operation is `COMPLETED` when it was
processed), and recipients are done. The nearer of the two predicted ends is the one to be at.

The rule: look again when half of the remaining time has gone, sooner the less the rate is to be
trusted. It is the inspection schedule of Barlow, Hunter and Proschan (1963) in the form that Keller
(1974) gave it, looks at a density proportional to the square root of the hazard, for an end whose
hazard grows like 1/remaining² towards the predicted moment: the gaps then shrink geometrically,
and their number grows only with the logarithm of the operation's length.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import sqrt
from typing import Final

from poller.comms.kinds import Kind
from poller.comms.models import Operation

__all__ = ["KEPT", "Look", "look_at", "predicted_wait"]

KEPT: Final = 6
"""Looks that are remembered: older ones tell of another rate."""

_HALF: Final = 0.5
# an interval counts half as much as the one after it
_FADING: Final = 0.5
# how sure one interval alone can make us: its rate may be off by half
_UNPROVEN: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The two signals at one moment: recipients `done`, messages `passed` through the queue."""

    at: datetime
    done: int
    passed: int
    total: int


def look_at(operation: Operation, kind: Kind, *, at: datetime) -> Look:
    """Reduce a snapshot to what a forecast needs."""
    counters = operation.counters
    total = max(counters.get("total", 0), counters.get("recipients", 0))
    waiting = counters.get("queued", 0) + counters.get("scheduled", 0)
    return Look(
        at=at,
        done=sum(counters.get(name, 0) for name in kind.done),
        passed=max(0, total - waiting),
        total=total,
    )


def predicted_wait(looks: Sequence[Look], *, started_at: datetime | None) -> float | None:
    """Return the seconds until the next look; None where the looks promise no end.

    `looks` are the last ones, the oldest first; `started_at` stands in for a look at nothing.
    """
    if not looks:
        return None
    last = looks[-1]
    first = [] if started_at is None else [Look(at=started_at, done=0, passed=0, total=last.total)]
    history = [*first, *looks] if len(looks) < KEPT else list(looks)
    waits = [
        wait
        for series, goal in (
            ([(look.at, look.passed) for look in history], last.total),
            ([(look.at, look.done) for look in history], last.total),
        )
        if (wait := _wait(series, goal)) is not None
    ]
    return min(waits, default=None)


def _wait(series: Sequence[tuple[datetime, int]], goal: int) -> float | None:
    left = goal - series[-1][1]
    intervals = list(_intervals(series))
    if left <= 0 or not intervals:
        return None
    weights = [_FADING**age for age in range(len(intervals))]
    seconds = sum(weight * span for weight, (span, _) in zip(weights, intervals, strict=True))
    moved = sum(weight * gain for weight, (_, gain) in zip(weights, intervals, strict=True))
    if moved <= 0:
        return None
    rate = moved / seconds
    return _HALF * left / rate / (1 + _doubt(intervals, weights, rate))


def _intervals(series: Sequence[tuple[datetime, int]]) -> Iterable[tuple[float, int]]:
    """Yield seconds and gain between two looks, the last first."""
    for (before, was), (after, became) in reversed(list(pairwise(series))):
        span = (after - before).total_seconds()
        if span > 0:
            yield span, became - was


def _doubt(intervals: Sequence[tuple[float, int]], weights: Sequence[float], rate: float) -> float:
    """Return how far the rate varied between looks, relative to itself."""
    if len(intervals) == 1:
        return _UNPROVEN
    spans = [weight * span for weight, (span, _) in zip(weights, intervals, strict=True)]
    squares = [(gain / span - rate) ** 2 for span, gain in intervals]
    mean = sum(span * square for span, square in zip(spans, squares, strict=True)) / sum(spans)
    return sqrt(mean) / rate
