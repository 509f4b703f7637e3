"""A store that cannot be used says why in one sentence, and loses nothing over it."""

import errno
import os
import shutil
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from sqlalchemy import event

from poller.store.errors import StoreUnavailable
from poller.store.schema import metadata, watches
from poller.store.sqlite import check_file
from poller.store.store import Store
from tests.store.cluster import Cluster
from tests.store.scenes import HOME, Clock, Daemon, op

pytestmark = pytest.mark.anyio


async def refusal(url: str, clock: Clock) -> str:
    """Try to open a store that cannot be opened; what is said."""
    with pytest.raises(StoreUnavailable) as refused:
        await Store.open(url, HOME, now=clock)
    said = str(refused.value)
    assert said.startswith("store.url: ")
    assert "\n" not in said
    return said


async def test_a_directory_that_is_not_there(tmp_path: Path, clock: Clock) -> None:
    """The path is named, and what to choose instead."""
    said = await refusal(f"sqlite:///{tmp_path}/no/such/poller.db", clock)
    assert f"{tmp_path}/no/such/poller.db" in said
    assert "choose a directory" in said


async def test_a_path_that_is_a_directory(tmp_path: Path, clock: Clock) -> None:
    """A directory is no file, whatever its name."""
    (tmp_path / "poller.db").mkdir()
    assert "poller.db" in await refusal(f"sqlite:///{tmp_path}/poller.db", clock)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_the_right_to_write(tmp_path: Path, clock: Clock) -> None:
    """The remedy is named."""
    tmp_path.chmod(0o500)
    said = anyio.run(refusal, f"sqlite:///{tmp_path}/poller.db", clock)
    tmp_path.chmod(0o700)
    assert "that this user can write to" in said


@pytest.mark.parametrize(
    "content", [b"[store]\nurl = 'sqlite:///poller.db'\n" * 100, b"\0" * 8192, b"short"],
    ids=["text", "zeros", "short"],
)  # fmt: skip
async def test_a_file_that_is_no_database(tmp_path: Path, clock: Clock, content: bytes) -> None:
    """It is left as it is."""
    path = tmp_path / "poller.db"
    path.write_bytes(content)
    said = await refusal(f"sqlite:///{path}", clock)
    assert "file is not a database" in said
    assert path.read_bytes() == content


async def test_a_damaged_file(tmp_path: Path, clock: Clock) -> None:
    """The header is good, the pages are not."""
    path = tmp_path / "poller.db"
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    await Daemon(store, clock, "first").register(*(op(number) for number in range(500)))
    await store.aclose()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * (path.stat().st_size - 100))
    said = await refusal(f"sqlite:///{path}", clock)
    assert "malformed" in said
    assert "restore the copy" in said


async def test_a_full_disk_keeps_what_was_acknowledged(
    migrated_file: Path, tmp_path: Path, clock: Clock
) -> None:
    """What cannot be written is refused with the reason; once there is room again, it goes on."""
    path = shutil.copy(migrated_file, tmp_path)
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await daemon.register(op(1))
    engine = store._database.engine

    def fill(connection: sqlite3.Connection, *_: object) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA max_page_count = 1")

    event.listen(engine, "checkout", fill)
    with pytest.raises(StoreUnavailable, match="full; free some space"):
        await daemon.register(*(op(number) for number in range(2, 500)))
    assert await daemon.count(watches) == 1
    event.remove(engine, "checkout", fill)
    engine.dispose()
    assert all(result.is_new for result in await daemon.register(op(2), op(3)))
    await store.aclose()


