"""When to look again: a forecast where counters move, exponential backoff with jitter elsewhere.

A poll that shows nothing new doubles the wait, between `min_interval` and `max_interval`; one that
shows progress asks the forecast. Three things can only bring a look forward: a change that is held
back, the end of settling, and the vendor's seven days.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from poller.tracking.forecast import predicted_wait
from poller.tracking.watch import Phase, Schedule, Watch

__all__ = ["RETENTION", "Policy", "expires_at", "next_look"]

# "Records are available for 7 days after creation" (the vendor's reference).
RETENTION: Final = timedelta(days=7)

_JITTER: Final = 0.2
_SETTLING_LOOKS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that tracking obeys; all in seconds."""

    min_interval: float = 1.0
    max_interval: float = 60.0
    progress_interval: float = 10.0
    settle: float = 0.0
    not_found_grace: float = 60.0
    forecast: bool = True
    """False leaves the plain backoff, which benchmarks compare with."""


def next_look(
    watch: Watch, *, moved: bool, policy: Policy, now: datetime, jitter: float
) -> Schedule:
    """Decide when to look at `watch` again after an answer at `now`.

    `moved` tells whether the answer showed anything new; `jitter` is a random number in [0, 1).
    """
    wait = _wait(watch, moved=moved, policy=policy)
    # jitter only shortens, so that max_interval is kept; min_interval is kept by the max
    delay = max(policy.min_interval, wait * (1 - _JITTER * jitter))
    due = min([now + timedelta(seconds=delay), *_deadlines(watch, policy, now)])
    return Schedule(wait=wait, due_at=due, set_at=now)


def expires_at(watch: Watch) -> datetime | None:
    """Tell from when on the vendor may have dropped the record; None while it is `SCHEDULED`."""
    if watch.status == "SCHEDULED":
        return None
    return (watch.left_scheduled_at or watch.created_at or watch.registered_at) + RETENTION


def _wait(watch: Watch, *, moved: bool, policy: Policy) -> float:
    if watch.phase is Phase.SETTLING:
        slow = policy.settle / _SETTLING_LOOKS if policy.settle else policy.max_interval
        return min(max(slow, policy.min_interval), policy.max_interval)
    if moved:
        predicted = _forecast(watch) if policy.forecast else None
        return min(max(predicted or 0.0, policy.min_interval), policy.max_interval)
    return min(max(2 * watch.schedule.wait, policy.min_interval), policy.max_interval)


def _forecast(watch: Watch) -> float | None:
    if watch.status == "SCHEDULED":
        return None
    return predicted_wait(watch.looks, started_at=watch.left_scheduled_at or watch.created_at)


def _deadlines(watch: Watch, policy: Policy, now: datetime) -> list[datetime]:
    """Moments that a look must not be later than."""
    soonest = now + timedelta(seconds=policy.min_interval)
    deadlines: list[datetime] = []
    if watch.emitted.progress_at is not None and watch.unemitted:
        held_until = watch.emitted.progress_at + timedelta(seconds=policy.progress_interval)
        # a deadline that has passed without an answer must not keep a failure from backing off
        if held_until > now:
            deadlines.append(max(held_until, soonest))
    if watch.settle_until is not None:
        deadlines.append(max(watch.settle_until, now))
    elif (end := expires_at(watch)) is not None and end >= now:
        # halving what is left catches the last word before the record goes, and then its absence
        deadlines.append(max(now + (end - now) / 2, soonest))
    return deadlines
