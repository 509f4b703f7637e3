"""The scratch daemon against a scripted API on a real socket: news until all have ended."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta

import anyio
import pytest
from pydantic import SecretStr

from poller.cli.watch.news import News, Trouble, Update
from poller.cli.watch.scratch import ScratchDaemon
from poller.clock import wall_clock
from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.engine.configuration import Configuration
from poller.tracking.event import EmittedEvent
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, Outcome, Watch
from tests.fakes.api import ACCOUNT, TOKEN, FakeApi, Reply, envelope, operation, operation_id

pytestmark = pytest.mark.anyio

A, B, C = (operation_id(number) for number in range(1, 4))
GOOD = Credentials(username=ACCOUNT, password=SecretStr(TOKEN))
BAD = Credentials(username=ACCOUNT, password=SecretStr("revoked"))
QUICK = Policy(min_interval=0.01, max_interval=0.05, progress_interval=0.0, not_found_grace=0.05)

Look = Callable[..., ScratchDaemon]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


@pytest.fixture
async def look(api: FakeApi) -> AsyncIterator[Look]:
    """Make daemons of operations at the scripted API."""
    clients = []

    def make(
        *ids: str,
        kind: str = "messages",
        policy: Policy = QUICK,
        sweep: bool = True,
        credentials: Credentials = GOOD,
        renewed: Callable[[], Credentials] = lambda: GOOD,
        base_url: str = api.base_url,
    ) -> ScratchDaemon:
        client = CommsClient(
            base_url=base_url,
            credentials=credentials,
            timeout=5.0,
            max_connections=4,
            now=wall_clock,
        )
        clients.append(client)
        daemon = ScratchDaemon(
            client=client,
            configuration=Configuration(
                scope=AccountScope(account=ACCOUNT, base_url=base_url),
                policy=policy,
                credentials=renewed,
                sinks=(),
                retention=3600.0,
                shutdown_grace=1.0,
                request_timeout=5.0,
                requests_per_second=1000,
                sweep=sweep,
            ),
            now=wall_clock,
        )
        daemon.take([watch(name, kind=kind, base_url=base_url) for name in ids])
        daemon.finish()
        return daemon

    yield make
    for client in clients:
        await client.aclose()


def watch(name: str, *, kind: str, base_url: str) -> Watch:
    """Begin to watch."""
    registration = Registration(id=name, kind=kind, labels={"campaign": "autumn"})
    scope = AccountScope(account=ACCOUNT, base_url=base_url)
    return register(None, registration, scope=scope, now=wall_clock())[0]


async def all_news(daemon: ScratchDaemon) -> list[News]:
    """Return everything that a daemon reports."""
    send, receive = anyio.create_memory_object_stream[News](10)
    news: list[News] = []
    async with receive, anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, send)
        with anyio.fail_after(20):
            news.extend([item async for item in receive])
    return news


def events_of(news: Sequence[News]) -> dict[str, list[EmittedEvent]]:
    """Return the events among the news by operation."""
    events = defaultdict(list)
    for item in news:
        for event in item.events if isinstance(item, Update) else ():
            events[event.subject].append(event)
    return events


def types_of(events: Sequence[EmittedEvent]) -> list[str]:
    """Return the types of events."""
    return [event.type.value for event in events]


def troubles_of(news: Sequence[News]) -> list[str | None]:
    """Return how each trouble among the news begins, None for its end."""
    return [
        None if item is None else item.what.split(" (")[0].split(":")[0]
        for item in news
        if item is None or isinstance(item, Trouble)
    ]


async def test_it_reports_every_operation_to_its_end(api: FakeApi, look: Look) -> None:
    """The same events as a daemon's, in order, with ids of their own; then the stream ends."""
    for name, end in ((A, "COMPLETED"), (B, "CANCELED"), (C, "COMPLETED")):
        api.script(
            name,
            [
                operation(name, "SCHEDULED", total=10, scheduled=10),
                operation(name, "PROCESSING", updated=1, total=10, queued=10),
                operation(name, "PROCESSING", updated=2, total=10, delivered=5, queued=5),
                operation(name, end, updated=3, total=10, delivered=10),
            ],
        )
    # one request for each answer of the script
    news = await all_news(look(A, B, C, sweep=False))
    events = events_of(news)
    assert events.keys() == {A, B, C}
    for name, own in events.items():
        assert [event.sequence for event in own] == [1, 2, 3, 4]
        assert [event.final for event in own] == [False, False, False, True]
        assert sum(event.data["delta"].get("delivered", 0) for event in own) == 10
        assert own[-1].labels == {"campaign": "autumn"}
        assert api.count(name) == 4
    assert len({event.id for own in events.values() for event in own}) == 12
    last = {item.watch.id: item.watch for item in news if isinstance(item, Update)}
    assert {name: last[name].outcome for name in last} == {
        A: Outcome.COMPLETED,
        B: Outcome.CANCELED,
        C: Outcome.COMPLETED,
    }
    assert troubles_of(news) == []


async def test_each_look_is_reported_even_where_no_event_comes_of_it(
    api: FakeApi, look: Look
) -> None:
    """Bars move with every look, whatever `progress_interval` holds back."""
    api.script(
        A,
        [
            *(operation(A, "PROCESSING", total=9, delivered=count) for count in range(5)),
            operation(A, "COMPLETED", total=9, delivered=9),
        ],
    )
    slow = Policy(min_interval=0.01, max_interval=0.05, progress_interval=3600.0)
    news = await all_news(look(A, policy=slow))
    seen = [item.watch.counters["delivered"] for item in news if isinstance(item, Update)]
    assert seen == [0, 1, 2, 3, 4, 9]
    # the first progress has nothing to wait for
    assert len(events_of(news)[A]) == 3


