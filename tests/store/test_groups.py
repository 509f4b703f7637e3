"""Groups in the store: counted in the transactions that change their members, on both databases."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from poller.comms.decoding import LARGEST_COUNTER
from poller.comms.kinds import DEFAULT_KIND
from poller.comms.models import ErrorPage, MessagePage
from poller.store import group_retention
from poller.store.events import Cursor, StoredEvent
from poller.store.group_reports import GroupFilter, GroupState, state_of
from poller.store.groups import UnknownGroup
from poller.store.reports import OperationFilter
from poller.store.rows import watch_of
from poller.store.schema import events, group_breakdowns, groups, watches
from poller.tracking.answer import BreakdownAnswer
from poller.tracking.breakdown.reading import progress_of
from poller.tracking.breakdown.steps import ReadErrors, request
from poller.tracking.member_sums import MemberCounts, share_labels
from poller.tracking.pacing import Policy
from poller.tracking.registration import Conflict, Registration
from poller.tracking.watch import AccountScope, Phase
from tests.oracle import judge
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import HOME, POLICY, Daemon, op, seen

pytestmark = pytest.mark.anyio

SLOW = Policy(progress_interval=10)
EXPLAINING = Policy(progress_interval=0, breakdown=True)


def types(stored: Sequence[StoredEvent]) -> list[str]:
    """Return the types of events."""
    return [event.type for event in stored]


async def history(daemon: Daemon, subject: str) -> list[dict[str, Any]]:
    """Return all events of a subject."""
    rows = await daemon.rows(events)
    return [json.loads(row["body"]) for row in rows if row["subject"] == subject]


async def story(daemon: Daemon, group: str) -> list[dict[str, Any]]:
    """Return all events of a group."""
    return await history(daemon, f"{daemon.store.scope.id}/{group}")


async def check_sums(daemon: Daemon, name: str) -> None:
    """Count the members of a group again, and compare with its row."""
    rows = [row for row in await daemon.rows(watches) if row["group_name"] == name]
    members = [watch_of(row, HOME) for row in rows]  # type: ignore[arg-type]  # a dict does
    standing = Counter(
        "watching" if one.phase in {Phase.ACTIVE, Phase.SETTLING} else str(one.outcome)
        for one in members
    )
    sums: Counter[str] = Counter()
    for one in members:
        sums.update(one.known_counters)
    group = await daemon.group(name)
    assert group.members == MemberCounts(total=len(members), **standing)
    assert +Counter(group.stats) == +sums
    assert group.labels == share_labels([one.labels for one in members])
    assert not judge(await story(daemon, name), ended=False).problems


async def test_a_group_is_counted_to_its_end(daemon: Daemon) -> None:
    """In each transaction after the events of its members; delivered like any other event."""
    [_, second] = await daemon.join("autumn", op(1), op(2), campaign="a")
    assert types(second.events) == ["group.progress"]
    first = await daemon.observe(op(1), "PROCESSING", total=3, queued=3)
    assert types(first.events) == ["operation.processing", "group.progress"]
    await daemon.observe(op(1), "COMPLETED", total=3, delivered=3)
    await check_sums(daemon, "autumn")
    sealed = await daemon.seal("autumn")
    assert (sealed.group.expected, list(sealed.events)) == (2, [])
    last = await daemon.observe(op(2), "CANCELED", total=2, canceled=2)
    assert types(last.events) == ["operation.canceled", "group.completed"]
    await check_sums(daemon, "autumn")
    events = await story(daemon, "autumn")
    assert not judge(events).problems
    assert events[-1]["data"]["stats"] == {"total": 5, "queued": 0, "delivered": 3, "canceled": 2}
    assert events[-1]["data"]["labels"] == {"campaign": "a"}
    gone = await daemon.drain()
    assert [event.sequence for event in gone if event.is_of_group] == [1, 2, 3, 4]
    assert {event.subject for event in gone} == {"autumn", op(1), op(2)}


@SLOW_ON_POSTGRESQL
async def test_a_seal_may_come_last_and_is_repeatable(daemon: Daemon) -> None:
    """It makes the end; another one makes nothing."""
    await daemon.join("autumn", op(1))
    await daemon.observe(op(1), "COMPLETED", delivered=1)
    sealed = await daemon.seal("autumn")
    assert types(sealed.events) == ["group.completed"]
    again = await daemon.seal("autumn")
    assert (list(again.events), again.group) == ([], sealed.group)
    assert await daemon.seal("autumn", 1) == again
    with pytest.raises(Conflict):
        await daemon.seal("autumn", 2)


async def test_what_is_not_known_is_sealed_only_with_a_number(daemon: Daemon) -> None:
    """Which may come before the first member."""
    with pytest.raises(UnknownGroup, match=r"no group autumn is known; .*--expected"):
        await daemon.seal("autumn")
    assert (await daemon.seal("autumn", 2)).group.sealed_at is None
    results = await daemon.join("autumn", op(1), op(2), op(3))
    assert [result.conflict is None for result in results] == [True, True, False]
    assert "was sealed" in str(results[2].conflict)
    await check_sums(daemon, "autumn")
    with pytest.raises(Conflict, match="sealed"):
        await daemon.store.register(
            [Registration(id=op(number), kind="messages", group="autumn") for number in (4, 1)],
            all_or_none=True,
        )
    assert len(await daemon.rows(watches)) == 2


async def test_what_is_forgotten_leaves(daemon: Daemon) -> None:
    """Its counters are subtracted, and it may join another group."""
    await daemon.join("autumn", op(1), op(2))
    await daemon.observe(op(1), "PROCESSING", sent=5)
    forgotten = await daemon.forget(op(1))
    assert types(forgotten.events) == ["group.progress"]
    assert (await story(daemon, "autumn"))[-1]["data"]["delta"] == {"sent": -5}
    await daemon.join("winter", op(1))
    assert (await daemon.group("winter")).stats == {"sent": 5}
    [refused] = await daemon.join("winter", op(2))
    assert "is in the group autumn" in str(refused.conflict)
    for name in ("autumn", "winter"):
        await check_sums(daemon, name)


async def test_labels_are_compared_again_where_one_leaves(daemon: Daemon) -> None:
    """Or where they change."""
    await daemon.join("autumn", op(1), campaign="a", part="1")
    await daemon.join("autumn", op(2), campaign="a", part="2")
    await check_sums(daemon, "autumn")
    await daemon.join("autumn", op(2), part="1")
    await check_sums(daemon, "autumn")
    await daemon.join("autumn", op(3), campaign="b")
    await daemon.forget(op(3))
    await check_sums(daemon, "autumn")
    assert (await daemon.group("autumn")).labels == {"campaign": "a", "part": "1"}


@SLOW_ON_POSTGRESQL
async def test_one_registration_makes_one_event_a_group(daemon: Daemon) -> None:
    """Members of several groups in one request, some of them known, from chunk to chunk."""
    await daemon.register(*(op(number) for number in range(0, 1_200, 100)))
    wanted = [
        Registration(id=op(number), kind="messages", group=f"g{number % 2}")
        for number in range(1_200)
    ]
    results = await daemon.store.register(wanted, policy=POLICY)
    assert [event.subject for result in results for event in result.events] == ["g0", "g1"]
    assert [event.subject for event in results[-1].events] == ["g0", "g1"]
    await check_sums(daemon, "g0")
    assert (await daemon.group("g1")).members == MemberCounts(total=600, watching=600)


async def test_progress_that_is_held_back_comes_when_it_is_due(daemon: Daemon) -> None:
    """A stored time: a restart does not lose it, and nothing is idle before."""
    await daemon.join("autumn", op(1))
    await daemon.record((op(1), seen(op(1), stats={"sent": 1})), policy=SLOW)
    assert (await daemon.store.summary(since=daemon.clock())).held_back == 1
    assert await daemon.store.groups.record_due(policy=SLOW) == []
    daemon.clock.advance(10)
    [change] = await daemon.store.groups.record_due(policy=SLOW)
    assert types(change.events) == ["group.progress"]
    assert await daemon.store.groups.record_due(policy=SLOW) == []
    assert (await daemon.store.summary(since=daemon.clock())).held_back == 0
    await daemon.record((op(1), seen(op(1), stats={"sent": 2})), policy=SLOW)
    daemon.clock.advance(hours=-1)
    await daemon.store.void_future_waits()
    [change] = await daemon.store.groups.record_due(policy=SLOW)
    assert types(change.events) == ["group.progress"]


@SLOW_ON_POSTGRESQL
async def test_a_poll_that_shows_nothing_new_does_not_touch_the_group(daemon: Daemon) -> None:
    """Neither its row nor its events."""
    await daemon.join("autumn", op(1))
    await daemon.observe(op(1), "PROCESSING", sent=1)
    before = await daemon.rows(groups)
    quiet = await daemon.observe(op(1), "PROCESSING", sent=1)
    assert (list(quiet.events), await daemon.rows(groups)) == ([], before)


async def test_sums_of_the_largest_counters_are_stored(daemon: Daemon) -> None:
    """One operation with absurd numbers must not keep the answers about others from the store."""
    members = [op(number) for number in range(1, 4)]
    await daemon.join("autumn", *members)
    largest = dict.fromkeys(DEFAULT_KIND.counters, LARGEST_COUNTER)
    for member in members:
        await daemon.observe(member, "PROCESSING", **largest)
    await check_sums(daemon, "autumn")
    assert not judge(await story(daemon, "autumn"), ended=False).problems


async def test_two_daemons_count_one_group(daemon: Daemon, another: Daemon) -> None:
    """At the same moment, each with members of its own: no change is lost, none counted twice."""
    names = [op(number) for number in range(12)]
    await daemon.join("autumn", *names)
    await daemon.seal("autumn")

    async def finish(who: Daemon, mine: Sequence[str]) -> None:
        for name in mine:
            await who.observe(name, "PROCESSING", total=2, sent=1)
            await who.observe(name, "COMPLETED", total=2, delivered=2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finish, daemon, names[::2])
        tasks.start_soon(finish, another, names[1::2])
    await check_sums(daemon, "autumn")
    events = await story(daemon, "autumn")
    assert not judge(events).problems
    assert [event["type"] for event in events].count("group.completed") == 1


async def test_two_daemons_make_one_group(daemon: Daemon, another: Daemon) -> None:
    """Both register its first members at the same moment."""
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            for who, offset in ((daemon, 0), (another, 100)):
                tasks.start_soon(who.join, f"g{number}", op(number + offset))
    for number in range(4):
        await check_sums(daemon, f"g{number}")
        assert (await daemon.group(f"g{number}")).members.total == 2


async def read_breakdown(daemon: Daemon, operation: str, *codes: int) -> list[str]:
    """Answer all that is asked about what failed; the types of events of the last answer."""
    errors = [{"code": code, "message": f"no {code}"} for code in codes]
    while True:
        watch = await daemon.watch(operation)
        asked = request(progress_of(watch))
        assert asked is not None
        is_first = isinstance(asked, ReadErrors)
        found = (
            ErrorPage(errors=errors, next_token=None)
            if is_first
            else MessagePage(messages=(), problems=(), next_token=None)
        )
        now = daemon.clock()
        answer = BreakdownAnswer(request=asked, found=found, begun_at=now, arrived_at=now)
        [observation] = await daemon.record((operation, answer), policy=EXPLAINING)
        if observation.watch is not None and observation.watch.phase is not Phase.EXPLAINING:
            return types(observation.events)


async def end_with_failures(daemon: Daemon, operation: str) -> list[str]:
    """Let an operation end whose failures are to be read."""
    answer = seen(operation, "COMPLETED", stats={"total": 2, "failed": 2})
    [observation] = await daemon.record((operation, answer), policy=EXPLAINING)
    return types(observation.events)


async def test_the_breakdown_of_a_group_is_that_of_its_members(daemon: Daemon) -> None:
    """It comes with the last member's; one that was read before the member joined counts."""
    await daemon.register(op(1))
    await end_with_failures(daemon, op(1))
    assert await read_breakdown(daemon, op(1), 30003, 30005) == ["operation.breakdown"]
    await daemon.join("autumn", op(1), op(2), op(3))
    await daemon.seal("autumn")
    assert await end_with_failures(daemon, op(2)) == ["operation.completed", "group.progress"]
    assert await end_with_failures(daemon, op(3)) == ["operation.completed", "group.completed"]
    assert await read_breakdown(daemon, op(2), 30003) == ["operation.breakdown"]
    assert len(await daemon.rows(group_breakdowns)) == 1
    last = await read_breakdown(daemon, op(3), 30003, 30003)
    assert last == ["operation.breakdown", "group.breakdown"]
    events = await story(daemon, "autumn")
    assert not judge(events).problems
    found = {one["code"]: one["count"] for one in events[-1]["data"]["breakdown"]["errors"]}
    assert found == {30003: 4, 30005: 1}
    assert await daemon.rows(group_breakdowns) == []
    assert await daemon.store.groups.record_due(policy=POLICY) == []


