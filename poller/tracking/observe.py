"""The heart: what was known and a new answer make the new state and the events to record.

Pure. `observe` is called with the state *found in the locked row*, so that two observers of one
operation can never count a delta or a sequence number twice. The rules are those of the design's
"Observing an operation".
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from poller.comms.models import Operation
from poller.tracking.answers import Answer, Failed, Nonsense, NotFound, Rejected, Seen
from poller.tracking.counters import delta_between
from poller.tracking.events import Event, make_event
from poller.tracking.forecast import KEPT, Look, look_at
from poller.tracking.lifecycle import TERMINAL, EventType, event_type, follows
from poller.tracking.pacing import Policy, expires_at, next_look
from poller.tracking.watch import Absence, Emitted, Outcome, Phase, Watch

__all__ = ["Decision", "Verdict", "observe"]

_NOT_FOUND_TIMES: Final = 3
_REJECTED_TIMES: Final = 2
# A clock that is this far ahead of ours is a wrong clock, not network delay.
_AHEAD: Final = timedelta(minutes=5)


class Verdict(StrEnum):
    """What became of an answer, for logs and metrics."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"
    NONSENSE = "nonsense"
    ABSENT = "absent"
    FAILED = "failed"
    LATE = "late"
    """The watch was over when the answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state to write and the events to record with it, in order."""

    watch: Watch
    events: tuple[Event, ...]
    verdict: Verdict


def observe(
    watch: Watch, answer: Answer, *, policy: Policy, now: datetime, jitter: float
) -> Decision:
    """Judge one answer about `watch`.

    `now` is the moment of recording, `jitter` a random number in [0, 1) for the pacing.
    """
    if not watch.is_watched:
        return Decision(watch=watch, events=(), verdict=Verdict.LATE)
    known, verdict = _learn(watch, answer, now)
    turn = _Turn(known, answer, policy=policy, now=now)
    turn.tell(accepted=verdict in {Verdict.CHANGED, Verdict.UNCHANGED})
    if turn.watch.is_watched:
        schedule = next_look(
            turn.watch, moved=verdict is Verdict.CHANGED, policy=policy, now=now, jitter=jitter
        )
        turn.watch = turn.watch.evolve(schedule=schedule)
    return Decision(watch=turn.watch, events=tuple(turn.events), verdict=verdict)


def _learn(watch: Watch, answer: Answer, now: datetime) -> tuple[Watch, Verdict]:
    """Take in what the answer says, without telling anybody yet."""
    absence = _absence(watch.absence, answer, now)
    match answer:
        case Seen(operation=operation):
            if _is_stale(watch, operation, now):
                return watch.evolve(absence=absence), Verdict.STALE
            moved = watch.snapshot is None or (
                operation.status != watch.status
                or bool(delta_between(watch.counters, operation.counters))
            )
            known = _accept(watch, operation, answer.arrived_at, now).evolve(absence=absence)
            return known, Verdict.CHANGED if moved else Verdict.UNCHANGED
        case NotFound() | Rejected():
            return watch.evolve(absence=absence), Verdict.ABSENT
        case Nonsense():
            return watch.evolve(absence=absence), Verdict.NONSENSE
        case Failed():
            return watch.evolve(absence=absence), Verdict.FAILED


def _is_stale(watch: Watch, operation: Operation, now: datetime) -> bool:
    if not follows(watch.status, operation.status):
        return True
    updated_at = _believable(operation.updated_at, now)
    if updated_at is None or watch.updated_at is None or updated_at >= watch.updated_at:
        return False
    # the first terminal status is believed whatever its clock says: an end is never lost
    return operation.status not in TERMINAL or watch.status in TERMINAL


def _believable(instant: datetime | None, now: datetime) -> datetime | None:
    return None if instant is None or instant > now + _AHEAD else instant


def _accept(watch: Watch, operation: Operation, arrived_at: datetime, now: datetime) -> Watch:
    left_scheduled_at = watch.left_scheduled_at
    if watch.status == "SCHEDULED" and operation.status != "SCHEDULED":
        left_scheduled_at = now
    return watch.evolve(
        snapshot=operation.raw,
        counters=operation.counters,
        observed_at=arrived_at,
        updated_at=_believable(operation.updated_at, now) or watch.updated_at,
        created_at=_believable(operation.created_at, now) or watch.created_at,
        left_scheduled_at=left_scheduled_at,
        looks=_looks(watch, operation, arrived_at),
    )


def _looks(watch: Watch, operation: Operation, arrived_at: datetime) -> tuple[Look, ...]:
    """Remember the looks of one stretch: a changed status or a clock that went back begins anew."""
    look = look_at(operation, watch.row, at=arrived_at)
    if operation.status != watch.status or (watch.looks and watch.looks[-1].at > arrived_at):
        return (look,)
    return (*watch.looks, look)[-KEPT:]


