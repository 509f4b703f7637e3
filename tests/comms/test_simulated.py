"""The client against the simulator, over a real socket: both know the same kinds and documents."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.kinds import KINDS, KindSpec
from poller.simulator import Scenario, SimulatorConfig, World, serve
from tests.comms.scripted import NOW, Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(clock: Clock) -> World:
    """Return what is simulated."""
    return World(SimulatorConfig(seed=3), clock=clock)


@pytest.fixture
async def client(world: World, clock: Clock) -> AsyncIterator[CommsClient]:
    """Ask the simulator."""
    config = world.config
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(lambda **options: serve(config, world=world, **options))
        password = SecretStr(config.auth_token)
        async with CommsClient(
            base_url=url,
            credentials=Credentials(username=config.account_sid, password=password),
            timeout=30.0,
            max_connections=2,
            now=clock,
        ) as client:
            yield client
        tasks.cancel_scope.cancel()


async def pages(ask: Callable[[str | None], Awaitable[Any]]) -> list[Any]:
    """Return all pages."""
    found = [await ask(None)]
    while found[-1].next_token is not None:
        found.append(await ask(found[-1].next_token))
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
async def test_what_failed_is_read_exactly(
    client: CommsClient, world: World, clock: Clock, kind: KindSpec
) -> None:
    """Errors and failed messages of 1,000, in a few pages, and all counters that the kind has."""
    sent = world.send(recipients=1000, fate="failing", kind=kind.name)
    clock.advance(3600)
    truth = world.expected(sent.id)
    operation = await client.fetch_operation(kind, sent.id)
    assert set(operation.counters) <= kind.counters
    assert sum(operation.counters.get(name, 0) for name in kind.unsuccessful) == 70
    errors = await pages(
        lambda token: client.list_errors(kind, sent.id, page_token=token, page_size=30)
    )
    assert len(errors) == 3
    codes = Counter(error["code"] for page in errors for error in page.errors)
    assert codes == truth.codes
    listed: list[str] = []
    for status in kind.failed_statuses:
        found = await pages(
            lambda token, status=status: client.list_messages(  # type: ignore[misc]  # bound now
                kind, operation_id=sent.id, status=status, page_token=token
            )
        )
        messages = [message for page in found for message in page.messages]
        assert not any(page.problems for page in found)
        assert len(messages) == truth.statuses[status]
        assert all(message.status == status and not message.counters for message in messages)
        listed += [message.id for message in messages]
    if kind.items:
        failed = {context for contexts in truth.contexts.values() for context in contexts}
        assert set(listed) == failed
        assert all(each.startswith(kind.item_prefixes) for each in listed)


async def test_the_tables_of_kinds_agree() -> None:
    """The simulator serves every kind, where and under the names that the client asks for."""
    for kind in KINDS.values():
        served = World(SimulatorConfig()).send(recipients=1, kind=kind.name).kind
        assert served.path == kind.path
        assert served.items in (kind.items or (None,))
        assert set(served.counters) <= kind.counters


async def test_a_message_is_followed_to_its_end(
    client: CommsClient, world: World, clock: Clock
) -> None:
    """Scheduled, then RCS, then the SMS in its place, then delivered."""
    later = NOW + timedelta(seconds=60)
    fate = Scenario(fallback=1.0, seconds=1.0)
    sent = world.send(recipients=1, fate=fate, scheduled_for=later)
    page = await client.list_messages(KINDS["messages"], operation_id=sent.id)
    (item,) = page.messages
    seen = []
    for seconds in (0, 60, 2, 2, 6):
        clock.advance(seconds)
        message = await client.fetch_message(item.id)
        assert message.scheduled_for == later
        seen.append((message.status, dict(message.counters)))
    assert seen == [
        ("SCHEDULED", {"attempts": 0}),
        ("QUEUED", {"attempts": 0}),
        ("SENT", {"attempts": 1, "sent": 1}),
        ("SENT", {"attempts": 2, "failed": 1, "sent": 1}),
        ("DELIVERED", {"attempts": 2, "failed": 1, "delivered": 1}),
    ]


async def test_a_group_is_distinguished_by_its_receipts(
    client: CommsClient, world: World, clock: Clock
) -> None:
    """As many statuses as recipients, page by page; what comes in has its own status."""
    world.send(recipients=10, fate=Scenario(read=0.5), group=10)
    clock.advance(600)
    (message,) = (await client.list_messages(KINDS["messages"], status="GROUP")).messages
    found = await pages(
        lambda token: client.list_receipts(message.id, page_token=token, page_size=4)
    )
    assert [len(page.statuses) for page in found] == [4, 4, 2]
    statuses = {status for page in found for status in page.statuses}
    assert statuses <= {"DELIVERED", "READ"}
    assert (await client.fetch_message(world.receive())).status == "INBOUND"
