"""Retention as the engine runs it: in steps, each of which holds up writers only briefly."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from poller.store import group_retention, retention, sinks
from poller.store.database import Database
from poller.store.retention import Pruned, PrunePlace
from poller.store.transactions import Transactions

# Seconds that a step should take. All writers wait for it; in a shorter step, much of the time
# would be the fixed cost of a step.
_AIM: Final = 0.025
_LEAST: Final = 20
_MOST: Final = 200


class RetentionStore:
    """Deletes old records, and shrinks the file: `Store.retention`.

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
        """Run one small step, which continues after the one before.

        It does not wait for the disk: records that return after a crash are deleted again. The
        first step of a round also gives up the deliveries to sinks that are no longer configured,
        and prunes groups.
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
            after=self._place,
            limit=self._limit,
        )
        self._place = pruned.place
        if pruned.more:
            self._limit = next_limit(self._limit, seconds)
        return pruned

    async def shrink(self) -> bool:
        """Return some unused pages of a SQLite file to the system; True where more should follow.

        A tenth of the file stays unused, for new rows.
        """
        return await self._transactions.call(self._database.shrink)


def next_limit(limit: int, seconds: float) -> int:
    """Return how many operations the next step may take, after one that took `seconds`."""
    # at most twice as many: a single fast step may have been an exception
    wanted = limit * min(2.0, _AIM / max(seconds, 0.001))
    return max(_LEAST, min(_MOST, round(wanted)))
