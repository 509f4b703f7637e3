"""After the end of an operation: reading its failures until the breakdown is emitted. Pure."""

from datetime import datetime, timedelta
from typing import Final

from poller.comms.models import ErrorPage, Message, MessagePage
from poller.tracking.answer import (
    Answer,
    BreakdownAnswer,
    Decision,
    FailedAnswer,
    NonsenseAnswer,
    Verdict,
)
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.breakdown.steps import (
    after_errors,
    after_foreign_messages,
    after_message,
    after_messages,
    after_refusal,
    begin,
    report,
    request,
)
from poller.tracking.event import emit
from poller.tracking.lifecycle import EventType, PhaseChange, change_phase
from poller.tracking.pacing import Policy, expires_at
from poller.tracking.watch import NotFoundStreak, Outcome, ResourceType, Watch

# a page that makes no sense three times in a row is given up
_NONSENSE_TIMES: Final = 3
# A page is given up when its requests are answered with failures for this long. Requests without
# any answer do not count: an outage must not make a breakdown incomplete.
_FAILED_TIMES: Final = 10
_FAILED_FOR: Final = timedelta(hours=1)
# The messages of an operation are made between its creation and its end; clocks may differ.
_MARGIN: Final = timedelta(minutes=10)


def wants_breakdown(watch: Watch, policy: Policy) -> bool:
    """Return whether a breakdown is wanted of an operation that ended like this, and has one."""
    wanted = policy.breakdown if watch.wants_breakdown is None else watch.wants_breakdown
    return wanted and has_breakdown(watch)


def has_breakdown(watch: Watch) -> bool:
    """Return whether an operation that ended like this has failures to break down."""
    return (
        watch.resource_type is ResourceType.OPERATION
        and watch.outcome in {Outcome.COMPLETED, Outcome.CANCELED}
        and watch.progress.failed > 0
    )


def begin_breakdown(watch: Watch, *, now: datetime) -> Watch:
    """Return the watch at the beginning of its breakdown."""
    return change_phase(watch, PhaseChange.READ_BREAKDOWN, now=now).evolve(
        breakdown=begin(statuses=watch.kind_spec.failed_statuses),
        not_found_streak=NotFoundStreak(),
    )


def progress_of(watch: Watch) -> Breakdown:
    """Return the state of the breakdown; its beginning where there is none."""
    return watch.breakdown or begin(statuses=watch.kind_spec.failed_statuses)


def read_breakdown(watch: Watch, answer: Answer, *, policy: Policy, now: datetime) -> Decision:
    """Apply one answer of the breakdown; the last one ends the watch."""
    state, not_found_streak = progress_of(watch), NotFoundStreak()
    match answer:
        case BreakdownAnswer(request=answered, found=found):
            if answered != request(state):
                return Decision(watch=watch, events=(), verdict=Verdict.LATE)
            state, verdict = _step(watch, state, found, policy), Verdict.CHANGED
        case NonsenseAnswer():
            not_found_streak, verdict = (
                NotFoundStreak(rejected=watch.not_found_streak.rejected + 1),
                Verdict.NONSENSE,
            )
            if not_found_streak.rejected >= _NONSENSE_TIMES:
                state, not_found_streak = after_refusal(state), NotFoundStreak()
        case FailedAnswer(answered=True):
            not_found_streak, verdict = _failed_again(watch.not_found_streak, now), Verdict.FAILED
            if _is_hopeless(not_found_streak, now):
                state, not_found_streak = after_refusal(state), NotFoundStreak()
        case _:
            not_found_streak, verdict = watch.not_found_streak, Verdict.FAILED
    if verdict is Verdict.FAILED:
        state = _given_up(watch, state, now)
    read = watch.evolve(breakdown=state, not_found_streak=not_found_streak)
    if request(state) is not None:
        return Decision(watch=read, events=(), verdict=verdict)
    emitted, event = emit(
        read, EventType.OPERATION_BREAKDOWN, now=now, more={"breakdown": report(state)}
    )
    ended = change_phase(emitted, PhaseChange.END, now=now)
    return Decision(watch=ended, events=(event,), verdict=verdict)


def _step(
    watch: Watch,
    state: Breakdown,
    found: ErrorPage | MessagePage | Message | None,
    policy: Policy,
) -> Breakdown:
    match found:
        case ErrorPage():
            return after_errors(state, found.errors, found.next_token)
        case MessagePage():
            items = [message.raw for message in found.messages]
            read = after_messages(state, items, found.next_token, policy.addresses)
            if _is_too_much(watch, read) or any(_is_foreign(watch, one) for one in found.messages):
                return after_foreign_messages(state)
            return read
        case Message():
            return after_message(state, found.raw, policy.addresses)
        case None:
            return after_refusal(state)


def _is_foreign(watch: Watch, message: Message) -> bool:
    """Return whether a message certainly belongs to another operation.

    The API ignores a filter that it does not know, and then lists those of the whole account.
    """
    made, begun, ended = message.created_at, watch.created_at, watch.observed_at
    if made is None:
        return False
    is_before = begun is not None and made < begun - _MARGIN
    return is_before or (ended is not None and made > ended + _MARGIN)


def _is_too_much(watch: Watch, state: Breakdown) -> bool:
    total = watch.progress.total
    return total is not None and total < sum(one.count for one in state.counts)


def _failed_again(not_found_streak: NotFoundStreak, now: datetime) -> NotFoundStreak:
    since = not_found_streak.not_found_since
    if since is None or since > now:
        since = now
    return NotFoundStreak(not_found=not_found_streak.not_found + 1, not_found_since=since)


def _is_hopeless(not_found_streak: NotFoundStreak, now: datetime) -> bool:
    since = not_found_streak.not_found_since
    return (
        not_found_streak.not_found >= _FAILED_TIMES
        and since is not None
        and now - since >= _FAILED_FOR
    )


def _given_up(watch: Watch, state: Breakdown, now: datetime) -> Breakdown:
    """Give up the rest once the vendor may have deleted the records."""
    expiry = expires_at(watch)
    if expiry is None or now <= expiry:
        return state
    while request(state) is not None:
        state = after_refusal(state)
    return state
