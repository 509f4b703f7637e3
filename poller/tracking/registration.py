"""What becomes of a registration where the operation may be known already. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from poller.tracking.watch import Absence, Home, Outcome, Phase, Schedule, Watch

__all__ = ["Conflict", "Registration", "forget", "register"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A wish to have an operation watched. The id and the kind are checked before."""

    id: str
    kind: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Conflict(ValueError):
    """The registration contradicts what is known; the message says what and what to do."""


def register(
    known: Watch | None, wish: Registration, *, home: Home, now: datetime
) -> tuple[Watch, bool]:
    """Return the watch to store and whether watching begins with it (201) or goes on (200).

    :raises Conflict: where the operation is known under another kind or belongs to another home.
    """
    if known is None:
        return _begin(wish, home, now), True
    if known.home != home:
        raise Conflict(
            f"{wish.id} is watched for account {known.home.account} at {known.home.base_url}, "
            f"this daemon serves account {home.account} at {home.base_url}; "
            "use a store of its own for each (store.url)"
        )
    kind = _kind(known, wish)
    labels = {**known.labels, **wish.labels}
    if known.is_watched or (known.is_final and known.phase is Phase.ENDED):
        return known.evolve(kind=kind, labels=labels), False
    return _resume(known, kind, labels, now), True


def forget(known: Watch, *, now: datetime) -> Watch:
    """Stop watching. What has ended stays ended: its end is an answer to later registrations."""
    if not known.is_watched:
        return known
    return known.evolve(phase=Phase.FORGOTTEN, ended_at=now)


def _begin(wish: Registration, home: Home, now: datetime) -> Watch:
    return Watch(
        id=wish.id,
        kind=wish.kind,
        home=home,
        labels=dict(wish.labels),
        registered_at=now,
        schedule=Schedule(wait=0, due_at=now, set_at=now),
    )


def _kind(known: Watch, wish: Registration) -> str:
    if wish.kind == known.kind:
        return known.kind
    nothing_seen = known.snapshot is None and known.emitted.status is None
    if nothing_seen or known.outcome is Outcome.LOST:
        return wish.kind
    raise Conflict(
        f"{wish.id} is watched as kind {known.kind} and was seen as such, not as {wish.kind}; "
        f"register it with kind {known.kind}"
    )


def _resume(known: Watch, kind: str, labels: Mapping[str, str], now: datetime) -> Watch:
    """Watch a forgotten or lost operation again: sequence and deltas go on where they were."""
    settling = known.outcome is Outcome.COMPLETED
    return known.evolve(
        kind=kind,
        labels=labels,
        registered_at=now,
        phase=Phase.SETTLING if settling else Phase.ACTIVE,
        outcome=known.outcome if settling else None,
        ended_at=None,
        absence=Absence(),
        schedule=Schedule(wait=0, due_at=now, set_at=now),
    )
