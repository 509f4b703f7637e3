"""Pages of a list: every tracked operation on them, each delta once, and nothing known is found."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from anyio import to_thread
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import update

from poller.comms.kinds import KINDS, kind_named
from poller.comms.models import Operation, decode_operation
from poller.store.schema import events, watches
from poller.store.sweeps import Listed, Swept
from poller.tracking.answer import FoundAnswer, Verdict
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import NOW, POLICY, Clock, Daemon, op, registration

pytestmark = pytest.mark.anyio

CREATED = NOW - timedelta(hours=1)
HALF = {"total": 10, "queued": 5, "delivered": 5}


def listed(
    number: int,
    status: str = "PROCESSING",
    *,
    created: datetime | None = CREATED,
    updated: datetime | None = None,
    kind: str = "messages",
    stats: Mapping[str, int] = HALF,
    **counters: int,
) -> Operation:
    """Make an operation as a list shows it."""
    document: dict[str, object] = {"id": op(number), "status": status, "stats": counters or stats}
    if created is not None:
        document["createdAt"] = created.isoformat()
    if updated is not None:
        document["updatedAt"] = updated.isoformat()
    return decode_operation(document, kind=kind_named(kind))


async def sweep(
    daemon: Daemon,
    *operations: Operation,
    policy: Policy = POLICY,
    discover: datetime | None = None,
    kind: str = "messages",
) -> Swept:
    """Record a page that arrives now."""
    now = daemon.clock()
    page = Listed(kind=kind, operations=operations, begun_at=now, arrived_at=now)
    return await daemon.store.record_page(page, policy=policy, discover_since=discover)


async def row(daemon: Daemon, number: int) -> dict[str, Any]:
    """Read the stored row of an operation."""
    [found] = [row for row in await daemon.rows(watches) if row["id"] == op(number)]
    return found


async def due_in(daemon: Daemon, number: int) -> float:
    """Tell in how many seconds an operation is due."""
    due_at: datetime = (await row(daemon, number))["due_at"]
    return (due_at - daemon.clock()).total_seconds()


@contextmanager
def statements(daemon: Daemon) -> Iterator[list[str]]:
    """Collect the statements that are run meanwhile."""
    run: list[str] = []

    def note(*arguments: Any) -> None:  # noqa: ANN401 - what SQLAlchemy hands over
        run.append(str(arguments[2]))

    engine = daemon.store._database.engine
    sqlalchemy_event.listen(engine, "after_cursor_execute", note)
    try:
        yield run
    finally:
        sqlalchemy_event.remove(engine, "after_cursor_execute", note)


async def test_every_tracked_operation_is_observed_due_or_not(daemon: Daemon, clock: Clock) -> None:
    """One page refreshes what is due and what is not; what nobody watches is passed by."""
    await daemon.register(op(1), op(2))
    await sweep(daemon, listed(1), listed(2))
    clock.advance(0.5)
    assert await daemon.claim() == []
    done = {"total": 10, "delivered": 10}
    swept = await sweep(
        daemon, listed(1, stats=done), listed(2, "COMPLETED", stats=done), listed(3)
    )
    assert (swept.shown, swept.quiet) == (2, 0)
    assert [observation.verdict for observation in swept.observations] == [Verdict.CHANGED] * 2
    assert [event["type"] for event in await daemon.rows(events)][2:] == [
        "operation.progress",
        "operation.completed",
    ]
    assert len(await daemon.rows(watches)) == 2


async def test_what_is_quiet_costs_one_statement(daemon: Daemon, clock: Clock) -> None:
    """An unchanged operation is neither locked nor judged: its wait doubles, all in one go."""
    numbers = range(200)
    await daemon.register(*(op(number) for number in numbers))
    page = [listed(number) for number in numbers]
    await sweep(daemon, *page)
    for expected in (2, 4, 8):
        clock.advance(100)
        with statements(daemon) as run:
            swept = await sweep(daemon, *page)
        assert (swept.shown, swept.quiet, swept.observations) == (200, 200, [])
        assert sum(statement.startswith("UPDATE") for statement in run) == 1
        assert {(row["wait"], row["set_at"]) for row in await daemon.rows(watches)} == {
            (expected, clock())
        }
        assert await due_in(daemon, 7) == expected


@SLOW_ON_POSTGRESQL
async def test_waits_stay_within_the_settings(daemon: Daemon, clock: Clock) -> None:
    """Doubling in the store keeps the same bounds as doubling anywhere else."""
    policy = Policy(min_interval=3, max_interval=10, progress_interval=0)
    await daemon.register(op(1))
    waits = []
    for _ in range(5):
        await sweep(daemon, listed(1), policy=policy)
        waits.append((await row(daemon, 1))["wait"])
        clock.advance(100)
    assert waits == [3, 6, 10, 10, 10]


@SLOW_ON_POSTGRESQL
async def test_no_news_is_no_reason_to_hurry(daemon: Daemon, clock: Clock) -> None:
    """An operation whose end is foreseen for later than its backoff stays where it is."""
    await daemon.register(op(1))
    await sweep(daemon, listed(1, total=1000, queued=999, delivered=1))
    foreseen = (await row(daemon, 1))["due_at"]
    assert foreseen > clock() + timedelta(seconds=30)
    clock.advance(5)
    swept = await sweep(daemon, listed(1, total=1000, queued=999, delivered=1))
    assert swept.quiet == 1
    assert (await row(daemon, 1))["due_at"] == foreseen


@SLOW_ON_POSTGRESQL
async def test_a_wait_from_the_future_does_not_hold(daemon: Daemon, clock: Clock) -> None:
    """Where the clock went back, a quiet look puts the next one where it belongs."""
    clock.advance(hours=1)
    await daemon.register(op(1))
    await sweep(daemon, listed(1))
    clock.advance(hours=-1)
    await sweep(daemon, listed(1))
    assert await due_in(daemon, 1) == 2


async def test_a_sleep_is_not_cut_short_and_tires_nobody(daemon: Daemon, clock: Clock) -> None:
    """What waits for its schedule is not due before, and begins its backoff afterwards."""
    page = listed(1, "SCHEDULED")
    await daemon.register(op(1))
    await sweep(daemon, page)
    hour = NOW + timedelta(hours=1)
    await _write(daemon, next_request="operation", wait=0, due_at=hour, schedule_read_at=NOW)
    for _ in range(5):
        clock.advance(60)
        swept = await sweep(daemon, page)
        assert (swept.shown, swept.quiet) == (1, 1)
    found = await row(daemon, 1)
    assert (found["wait"], found["due_at"]) == (0, hour)


@pytest.mark.parametrize(
    "case", ["settling", "held back", "expiring", "refused", "no creation", "scheduled too long"]
)
async def test_what_has_something_pending_is_judged(
    daemon: Daemon, clock: Clock, case: str
) -> None:
    """Unchanged, but not quiet: these go the way of any other answer."""
    policy = Policy(progress_interval=60, settle=600 if case == "settling" else 0)
    await daemon.register(op(1))
    match case:
        case "settling":
            page = [listed(1, "COMPLETED", total=2, sent=1, delivered=1)]
            await sweep(daemon, *page, policy=policy)
        case "held back":
            for queued in (9, 8):
                await sweep(daemon, listed(1, total=9, queued=queued), policy=policy)
                clock.advance(1)
            page = [listed(1, total=9, queued=7)]
            await sweep(daemon, *page, policy=policy)
        case "no creation":
            page = [listed(1, created=None)]
            await sweep(daemon, *page, policy=policy)
        case "refused":
            page = [listed(1)]
            await sweep(daemon, *page, policy=policy)
            await _write(daemon, not_found=1)
        case "expiring":
            page = [listed(1, created=NOW - timedelta(days=6, hours=23))]
            await sweep(daemon, *page, policy=policy)
        case _:
            page = [listed(1, "SCHEDULED", created=NOW - timedelta(days=8))]
            await sweep(daemon, *page, policy=policy)
            await _write(daemon, schedule_read_at=NOW, next_request="operation")
    clock.advance(5)
    swept = await sweep(daemon, *page, policy=policy)
    assert (swept.shown, swept.quiet) == (1, 0)
    assert [observation.verdict for observation in swept.observations] == [Verdict.UNCHANGED]
    assert (await row(daemon, 1))["phase"] == ("settling" if case == "settling" else "active")


async def test_a_held_back_change_is_reported_by_a_sweep(daemon: Daemon, clock: Clock) -> None:
    """When progress_interval is over, the same page makes the event."""
    policy = Policy(progress_interval=60)
    await daemon.register(op(1))
    for queued in (9, 8, 7):
        await sweep(daemon, listed(1, total=9, queued=queued), policy=policy)
        clock.advance(1)
    before = await daemon.count(events)
    clock.advance(60)
    swept = await sweep(daemon, listed(1, total=9, queued=7), policy=policy)
    [observation] = swept.observations
    assert [recorded.event.data["delta"] for recorded in observation.events] == [{"queued": -1}]
    assert await daemon.count(events) == before + 1


async def test_stale_items_change_nothing(daemon: Daemon, clock: Clock) -> None:
    """An item older than what is known, or from before its end, is dropped."""
    await daemon.register(op(1))
    await sweep(daemon, listed(1, updated=NOW, total=10, delivered=8))
    clock.advance(60)
    old = NOW - timedelta(seconds=30)
    swept = await sweep(daemon, listed(1, updated=old, total=10, delivered=2))
    assert [observation.verdict for observation in swept.observations] == [Verdict.STALE]
    assert (await row(daemon, 1))["counters"] == {"total": 10, "delivered": 8}
    await sweep(daemon, listed(1, "COMPLETED", updated=NOW, total=10, delivered=10))
    swept = await sweep(daemon, listed(1, updated=NOW, total=10, delivered=9))
    assert (swept.shown, swept.observations) == (0, [])


async def test_a_sweep_and_a_fetch_count_a_delta_once(daemon: Daemon) -> None:
    """A page that arrives while its operation is being fetched: each change makes one event."""
    await daemon.register(op(1))
    assert await daemon.claim() == [op(1)]
    await sweep(daemon, listed(1, updated=NOW, total=10, queued=4, delivered=6))
    assert (await row(daemon, 1))["lease_owner"] == daemon.owner
    await daemon.observe(op(1), "PROCESSING", total=10, queued=4, delivered=6)
    stored = await row(daemon, 1)
    assert stored["lease_owner"] is None
    assert (stored["sequence"], await daemon.count(events)) == (1, 1)


@SLOW_ON_POSTGRESQL
async def test_an_item_twice_is_one(daemon: Daemon) -> None:
    """Pages shift while they are read: the same operation again, on this page or the next."""
    await daemon.register(op(1))
    await sweep(daemon, listed(1), listed(1))
    swept = await sweep(daemon, listed(1))
    assert swept.quiet == 1
    assert await daemon.count(events) == 1


async def test_unknown_ones_are_found(daemon: Daemon) -> None:
    """Each as new as asked for is registered and observed in the same commit."""
    since = NOW - timedelta(hours=2)
    swept = await sweep(
        daemon,
        listed(1),
        listed(2, created=since - timedelta(seconds=1)),
        listed(3, created=since),
        listed(4, created=None),
        listed(5, "COMPLETED"),
        discover=since,
    )
    assert [found.id for found in swept.discovered] == [op(1), op(3), op(5)]
    assert [observation.id for observation in swept.observations] == [op(1), op(3), op(5)]
    assert sorted(event["subject"] for event in await daemon.rows(events)) == [op(1), op(3), op(5)]
    again = await sweep(daemon, listed(1), listed(3), listed(5, "COMPLETED"), discover=since)
    assert (again.discovered, again.shown) == ([], 2)


@SLOW_ON_POSTGRESQL
async def test_without_discovery_nothing_is_found(daemon: Daemon) -> None:
    """A list shows the whole account; only what is watched is looked at."""
    swept = await sweep(daemon, listed(1))
    assert (swept.shown, swept.discovered, await daemon.count(watches)) == (0, [], 0)


@SLOW_ON_POSTGRESQL
@pytest.mark.parametrize("how", ["forgotten", "ended", "pruned"])
async def test_what_is_known_is_never_found(daemon: Daemon, clock: Clock, how: str) -> None:
    """Neither what was forgotten, nor what ended, nor a stub is watched again."""
    await daemon.register(op(1))
    if how == "forgotten":
        await daemon.store.forget(op(1))
    else:
        await daemon.observe(op(1), "COMPLETED", total=1, delivered=1)
        await daemon.drain()
    if how == "pruned":
        clock.advance(days=8)
        await daemon.store.retention.prune(retention_seconds=7 * 86400)
        assert (await row(daemon, 1))["is_stub"]
    before = await row(daemon, 1)
    swept = await sweep(daemon, listed(1), discover=NOW - timedelta(days=9))
    assert (swept.shown, swept.discovered, swept.observations) == (0, [], [])
    assert await row(daemon, 1) == before


@SLOW_ON_POSTGRESQL
async def test_another_kind_or_home_is_left_alone(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """Ids are unique over all kinds: a page of one kind says nothing of another."""
    await daemon.store.register([registration(op(1), "emails")])
    if daemon.on_postgresql:
        other = await open_daemon(
            "other", AccountScope(account="AC2", base_url="https://x.example/v1")
        )
        await other.register(op(2))
    swept = await sweep(daemon, listed(1), listed(2), discover=None)
    assert (swept.shown, await daemon.count(events)) == (0, 0)
    swept = await sweep(daemon, listed(1, kind="emails"), kind="emails")
    assert swept.shown == 1


@SLOW_ON_POSTGRESQL
async def test_what_is_due_is_counted_by_kind(daemon: Daemon, clock: Clock) -> None:
    """Of the kinds asked for, what is due and not being fetched."""
    await daemon.store.register([registration(op(number)) for number in range(3)])
    await daemon.store.register(
        [registration(op(7), "emails"), registration(op(8), "push-notifications")]
    )
    kinds = ("messages", "emails", "sender-pools")
    assert await daemon.store.due_by_kind(kinds=kinds) == {"messages": 3, "emails": 1}
    await daemon.claim(1, kinds=["messages"])
    assert await daemon.store.due_by_kind(kinds=["messages"]) == {"messages": 2}
    await sweep(daemon, *(listed(number) for number in range(3)))
    assert await daemon.store.due_by_kind(kinds=["messages"]) == {}
    clock.advance(3600)
    await daemon.expire_leases()
    assert await daemon.store.due_by_kind(kinds=["messages"]) == {"messages": 3}


async def test_what_is_due_of_all_kinds_is_counted_at_once(daemon: Daemon) -> None:
    """A daemon counts before each request: one statement, however many kinds there are."""
    await daemon.register(op(1))
    with statements(daemon) as run:
        await daemon.store.due_by_kind(kinds=KINDS)
    assert sum("watches" in one for one in run) == 1


async def test_the_reach_of_a_list_is_its_oldest(daemon: Daemon, clock: Clock) -> None:
    """Back to the oldest creation, or to some minutes before what was never seen was registered."""
    assert (await daemon.store.reach(kind="messages")).oldest is None
    await daemon.register(op(1), op(2))
    reach = await daemon.store.reach(kind="messages")
    assert (reach.tracked, reach.oldest) == (2, NOW - timedelta(minutes=10))
    clock.advance(60)
    await sweep(daemon, listed(1), listed(2, created=NOW - timedelta(days=2)))
    assert (await daemon.store.reach(kind="messages")).oldest == NOW - timedelta(days=2)
    await sweep(daemon, listed(2, "COMPLETED"))
    reach = await daemon.store.reach(kind="messages")
    assert (reach.tracked, reach.oldest) == (1, CREATED)


async def test_what_a_sweep_did_not_show_is_still_due(daemon: Daemon, clock: Clock) -> None:
    """Counted from its beginning: what became due meanwhile is not held against it."""
    await daemon.register(op(1), op(2), op(3))
    since = clock()
    await sweep(daemon, listed(1), listed(2))
    clock.advance(100)
    await daemon.register(op(4))
    assert await daemon.store.still_due(kind="messages", since=since) == 1
    assert await daemon.claim(limit=1) == [op(3)]


async def test_pages_in_any_order_lose_no_delta(daemon: Daemon, clock: Clock) -> None:
    """Old and new snapshots by list and fetch, as they come: deltas add up to the newest."""
    chance = Random(3)  # noqa: S311 - a script
    await daemon.register(op(1))
    for _ in range(60):
        clock.advance(chance.random())
        done = chance.randint(0, 10)
        updated = NOW + timedelta(seconds=done)
        stats = {"total": 10, "queued": 10 - done, "delivered": done}
        if chance.random() < 0.5:
            await sweep(daemon, listed(1, updated=updated, stats=stats))
        else:
            item = listed(1, updated=updated, stats=stats)
            await daemon.store.record(
                [(op(1), _fetched(item, clock()))],
                kind="messages",
                policy=POLICY,
                lease_owner=daemon.owner,
            )
    stored = await row(daemon, 1)
    assert stored["counters"] == {"total": 10, "queued": 0, "delivered": 10}
    assert stored["sequence"] == await daemon.count(events)


def _fetched(operation: Operation, at: datetime) -> FoundAnswer:
    return FoundAnswer(found=operation, begun_at=at, arrived_at=at)


async def _write(daemon: Daemon, **values: object) -> None:
    """Change the only row behind everybody's back."""

    def write() -> None:
        with daemon.store._database.writing() as connection:
            connection.execute(update(watches).values(values))

    await to_thread.run_sync(write)
