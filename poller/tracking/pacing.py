"""When to poll again: a forecast where counters move, exponential backoff with jitter elsewhere.

After an answer the forecast decides. Where the counters predict no end, or there was no answer, the
wait doubles, between `min_interval` and `max_interval`, and a change resets it. Three deadlines can
only make the next poll earlier: a change that waits to be emitted, the end of settling, and the
vendor's seven days.

A scheduled operation is polled at its earliest known send time, but at least every
`schedule_checks`: send times are per recipient, and only one page of messages was read, so others
may be sent hours before. It may also be cancelled before.

A hint brings a poll forward, but not one that waits after failures. A poll that was brought forward
and shows nothing new does not lengthen the wait.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from poller.tracking.alert import AlertRule
from poller.tracking.forecast import predicted_wait
from poller.tracking.privacy import Addresses
from poller.tracking.watch import Hint, HintStrength, NextPoll, Phase, Watch

# "Records are available for 7 days after creation" (the vendor's reference).
RETENTION: Final = timedelta(days=7)

_JITTER: Final = 0.2
_SETTLING_LOOKS: Final = 8
# seconds of the account's rate that the polls for hints of one strength may fill
_HINTED_SECONDS: Final = 5.0


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
    """Whether to read the breakdown, where the registration does not decide."""
    addresses: Addresses = Addresses.HIDDEN
    alerts: tuple[AlertRule, ...] = ()
    forecast: bool = True
    """False selects the plain backoff, for comparison in benchmarks."""


DEFAULT_POLICY: Final = Policy()
"""The policy without any settings."""


def next_poll(
    watch: Watch,
    *,
    moved: bool,
    policy: Policy,
    now: datetime,
    jitter: float,
    was_hinted: bool = False,
) -> NextPoll:
    """Decide when to poll `watch` again after an answer at `now`.

    `moved` is whether the answer showed anything new, `was_hinted` whether a hint had brought the
    poll forward; `jitter` is a random number in [0, 1).
    """
    if watch.phase is Phase.EXPLAINING and moved:
        # the rate limit of the account is enough
        return NextPoll(wait=0, due_at=now, set_at=now)
    if (sleep := _until_sent(watch, now)) is not None:
        sleep = min(sleep, policy.schedule_checks)
        due = now + timedelta(seconds=max(policy.min_interval, sleep))
        return NextPoll(wait=0, due_at=due, set_at=now)
    backoff = _backoff(watch, moved=moved, was_hinted=was_hinted, policy=policy)
    predicted = _forecast(watch) if policy.forecast and (moved or _has_answered(watch)) else None
    wait = backoff if predicted is None else _within(predicted, policy)
    # jitter only shortens, so that max_interval is kept; min_interval is kept by the max
    delay = max(policy.min_interval, wait * (1 - _JITTER * jitter))
    due = min([now + timedelta(seconds=delay), *_deadlines(watch, policy, now)])
    return NextPoll(wait=backoff, due_at=due, set_at=now)


def take_hint(
    watch: Watch, strength: HintStrength, *, policy: Policy, now: datetime
) -> Watch | None:
    """Return the watch after a hint; None where the hint does not change its next poll.

    The poll is due at once, but only `min_interval` after the last one, or `progress_interval` for
    an indirect hint. Where it is due already, a request may be under way whose answer is older than
    the hint: a direct hint then causes another poll. After failures the wait is not shortened.
    """
    if watch.phase not in {Phase.ACTIVE, Phase.SETTLING} or not watch.not_found_streak.is_empty:
        return None
    polled_at, due_at = watch.next_poll.set_at, watch.next_poll.due_at
    spaced = polled_at + _spacing(strength, policy) if polled_at <= now else now
    due = max(now, spaced)
    if due >= due_at and not (due_at <= now and strength is HintStrength.DIRECT):
        return None
    is_direct = watch.hint is not None and watch.hint.strength is HintStrength.DIRECT
    poll = replace(watch.next_poll, due_at=min(due, due_at))
    hint = Hint(at=now, strength=HintStrength.DIRECT if is_direct else strength)
    return watch.evolve(next_poll=poll, hint=hint)


def most_hinted(requests_per_second: float) -> int:
    """Return how many watches may have an unanswered hint of one strength.

    With both strengths, their polls take at most ten seconds of the account's rate. A flood of
    hints delays the other polls by no more than that.
    """
    return max(1, int(requests_per_second * _HINTED_SECONDS))


def _spacing(strength: HintStrength, policy: Policy) -> timedelta:
    """Return how soon after a poll a hint may cause the next one."""
    if strength is HintStrength.DIRECT:
        return timedelta(seconds=policy.min_interval)
    return timedelta(seconds=max(policy.min_interval, policy.progress_interval))


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


def _backoff(watch: Watch, *, moved: bool, was_hinted: bool, policy: Policy) -> float:
    """Return the wait without a forecast; a change resets it, a poll after a hint keeps it.

    It is kept beside a forecast, so that a failure does not double a wait that was forecast.
    """
    if watch.phase is Phase.SETTLING:
        return _within(policy.settle / _SETTLING_LOOKS or policy.max_interval, policy)
    keeps = was_hinted and watch.not_found_streak.is_empty
    return _within(0.0 if moved else watch.next_poll.wait * (1 if keeps else 2), policy)


def _within(wait: float, policy: Policy) -> float:
    return min(max(wait, policy.min_interval), policy.max_interval)


def _forecast(watch: Watch) -> float | None:
    if watch.status == "SCHEDULED" or watch.phase is Phase.SETTLING:
        return None
    return predicted_wait(watch.looks, started_at=watch.left_scheduled_at or watch.created_at)


def _has_answered(watch: Watch) -> bool:
    """Return whether the last poll succeeded: it returned the operation."""
    return watch.observed_at is not None and watch.observed_at > watch.next_poll.set_at


def _deadlines(watch: Watch, policy: Policy, now: datetime) -> list[datetime]:
    """Return the moments by which the next poll must begin."""
    soonest = now + timedelta(seconds=policy.min_interval)
    deadlines: list[datetime] = []
    if watch.hint is not None:
        deadlines.append(now + _spacing(watch.hint.strength, policy))
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
