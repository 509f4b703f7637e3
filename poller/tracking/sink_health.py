"""The health of a sink as pure state, and what may be sent to it.

What an attempt shows decides the next state (columns: the state before it):

================  =========  ==========================  ===========  ===========
an attempt is     ok         rejecting                   failing      down
================  =========  ==========================  ===========  ===========
delivered         ok         ok or rejecting (1)         as (1)       as (1)
refused (400 …)   rejecting  rejecting                   rejecting    rejecting
an error (500 …)  failing    rejecting, then failing (2) failing      failing
no answer         failing    rejecting, then failing (2) failing (3)  down
gone (410)        disabled   disabled                    disabled     disabled
================  =========  ==========================  ===========  ===========

1. ok if every event that was tried has been delivered or given up; otherwise rejecting.
2. failing after five failed attempts in a row.
3. down after at least three attempts in a row without an answer, over at least ten seconds.

A sink that is ok or rejecting takes as many events at once as its concurrency allows. A failing
sink gets one attempt at a time, at most five seconds apart: a receiver that answers 503 to
everything does not get an attempt for each waiting event. A sink that is down gets one probe at a
time, at most five minutes apart, for all its deliveries. In both states an event that was recorded
after the last attempt began does not wait for the next one: only the events that were tried may be
the reason. `Retry-After` pauses the whole sink in every state.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from poller.tracking.delivery import AttemptResult, DeliveryAttempt

_DOWN_AFTER: Final = timedelta(seconds=10)
_DOWN_ATTEMPTS: Final = 3
_FAILING_ATTEMPTS: Final = 5
_FIRST_PROBE: Final = 2.0
_LONGEST_PROBE: Final = 300.0
_LONGEST_PACE: Final = 5.0
_OUTAGE_PROBES: Final = 5
_NEWCOMER_AFTER: Final = timedelta(seconds=10)
_LONGEST_PAUSE: Final = 3600.0
_DOUBLINGS: Final = 8
_JITTER: Final = 0.2


class SinkState(StrEnum):
    """The state of a sink, from the results of its attempts."""

    OK = "ok"
    REJECTING = "rejecting"
    """It answers, but refuses some events."""
    FAILING = "failing"
    """The last attempts all failed."""
    DOWN = "down"
    """Nothing is answered."""
    DISABLED = "disabled"
    """The receiver wants no more events (410)."""


class Admission(StrEnum):
    """What may be sent to a sink now."""

    NOTHING = "nothing"
    NEWCOMER = "newcomer"
    """One event that was never tried and was recorded after the last attempt began."""
    PROBE = "probe"
    """One event, due or not."""
    ONE = "one"
    """One event that is due."""
    ALL = "all"
    """Whatever is due, at the sink's concurrency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkHealth:
    """The health of one sink, in this state since `since`.

    `failures` counts failed attempts in a row, `unanswered` those of them at the end that got no
    answer, since `unanswered_since`. `delivered` and `given_up` count events since the sink was
    last ok. `probes` counts the single attempts of a failing or down sink; the next one is due
    at `next_at`, and the last one began at `tried_at`. `paused_until` is what `Retry-After` asked
    for. `set_at` and `paused_at` are when these waits were set. `status` and `error` are of the
    last attempt that was not delivered.
    """

    state: SinkState
    since: datetime
    failures: int = 0
    unanswered: int = 0
    unanswered_since: datetime | None = None
    delivered: int = 0
    given_up: int = 0
    probes: int = 0
    next_at: datetime | None = None
    set_at: datetime | None = None
    tried_at: datetime | None = None
    paused_until: datetime | None = None
    paused_at: datetime | None = None
    status: int | None = None
    error: str | None = None

    @property
    def is_outage(self) -> bool:
        """True if nothing was delivered for so long that the first success ends all waits."""
        return self.state is SinkState.DOWN or (
            self.state is SinkState.FAILING and self.probes >= _OUTAGE_PROBES
        )


def after_result(
    health: SinkHealth,
    attempt: DeliveryAttempt,
    *,
    now: datetime,
    jitter: float,
    refused_wait: bool,
    gave_up: bool = False,
) -> SinkHealth:
    """Return the health after this attempt.

    `refused_wait` says whether any event that was tried still waits, `gave_up` whether this
    attempt was the event's last. `jitter` is a random number in [0, 1).
    """
    if health.state is SinkState.DISABLED:
        return health
    if attempt.result is AttemptResult.DELIVERED:
        return _accepted(health, now, refused_wait=refused_wait)
    after = replace(
        health,
        status=attempt.status,
        error=attempt.error,
        given_up=health.given_up + gave_up,
        failures=health.failures + 1,
    )
    match attempt.result:
        case AttemptResult.GONE:
            return SinkHealth(
                state=SinkState.DISABLED, since=now, status=attempt.status, error=attempt.error
            )
        case AttemptResult.REFUSED:
            return _moved(_answered(replace(after, failures=0)), SinkState.REJECTING, now)
        case _:
            return _paused(_failed(after, attempt, now, jitter), attempt, now)


def admission(health: SinkHealth, *, now: datetime, in_flight: int) -> Admission:
    """Return what may be sent now, with `in_flight` attempts under way."""
    if health.state is SinkState.DISABLED or _is_paused(health, now):
        return Admission.NOTHING
    if health.state is SinkState.FAILING:
        if _is_over(health.next_at, health.set_at, now) and not in_flight:
            return Admission.ONE
        # an attempt that hangs must not delay events that may be accepted
        return Admission.NEWCOMER if in_flight <= 1 else Admission.NOTHING
    if health.state is SinkState.DOWN:
        return Admission.NOTHING if in_flight else _admission_of_probe(health, now)
    return Admission.ALL


