"""Retention as the engine runs it: steps that hold the turn of writers for a moment each."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from poller.store import group_retention, retention, sinks
from poller.store.database import Database
from poller.store.retention import Pruned, PrunePlace
from poller.store.transactions import Transactions

# Seconds that a step should take. Everybody who writes waits for it; and where a step takes less,
# much of it is what each step costs, however few it removes.
_AIM: Final = 0.025
_LEAST: Final = 20
_MOST: Final = 200


class RetentionStore:
    """Deletes what is over, and shrinks the file: `Store.retention`.

    Every method raises `StoreUnavailable` where the database refuses; nothing of its transaction
    is then written.
    """

    def __init__(
        self, database: Database, transactions: Transactions, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._transactions = transactions
        self._now = now
        self._place: PrunePlace | None = None
        self._limit = _LEAST

    async def prune(self, *, retention_seconds: float) -> Pruned:
        """Run one small step, which goes on behind the one before.

        It does not wait for the disk: what a crash brings back is removed again. The first one of
        a round also gives up for sinks that are no longer configured, and goes through the groups.
        """
        if self._place is None:
            await self._transactions.write(sinks.bury_absent, self._now())
            await self._transactions.write(
                group_retention.prune_groups, retention=retention_seconds, now=self._now()
            )
        pruned, seconds = await self._transactions.write_unsynced(
            retention.prune,
            retention=retention_seconds,
            now=self._now(),
            behind=self._place,
            limit=self._limit,
        )
        self._place = pruned.place
        if pruned.more:
            self._limit = next_limit(self._limit, seconds)
        return pruned

    async def shrink(self) -> bool:
        """Give some unused pages of a SQLite file back; True where more should follow.

        A tenth of the file stays unused, for what comes next.
        """
        return await self._transactions.call(self._database.shrink)


def next_limit(limit: int, seconds: float) -> int:
    """Return how many operations the next step may take, after one that took `seconds`."""
    # twice as many at most: a single step may have been lucky
    wanted = limit * min(2.0, _AIM / max(seconds, 0.001))
    return max(_LEAST, min(_MOST, round(wanted)))
