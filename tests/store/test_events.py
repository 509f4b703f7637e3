"""The feed: every event in commit order, and gaps that are never silent."""

import pytest

from poller.store.events import Cursor, Page
from poller.tracking.watch import AccountScope
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import Daemon, op

pytestmark = pytest.mark.anyio

START = Cursor(position=0)


def ids(page: Page) -> list[str]:
    """Return the ids of a page."""
    return [event.id for event in page.events]


async def prune(daemon: Daemon) -> None:
    """Let retention take what has ended and is delivered."""
    await daemon.drain()
    daemon.clock.advance(days=2)
    await daemon.store.retention.prune(retention_seconds=60)


@SLOW_ON_POSTGRESQL
async def test_pages_follow_each_other(daemon: Daemon) -> None:
    """Each event once, in the order of recording; an empty page stays where it was."""
    recorded = await daemon.run_through(op(1)) + await daemon.run_through(op(2))
    seen: list[str] = []
    mark = START
    while (page := await daemon.store.event_page(after=mark, limit=4)).events:
        seen += ids(page)
        mark = page.end
    assert seen == recorded
    assert page.end == mark == await daemon.store.last_cursor()
    assert mark.event_id == recorded[-1]


async def test_a_page_of_one_operation_moves_past_the_others(daemon: Daemon) -> None:
    """The end is behind all that was looked at, so that nothing is read twice."""
    one = await daemon.run_through(op(1))
    await daemon.run_through(op(2))
    last = await daemon.store.last_cursor()
    page = await daemon.store.event_page(after=START, limit=10, operations=[op(1)])
    assert ids(page) == one
    assert page.end == last
    full = await daemon.store.event_page(after=START, limit=2, operations=[op(1)])
    assert full.end.event_id == one[1]


@SLOW_ON_POSTGRESQL
async def test_a_mark_is_found_by_its_event(daemon: Daemon) -> None:
    """What comes behind it is what was recorded after it."""
    first, second, third = await daemon.run_through(op(1))
    mark = await daemon.store.find_cursor(first)
    assert mark is not None
    assert ids(await daemon.store.event_page(after=mark, limit=10)) == [second, third]
    assert await daemon.store.find_cursor("unknown") is None


@SLOW_ON_POSTGRESQL
async def test_nobody_resumes_across_what_retention_took(daemon: Daemon) -> None:
    """Not behind a pruned event, and not before one; behind all of them it goes on."""
    await daemon.register(op(9))
    before = await daemon.observe(op(9), "PROCESSING", delivered=1)
    pruned = await daemon.run_through(op(1))
    after = await daemon.observe(op(9), "PROCESSING", delivered=2)
    await prune(daemon)
    for event in [before.events[0].id, *pruned]:
        assert await daemon.store.find_cursor(event) is None
    kept = after.events[0].id
    assert (await daemon.store.find_cursor(kept)) == await daemon.store.last_cursor()
    page = await daemon.store.event_page(after=START, limit=10)
    assert ids(page) == [before.events[0].id, kept]
    assert page.pruned_to == 4


@SLOW_ON_POSTGRESQL
async def test_the_last_cursor_outlives_its_event(daemon: Daemon) -> None:
    """Where the newest event was pruned, nothing before it is mistaken for the end."""
    await daemon.register(op(9))
    await daemon.observe(op(9), "PROCESSING")
    await daemon.run_through(op(1))
    await prune(daemon)
    mark = await daemon.store.last_cursor()
    assert mark == Cursor(position=4)
    page = await daemon.store.event_page(after=mark, limit=10)
    assert (page.events, page.pruned_to) == ([], 4)
    later = await daemon.observe(op(9), "PROCESSING", delivered=1)
    page = await daemon.store.event_page(after=mark, limit=10)
    assert ids(page) == [later.events[0].id]


@SLOW_ON_POSTGRESQL
async def test_an_empty_store_begins_at_nothing(daemon: Daemon) -> None:
    """There is no id to come back with."""
    assert await daemon.store.last_cursor() == START


@SLOW_ON_POSTGRESQL
async def test_each_home_has_its_own_feed(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """Events and prunings of another account are not seen."""
    elsewhere = AccountScope(account="AC2", base_url="https://comms.example.com/v1")
    other = await open_daemon("other", elsewhere, as_daemon=daemon.on_postgresql)
    theirs = await other.run_through(op(1))
    assert (await daemon.store.event_page(after=START, limit=10)).events == []
    assert await daemon.store.find_cursor(theirs[0]) is None
    await prune(other)
    assert (await daemon.store.event_page(after=START, limit=10)).pruned_to == 0