async def test_members_are_kept_until_the_group_ends(daemon: Daemon) -> None:
    """Then they and its events go, and its name stays taken for 14 days."""
    await daemon.join("autumn", op(1))
    await daemon.observe(op(1), "COMPLETED", delivered=1)
    await daemon.drain()
    daemon.clock.advance(days=8)
    assert (await daemon.store.retention.prune(retention_seconds=86_400)).operations == 0
    await daemon.seal("autumn")
    await daemon.drain()
    daemon.clock.advance(days=2)
    assert (await daemon.store.retention.prune(retention_seconds=86_400)).operations == 1
    assert await daemon.rows(events) == []
    assert (await daemon.store.groups.list(GroupFilter(), limit=9)).groups == []
    [refused] = await daemon.join("autumn", op(2))
    assert "use another name" in str(refused.conflict)
    assert (await daemon.store.groups.find("autumn", latest=9)) is not None
    daemon.clock.advance(days=13)
    await daemon.store.retention.prune(retention_seconds=86_400)
    assert await daemon.rows(groups) == []
    [joined] = await daemon.join("autumn", op(2))
    assert (joined.conflict, joined.events[0].sequence) == (None, 1)


@SLOW_ON_POSTGRESQL
async def test_what_waits_for_a_sink_is_kept(daemon: Daemon) -> None:
    """However old it is."""
    await daemon.join("autumn", op(1))
    await daemon.observe(op(1), "COMPLETED", delivered=1)
    await daemon.seal("autumn")
    daemon.clock.advance(days=8)
    await daemon.store.retention.prune(retention_seconds=86_400)
    gone = await daemon.drain()
    assert "group.completed" in types(gone)


