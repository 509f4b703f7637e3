"""Periodic work: due progress of groups, stalled alerts, retention, checks of clock and file."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import anyio

from poller.engine.signals import Signals
from poller.engine.status import Degraded
from poller.engine.supervision import Heartbeats, repeat
from poller.log import get_logger
from poller.store.retention import Pruned
from poller.store.store import Store
from poller.text import format_instant
from poller.trouble import TroubleLog

log = get_logger()

_NAME: Final = "housekeeping"
_TICK: Final = 1.0
_PRUNE_INTERVAL: Final = 60.0
_ALERT_INTERVAL: Final = 10.0
# seconds between two checks of a SQLite file, each of one table
_CHECK_INTERVAL: Final = 60.0
# bytes of the write-ahead log, which a checkpoint normally truncates to 4 MB
_LONG_LOG: Final = 64_000_000
_LONG_READER: Final = (
    "a long read transaction of another process, such as a backup or a shell, keeps the log from "
    "being truncated; end that process"
)
_DAMAGED: Final = "stop the daemon, and restore the file from a backup or with `sqlite3 .recover`"
_BACKWARDS: Final = timedelta(seconds=1)


class Housekeeping:
    """Checks the wall clock, records the events that time makes due, and deletes old records.

    `record_due_groups` and `record_standstill` record events that no answer of the API causes:
    progress of groups that was held back, and alerts of operations and groups that are stalled.
    """

    def __init__(
        self,
        *,
        store: Store,
        retention: Callable[[], float],
        record_due_groups: Callable[[], Awaitable[None]],
        record_standstill: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
        signals: Signals,
        heartbeats: Heartbeats,
    ) -> None:
        self._store = store
        self._retention = retention
        self._record_due_groups = record_due_groups
        self._record_standstill = record_standstill
        self._now = now
        self._signals = signals
        self._heartbeats = heartbeats
        self._last: datetime | None = None
        self._next_pruning = 0.0
        self._next_check = anyio.current_time() + _CHECK_INTERVAL
        self._checks = 0
        self._damage: str | None = None
        self._log = TroubleLog(now)
        self._next_alerts = 0.0
        self.troubles: Sequence[Degraded] = ()
        """The troubles of the store's file, for the status."""

    async def run(self) -> None:
        """Run until cancelled."""
        await repeat(self._turn, name=_NAME, heartbeats=self._heartbeats)

    async def _turn(self) -> None:
        await self._check_clock()
        await self._record_due_groups()
        is_busy = False
        if anyio.current_time() >= self._next_pruning:
            is_busy = await self._prune_and_shrink()
            self._next_pruning = anyio.current_time() + (0 if is_busy else _PRUNE_INTERVAL)
        if anyio.current_time() >= self._next_alerts:
            await self._record_standstill()
            self._next_alerts = anyio.current_time() + _ALERT_INTERVAL
        if anyio.current_time() >= self._next_check:
            await self._check_file()
            self._next_check = anyio.current_time() + _CHECK_INTERVAL
        if not is_busy:
            await anyio.sleep(_TICK)

    async def _check_clock(self) -> None:
        """Make waits that were set in the future due now: the clock went back since.

        The first check covers the time before the start.
        """
        now, last = self._now(), self._last
        if last is None or now < last - _BACKWARDS:
            number = await self._store.void_future_waits()
            if last is not None or number:
                since = None if last is None else format_instant(last)
                log.warning("clock.went_back", since=since, due_now=number)
                self._signals.polls.notify()
        self._last = now

    async def _check_file(self) -> None:
        """Check a SQLite file for damaged pages, and for a log that is not truncated."""
        found = await self._store.check_file(self._checks)
        self._checks += 1
        if found is None:
            return
        hints: dict[str, str] = {}
        if found.damage is not None:
            self._log.failure(
                log,
                "store.damaged",
                subject=found.damage,
                level="error",
                error=found.damage,
                hint=_DAMAGED,
            )
        # one check reads one table, so damage that was found in another one stays reported
        self._damage = found.damage or self._damage
        if self._damage is not None:
            hints["store file"] = f"{self._damage}; {_DAMAGED}"
        if found.log_bytes > _LONG_LOG:
            megabytes = found.log_bytes // 1_000_000
            self._log.failure(log, "store.log_grows", megabytes=megabytes, hint=_LONG_READER)
            hints["store log"] = f"the write-ahead log has {megabytes} MB; {_LONG_READER}"
        else:
            self._log.success(log, "store.log_grows", "store.log_shrunk")
        now, since = self._now(), {one.what: one.since for one in self.troubles}
        self.troubles = [
            Degraded(what=what, since=since.get(what, now), hint=hint)
            for what, hint in hints.items()
        ]

    async def _prune_and_shrink(self) -> bool:
        """Delete old records in small steps, for a second at most; True where some are left.

        Others can write between two steps. At the end, free pages are returned to the file system.
        """
        until = anyio.current_time() + _TICK
        pruned = await self._prune()
        while pruned.more and anyio.current_time() < until:
            pruned += await self._prune()
        if pruned.operations:
            level = log.warning if pruned.dead_letters else log.info
            level(
                "retention.pruned",
                operations=pruned.operations,
                events=pruned.events,
                dead_letters=pruned.dead_letters,
            )
        is_busy = pruned.more or await self._store.retention.shrink()
        while is_busy and anyio.current_time() < until:
            is_busy = await self._store.retention.shrink()
        return is_busy

    async def _prune(self) -> Pruned:
        return await self._store.retention.prune(retention_seconds=self._retention())