def _absence(absence: Absence, answer: Answer, now: datetime) -> Absence:
    """Count refusals in a row: any other outcome breaks the row."""
    match answer:
        case NotFound():
            since = absence.not_found_since
            if since is None or since > now:
                since = now
            return Absence(not_found=absence.not_found + 1, not_found_since=since)
        case Rejected():
            return Absence(rejected=absence.rejected + 1)
        case _:
            return Absence()


class _Turn:
    """One observation being told: the events it makes, and the watch as they leave it."""

    def __init__(self, watch: Watch, answer: Answer, *, policy: Policy, now: datetime) -> None:
        self.watch = watch
        self.events: list[Event] = []
        self._answer = answer
        self._policy = policy
        self._now = now

    def tell(self, *, accepted: bool) -> None:
        """Emit what this observation has to tell, the end of the watch included."""
        if accepted:
            self._tell_change()
        if self.watch.phase is Phase.SETTLING:
            self._tell_settled(accepted=accepted)
        elif self.watch.phase is Phase.ACTIVE and (reason := self._lost()) is not None:
            self._end(Outcome.LOST, EventType.LOST, reason=reason)

    def _tell_change(self) -> None:
        watch = self.watch
        status = watch.status
        if status is None:
            return
        if status == watch.emitted.status:
            if watch.unemitted and watch.phase is not Phase.SETTLING and self._may_progress():
                self._emit(EventType.PROGRESS)
            return
        outcome = TERMINAL.get(status)
        if outcome is None:
            self._emit(event_type(status))
        elif outcome is Outcome.COMPLETED and self._policy.settle > 0:
            self._emit(event_type(status))
            self.watch = self.watch.evolve(
                phase=Phase.SETTLING,
                outcome=outcome,
                settle_until=self._now + timedelta(seconds=self._policy.settle),
            )
        else:
            self._end(outcome, event_type(status))

    def _tell_settled(self, *, accepted: bool) -> None:
        watch = self.watch
        until = watch.settle_until
        receipts_are_in = accepted and not any(
            watch.counters.get(name, 0) for name in watch.row.open
        )
        if receipts_are_in or until is None or self._now >= until:
            self._end(Outcome.COMPLETED, EventType.SETTLED)
        elif accepted and watch.unemitted and self._may_progress():
            self._emit(EventType.PROGRESS)

    def _may_progress(self) -> bool:
        last = self.watch.emitted.progress_at
        # one in the future means that the clock went back: nothing waits for it
        return (
            last is None
            or last > self._now
            or self._now >= last + timedelta(seconds=self._policy.progress_interval)
        )

    def _lost(self) -> str | None:
        """Name the reason for which this watch ends without a terminal status, if there is one."""
        absence = self.watch.absence
        if isinstance(self._answer, Rejected) and absence.rejected >= _REJECTED_TIMES:
            return "rejected"
        if self._is_not_found(absence):
            return "not_found"
        expiry = expires_at(self.watch)
        if expiry is not None and self._shows_no_end() and self._answer.begun_at > expiry:
            return "expired"
        return None

    def _is_not_found(self, absence: Absence) -> bool:
        grace = timedelta(seconds=self._policy.not_found_grace)
        return (
            isinstance(self._answer, NotFound)
            and absence.not_found >= _NOT_FOUND_TIMES
            and absence.not_found_since is not None
            and self._now - absence.not_found_since >= grace
        )

    def _shows_no_end(self) -> bool:
        """Only a fetch that the API itself answered: an outage must not expire anything.

        "Older records may return incomplete results", so a document that makes no sense counts.
        """
        match self._answer:
            case Seen(fetched=fetched):
                return fetched
            case NotFound() | Rejected() | Nonsense():
                return True
            case Failed():
                return False

    def _end(self, outcome: Outcome, kind_of_event: EventType, reason: str | None = None) -> None:
        self._emit(kind_of_event, final=True, reason=reason)
        self.watch = self.watch.evolve(
            phase=Phase.ENDED, outcome=outcome, ended_at=self._now, settle_until=None
        )

    def _emit(
        self, kind_of_event: EventType, *, final: bool = False, reason: str | None = None
    ) -> None:
        watch = self.watch
        event = make_event(watch, kind_of_event, now=self._now, final=final, reason=reason)
        self.events.append(event)
        is_progress = kind_of_event is EventType.PROGRESS
        emitted = Emitted(
            status=watch.status,
            counters=watch.counters if watch.snapshot is not None else watch.emitted.counters,
            sequence=event.sequence,
            progress_at=self._now if is_progress else watch.emitted.progress_at,
        )
        self.watch = replace(watch, emitted=emitted)
