"""Applies an answer to the known state: returns the new state and the events to record. Pure.

`observe` is called with the state *found in the locked row*, so that two observers of one
operation can never count a delta or a sequence number twice. First the answer is accepted into
the watch, unless it is stale or makes no sense; then `transitions` makes the events. While a
breakdown is being read, `breakdown.reading` does both.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from poller.comms.decoding import JsonObject
from poller.comms.models import Message, Operation
from poller.tracking.answer import (
    Answer,
    BreakdownAnswer,
    Decision,
    FailedAnswer,
    FoundAnswer,
    NonsenseAnswer,
    NotFoundAnswer,
    ReceiptsAnswer,
    RejectedAnswer,
    ScheduleAnswer,
    Verdict,
)
from poller.tracking.breakdown.reading import read_breakdown
from poller.tracking.forecast import Look, after_answer
from poller.tracking.lifecycle import lifecycle_of
from poller.tracking.pacing import Policy, next_poll
from poller.tracking.privacy import public_message
from poller.tracking.progress import delta_between, read_progress
from poller.tracking.transitions import Transition
from poller.tracking.watch import Hint, NotFoundStreak, Phase, Watch


def observe(
    watch: Watch, answer: Answer, *, policy: Policy, now: datetime, jitter: float
) -> Decision:
    """Judge one answer about `watch`.

    `now` is the moment of recording, `jitter` a random number in [0, 1) for the pacing.
    """
    if not watch.is_watched:
        return Decision(watch=watch, events=(), verdict=Verdict.LATE)
    if watch.phase is Phase.EXPLAINING:
        decision = read_breakdown(watch, answer, policy=policy, now=now)
    else:
        known, verdict = _accept_answer(watch, answer, policy=policy, now=now)
        transition = Transition(known, answer, policy=policy, now=now)
        transition.apply(accepted=verdict in {Verdict.CHANGED, Verdict.UNCHANGED})
        decision = Decision(
            watch=transition.watch, events=tuple(transition.events), verdict=verdict
        )
    if not decision.watch.is_watched or decision.verdict is Verdict.LATE:
        return decision
    after = decision.watch.evolve(hint=_open_hint(decision, answer))
    poll = next_poll(
        after,
        moved=decision.verdict is Verdict.CHANGED,
        was_hinted=watch.hint is not None,
        policy=policy,
        now=now,
        jitter=jitter,
    )
    return Decision(
        watch=after.evolve(next_poll=poll),
        events=decision.events,
        verdict=decision.verdict,
    )


def _open_hint(decision: Decision, answer: Answer) -> Hint | None:
    """Return the hint where it came after the request was begun: the answer may be too old for it.

    After a failure there is none, so that a hint does not shorten the backoff.
    """
    hint = decision.watch.hint
    is_late = hint is not None and answer.begun_at < hint.at
    return hint if is_late and decision.watch.not_found_streak.is_empty else None


# A clock this far ahead of ours is wrong; network delay cannot explain it.
_AHEAD: Final = timedelta(minutes=5)
# The messages of an operation are created together with it, or this soon after.
_MADE_WITHIN: Final = timedelta(minutes=10)


_NOT_ACCEPTED: Final[Mapping[type[Answer], Verdict]] = {
    FoundAnswer: Verdict.STALE,
    NotFoundAnswer: Verdict.ABSENT,
    RejectedAnswer: Verdict.ABSENT,
    NonsenseAnswer: Verdict.NONSENSE,
    FailedAnswer: Verdict.FAILED,
    BreakdownAnswer: Verdict.LATE,
}


def _accept_answer(
    watch: Watch, answer: Answer, *, policy: Policy, now: datetime
) -> tuple[Watch, Verdict]:
    """Apply the answer to a watch that has not ended."""
    known = watch.evolve(not_found_streak=_count_refusals(watch.not_found_streak, answer, now))
    match answer:
        case FoundAnswer(found=found) if not _is_stale(watch, found, now):
            known = _accept(known, found, answer.arrived_at, policy=policy, now=now)
        case ReceiptsAnswer(statuses=statuses):
            known = known.evolve(counters=_tally(statuses), observed_at=answer.arrived_at)
        case ScheduleAnswer(messages=messages):
            earliest = _earliest_schedule(watch, messages, now)
            known = known.evolve(scheduled_for=earliest, schedule_read_at=now)
        case _:
            return known, _NOT_ACCEPTED[type(answer)]
    verdict = _verdict(watch, known)
    if verdict is Verdict.CHANGED or known.moved_at is None:
        known = known.evolve(moved_at=answer.arrived_at)
    return known, verdict


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
    updated_at = _plausible(found.updated_at, now)
    if updated_at is None or watch.updated_at is None or updated_at >= watch.updated_at:
        return False
    # the first terminal status is accepted whatever its clock says: an end is never lost
    return found.status not in lifecycle.terminal or watch.status in lifecycle.terminal


def _plausible(instant: datetime | None, now: datetime) -> datetime | None:
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
        updated_at=_plausible(found.updated_at, now) or watch.updated_at,
        created_at=_plausible(found.created_at, now) or watch.created_at,
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
    # the decoded status, and only those parts of the document that may be stored
    return {**public_message(message.raw, policy.addresses), "status": message.status}


def _counters(message: Message) -> Mapping[str, int]:
    """Count attempts by status; a group is counted by its receipts, which are read separately."""
    return {} if message.status == "GROUP" else message.counters


def _tally(statuses: Sequence[str]) -> dict[str, int]:
    return {"recipients": len(statuses), **Counter(status.lower() for status in statuses)}


def _looks(watch: Watch, operation: Operation, arrived_at: datetime) -> tuple[Look, ...]:
    """Return the looks since the last change of status, this one included."""
    progress = read_progress(watch.kind_spec, operation.counters)
    looks = watch.looks if operation.status == watch.status else ()
    return after_answer(looks, progress, at=arrived_at)


def _count_refusals(streak: NotFoundStreak, answer: Answer, now: datetime) -> NotFoundStreak:
    """Count refusals and failures in a row: any other answer ends the streak."""
    match answer:
        case NotFoundAnswer():
            since = streak.not_found_since
            if since is None or since > now:
                since = now
            return NotFoundStreak(not_found=streak.not_found + 1, not_found_since=since)
        case RejectedAnswer():
            return NotFoundStreak(rejected=streak.rejected + 1)
        case FailedAnswer() | NonsenseAnswer():
            return NotFoundStreak(failed=streak.failed + 1)
        case _:
            return NotFoundStreak()
