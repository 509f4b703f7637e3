"""What the daemons of an account may send: permits, slots, and one pause with one probe."""

from collections import Counter
from datetime import datetime, timedelta

import pytest

from poller.comms.gate import Reason, Refusal, RequestEnd
from tests.store.members import PROBE, Members, set_server_clock
from tests.store.scenes import Clock, Daemon

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", ["postgresql"], indirect=True)]

RATE = 5.0
TICK = 0.25


@pytest.fixture
async def members(daemon: Daemon, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Members:
    """Return the daemons of the store; none has joined yet."""
    set_server_clock(monkeypatch, clock)
    members = Members(daemon=daemon, clock=clock)
    await members.leave("first")
    return members


def refused(at: datetime, wait: float = 12.0, *, probe: bool = False) -> RequestEnd:
    """Make the end of a request that was answered with 429."""
    refusal = Refusal(reason=Reason.THROTTLED, wait=wait)
    return RequestEnd(at=at, probe=probe, refusal=refusal)


async def send_for(members: Members, owners: list[str], seconds: float) -> Counter[str]:
    """Let daemons send all that they are permitted; how many requests each one starts."""
    sent: Counter[str] = Counter()
    until = members.clock() + timedelta(seconds=seconds)
    while members.clock() < until:
        for owner in owners:
            sent[owner] += len((await members.ask(owner)).starts)
        members.clock.advance(TICK)
    return sent


@pytest.mark.parametrize("number", [1, 3])
async def test_all_together_keep_the_rate(members: Members, number: int) -> None:
    """However many they are; and together they have all of it."""
    owners = [f"d{each}" for each in range(number)]
    for owner in owners:
        await members.join(owner, rate=RATE)
    sent = await send_for(members, owners, 10)
    # a permit may be for up to a second later
    assert 10 * RATE - 1 <= sent.total() <= 11 * RATE + 1
    assert set(sent) == set(owners)


async def test_permits_begin_one_after_the_other(members: Members) -> None:
    """Also those of different daemons: no second holds more than one request too many."""
    await members.join("a", rate=RATE)
    await members.join("b", rate=RATE)
    starts: list[datetime] = []
    for _ in range(16):
        for owner in ("a", "b"):
            starts += (await members.ask(owner)).starts
        members.clock.advance(TICK)
    starts.sort()
    for place, start in enumerate(starts):
        within = [each for each in starts[place:] if each < start + timedelta(seconds=1)]
        assert len(within) <= RATE + 1


async def test_the_lowest_rate_holds_while_its_daemon_lives(members: Members) -> None:
    """And no longer."""
    await members.join("a", rate=10)
    await members.join("slow", rate=2)
    assert (await send_for(members, ["a", "slow"], 10)).total() <= 11 * 2 + 1
    await members.leave("slow")
    assert (await send_for(members, ["a"], 10)).total() >= 10 * 10 - 3


async def test_a_daemon_that_dies_wastes_its_portion_only(members: Members) -> None:
    """Its permits are not given out again, and no others are kept for it."""
    await members.join("a", rate=RATE)
    await members.join("dead", rate=RATE)
    taken = len((await members.ask("dead")).starts)
    assert 0 < taken <= 2
    sent = await send_for(members, ["a"], 10)
    assert sent.total() >= 10 * RATE - taken - 1


async def test_requests_under_way_are_shared(members: Members) -> None:
    """One that has all slots keeps them to the end of its requests; then each has its share."""
    await members.join("a", rate=100, concurrency=4)
    assert len((await members.ask("a")).starts) == 4
    await members.join("b", rate=100, concurrency=4)
    assert not (await members.ask("b")).starts
    members.clock.advance(1)
    await members.beat("a", slots=3)
    assert len((await members.ask("b")).starts) == 1
    await members.beat("a", slots=0)
    assert len((await members.ask("b", in_flight=1)).starts) == 1
    assert len((await members.ask("a")).starts) == 2


async def test_the_slots_of_a_dead_daemon_are_free_after_five_seconds(members: Members) -> None:
    """Nobody waits for it longer."""
    await members.join("dead", rate=100, concurrency=4)
    await members.ask("dead")
    await members.join("a", rate=100, concurrency=4)
    members.clock.advance(4)
    await members.beat("a")
    assert not (await members.ask("a")).starts
    members.clock.advance(1.5)
    assert len((await members.ask("a")).starts) == 4


async def test_the_lowest_concurrency_holds(members: Members) -> None:
    """Of the daemons that live."""
    await members.join("a", rate=100, concurrency=8)
    await members.join("b", rate=100, concurrency=2)
    assert len((await members.ask("a")).starts) == 1


async def test_a_daemon_that_was_thought_dead_gets_nothing_until_it_beats(
    members: Members,
) -> None:
    """It was frozen, and others have its share."""
    await members.join("frozen", rate=100)
    await members.join("a", rate=100)
    members.clock.advance(6)
    await members.beat("a")
    thawed = await members.ask("frozen")
    assert not thawed.starts
    assert thawed.wait == 1.0
    await members.beat("frozen")
    assert (await members.ask("frozen")).starts


async def test_a_pause_of_one_is_obeyed_by_all(members: Members) -> None:
    """And when it is over, one of them tests it."""
    await members.join("a")
    await members.join("b")
    pause = await members.end("a", refused(members.clock()))
    for owner in ("a", "b"):
        permits = await members.ask(owner)
        assert (len(permits.starts), permits.pause) == (0, pause)
    members.clock.advance(12)
    await members.beat("a", "b")
    assert len((await members.ask("b")).starts) == 1
    assert not (await members.ask("a")).starts


async def test_the_answer_of_the_probe_decides_for_all(members: Members) -> None:
    """A good one of any other request does not."""
    await members.join("a")
    await members.join("b")
    await members.end("a", refused(members.clock()))
    members.clock.advance(12)
    await members.beat("a", "b")
    await members.ask("b")
    good = RequestEnd(at=members.clock(), probe=True)
    assert await members.end("a", good) is not None
    assert await members.end("b", good) is None
    assert (await members.ask("a")).starts


async def test_a_refusal_during_the_probe_is_not_lifted_by_it(members: Members) -> None:
    """A late 429 to another daemon makes the pause longer; then the probe is nobody's."""
    await members.join("a")
    await members.join("b")
    await members.end("a", refused(members.clock(), 1))
    members.clock.advance(2)
    await members.ask("b")
    longer = await members.end("a", refused(members.clock(), 60))
    assert longer is not None
    assert await members.end("b", RequestEnd(at=members.clock(), probe=True)) == longer


async def test_the_probe_of_a_dead_daemon_passes_to_another(members: Members) -> None:
    """After the time that its request may take."""
    await members.join("dead")
    await members.join("a")
    await members.end("a", refused(members.clock(), 1))
    members.clock.advance(2)
    assert len((await members.ask("dead")).starts) == 1
    members.clock.advance(PROBE - 1)
    await members.beat("a")
    assert not (await members.ask("a")).starts
    members.clock.advance(2)
    assert len((await members.ask("a")).starts) == 1


async def test_a_daemon_that_stops_leaves_the_probe(members: Members) -> None:
    """At once."""
    await members.join("stops")
    await members.join("a")
    await members.end("a", refused(members.clock(), 1))
    members.clock.advance(2)
    await members.ask("stops")
    await members.leave("stops")
    assert len((await members.ask("a")).starts) == 1


async def test_new_credentials_probe_a_401_at_once_and_never_a_429(members: Members) -> None:
    """One daemon that has read them again; the others wait for its answer."""
    await members.join("a")
    await members.join("b")
    refusal = Refusal(reason=Reason.UNAUTHORIZED, wait=60.0)
    await members.end("a", RequestEnd(at=members.clock(), probe=False, refusal=refusal))
    assert not (await members.ask("a")).starts
    assert len((await members.ask("b", hurried=True)).starts) == 1
    assert not (await members.ask("a", hurried=True)).starts
    assert await members.end("b", RequestEnd(at=members.clock(), probe=True)) is None
    await members.end("a", refused(members.clock()))
    assert not (await members.ask("b", hurried=True)).starts
