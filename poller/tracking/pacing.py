"""When to poll again: a forecast where counters move, exponential backoff with jitter elsewhere.

After an answer the forecast decides. Where the counters predict no end, or there was no answer, the
wait doubles, between `min_interval` and `max_interval`, and a change resets it. Three deadlines can
only make the next poll earlier: a change that waits to be emitted, the end of settling, and the
vendor's seven days.

A scheduled operation is polled at its earliest known send time, but at least every
`schedule_checks`: send times are per recipient, and only one page of messages was read, so others
may be sent hours before. It may also be cancelled before.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from poller.tracking.alert import AlertRule
from poller.tracking.forecast import predicted_wait
from poller.tracking.privacy import Addresses
from poller.tracking.watch import NextPoll, Phase, Watch

# "Records are available for 7 days after creation" (the vendor's reference).
RETENTION: Final = timedelta(days=7)

_JITTER: Final = 0.2
_SETTLING_LOOKS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings of tracking; times in seconds."""

    min_interval: float = 1.0
    max_interval: float = 60.0
    progress_interval: float = 10.0
    settle: float = 0.0
    not_found_grace: float = 60.0
    schedule_checks: float = 900.0
    """The longest wait between two polls of what is scheduled."""
    breakdown: bool = False
    """Whether to read the breakdown, where the registration does not say."""
    addresses: Addresses = Addresses.HIDDEN
    alerts: tuple[AlertRule, ...] = ()
    forecast: bool = True
    """False selects the plain backoff, for comparison in benchmarks."""


DEFAULT_POLICY: Final = Policy()
"""What holds where no settings say otherwise."""


def next_poll(
    watch: Watch, *, moved: bool, policy: Policy, now: datetime, jitter: float
) -> NextPoll:
    """Decide when to poll `watch` again after an answer at `now`.

    `moved` says whether the answer showed anything new; `jitter` is a random number in [0, 1).
    """
    if watch.phase is Phase.EXPLAINING and moved:
        # the rate limit of the account paces it
        return NextPoll(wait=0, due_at=now, set_at=now)
    if (sleep := _until_sent(watch, now)) is not None:
        sleep = min(sleep, policy.schedule_checks)
        due = now + timedelta(seconds=max(policy.min_interval, sleep))
        return NextPoll(wait=0, due_at=due, set_at=now)
    backoff = _backoff(watch, moved=moved, policy=policy)
    predicted = _forecast(watch) if policy.forecast and (moved or _has_answered(watch)) else None
    wait = backoff if predicted is None else _within(predicted, policy)
    # jitter only shortens, so that max_interval is kept; min_interval is kept by the max
    delay = max(policy.min_interval, wait * (1 - _JITTER * jitter))
    due = min([now + timedelta(seconds=delay), *_deadlines(watch, policy, now)])
    return NextPoll(wait=backoff, due_at=due, set_at=now)


def expires_at(watch: Watch) -> datetime | None:
    """Return the time from which the vendor may have deleted the record; None while `SCHEDULED`."""
    if watch.status == "SCHEDULED":
        return None
    return (watch.left_scheduled_at or watch.created_at or watch.registered_at) + RETENTION


def _until_sent(watch: Watch, now: datetime) -> float | None:
    """Return the seconds to wait for a known send time; None where none is ahead."""
    if watch.status != "SCHEDULED" or watch.scheduled_for is None:
        return None
    left = (watch.scheduled_for - now).total_seconds()
    return left if left > 0 else None


def _backoff(watch: Watch, *, moved: bool, policy: Policy) -> float:
    """Return the wait without a forecast; a change resets it.

    It is kept beside a forecast, so that a failure does not double a wait that was forecast.
    """
    if watch.phase is Phase.SETTLING:
        return _within(policy.settle / _SETTLING_LOOKS or policy.max_interval, policy)
    return _within(0.0 if moved else 2 * watch.next_poll.wait, policy)


def _within(wait: float, policy: Policy) -> float:
    return min(max(wait, policy.min_interval), policy.max_interval)


def _forecast(watch: Watch) -> float | None:
    if watch.status == "SCHEDULED" or watch.phase is Phase.SETTLING:
        return None
    return predicted_wait(watch.looks, started_at=watch.left_scheduled_at or watch.created_at)


def _has_answered(watch: Watch) -> bool:
    """Return whether the last poll brought the operation, and did not fail."""
    return watch.observed_at is not None and watch.observed_at > watch.next_poll.set_at


def _deadlines(watch: Watch, policy: Policy, now: datetime) -> list[datetime]:
    """Return the moments by which the next poll must begin."""
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
        # halving the remaining time finds the last state before the record is deleted, then the 404
        deadlines.append(max(now + (end - now) / 2, soonest))
    return deadlines
