"""One operation or message as a daemon tells of it: by documents, and event by event. Pure."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from poller.comms.models import JsonObject, parse_instant
from poller.engine.onlooker import Told, Update
from poller.server import schemas
from poller.tracking.event import Event
from poller.tracking.explaining import begin_explaining, is_explicable
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

__all__ = ["Followed", "Relayed"]

_OUTCOMES: Final = {
    lifecycle.events[status]: outcome
    for lifecycle in LIFECYCLES.values()
    for status, outcome in lifecycle.terminal.items()
} | {lifecycle.lost: Outcome.LOST for lifecycle in LIFECYCLES.values()}
_TYPES: Final = frozenset(EventType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed(Told):
    """An event that a daemon made; `body` is its JSON on one line, which is passed on as it is."""

    body: str

    def render(self) -> str:
        """Return the event as the daemon wrote it."""
        return self.body

    @classmethod
    def of(cls, body: str) -> Self:
        """Read an event.

        :raises ValueError: where it is none.
        """
        document = json.loads(body)
        try:
            event_type, data = str(document["type"]), document["data"]
            event = Event(
                type=_type(event_type),
                watch_id=document["subject"],
                source=document["source"],
                sequence=int(document["sequence"]),
                time=_instant(document["time"]),
                labels=data["labels"],
                final=data["final"],
                data=data,
            )
            return cls(id=document["id"], event=event, body=body)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an event: {error!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What is known of one: `watch` as of event number `known`, the last told `seen`.

    After the final event of an operation in which something failed its phase is `EXPLAINING`
    until a document or the breakdown says that it has ended: the event does not tell whether a
    breakdown will come.
    """

    watch: Watch
    known: int = 0
    seen: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it ended and every event of it was seen."""
        return not self.watch.is_watched and self.seen >= self.known

    def as_told(self, document: schemas.Operation) -> Self:
        """Return it as a document says it is, unless events have told of later."""
        known = document["sequence"]
        if known < self.known:
            return self
        snapshot = document["snapshot"]
        outcome = document["outcome"]
        watch = self.watch.evolve(
            kind=document["kind"],
            labels=document["labels"],
            phase=Phase(document["phase"]),
            outcome=None if outcome is None else Outcome(outcome),
            ended_at=parse_instant(document["endedAt"]),
            observed_at=parse_instant(document["observedAt"]),
            created_at=parse_instant((snapshot or {}).get("createdAt")),
            snapshot=snapshot,
            counters=document["counters"],
        )
        if snapshot is None:  # then the status is the one that was emitted
            watch = watch.evolve(emitted=replace(watch.emitted, status=document["status"]))
        return replace(self, watch=watch, known=known)

    def handed_over(self, scope: AccountScope, *, now: datetime, settle: float) -> Watch:
        """Return the watch for somebody else to go on with, at once; `settle` is in seconds.

        A breakdown is read anew: how far the daemon came with it is not known.
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
            return begin_explaining(watch)
        return watch if settling else watch.evolve(phase=Phase.ACTIVE, outcome=None)

    def after(self, relayed: Relayed) -> tuple[Self, Update | None]:
        """Return it after an event, and what that changes: None for an event seen before."""
        event = relayed.event
        if event.sequence <= self.seen:
            return self, None
        watch = self.watch.evolve(emitted=_emitted(event))
        if event.sequence > self.known:
            watch = _as_event_says(watch, event)
        followed = replace(
            self, watch=watch, known=max(self.known, event.sequence), seen=event.sequence
        )
        return followed, Update(watch=watch, events=(relayed,))


def _as_event_says(watch: Watch, event: Event) -> Watch:
    snapshot: JsonObject = event.data[event.type.resource_type.value]
    told = watch.evolve(
        kind=event.data["kind"],
        labels=event.labels,
        ended_at=event.time if event.final else watch.ended_at,
        observed_at=parse_instant(event.data["observedAt"]),
        created_at=parse_instant(snapshot.get("createdAt")) or watch.created_at,
        # what was lost may never have been seen
        snapshot=snapshot if "status" in snapshot else watch.snapshot,
        counters=_counters(snapshot) if "stats" in snapshot else watch.counters,
    )
    return _standing(told, event)


def _standing(watch: Watch, event: Event) -> Watch:
    """Return the watch with the phase and the outcome that the event leaves it in."""
    if event.type is EventType.OPERATION_BREAKDOWN:
        return watch.evolve(phase=Phase.ENDED)
    outcome = _OUTCOMES.get(event.type)
    if event.final:
        ended = watch.evolve(outcome=outcome or group_outcome(watch) or Outcome.COMPLETED)
        return ended.evolve(phase=Phase.EXPLAINING if is_explicable(ended) else Phase.ENDED)
    if outcome is not None:
        return watch.evolve(phase=Phase.SETTLING, outcome=outcome)
    return watch


def _emitted(event: Event) -> EmittedState:
    thing = event.type.resource_type
    snapshot = event.data[thing.value]
    is_progress = event.type.value.endswith(".progress")
    return EmittedState(
        status=snapshot.get("status"),
        counters=_counters(snapshot),
        sequence=event.sequence,
        progress_at=event.time if is_progress else None,
        attempts=attempt_statuses(snapshot) if thing is ResourceType.MESSAGE else (),
    )


def _type(name: str) -> EventType:
    """Return the type of that name.

    A later daemon may know more; what they mean is in the data.
    """
    if name in _TYPES:
        return EventType(name)
    is_message = name.startswith(f"{ResourceType.MESSAGE}.")
    return EventType.MESSAGE_CHANGED if is_message else EventType.OPERATION_CHANGED


def _counters(snapshot: JsonObject | None) -> dict[str, int]:
    stats: Any = (snapshot or {}).get("stats")
    if not isinstance(stats, dict):
        return {}
    # a null one counts as 0, and its column is there
    known = {name: 0 if value is None else value for name, value in stats.items()}
    return {name: value for name, value in known.items() if type(value) is int and value >= 0}


def _instant(text: str) -> datetime:
    found = parse_instant(text)
    if found is None:
        raise ValueError(f"not an instant: {text!r}")
    return found
