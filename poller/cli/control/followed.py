"""One operation as a daemon tells of it: by its documents, and event by event. Pure."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from poller.comms.models import JsonObject, parse_instant
from poller.engine.onlooker import Told, Update
from poller.server import schemas
from poller.tracking.events import Event
from poller.tracking.lifecycle import LIFECYCLES, EventType
from poller.tracking.watch import Emitted, Home, Outcome, Phase, Schedule, Watch

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
                # a later daemon may know more types; what they mean is in the data
                type=EventType(event_type) if event_type in _TYPES else EventType.OPERATION_CHANGED,
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
    """What is known of an operation: `watch` as of event number `known`, the last told `seen`."""

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
            counters=_counters(snapshot),
        )
        if snapshot is None:  # then the status is the one that was emitted
            watch = watch.evolve(emitted=replace(watch.emitted, status=document["status"]))
        return replace(self, watch=watch, known=known)

    def handed_over(self, home: Home, *, now: datetime, settle: float) -> Watch:
        """Return the watch for somebody else to go on with, at once; `settle` is in seconds."""
        settling = self.watch.phase is Phase.SETTLING
        return self.watch.evolve(
            home=home,
            phase=Phase.SETTLING if settling else Phase.ACTIVE,
            outcome=self.watch.outcome if settling else None,
            ended_at=None,
            settle_until=now + timedelta(seconds=settle) if settling else None,
            schedule=Schedule(wait=0, due_at=now, set_at=now),
        )

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
    snapshot: JsonObject = event.data[event.type.thing.value]
    phase, outcome = _standing(watch, event)
    return watch.evolve(
        kind=event.data["kind"],
        labels=event.labels,
        phase=phase,
        outcome=outcome,
        ended_at=event.time if event.final else watch.ended_at,
        observed_at=parse_instant(event.data["observedAt"]),
        created_at=parse_instant(snapshot.get("createdAt")) or watch.created_at,
        # a lost operation may never have been seen
        snapshot=snapshot if "status" in snapshot else watch.snapshot,
        counters=_counters(snapshot) if "stats" in snapshot else watch.counters,
    )


def _standing(watch: Watch, event: Event) -> tuple[Phase, Outcome | None]:
    outcome = _OUTCOMES.get(event.type)
    if event.final:
        return Phase.ENDED, outcome
    if outcome is not None:
        return Phase.SETTLING, outcome
    return watch.phase, watch.outcome


def _emitted(event: Event) -> Emitted:
    operation = event.data[event.type.thing.value]
    is_progress = event.type.value.endswith(".progress")
    return Emitted(
        status=operation.get("status"),
        counters=_counters(operation),
        sequence=event.sequence,
        progress_at=event.time if is_progress else None,
    )


def _counters(snapshot: JsonObject | None) -> dict[str, int]:
    stats: Any = (snapshot or {}).get("stats")
    if not isinstance(stats, dict):
        return {}
    return {name: value for name, value in stats.items() if type(value) is int and value >= 0}


def _instant(text: str) -> datetime:
    found = parse_instant(text)
    if found is None:
        raise ValueError(f"not an instant: {text!r}")
    return found
