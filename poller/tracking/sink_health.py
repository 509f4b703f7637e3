"""The health of a sink as pure state: ok, failing, down, disabled.

A sink whose attempts have all failed for ten seconds is *down*: from then on a single probe
stands for all its deliveries, at growing distances of at most five minutes. The first answer
that is not an outage ends that, and everything that waits becomes due in order.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from poller.tracking.delivery import AttemptResult, DeliveryAttempt

__all__ = ["Health", "SinkState", "after_result", "may_probe"]

_DOWN_AFTER: Final = timedelta(seconds=10)
_DOWN_ATTEMPTS: Final = 3
_FIRST_PROBE: Final = 2.0
_LONGEST_PROBE: Final = 300.0
_DOUBLINGS: Final = 8
_JITTER: Final = 0.2


class SinkState(StrEnum):
    """What an operator wants to know of a sink."""

    OK = "ok"
    FAILING = "failing"
    DOWN = "down"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of one sink since `since`; `failures` counts failed attempts in a row."""

    state: SinkState
    since: datetime
    failures: int = 0
    probes: int = 0
    probe_at: datetime | None = None
    set_at: datetime | None = None
    status: int | None = None
    error: str | None = None


def after_result(
    health: Health, attempt: DeliveryAttempt, *, now: datetime, jitter: float
) -> Health:
    """Return the health as this attempt leaves it; `jitter` is a random number in [0, 1)."""
    if health.state is SinkState.DISABLED:
        return health
    match attempt.result:
        case AttemptResult.DELIVERED | AttemptResult.REFUSED:
            if health.state is SinkState.OK:
                return health
            return Health(state=SinkState.OK, since=now)
        case AttemptResult.GONE:
            return Health(
                state=SinkState.DISABLED, since=now, status=attempt.status, error=attempt.error
            )
        case AttemptResult.FAILED:
            return _failed(health, attempt, now, jitter)


def may_probe(health: Health, now: datetime) -> bool:
    """Tell whether a sink that is down may be tried now; a wait set in the future is void."""
    if health.probe_at is None or health.set_at is None:
        return True
    return health.probe_at <= now or health.set_at > now


def _failed(health: Health, attempt: DeliveryAttempt, now: datetime, jitter: float) -> Health:
    since = now if health.state is SinkState.OK else min(health.since, now)
    failures = health.failures + 1
    told = replace(
        health, since=since, failures=failures, status=attempt.status, error=attempt.error
    )
    if health.state is SinkState.DOWN:
        # what was in flight when the sink went down is no probe, and must not lengthen the wait
        is_probe = health.set_at is None or attempt.begun_at >= health.set_at
        return _probe_later(told, attempt, now, jitter) if is_probe else told
    if failures >= _DOWN_ATTEMPTS and now - since >= _DOWN_AFTER:
        return _probe_later(replace(told, state=SinkState.DOWN), attempt, now, jitter)
    return replace(told, state=SinkState.FAILING)


def _probe_later(health: Health, attempt: DeliveryAttempt, now: datetime, jitter: float) -> Health:
    wait = _FIRST_PROBE * 2 ** min(health.probes, _DOUBLINGS)
    wait = min(max(wait, attempt.retry_after or 0.0), _LONGEST_PROBE)
    wait *= 1 - _JITTER * jitter
    return replace(
        health, probes=health.probes + 1, probe_at=now + timedelta(seconds=wait), set_at=now
    )