async def test_what_waits_for_a_sink_does_not_hold_up_other_groups(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: a step passes them, and the next round reads them again."""
    monkeypatch.setattr(group_retention, "_STEP", 1)
    for name, number in (("a", 1), ("b", 2)):
        await daemon.join(name, op(number))
        await daemon.observe(op(number), "COMPLETED", delivered=1)
        await daemon.seal(name)
    await daemon.drain()
    await daemon.store.replay_event((await story(daemon, "a"))[-1]["id"], None)
    daemon.clock.advance(days=8)
    steps = [await daemon.store.retention.prune(retention_seconds=86_400) for _ in range(3)]
    assert [step.more for step in steps] == [True, True, False]
    assert len(await story(daemon, "a")) > 0
    assert await story(daemon, "b") == []


@SLOW_ON_POSTGRESQL
async def test_a_group_that_nobody_joins_is_given_up(daemon: Daemon) -> None:
    """Without an event."""
    await daemon.seal("autumn", 3)
    daemon.clock.advance(days=2)
    await daemon.store.retention.prune(retention_seconds=86_400)
    assert (await daemon.group("autumn")).ended_at == daemon.clock()
    [refused] = await daemon.join("autumn", op(2))
    assert "ended at" in str(refused.conflict)
    assert await daemon.rows(events) == []


async def test_groups_are_listed_and_counted(daemon: Daemon) -> None:
    """The latest first, page by page, by where they stand; a stranger's are not seen."""
    for number, name in enumerate(["a", "b", "c", "d"]):
        daemon.clock.advance(1)
        await daemon.join(name, op(number))
    await daemon.seal("b")
    await daemon.observe(op(2), "COMPLETED", delivered=1)
    await daemon.seal("c")
    ask = daemon.store.groups
    page = await ask.list(GroupFilter(), limit=3)
    assert [group.name for group in page.groups] == ["d", "c", "b"]
    rest = await ask.list(GroupFilter(), limit=3, before=page.next_before)
    assert ([group.name for group in rest.groups], rest.next_before) == (["a"], None)
    for state, names in {"open": ["d", "a"], "sealed": ["b"], "ended": ["c"]}.items():
        found = await ask.list(GroupFilter(states=[GroupState(state)]), limit=9)
        assert [group.name for group in found.groups] == names
        assert {state_of(group) for group in found.groups} == {state}
    assert await ask.count() == {"open": 2, "sealed": 1, "ended": 1}
    detail = await ask.find("c", latest=1)
    assert detail is not None
    assert types(detail.timeline.events) == ["group.completed"]
    assert detail.timeline.omitted == 2
    [status] = detail.timeline.deliveries[detail.timeline.events[0].position]
    assert (status.sink, status.blocked_by is None) == ("app", False)
    assert await ask.find("e", latest=1) is None
    members = await daemon.store.list_operations(OperationFilter(group="c"), limit=9)
    assert [watch.id for watch in members.watches] == [op(2)]
    assert members.watches[0].group == "c"


async def test_the_stream_has_the_events_of_groups(daemon: Daemon) -> None:
    """All of them, or those of one group with its members, and of some operations."""
    await daemon.join("a", op(1))
    await daemon.join("b", op(2))
    await daemon.observe(op(1), "PROCESSING", sent=1)
    start = Cursor(position=0)
    everything = await daemon.store.event_page(after=start, limit=9)
    assert [one.subject for one in everything.events] == ["a", "b", op(1), "a"]
    one = await daemon.store.event_page(after=start, limit=9, groups=["a"], operations=[op(2)])
    assert [event.subject for event in one.events] == ["a", op(1), "a"]


async def test_groups_that_wait_for_their_seal_are_found(daemon: Daemon) -> None:
    """From the moment on at which the last member ended; groups that all have left hide none."""
    await daemon.seal("empty", 2)
    await daemon.join("left", op(3))
    await daemon.store.forget(op(3))
    await daemon.join("autumn", op(1), op(2))
    await daemon.observe(op(1), "COMPLETED")
    daemon.clock.advance(60)
    await daemon.observe(op(2), "COMPLETED")
    ended_at = daemon.clock()
    daemon.clock.advance(days=2)
    ask = daemon.store.groups
    [found] = await ask.unsealed(daemon.clock(), limit=1)
    assert (found.name, found.members_ended_at) == ("autumn", ended_at)
    daemon.clock.advance(days=-3)
    assert await ask.unsealed(daemon.clock(), limit=9) == []


@SLOW_ON_POSTGRESQL
async def test_accounts_have_groups_of_their_own(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """Two scopes may use one name; ids, events and order are kept apart."""
    other = AccountScope(account="AC2", base_url=HOME.base_url)
    stranger = await open_daemon("stranger", other, as_daemon=daemon.on_postgresql)
    await daemon.join("autumn", op(1))
    await stranger.join("autumn", op(2))
    [refused] = await stranger.join("autumn", op(1))
    assert "is watched for account AC1" in str(refused.conflict)
    assert (await daemon.group("autumn")).members.total == 1
    assert (await stranger.group("autumn")).source == "urn:comms-poller:AC2:groups:autumn"
    assert len(await story(daemon, "autumn")) == 1
    assert len(await story(stranger, "autumn")) == 1
