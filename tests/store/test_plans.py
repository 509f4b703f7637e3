"""Query plans: what runs all the time reads an index, not the table."""

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Table, event, update

from poller.store.database import Database
from poller.store.group_reports import GroupFilter
from poller.store.reports import OperationFilter
from poller.store.schema import counters, deliveries, events, watches
from poller.store.store import Store
from poller.store.sweeps import Listed
from poller.tracking.alert import AlertRule, AlertSubject
from poller.tracking.delivery import AttemptResult
from poller.tracking.hint import HintEffect
from poller.tracking.pacing import Policy
from poller.tracking.watch import HintStrength, SortOrder
from tests.store.scenes import HOME, Clock, Daemon, declare, op, seen, snapshot

pytestmark = pytest.mark.anyio

# a scan of a table itself, not one "USING INDEX" or of a CTE
SCAN = re.compile(r"SCAN (watches|deliveries|events|groups)(_\d+)?$")


@pytest.fixture(scope="module")
def crowded_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a file with copies of three operations: 10,000, and 20,000 events and deliveries."""
    path = Path(shutil.copy(migrated_file, tmp_path_factory.mktemp("crowded")))
    anyio.run(make_three, f"sqlite:///{path}")
    database = Database(f"sqlite:///{path}")
    with database.writing() as connection:
        for table in (watches, events, deliveries):
            connection.exec_driver_sql(cloning(table, 3_333))
        connection.execute(update(counters).values(value=100_000))
    database.close()
    return path


async def make_three(url: str) -> None:
    """Make an operation that is under way, one that is scheduled, and one that has ended."""
    clock = Clock()
    store = await Store.open(url, HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await store.configure_sinks(declare("app"))
    await daemon.run_through(op(1))
    await daemon.drain()
    await daemon.register(op(2), op(3))
    await daemon.observe(op(2), "SCHEDULED")
    await daemon.observe(op(2), "PROCESSING")
    await daemon.observe(op(3), "SCHEDULED")
    # the copies of one are the members of a group
    await daemon.join("autumn", op(2))
    await store.aclose()


def cloning(table: Table, times: int) -> str:
    """Write the statement that adds `times` rows like each of a table, of other operations."""
    changed = {"id": "id || printf('%05d', n)", "subject": "subject || printf('%05d', n)"}
    changed["position"] = "position + 10 * n"
    names = [column.name for column in table.columns]
    return (
        f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT {times})"  # noqa: S608 - our own names
        f" INSERT INTO {table.name} ({', '.join(names)})"
        f" SELECT {', '.join(changed.get(name, name) for name in names)} FROM {table.name}, numbers"
    )


@pytest.fixture
async def crowded(crowded_file: Path, tmp_path: Path, clock: Clock) -> AsyncIterator[Daemon]:
    """Open a copy of the crowded file."""
    path = shutil.copy(crowded_file, tmp_path)
    store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
    clock.advance(1)
    yield Daemon(store, clock, "first")
    await store.aclose()


@contextmanager
def plans(daemon: Daemon) -> Iterator[list[str]]:
    """Collect the plan of every statement that is run."""
    lines: list[str] = []

    def explain(*arguments: object) -> None:
        connection, _, statement, parameters, _, of_many = arguments
        raw = connection.connection.cursor()  # type: ignore[attr-defined]  # a Connection
        if re.match(r"\s*(WITH|SELECT|UPDATE|DELETE)", str(statement)):
            one = parameters[0] if of_many else parameters  # type: ignore[index]  # a list of them
            rows = raw.execute(f"EXPLAIN QUERY PLAN {statement}", one)
            lines.extend(row[3] for row in rows)
        raw.close()

    engine = daemon.store._database.engine
    event.listen(engine, "before_cursor_execute", explain)
    yield lines
    event.remove(engine, "before_cursor_execute", explain)


async def test_what_runs_all_the_time_uses_an_index(crowded: Daemon) -> None:
    """Claiming, recording, exchanging in both modes, with and without something due."""
    with plans(crowded) as lines:
        claimed = await crowded.claim(limit=100)
        await crowded.record(*((one, seen(one, stats={"sent": 2})) for one in claimed))
        await crowded.store.release(claimed, crowded.owner)
        assert await crowded.claim(kinds=["emails"]) == []
        for in_order in (False, True):
            due = await crowded.deliveries(limit=100, in_order=in_order)
            assert len(due) == 100
            await crowded.settle(due[:50], AttemptResult.DELIVERED)
            await crowded.settle(due[50:], AttemptResult.REFUSED, status=400)
        assert await crowded.deliveries("other") == []
        await crowded.store.waiting_ids("app", 100)
    assert len(lines) > 20
    assert [line for line in lines if SCAN.search(line)] == []
    searched = [line for line in lines if re.search(r"SEARCH (watches|deliveries)", line)]
    assert all("USING" in line for line in searched)


async def test_hints_use_indexes(crowded: Daemon) -> None:
    """Also among 10,000 operations: they come by the thousand."""
    with plans(crowded) as lines:
        hinted = await crowded.store.record_hints(
            {op(number): HintStrength.DIRECT for number in range(1, 300)},
            policy=Policy(progress_interval=10),
            most=50,
            discovers=False,
        )
    assert HintEffect.UNKNOWN in hinted.effects
    assert [line for line in lines if SCAN.search(line)] == []


@contextmanager
def steps(daemon: Daemon) -> Iterator[list[int]]:
    """Count the thousands of steps that SQLite takes for every statement that is run."""
    taken: list[int] = []

    def count() -> int:
        taken.append(1)
        return 0

    def watch(connection: object, *_: object) -> None:
        connection.connection.set_progress_handler(count, 1000)  # type: ignore[attr-defined]  # a Connection

    engine = daemon.store._database.engine
    event.listen(engine, "before_cursor_execute", watch)
    yield taken
    event.remove(engine, "before_cursor_execute", watch)


async def test_a_claim_costs_what_it_takes(crowded: Daemon) -> None:
    """After an outage everything is due at once: no claim reads or sorts all that waits."""
    with steps(crowded) as taken:
        await crowded.claim(limit=10)
        await crowded.claim(limit=10, kinds=["emails", "sender-pools"])
        for in_order in (False, True):
            assert len(await crowded.deliveries(limit=10, in_order=in_order)) == 10
    assert len(taken) < 30


async def test_a_page_costs_what_it_shows(crowded: Daemon) -> None:
    """A page is found by its ids, not by reading all that is tracked."""
    names = [f"{op(2)}{number:05d}" for number in range(1, 101)]
    with steps(crowded) as taken:
        swept = await crowded.store.record_page(
            Listed(
                kind="messages",
                operations=[snapshot(name) for name in names],
                begun_at=crowded.clock(),
                arrived_at=crowded.clock(),
            ),
            policy=Policy(),
            discover_since=None,
        )
    assert swept.shown == 100
    assert len(taken) < 60


async def test_retention_looks_only_at_what_has_ended(crowded: Daemon) -> None:
    """One step of it reads neither all operations nor all deliveries."""
    crowded.clock.advance(days=2)
    with plans(crowded) as lines:
        await crowded.store.retention.prune(retention_seconds=60)
    assert lines
    assert [line for line in lines if SCAN.search(line)] == []


async def test_a_group_is_read_by_its_name(crowded: Daemon) -> None:
    """Its row, its members and what it held back; recording reads no other member."""
    member = f"{op(2)}00001"
    with plans(crowded) as lines, steps(crowded) as taken:
        await crowded.record((member, seen(member, stats={"sent": 2})))
        await crowded.seal("autumn", 9_999)
        await crowded.store.groups.record_due(policy=Policy())
        await crowded.store.groups.unsealed(crowded.clock(), limit=9)
        found = await crowded.store.list_operations(OperationFilter(group="autumn"), limit=9)
    assert len(found.watches) == 9
    assert lines
    assert [line for line in lines if SCAN.search(line)] == []
    assert len(taken) < 20


async def test_standstill_is_found_by_an_index(crowded: Daemon) -> None:
    """What has ended is not read, and of groups only their own members."""
    rules = tuple(AlertRule(name=f"of_{of}", of=of, stalled=60) for of in AlertSubject)
    crowded.clock.advance(days=1)
    with plans(crowded) as lines:
        await crowded.store.record_standstill(Policy(alerts=rules))
    assert lines
    assert [line for line in lines if SCAN.search(line)] == []


async def test_counts_for_the_page_read_indexes_alone(crowded: Daemon) -> None:
    """Every open page asks for them every few seconds; the rows are wide."""
    with plans(crowded) as lines:
        ends = await crowded.store.counts.ends()
    assert (ends.running, sum(ends.ended.values())) == (6_668, 3_334)
    assert all("USING COVERING INDEX" in line for line in lines if "watches" in line), lines


async def test_failures_are_found_by_an_index(crowded: Daemon) -> None:
    """In either order; what has no failures is not read."""
    some = [f"{op(2)}{number:05d}" for number in range(1, 31)]
    await crowded.record(*((one, seen(one, stats={"failed": 2})) for one in some))
    with plans(crowded) as lines, steps(crowded) as taken:
        for order in SortOrder:
            page = await crowded.store.list_operations(
                OperationFilter(has_failures=True), limit=20, order=order
            )
            assert len(page.watches) == 20
            page = await crowded.store.list_operations(
                OperationFilter(has_failures=True), limit=20, order=order, before=page.next_before
            )
            assert len(page.watches) == 10
    assert [line for line in lines if SCAN.search(line) or "TEMP B-TREE" in line] == [], lines
    assert len(taken) < 10


async def test_a_list_of_groups_reads_no_member(crowded: Daemon) -> None:
    """However many members they have: the rate is in the row."""
    with plans(crowded) as lines:
        await crowded.store.groups.list(GroupFilter(), limit=9)
        await crowded.store.groups.find("autumn", latest=0)
    assert [line for line in lines if "watches" in line] == []
