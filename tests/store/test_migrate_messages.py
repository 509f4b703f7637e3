"""From operations alone to messages beside them: what an older program watched goes on."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from anyio import to_thread
from sqlalchemy import Connection, MetaData, insert, select

from poller.store import migrations
from poller.store.database import Database
from poller.store.migrate import check_schema
from poller.store.migrations import HEAD
from poller.store.store import Store
from poller.tracking.pacing import Policy
from poller.tracking.watch import NextRequest, Phase
from tests.store.scenes import HOME, Clock, Daemon, op, seen

pytestmark = pytest.mark.anyio

OLD = "0001"
RUNNING, SCHEDULED, ENDED, FAILING = op(1), op(2), op(3), op(4)


def make_old(connection: Connection) -> None:
    """Make the tables as the first program did."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, OLD)


def copy_to_old(new: str, old: str) -> None:
    """Write what a store holds into one of the first schema, as far as that has room for it."""
    source, target = Database(new), Database(old)
    with target.writing() as connection:
        make_old(connection)
    with source.reading() as reading, target.writing() as writing:
        found, wanted = MetaData(), MetaData()
        found.reflect(reading)
        wanted.reflect(writing)
        for table in wanted.sorted_tables:
            if table.name == "alembic_version":
                continue
            there = found.tables[table.name]
            columns = [there.c[column.name] for column in table.columns]
            rows = [dict(row) for row in reading.execute(select(*columns)).mappings()]
            writing.execute(table.delete())
            if rows:
                writing.execute(insert(table), rows)
    source.close()
    target.close()


def revision(url: str) -> str:
    """Return the revision of a store."""
    database = Database(url)
    found = check_schema(database)
    database.close()
    return found


@pytest.fixture
async def old(tmp_path: Path, clock: Clock) -> str:
    """Return a store of the first schema with operations in every state, and events that wait."""
    new, old = (f"sqlite:///{tmp_path / name}.db" for name in ("new", "old"))
    store = await Store.open(new, HOME, now=clock)
    daemon = Daemon(store, clock, "old")
    await daemon.run_through(ENDED)
    await daemon.register(RUNNING, SCHEDULED, FAILING)
    await daemon.observe(RUNNING, "PROCESSING", total=3, queued=2, delivered=1)
    await daemon.observe(SCHEDULED, "SCHEDULED", total=3, scheduled=3)
    await daemon.observe(FAILING, "PROCESSING", total=3, queued=3)
    await store.aclose()
    await to_thread.run_sync(copy_to_old, new, old)
    return old


async def test_what_the_first_program_watched_goes_on(old: str, clock: Clock) -> None:
    """Sequence, deltas and deliveries go on where they were; what has ended stays ended."""
    store = await Store.open(old, HOME, now=clock)
    daemon = Daemon(store, clock, "new")
    assert store.migrated_from == OLD
    clock.advance(hours=1)
    assert sorted(await daemon.claim()) == [RUNNING, SCHEDULED, FAILING]
    observation = await daemon.observe(RUNNING, "COMPLETED", total=3, delivered=3)
    [completed] = observation.events
    assert completed.event.sequence == 2
    assert completed.event.data["delta"] == {"queued": -2, "delivered": 2}
    assert (await daemon.watch(ENDED)).phase is Phase.ENDED
    assert len(await daemon.drain()) == 3 + 3 + 1
    await store.aclose()
    assert await to_thread.run_sync(revision, old) == HEAD


async def test_what_the_first_program_watched_can_do_what_is_new(old: str, clock: Clock) -> None:
    """A schedule is read, and what failed is read at the end."""
    store = await Store.open(old, HOME, now=clock)
    daemon = Daemon(store, clock, "new")
    assert (await daemon.watch(SCHEDULED)).next_request is NextRequest.SCHEDULE
    end = seen(FAILING, "COMPLETED", at=clock(), stats={"total": 3, "failed": 3})
    [observation] = await daemon.record((FAILING, end), policy=Policy(breakdown=True))
    assert [recorded.event.final for recorded in observation.events] == [True]
    assert (await daemon.watch(FAILING)).next_request is NextRequest.BREAKDOWN
    clock.advance(5)
    assert sorted([(await daemon.claim(limit=1))[0] for _ in range(2)]) == [RUNNING, SCHEDULED]
    assert await daemon.claim(limit=1) == [FAILING]
    await store.aclose()
