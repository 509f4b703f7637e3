"""Who lives among the daemons of a store, whose sinks count, and who reads which list."""

from datetime import timedelta

import pytest

from poller.store.sinks import bury_absent
from poller.tracking.delivery import AttemptResult
from tests.store.conftest import OpenDaemon
from tests.store.members import Members, set_server_clock
from tests.store.scenes import APP, Clock, Daemon, op

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", ["postgresql"], indirect=True)]


@pytest.fixture
async def members(
    open_daemon: OpenDaemon, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Members:
    """Return the daemons of an empty store; none has joined yet."""
    set_server_clock(monkeypatch, clock)
    return Members(daemon=await open_daemon("first"), clock=clock)


async def configured(members: Members) -> dict[str, bool]:
    """Return, for each sink that is reported, whether a living daemon has it."""
    await members.daemon.store._write(bury_absent, members.clock())
    return {report.name: report.is_configured for report in await members.daemon.store.sinks()}


async def test_a_daemon_lives_for_five_seconds_after_its_beat(members: Members) -> None:
    """Those that live know of each other; one that stops is gone at once."""
    for owner in ("a", "b", "c"):
        await members.join(owner)
    assert await members.seen_by("a") == ["b", "c"]
    members.clock.advance(4)
    await members.beat("b")
    members.clock.advance(1.5)
    assert await members.seen_by("a") == ["b"]
    await members.leave("b")
    assert await members.seen_by("a") == []


async def test_a_frozen_daemon_comes_back_with_its_next_beat(members: Members) -> None:
    """It is dead meanwhile, and nobody has taken its place."""
    await members.join("frozen", "app")
    await members.join("a")
    members.clock.advance(60)
    assert await members.seen_by("a") == []
    assert await members.seen_by("frozen") == ["a"]
    assert await members.seen_by("a") == ["frozen"]


async def test_a_daemon_that_was_removed_meanwhile_must_declare_itself(members: Members) -> None:
    """Another one began while it was frozen, alone as it seemed."""
    await members.join("frozen", "app")
    members.clock.advance(6)
    await members.join("a", "app")
    assert await members.beat("frozen") == [None]
    await members.join("frozen", "app")
    assert await members.seen_by("frozen") == ["a"]


async def test_the_sinks_of_all_living_daemons_are_wanted(members: Members) -> None:
    """A sink that a reload drops is not, from then on."""
    await members.join("a", "app", "more")
    await members.join("b", "other")
    assert await members.wanting() == {"app", "more", "other"}
    await members.join("a", "app")
    assert await members.wanting() == {"app", "other"}


@pytest.mark.parametrize(
    ("is_stopped", "kept", "over"),
    [
        pytest.param(True, timedelta(minutes=9), timedelta(minutes=2), id="stopped"),
        pytest.param(False, timedelta(days=2.9), timedelta(days=0.2), id="dead"),
    ],
)
async def test_the_sinks_of_a_daemon_that_is_gone_are_wanted_for_a_while(
    members: Members, *, is_stopped: bool, kept: timedelta, over: timedelta
) -> None:
    """One that was stopped may be restarted, within ten minutes; a dead one within three days."""
    await members.join("a", "app")
    await members.join("b", "other")
    if is_stopped:
        await members.leave("a")
    members.clock.advance(kept.total_seconds())
    await members.beat("b")
    assert await members.wanting() == {"app", "other"}
    members.clock.advance(over.total_seconds())
    await members.beat("b")
    assert await members.wanting() == {"other"}


async def test_a_daemon_alone_decides_by_itself(members: Members) -> None:
    """As on a SQLite file: what earlier daemons had is absent as soon as it starts."""
    await members.join("before", "app", "other")
    await members.leave("before")
    await members.join("after", "app")
    assert await members.wanting() == {"app"}


async def test_the_start_of_a_daemon_leaves_the_sinks_of_others(members: Members) -> None:
    """B does not have A's sink: it is configured all the same, and gets what is recorded."""
    await members.join("a", "app")
    await members.join("b", "other")
    assert await configured(members) == {"app": True, "other": True}


async def test_a_sink_is_absent_a_minute_after_the_last_daemon_that_has_it(
    members: Members,
) -> None:
    """A daemon that is being restarted is no reason, nor is one of two that goes."""
    await members.join("a", "app")
    await members.join("b", "app", "other")
    await members.join("c", "other")
    await members.leave("a")
    members.clock.advance(120)
    await members.beat("b", "c")
    assert (await configured(members))["app"]
    await members.leave("b")
    members.clock.advance(30)
    await members.beat("c")
    assert (await configured(members))["app"]
    members.clock.advance(60)
    await members.beat("c")
    assert "app" not in await configured(members)
    await members.join("a", "app")
    assert (await configured(members))["app"]


@pytest.mark.parametrize("is_in_order", [True, False], ids=["file", "webhook"])
async def test_each_event_goes_to_a_shared_sink_at_one_daemon_only(
    members: Members, *, is_in_order: bool
) -> None:
    """Two daemons that have a sink of the same name take turns; together they deliver all."""
    pair = [members.daemon, Daemon(members.daemon.store, members.clock, "second")]
    await members.join("first", "app")
    await members.join("second", "app")
    pair[0].wanting = (APP,)
    expected: list[str] = []
    for number in range(6):
        await pair[0].register(op(number))
        observed = await pair[0].observe(op(number), "COMPLETED", total=1, delivered=1)
        expected += [event.id for event in observed.events]
    got: list[str] = []
    while any(claims := [await one.deliveries(limit=2, in_order=is_in_order) for one in pair]):
        for one, claimed in zip(pair, claims, strict=True):
            got += [event.id for event in claimed]
            await one.settle(claimed, AttemptResult.DELIVERED)
    assert sorted(got) == sorted(expected)


async def test_one_daemon_reads_the_list_of_a_kind(members: Members) -> None:
    """As long as it lives; of another kind another one may."""
    shared = members.daemon.store.shared
    await members.join("a")
    await members.join("b")
    assert await shared.hold_sweep("messages", "a", is_reading=True)
    assert not await shared.hold_sweep("messages", "b", is_reading=True)
    assert await shared.hold_sweep("emails", "b", is_reading=False)
    assert await shared.swept_elsewhere("a") == {"emails": False}
    assert await shared.swept_elsewhere("b") == {"messages": True}
    for _ in range(3):
        members.clock.advance(4)
        await members.beat("a", "b")
    assert not await shared.hold_sweep("messages", "b", is_reading=True)


async def test_the_list_of_a_dead_daemon_is_read_by_another(members: Members) -> None:
    """After five seconds; that of one that stops at once."""
    shared = members.daemon.store.shared
    for owner in ("a", "b", "c"):
        await members.join(owner)
    await shared.hold_sweep("messages", "a", is_reading=True)
    members.clock.advance(6)
    assert await shared.swept_elsewhere("b") == {}
    assert await shared.hold_sweep("messages", "b", is_reading=True)
    await members.leave("b")
    assert await shared.hold_sweep("messages", "c", is_reading=True)


async def test_what_another_daemon_is_about_to_list_is_not_claimed(members: Members) -> None:
    """A page may show it; when the list was read, what it did not show is anybody's."""
    shared = members.daemon.store.shared
    await members.daemon.register(op(1), op(2))
    await shared.hold_sweep("messages", "a", is_reading=True)
    assert await members.daemon.claim() == []
    assert await shared.next_due(kinds=["messages"], owner="first") is None
    await shared.hold_sweep("messages", "a", is_reading=False)
    assert await members.daemon.claim(1) == [op(1)]
    await shared.hold_sweep("messages", "a", is_reading=True)
    members.clock.advance(6)
    assert await members.daemon.claim(1) == [op(2)]
