"""A daemon among others: whom it knows, what it follows, and what it may send when it was away."""

from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from sqlalchemy import Connection, delete, insert, update

from poller.comms.gate import Reason, Refusal, RequestEnd
from poller.comms.throttle import Throttle
from poller.engine.membership import Membership, differences
from poller.engine.signals import Signals
from poller.engine.stored_budget import StoredBudget
from poller.engine.supervision import Heartbeats
from poller.store.daemons import DeclaredSink, Member
from poller.store.schema import POSITION, counters, daemons
from poller.tracking.delivery import Subscription
from poller.tracking.watch import AccountScope
from tests.engine.scripted import CountedNotifier, FickleStore, TickingClock, until
from tests.engine.scripted_api import configuration

pytestmark = pytest.mark.anyio

Logs = list[MutableMapping[str, Any]]
RATE = 1_000.0


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.engine.membership._BEAT_INTERVAL", 0.01)
    monkeypatch.setattr("poller.engine.membership._READ_INTERVAL", 0.005)


def member(owner: str, *sinks: tuple[str, str], rate: float = 5.0, slots: int = 4) -> Member:
    """Make a daemon; sinks are names and fingerprints."""
    return Member(
        owner=owner,
        name=owner,
        sinks=[
            DeclaredSink(subscription=Subscription(sink=name), fingerprint=fingerprint)
            for name, fingerprint in sinks
        ],
        requests_per_second=rate,
        max_concurrency=slots,
    )


