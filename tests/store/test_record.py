"""Recording: state, events and deliveries in one commit, judged against the row as it is."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from sqlalchemy import event as sqlalchemy_event

from poller.store.schema import counters, deliveries, events, metadata, watches
from poller.tracking.answer import Verdict
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from tests.store.conftest import SLOW_ON_POSTGRESQL
from tests.store.scenes import Daemon, op, registration, seen

pytestmark = pytest.mark.anyio


class PowerCut(Exception):
    """What a test throws into a transaction."""


@contextmanager
def cut_after(daemon: Daemon, statements: int) -> Iterator[Counter[str]]:
    """Raise in the middle of a transaction, after `statements` statements."""
    done: Counter[str] = Counter()

    def count(*arguments: object) -> None:
        statement = str(arguments[2])
        done[re.split(r" SET|\(", statement)[0].strip()] += 1
        if done.total() > statements:
            raise PowerCut

    engine = daemon.store._database.engine
    sqlalchemy_event.listen(engine, "after_cursor_execute", count)
    try:
        yield done
    finally:
        sqlalchemy_event.remove(engine, "after_cursor_execute", count)


async def dump(daemon: Daemon) -> dict[str, list[dict[str, object]]]:
    """Read everything that is stored."""
    return {table.name: await daemon.rows(table) for table in metadata.sorted_tables}


async def test_a_transaction_cut_anywhere_leaves_nothing(daemon: Daemon) -> None:
    """State, events, positions and deliveries are committed together or not at all."""
    await daemon.register(op(1), op(2))
    await daemon.observe(op(1), "PROCESSING", total=2)
    before = await dump(daemon)
    answers = [
        (op(1), seen(op(1), "COMPLETED", stats={"total": 2, "delivered": 2})),
        (op(2), seen(op(2), "PROCESSING")),
    ]
    cuts: Counter[str] = Counter()
    while True:
        with cut_after(daemon, cuts.total()) as done:
            try:
                await daemon.record(*answers)
                break
            except PowerCut:
                cuts = done
        assert await dump(daemon) == before
    assert {"INSERT INTO events", "INSERT INTO deliveries", "UPDATE watches"} <= set(cuts)
    assert await daemon.count(events) == 3
    assert await daemon.count(deliveries) == 3


async def test_two_observers_count_one_change_once(daemon: Daemon, another: Daemon) -> None:
    """Both bring the same snapshot, at the same moment: one delta, one sequence number."""
    rounds = range(1, 16)
    await daemon.register(op(1), op(2))
    start = anyio.Event()

    async def observe(who: Daemon, ids: list[str]) -> None:
        await start.wait()
        for step in rounds:
            at = [(one, seen(one, stats={"total": 100, "sent": step})) for one in ids]
            await who.record(*at)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(observe, daemon, [op(1), op(2)])
        tasks.start_soon(observe, another, [op(2), op(1)])
        start.set()
    for one in (op(1), op(2)):
        recorded = [row for row in await daemon.rows(events) if row["subject"] == one]
        assert [row["sequence"] for row in recorded] == list(range(1, len(recorded) + 1))
        total: Counter[str] = Counter()
        for row in recorded:
            total.update(json.loads(row["body"])["data"]["delta"])
        assert total == {"total": 100, "sent": 15}
    positions = [row["position"] for row in await daemon.rows(events)]
    assert positions == list(range(1, len(positions) + 1))


@SLOW_ON_POSTGRESQL
async def test_the_same_snapshot_again_is_no_event(daemon: Daemon, another: Daemon) -> None:
    """A sweep and a fetch saw the same: the second finds nothing new."""
    await daemon.register(op(1))
    first = await daemon.observe(op(1), "PROCESSING", total=5)
    second = await another.observe(op(1), "PROCESSING", total=5)
    assert (first.verdict, len(first.events)) == (Verdict.CHANGED, 1)
    assert (second.verdict, len(second.events)) == (Verdict.UNCHANGED, 0)


@SLOW_ON_POSTGRESQL
async def test_answers_after_forget_change_nothing(daemon: Daemon) -> None:
    """They were under way; recorded deliveries still go out."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING", total=5)
    await daemon.store.forget(op(1))
    before = await dump(daemon)
    late = await daemon.observe(op(1), "COMPLETED", total=5, delivered=5)
    assert (late.verdict, list(late.events)) == (Verdict.LATE, [])
    assert await dump(daemon) == before
    assert len(await daemon.drain()) == 1


