"""One dispatcher between a real store and a scripted sink; time passes only when a test says so."""

from collections.abc import MutableMapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import anyio
import pytest

from poller.engine.dispatcher import Ended
from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkVerdict
from poller.store.dead_letters import Selection
from poller.text import format_instant
from tests.engine.conftest import Running
from tests.engine.scripted import DELIVERED, FickleStore, ScriptedSink, failed, until
from tests.store.scenes import NOW, Clock, declare

pytestmark = pytest.mark.anyio

Logs = list[MutableMapping[str, Any]]
REFUSED = SinkOutcome(verdict=SinkVerdict.REFUSED, status=422, error="answered 422")
GONE = SinkOutcome(verdict=SinkVerdict.GONE, status=410, error="answered 410")
CLOSED = SinkOutcome(verdict=SinkVerdict.CLOSED, error="nobody reads it any more")
HOUR = 3600.0
SOON = NOW + timedelta(milliseconds=100)


def lines(logs: Logs, event: str) -> Logs:
    """Return the log lines of one event."""
    return [line for line in logs if line["event"] == event]


async def test_order_within_and_room_between_operations(running: Running) -> None:
    """In order for each operation whatever fails, many operations at once, never too many."""
    chance = Random(7)  # noqa: S311 - a script
    succeeded: list[str] = []

    def answers(event: OutgoingEvent) -> SinkOutcome:
        if chance.random() < 1 / 3:
            return failed()
        succeeded.append(event.id)
        return DELIVERED

    sink = ScriptedSink(concurrency=8, answers=answers)
    async with running(sink) as stage:
        ids = await stage.events(20, 4)
        await stage.advance(HOUR)
        assert sorted(succeeded) == ids
        assert sink.peak == 8
        for own in sink.by_operation().values():
            # a repetition stands beside the first attempt: nothing overtakes, nothing falls back
            assert own == sorted(own)


async def test_nothing_overtakes_what_is_under_way(running: Running) -> None:
    """The second event of an operation is not begun before the first was acknowledged."""
    sink = ScriptedSink(concurrency=8, gate=anyio.Event())
    async with running(sink) as stage:
        ids = await stage.events(2, 3)
        await stage.settle()
        assert sink.ids == ids[:2]
        sink.open_gate()
        await stage.settle()
        assert sink.ids == ids


async def test_a_batch_is_in_commit_order(running: Running) -> None:
    """A sink that takes one batch at a time gets several of one operation, in commit order."""
    sink = ScriptedSink(concurrency=1, batch_size=7)
    async with running(sink) as stage:
        ids = await stage.events(3, 5)
        await stage.settle()
        assert sink.ids == ids
        assert sink.batches == [7, 7, 1]
        assert sink.peak == 1


async def test_a_batch_taken_in_part_goes_on_in_order(running: Running) -> None:
    """What failed in a batch goes again, before what follows it in its operation."""
    taken: list[str] = []

    def answers(event: OutgoingEvent) -> SinkOutcome:
        if len(taken) >= 4 and sink.now() < SOON:
            return failed(None)
        taken.append(event.id)
        return DELIVERED

    sink = ScriptedSink(concurrency=1, batch_size=100, answers=answers)
    async with running(sink) as stage:
        ids = await stage.events(3, 4)
        await stage.advance(60)
        assert sorted(taken) == ids
        first, *rest = (
            [event for event in taken if event in own]
            for own in (set(ids[number::3]) for number in range(3))
        )
        assert all(own == sorted(own) for own in (first, *rest))


async def test_a_dead_letter_that_is_replayed_goes_once_more(
    running: Running, clock: Clock
) -> None:
    """A running dispatcher notices; it is fresh for three days and may come late."""
    sink = ScriptedSink(answers=lambda _: failed())
    async with running(sink) as stage:
        ids = await stage.events(1, 1)
        await stage.settle()
        clock.advance(days=3)
        await stage.advance(400)
        assert await stage.states() == {"dead": 1}
        sink.answers = lambda _: DELIVERED
        page = await stage.store.replay_dead_letters(Selection(sink="app"), limit=10)
        assert page.replayed == {"app": 1}
        await stage.settle()
        assert await stage.states() == {"delivered": 1}
        assert set(sink.ids) == set(ids)


