"""Migrations: from nothing, from an older schema after a copy, never from a newer one."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from anyio import to_thread
from sqlalchemy import inspect, text

from poller import __version__
from poller.store import migrations
from poller.store.database import Database
from poller.store.errors import StoreTooNew, StoreTooOld, StoreUnavailable
from poller.store.migrate import check_schema, inspect_store, migrate
from poller.store.migrations import FIRST, HEAD
from poller.store.schema import metadata
from poller.store.store import Store
from tests.store.cluster import Cluster
from tests.store.scenes import HOME, Clock, Daemon, op, seen

pytestmark = pytest.mark.anyio

MESSAGE = "comms_message_01h9krwprkeee8fzqspvwy6nq8"
SCRIPTS = Path(migrations.__file__).parent
NEXT = "9999"
REVISION = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("novelties", sa.Column("id", sa.Integer(), primary_key=True))
    with op.batch_alter_table("watches") as watches:
        watches.add_column(sa.Column("novelty", sa.Text()))
"""


Upgrade = Callable[[str], None]


@pytest.fixture
def upgrade_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    """Let the program know one more revision from now on, of this text."""

    def upgrade(revision: str) -> None:
        scripts = tmp_path / "migrations"
        shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (scripts / "versions" / "9999_novelties.py").write_text(revision)
        monkeypatch.setattr("poller.store.migrate._SCRIPTS", scripts)
        for module in ("migrate", "opening"):
            monkeypatch.setattr(f"poller.store.{module}.HEAD", NEXT)

    return upgrade


async def revision_of(url: str) -> str:
    """Return the revision of a store, whatever this program knows."""

    def read() -> str:
        database = Database(url)
        with database.reading() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version"))
            revision = str(found.scalar_one())
        database.close()
        return revision

    return await to_thread.run_sync(read)


def run(url: str, *statements: str) -> None:
    """Run statements in a store of any revision."""
    database = Database(url)
    with database.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))
    database.close()


async def pretend(url: str, revision: str) -> None:
    """Let a store be of another revision."""
    forget, know = "DELETE FROM alembic_version", "INSERT INTO alembic_version VALUES ('{}')"
    await to_thread.run_sync(run, url, forget, know.format(revision))


def copies_in(directory: Path) -> list[Path]:
    """List the copies that were made before a migration."""
    return list(directory.glob("*.before-*"))


async def open_and_close(url: str, clock: Clock, *, as_daemon: bool = True) -> str | None:
    """Open a store; what it was migrated from."""
    store = await Store.open(url, HOME, now=clock, as_daemon=as_daemon)
    await store.aclose()
    return store.migrated_from


def test_the_constants_are_the_oldest_and_the_newest_revision() -> None:
    """A start on a current store relies on them and does not import Alembic."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert (scripts.get_base(), scripts.get_current_head()) == (FIRST, HEAD)


def test_revisions_sort_in_their_order() -> None:
    """Newer is distinguished from older by comparing names."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    newest_first = [
        script.revision for script in ScriptDirectory.from_config(config).walk_revisions()
    ]
    assert newest_first == sorted(newest_first, reverse=True)


