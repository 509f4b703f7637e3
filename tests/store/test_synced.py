"""Which commits wait for the disk: all but those that a crash may undo without harm."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, event

from poller.store.budgets import PermitRequest
from tests.store.scenes import Daemon, op

pytestmark = pytest.mark.anyio

PERMIT = PermitRequest(owner="first", in_flight=0, hurried=False, probe_seconds=1)
CALLS: dict[str, tuple[Callable[[Daemon], Awaitable[object]], bool]] = {
    "registration": (lambda daemon: daemon.register(op(1)), True),
    "answer": (lambda daemon: daemon.observe(op(2), "PROCESSING"), True),
    "delivery": (lambda daemon: daemon.deliveries(), True),
    # it shows as well that a registration could be committed
    "heartbeat": (lambda daemon: daemon.store.shared.beat("first", slots=0), True),
    "claim": (lambda daemon: daemon.claim(), False),
    "permits": (lambda daemon: daemon.store.shared.lease_permits(PERMIT), False),
    "retention": (lambda daemon: daemon.store.retention.prune(retention_seconds=60), False),
}


@contextmanager
def waits(daemon: Daemon) -> Iterator[list[bool]]:
    """Collect, for each commit, whether it waits for the disk."""
    found: list[bool] = []

    def note(connection: Connection) -> None:
        if daemon.on_postgresql:
            # the server of the tests never waits, and says so on its command line
            query = "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"
            found.append(connection.exec_driver_sql(query).scalar_one() != "session")
        else:
            found.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2)

    engine = daemon.store._database.engine
    event.listen(engine, "commit", note)
    yield found
    event.remove(engine, "commit", note)


@pytest.mark.parametrize("name", CALLS)
async def test_a_commit_waits_for_the_disk(daemon: Daemon, name: str) -> None:
    """Whatever the transaction before it, on the same connection, has set."""
    call, does_wait = CALLS[name]
    await daemon.register(op(2))
    await daemon.claim()
    with waits(daemon) as found:
        await call(daemon)
        await daemon.register(op(3))
    assert found[-1] is True
    assert found[-2] is does_wait
