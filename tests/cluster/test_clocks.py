"""Two daemons on one database whose machines differ by minutes in what time it is.

What they compare is read against the database's clock, so none of it is early, late or void.
"""

from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import anyio
import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

import poller
from poller.tracking.watch import AccountScope
from tests.cluster.embedded import AskewDatetime, embedded, meet, paused, until
from tests.fakes.api import FakeApi, Reply, operation, operation_id
from tests.fakes.receiver import Answer, Receiver
from tests.oracle import check_promises
from tests.store.cluster import Cluster

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Logs = list[MutableMapping[str, Any]]

MINUTES: Final = 7
IDS: Final = [operation_id(number) for number in range(6)]
RETENTION: Final = 60.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run the receiver of the webhook that both have."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Collect what both log."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def daemons(
    cluster: Cluster,
    api: FakeApi,
    receiver: Receiver,
    logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[poller.Poller, poller.Poller]]:
    """Run one whose clock is ahead and one whose clock is behind."""
    monkeypatch.setattr("poller.clock.datetime", AskewDatetime)
    name = cluster.create()
    sinks = {"app": {"type": "webhook", "url": receiver.url}}
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                embedded(cluster.url(name), api, ahead=timedelta(minutes=minutes), sinks=sinks)
            )
            for minutes in (MINUTES, -MINUTES)
        ]
        await meet(first, second)
        yield first, second
    cluster.drop(name)
    assert [line for line in logs if line["event"] == "clock.went_back"] == []


async def test_polls_and_pauses(daemons: tuple[poller.Poller, poller.Poller], api: FakeApi) -> None:
    """Each operation is polled each second by one of them, and a pause lasts as long as asked."""
    first, second = daemons
    for one in IDS:
        api.script(one, [operation(one, "PROCESSING", total=9, queued=9)])
        await first.watch(one)
    await until(lambda: all(api.count(one) for one in IDS))
    before = len(api.times)
    await anyio.sleep(4)
    assert 3 * len(IDS) <= len(api.times) - before <= 5 * len(IDS)
    api.override = Reply(status=429, headers={"Retry-After": "3"})
    await until(lambda: paused(first) and paused(second))
    api.override = None
    asked = len(api.times)
    refused_at = api.times[-1]
    await until(lambda: len(api.times) > asked)
    assert 2.9 < api.times[asked] - refused_at < 4.5
    for one in IDS:
        api.script(one, [operation(one, "COMPLETED", updated=9, total=9, delivered=9)])
    for one in IDS:
        await second.wait(one, timeout=15)


async def test_deliveries_and_retention(
    daemons: tuple[poller.Poller, poller.Poller], api: FakeApi, receiver: Receiver
) -> None:
    """A retry comes after its wait, and nothing is removed before its time, nor much later."""
    first, second = daemons
    receiver.answer_next(*[Answer(status=503)] * 2)
    one = IDS[0]
    api.script(one, [operation(one, "COMPLETED", total=9, delivered=9)])
    await first.watch(one)
    await until(lambda: len(receiver.received) == 3)
    waits = [after.at - before.at for before, after in pairwise(receiver.received)]
    assert all(0.9 < wait < 6 for wait in waits)
    check_promises(receiver.events)
    await until(lambda: receiver.received[-1].accepted)
    await anyio.sleep(1)  # until that is recorded
    for daemon in daemons:
        assert await pruned(daemon) == 0
    await first._store._write(age)
    assert await pruned(second) == 1


async def pruned(daemon: poller.Poller) -> int:
    """Let a daemon remove what is over; returns of how many operations."""
    return (await daemon._store.retention.prune(retention_seconds=RETENTION)).operations


def age(connection: Connection, _scope: AccountScope) -> None:
    """Let all that has ended have ended a minute before."""
    for statement in (
        "UPDATE watches SET ended_at = ended_at - 60000000",
        "UPDATE deliveries SET done_at = done_at - 60000000",
    ):
        connection.execute(text(statement))