async def test_a_replay_of_what_is_under_way_confuses_nobody(running: Running, logs: Logs) -> None:
    """The event goes out twice, as was asked for; what follows goes on."""
    sink = ScriptedSink(concurrency=3, gate=anyio.Event())
    async with running(sink) as stage:
        ids = await stage.events(1, 3)
        await stage.settle()
        assert sink.ids == ids[:1]
        await stage.store.replay_event(ids[0], ["app"])
        await stage.settle()
        assert sink.ids == [ids[0], ids[0]]
        sink.open_gate()
        await stage.settle()
        assert sink.ids == [ids[0], *ids]
        assert await stage.states() == {"delivered": 3}
        assert not lines(logs, "engine.defect")


@pytest.mark.parametrize("by", ["configuration", "replay"])
async def test_410_disables_until_somebody_enables(running: Running, logs: Logs, by: str) -> None:
    """Nothing goes out any more; a start or SIGHUP enables the sink, and a replay does."""
    sink = ScriptedSink(concurrency=1, answers=lambda _: GONE)
    async with running(sink) as stage:
        ids = await stage.events(3, 1)
        await stage.advance(24 * HOUR)
        assert sink.ids == ids[:1]
        [logged] = lines(logs, "sink.disabled")
        assert "SIGHUP" in logged["hint"]
        sink.answers = lambda _: DELIVERED
        if by == "configuration":
            await stage.store.configure_sinks(declare("app"))
        else:
            await stage.store.replay_event(ids[0], ["app"])
        await stage.settle()
        assert sorted(sink.ids[1:]) == ids


async def test_what_is_enabled_is_tried_at_once(running: Running) -> None:
    """The waits of an outage before the 410 are over with the operator's word."""
    sink = ScriptedSink(answers=lambda _: failed())
    async with running(sink) as stage:
        ids = await stage.events(2, 1)
        await stage.advance(HOUR)
        sink.answers = lambda _: GONE
        await stage.advance(HOUR / 4)
        sink.answers = lambda _: DELIVERED
        await stage.store.configure_sinks(declare("app"))
        await stage.settle()
        assert sorted(sink.ids[-2:]) == ids
        assert await stage.states() == {"delivered": 2}


async def test_a_closed_place_ends_the_dispatcher_and_keeps_deliveries(
    running: Running, store: FickleStore
) -> None:
    """A closed pipe: no further attempt, everything still waits in the store."""
    sink = ScriptedSink(concurrency=1, batch_size=2, answers=lambda _: CLOSED)
    async with running(sink) as stage:
        ids = await stage.events(5, 1)
        stage.dispatcher.wakeup.wake()
        assert await stage.end() is Ended.CLOSED
        assert set(sink.ids) <= set(ids[:4])
        assert await stage.states() == {"waiting": 5}
        assert (await store.summary(since=NOW, closed=["app"])).stuck == 5


async def test_a_failing_store_repeats_and_loses_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    """What was delivered while the store refused is recorded when it does no more."""
    monkeypatch.setattr("poller.engine.supervision._PAUSE", 0.01)
    sink = ScriptedSink(concurrency=4, gate=anyio.Event())
    async with running(sink) as stage:
        ids = await stage.events(6, 2)
        await stage.settle()
        stage.store.refuses = True
        sink.open_gate()
        await until(lambda: stage.store.refused >= 5)
        assert sink.ids == ids[:4]
        assert await stage.states() == {"waiting": 12}
        stage.store.refuses = False
        await stage.settle()
        assert sorted(sink.ids) == ids
        assert await stage.states() == {"delivered": 12}
        assert "disk is full" in lines(logs, "store.unavailable")[0]["error"]


