"""A store with dead letters, as a daemon would have left it."""

from datetime import datetime, timedelta
from pathlib import Path

from poller.store.store import Store
from poller.tracking.delivery import AttemptResult, Subscription
from poller.tracking.watch import AccountScope
from tests.store.scenes import Clock, Daemon, declare, entropy, op, seen
from tests.store.template import new_store

__all__ = ["HOME", "make_letters"]

HOME = AccountScope(account="default", base_url="https://comms.twilio.com/v1")
"""The home of settings that name neither account nor base URL."""


async def make_letters(path: Path, *, ends: list[datetime], sinks: list[str]) -> list[str]:
    """End an operation, `op(1)` and up, at each of these times; every sink refuses every event.

    Returns the event ids. Everything is given up 61 minutes after the last end.
    """
    clock = Clock()
    store = await Store.open(new_store(path), HOME, now=clock, random=entropy())
    try:
        daemon = Daemon(store, clock, "daemon")
        await store.configure_sinks(declare(*sinks))
        event_ids = [await _end(daemon, op(number), at, sinks) for number, at in enumerate(ends, 1)]
        for minutes in (0, 61):
            clock.advance(hours=minutes / 60)
            for sink in sinks:
                claimed = await daemon.deliveries(sink, limit=100)
                assert len(claimed) == len(ends)
                error = f"{sink} answered 422: no such field"
                await daemon.settle(
                    claimed, AttemptResult.REFUSED, sink=sink, status=422, error=error
                )
    finally:
        await store.aclose()
    return event_ids


async def _end(daemon: Daemon, operation: str, at: datetime, sinks: list[str]) -> str:
    daemon.clock.time = at
    await daemon.register(operation)
    answer = seen(operation, "COMPLETED", at=at - timedelta(seconds=1), delivered=3)
    subscriptions = [Subscription(sink=sink) for sink in sinks]
    [observation] = await daemon.record((operation, answer), to=subscriptions)
    return observation.events[0].id
