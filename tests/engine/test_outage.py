"""A dispatcher before a place in trouble: waits, the probe of a down sink, and when to give up."""

from collections.abc import MutableMapping
from itertools import pairwise
from typing import Any

import pytest

from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkVerdict
from poller.tracking.sink_health import SinkState
from tests.engine.conftest import Running
from tests.engine.scripted import DELIVERED, ScriptedSink, failed, subject_of
from tests.store.scenes import NOW, Clock

pytestmark = pytest.mark.anyio

Logs = list[MutableMapping[str, Any]]
REFUSED = SinkOutcome(verdict=SinkVerdict.REFUSED, status=422, error="answered 422")
HOUR = 3600.0


def lines(logs: Logs, event: str) -> Logs:
    """Return the log lines of one event."""
    return [line for line in logs if line["event"] == event]


async def test_waits_double_from_a_second(running: Running) -> None:
    """A failed event goes again after about 1, 2, 4, 8 s."""
    sink = ScriptedSink(answers=lambda _: failed())
    async with running(sink) as stage:
        await stage.events(1, 1)
        await stage.advance(14)
    moments = sink.seconds()
    waits = [after - before for before, after in pairwise(moments)]
    assert waits == [pytest.approx(wait, rel=0.21) for wait in (1, 2, 4)]


async def test_retry_after_lengthens_a_wait_and_never_over_an_hour(running: Running) -> None:
    """`Retry-After` of half a minute is obeyed; of a year, for an hour."""
    asked = iter([30.0, 365 * 24 * HOUR])
    sink = ScriptedSink(answers=lambda _: failed(429, retry_after=next(asked, 0.0)))
    async with running(sink) as stage:
        await stage.events(1, 1)
        await stage.advance(31)
        assert sink.seconds() == pytest.approx([0, 30], abs=0.1)
        await stage.advance(HOUR - 2)
        assert len(sink.attempts) == 2
        await stage.advance(2)
        assert sink.seconds()[2] == pytest.approx(30 + HOUR, abs=1)


async def test_a_down_sink_is_probed_by_one_attempt(running: Running, logs: Logs) -> None:
    """After ten seconds of failure alone: one attempt at a time, at most five minutes apart."""
    sink = ScriptedSink(concurrency=8, answers=lambda _: failed(None))
    async with running(sink) as stage:
        await stage.events(20, 2)
        await stage.advance(30)
        assert (await stage.settle()).health.state is SinkState.DOWN
        [logged, *_] = lines(logs, "sink.down")
        assert (logged["sink"], logged["error"]) == ("app", "answered None")
        before, sink.peak = len(sink.attempts), 0
        await stage.advance(2 * HOUR)
        assert sink.peak == 1
        probes = sink.seconds()[before:]
        waits = [after - before for before, after in pairwise(probes)]
        assert 24 <= len(probes) <= 36
        assert max(waits) < 300.01
        # not always the same one: it may be the only one that the place cannot digest
        assert len({one.event.id for one in sink.attempts[before:]}) > 5


@pytest.mark.parametrize(("poisoned", "status"), [(1, 500), (3, 400), (3, None)])
async def test_poisoned_events_hold_up_nobody_else(
    running: Running, poisoned: int, status: int | None
) -> None:
    """A quiet sink that fails for some operations alone: a new event of another goes at once."""
    refused = SinkOutcome(
        verdict=SinkVerdict.REFUSED if status == 400 else SinkVerdict.FAILED,
        status=status,
        error=f"answered {status}",
    )
    sink = ScriptedSink(concurrency=8)
    async with running(sink) as stage:
        poison = set(await stage.events(poisoned, 1))
        sink.answers = lambda event: refused if event.id in poison else DELIVERED
        for _ in range(3):
            health = (await stage.advance(300)).health
            if status is not None:
                assert health.state in {SinkState.FAILING, SinkState.REJECTING}
            before = stage.clock.time
            [fresh] = await stage.events(1, 1)
            # where nobody was answered, a probe in the last ten seconds comes first
            await stage.advance(0 if status else 10)
            [attempt] = [one for one in sink.attempts if one.event.id == fresh]
            assert (attempt.at - before).total_seconds() < (0.1 if status else 10.1)
            assert (await stage.settle()).health.state is SinkState.REJECTING
        assert await stage.states() == {"waiting": poisoned, "delivered": 3}


async def test_a_receiver_that_answers_errors_to_all_is_not_stormed(
    running: Running, logs: Logs
) -> None:
    """150 wait and everything is answered 503: one at a time, seconds apart, few log lines."""
    sink = ScriptedSink(concurrency=16, answers=lambda _: failed())
    async with running(sink) as stage:
        await stage.events(150, 1)
        last = await stage.advance(400)
        assert last.health.state is SinkState.FAILING
        assert len(sink.attempts) < 16 + 400 / 5 + 10
        # none is tried again while others were never tried
        assert len(set(sink.ids)) == len(sink.ids)
        loud = [line for line in logs if line["log_level"] != "debug"]
        assert 1 <= len(loud) <= 5
        assert loud[-1]["failures"] > 50
        sink.answers = lambda _: DELIVERED
        await stage.advance(10)
        assert await stage.states() == {"delivered": 150}
    assert len(lines(logs, "sink.recovered")) == 1


