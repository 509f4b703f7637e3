"""Dead letters: kept, listed, and sent again when somebody asks."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from poller.store.dead_letters import Selection, UnknownEvent
from poller.store.schema import deliveries
from poller.tracking.delivery import AttemptResult, DeliveryState, Subscription
from poller.tracking.sink_health import SinkState
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import APP, NOW, Daemon, declare, op, seen

pytestmark = pytest.mark.anyio

ALL = Selection()


async def kill(daemon: Daemon, sink: str = "app") -> None:
    """Let everything that waits for a sink be given up."""
    daemon.clock.advance(days=3)
    for _ in range(20):
        await daemon.store.configure_sinks(declare(sink))
        claimed = await daemon.deliveries(sink)
        if not claimed:
            return
        await daemon.settle(claimed, AttemptResult.FAILED, sink=sink, status=500, error="500 no")
    pytest.fail("something still waits")


async def replay(daemon: Daemon, selection: Selection) -> Mapping[str, int]:
    """Replay in one transaction."""
    page = await daemon.store.replay_dead_letters(selection, limit=100)
    assert page.next is None
    return page.replayed


async def test_a_dead_letter_is_listed_with_its_last_error(daemon: Daemon) -> None:
    """Everything that a person needs to decide what to do."""
    ids = await daemon.run_through(op(1))
    await kill(daemon)
    letters = await daemon.store.dead_letters(ALL, limit=10)
    assert [letter.event_id for letter in letters] == ids
    last = letters[-1]
    assert (last.operation_id, last.type, last.sequence) == (op(1), "operation.completed", 3)
    assert (last.sink, last.status, last.error, last.attempts) == ("app", 500, "500 no", 1)
    assert (last.recorded_at, last.died_at) == (NOW, NOW + timedelta(days=3))
    assert await daemon.store.dead_letters(ALL, limit=2) == letters[:2]
    after = letters[1].cursor
    assert await daemon.store.dead_letters(ALL, limit=2, after=after) == letters[2:]


@SLOW_ON_POSTGRESQL
async def test_dead_letters_survive_a_restart(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """They lie until somebody replays them, or retention takes them."""
    await daemon.run_through(op(1))
    await kill(daemon)
    letters = await daemon.store.dead_letters(ALL, limit=10)
    await daemon.store.aclose()
    assert await (await open_daemon("next")).store.dead_letters(ALL, limit=10) == letters


async def test_replay_sends_them_in_sequence_order(daemon: Daemon) -> None:
    """One after the other, as new: no attempts, no dead letters any more."""
    ids = await daemon.run_through(op(1))
    await kill(daemon)
    assert await replay(daemon, ALL) == {"app": 3}
    assert await daemon.store.dead_letters(ALL, limit=10) == []
    [first] = await daemon.deliveries()
    assert first.id == ids[0]
    assert await daemon.deliveries() == []
    exchange = await daemon.settle([first], AttemptResult.DELIVERED)
    assert exchange.finished[first.position].attempts == 1
    assert [claim.id for claim in await daemon.drain()] == ids[1:]


@SLOW_ON_POSTGRESQL
async def test_a_replayed_one_goes_before_what_waits_behind_it(daemon: Daemon) -> None:
    """Order holds for what is not yet delivered."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    await kill(daemon)
    await daemon.observe(op(1), "COMPLETED")
    await replay(daemon, ALL)
    assert [claim.position for claim in await daemon.drain()] == [1, 2]


async def test_a_replayed_one_is_fresh_for_three_days(daemon: Daemon) -> None:
    """From the replay on, however old the event."""
    await daemon.run_through(op(1))
    await kill(daemon)
    daemon.clock.advance(days=2)
    await replay(daemon, ALL)
    daemon.clock.advance(days=2.9)
    claimed = await daemon.deliveries()
    exchange = await daemon.settle(claimed, AttemptResult.FAILED)
    assert {one.state for one in exchange.finished.values()} == {DeliveryState.WAITING}
    daemon.clock.advance(days=0.1)
    exchange = await daemon.settle(await daemon.deliveries(), AttemptResult.FAILED)
    assert {one.state for one in exchange.finished.values()} == {DeliveryState.DEAD}


