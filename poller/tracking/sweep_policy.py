"""Whether to read the list instead of asking one by one: whichever costs fewer requests.

One page of the list refreshes up to 1000 operations. What a list will show is not known
beforehand, so the choice rests on what the last one measured: how many pages it had, and which
share of the tracked operations it showed. Measurements age, because accounts change.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Final

PAGE: Final = 1000
"""Operations on a full page (the vendor's largest `pageSize`)."""

_AGES_AFTER: Final = timedelta(minutes=10)
_TRY_AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a list would have to go: the operations tracked, and when the oldest was created."""

    tracked: int
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What the last sweep of a kind measured; None where there was none."""

    measured_at: datetime | None = None
    pages: int = 1
    shown: float = 1.0
    not_before: datetime | None = None

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the measurement still counts; one from the future does not."""
        return self.measured_at is not None and timedelta(0) <= now - self.measured_at < _AGES_AFTER

    def holds_off(self, now: datetime) -> bool:
        """Return whether a failure was too recent; one left far ahead by a clock does not count."""
        return self.not_before is not None and now < self.not_before <= now + _TRY_AGAIN


def is_worth_it(due: int, reach: Reach, experience: Experience, *, now: datetime) -> bool:
    """Return whether a sweep costs fewer requests than fetching what it would show of `due`.

    What the last sweep has missed does not belong to `due`: it is fetched.
    """
    if experience.holds_off(now):
        return False
    pages, shown = max(1, ceil(reach.tracked / PAGE)), 1.0
    if experience.is_fresh(now):
        pages, shown = max(pages, experience.pages), experience.shown
    return due * shown > pages


def after_sweep(*, pages: int, tracked: int, shown: int, now: datetime) -> Experience:
    """Learn from a finished sweep: it showed `shown` of `tracked` operations.

    The share is that of one more that was shown, so that a few operations which no list shows do
    not speak for thousands to come.
    """
    share = (min(shown, tracked) + 1) / (tracked + 1)
    return Experience(measured_at=now, pages=pages, shown=share)


def after_failure(experience: Experience, *, now: datetime) -> Experience:
    """Learn from a sweep that had to be given up: fetch for a while."""
    return replace(experience, not_before=now + _TRY_AGAIN)
