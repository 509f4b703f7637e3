"""Membership in the set of daemons that share a store: heartbeats, and the state of the others.

Every second a daemon writes its heartbeat. While other daemons are alive, it also reads every
150 ms what they have changed. So their events reach its streams and sinks, and a pause that one of
them sets holds back its requests too.

    store ──beat──▶ living daemons · pause · newest event ──▶ throttle · signals · degraded
"""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import anyio

from poller.comms.gate import Pause
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration, SinkPlan
from poller.engine.log_events import log_adopted_pause
from poller.engine.signals import Signals
from poller.engine.status import Degraded
from poller.engine.stored_budget import StoredBudget
from poller.engine.supervision import Heartbeats, repeat
from poller.log import get_logger
from poller.store.daemons import DeclaredSink, Member
from poller.store.errors import StoreUnavailable
from poller.store.sinks import SinkReport
from poller.store.store import Store

log = get_logger()

NAME: Final = "membership"
_BEAT_INTERVAL: Final = 1.0
# events of other daemons must arrive within 250 ms; a shorter interval costs over 2 % of a core
_READ_INTERVAL: Final = 0.15
# seconds for which a confirmed write proves that the store can be written
_PROOF_AGE: Final = 3.5


class Membership:
    """Declares this daemon in the store, and follows the others where the store is shared."""

    def __init__(
        self,
        *,
        store: Store,
        throttle: Throttle,
        budget: StoredBudget | None,
        configuration: Configuration,
        now: Callable[[], datetime],
        signals: Signals,
        heartbeats: Heartbeats,
    ) -> None:
        self.configuration = configuration
        self.others: Sequence[Member] = ()
        self._store = store
        self._throttle = throttle
        self._budget = budget
        self._now = now
        self._signals = signals
        self._heartbeats = heartbeats
        self._member = self._as_member(())
        self._position = 0
        self._next_beat = 0.0
        self._beaten_at: float | None = None
        self._differences: dict[str, datetime] = {}

    @property
    def has_others(self) -> bool:
        """Whether other daemons that share the store are alive."""
        return bool(self.others)

    async def prove_writable(self) -> None:
        """Check that a registration could be committed now.

        Where the store is shared, the last heartbeat is the proof. So a readiness probe costs no
        query and does not compete with recording.

        :raises StoreError: where the store refuses, or has confirmed no write for seconds.
        """
        if self._beaten_at is None:
            await self._store.prove_writable()
        elif (age := anyio.current_time() - self._beaten_at) > _PROOF_AGE:
            raise StoreUnavailable(
                f"store.url: the database has confirmed no write for {age:.0f} s; "
                "see store.unavailable in the log"
            )

    async def declare(self, plans: Sequence[SinkPlan]) -> Sequence[SinkReport]:
        """Write this daemon's sinks and request limits to the store; return reports on all sinks.

        :raises StoreError: where the store refuses.
        """
        member = self._as_member(plans)
        reports = await self._store.configure_sinks(member)
        self._member = member
        if self._budget is not None:
            self._budget.request_timeout = self.configuration.request_timeout
        self._next_beat = 0.0
        return reports

    async def run(self) -> None:
        """Write heartbeats until cancelled; return at once where the store cannot be shared."""
        if self._budget is not None:
            await repeat(self._turn, name=NAME, heartbeats=self._heartbeats)

    async def leave(self) -> None:
        """Remove this daemon from the store, so that the others need not wait for it.

        :raises StoreError: where the store refuses; they wait until its heartbeat has expired.
        """
        if self._budget is not None:
            await self._store.shared.leave(self._store.owner)

    def troubles(self) -> list[Degraded]:
        """Report the settings in which the living daemons differ."""
        found = dict(differences(self._member, self.others))
        known = self._differences
        self._differences = {what: known.get(what, self._now()) for what in found}
        return [
            Degraded(what=what, since=self._differences[what], hint=hint)
            for what, hint in found.items()
        ]

    def _as_member(self, plans: Sequence[SinkPlan]) -> Member:
        return Member(
            owner=self._store.owner,
            name=f"{socket.gethostname()}:{os.getpid()}",
            sinks=[
                DeclaredSink(subscription=plan.subscription, fingerprint=plan.fingerprint)
                for plan in plans
            ],
            max_concurrency=self.configuration.max_concurrency,
            requests_per_second=self.configuration.requests_per_second,
        )

    async def _turn(self) -> None:
        version = self._throttle.version
        if self._budget is not None and anyio.current_time() >= self._next_beat:
            await self._beat(self._budget, version)
        elif self.others:
            pulse = await self._store.shared.pulse()
            self._follow(pulse.pause, pulse.position, version)
        await anyio.sleep(_READ_INTERVAL if self.others else _BEAT_INTERVAL)

    async def _beat(self, budget: StoredBudget, version: int) -> None:
        async with budget.turn:
            needed = self._throttle.in_flight + budget.unused
            beat = await self._store.shared.beat(self._store.owner, slots=needed)
        self._next_beat = anyio.current_time() + _BEAT_INTERVAL
        if beat is None:
            log.warning(
                "daemon.returned",
                hint="its heartbeats were late, and the other daemons had taken over its work",
            )
            await self._store.configure_sinks(self._member)
            return
        self._beaten_at = anyio.current_time()
        self._note_others(beat.others)
        self._follow(beat.pause, beat.position, version)

    def _note_others(self, others: Sequence[Member]) -> None:
        before, after = _by_owner(self.others), _by_owner(others)
        for owner, member in after.items():
            if owner not in before:
                log.info("daemon.joined", daemon=member.name, sinks=_sink_names(member))
        for owner, member in before.items():
            if owner not in after:
                log.info("daemon.left", daemon=member.name)
        self.others = others

    def _follow(self, pause: Pause | None, position: int, version: int) -> None:
        if self._throttle.adopt(pause, version):
            log_adopted_pause(pause)
            self._signals.polls.notify()
        if position > self._position:
            self._position = position
            self._signals.notify_recorded()


def differences(own: Member, others: Sequence[Member]) -> Mapping[str, str]:
    """Return the settings in which living daemons differ, each with its effect and the remedy."""
    found: dict[str, str] = {}
    for setting in ("requests_per_second", "max_concurrency"):
        mine = getattr(own, setting)
        for other in others:
            if (theirs := getattr(other, setting)) != mine:
                found[f"api.{setting}"] = (
                    f"{mine:g} here, {theirs:g} at {other.name}; the lowest holds for the account: "
                    "set it to the same value at every daemon"
                )
    sinks = {sink.name: sink.fingerprint for sink in own.sinks}
    for other in others:
        for sink in other.sinks:
            if sink.name in sinks and sinks[sink.name] != sink.fingerprint:
                found[f"settings of sink {sink.name}"] = (
                    f"they differ from those at {other.name}, and either daemon may deliver an "
                    "event; set them to the same values, or give one sink another name"
                )
    return found


def _by_owner(members: Sequence[Member]) -> Mapping[str, Member]:
    return {member.owner: member for member in members}


def _sink_names(member: Member) -> list[str]:
    return [sink.name for sink in member.sinks]
