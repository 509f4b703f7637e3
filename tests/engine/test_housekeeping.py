"""What is done now and then: retention in small steps, and a clock that went back."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from poller.engine.housekeeping import Housekeeping
from poller.engine.signals import Signals
from poller.engine.supervision import Heartbeats
from poller.store.errors import StoreUnavailable
from poller.store.retention import Pruned, PrunePlace
from poller.store.sqlite import FileCheck
from tests.engine.scripted import CountedNotifier, FickleStore, TickingClock, record_events, until

pytestmark = pytest.mark.anyio

Logs = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.engine.housekeeping._TICK", 0.005)
    monkeypatch.setattr("poller.engine.supervision._PAUSE", 0.005)


@asynccontextmanager
async def running_housekeeping(
    store: FickleStore, clock: TickingClock, *, signals: Signals | None = None
) -> AsyncIterator[Housekeeping]:
    """Run housekeeping until the end of the block."""
    housekeeping = Housekeeping(
        store=store,
        retention=lambda: 60.0,
        record_due_groups=anyio.lowlevel.checkpoint,
        record_standstill=anyio.lowlevel.checkpoint,
        now=clock,
        signals=signals or Signals(),
        heartbeats=Heartbeats(),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(housekeeping.run)
        yield housekeeping
        tasks.cancel_scope.cancel()


def lines(logs: Logs, event: str) -> Logs:
    """Return the log lines of one event."""
    return [line for line in logs if line["event"] == event]


async def test_a_clock_that_went_back_frees_what_waits_since_the_future(
    store: FickleStore, clock: TickingClock, logs: Logs
) -> None:
    """Every wait set in the future is due now, the loop is woken, and it is logged once."""
    woken = CountedNotifier()
    await record_events(store, 3, 1, sinks=["app"])
    async with running_housekeeping(store, clock, signals=Signals(polls=woken)):
        await anyio.sleep(0.05)
        assert not lines(logs, "clock.went_back")
        clock.advance(hours=-1)
        await until(lambda: woken.count > 0)
        await anyio.sleep(0.05)
    [logged] = lines(logs, "clock.went_back")
    assert logged["due_now"] == 6
    assert woken.count == 1


async def test_a_clock_that_jumps_ahead_is_nothing_to_tell(
    store: FickleStore, clock: TickingClock, logs: Logs
) -> None:
    """After a suspend everything is due by itself."""
    async with running_housekeeping(store, clock):
        clock.advance(hours=8)
        await anyio.sleep(0.05)
    assert not lines(logs, "clock.went_back")


async def test_retention_goes_on_until_a_step_finds_nothing(
    store: FickleStore, clock: TickingClock, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small steps one after the other, logged together, then a minute's rest."""
    behind = PrunePlace(ended_at=clock(), id="comms_operation_1")
    first = Pruned(operations=100, events=500, place=behind, more=True)
    steps = [first, Pruned(operations=7, events=20, dead_letters=1)]
    asked: list[float] = []

    async def prune(*, retention_seconds: float) -> Pruned:
        await anyio.lowlevel.checkpoint()
        asked.append(retention_seconds)
        return steps.pop(0) if steps else Pruned()

    monkeypatch.setattr(store.retention, "prune", prune)
    async with running_housekeeping(store, clock):
        await until(lambda: len(asked) == 2)
        await anyio.sleep(0.05)
    assert asked == [60.0, 60.0]
    [line] = lines(logs, "retention.pruned")
    assert (line["operations"], line["events"]) == (107, 520)
    # what nobody ever got is gone for good: that is worth a warning
    assert (line["log_level"], line["dead_letters"]) == ("warning", 1)


