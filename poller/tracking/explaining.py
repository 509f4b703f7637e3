"""After the end: reading what failed, page by page, until the breakdown can be told."""

from datetime import datetime
from typing import Final

from poller.comms.models import ErrorPage, Message, MessagePage
from poller.tracking.answers import Answer, Explained, Nonsense
from poller.tracking.breakdown import (
    Breakdown,
    after_errors,
    after_message,
    after_messages,
    after_refusal,
    begin,
    report,
    request,
)
from poller.tracking.decision import Decision, Verdict
from poller.tracking.events import emit
from poller.tracking.lifecycle import EventType
from poller.tracking.pacing import Policy, expires_at
from poller.tracking.watch import Absence, Outcome, Phase, Thing, Watch

__all__ = ["begin_explaining", "explain", "is_explicable", "wants_breakdown"]

# what makes no sense so often in a row will not tomorrow
_NONSENSE_TIMES: Final = 3


def wants_breakdown(watch: Watch, policy: Policy) -> bool:
    """Tell whether an operation that ends as `watch` says is to be explained."""
    wanted = policy.breakdown if watch.wants_breakdown is None else watch.wants_breakdown
    return wanted and is_explicable(watch)


def is_explicable(watch: Watch) -> bool:
    """Tell whether there is anything to explain in the end that `watch` says."""
    return (
        watch.thing is Thing.OPERATION
        and watch.outcome in {Outcome.COMPLETED, Outcome.CANCELED}
        and any(watch.counters.get(name, 0) for name in watch.row.unsuccessful)
    )


def begin_explaining(watch: Watch) -> Watch:
    """Return the watch with everything still to be read."""
    return watch.evolve(
        phase=Phase.EXPLAINING,
        breakdown=begin(statuses=watch.row.failed_statuses),
        absence=Absence(),
    )


def explain(watch: Watch, answer: Answer, *, policy: Policy, now: datetime) -> Decision:
    """Take in one answer of the breakdown; with the last one the watch has ended."""
    state = watch.breakdown
    if state is None:
        state = begin(statuses=watch.row.failed_statuses)
    refusals = 0
    match answer:
        case Explained(request=asked, found=found):
            if asked != request(state):
                return Decision(watch=watch, events=(), verdict=Verdict.LATE)
            state, verdict = _step(state, found, policy), Verdict.CHANGED
        case Nonsense():
            refusals, verdict = watch.absence.rejected + 1, Verdict.NONSENSE
            if refusals >= _NONSENSE_TIMES:
                state, refusals = after_refusal(state), 0
        case _:
            verdict = Verdict.FAILED
            state = _given_up(watch, state, now)
    read = watch.evolve(breakdown=state, absence=Absence(rejected=refusals))
    if request(state) is not None:
        return Decision(watch=read, events=(), verdict=verdict)
    told, event = emit(
        read, EventType.OPERATION_BREAKDOWN, now=now, more={"breakdown": report(state)}
    )
    ended = told.evolve(phase=Phase.ENDED, ended_at=now, breakdown=None, absence=Absence())
    return Decision(watch=ended, events=(event,), verdict=verdict)


def _step(
    state: Breakdown, found: ErrorPage | MessagePage | Message | None, policy: Policy
) -> Breakdown:
    match found:
        case ErrorPage():
            return after_errors(state, found.errors, found.next_token)
        case MessagePage():
            items = [message.raw for message in found.messages]
            return after_messages(state, items, found.next_token, policy.addresses)
        case Message():
            return after_message(state, found.raw, policy.addresses)
        case None:
            return after_refusal(state)


def _given_up(watch: Watch, state: Breakdown, now: datetime) -> Breakdown:
    """Give up what is left once the vendor may have dropped the records."""
    expiry = expires_at(watch)
    if expiry is None or now <= expiry:
        return state
    while request(state) is not None:
        state = after_refusal(state)
    return state