async def test_retry_after_pauses_the_whole_sink(running: Running) -> None:
    """100 wait: after `429 Retry-After: 60` only what was in flight has been sent."""
    sink = ScriptedSink(concurrency=16, answers=lambda _: failed(429, retry_after=60))
    async with running(sink) as stage:
        await stage.events(100, 1)
        await stage.advance(59.9)
        assert len(sink.attempts) == 16
        await stage.advance(1)
        assert len(sink.attempts) == 17
        assert (sink.attempts[-1].at - sink.attempts[0].at).total_seconds() >= 60
        sink.answers = lambda _: DELIVERED
        await stage.advance(61)
        assert await stage.states() == {"delivered": 100}


async def test_a_full_disk_is_a_few_log_lines(running: Running, logs: Logs) -> None:
    """180 wait for a file that cannot be written."""
    full = SinkOutcome(verdict=SinkVerdict.FAILED, error="no space left on device")
    sink = ScriptedSink(concurrency=1, batch_size=100, answers=lambda _: full)
    async with running(sink) as stage:
        await stage.events(180, 1)
        await stage.advance(HOUR)
        loud = [line for line in logs if line["log_level"] != "debug"]
        assert 2 <= len(loud) <= 16
        assert {line["error"] for line in loud} == {"no space left on device"}
        sink.answers = lambda _: DELIVERED
        await stage.advance(300)
        assert await stage.states() == {"delivered": 180}


async def test_a_recovery_is_logged_once_and_only_after_trouble(
    running: Running, logs: Logs
) -> None:
    """Every event refused once: as many ends as beginnings, and none without."""
    sink = ScriptedSink()
    async with running(sink) as stage:
        await stage.events(5, 1)
        await stage.advance(5)
        assert not lines(logs, "sink.recovered")
        for number in range(3):
            sink.answers = lambda _: failed()
            await stage.events(1, 1)
            await stage.settle()
            sink.answers = lambda _: DELIVERED
            await stage.advance(5)
            await stage.events(1, 1)
            await stage.advance(5)
            assert len(lines(logs, "sink.failing")) == number + 1
            assert len(lines(logs, "sink.recovered")) == number + 1


async def test_an_app_that_restarts_for_20_seconds_costs_seconds(
    running: Running, clock: Clock
) -> None:
    """What was recorded in the outage is delivered within a few seconds of its end."""
    is_up = clock.time.timestamp() + 20
    sink = ScriptedSink(
        answers=lambda _: DELIVERED if clock.time.timestamp() >= is_up else failed(None)
    )
    delivered = 0
    async with running(sink) as stage:
        for _ in range(20):
            await stage.events(3, 2)
            await stage.advance(1)
        while delivered < 120:
            await stage.advance(0.5)
            delivered = (await stage.states())["delivered"]
            assert (clock.time - NOW).total_seconds() < 27


@pytest.mark.slow
async def test_an_outage_of_an_hour_drains_in_order_without_a_stampede(
    running: Running, clock: Clock
) -> None:
    """10,000 events wait; at its end one probe, then all in order, no more than may at once."""
    is_up = clock.time.timestamp() + HOUR
    taken: dict[str, list[str]] = {}

    def answers(event: OutgoingEvent) -> SinkOutcome:
        if clock.time.timestamp() < is_up:
            return failed(None)
        taken.setdefault(subject_of(event), []).append(event.id)
        return DELIVERED

    sink = ScriptedSink(concurrency=16, answers=answers)
    async with running(sink) as stage:
        ids = await stage.events(10, 1)
        await stage.advance(60)
        ids += await stage.events(999, 10)
        before = len(sink.attempts)
        await stage.advance(HOUR - 61)
        assert len(sink.attempts) - before < 20
        before, sink.peak = len(sink.attempts), 0
        await stage.advance(302)
        assert (await stage.states()) == {"delivered": 10_000}
        assert sink.peak == 16
        assert len(sink.attempts) - before <= 10_001
    assert sorted(id_ for own in taken.values() for id_ in own) == ids
    assert all(own == sorted(own) for own in taken.values())


async def test_refused_events_are_given_up_after_an_hour(running: Running, logs: Logs) -> None:
    """An answer is no outage: others go on; after an hour the next of the operation passes."""
    sink = ScriptedSink(concurrency=4)
    async with running(sink) as stage:
        poison, *_ = ids = await stage.events(3, 2)
        sink.answers = lambda event: REFUSED if event.id == poison else DELIVERED
        await stage.advance(HOUR - 10)
        assert await stage.states() == {"waiting": 2, "delivered": 4}
        assert ids[3] not in sink.ids
        await stage.advance(20)
        assert await stage.states() == {"dead": 1, "delivered": 5}
        [dead] = lines(logs, "delivery.dead")
        assert (dead["event_id"], dead["http_status"]) == (poison, 422)
        assert dead["error"] == "answered 422"
        assert not lines(logs, "sink.down")


async def test_given_up_after_three_days_one_attempt_for_each(
    running: Running, clock: Clock, logs: Logs
) -> None:
    """After three days a failed attempt is the last; a successor still gets one of its own."""
    sink = ScriptedSink(answers=lambda _: failed())
    async with running(sink) as stage:
        ids = await stage.events(1, 3)
        await stage.advance(60)
        assert set(sink.ids) == {ids[0]}
        clock.advance(days=3)
        await stage.advance(1)
        assert await stage.states() == {"dead": 1, "waiting": 2}
        await stage.advance(HOUR)
        assert await stage.states() == {"dead": 3}
        assert [line["event_id"] for line in lines(logs, "delivery.dead")] == ids
        assert {sink.ids.count(one) for one in ids[1:]} == {1}