async def test_a_refusal_does_not_outlive_its_replay(daemon: Daemon) -> None:
    """The place may have been repaired: the hour starts again."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    for _ in range(2):
        await daemon.settle(await daemon.deliveries(), AttemptResult.REFUSED, status=400)
        daemon.clock.advance(hours=1)
    assert len(await daemon.store.dead_letters(ALL, limit=9)) == 1
    await replay(daemon, ALL)
    exchange = await daemon.settle(await daemon.deliveries(), AttemptResult.REFUSED, status=400)
    assert {one.state for one in exchange.finished.values()} == {DeliveryState.WAITING}


async def test_replay_by_sink_time_and_operation(daemon: Daemon) -> None:
    """Only what was chosen; the end of a range of time is not in it."""
    other = Subscription(sink="other")
    for number in (1, 2, 3):
        await daemon.register(op(number))
        await daemon.record((op(number), seen(op(number), at=daemon.clock())), to=[APP, other])
        daemon.clock.advance(60)
    await kill(daemon)
    await kill(daemon, "other")
    minute = timedelta(minutes=1)
    middle = Selection(sink="app", since=NOW + minute, until=NOW + 2 * minute)
    assert await _letters(daemon, middle) == [(op(2), "app")]
    assert await replay(daemon, middle) == {"app": 1}
    assert await replay(daemon, middle) == {}
    assert await replay(daemon, Selection(operation_id=op(1))) == {"app": 1, "other": 1}
    assert await _letters(daemon, ALL) == [(op(2), "other"), (op(3), "app"), (op(3), "other")]
    assert await replay(daemon, Selection(sink="other")) == {"other": 2}


async def test_replay_goes_on_behind_a_cursor(daemon: Daemon) -> None:
    """No page is longer than its limit, also where one event died at several sinks."""
    for number in (1, 2):
        await daemon.register(op(number))
        to = [APP, Subscription(sink="other")]
        await daemon.record((op(number), seen(op(number), at=daemon.clock())), to=to)
    await kill(daemon)
    await kill(daemon, "other")
    pages: list[Mapping[str, int]] = []
    after = None
    while not pages or after is not None:
        page = await daemon.store.replay_dead_letters(ALL, limit=3, after=after)
        pages.append(page.replayed)
        after = page.next
    assert pages == [{"app": 2, "other": 1}, {"other": 1}]
    assert await _letters(daemon, ALL) == []


async def test_one_event_can_be_sent_again(daemon: Daemon) -> None:
    """A delivered one too: to every sink that had it, or to one, also one that had it not."""
    ids = await daemon.run_through(op(1))
    await daemon.drain()
    assert await daemon.store.replay_event(ids[1], None) == ["app"]
    assert [claim.id for claim in await daemon.drain()] == [ids[1]]
    await daemon.store.configure_sinks(declare("app", "late"))
    assert await daemon.store.replay_event(ids[2], ["late", "app"]) == ["app", "late"]
    assert [claim.id for claim in await daemon.drain()] == [ids[2]]
    assert [claim.id for claim in await daemon.drain("late")] == [ids[2]]
    assert len(await daemon.rows(deliveries)) == 4


@SLOW_ON_POSTGRESQL
async def test_what_is_not_kept_cannot_be_sent_again(daemon: Daemon) -> None:
    """The message names the setting that says for how long events are kept."""
    with pytest.raises(UnknownEvent, match=r"store\.retention"):
        await daemon.store.replay_event("no-such-event", None)


async def test_replay_lets_a_sink_that_is_down_try_at_once(daemon: Daemon) -> None:
    """Who replays has repaired the receiver."""
    await daemon.run_through(op(1))
    await kill(daemon)
    await replay(daemon, ALL)
    [claim] = await daemon.deliveries()
    for wait in (60, 120):
        await daemon.settle([claim], AttemptResult.FAILED)
        daemon.clock.advance(wait)
        [claim] = await daemon.deliveries()
    await daemon.settle([claim], AttemptResult.FAILED)
    [report] = await daemon.store.sinks()
    assert report.health.state is SinkState.DOWN
    assert await daemon.deliveries() == []
    await daemon.store.replay_event(claim.id, None)
    assert len(await daemon.deliveries()) == 1


async def _letters(daemon: Daemon, selection: Selection) -> list[tuple[str, str]]:
    letters = await daemon.store.dead_letters(selection, limit=10)
    return [(letter.operation_id, letter.sink) for letter in letters]
