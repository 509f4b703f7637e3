"""A store that is copied: every row, between SQLite and PostgreSQL, or nothing at all."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from sqlalchemy import BigInteger, Boolean, Float, Integer, Table, insert, select, text

from poller.store.columns import Document, Instant
from poller.store.copy import _BATCH, StoreNotEmpty, copy_store
from poller.store.database import Database
from poller.store.errors import StoreInUse, StoreUnavailable
from poller.store.lock import FileLock
from poller.store.migrate import check_schema, migrate
from poller.store.migrations import FIRST, HEAD
from poller.store.schema import events, metadata
from poller.store.store import Store
from poller.tracking.delivery import AttemptResult
from poller.tracking.watch import AccountScope
from tests.store.cluster import Cluster
from tests.store.described import Description, describe
from tests.store.scenes import HOME, NOW, Clock, Daemon, declare, entropy, op

ROWS = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a database of each kind with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'copy.db'}"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = cluster.create()
    yield cluster.url(name)
    cluster.drop(name)


def value_of(table: Table, name: str, number: int) -> Any:  # noqa: ANN401 - of any type
    """Make up a value of a column, another one for each row."""
    column = table.columns[name]
    for reference in column.foreign_keys:
        return value_of(reference.column.table, reference.column.name, number % ROWS)
    if column.nullable and number == 0:
        return None
    for type_, value in (
        (Document, {"é": ["\ud83d", number, None]}),
        (Instant, NOW + timedelta(microseconds=number)),
        (Boolean, bool(number % 2)),
        (Float, number + 0.1),
        (BigInteger, 2**33 + number),
        (Integer, number + 7),
    ):
        if isinstance(column.type, type_):
            return value
    return f"{name} ☎ {number:06}"


def fill(url: str, rows: Callable[[Table], int] = lambda _: ROWS) -> None:
    """Put rows into every table, all columns of them."""
    with closing(Database(url)) as database, database.writing() as connection:
        for table in filter(rows, metadata.sorted_tables):
            connection.execute(
                insert(table),
                [
                    {name: value_of(table, name, number) for name in table.columns.keys()}  # noqa: SIM118 - names
                    for number in range(rows(table))
                ],
            )


def content(url: str) -> Mapping[str, list[tuple[object, ...]]]:
    """Read every table in the order of its key."""
    with closing(Database(url)) as database, database.reading() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in metadata.sorted_tables
        }


def described(url: str) -> Description:
    """Describe all that a database holds."""
    with closing(Database(url)) as database, database.reading() as connection:
        return describe(connection)


def made(url: str) -> str:
    """Make a store; returns its URL."""
    with closing(Database(url)) as database:
        migrate(database)
    return url


def copy(source: str, target: str) -> Mapping[str, int]:
    """Copy, and check what is reported on the way."""
    said: dict[str, int] = {}
    copied = copy_store(source, target, said.__setitem__)
    assert said == copied
    return copied


def test_every_table_goes_there_and_back(
    elsewhere: str, migrated_file: Path, tmp_path: Path
) -> None:
    """The file that comes back is the one that was copied, in every table that there is."""
    first = f"sqlite:///{tmp_path / 'first.db'}"
    (tmp_path / "first.db").write_bytes(migrated_file.read_bytes())
    fill(first, lambda table: 2 * _BATCH + 1 if table.name == "events" else ROWS)
    copied = copy(first, elsewhere)
    assert copied == {name: len(rows) for name, rows in content(first).items()}
    assert copied.keys() == metadata.tables.keys()
    assert all(copied.values())
    assert content(elsewhere) == content(first)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    assert copy(elsewhere, back) == copied
    assert described(back) == described(first)
    assert (tmp_path / "back.db").stat().st_mode & 0o777 == 0o600


async def opened(url: str, clock: Clock) -> Daemon:
    """Open a store as a daemon with the sink `app`."""
    store = await Store.open(url, HOME, now=clock, random=entropy(), as_daemon=True)
    daemon = Daemon(store, clock, "first")
    await store.configure_sinks(declare("app"))
    return daemon


@pytest.mark.anyio
async def test_a_daemon_goes_on_where_it_was(elsewhere: str, tmp_path: Path, clock: Clock) -> None:
    """No event is lost, none comes twice, and what is due stays due, there and back again."""
    here = await to_thread.run_sync(made, f"sqlite:///{tmp_path / 'here.db'}")
    back = f"sqlite:///{tmp_path / 'back.db'}"
    gone: list[str] = []
    stored: list[str] = []
    for number, url in enumerate((here, elsewhere, back)):
        clock.advance(hours=1)
        daemon = await opened(url, clock)
        # what was recorded elsewhere is there, and what waited there goes out here
        assert [row["id"] for row in await daemon.rows(events)] == stored
        gone += [event.id for event in await daemon.drain()]
        assert sorted(gone) == sorted(stored)
        own = [op(10 * number + one) for one in range(4)]
        await daemon.join("g", own[0])
        await daemon.run_through(own[1])
        await daemon.register(own[2])
        # due are those that were left behind, and its own
        left = [op(10 * before + one) for before in range(number + 1) for one in (0, 2)]
        assert sorted(await daemon.claim()) == sorted(left)
        await daemon.observe(own[2], "PROCESSING", total=number + 2, queued=1)
        claimed = await daemon.deliveries(limit=1)
        await daemon.settle(claimed, AttemptResult.DELIVERED)
        gone += [event.id for event in claimed]
        stored = [row["id"] for row in await daemon.rows(events)]
        await daemon.expire_leases()
        await daemon.store.shared.leave("first")
        await daemon.store.aclose()
        if url != back:
            await to_thread.run_sync(copy, url, elsewhere if url == here else back)
    assert len(stored) == len(set(stored)) > 12
    # another account gets an id that no copied one has
    other = await Store.open(
        elsewhere, AccountScope(account="AC2", base_url="x"), now=clock, random=entropy()
    )
    await other.aclose()


def test_a_copy_that_is_interrupted_can_be_repeated(elsewhere: str, tmp_path: Path) -> None:
    """It leaves nothing in the target."""
    here = made(f"sqlite:///{tmp_path / 'here.db'}")
    fill(here, lambda table: 1 if table.name != "counters" else 2)

    def interrupt(table: str, _rows: int) -> None:
        if table == "deliveries":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(here, elsewhere, interrupt)
    with closing(Database(elsewhere)) as database:
        assert check_schema(database) == ""
    copy(here, elsewhere)
    assert content(elsewhere) == content(here)


def test_a_store_that_holds_something_is_no_target(url: str, tmp_path: Path) -> None:
    """It says what it holds; a store that a daemon has made and nobody used is one."""
    here = made(f"sqlite:///{tmp_path / 'here.db'}")
    copy(here, url)
    fill(url, lambda table: 1 if table.name == "scopes" else 0)
    with pytest.raises(StoreNotEmpty, match=r"not empty \(1 scopes\)"):
        copy(here, url)
    with closing(Database(url)) as database, database.writing() as connection:
        connection.execute(text("DELETE FROM scopes"))
        connection.execute(text("UPDATE counters SET value = 4"))
    with pytest.raises(StoreNotEmpty, match="counted events"):
        copy(here, url)


def test_a_target_that_drops_rows_is_found(tmp_path: Path) -> None:
    """Nothing is kept of a copy that is not whole."""
    here = made(f"sqlite:///{tmp_path / 'here.db'}")
    fill(here)
    there = made(f"sqlite:///{tmp_path / 'there.db'}")
    with closing(Database(there)) as database, database.writing() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER drops BEFORE INSERT ON events WHEN NEW.sequence % 2 "
                "BEGIN SELECT RAISE(IGNORE); END"
            )
        )
        connection.execute(
            text("CREATE TRIGGER alone BEFORE INSERT ON deliveries BEGIN SELECT RAISE(IGNORE); END")
        )
    with pytest.raises(StoreUnavailable, match=r"events has 2 rows, 3 were copied"):
        copy(here, there)
    assert not any(rows for name, rows in content(there).items() if name != "counters")


def test_a_running_daemon_is_refused_on_either_side(tmp_path: Path) -> None:
    """Its pid is named, and nothing is made beside it."""
    here = made(f"sqlite:///{tmp_path / 'here.db'}")
    there = made(f"sqlite:///{tmp_path / 'there.db'}")
    for held in ("here.db", "there.db"):
        lock = FileLock(tmp_path / held).acquire()
        with pytest.raises(StoreInUse, match=rf"{held} is in use by a daemon \(pid \d+\)"):
            copy(here, there)
        lock.release()
    copy(here, there)


@pytest.mark.anyio
async def test_daemons_of_a_server_are_refused_as_long_as_they_live(
    cluster: Cluster, tmp_path: Path, clock: Clock
) -> None:
    """They are named; one that has stopped is not in the way."""
    name = await to_thread.run_sync(cluster.create)
    url = cluster.url(name)
    daemon = await opened(url, clock)
    target = f"sqlite:///{tmp_path / 'copy.db'}"
    with pytest.raises(StoreInUse, match=r"in use by daemons \(first\); stop them"):
        await to_thread.run_sync(copy, url, target)
    await daemon.store.shared.leave("first")
    await daemon.store.aclose()
    await to_thread.run_sync(copy, url, target)
    await to_thread.run_sync(cluster.drop, name)


def test_one_database_by_two_names_is_refused_at_once(cluster: Cluster) -> None:
    """A copy onto itself would wait for itself."""
    name = cluster.create()
    url = made(cluster.url(name))
    with pytest.raises(StoreUnavailable, match="could not obtain lock"):
        copy(url, f"{url}&application_name=x")
    cluster.drop(name)


def test_source_and_target_must_be_two_files(tmp_path: Path) -> None:
    """Also by two names."""
    here = made(f"sqlite:///{tmp_path / 'here.db'}")
    (tmp_path / "link.db").symlink_to("here.db")
    with pytest.raises(StoreNotEmpty, match="source and target"):
        copy(here, f"sqlite:///{tmp_path / 'link.db'}")


def test_other_schemas_are_refused(tmp_path: Path) -> None:
    """What is no store yet, and one of an older program, on either side; nothing is made."""
    absent, there = (f"sqlite:///{tmp_path / name}.db" for name in ("absent", "there"))
    with pytest.raises(StoreUnavailable, match=r"no store at .*absent\.db"):
        copy(absent, there)
    assert list(tmp_path.iterdir()) == []
    here, old = (made(f"sqlite:///{tmp_path / name}.db") for name in ("here", "old"))
    with closing(Database(old)) as database, database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": FIRST})
    for source, target in ((old, there), (here, old)):
        with pytest.raises(StoreUnavailable, match=rf"old\.db has schema {FIRST}, this .* {HEAD}"):
            copy(source, target)


def test_what_a_server_refuses_is_said_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    """A row that it cannot take, with the name of the target; nothing is kept."""
    here = made(f"sqlite:///{tmp_path / 'here.db'}")
    with closing(Database(here)) as database, database.writing() as connection:
        connection.execute(text("INSERT INTO scopes VALUES (1, 'a' || char(0), 'b')"))
    name = cluster.create()
    with pytest.raises(StoreUnavailable, match=rf"{name}.*(NUL|0x00)"):
        copy(here, cluster.url(name))
    with closing(Database(cluster.url(name))) as database:
        assert check_schema(database) == ""
    cluster.drop(name)
