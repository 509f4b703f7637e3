"""Taking in an answer: what is stale or makes no sense changes nothing. Tells nobody yet."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from poller.comms.decoding import JsonObject
from poller.comms.models import Message, Operation
from poller.tracking.answer import (
    Answer,
    BreakdownAnswer,
    FailedAnswer,
    FoundAnswer,
    NonsenseAnswer,
    NotFoundAnswer,
    ReceiptsAnswer,
    RejectedAnswer,
    ScheduleAnswer,
)
from poller.tracking.counters import delta_between
from poller.tracking.decision import Verdict
from poller.tracking.forecast import KEPT, Look, look_at
from poller.tracking.lifecycle import lifecycle_of
from poller.tracking.pacing import Policy
from poller.tracking.privacy import public_message
from poller.tracking.watch import NotFoundStreak, Watch

__all__ = ["accept_answer"]

# A clock that is this far ahead of ours is a wrong clock, not network delay.
_AHEAD: Final = timedelta(minutes=5)
# The messages of an operation are made with it, or soon after.
_MADE_WITHIN: Final = timedelta(minutes=10)


# a sighting that is no news is an old one
_OF_NO_NEWS: Final[Mapping[type[Answer], Verdict]] = {
    FoundAnswer: Verdict.STALE,
    NotFoundAnswer: Verdict.ABSENT,
    RejectedAnswer: Verdict.ABSENT,
    NonsenseAnswer: Verdict.NONSENSE,
    FailedAnswer: Verdict.FAILED,
    BreakdownAnswer: Verdict.LATE,
}


def accept_answer(
    watch: Watch, answer: Answer, *, policy: Policy, now: datetime
) -> tuple[Watch, Verdict]:
    """Take in what the answer says of a watch that has not ended."""
    known = watch.evolve(not_found_streak=_absence(watch.not_found_streak, answer, now))
    match answer:
        case FoundAnswer(found=found) if not _is_stale(watch, found, now):
            known = _accept(known, found, answer.arrived_at, policy=policy, now=now)
        case ReceiptsAnswer(statuses=statuses):
            known = known.evolve(counters=_tally(statuses), observed_at=answer.arrived_at)
        case ScheduleAnswer(messages=messages):
            earliest = _earliest_schedule(watch, messages, now)
            known = known.evolve(scheduled_for=earliest, schedule_read_at=now)
        case _:
            return known, _OF_NO_NEWS[type(answer)]
    return known, _verdict(watch, known)


def _verdict(before: Watch, after: Watch) -> Verdict:
    moved = (
        before.snapshot is None
        or after.status != before.status
        or bool(delta_between(before.counters, after.counters))
    )
    return Verdict.CHANGED if moved else Verdict.UNCHANGED


def _is_stale(watch: Watch, found: Operation | Message, now: datetime) -> bool:
    lifecycle = lifecycle_of(watch.resource_type)
    if not lifecycle.follows(watch.status, found.status):
        return True
    updated_at = _believable(found.updated_at, now)
    if updated_at is None or watch.updated_at is None or updated_at >= watch.updated_at:
        return False
    # the first terminal status is believed whatever its clock says: an end is never lost
    return found.status not in lifecycle.terminal or watch.status in lifecycle.terminal


def _believable(instant: datetime | None, now: datetime) -> datetime | None:
    return None if instant is None or instant > now + _AHEAD else instant


def _accept(
    watch: Watch,
    found: Operation | Message,
    arrived_at: datetime,
    *,
    policy: Policy,
    now: datetime,
) -> Watch:
    left_scheduled_at = watch.left_scheduled_at
    if watch.status == "SCHEDULED" and found.status != "SCHEDULED":
        left_scheduled_at = now
    seen = watch.evolve(
        observed_at=arrived_at,
        updated_at=_believable(found.updated_at, now) or watch.updated_at,
        created_at=_believable(found.created_at, now) or watch.created_at,
        left_scheduled_at=left_scheduled_at,
    )
    if isinstance(found, Operation):
        return seen.evolve(
            snapshot=found.raw,
            counters=found.counters,
            looks=_looks(watch, found, arrived_at),
        )
    return seen.evolve(
        snapshot=_public(found, policy),
        counters=_counters(found),
        scheduled_for=found.scheduled_for,
    )


def _earliest_schedule(watch: Watch, messages: Sequence[Message], now: datetime) -> datetime | None:
    """Return the first moment after `now` at which a message of the operation will be sent."""
    ahead = [
        message.scheduled_for
        for message in messages
        if message.status == "SCHEDULED"
        and message.scheduled_for is not None
        and message.scheduled_for > now
        and _may_belong_to(watch, message)
    ]
    return min(ahead, default=None)


def _may_belong_to(watch: Watch, message: Message) -> bool:
    """Return False for a message that was created at another time than the operation.

    The API ignores a filter that it does not know, and then lists messages of other operations.
    """
    if message.created_at is None or watch.created_at is None:
        return True
    return abs(message.created_at - watch.created_at) <= _MADE_WITHIN


def _public(message: Message, policy: Policy) -> JsonObject:
    # the status is what was decoded: the rest of the document is shown as far as it may be
    return {**public_message(message.raw, policy.addresses), "status": message.status}


def _counters(message: Message) -> Mapping[str, int]:
    """Count attempts by status; a group is counted by its receipts, which come by themselves."""
    return {} if message.status == "GROUP" else message.counters


def _tally(statuses: Sequence[str]) -> dict[str, int]:
    return {"recipients": len(statuses), **Counter(status.lower() for status in statuses)}


def _looks(watch: Watch, operation: Operation, arrived_at: datetime) -> tuple[Look, ...]:
    """Remember the looks of one stretch: a changed status or a clock that went back begins anew."""
    look = look_at(operation, watch.kind_spec, at=arrived_at)
    if operation.status != watch.status or (watch.looks and watch.looks[-1].at > arrived_at):
        return (look,)
    return (*watch.looks, look)[-KEPT:]


def _absence(not_found_streak: NotFoundStreak, answer: Answer, now: datetime) -> NotFoundStreak:
    """Count refusals in a row: any other outcome breaks the row."""
    match answer:
        case NotFoundAnswer():
            since = not_found_streak.not_found_since
            if since is None or since > now:
                since = now
            return NotFoundStreak(not_found=not_found_streak.not_found + 1, not_found_since=since)
        case RejectedAnswer():
            return NotFoundStreak(rejected=not_found_streak.rejected + 1)
        case _:
            return NotFoundStreak()
