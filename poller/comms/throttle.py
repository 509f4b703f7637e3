"""What every request of an account waits for: concurrency, rate and pauses.

A thin shell around `gate`, which decides: this counts the requests, and makes callers wait.

    await throttle.admit()               # until a request may start
    …claim the work…                     # of throttle.open_kinds(…); nothing to do: cancel()
    ticket = throttle.begin("messages")  # None: paused meanwhile, give the work back
    try:
        …the request…                    # finish(ticket, error) with how it ended
    finally:
        throttle.abandon(ticket)         # does nothing after finish
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import anyio

from poller.comms.budget import Budget, OwnBudget
from poller.comms.errors import CommsError, Scope
from poller.comms.gate import Gate, Pause, Reason, Refusal, RequestEnd, Room

# A pause ends by the wall clock, which may jump: nothing sleeps longer than this, in seconds.
_CHECK_INTERVAL: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One request under way; `probe` is the reason of the pause that it tests, None for none."""

    number: int
    kind: str
    begun_at: datetime
    probe: Reason | None
    probes_account: bool
    probes_kind: bool

    @property
    def needs_credentials(self) -> bool:
        """Whether the credentials must be read again before it is sent."""
        return self.probe in {Reason.UNAUTHORIZED, Reason.FORBIDDEN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The effect of an answer: whether the account's pause has changed, and the pause now.

    `outcome` changes the stored pause in the same way; None leaves it as it is. `kind_pause` is
    the pause of the ticket's kind, which is not stored.
    """

    changed: bool
    pause: Pause | None
    outcome: RequestEnd | None
    kind_changed: bool
    kind_pause: Pause | None


class Throttle:
    """At most `max_concurrency` requests at once and `requests_per_second`, and none in a pause.

    `probe_interval` is the wait before each probe after a 401 or 403, in seconds. `now` returns
    the time in UTC. `paused` is the stored pause of the account: one for 429 or 503 continues, one
    for 401 is probed at once, since the credentials have just been read. `budget` gives the
    permits, where other processes use the account as well.

    :raises ValueError: where a bound is not positive; the message names it.
    """

    def __init__(
        self,
        *,
        max_concurrency: int,
        requests_per_second: float,
        probe_interval: float,
        now: Callable[[], datetime],
        paused: Pause | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._budget = budget or OwnBudget(requests_per_second)
        self._now = now
        self._account = _hurry(Gate(pause=paused))
        self._kinds: dict[str, Gate] = {}
        self._tickets: dict[int, Ticket] = {}
        self._issued = 0
        self._hurried_before = 0
        self._version = 0
        self._reserved = False
        self._turn = anyio.Lock()
        self._changed = anyio.Event()
        self.configure(
            max_concurrency=max_concurrency,
            requests_per_second=requests_per_second,
            probe_interval=probe_interval,
        )

    def configure(
        self, *, max_concurrency: int, requests_per_second: float, probe_interval: float
    ) -> None:
        """Use these bounds from now on; pauses and requests under way stay as they are.

        :raises ValueError: where a bound is not positive, naming it; nothing changes then.
        """
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency is {max_concurrency}, not a number from 1")
        if not 0 < probe_interval < math.inf:
            raise ValueError(f"probe_interval is {probe_interval}, not seconds above 0")
        self._budget.configure(requests_per_second)
        self._max_concurrency = max_concurrency
        self._probe_interval = probe_interval
        self._wake()

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return len(self._tickets)

    @property
    def account_pause(self) -> Pause | None:
        """The pause of the account; it lasts until a probe is answered, even past its time."""
        return self._account.pause

    @property
    def version(self) -> int:
        """A number that changes whenever an answer changes the account's pause in this process."""
        return self._version

    def adopt(self, pause: Pause | None, version: int) -> bool:
        """Take over the account's pause as it is stored; True where that changes it.

        `version` is the one from before the pause was read. Where an answer has changed the pause
        since then, the stored one is older, and is ignored.
        """
        if version != self._version or pause == self._account.pause:
            return False
        gate = Gate(pause=pause)
        self._account = _hurry(gate) if self._account.hurried else gate
        if pause is not None:
            self._budget.clear()
        self._wake()
        return True

    @property
    def kind_pauses(self) -> Mapping[str, Pause]:
        """The pauses of kinds, by name."""
        return {kind: gate.pause for kind, gate in self._kinds.items() if gate.pause is not None}

    def open_kinds(self, kinds: Iterable[str]) -> frozenset[str]:
        """Return the kinds among `kinds` whose requests may start now."""
        now, busy = self._now(), self._in_flight_by_kind()
        return frozenset(
            kind
            for kind in kinds
            if self._gate(kind).room(now, in_flight=busy[kind]) is not Room.CLOSED
        )

    async def admit(self) -> None:
        """Wait for a slot, the rate and the account's pause; first come, first served.

        Reserves a slot for the caller. There is one reservation at a time: the next `admit` waits
        until `begin` or `cancel` was called.
        """
        async with self._turn:
            while (wait := self._wait()) > 0 or self._budget.is_empty:
                if wait > 0:
                    with anyio.move_on_after(wait):
                        await self._changed.wait()
                else:
                    await self._refill()
            self._reserved = True

    def cancel(self) -> None:
        """Give back the reservation, because there was nothing to send.

        :raises RuntimeError: without a reservation.
        """
        self._take_reservation()
        self._wake()

    def begin(self, kind: str) -> Ticket | None:
        """Turn the reservation into a request of that kind, which the caller sends now.

        Returns None, and the reservation ends, where the account or the kind was paused meanwhile.

        :raises RuntimeError: without a reservation.
        """
        self._take_reservation()
        now, gate = self._now(), self._gate(kind)
        account_room = self._account.room(now, in_flight=self.in_flight)
        kind_room = gate.room(now, in_flight=self._in_flight_by_kind()[kind])
        self._wake()
        if Room.CLOSED in {account_room, kind_room}:
            return None
        self._budget.take()
        self._issued += 1
        ticket = Ticket(
            number=self._issued,
            kind=kind,
            begun_at=now,
            probe=_first_reason(self._account, gate),
            probes_account=account_room is Room.ONE,
            probes_kind=kind_room is Room.ONE,
        )
        self._tickets[ticket.number] = ticket
        return ticket

    def finish(self, ticket: Ticket, error: CommsError | None) -> Change:
        """Record how the request ended, None for success, and free its slot.

        A second call for the same ticket changes nothing.
        """
        account, kind = self._account, self._gate(ticket.kind)
        outcome = None
        if self._tickets.pop(ticket.number, None) is not None:
            outcome = self._finish_account(ticket, error)
            self._kinds[ticket.kind] = self._kind_after(kind, ticket, error)
            self._wake()
        after = self._gate(ticket.kind)
        return Change(
            changed=self._account.pause != account.pause,
            pause=self._account.pause,
            outcome=outcome,
            kind_changed=after.pause != kind.pause,
            kind_pause=after.pause,
        )

    def abandon(self, ticket: Ticket) -> None:
        """Free the slot of a request that was cancelled.

        A probe that was cancelled is due again. Does nothing after `finish`.
        """
        if self._tickets.pop(ticket.number, None) is not None:
            self._wake()

    def retry_now(self) -> None:
        """Probe pauses after 401 and 403 without waiting: the credentials have been read again.

        The same holds for later refusals of requests that were begun before this call.
        """
        self._hurried_before = self._issued
        self._account = _hurry(self._account)
        self._kinds = {kind: _hurry(gate) for kind, gate in self._kinds.items()}
        self._wake()

    def _wait(self) -> float:
        if self._reserved or self.in_flight >= self._max_concurrency:
            return _CHECK_INTERVAL
        now, pause = self._now(), self._account.pause
        if self._account.room(now, in_flight=self.in_flight) is Room.CLOSED:
            if pause is None or not pause.holds(now):
                return _CHECK_INTERVAL
            return min(_CHECK_INTERVAL, (pause.until - now).total_seconds())
        return min(_CHECK_INTERVAL, self._budget.wait())

    async def _refill(self) -> None:
        version = self._version
        hurried = self._account.hurried
        pause = await self._budget.refill(in_flight=self.in_flight, hurried=hurried)
        self.adopt(pause, version)

    def _finish_account(self, ticket: Ticket, error: CommsError | None) -> RequestEnd | None:
        """Change the account's gate; return the outcome to apply to the stored pause, if any."""
        before, outcome = self._account, self._outcome(error, probe=ticket.probes_account)
        gate = before.after(outcome)
        is_refused = outcome.refusal is not None and outcome.refusal.reason is Reason.UNAUTHORIZED
        self._account = self._hurry_if_older(gate, ticket) if is_refused else gate
        if gate.pause == before.pause and not outcome.probe:
            return None
        self._version += 1
        if gate.pause is not None:
            self._budget.clear()
        return outcome

    def _outcome(self, error: CommsError | None, *, probe: bool) -> RequestEnd:
        """Return what the end of a request means for the account."""
        now = self._now()
        match None if error is None else error.scope:
            case Scope.ACCOUNT:
                wait = None if error is None else error.retry_after
                refusal = Refusal(reason=Reason.THROTTLED, wait=wait)
                return RequestEnd(at=now, probe=probe, refusal=refusal)
            case Scope.CREDENTIALS:
                refusal = Refusal(reason=Reason.UNAUTHORIZED, wait=self._probe_interval)
                return RequestEnd(at=now, probe=probe, refusal=refusal)
            case Scope.CONNECTION:
                return RequestEnd(at=now, probe=probe, answered=False)
            case _:
                return RequestEnd(at=now, probe=probe)

    def _kind_after(self, gate: Gate, ticket: Ticket, error: CommsError | None) -> Gate:
        """Return the gate of the ticket's kind after its request."""
        now, probe = self._now(), ticket.probes_kind
        match None if error is None else error.scope:
            case Scope.KIND:
                refusal = Refusal(reason=Reason.FORBIDDEN, wait=self._probe_interval)
                return self._hurry_if_older(gate.refused(refusal, now, probe=probe), ticket)
            case Scope.ACCOUNT | Scope.CREDENTIALS:
                return gate  # refused before the permission was checked: the probe is still due
            case Scope.CONNECTION:
                return gate.unanswered(now, probe=probe)
            case _:
                return gate.answered(probe=probe)

    def _hurry_if_older(self, gate: Gate, ticket: Ticket) -> Gate:
        """Hurry the probe where the request was begun before the last `retry_now`."""
        return _hurry(gate) if ticket.number <= self._hurried_before else gate

    def _gate(self, kind: str) -> Gate:
        return self._kinds.get(kind, _OPEN)

    def _in_flight_by_kind(self) -> Counter[str]:
        return Counter(ticket.kind for ticket in self._tickets.values())

    def _take_reservation(self) -> None:
        if not self._reserved:
            raise RuntimeError("there is no reservation; call admit() first")
        self._reserved = False

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


_OPEN: Final = Gate()
_BY_RANK: Final = (Reason.UNAUTHORIZED, Reason.FORBIDDEN, Reason.THROTTLED)


def _hurry(gate: Gate) -> Gate:
    throttled = gate.pause is not None and gate.pause.reason is Reason.THROTTLED
    return gate if throttled else gate.hurry()


def _first_reason(*gates: Gate) -> Reason | None:
    reasons = {gate.pause.reason for gate in gates if gate.pause is not None}
    return next((reason for reason in _BY_RANK if reason in reasons), None)
