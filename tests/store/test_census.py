"""Counting what is watched, and timing every transaction."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from poller.store.counts import WatchCount
from poller.store.errors import StoreUnavailable
from poller.store.store import Store
from poller.tracking.registration import Conflict
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import HOME, NOW, POLICY, Clock, Daemon, op, registration, seen

pytestmark = pytest.mark.anyio
Timings = list[tuple[str, float, bool]]


@pytest.fixture
def timings() -> Timings:
    """Collect what the store tells of its transactions."""
    return []


@pytest.fixture
async def timed(tmp_path: Path, clock: Clock, timings: Timings) -> AsyncIterator[Store]:
    """Open a store that tells of its transactions."""
    store = await Store.open(
        f"sqlite:///{tmp_path / 'poller.db'}",
        HOME,
        now=clock,
        timed=lambda *transaction: timings.append(transaction),
    )
    yield store
    await store.aclose()


@SLOW_ON_POSTGRESQL
async def test_what_is_watched_is_counted_by_kind_and_status(daemon: Daemon, clock: Clock) -> None:
    """Never seen, seen and due are counted apart; what has ended is not counted."""
    await daemon.store.register([registration(op(number)) for number in range(4)])
    await daemon.store.register([registration(op(9), "emails")])
    await daemon.record((op(0), seen(op(0))), (op(1), seen(op(1))))
    await daemon.record((op(2), seen(op(2), "COMPLETED")))
    clock.advance(0.5)
    tallies = await daemon.store.counts.watched()
    assert sorted(tallies, key=lambda tally: (tally.kind, tally.status or "")) == [
        WatchCount(kind="emails", status=None, watched=1, due=1, oldest_due=NOW),
        WatchCount(kind="messages", status=None, watched=1, due=1, oldest_due=NOW),
        WatchCount(kind="messages", status="PROCESSING", watched=2, due=0, oldest_due=None),
    ]
    clock.advance(3600)
    [seen_ones] = [one for one in await daemon.store.counts.watched() if one.status == "PROCESSING"]
    assert seen_ones.due == 2
    assert seen_ones.oldest_due is not None
    assert NOW < seen_ones.oldest_due < NOW + timedelta(minutes=5)


async def test_others_are_not_counted(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """Operations of another scope are another daemon's business."""
    elsewhere = type(HOME)(account="AC2", base_url=HOME.base_url)
    other = await open_daemon("other", elsewhere, as_daemon=daemon.on_postgresql)
    await other.register(op(1))
    assert await daemon.store.counts.watched() == []


async def test_every_transaction_is_timed(timed: Store, timings: Timings) -> None:
    """Writes, reads and looks of others, under the names of what they run."""
    await timed.register([registration(op(1))])
    await timed.reach(kind="messages")
    await timed.counts.watched()
    assert [(name, refused) for name, _, refused in timings] == [
        ("registrations.register_all", False),
        ("sweeps.reach", False),
        ("counts.count_watched", False),
    ]
    assert all(0 < seconds < 60 for _, seconds, _ in timings)


async def test_what_the_database_refuses_is_reported_as_refused(
    timed: Store, timings: Timings, tmp_path: Path
) -> None:
    """A file that is gone refuses; a registration that contradicts what is known is no refusal."""
    await timed.register([registration(op(1))])
    await timed.record([(op(1), seen(op(1)))], kind="messages", policy=POLICY, lease_owner=None)
    timings.clear()
    with pytest.raises(Conflict):
        await timed.register([registration(op(1), "emails")], all_or_none=True)
    assert [refused for _, _, refused in timings] == [False]

    def spoil() -> None:
        connection = sqlite3.connect(tmp_path / "poller.db")
        connection.execute("DROP TABLE pauses")
        connection.commit()
        connection.close()

    await anyio.to_thread.run_sync(spoil)
    timings.clear()
    with pytest.raises(StoreUnavailable):
        await timed.pause()
    assert [(name, refused) for name, _, refused in timings] == [("scopes.read_pause", True)]