@dataclass(kw_only=True)
class Scene:
    """A member of a store, and the others, which are no more than rows."""

    store: FickleStore
    clock: TickingClock
    polls: CountedNotifier = field(default_factory=CountedNotifier)
    events: CountedNotifier = field(default_factory=CountedNotifier)

    def __post_init__(self) -> None:
        self.budget = StoredBudget(self.store, request_timeout=10)
        self.throttle = Throttle(
            max_concurrency=4,
            requests_per_second=RATE,
            probe_interval=60,
            now=self.clock,
            budget=self.budget,
        )
        self.membership = Membership(
            store=self.store,
            throttle=self.throttle,
            budget=self.budget,
            configuration=replace(configuration(), requests_per_second=RATE),
            now=self.clock,
            signals=Signals(polls=self.polls, events=self.events),
            heartbeats=Heartbeats(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Declare this daemon, and let it beat until the end of the block."""
        await self.membership.declare(())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.membership.run)
            await until(lambda: self.membership._beaten_at is not None)
            yield
            tasks.cancel_scope.cancel()

    async def add(self, other: Member) -> None:
        """Let another daemon live."""

        def write(connection: Connection, scope: AccountScope) -> None:
            values = {
                "scope_id": scope.id,
                "owner": other.owner,
                "name": other.name,
                "sinks": {},
                "max_concurrency": other.max_concurrency,
                "requests_per_second": other.requests_per_second,
                "slots": 0,
                "seen_at": self.clock(),
            }
            connection.execute(insert(daemons).values(values))

        await self.store._write(write)

    async def remove(self, owner: str) -> None:
        """Take away the row of a daemon."""
        await self.store._write(
            lambda connection, _scope: connection.execute(
                delete(daemons).where(daemons.c.owner == owner)
            )
        )


@pytest.fixture
def scene(store: FickleStore, clock: TickingClock) -> Scene:
    """Return a daemon that has not been declared yet."""
    return Scene(store=store, clock=clock)


def names(logs: Logs) -> Sequence[str]:
    """Return the log events that are about daemons."""
    return [line["event"] for line in logs if line["event"].startswith("daemon.")]


def test_what_is_set_to_the_same_is_no_difference() -> None:
    """Nor is a sink that only one of them has."""
    own = member("a", ("app", "1"), ("mine", "2"))
    assert differences(own, [member("b", ("app", "1"), ("other", "3"))]) == {}


def test_what_is_set_differently_is_named_with_its_consequence() -> None:
    """The values of both, which one holds, and at which daemon."""
    own = member("a", ("app", "1"), rate=5, slots=4)
    found = differences(own, [member("b", ("app", "2"), rate=2.5, slots=8)])
    assert found.keys() == {
        "api.requests_per_second",
        "api.max_concurrency",
        "settings of sink app",
    }
    assert found["api.requests_per_second"].startswith("5 here, 2.5 at b; the lowest holds")
    assert "differ from those at b" in found["settings of sink app"]


async def test_daemons_that_come_and_go_are_logged_once(scene: Scene, logs: Logs) -> None:
    """And known as long as they live."""
    async with scene.running():
        assert not scene.membership.has_others
        await scene.add(member("b"))
        await until(lambda: scene.membership.has_others)
        await anyio.sleep(0.05)
        await scene.remove("b")
        await until(lambda: not scene.membership.has_others)
    assert names(logs) == ["daemon.joined", "daemon.left"]


async def test_a_difference_is_degraded_since_it_was_seen_and_while_it_lasts(
    scene: Scene,
) -> None:
    """Each time that somebody asks, with its beginning."""
    async with scene.running():
        await scene.add(member("b", rate=1))
        await until(lambda: scene.membership.has_others)
        [first] = scene.membership.troubles()
        scene.clock.advance(1)
        assert scene.membership.troubles() == [first]
        await scene.remove("b")
        await until(lambda: not scene.membership.has_others)
        assert scene.membership.troubles() == []


async def test_a_pause_of_another_daemon_is_kept_and_its_end_is_followed(
    scene: Scene, logs: Logs
) -> None:
    """The poll loop learns of both."""
    async with scene.running():
        await scene.add(member("b"))
        await until(lambda: scene.membership.has_others)
        refusal = Refusal(reason=Reason.THROTTLED, wait=90)
        end = RequestEnd(at=scene.clock(), probe=False, refusal=refusal)
        pause = await scene.store.shared.change_pause("b", end)
        await until(lambda: scene.throttle.account_pause is not None)
        assert scene.throttle.account_pause == pause
        woken = scene.polls.count
        await scene.store.shared.change_pause("b", RequestEnd(at=scene.clock(), probe=True))
        await until(lambda: scene.throttle.account_pause is None)
        await until(lambda: scene.polls.count > woken)
    lines = [line for line in logs if line["event"].startswith("account.")]
    assert [(line["event"], line["by"]) for line in lines] == [
        ("account.paused", "another daemon"),
        ("account.resumed", "another daemon"),
    ]


async def test_events_of_another_daemon_are_signalled_once(scene: Scene) -> None:
    """To the streams and sinks here."""
    async with scene.running():
        await scene.add(member("b"))
        await until(lambda: scene.membership.has_others)
        assert scene.events.count == 0
        await scene.store._write(
            lambda connection, _scope: connection.execute(
                update(counters).where(counters.c.name == POSITION).values(value=7)
            )
        )
        await until(lambda: scene.events.count == 1)
        await anyio.sleep(0.05)
        assert scene.events.count == 1


async def test_a_daemon_that_was_removed_while_it_was_frozen_declares_itself(
    scene: Scene, logs: Logs
) -> None:
    """Another one thought that it was alone."""
    async with scene.running():
        await scene.remove(scene.store.owner)
        await until(lambda: "daemon.returned" in names(logs))
        await scene.add(member("b"))
        await until(lambda: scene.membership.has_others)


async def test_a_permit_is_void_after_a_second(scene: Scene) -> None:
    """A daemon that was frozen with permits in hand must not use them."""
    await scene.membership.declare(())
    await scene.budget.refill(in_flight=0, hurried=False)
    assert scene.budget.unused > 0
    assert scene.budget.wait() == 0
    scene.clock.advance(1.5)
    assert scene.budget.unused == 0
    assert scene.budget.is_empty


async def test_a_pause_voids_the_permits(scene: Scene) -> None:
    """They were given before it."""
    await scene.membership.declare(())
    await scene.budget.refill(in_flight=0, hurried=False)
    refusal = Refusal(reason=Reason.THROTTLED, wait=90)
    end = RequestEnd(at=scene.clock(), probe=False, refusal=refusal)
    pause = await scene.store.shared.change_pause("b", end)
    assert scene.throttle.adopt(pause, scene.throttle.version)
    assert scene.budget.is_empty


async def test_a_daemon_that_was_frozen_starts_nothing_before_its_next_beat(scene: Scene) -> None:
    """The others thought it dead, and have its share of the rate."""
    await scene.membership.declare(())
    with anyio.fail_after(5):
        await scene.throttle.admit()
    scene.throttle.cancel()
    scene.clock.advance(6)
    with anyio.move_on_after(0.1) as waited:
        await scene.throttle.admit()
    assert waited.cancelled_caught
    await scene.store.shared.beat(scene.store.owner, slots=0)
    with anyio.fail_after(5):
        await scene.throttle.admit()
