"""Daemons that share a PostgreSQL store, without processes: a database whose clock a test sets."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy import BigInteger, literal

from poller.comms.gate import Pause, RequestEnd
from poller.store import daemons as daemon_rows
from poller.store import sweeps, watches
from poller.store.budgets import PermitRequest, Permits, lease_permits
from poller.store.columns import microseconds
from poller.store.daemons import Beat, DeclaredSink, Member
from poller.tracking.delivery import Subscription
from tests.store.scenes import Clock, Daemon

__all__ = ["PROBE", "Members", "set_server_clock"]

PROBE = 25.0
"""Seconds for which the probe of a pause belongs to one daemon."""


def set_server_clock(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Let the database tell the time of the test."""
    monkeypatch.setattr(
        "poller.store.clock.server_clock",
        lambda: literal(microseconds(clock()), BigInteger),
    )
    # a statement that was built with this clock must not be kept for another test
    for module, name in (
        (watches, "_claiming"),
        (watches, "_following"),
        (sweeps, "_counting_due"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)


@dataclass(frozen=True, kw_only=True)
class Members:
    """The daemons of one store, by their names."""

    daemon: Daemon
    clock: Clock

    async def join(
        self,
        owner: str,
        *sinks: str,
        rate: float = 5.0,
        concurrency: int = 4,
        fingerprint: str = "",
    ) -> None:
        """Start a daemon, or let it declare other settings."""
        declared = [
            DeclaredSink(subscription=Subscription(sink=sink), fingerprint=fingerprint)
            for sink in sinks
        ]
        member = Member(
            owner=owner,
            name=owner,
            sinks=declared,
            requests_per_second=rate,
            max_concurrency=concurrency,
        )
        await self.daemon.store.configure_sinks(member)

    async def beat(self, *owners: str, slots: int = 0) -> list[Beat | None]:
        """Let daemons say that they live."""
        return [await self.daemon.store.shared.beat(owner, slots=slots) for owner in owners]

    async def seen_by(self, owner: str) -> Sequence[str]:
        """Return the others that live, by the beat of one."""
        [beat] = await self.beat(owner)
        assert beat is not None
        return [member.name for member in beat.others]

    async def leave(self, owner: str) -> None:
        """Stop a daemon in order."""
        await self.daemon.store.shared.leave(owner)

    async def ask(self, owner: str, *, in_flight: int = 0, hurried: bool = False) -> Permits:
        """Ask for permits."""
        request = PermitRequest(
            owner=owner, in_flight=in_flight, hurried=hurried, probe_seconds=PROBE
        )
        return await self.daemon.store._write(lease_permits, request, self.clock())

    async def end(self, owner: str, outcome: RequestEnd) -> Pause | None:
        """End a request of a daemon; the pause after it."""
        return await self.daemon.store.shared.change_pause(owner, outcome)

    async def wanting(self) -> set[str]:
        """Name the sinks for which an event that is recorded now is kept."""
        return set(await self.daemon.store._read(daemon_rows.subscriptions, self.clock()))