async def test_settling_is_watched_to_its_end(api: FakeApi, look: Look) -> None:
    """With `settle`, the end is `operation.settled`."""
    api.script(
        A,
        [
            operation(A, "COMPLETED", total=2, sent=2),
            operation(A, "COMPLETED", updated=1, total=2, delivered=2),
        ],
    )
    settling = Policy(min_interval=0.01, max_interval=0.02, progress_interval=0.0, settle=60.0)
    events = events_of(await all_news(look(A, policy=settling)))[A]
    assert [event.type.value for event in events] == [
        "operation.completed",
        "operation.settled",
    ]


async def test_what_does_not_exist_is_lost(api: FakeApi, look: Look) -> None:
    """Three 404s over the grace end a watch; that is no trouble with the API."""
    news = await all_news(look(A))
    (event,) = events_of(news)[A]
    assert event.data["reason"] == "not_found"
    assert api.count(A) >= 3
    assert troubles_of(news) == []


async def test_refused_credentials_end_it_before_any_good_answer(look: Look) -> None:
    """The last of the news is a fatal trouble, in words without the secret."""
    news = await all_news(look(A, B, credentials=BAD))
    last = [item for item in news if isinstance(item, Trouble)][-1]
    assert last.fatal
    assert "401" in last.what
    assert "revoked" not in last.what


async def test_a_refusal_after_a_good_answer_is_waited_out(api: FakeApi, look: Look) -> None:
    """A 401 in mid-run pauses; the credentials are read afresh before the probe."""
    api.script(
        A,
        [
            operation(A, "PROCESSING", total=1),
            Reply(status=401, body=envelope(20003, "Authenticate")),
            operation(A, "COMPLETED", total=1, delivered=1),
        ],
    )
    read = []

    def renewed() -> Credentials:
        read.append(True)
        return GOOD

    news = await all_news(look(A, renewed=renewed))
    assert troubles_of(news) == ["credentials refused", None]
    assert types_of(events_of(news)[A]) == ["operation.processing", "operation.completed"]
    assert read == [True]


async def test_credentials_that_cannot_be_read_leave_the_old_ones(api: FakeApi, look: Look) -> None:
    """Whatever reading them raises, the probe goes out with those there are."""
    api.script(
        A,
        [
            operation(A, "PROCESSING", total=1),
            Reply(status=403, body=envelope(20403, "Forbidden")),
            operation(A, "COMPLETED", total=1, delivered=1),
        ],
    )

    def broken() -> Credentials:
        raise OSError("the file is gone")

    news = await all_news(look(A, renewed=broken))
    assert troubles_of(news) == ["access refused", None]
    assert events_of(news)[A][-1].final


async def test_trouble_is_reported_once_until_it_is_over(api: FakeApi, look: Look) -> None:
    """A gateway's page in the way of many looks is one trouble, and none of them is lost."""
    page = Reply(status=502, body=b"<html>Bad gateway</html>")
    api.script(
        A, [operation(A, "PROCESSING"), page, page, page, operation(A, "COMPLETED", updated=1)]
    )
    news = await all_news(look(A))
    assert troubles_of(news) == ["API failing", None]
    assert types_of(events_of(news)[A]) == ["operation.processing", "operation.completed"]


async def test_an_api_that_asks_to_wait_is_waited_for(api: FakeApi, look: Look) -> None:
    """A 429 pauses everything for as long as it says."""
    wait = Reply(status=429, headers={"retry-after": "1"}, body=envelope(20429, "Too many"))
    api.script(A, [operation(A, "PROCESSING"), wait, operation(A, "COMPLETED", updated=1)])
    news = await all_news(look(A))
    paused = next(item for item in news if isinstance(item, Trouble))
    assert paused.what == "account paused (429 Too many)"
    assert paused.until is not None
    assert troubles_of(news) == ["account paused", None]
    assert api.times[2] - api.times[1] >= timedelta(seconds=0.9).total_seconds()


async def test_a_silent_api_does_not_end_it(look: Look) -> None:
    """Nobody listens: it says so and goes on asking."""
    daemon = look(A, base_url="http://127.0.0.1:9/v1")
    send, receive = anyio.create_memory_object_stream[News](10)
    async with receive, anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, send)
        with anyio.fail_after(20):
            first = await receive.receive()
            later = [await receive.receive() for _ in range(3)]
        tasks.cancel_scope.cancel()
    assert isinstance(first, Trouble)
    assert first.what.startswith("API unreachable: ")
    assert all(isinstance(item, Update) and not item.events for item in later)


async def test_a_receiver_that_goes_away_ends_it(api: FakeApi, look: Look) -> None:
    """Nobody reads any more: it stops asking."""
    api.script(A, [operation(A, "PROCESSING")])
    send, receive = anyio.create_memory_object_stream[News](0)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look(A).run, send)
            await receive.receive()
            receive.close()


async def test_while_nobody_reads_only_so_much_is_asked(api: FakeApi, look: Look) -> None:
    """News are taken before more is asked: memory stays bounded, and no end is dropped."""
    ids = [operation_id(number) for number in range(100, 150)]
    for name in ids:
        api.script(name, [operation(name, "COMPLETED", total=1, delivered=1)])
    daemon = look(*ids, sweep=False)
    send, receive = anyio.create_memory_object_stream[News](0)
    async with receive, anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, send)
        with anyio.fail_after(30):
            while len(daemon._seen._items) <= 64:  # noqa: ASYNC110 - no event says so
                await anyio.sleep(0.01)
            # each request leaves its end and what it showed; those under way come on top
            await anyio.sleep(0.2)
            assert len(api.requests) <= 64 // 2 + 1 + 4
            news = [item async for item in receive]
    assert {name for name, own in events_of(news).items() if own[-1].final} == set(ids)
