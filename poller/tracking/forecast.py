"""When an operation will end, estimated from its counters. A look is one observation of them.

Two signals announce an end. Messages leave the queue: an operation is `COMPLETED` when it was
processed. Recipients are done: some operations end with the last receipts. While messages are
queued, only the queue counts; afterwards the operation may end at any moment.

The rules are those of inspection schedules (Barlow, Hunter and Proschan 1963) in the form of
Keller (1974): inspections at a density proportional to the square root of the hazard.

- Before a predicted end the hazard grows like 1/remaining². So poll again when a fixed share of the
  remaining time has passed: the gaps shrink geometrically, and their number grows only with the
  logarithm of the operation's length. The share is three quarters where the rate is steady, and
  smaller the more the rate varies.
- Receipts slow down towards the end: the remaining time is never shorter than it seems. So the
  share is a half.
- After the last message, or the last receipt, the hazard falls with the time since. So wait as
  long again as has passed since then: the plain backoff, started at that moment.

A cancellation, which no counter announces, is found within the longest wait that the settings
allow. Its hazard is the same at all times, so even intervals are best.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import sqrt
from typing import Final

from poller.tracking.progress import Progress

KEPT: Final = 6
"""The number of looks that are kept: older ones show an outdated rate."""

# an interval counts half as much as the one after it
_FADING: Final = 0.5
# the assumed variation after one interval: its rate may be off by half
_FIRST_VARIATION: Final = 0.5
# the share of the remaining time to wait
_QUEUE_SHARE: Final = 0.75
_RECEIPTS_SHARE: Final = 0.5

Series = Sequence[tuple[datetime, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The two signals at one moment: recipients `done`, messages `passed` through the queue."""

    at: datetime
    done: int
    passed: int
    total: int


def after_answer(looks: Sequence[Look], progress: Progress, *, at: datetime) -> tuple[Look, ...]:
    """Return the last looks and one more: the progress that an answer showed when it arrived.

    Where the clock went back, the older looks are dropped: their times cannot be compared.
    """
    total = progress.total or 0
    look = Look(at=at, done=progress.done, passed=max(0, total - progress.waiting), total=total)
    older = () if looks and looks[-1].at > at else looks
    return (*older, look)[-KEPT:]


def finished_per_second(looks: Sequence[Look]) -> float | None:
    """Return the recipients done per second between the first and the last of `looks`.

    None where there are fewer than two, or nothing was done in between.
    """
    if len(looks) < 2 or (span := (looks[-1].at - looks[0].at).total_seconds()) <= 0:  # noqa: PLR2004 - a rate lies between two points
        return None
    return max(0.0, (looks[-1].done - looks[0].done) / span) or None


def predicted_wait(looks: Sequence[Look], *, started_at: datetime | None) -> float | None:
    """Return the seconds ≥ 0 until the next poll; None where the looks predict no end.

    `looks` are the last ones, the oldest first; `started_at` counts as a look with nothing done.
    """
    if not looks or looks[-1].total <= 0:
        return None
    last = looks[-1]
    first = [] if started_at is None else [Look(at=started_at, done=0, passed=0, total=last.total)]
    history = [*first, *looks] if len(looks) < KEPT else list(looks)
    passed = [(look.at, look.passed) for look in history]
    if last.passed < last.total:
        return _before_end(passed, last.total, _QUEUE_SHARE)
    done = [(look.at, look.done) for look in history]
    if last.done >= last.total:
        return _after_end(done, last.total)
    receipts = _before_end(done, last.total, _RECEIPTS_SHARE)
    processed = _after_end(passed, last.total)
    return processed if receipts is None else min(processed, receipts)


def _after_end(series: Series, goal: int) -> float:
    """Return the time since the first look at which the goal was reached."""
    reached = next(at for at, count in series if count >= goal)
    return max(0.0, (series[-1][0] - reached).total_seconds())


def _before_end(series: Series, goal: int, share: float) -> float | None:
    """Return a share of the time that is left until the goal; None without progress."""
    intervals = list(_intervals(series))
    weights = [_FADING**age for age in range(len(intervals))]
    seconds = sum(weight * span for weight, (span, _) in zip(weights, intervals, strict=True))
    moved = sum(weight * gain for weight, (_, gain) in zip(weights, intervals, strict=True))
    if moved <= 0:
        return None
    rate = moved / seconds
    left = (goal - series[-1][1]) / rate
    return share * left / (1 + _variation(intervals, weights, rate))


def _intervals(series: Series) -> Iterable[tuple[float, int]]:
    """Yield seconds and gain between two looks, the last first."""
    for (before, was), (after, became) in reversed(list(pairwise(series))):
        span = (after - before).total_seconds()
        if span > 0:
            yield span, became - was


def _variation(
    intervals: Sequence[tuple[float, int]], weights: Sequence[float], rate: float
) -> float:
    """Return the relative variation of the rate between looks."""
    if len(intervals) == 1:
        return _FIRST_VARIATION
    spans = [weight * span for weight, (span, _) in zip(weights, intervals, strict=True)]
    squares = [(gain / span - rate) ** 2 for span, gain in intervals]
    mean = sum(span * square for span, square in zip(spans, squares, strict=True)) / sum(spans)
    return sqrt(mean) / rate