async def test_the_file_shrinks_when_nothing_is_left_to_delete(
    store: FickleStore, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In portions of its own, until no more follows; then a minute's rest."""
    pruned = [Pruned(operations=1, more=True), Pruned()]
    order: list[str] = []

    async def prune(*, retention_seconds: float) -> Pruned:
        await anyio.lowlevel.checkpoint()
        order.append(f"prune {retention_seconds:g}")
        return pruned.pop(0)

    async def shrink() -> bool:
        await anyio.lowlevel.checkpoint()
        order.append("shrink")
        return order.count("shrink") < 3

    monkeypatch.setattr("poller.engine.housekeeping._TICK", 0.1)
    monkeypatch.setattr(store.retention, "prune", prune)
    monkeypatch.setattr(store.retention, "shrink", shrink)
    async with running_housekeeping(store, clock):
        await until(lambda: len(order) == 5)
        await anyio.sleep(0.15)
    assert order == ["prune 60", "prune 60", "shrink", "shrink", "shrink"]


async def test_a_store_that_refuses_is_logged_and_tried_again(
    store: FickleStore, clock: TickingClock, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Housekeeping outlives it."""
    answers: list[Pruned | Exception] = [StoreUnavailable("store.url: full"), Pruned()]

    async def prune(*, retention_seconds: float) -> Pruned:
        await anyio.lowlevel.checkpoint()
        assert retention_seconds == 60.0
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(store.retention, "prune", prune)
    async with running_housekeeping(store, clock):
        await until(lambda: not answers)
    [logged] = lines(logs, "store.unavailable")
    assert (logged["loop"], logged["error"]) == ("housekeeping", "store.url: full")


async def test_trouble_with_the_file_is_reported_until_it_is_over(
    store: FickleStore, clock: TickingClock, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that grows shrinks again; damage stays, whatever the next table looks like."""
    monkeypatch.setattr("poller.engine.housekeeping._CHECK_INTERVAL", 0.0)
    answers = [
        FileCheck(log_bytes=219_000_000, damage=None),
        FileCheck(log_bytes=0, damage="page 7 is never used"),
        FileCheck(log_bytes=0, damage=None),
    ]

    async def check(_turn: int) -> FileCheck | None:
        await anyio.lowlevel.checkpoint()
        return answers.pop(0) if answers else None

    monkeypatch.setattr(store, "check_file", check)
    async with running_housekeeping(store, clock):
        await until(lambda: not answers)
    [grown] = lines(logs, "store.log_grows")
    assert grown["megabytes"] == 219
    assert "a backup or a shell" in str(grown["hint"])
    [damaged] = lines(logs, "store.damaged")
    assert ".recover" in str(damaged["hint"])


async def test_trouble_with_the_file_does_not_fill_the_log(
    store: FickleStore, clock: TickingClock, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found each minute for hours, and logged when it begins, now and then, and ends."""
    monkeypatch.setattr("poller.engine.housekeeping._CHECK_INTERVAL", 0.0)
    monkeypatch.setattr("poller.engine.housekeeping._TICK", 0.001)
    found = FileCheck(log_bytes=219_000_000, damage="page 7 is never used")
    answers = [found] * 20 + [FileCheck(log_bytes=0, damage=None)]

    async def check(_turn: int) -> FileCheck | None:
        await anyio.lowlevel.checkpoint()
        clock.advance(60)
        return answers.pop(0) if answers else None

    monkeypatch.setattr(store, "check_file", check)
    async with running_housekeeping(store, clock):
        await until(lambda: not answers)
    for event in ("store.log_grows", "store.damaged"):
        logged = [line for line in lines(logs, event) if line["log_level"] != "debug"]
        assert 2 <= len(logged) <= 5
        assert len(lines(logs, event)) == 20
    assert len(lines(logs, "store.log_shrunk")) == 1


async def test_a_trouble_with_the_file_keeps_its_beginning(
    store: FickleStore, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is found again; what is over is gone, and starts again."""
    monkeypatch.setattr("poller.engine.housekeeping._CHECK_INTERVAL", 0.0)
    monkeypatch.setattr("poller.engine.housekeeping._TICK", 0.001)
    sizes = [219_000_000]
    since: list[datetime | None] = []

    async def check(_turn: int) -> FileCheck | None:
        await anyio.lowlevel.checkpoint()
        clock.advance(60)
        return FileCheck(log_bytes=sizes[-1], damage=None)

    monkeypatch.setattr(store, "check_file", check)
    async with running_housekeeping(store, clock) as housekeeping:
        for size in (219_000_000, 219_000_000, 0, 219_000_000):
            sizes.append(size)
            before = clock()
            await until(lambda: (clock() - before).total_seconds() > 300)  # noqa: B023 - in this turn
            since.append(housekeeping.troubles[0].since if housekeeping.troubles else None)
    assert since[0] is not None
    assert since[1] == since[0]
    assert since[2] is None
    assert since[3] is not None
    assert since[3] > since[0]