@SLOW_ON_POSTGRESQL
async def test_answers_about_the_unknown_change_nothing(daemon: Daemon) -> None:
    """A swept page holds operations that nobody registered."""
    before = await dump(daemon)
    [unknown] = await daemon.record((op(1), seen(op(1))))
    assert (unknown.verdict, unknown.watch) == (Verdict.LATE, None)
    assert await dump(daemon) == before


@SLOW_ON_POSTGRESQL
async def test_forgetting_is_idempotent_and_honest(daemon: Daemon) -> None:
    """Twice is once; the unknown is None; what has ended stays ended."""
    await daemon.register(op(1))
    await daemon.run_through(op(2))
    first = await daemon.store.forget(op(1))
    daemon.clock.advance(5)
    assert await daemon.store.forget(op(1)) == first
    assert (await daemon.store.forget(op(3))).watch is None
    ended = (await daemon.store.forget(op(2))).watch
    assert ended is not None
    assert ended.is_final


async def test_positions_are_in_commit_order_without_gaps(daemon: Daemon, another: Daemon) -> None:
    """An observer of growing positions never sees one appear below the highest."""
    await daemon.register(*(op(number) for number in range(16)))
    highest: list[int] = []

    async def observe(who: Daemon, numbers: range) -> None:
        for step in range(1, 5):
            for number in numbers:
                await who.observe(op(number), "PROCESSING", total=9, sent=step)

    async def look() -> None:
        while not highest or highest[-1] < 16 * 4:
            positions = await another.positions()
            assert positions == list(range(1, len(positions) + 1))
            highest.append(len(positions))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(observe, daemon, range(8))
            tasks.start_soon(observe, another, range(8, 16))
            tasks.start_soon(look)
    assert highest == sorted(highest)
    assert await daemon.rows(counters) == [{"name": "event_position", "value": 64}]


@SLOW_ON_POSTGRESQL
async def test_a_transaction_that_failed_leaves_no_gap(daemon: Daemon) -> None:
    """The number that it took is given to the next."""
    await daemon.register(op(1))
    with cut_after(daemon, 3), pytest.raises(PowerCut):
        await daemon.observe(op(1), "PROCESSING")
    observation = await daemon.observe(op(1), "PROCESSING")
    assert [recorded.position for recorded in observation.events] == [1]


async def test_deliveries_are_made_for_those_who_want_them(daemon: Daemon) -> None:
    """By type and by label, as they are when the event is recorded."""
    await daemon.store.register([registration(op(1), campaign="autumn"), registration(op(2))])
    sinks = [
        Subscription(sink="all"),
        Subscription(sink="ends", events=("final",)),
        Subscription(sink="autumn", labels={"campaign": "autumn"}),
        Subscription(sink="both", events=("operation.progress",), labels={"campaign": "autumn"}),
        Subscription(sink="nothing", events=("operation.lost",)),
    ]
    for one in (op(1), op(2)):
        await daemon.record((one, seen(one, stats={"total": 1})), to=sinks)
        await daemon.record((one, seen(one, stats={"total": 2})), to=sinks)
        await daemon.record((one, seen(one, "COMPLETED", stats={"total": 2})), to=sinks)
    made = {(row["sink"], row["subject"], row["position"]) for row in await daemon.rows(deliveries)}
    assert made == {
        *(("all", op(1), position) for position in (1, 2, 3)),
        *(("all", op(2), position) for position in (4, 5, 6)),
        *(("ends", op(number), position) for number, position in ((1, 3), (2, 6))),
        *(("autumn", op(1), position) for position in (1, 2, 3)),
        ("both", op(1), 2),
    }


