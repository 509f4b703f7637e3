"""Opening a store: one daemon per SQLite file, several on PostgreSQL, and what a crash leaves."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from poller.store.errors import StoreInUse, StoreUnavailable
from poller.store.schema import scopes
from poller.store.store import Store
from tests.store.cluster import Cluster
from tests.store.conftest import OpenDaemon
from tests.store.scenes import HOME, Clock, Daemon, op, seen

pytestmark = pytest.mark.anyio

HOLDER = """
import sys, time
from datetime import UTC, datetime
import anyio
from poller.store.store import Store
from poller.tracking.watch import AccountScope

async def hold():
    scope = AccountScope(account="AC1", base_url="https://comms.example.com/v1")
    await Store.open(sys.argv[1], scope, now=lambda: datetime.now(UTC))
    print("open", flush=True)
    await anyio.sleep_forever()

anyio.run(hold)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process that has the store open as its daemon."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, f"sqlite:///{path}"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


def test_a_file_has_one_daemon_at_a_time(tmp_path: Path, clock: Clock) -> None:
    """The message names its pid and the command that hands it operations.

    After SIGKILL the next daemon opens the same file at once.
    """
    path = tmp_path / "poller.db"
    with holder(path) as process:
        with pytest.raises(StoreInUse) as refused:
            anyio.run(lambda: Store.open(f"sqlite:///{path}", HOME, now=clock))
        assert f"pid {process.pid})" in str(refused.value)
        assert "poller add" in str(refused.value)
        assert str(path) in str(refused.value)
        process.send_signal(signal.SIGKILL)
        process.wait()

    async def open_and_close() -> None:
        store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
        await store.aclose()

    anyio.run(open_and_close)
    assert (tmp_path / "poller.db.lock").read_text() == f"{os.getpid()}\n"


async def test_a_command_reads_and_writes_beside_the_daemon(
    daemon: Daemon, another: Daemon
) -> None:
    """What one has written the other sees."""
    await another.register(op(1))
    assert await daemon.claim() == [op(1)]


async def test_leases_found_at_start_are_void(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """On SQLite their holder is gone; on PostgreSQL it may be alive, and they run out."""
    await daemon.register(op(1), op(2))
    await daemon.observe(op(1), "PROCESSING")
    daemon.clock.advance(60)
    assert set(await daemon.claim()) == {op(1), op(2)}
    assert len(await daemon.deliveries()) == 1
    await daemon.store.aclose()
    successor = await open_daemon("successor")
    if daemon.on_postgresql:
        assert await successor.claim() == []
        assert await successor.deliveries() == []
        await successor.expire_leases()
    assert set(await successor.claim()) == {op(1), op(2)}
    assert len(await successor.deliveries()) == 1


async def test_an_owner_that_stops_gives_up_its_own_leases(daemon: Daemon, another: Daemon) -> None:
    """Operations and deliveries; what somebody else works on stays theirs."""
    await daemon.register(op(1), op(2), op(3))
    await daemon.record(*((op(number), seen(op(number), "SCHEDULED")) for number in (1, 2)))
    daemon.clock.advance(90)
    [mine] = await daemon.claim(limit=1)
    [theirs] = await another.claim(limit=1)
    [my_delivery] = await daemon.deliveries(limit=1)
    [their_delivery] = await another.deliveries(limit=1)
    await daemon.store.release_all(daemon.owner)
    assert set(await daemon.claim()) == {op(1), op(2), op(3)} - {theirs}
    assert [claim.position for claim in await daemon.deliveries()] == [my_delivery.position]
    assert mine != theirs
    assert my_delivery.position != their_delivery.position


async def test_daemons_that_start_at_once_share_a_new_database(
    cluster: Cluster, clock: Clock
) -> None:
    """One migrates, the others wait for it; all find the same scope."""
    name = cluster.create()
    stores: list[Store] = []

    async def start() -> None:
        stores.append(await Store.open(cluster.url(name), HOME, now=clock))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(start)
    assert len({store.scope.id for store in stores}) == 1
    assert await Daemon(stores[0], clock, "any").count(scopes) == 1
    for store in stores:
        await store.aclose()
    cluster.drop(name)


async def test_a_command_needs_a_store(tmp_path: Path, clock: Clock) -> None:
    """Beside a daemon nothing is made: a wrong path is reported, with the path."""
    path = tmp_path / "elsewhere.db"
    with pytest.raises(StoreUnavailable, match=r"elsewhere\.db.*poller run"):
        await Store.open(f"sqlite:///{path}", HOME, now=clock, as_daemon=False)
    assert not path.exists()


def test_a_new_file_is_its_owners_alone(tmp_path: Path, clock: Clock) -> None:
    """Labels and counters are nobody else's; a file that is there keeps its mode."""
    path = tmp_path / "poller.db"

    async def open_and_close() -> None:
        await (await Store.open(f"sqlite:///{path}", HOME, now=clock)).aclose()

    anyio.run(open_and_close)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    anyio.run(open_and_close)
    assert path.stat().st_mode & 0o777 == 0o640
