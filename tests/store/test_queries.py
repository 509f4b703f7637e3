"""What people ask of the store."""

from itertools import permutations

import pytest
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller.store.errors import StoreUnavailable
from poller.store.reports import OperationFilter
from poller.tracking.progress import Recipients
from poller.tracking.watch import Outcome, SortOrder
from tests.examples import times
from tests.store.conftest import SLOW_ON_POSTGRESQL
from tests.store.scenes import Daemon, op, registration, seen

pytestmark = pytest.mark.anyio

AWKWARD = 'a":,{}\\é\ud800\0'
TEXT = st.text(alphabet=AWKWARD, min_size=1, max_size=4)
# few enough that the labels of all examples together, which a watch keeps, stay below its bound
NAME = st.sampled_from([*AWKWARD, *(f'"{one}' for one in AWKWARD), *(f'{one}"' for one in AWKWARD)])


async def listed(daemon: Daemon, wanted: OperationFilter, limit: int = 100) -> list[str]:
    """List ids by following the pages."""
    found: list[str] = []
    before: str | None = None
    while True:
        page = await daemon.store.list_operations(wanted, limit=limit, before=before)
        found += [watch.id for watch in page.watches]
        if (before := page.next_before) is None:
            return found


async def test_pages_of_any_size_hold_the_same(daemon: Daemon) -> None:
    """Each operation once, the greatest id first."""
    await daemon.register(*(op(number) for number in range(7)))
    everything = [op(number) for number in reversed(range(7))]
    for limit in (1, 2, 7, 8):
        assert await listed(daemon, OperationFilter(), limit) == everything


async def test_the_latest_registration_comes_first(daemon: Daemon) -> None:
    """Whatever its id is; pages hold what came at the same moment once."""
    for number in (5, 1, 9):
        await daemon.register(op(number), op(number + 100))
        daemon.clock.advance(1)
    latest_first = [op(109), op(9), op(101), op(1), op(105), op(5)]
    for limit in (1, 3, 100):
        assert await listed(daemon, OperationFilter(), limit) == latest_first


async def failing(daemon: Daemon) -> None:
    """Let operations 1 to 4 have 0, 3, 1 and 3 failed recipients, in two campaigns."""
    for number, failed in ((1, 0), (2, 3), (3, 1), (4, 3)):
        labels = {"campaign": "autumn" if number < 4 else "spring", "number": str(number)}
        await daemon.store.register([registration(op(number), **labels)])
        stats = {"total": 10, "delivered": 5, "failed": failed}
        status = "COMPLETED" if number == 3 else "PROCESSING"
        await daemon.record((op(number), seen(op(number), status, stats=stats)))
        daemon.clock.advance(1)


async def test_the_most_failures_first(daemon: Daemon) -> None:
    """What has none is left out; pages of any size hold each once."""
    await failing(daemon)
    store = daemon.store
    for limit in (1, 2, 9):
        found: list[str] = []
        before: str | None = None
        while True:
            page = await store.list_operations(
                OperationFilter(), limit=limit, before=before, order=SortOrder.FAILED
            )
            found += [watch.id for watch in page.watches]
            if (before := page.next_before) is None:
                break
        assert found == [op(4), op(2), op(3)]
    assert await listed(daemon, OperationFilter(has_failures=True)) == [op(4), op(3), op(2)]


@SLOW_ON_POSTGRESQL
async def test_a_cursor_belongs_to_its_order(daemon: Daemon) -> None:
    """It says so, and shows no other page."""
    await failing(daemon)
    for one, other in permutations(SortOrder):
        page = await daemon.store.list_operations(OperationFilter(), limit=1, order=one)
        with pytest.raises(ValueError, match="another order"):
            await daemon.store.list_operations(
                OperationFilter(), limit=1, before=page.next_before, order=other
            )


async def test_sums_by_label_and_by_group(daemon: Daemon) -> None:
    """Of what a filter chooses; what has no such label is summed up as well."""
    await failing(daemon)
    await daemon.join("g", op(1))
    await daemon.join("g", op(2))
    await daemon.store.register([registration(op(9))])
    by_label = await daemon.store.counts.by_label(OperationFilter(), "campaign", limit=9)
    assert [(one.value, one.operations, one.watching) for one in by_label.sums] == [
        ("autumn", 3, 2),
        ("spring", 1, 1),
        (None, 1, 1),
    ]
    assert [one.recipients for one in by_label.sums] == [
        Recipients(total=30, done=19, failed=4),
        Recipients(total=10, done=8, failed=3),
        Recipients(),
    ]
    assert [one.with_failures for one in by_label.sums] == [2, 1, 0]
    by_group = await daemon.store.counts.by_group(OperationFilter(), limit=1)
    assert [(one.value, one.recipients.failed) for one in by_group.sums] == [(None, 4)]
    assert by_group.omitted == 1
    chosen = OperationFilter(labels=[("campaign", "autumn")], has_failures=True)
    by_group = await daemon.store.counts.by_group(chosen, limit=9)
    assert [(one.value, one.operations) for one in by_group.sums] == [("g", 1), (None, 1)]


async def test_ends_are_counted(daemon: Daemon) -> None:
    """What is forgotten is neither running nor ended."""
    await failing(daemon)
    await daemon.store.forget(op(1))
    ends = await daemon.store.counts.ends()
    assert ends.running == 2
    assert {outcome: number for outcome, number in ends.ended.items() if number} == {
        Outcome.COMPLETED: 1
    }


async def test_a_filter_looks_at_what_was_seen_last(daemon: Daemon) -> None:
    """The status of the last accepted answer, also before the next event."""
    await daemon.register(op(1), op(2))
    await daemon.observe(op(1), "SCHEDULED")
    await daemon.observe(op(1), "PROCESSING")
    assert await listed(daemon, OperationFilter(statuses=["SCHEDULED"])) == []
    assert await listed(daemon, OperationFilter(statuses=["PROCESSING"])) == [op(1)]


@settings(max_examples=times(0.4), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.dictionaries(NAME, TEXT, max_size=3), min_size=1, max_size=5),
    wanted=st.tuples(NAME, TEXT),
)
async def test_labels_match_exactly_whatever_they_hold(
    daemon: Daemon, labels: list[dict[str, str]], wanted: tuple[str, str]
) -> None:
    """Quotes, commas, escapes, halves of surrogate pairs: a label is its name and its value."""
    for number in range(5):
        await daemon.store.forget(op(number))
    registrations = [registration(op(number)) for number in range(5)]
    for number, own in enumerate(labels):
        registrations[number] = registration(op(number), **own)
    results = await daemon.store.register(registrations)
    watches = [result.watch for result in reversed(results) if result.watch is not None]
    assert len(watches) == 5
    for name, value in [wanted, *(label for own in labels for label in own.items())]:
        expected = [watch.id for watch in watches if watch.labels.get(name) == value]
        assert await listed(daemon, OperationFilter(labels=[(name, value)])) == expected


async def test_a_store_that_takes_writes_is_proved(daemon: Daemon) -> None:
    """Nothing is changed by it; a closed store is found out."""
    event, *_ = await daemon.run_through(op(1))
    await daemon.store.prove_writable()
    await daemon.observe(op(1), "PROCESSING")
    assert await daemon.store.find_cursor(event) is not None


async def test_a_store_that_refuses_is_reported(daemon: Daemon) -> None:
    """The error is the store's own, as for every other write."""

    def break_it() -> None:
        with daemon.store._database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE counters RENAME TO moved")

    await to_thread.run_sync(break_it)
    with pytest.raises(StoreUnavailable, match="counters"):
        await daemon.store.prove_writable()