@SLOW_ON_POSTGRESQL
async def test_without_a_sink_events_are_recorded_all_the_same(daemon: Daemon) -> None:
    """Deltas and sequence do not depend on who listens."""
    await daemon.register(op(1))
    await daemon.record((op(1), seen(op(1))), to=())
    assert (await daemon.count(events), await daemon.count(deliveries)) == (1, 0)


async def test_whatever_the_api_sends_is_kept_and_given_back(daemon: Daemon) -> None:
    """Half a surrogate pair, an escaped NUL, huge numbers: unknown members come out as sent."""
    odd = {"note": "\ud800 \x00 \U0001f600 é", "deep": [{"a": [1, 2.5, None, True, 10**30]}]}
    await daemon.register(op(1))
    answer = seen(op(1), odd=odd, stats={"sent\x00": 1})
    [observation] = await daemon.record((op(1), answer))
    [recorded] = observation.events
    known = await daemon.watch(op(1))
    assert known.snapshot == answer.found.raw
    assert json.loads(recorded.body)["data"]["operation"] == answer.found.raw
    [claimed] = await daemon.deliveries()
    assert claimed.body == recorded.body
    assert claimed.body.splitlines() == [claimed.body]


@SLOW_ON_POSTGRESQL
async def test_an_event_is_stored_as_it_was_emitted(daemon: Daemon) -> None:
    """The claimed body, id and type are those of the recorded event."""
    await daemon.register(op(1))
    observation = await daemon.observe(op(1), "SCHEDULED")
    [recorded] = observation.events
    [claimed] = await daemon.deliveries()
    body = json.loads(claimed.body)
    assert (claimed.id, claimed.position) == (recorded.id, recorded.position)
    assert (body["id"], body["type"]) == (claimed.id, claimed.type)
    assert (claimed.subject, claimed.type) == (op(1), "operation.scheduled")


@SLOW_ON_POSTGRESQL
async def test_many_answers_are_one_transaction(daemon: Daemon) -> None:
    """A swept page, in any order, one result for each."""
    ids = [op(number) for number in range(520)]
    await daemon.register(*ids)
    observations = await daemon.record(*((one, seen(one)) for one in reversed(ids)))
    assert sorted(observation.id for observation in observations) == ids
    assert all(len(observation.events) == 1 for observation in observations)
    assert await daemon.count(deliveries) == 520


async def test_a_held_back_change_is_reported_later(daemon: Daemon) -> None:
    """What coalescing holds back is in the row, and survives until it is reported."""
    policy = Policy(progress_interval=10)
    await daemon.register(op(1))
    numbers = []
    for step in (1, 2, 3):
        answer = seen(op(1), at=daemon.clock(), stats={"total": 9, "sent": step})
        [observation] = await daemon.record((op(1), answer), policy=policy)
        numbers.append(len(observation.events))
    assert numbers == [1, 1, 0]
    assert (await daemon.watch(op(1))).unemitted == {"sent": 1}
    end = await daemon.observe(op(1), "COMPLETED", total=9, delivered=9)
    [recorded] = end.events
    assert recorded.event.data["delta"] == {"sent": -2, "delivered": 9}


@SLOW_ON_POSTGRESQL
async def test_nothing_is_written_where_nothing_changed(daemon: Daemon) -> None:
    """Rows that a sweep leaves as they are cost no write but their next look."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING", total=1)
    [before] = await daemon.rows(watches)
    await daemon.observe(op(1), "PROCESSING", total=1)
    [after] = await daemon.rows(watches)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"due_at", "set_at", "wait", "observed_at", "looks"}
