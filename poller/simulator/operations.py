"""One operation: a send, when it began, and the document that shows it at a given instant."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from poller.simulator import instants
from poller.simulator.kinds import SimulatedKind
from poller.simulator.sends import SimulatedSend
from poller.simulator.timeline import SimulatedMoment, Timeline

__all__ = ["ENDED", "RETENTION", "SimulatedOperation"]

RETENTION: Final = timedelta(days=7)
"""How long the vendor keeps records after their creation."""

ENDED: Final = frozenset(("COMPLETED", "CANCELED"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedOperation:
    """An operation as a function of the clock.

    `starts` is `created`, or the schedule's instant where that is later; `speed` is the number of
    the timeline's seconds in one of the clock's.

    Of its messages (one for each recipient, or for each group) each counts in one counter: a read
    one has left `delivered` for `read`. So all counters but `total`, `recipients` and `attempts`
    always add up to `total`, unless the kind counts cumulatively. Where a kind has no counter for
    what is canceled, it stays queued.
    """

    id: str
    ordinal: int
    send: SimulatedSend
    created: datetime
    starts: datetime
    speed: float
    timeline: Timeline

    @property
    def kind(self) -> SimulatedKind:
        """The row of the table that it belongs to."""
        return self.send.kind

    def time_at(self, now: datetime) -> float:
        """Return the timeline's time at an instant."""
        return (now - self.starts).total_seconds() * self.speed

    def instant_of(self, time: float | None, *, now: datetime) -> datetime:
        """Return the instant of a timeline's time, at most `now`; None is its beginning.

        What is scheduled began when it was created, until it starts.
        """
        begun = self.starts if now >= self.starts else self.created
        if time is None:
            return begun
        # A cancellation before the start has a negative time and lies after the creation.
        return min(self.starts + timedelta(seconds=time / self.speed), now)

    def moment(self, now: datetime) -> SimulatedMoment:
        """Return the view of its messages at an instant."""
        return self.timeline.at(self.time_at(now))

    def status(self, now: datetime, moment: SimulatedMoment | None = None) -> str:
        """Return its status at an instant; `COMPLETED` means processed, receipts may follow."""
        moment = moment or self.moment(now)
        if moment.canceled:
            return "CANCELED"
        if now < self.starts:
            return "SCHEDULED"
        return "COMPLETED" if moment.emptied else "PROCESSING"

    def expired(self, now: datetime) -> bool:
        """Tell whether its records are gone."""
        return now - self.created > RETENTION

    def document(self, now: datetime) -> dict[str, Any]:
        """Return the operation as the API shows it."""
        moment = self.moment(now)
        status = self.status(now, moment)
        return {
            "id": self.id,
            "status": status,
            "stats": self._stats(moment, status),
            "createdAt": instants.render(self.created),
            "updatedAt": instants.render(self.instant_of(moment.tally.changed_at, now=now)),
        }

    def _stats(self, moment: SimulatedMoment, status: str) -> dict[str, int]:
        tally = moment.tally
        known = {
            "total": self.timeline.total,
            "recipients": len(self.send.recipients),
            "attempts": tally.attempts,
            "scheduled" if status == "SCHEDULED" else "queued": tally.waiting,
        }
        known |= {name.lower(): count for name, count in tally.statuses.items()}
        if "canceled" not in self.kind.counters:
            known["queued"] = known.get("queued", 0) + known.get("canceled", 0)
        if self.kind.cumulative:
            opened = known.get("read", 0) + known.get("opened", 0)
            known["delivered"] = known.get("delivered", 0) + opened
            receipts = known["delivered"] + known.get("undelivered", 0)
            known["sent"] = known.get("sent", 0) + receipts
        return {name: known.get(name, 0) for name in self.kind.counters}