async def test_a_file_that_somebody_else_holds(
    migrated_file: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that left a transaction open: the message says what to end."""
    monkeypatch.setattr("poller.store.sqlite._BUSY", 0.01)
    path = shutil.copy(migrated_file, tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        said = await refusal(f"sqlite:///{path}", clock)
    assert "another process holds it" in said
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    await store.aclose()


async def test_a_failed_start_lets_go_of_the_file(
    migrated_file: Path, tmp_path: Path, clock: Clock
) -> None:
    """Whatever was wrong can be repaired and tried again in the same process."""
    path = tmp_path / "poller.db"
    path.write_bytes(b"this is no database" * 1000)
    await refusal(f"sqlite:///{path}", clock)
    shutil.copy(migrated_file, path)
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    await store.aclose()


async def test_a_server_that_is_not_there_is_reported_without_the_password(clock: Clock) -> None:
    """Neither in the message nor in the traceback."""
    url = "postgresql://poller:open-sesame@127.0.0.1:1/poller?password=open-sesame"
    with pytest.raises(StoreUnavailable) as refused:
        await Store.open(url, HOME, now=clock)
    assert "127.0.0.1:1" in str(refused.value)
    assert "open-sesame" not in "".join(traceback.format_exception(refused.value))


async def test_a_connection_that_was_cut_is_made_anew(cluster: Cluster, clock: Clock) -> None:
    """The server was restarted: the next transaction finds it."""
    name = cluster.create()
    store = await Store.open(cluster.url(name), HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await daemon.register(op(1))
    cluster.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    )
    assert [result.is_new for result in await daemon.register(op(1), op(2))] == [False, True]
    await store.aclose()
    cluster.drop(name)


@pytest.mark.parametrize("happened", ["deleted", "replaced"])
async def test_a_file_that_is_gone_while_it_is_used(
    migrated_file: Path, tmp_path: Path, clock: Clock, happened: str
) -> None:
    """Nothing is acknowledged that would be lost with the process; put back, it goes on."""
    path = Path(shutil.copy(migrated_file, tmp_path))
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await daemon.register(op(1))
    shutil.move(path, tmp_path / "kept.db")
    if happened == "replaced":
        shutil.copy(migrated_file, path)
    with pytest.raises(StoreUnavailable, match=f"was {happened} while") as refused:
        await daemon.register(op(2))
    assert "put the file back" in str(refused.value)
    with pytest.raises(StoreUnavailable, match=f"was {happened} while"):
        await store.prove_writable()
    shutil.move(tmp_path / "kept.db", path)
    assert [one.is_new for one in await daemon.register(op(1), op(2))] == [False, True]
    await store.aclose()


async def test_a_file_that_cannot_grow_is_not_writable(
    migrated_file: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row can still be rewritten in place, but no registration be acknowledged."""
    path = shutil.copy(migrated_file, tmp_path)
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    await store.prove_writable()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StoreUnavailable, match="cannot grow: No space left on device; free"):
            await store.prove_writable()
    await store.prove_writable()
    await store.aclose()


async def test_a_write_that_found_no_room_counts_for_a_while(
    migrated_file: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may be bounded by more than the disk: what failed just now is the proof."""
    path = shutil.copy(migrated_file, tmp_path)
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    daemon = Daemon(store, clock, "first")

    def refuse(_connection: object, _scope: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    with pytest.raises(StoreUnavailable, match="free some space"):
        await store._write(refuse)
    with pytest.raises(StoreUnavailable, match="free some space"):
        await store.prove_writable()
    monkeypatch.setattr("poller.store.database._REFUSAL_COUNTS", 0.0)
    await store.prove_writable()
    await daemon.register(op(1))
    await store.aclose()


async def test_damaged_pages_are_found_while_the_file_is_used(
    migrated_file: Path, tmp_path: Path, clock: Clock
) -> None:
    """One of the tables that are read in turn shows it; a good file shows nothing."""
    path = Path(shutil.copy(migrated_file, tmp_path))
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await daemon.register(*(op(number) for number in range(300)))
    turns = range(len(metadata.tables))
    found = [await store.check_file(turn) for turn in turns]
    assert all(one is not None and one.damage is None and one.log_bytes > 0 for one in found)
    await store.aclose()
    await anyio.to_thread.run_sync(_damage, path)
    checks = [await anyio.to_thread.run_sync(check_file, path, table) for table in metadata.tables]
    assert any(one.damage for one in checks)


def _damage(path: Path) -> None:
    """Overwrite pages in the middle of the file."""
    content = bytearray(path.read_bytes())
    content[40 * 4096 : 60 * 4096] = b"\xa5" * 4096 * 20
    path.write_bytes(content)