def next_attempt(health: SinkHealth, due_at: datetime | None) -> datetime | None:
    """Return the earliest time for a delivery that is due at `due_at`; None for never."""
    if health.state is SinkState.DISABLED or due_at is None:
        return None
    waits = [health.paused_until]
    if health.state in {SinkState.FAILING, SinkState.DOWN}:
        waits.append(health.next_at)
    if health.state is not SinkState.DOWN or health.next_at is None:
        # a probe is for all its deliveries, due or not
        waits.append(due_at)
    return max(wait for wait in waits if wait is not None)


def _admission_of_probe(health: SinkHealth, now: datetime) -> Admission:
    if _is_over(health.next_at, health.set_at, now):
        return Admission.PROBE
    if health.tried_at is None or now - health.tried_at >= _NEWCOMER_AFTER:
        return Admission.NEWCOMER
    return Admission.NOTHING


def _is_paused(health: SinkHealth, now: datetime) -> bool:
    return not _is_over(health.paused_until, health.paused_at, now)


def _is_over(until: datetime | None, set_at: datetime | None, now: datetime) -> bool:
    """Return whether a wait has ended; one set in the future is void, for the clock went back."""
    return until is None or set_at is None or until <= now or set_at > now


def _accepted(health: SinkHealth, now: datetime, *, refused_wait: bool) -> SinkHealth:
    if health.state is SinkState.OK:
        return health
    if not refused_wait:
        return SinkHealth(
            state=SinkState.OK,
            since=now,
            paused_until=health.paused_until,
            paused_at=health.paused_at,
        )
    taken = replace(health, failures=0, delivered=health.delivered + 1)
    return _moved(_answered(taken), SinkState.REJECTING, now)


def _failed(
    health: SinkHealth, attempt: DeliveryAttempt, now: datetime, jitter: float
) -> SinkHealth:
    after = _answered(health) if attempt.is_answer else _unanswered(health, now)
    state = _state_after_failure(after, attempt, now)
    if state is SinkState.REJECTING:
        return _moved(after, state, now)
    is_change = state is not health.state
    # an attempt that began before the wait was set does not lengthen it
    is_probe = after.set_at is None or attempt.begun_at >= after.set_at
    after = _moved(after, state, now)
    if state is SinkState.DOWN and after.unanswered_since is not None:
        after = replace(after, since=after.unanswered_since)
    return _wait(after, attempt, now, jitter) if is_change or is_probe else after


def _state_after_failure(health: SinkHealth, attempt: DeliveryAttempt, now: datetime) -> SinkState:
    """Choose the state after a failed attempt that `health` already counts."""
    if health.unanswered and health.state is SinkState.DOWN:
        return SinkState.DOWN
    # an attempt from before a recovery does not undo it
    is_old = attempt.begun_at < health.since
    if is_old and health.state in {SinkState.OK, SinkState.REJECTING}:
        return SinkState.REJECTING
    if health.state is SinkState.REJECTING and health.failures < _FAILING_ATTEMPTS:
        return SinkState.REJECTING
    is_silent = (
        health.state is SinkState.FAILING
        and health.unanswered >= _DOWN_ATTEMPTS
        and health.unanswered_since is not None
        and now - health.unanswered_since >= _DOWN_AFTER
    )
    return SinkState.DOWN if is_silent else SinkState.FAILING


def _answered(health: SinkHealth) -> SinkHealth:
    return replace(health, unanswered=0, unanswered_since=None)


def _unanswered(health: SinkHealth, now: datetime) -> SinkHealth:
    since = min(health.unanswered_since or now, now)
    return replace(health, unanswered=health.unanswered + 1, unanswered_since=since)


def _moved(health: SinkHealth, state: SinkState, now: datetime) -> SinkHealth:
    """Change the state; the waits of the old state do not apply to the new one."""
    if state is health.state:
        return replace(health, since=min(health.since, now))
    return replace(
        health, state=state, since=now, probes=0, next_at=None, set_at=None, tried_at=None
    )


def _wait(health: SinkHealth, attempt: DeliveryAttempt, now: datetime, jitter: float) -> SinkHealth:
    """Set the moment of the next single attempt; jitter only adds to a wait."""
    if health.state is SinkState.DOWN:
        wait, longest = _FIRST_PROBE * 2 ** min(health.probes, _DOUBLINGS), _LONGEST_PROBE
    else:
        wait = 2.0 ** min(health.probes - 1, _DOUBLINGS) if health.probes else 0.0
        longest = _LONGEST_PACE
    wait = min(wait * (1 + _JITTER * jitter), longest)
    begun_at = min(attempt.begun_at, now)
    return replace(
        health,
        probes=health.probes + 1,
        next_at=now + timedelta(seconds=wait),
        set_at=now,
        tried_at=max(health.tried_at, begun_at) if health.tried_at else begun_at,
    )


def _paused(health: SinkHealth, attempt: DeliveryAttempt, now: datetime) -> SinkHealth:
    """Pause the sink for as long as its receiver asked, at most an hour; never shorten a pause."""
    if attempt.retry_after is None or attempt.retry_after <= 0:
        return health
    until = now + timedelta(seconds=min(attempt.retry_after, _LONGEST_PAUSE))
    if _is_paused(health, now):
        until = max(until, health.paused_until or until)
    return replace(health, paused_until=until, paused_at=now)