async def test_a_new_store_is_made_by_the_first_daemon(tmp_path: Path, clock: Clock) -> None:
    """From nothing, without a copy of nothing; the next start has nothing to do."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    assert await open_and_close(url, clock) == ""
    assert await open_and_close(url, clock) is None
    assert await revision_of(url) == HEAD
    assert not copies_in(tmp_path)


async def test_a_new_file_can_shrink(tmp_path: Path, clock: Clock) -> None:
    """The file is made so that retention can give pages back, and for readers beside a writer."""
    path = tmp_path / "new.db"
    await open_and_close(f"sqlite:///{path}", clock)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_an_older_store_is_migrated_with_all_that_it_holds(
    daemon: Daemon, url: str, clock: Clock, upgrade_program: Upgrade
) -> None:
    """The rows are what they were, and the store is current afterwards."""
    await daemon.run_through(op(1))
    before = {table.name: await daemon.rows(table) for table in metadata.sorted_tables}
    await daemon.store.aclose()
    upgrade_program(REVISION)
    store = await Store.open(url, HOME, now=clock)
    again = Daemon(store, clock, "again")
    assert store.migrated_from == HEAD
    assert {table.name: await again.rows(table) for table in metadata.sorted_tables} == before
    assert len(await again.drain()) == 3
    await store.aclose()
    assert await revision_of(url) == NEXT
    if again.on_postgresql:
        # the database is that of all tests
        undo = ("DROP TABLE novelties", "ALTER TABLE watches DROP COLUMN novelty")
        await to_thread.run_sync(run, url, *undo)
        await pretend(url, HEAD)


BEFORE_TRACE = (
    "ALTER TABLE watches DROP COLUMN traceparent",
    "ALTER TABLE watches DROP COLUMN tracestate",
)
"""Makes a store one of revision 0104."""

BEFORE_RECIPIENTS = (
    *BEFORE_TRACE,
    "DROP INDEX ix_watches_failures",
    "DROP INDEX ix_watches_newest_failures",
    "DROP INDEX ix_watches_over",
    "CREATE INDEX ix_watches_over ON watches (is_stub, ended_at, id) WHERE due_at IS NULL",
    *(
        f"ALTER TABLE watches DROP COLUMN {name}"
        for name in ("recipients", "recipients_done", "recipients_failed")
    ),
    *(
        f"ALTER TABLE groups DROP COLUMN {name}"
        for name in ("recipients", "recipients_failed", "looks")
    ),
    "ALTER TABLE groups RENAME COLUMN recipients_done TO finished",
)
"""Makes a store one of revision 0103."""


async def test_recipients_are_counted_in_an_older_store(
    daemon: Daemon, url: str, clock: Clock
) -> None:
    """Of what is watched, ended, pruned or a message, and of groups, ended or not."""
    stats = {"total": 9, "delivered": 6, "failed": 2}
    await daemon.run_through(op(1))
    await daemon.register(op(2), op(3), op(4), MESSAGE)
    for name, group in ((op(2), "open"), (MESSAGE, "open"), (op(3), "over")):
        await daemon.join(group, name)
    await daemon.record((op(2), seen(op(2), stats=stats)))
    await daemon.record((op(3), seen(op(3), "COMPLETED", stats=stats)))
    await daemon.seal("over")
    tables = [metadata.tables[name] for name in ("watches", "groups")]
    before = {table.name: await daemon.rows(table) for table in tables}
    for rows in before.values():
        assert sum(row["recipients_failed"] for row in rows) == 4
    await daemon.store.aclose()
    await to_thread.run_sync(run, url, *BEFORE_RECIPIENTS)
    await pretend(url, "0103_hints")
    store = await Store.open(url, HOME, now=clock)
    assert store.migrated_from == "0103_hints"
    after = Daemon(store, clock, daemon.owner)
    found = {table.name: await after.rows(table) for table in tables}
    for row in before["groups"]:
        row["looks"] = []  # made by what happens from then on
    assert found == before
    await store.aclose()


async def test_what_an_older_store_watches_belongs_to_no_trace(
    daemon: Daemon, url: str, clock: Clock
) -> None:
    """It is watched on, and may be given one."""
    await daemon.run_through(op(1))
    await daemon.register(op(2))
    before = await daemon.rows(metadata.tables["watches"])
    await daemon.store.aclose()
    await to_thread.run_sync(run, url, *BEFORE_TRACE)
    await pretend(url, "0104_recipients")
    store = await Store.open(url, HOME, now=clock)
    assert store.migrated_from == "0104_recipients"
    assert await Daemon(store, clock, daemon.owner).rows(metadata.tables["watches"]) == before
    await store.aclose()


async def test_a_file_is_copied_before_it_is_migrated(
    migrated_file: Path, tmp_path: Path, clock: Clock, upgrade_program: Upgrade
) -> None:
    """Beside it, named after the revision that it was made for, and usable by the old program."""
    path = Path(shutil.copy(migrated_file, tmp_path / "poller.db"))
    upgrade_program(REVISION)
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    await store.aclose()
    copy = tmp_path / f"poller.db.before-{NEXT}"
    assert await revision_of(f"sqlite:///{copy}") == HEAD
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


OLD_ROWS = (
    "INSERT INTO scopes (id, account, base_url) VALUES (7, 'AC9', 'https://old.example.com/v1')",
    """INSERT INTO watches (id, scope_id, kind, labels, registered_at, phase, counters, looks,
        emitted_counters, sequence, emitted_attempts, not_found, rejected, next_request, wait,
        set_at, is_stub)
    VALUES ('comms_operation_old', 7, 'messages', '{}', 1, 'ended', '{}', '[]', '{}', 1, '[]', 0, 0,
        'operation', 0, 1, FALSE)""",
    """INSERT INTO events (position, id, scope_id, watch_id, sequence, type, final,
        recorded_at, body)
    VALUES (1, 'one', 7, 'comms_operation_old', 1, 'operation.completed', TRUE, 1, '{}')""",
    """INSERT INTO deliveries (scope_id, sink, position, watch_id, state, attempts, fresh_at,
        due_at, set_at)
    VALUES (7, 'app', 1, 'comms_operation_old', 'waiting', 0, 1, 1, 1)""",
)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_of_the_first_release_keeps_what_waits(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """All revisions one after the other, over rows that refer to each other."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if kind == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.url(cluster.create())
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, FIRST)
        for statement in OLD_ROWS:
            connection.execute(text(statement))
    assert migrate(database) == FIRST
    with database.reading() as connection:
        joined = "SELECT d.subject, d.sink, e.type, e.subject FROM deliveries d JOIN events e"
        found = connection.execute(text(f"{joined} ON e.position = d.position")).all()
        names = set(inspect(connection).get_table_names())
    assert [tuple(row) for row in found] == [
        ("comms_operation_old", "app", "operation.completed", "comms_operation_old")
    ]
    assert names == {*metadata.tables, "alembic_version"}
    database.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    url: str, upgrade_program: Upgrade
) -> None:
    """All of it is one transaction, on SQLite too."""
    upgrade_program(REVISION + "    raise RuntimeError('power cut')\n")
    database = Database(url)
    with pytest.raises(RuntimeError, match="power cut"):
        migrate(database)
    assert check_schema(database) == HEAD
    with database.reading() as connection:
        assert not inspect(connection).has_table("novelties")
        columns = {column["name"] for column in inspect(connection).get_columns("watches")}
    assert "novelty" not in columns
    database.close()


