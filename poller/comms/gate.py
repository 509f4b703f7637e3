"""When requests may be sent: one pause, its single probe, and the effect of each answer. Pure.

A gate is that of the account (429, 503 and 401 close it) or of one kind (403 closes it). It is
open, or it has a pause. When the time of a pause is over, the gate lets one request through, once
nothing else is in flight; the answer to this probe opens the gate or pauses it again.

    open ──refused──▶ paused ──time──▶ due ──probe──▶ refused ▶ paused, one level up
      ▲                 ▲                        ├──▶ no answer ▶ paused, for as long again
      └─────────────────┼────────────────────────┴──▶ any other answer ▶ open
                        └── a refusal of a request that was begun before the pause can
                            only lengthen it

Instants are wall-clock UTC, because a pause outlives the process; a pause set in the future means
that the clock went back, and is over.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LONGEST_THROTTLE: Final = 300.0
"""Seconds that one 429 or 503 may silence the account before a request probes."""
_SHORTEST_THROTTLE: Final = 1.0


class Reason(StrEnum):
    """Why a gate is closed."""

    THROTTLED = "throttled"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"


class Room(StrEnum):
    """How much a gate lets through."""

    OPEN = "open"
    ONE = "one"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A stop from `set_at` until `until`.

    `since` is when this trouble began: probes that fail set a new pause and keep `since`. `level`
    is one more than the number of probes that were refused since then.
    """

    reason: Reason
    since: datetime
    set_at: datetime
    until: datetime
    level: int

    def holds(self, now: datetime) -> bool:
        """Whether no request may be sent at `now`."""
        return self.set_at <= now < self.until

    @property
    def wait(self) -> timedelta:
        """How long the pause was meant to be."""
        return self.until - self.set_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that closes the gate.

    `wait` is in seconds: as asked for by `Retry-After` for THROTTLED, None where it could not be
    read; the probe interval for the others.
    """

    reason: Reason
    wait: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnd:
    """What the end of one request means for a gate, at that moment.

    `probe` is true where the request tested the gate's pause. Without a `refusal` it was
    `answered`, or had no answer at all.
    """

    at: datetime
    probe: bool
    refusal: Refusal | None = None
    answered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate; each method that changes it returns the new gate, and time is an argument.

    `hurried` is true where the probe need not wait for the end of the pause.
    """

    pause: Pause | None = None
    hurried: bool = False

    def room(self, now: datetime, *, in_flight: int) -> Room:
        """Return how many requests may be sent at `now`, with `in_flight` of them under way."""
        if self.pause is None:
            return Room.OPEN
        if in_flight or (self.pause.holds(now) and not self.hurried):
            return Room.CLOSED
        return Room.ONE

    def hurry(self) -> "Gate":
        """Allow the probe as soon as nothing is in flight; an open gate stays open."""
        return self if self.pause is None else replace(self, hurried=True)

    def after(self, outcome: RequestEnd) -> "Gate":
        """Return the gate after the end of a request."""
        if outcome.refusal is not None:
            return self.refused(outcome.refusal, outcome.at, probe=outcome.probe)
        if outcome.answered:
            return self.answered(probe=outcome.probe)
        return self.unanswered(outcome.at, probe=outcome.probe)

    def refused(self, refusal: Refusal, now: datetime, *, probe: bool) -> "Gate":
        """Close the gate after an answer that asks for it.

        Only the probe's answer raises the level. A request that was begun before the pause can
        make it longer, never shorter; a 401 among them replaces it.
        """
        pause = self.pause
        if pause is None or (pause.reason is not refusal.reason and (probe or _outranks(refusal))):
            begun = _pause(refusal, now, since=now, level=1)
            return Gate(pause=begun if pause is None or probe else _later(pause, begun))
        level = pause.level + 1 if probe else pause.level
        renewed = replace(_pause(refusal, now, since=pause.since, level=level), reason=pause.reason)
        return Gate(pause=renewed if probe else _later(pause, renewed))

    def answered(self, *, probe: bool) -> "Gate":
        """Open the gate after the probe's answer; other answers change nothing."""
        return Gate() if probe else self

    def unanswered(self, now: datetime, *, probe: bool) -> "Gate":
        """Pause for the same time again after a probe that got no answer."""
        if self.pause is None or not probe:
            return self
        return Gate(pause=replace(self.pause, set_at=now, until=now + self.pause.wait))


def _outranks(refusal: Refusal) -> bool:
    return refusal.reason is Reason.UNAUTHORIZED


def _pause(refusal: Refusal, now: datetime, *, since: datetime, level: int) -> Pause:
    wait = timedelta(seconds=_seconds(refusal, level))
    return Pause(reason=refusal.reason, since=since, set_at=now, until=now + wait, level=level)


def _seconds(refusal: Refusal, level: int) -> float:
    if refusal.reason is not Reason.THROTTLED and refusal.wait is not None:
        return refusal.wait
    # Retry-After below a second is treated as absent: the wait grows from 1 s.
    if refusal.wait is not None and refusal.wait >= _SHORTEST_THROTTLE:
        return min(refusal.wait, LONGEST_THROTTLE)
    return min(_SHORTEST_THROTTLE * 2.0 ** min(level - 1, 16), LONGEST_THROTTLE)


def _later(old: Pause, new: Pause) -> Pause:
    """Return `new`, or `old` where that lasts longer and the clock has not gone back since."""
    if old.set_at <= new.set_at and old.until >= new.until:
        return replace(old, reason=new.reason, since=new.since, level=new.level)
    return new
