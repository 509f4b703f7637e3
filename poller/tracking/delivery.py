"""The delivery of one event to one sink, as pure state: attempts, waits, and when to give up.

Waits start at 1 s and about double to at most 1 h; jitter only adds to them. `Retry-After` pauses
the whole sink instead. An event is given up at a failed attempt three days after it was recorded
(or replayed), or one hour after the receiver first refused it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from poller.tracking.event import Event

GIVE_UP_AFTER: Final = timedelta(days=3)
_REFUSED_FOR: Final = timedelta(hours=1)
_LONGEST: Final = 3600.0
_DOUBLINGS: Final = 12
_JITTER: Final = 0.2


class DeliveryState(StrEnum):
    """The state of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


class AttemptResult(StrEnum):
    """How an attempt ended, for the decision on a retry."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"
    """The receiver answered that it does not accept this event."""
    GONE = "gone"
    """The receiver wants no more events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """The end of one attempt. `error` is a sentence without secrets; `retry_after` in seconds."""

    result: AttemptResult
    begun_at: datetime
    status: int | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def is_answer(self) -> bool:
        """True if the receiver answered."""
        return self.status is not None or self.result is not AttemptResult.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The state of one event for one sink. `fresh_at` is when it was recorded or last replayed."""

    state: DeliveryState
    fresh_at: datetime
    due_at: datetime
    set_at: datetime
    attempts: int = 0
    refused_at: datetime | None = None
    status: int | None = None
    error: str | None = None
    done_at: datetime | None = None


def after_attempt(
    delivery: Delivery, attempt: DeliveryAttempt, *, now: datetime, jitter: float
) -> Delivery:
    """Return the delivery after this attempt; `jitter` is a random number in [0, 1)."""
    tried = replace(
        delivery, attempts=delivery.attempts + 1, status=attempt.status, error=attempt.error
    )
    if attempt.result is AttemptResult.DELIVERED:
        return replace(tried, state=DeliveryState.DELIVERED, done_at=now)
    refused_at = tried.refused_at
    if attempt.result is AttemptResult.REFUSED:
        refused_at = min(refused_at or now, now)
        if now - refused_at >= _REFUSED_FOR:
            return replace(tried, state=DeliveryState.DEAD, done_at=now, refused_at=refused_at)
    if now - tried.fresh_at >= GIVE_UP_AFTER:
        return replace(tried, state=DeliveryState.DEAD, done_at=now, refused_at=refused_at)
    due_at = now + timedelta(seconds=_wait(tried.attempts, jitter))
    if attempt.result is AttemptResult.REFUSED and refused_at is not None:
        due_at = min(due_at, refused_at + _REFUSED_FOR)
    return replace(tried, due_at=due_at, set_at=now, refused_at=refused_at)


def _wait(attempts: int, jitter: float) -> float:
    doubled = 2.0 ** min(attempts - 1, _DOUBLINGS)
    return min(doubled * (1 + _JITTER * jitter), _LONGEST)


FINAL = "final"
SUMMARY = "summary"
"""The pattern for finals and breakdowns of groups, and of watches that are in no group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The events that a sink subscribes to: type patterns and labels.

    A pattern is `*`, `operation.*`, `*.alert`, `final`, `summary` or a type. `summary` means the
    finals and breakdowns of groups, and of watches that are in no group.
    """

    sink: str
    events: tuple[str, ...] = ("*",)
    labels: Mapping[str, str] = field(default_factory=dict)

    def wants(self, event: Event) -> bool:
        """Return whether the sink subscribes to `event`."""
        is_wanted = wants_type(self.events, event.type, final=event.final) or (
            SUMMARY in self.events and event.is_summary
        )
        return is_wanted and all(
            event.labels.get(name) == value for name, value in self.labels.items()
        )


def wants_type(patterns: Iterable[str], event_type: str, *, final: bool) -> bool:
    """Return whether any of the patterns (as of `Subscription`) matches such an event."""
    return any(_matches(pattern, event_type, final=final) for pattern in patterns)


def _matches(pattern: str, event_type: str, *, final: bool) -> bool:
    if pattern == FINAL:
        return final
    before, star, after = pattern.partition("*")
    if star:
        return event_type.startswith(before) and event_type.endswith(after)
    return event_type == pattern
