"""The state of one watch, built from a daemon's documents and events. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from poller.cli.watch.news import Update
from poller.server.documents import OperationDocument
from poller.text import parse_instant
from poller.tracking.breakdown.reading import begin_breakdown, has_breakdown
from poller.tracking.event import EmittedEvent, Event
from poller.tracking.forecast import after_answer
from poller.tracking.lifecycle import LIFECYCLES, EventType
from poller.tracking.privacy import attempt_statuses
from poller.tracking.transitions import group_outcome
from poller.tracking.watch import (
    AccountScope,
    EmittedState,
    NextPoll,
    Outcome,
    Phase,
    ResourceType,
    Watch,
)

_OUTCOMES: Final = {
    lifecycle.events[status]: outcome
    for lifecycle in LIFECYCLES.values()
    for status, outcome in lifecycle.terminal.items()
} | {lifecycle.lost: Outcome.LOST for lifecycle in LIFECYCLES.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A watch as of event number `known`; `seen` is the number of the last received event.

    After the final event of an operation with failures its phase is `EXPLAINING` until a document
    or the breakdown shows that it has ended: the event does not say whether a breakdown follows.
    """

    watch: Watch
    known: int = 0
    seen: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and all its events were received."""
        return not self.watch.is_watched and self.seen >= self.known

    def after_document(self, document: OperationDocument) -> Self:
        """Return the state in a document, unless a received event is newer."""
        known = document["sequence"]
        if known < self.known:
            return self
        snapshot = document["snapshot"]
        outcome = document["outcome"]
        due_at = parse_instant(document["nextLookAt"]) or self.watch.next_poll.due_at
        watch = self.watch.evolve(
            kind=document["kind"],
            labels=document["labels"],
            group=document["group"],
            phase=Phase(document["phase"]),
            outcome=None if outcome is None else Outcome(outcome),
            ended_at=parse_instant(document["endedAt"]),
            observed_at=parse_instant(document["observedAt"]),
            next_poll=replace(self.watch.next_poll, due_at=due_at),
            created_at=parse_instant((snapshot or {}).get("createdAt")),
            snapshot=snapshot,
            counters=document["counters"],
        )
        if snapshot is None:  # without a snapshot the status comes from the last event
            watch = watch.evolve(emitted=replace(watch.emitted, status=document["status"]))
        return replace(self, watch=_with_answer(self.watch, watch), known=known)

    def handed_over(self, scope: AccountScope, *, now: datetime, settle: float) -> Watch:
        """Return the watch for another daemon, which polls it at once; `settle` is in seconds.

        A breakdown starts from the beginning: how far the daemon got is not known.
        """
        phase = self.watch.phase
        settling = phase is Phase.SETTLING
        watch = self.watch.evolve(
            scope=scope,
            ended_at=None,
            settle_until=now + timedelta(seconds=settle) if settling else None,
            next_poll=NextPoll(wait=0, due_at=now, set_at=now),
        )
        if phase is Phase.EXPLAINING:
            return begin_breakdown(watch, now=now)
        return watch if settling else watch.evolve(phase=Phase.ACTIVE, outcome=None)

    def after(self, event: EmittedEvent) -> tuple[Self, Update | None]:
        """Return the state after an event, and the update; None if it was received before."""
        if event.sequence <= self.seen:
            return self, None
        watch = self.watch.evolve(emitted=_emitted(event))
        if event.sequence > self.known:
            watch = _after_event(watch, event)
        followed = replace(
            self, watch=watch, known=max(self.known, event.sequence), seen=event.sequence
        )
        return followed, Update(watch=watch, events=(event,))


def _after_event(watch: Watch, event: Event) -> Watch:
    snapshot = event.snapshot
    shown = watch.evolve(
        kind=event.kind or watch.kind,
        labels=event.labels,
        ended_at=event.time if event.final else watch.ended_at,
        observed_at=event.observed_at,
        created_at=event.created_at or watch.created_at,
        # a lost operation may never have been observed
        snapshot=dict(snapshot) if "status" in snapshot else watch.snapshot,
        counters=event.counters if "stats" in snapshot else watch.counters,
    )
    return _with_outcome(_with_answer(watch, shown), event)


def _with_answer(before: Watch, after: Watch) -> Watch:
    """Return `after` with its answer added to the recent ones, which the rate is computed from."""
    if after.observed_at is None or after.observed_at == before.observed_at:
        return after
    looks = before.looks if after.status == before.status else ()
    return after.evolve(looks=after_answer(looks, after.progress, at=after.observed_at))


def _with_outcome(watch: Watch, event: Event) -> Watch:
    """Return the watch with its phase and outcome after the event."""
    if event.type is EventType.OPERATION_BREAKDOWN:
        return watch.evolve(phase=Phase.ENDED)
    outcome = _OUTCOMES.get(event.type)
    if event.final:
        ended = watch.evolve(outcome=outcome or group_outcome(watch) or Outcome.COMPLETED)
        return ended.evolve(phase=Phase.EXPLAINING if has_breakdown(ended) else Phase.ENDED)
    if outcome is not None:
        return watch.evolve(phase=Phase.SETTLING, outcome=outcome)
    return watch


def _emitted(event: Event) -> EmittedState:
    is_progress = event.type.value.endswith(".progress")
    is_message = event.type.resource_type is ResourceType.MESSAGE
    return EmittedState(
        status=event.status,
        counters=event.counters,
        sequence=event.sequence,
        progress_at=event.time if is_progress else None,
        attempts=attempt_statuses(dict(event.snapshot)) if is_message else (),
    )
