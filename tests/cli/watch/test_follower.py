"""Following a daemon: no event is missed or shown twice, also when the daemon goes."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import pytest
from anyio.abc import ObjectSendStream

from poller.cli.watch.followed import Followed
from poller.cli.watch.follower import Follower, is_followed
from poller.cli.watch.news import News, Trouble, Update
from poller.comms.errors import Fault
from poller.control.client import ControlClient
from poller.server.documents import OperationDocument, OperationStoryDocument
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, Phase, Watch
from tests.control.fake_daemon import (
    A,
    Asked,
    B,
    FakeDaemon,
    Reply,
    document,
    event,
    frame,
    problem,
)

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOME = AccountScope(account="default", base_url="https://comms.twilio.com/v1")
FATAL = Trouble(what="refused", fault=Fault.CONFIGURATION, fatal=True)
Stream = Callable[[Asked], Reply]


def fresh(name: str) -> Watch:
    """Begin to watch."""
    registration = Registration(id=name, kind="messages")
    return register(None, registration, scope=HOME, now=NOW)[0]


def known(*documents: Mapping[str, Any]) -> dict[str, Followed]:
    """Know these of a daemon."""
    shown = [cast("OperationDocument", one) for one in documents]
    return {one["id"]: Followed(watch=fresh(one["id"])).after_document(one) for one in shown}


def streamed(*events: Mapping[str, Any]) -> Reply:
    """Stream these, then cut the line."""
    return Reply(body=frame(*events), type="text/event-stream")


class Daemon(FakeDaemon):
    """Answers every stream with what `stream` says, and looks with `documents`."""

    def __init__(self, stream: Stream, **documents: Mapping[str, Any]) -> None:
        super().__init__(self._reply)
        self.documents = documents
        self.stream = stream

    def _reply(self, asked: Asked) -> Reply:
        if asked.path == "/v1/events":
            return self.stream(asked)
        name = asked.path.rpartition("/")[2]
        found = self.documents.get(name, document(name))
        return Reply(body=found) if found else problem(404, "unknown-operation")


class Polling:
    """Stands for the feed that asks the API: ends everything at once, or has fatal trouble."""

    def __init__(self, *, refused: bool = False) -> None:
        self.given: list[Watch] = []
        self._refused = refused
        self._send, self._receive = anyio.create_memory_object_stream[Sequence[Watch]](10)

    def take(self, watches: Sequence[Watch]) -> None:
        """Take over."""
        self.given.extend(watches)
        self._send.send_nowait(watches)

    def finish(self) -> None:
        """Nothing more comes."""
        self._send.close()

    async def run(self, news: ObjectSendStream[News]) -> None:
        """End what was taken."""
        async with news, self._receive, self._send:
            async for watches in self._receive:
                if self._refused:
                    await news.send(FATAL)
                    await anyio.sleep_forever()
                for watch in watches:
                    await news.send(Update(watch=watch.evolve(phase=Phase.ENDED)))


async def follow(
    daemon: FakeDaemon,
    operations: Mapping[str, Followed],
    polling: Polling | None = None,
    *others: Watch,
    patience: float = 60.0,
) -> list[News]:
    """Follow to the end."""
    send, receive = anyio.create_memory_object_stream[News](100)
    news: list[News] = []
    async with ControlClient(daemon.address, token=None) as client:
        follower = Follower(
            operations,
            others,
            client=client,
            polling=polling,
            scope=HOME,
            settle=0.0,
            now=lambda: NOW,
            patience=patience,
            interval=0.01,
        )
        with anyio.fail_after(20):
            async with receive, anyio.create_task_group() as tasks:
                tasks.start_soon(follower.run, send)
                news.extend([item async for item in receive])
    return news


def ids(news: Sequence[News]) -> list[str]:
    """List the ids of the events."""
    return [event.id for item in news if isinstance(item, Update) for event in item.events]


async def test_cut_off_ten_times() -> None:
    """Each connection tells a little and breaks in the middle of an event: all of it, once."""
    story = [event(A, number) for number in range(1, 31)]
    story.append(event(A, 31, "operation.completed", status="COMPLETED", final=True))
    numbers = {one["id"]: number for number, one in enumerate(story, 1)}

    def stream(asked: Asked) -> Reply:
        start = numbers.get(asked.headers.get("last-event-id", ""), 0)
        whole, cut = story[start : start + 3], story[start + 3 : start + 4]
        return Reply(body=frame(*whole) + frame(*cut)[:40], type="text/event-stream")

    with Daemon(stream) as daemon:
        news = await follow(daemon, known(document(A)), Polling())
    assert ids(news) == [one["id"] for one in story]
    assert daemon.paths().count("/v1/events") == 11
    last = [item for item in news if isinstance(item, Update)][-1]
    assert not last.watch.is_watched


async def test_a_place_that_is_no_longer_kept() -> None:
    """After 410, or an error in the stream, it reads again from the oldest; nothing comes twice."""
    end = event(A, 3, "operation.completed", status="COMPLETED", final=True)
    error = b"event: error\ndata: {}\n\n"
    replies = deque(
        [
            Reply(body=frame(event(A, 1)) + error, type="text/event-stream"),
            streamed(event(A, 1), event(A, 2)),
            problem(410, "gone"),
            streamed(event(A, 1), event(A, 2), end),
        ]
    )
    with Daemon(lambda _: replies.popleft()) as daemon:
        news = await follow(daemon, known(document(A)))
    assert ids(news) == ["aab-1", "aab-2", "aab-3"]
    streams = [asked for asked in daemon.asked if asked.path == "/v1/events"]
    assert [asked.query.get("from") for asked in streams] == [
        ["oldest"],
        ["oldest"],
        None,
        ["oldest"],
    ]


async def test_what_had_ended_is_reported_with_its_history() -> None:
    """An operation that ended before is shown at once, and its events come from the oldest on."""
    ended = document(A, "COMPLETED", sequence=2, phase="ended", outcome="completed")
    last = event(A, 2, "operation.completed", status="COMPLETED", final=True)
    with Daemon(lambda _: streamed(event(B, 1), event(A, 1), last)) as daemon:
        news = await follow(daemon, known(ended))
    assert ids(news) == ["aab-1", "aab-2"]
    first = news[0]
    assert isinstance(first, Update)
    assert first.watch.phase is Phase.ENDED


async def test_a_daemon_that_stays_away() -> None:
    """After a while the other feed goes on, from the last number and counters that were shown."""
    replies = deque([streamed(event(A, 1, delivered=5), event(A, 2, delivered=8))])
    polling = Polling()

    def stream(_: Asked) -> Reply:
        return replies.popleft() if replies else Reply(status=502, body=b"<html>")

    with Daemon(stream) as daemon:
        news = await follow(daemon, known(document(A)), polling, patience=0.5)
    (watch,) = polling.given
    assert (watch.id, watch.emitted.sequence) == (A, 2)
    assert watch.emitted.counters["delivered"] == 8
    troubles = [item for item in news if not isinstance(item, Update)]
    assert isinstance(troubles[0], Trouble)
    assert "not a poller" in troubles[0].what
    assert troubles[-1] is None


async def test_a_daemon_that_comes_back() -> None:
    """A restart is trouble that passes: nothing is handed over."""
    end = event(A, 1, "operation.completed", status="COMPLETED", final=True)
    replies = deque([Reply(status=502, body=b""), Reply(status=502, body=b""), streamed(end)])
    polling = Polling()
    with Daemon(lambda _: replies.popleft()) as daemon:
        news = await follow(daemon, known(document(A)), polling)
    assert ids(news) == ["aab-1"]
    assert polling.given == []
    troubles = [item for item in news if not isinstance(item, Update)]
    assert len(troubles) == 2
    assert troubles[1] is None


@pytest.mark.parametrize(
    "found",
    [{}, document(A, phase="forgotten"), document(A, "COMPLETED", phase="ended", pruned=True)],
    ids=["unknown", "forgotten", "pruned"],
)
async def test_what_the_daemon_no_longer_watches(found: dict[str, Any]) -> None:
    """It is handed over; the others are followed on."""
    polling = Polling()
    ends = event(B, 1, "operation.completed", status="COMPLETED", final=True)

    def stream(_: Asked) -> Reply:
        return streamed(*([ends] if polling.given else []))

    with Daemon(stream, **{A: found}) as daemon:
        news = await follow(daemon, known(document(A), document(B)), polling)
    assert [watch.id for watch in polling.given] == [A]
    assert ids(news) == ["aac-1"]


async def test_nobody_to_hand_over_to() -> None:
    """Without credentials it says so and ends."""
    with Daemon(lambda _: streamed(), **{A: {}}) as daemon:
        news = await follow(daemon, known(document(A)))
    last = news[-1]
    assert isinstance(last, Trouble)
    assert last.fatal
    assert A in last.what
    assert "TWILIO_ACCOUNT_SID" in last.what


async def test_others_are_asked_about_meanwhile() -> None:
    """What the daemon never knew is the other feed's from the start."""
    end = event(A, 1, "operation.completed", status="COMPLETED", final=True)
    polling = Polling()
    with Daemon(lambda _: streamed(end)) as daemon:
        news = await follow(daemon, known(document(A)), polling, fresh(B))
    assert [watch.id for watch in polling.given] == [B]
    ended = {
        item.watch.id
        for item in news
        if isinstance(item, Update) and item.watch.phase is Phase.ENDED
    }
    assert ended == {A, B}