async def test_a_failed_attempt_is_one_log_line(running: Running, logs: Logs) -> None:
    """Operation, event, sink, status and the next attempt, once for each attempt."""
    sink = ScriptedSink(answers=lambda _: failed())
    async with running(sink) as stage:
        [event_id] = await stage.events(1, 1)
        await stage.advance(5)
        rows = await stage.rows()
        logged = lines(logs, "delivery.failed")
        assert len(logged) == len(sink.attempts) == 3
        assert logged[-1] == {
            "event": "delivery.failed",
            "log_level": "debug",
            "sink": "app",
            "operation": rows[0]["subject"],
            "event_id": event_id,
            "event_type": "operation.progress",
            "attempts": 3,
            "http_status": 503,
            "error": "answered 503",
            "next_attempt": format_instant(rows[0]["due_at"]),
        }


@pytest.mark.defects("a sink that raises")
async def test_a_sink_that_raises_costs_a_wait_and_nothing_else(
    running: Running, logs: Logs
) -> None:
    """A defect of a sink is logged with its traceback; its event waits, others are delivered."""
    sink = ScriptedSink(concurrency=2)
    async with running(sink) as stage:
        odd, *_ = await stage.events(3, 1)

        def answers(event: OutgoingEvent) -> SinkOutcome:
            if event.id == odd and sink.now() < SOON:
                raise ZeroDivisionError
            return DELIVERED

        sink.answers = answers
        await stage.settle()
        assert await stage.states() == {"waiting": 1, "delivered": 2}
        assert lines(logs, "engine.defect")[0]["exc_info"]
        await stage.advance(2)
        assert await stage.states() == {"delivered": 3}


async def test_draining_finishes_what_is_due_and_waits_for_nothing_else(
    running: Running, store: FickleStore
) -> None:
    """What is due goes, what is under way is waited for, what waits for a retry stays."""
    sink = ScriptedSink(concurrency=2)
    async with running(sink) as stage:
        later, *_ = ids = await stage.events(4, 2)
        sink.answers = lambda event: failed() if event.id == later else DELIVERED
        stage.dispatcher.drain()
        assert await stage.end() is Ended.DRAINED
        assert sorted(set(sink.ids)) == [one for one in ids if one != ids[4]]
        assert (await store.summary(since=NOW)).waiting == 2


async def test_results_are_kept_when_it_is_cancelled(running: Running, clock: Clock) -> None:
    """Finished attempts are recorded, others are due at once for the next process."""
    sink = ScriptedSink(concurrency=3)
    async with running(sink) as stage:
        ids = await stage.events(3, 1)
        first = anyio.Event()

        async def deliver(batch: Sequence[OutgoingEvent]) -> list[SinkOutcome]:
            [one] = batch
            if one.id != ids[0]:
                first.set()
                await anyio.sleep_forever()
            await first.wait()
            return [DELIVERED]

        sink.deliver = deliver  # type: ignore[method-assign]
        with anyio.fail_after(5):
            await first.wait()
    assert await stage.states() == {"delivered": 1, "waiting": 2}
    other = ScriptedSink(concurrency=3)
    async with running(other) as stage:
        await stage.settle()
        assert other.ids == ids[1:]
    assert clock.time < SOON


async def test_what_the_place_holds_already_is_not_sent_again(running: Running) -> None:
    """After a crash between delivery and record, however many events wait before those."""
    sink = ScriptedSink(concurrency=1, batch_size=2)
    stage_ids: list[str] = []
    async with running(ScriptedSink(name="app", answers=lambda _: failed())) as stage:
        stage_ids += await stage.events(10, 1)
        await stage.settle()
    sink.held = set(stage_ids[-2:])
    async with running(sink) as stage:
        await stage.advance(HOUR)
        assert sorted(sink.ids) == stage_ids[:-2]
        assert await stage.states() == {"delivered": 10}
