"""How daemons coordinate through their store: heartbeats, request budget, pause, sweeps."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from poller.comms.gate import Pause, RequestEnd
from poller.store import budgets
from poller.store import daemons as daemon_rows
from poller.store import sweeps as sweep_rows
from poller.store import watches as watch_rows
from poller.store.budgets import PermitRequest, Permits
from poller.store.clock import DatabaseClock, monotonic
from poller.store.daemons import Beat, Pulse
from poller.store.transactions import Transactions


class SharedStore:
    """Coordination of the daemons that share a store; a SQLite file has a single daemon."""

    def __init__(self, transactions: Transactions, now: Callable[[], datetime]) -> None:
        self._transactions = transactions
        self._now = now

    async def beat(self, owner: str, *, slots: int) -> Beat | None:
        """Record a heartbeat of a daemon that needs `slots` slots; None if it has no row."""
        begun = monotonic()
        beat = await self._transactions.write(daemon_rows.beat, owner, slots=slots, now=self._now())
        if beat is not None and isinstance(self._now, DatabaseClock):
            self._now.measured(beat.at, begun=begun, ended=monotonic())
        return beat

    async def pulse(self) -> Pulse:
        """Read what other daemons may have changed since the last heartbeat."""
        return await self._transactions.browse(daemon_rows.pulse)

    async def leave(self, owner: str) -> None:
        """Record that a daemon has stopped in order."""
        await self._transactions.write(daemon_rows.leave, owner, self._now())

    async def lease_permits(self, request: PermitRequest) -> Permits:
        """Take permits for requests from the budget of the account; does not wait for the disk."""
        return await self._transactions.write_unsynced(budgets.lease_permits, request, self._now())

    async def hold_sweep(self, kind: str, owner: str, *, is_reading: bool) -> bool:
        """Become the daemon that sweeps a kind; False where another living one does."""
        return await self._transactions.write(
            sweep_rows.hold_sweep, kind, owner, is_reading=is_reading, now=self._now()
        )

    async def swept_elsewhere(self, owner: str) -> Mapping[str, bool]:
        """Return the kinds that another daemon sweeps, and whether it reads a list now."""
        return await self._transactions.read(sweep_rows.swept_elsewhere, owner, self._now())

    async def change_pause(self, owner: str, outcome: RequestEnd) -> Pause | None:
        """Apply the end of a request to the account's pause; return the pause after it."""
        return await self._transactions.write(budgets.change_pause, owner, outcome)

    async def next_due(self, *, kinds: Collection[str], owner: str) -> datetime | None:
        """Return when the next operation that `owner` can claim is due; claims nothing."""
        return await self._transactions.read(
            watch_rows.next_due, kinds=kinds, owner=owner, now=self._now()
        )