async def test_fatal_trouble_of_the_others_ends_all() -> None:
    """Refused credentials are the last of the news, from either feed."""
    with Daemon(lambda _: streamed()) as daemon:
        news = await follow(daemon, known(document(A)), Polling(refused=True), fresh(B))
    assert news[-1] == FATAL


async def test_counters_move_between_events() -> None:
    """A document shows what has no event yet; the event that comes later is shown as well."""
    end = event(A, 1, "operation.completed", status="COMPLETED", final=True, delivered=9)
    moving = document(A, stats={"delivered": 4})
    looks = 0

    def stream(_: Asked) -> Reply:
        # they are asked for one after the other: with the second, the first was shown
        return streamed(*([end] if looks > 1 else []))

    class Looked(Daemon):
        def _reply(self, asked: Asked) -> Reply:
            nonlocal looks
            looks += asked.path != "/v1/events"
            return super()._reply(asked)

    with Looked(stream, **{A: moving}) as daemon:
        news = await follow(daemon, known(document(A)))
    seen = [item.watch.counters.get("delivered", 0) for item in news if isinstance(item, Update)]
    assert seen[0] == 0
    assert 4 in seen
    assert seen[-1] == 9
    assert ids(news) == ["aab-1"]


async def test_a_breakdown_is_waited_for() -> None:
    """While the daemon reads what failed the operation has not ended; then it tells, and it has."""
    end = event(A, 1, "operation.completed", status="COMPLETED", final=True, failed=2)
    breakdown = event(A, 2, "operation.breakdown", status="COMPLETED", failed=2)
    reading = document(A, "COMPLETED", sequence=1, phase="explaining", outcome="completed")
    replies = deque([streamed(end), streamed(), streamed(breakdown)])
    with Daemon(lambda _: replies.popleft(), **{A: reading}) as daemon:
        news = await follow(daemon, known(document(A)))
    assert ids(news) == ["aab-1", "aab-2"]
    phases = [item.watch.phase for item in news if isinstance(item, Update)]
    assert Phase.EXPLAINING in phases
    assert phases[-1] is Phase.ENDED


