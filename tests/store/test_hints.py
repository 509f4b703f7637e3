"""Hints in the store: they bring polls forward, make no event, and are bounded."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from poller.store.hints import Hinted
from poller.store.schema import events, watches
from poller.tracking.answer import FailedAnswer, FoundAnswer
from poller.tracking.hint import HintEffect
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope, HintStrength
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import HOME, Clock, Daemon, op, snapshot
from tests.store.test_sweeps import due_in, listed, row, sweep

pytestmark = pytest.mark.anyio

DIRECT, INDIRECT = HintStrength.DIRECT, HintStrength.INDIRECT
MESSAGE = "comms_message_01h9krwprkeee8fzqspvwy6nq8"
POLICY = Policy(min_interval=1, max_interval=64, progress_interval=10)


async def hint(
    daemon: Daemon, hints: Mapping[str, HintStrength], *, most: int = 50, discovers: bool = False
) -> Hinted:
    """Take hints now."""
    return await daemon.store.record_hints(hints, policy=POLICY, most=most, discovers=discovers)


async def polled(daemon: Daemon, *numbers: int, waits: int = 5) -> None:
    """Register operations that show nothing new, so that they wait, and let a second pass."""
    await daemon.register(*(op(number) for number in numbers))
    for _ in range(waits):
        for number in numbers:
            await daemon.observe(op(number), "PROCESSING", queued=5)
            await daemon.observe(op(number), "PROCESSING", queued=5)
        daemon.clock.advance(100)
    for number in numbers:
        await daemon.observe(op(number), "PROCESSING", queued=5)
    daemon.clock.advance(1)


@SLOW_ON_POSTGRESQL
async def test_a_hint_brings_a_poll_forward_and_makes_no_event(daemon: Daemon) -> None:
    """Only an answer of the API makes one."""
    await polled(daemon, 1, 2)
    before = await daemon.count(events)
    assert await daemon.claim() == []
    hinted = await hint(daemon, {op(1): DIRECT})
    assert hinted.effects == {HintEffect.WOKEN: 1}
    assert hinted.has_work
    assert await daemon.claim() == [op(1)]
    assert await daemon.count(events) == before


async def test_a_hint_at_one_daemon_is_for_a_poll_of_another(
    daemon: Daemon, another: Daemon, clock: Clock
) -> None:
    """It polls already when the hint comes: its answer may be older, so it is polled again."""
    await polled(daemon, 1)
    clock.advance(100)
    assert await another.claim() == [op(1)]
    begun_at = clock()
    clock.advance(0.5)
    hinted = await hint(daemon, {op(1): DIRECT})
    assert hinted.effects == {HintEffect.WOKEN: 1}
    clock.advance(0.5)
    found = snapshot(op(1), stats={"queued": 5})
    answer = FoundAnswer(found=found, begun_at=begun_at, arrived_at=clock())
    await another.record((op(1), answer), policy=POLICY)
    assert await due_in(daemon, 1) == 1
    clock.advance(1)
    assert await daemon.claim() == [op(1)]


@SLOW_ON_POSTGRESQL
async def test_what_is_unknown_is_counted(daemon: Daemon) -> None:
    """Nothing is registered by hints alone."""
    hinted = await hint(daemon, {op(7): DIRECT, MESSAGE: DIRECT})
    assert hinted.effects == {HintEffect.UNKNOWN: 2}
    assert not hinted.has_work
    assert await daemon.count(watches) == 0


@SLOW_ON_POSTGRESQL
async def test_what_is_unknown_is_discovered_where_that_is_on(daemon: Daemon) -> None:
    """Only operations that are named themselves: their messages may be as old as they like."""
    hinted = await hint(daemon, {op(7): DIRECT, op(8): INDIRECT, MESSAGE: DIRECT}, discovers=True)
    assert hinted.effects == {HintEffect.DISCOVERED: 1, HintEffect.UNKNOWN: 2}
    assert [found.id for found in hinted.discovered] == [op(7)]
    assert await daemon.claim() == [op(7)]


@SLOW_ON_POSTGRESQL
async def test_discovery_touches_nothing_known(daemon: Daemon, clock: Clock) -> None:
    """Neither what has ended nor what was forgotten."""
    await daemon.run_through(op(1))
    await polled(daemon, 2)
    await daemon.forget(op(2))
    clock.advance(5)
    before = await daemon.rows(watches)
    hinted = await hint(daemon, {op(1): DIRECT, op(2): DIRECT}, discovers=True)
    assert hinted.effects == {HintEffect.UNCHANGED: 2}
    assert await daemon.rows(watches) == before


@SLOW_ON_POSTGRESQL
async def test_what_belongs_to_another_account_is_unknown(
    daemon: Daemon, open_daemon: OpenDaemon
) -> None:
    """Whatever its hints say, and also where discovery is on."""
    scope = AccountScope(account="AC2", base_url=HOME.base_url)
    other = await open_daemon("other", scope, as_daemon=daemon.on_postgresql)
    await polled(other, 1)
    hinted = await hint(daemon, {op(1): DIRECT}, discovers=True)
    assert hinted.effects == {HintEffect.UNKNOWN: 1}
    assert await other.claim() == []


async def test_so_many_wait_at_the_same_time(daemon: Daemon, clock: Clock) -> None:
    """A flood delays what nobody hinted at by a few seconds of the rate, however large it is."""
    numbers = range(1, 9)
    await polled(daemon, *numbers)
    hinted = await hint(daemon, {op(number): DIRECT for number in numbers}, most=3)
    assert hinted.effects == {HintEffect.WOKEN: 3, HintEffect.DROPPED: 5}
    hinted = await hint(daemon, {op(number): DIRECT for number in numbers}, most=3)
    assert hinted.effects == {HintEffect.WOKEN: 3, HintEffect.DROPPED: 5}
    woken = await daemon.claim(limit=8)
    assert len(woken) == 3
    # those of messages have a bound of their own: they cannot displace the ends of operations
    hinted = await hint(daemon, {op(number): INDIRECT for number in numbers}, most=2)
    assert hinted.effects == {HintEffect.WOKEN: 2, HintEffect.DROPPED: 3, HintEffect.UNCHANGED: 3}
    clock.advance(1)
    for one in woken:
        await daemon.observe(one, "PROCESSING", queued=5)
    hinted = await hint(daemon, {op(number): DIRECT for number in numbers}, most=3)
    assert hinted.effects == {HintEffect.WOKEN: 3, HintEffect.DROPPED: 5}


async def test_what_fails_is_left_alone(daemon: Daemon, clock: Clock) -> None:
    """Also after a restart: that it fails is stored."""
    await polled(daemon, 1)
    failed = FailedAnswer(begun_at=clock(), arrived_at=clock())
    await daemon.record((op(1), failed), policy=POLICY)
    due = await due_in(daemon, 1)
    assert (await hint(daemon, {op(1): DIRECT})).effects == {HintEffect.UNCHANGED: 1}
    assert await due_in(daemon, 1) == due


async def test_an_unchanged_page_does_not_lengthen_the_wait_of_what_was_woken(
    daemon: Daemon, clock: Clock
) -> None:
    """And it answers the hint only where it was asked for after the hint had come."""
    await daemon.register(op(1))
    for wait in (1, 2, 4):
        await sweep(daemon, listed(1), policy=POLICY)
        clock.advance(wait)
    await sweep(daemon, listed(1), policy=POLICY)
    wait = (await row(daemon, 1))["wait"]
    clock.advance(3)
    await hint(daemon, {op(1): DIRECT})
    swept = await sweep(daemon, listed(1), policy=POLICY)
    assert (swept.shown, swept.quiet) == (1, 0)
    after = await row(daemon, 1)
    assert (after["wait"], after["hinted_by"]) == (wait, None)


async def test_a_page_that_is_older_than_the_hint_leaves_it(daemon: Daemon, clock: Clock) -> None:
    """What it shows may have been so before."""
    await daemon.register(op(1))
    await sweep(daemon, listed(1), policy=POLICY)
    clock.advance(30)
    await hint(daemon, {op(1): DIRECT})
    clock.advance(-5)
    old = clock()
    clock.advance(5)
    page = FoundAnswer(found=listed(1), begun_at=old, arrived_at=clock(), fetched=False)
    await daemon.record((op(1), page), policy=POLICY)
    assert (await row(daemon, 1))["hinted_by"] == "direct"
    assert await due_in(daemon, 1) == timedelta(seconds=1).total_seconds()
