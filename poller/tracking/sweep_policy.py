"""Whether to read the list or single operations: whichever costs fewer requests.

One page of the list refreshes up to 1000 operations. What a list will show is not known in advance,
so the choice depends on the last sweep: how many pages it had, and which share of the tracked
operations it showed. Measurements expire, because accounts change.
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
    """How far back a list has to go: the operations tracked, and when the oldest was created."""

    tracked: int
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """The measurements of the last sweep of a kind; None where there was none."""

    measured_at: datetime | None = None
    pages: int = 1
    shown: float = 1.0
    not_before: datetime | None = None

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the measurement is still valid; one from the future is not."""
        return self.measured_at is not None and timedelta(0) <= now - self.measured_at < _AGES_AFTER

    def holds_off(self, now: datetime) -> bool:
        """Return whether a failure is too recent for a sweep; one far in the future is ignored."""
        return self.not_before is not None and now < self.not_before <= now + _TRY_AGAIN


def is_worth_it(due: int, reach: Reach, experience: Experience, *, now: datetime) -> bool:
    """Return whether a sweep costs fewer requests than fetching what it would show of `due`.

    Operations that the last sweep missed are not part of `due`: they are fetched.
    """
    if experience.holds_off(now):
        return False
    pages, shown = max(1, ceil(reach.tracked / PAGE)), 1.0
    if experience.is_fresh(now):
        pages, shown = max(pages, experience.pages), experience.shown
    return due * shown > pages


def after_sweep(*, pages: int, tracked: int, shown: int, now: datetime) -> Experience:
    """Return the measurements of a finished sweep, which showed `shown` of `tracked` operations.

    The share counts one more as shown, so that a few operations that no list shows do not decide
    for thousands of later ones.
    """
    share = (min(shown, tracked) + 1) / (tracked + 1)
    return Experience(measured_at=now, pages=pages, shown=share)


def after_failure(experience: Experience, *, now: datetime) -> Experience:
    """Return the measurements after a sweep was given up: operations are fetched for a while."""
    return replace(experience, not_before=now + _TRY_AGAIN)