async def test_no_breakdown_is_waited_for_in_vain() -> None:
    """Where something failed the daemon is asked at once whether a breakdown will come."""
    end = event(A, 1, "operation.completed", status="COMPLETED", final=True, failed=2)
    ended = document(A, "COMPLETED", sequence=1, phase="ended", outcome="completed")
    with Daemon(lambda _: streamed(end), **{A: ended}) as daemon:
        news = await follow(daemon, known(document(A)))
    assert ids(news) == ["aab-1"]
    last = news[-1]
    assert isinstance(last, Update)
    assert last.watch.phase is Phase.ENDED


async def test_a_receiver_that_leaves_ends_it() -> None:
    """Nobody is left to follow for."""
    send, receive = anyio.create_memory_object_stream[News](0)
    receive.close()
    with Daemon(lambda _: streamed(event(A, 1))) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            follower = Follower(
                known(document(A)),
                (),
                client=client,
                polling=None,
                scope=HOME,
                settle=0.0,
                now=lambda: NOW,
            )
            with anyio.fail_after(5):
                await follower.run(send)


@pytest.mark.parametrize(
    ("members", "followed"),
    [
        ({}, True),
        ({"phase": "ended"}, True),
        ({"phase": "settling"}, True),
        ({"phase": "forgotten"}, False),
        ({"phase": "ended", "pruned": True}, False),
    ],
)
def test_what_is_followed(members: dict[str, Any], *, followed: bool) -> None:
    """What was forgotten, or has no events left, a daemon can tell nothing of."""
    assert is_followed(cast("OperationStoryDocument", document(A, **members))) is followed