async def test_a_newer_store_is_refused(url: str, clock: Clock) -> None:
    """By the daemon and beside it, naming both schemas, the program and the way out."""
    await pretend(url, NEXT)
    for as_daemon in (True, False):
        with pytest.raises(StoreTooNew) as refused:
            await open_and_close(url, clock, as_daemon=as_daemon)
        for word in (NEXT, HEAD, __version__):
            assert word in str(refused.value)
    await pretend(url, HEAD)


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
async def test_a_store_of_before_the_first_release_is_refused(
    migrated_file: Path, tmp_path: Path, clock: Clock, revision: str
) -> None:
    """By the daemon, beside it and by `check`, which change nothing and say what to do."""
    path = Path(shutil.copy(migrated_file, tmp_path / "poller.db"))
    url = f"sqlite:///{path}"
    await pretend(url, revision)
    for as_daemon in (True, False):
        with pytest.raises(StoreTooOld, match=rf"schema {revision}.*move this one away") as refused:
            await open_and_close(url, clock, as_daemon=as_daemon)
        assert refused.value.needs_change
    with pytest.raises(StoreTooOld, match=revision):
        await to_thread.run_sync(inspect_store, url)
    assert await revision_of(url) == revision
    assert not copies_in(tmp_path)


async def test_only_the_daemon_migrates(url: str, clock: Clock, upgrade_program: Upgrade) -> None:
    """A command beside it says who does."""
    upgrade_program(REVISION)
    with pytest.raises(StoreUnavailable, match="poller run"):
        await open_and_close(url, clock, as_daemon=False)
    assert await revision_of(url) == HEAD


async def test_a_file_that_cannot_be_copied_is_not_migrated(
    migrated_file: Path, tmp_path: Path, clock: Clock, upgrade_program: Upgrade
) -> None:
    """No copy, no migration: the message names both files."""
    path = Path(shutil.copy(migrated_file, tmp_path / "poller.db"))
    upgrade_program(REVISION)
    (tmp_path / f"poller.db.before-{NEXT}").mkdir()
    with pytest.raises(StoreUnavailable, match=rf"poller\.db.*before-{NEXT}"):
        await open_and_close(f"sqlite:///{path}", clock)
    assert await revision_of(f"sqlite:///{path}") == HEAD
