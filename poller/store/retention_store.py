"""Retention as the engine runs it: in steps, each of which holds up writers only briefly."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import anyio

from poller.store import group_retention, retention, sinks
from poller.store.database import Database
from poller.store.retention import Pruned, PrunePlace
from poller.store.transactions import Transactions

# seconds that a step waits for a checkpoint at most, and between two looks at it
_CHECKPOINT_SECONDS: Final = 1.0
_CHECKPOINT_INTERVAL: Final = 0.005


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
        self._group: str | None = None

    async def prune(self, *, retention_seconds: float) -> Pruned:
        """Run one step, which continues after the one before: up to four short transactions.

        They do not wait for the disk: records that return after a crash are deleted again. The
        first step of a round also gives up the deliveries to sinks that are no longer configured,
        and prunes groups; its last step also deletes stubs.
        """
        await self._wait_for_checkpoint()
        now = self._now()
        before = now - timedelta(seconds=retention_seconds)
        write = self._transactions.write_unsynced
        if self._place is None:
            if await write(sinks.bury_absent, now):
                return Pruned(more=True)
            groups = group_retention.prune_groups
            self._group = await write(groups, before=before, now=now, after=self._group or "")
            if self._group is not None:
                return Pruned(more=True)
        pruned = await write(retention.prune, before=before, after=self._place)
        self._place = pruned.place
        if self._place is None:
            pruned += await write(retention.remove_stubs, before=before)
        return pruned

    async def _wait_for_checkpoint(self) -> None:
        """Let a checkpoint catch up, so that the log begins again.

        Where writes go on without a pause, the log grows until a commit copies it, for which all
        writers wait.
        """
        with anyio.move_on_after(_CHECKPOINT_SECONDS):
            while self._database.is_copying_log:  # noqa: ASYNC110 - another thread does that
                await anyio.sleep(_CHECKPOINT_INTERVAL)

    async def shrink(self) -> bool:
        """Return some unused pages of a SQLite file to the system; True where more should follow.

        A tenth of the file stays unused, for new rows.
        """
        await self._wait_for_checkpoint()
        return await self._transactions.call(self._database.shrink)
