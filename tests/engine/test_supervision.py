"""Loops that run, hang and go on; a store that refuses each second is one trouble in the log."""

from datetime import timedelta
from functools import partial

import anyio
import pytest
from structlog.testing import capture_logs

from poller.comms.errors import Unauthorized
from poller.comms.throttle import Throttle
from poller.engine import supervision
from poller.engine.configuration import Configuration
from poller.engine.poll_loop import PollLoop
from poller.engine.requests import make_caller
from poller.engine.signals import Signals
from poller.engine.supervision import Heartbeats, repeat
from poller.store.errors import StoreUnavailable
from poller.store.store import Store
from tests.store.scenes import HOME, NOW, POLICY


class Seconds:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_a_loop_that_was_never_heard_of_hangs() -> None:
    """What is expected and has not begun is silent, whatever the time."""
    beats = Heartbeats(("poll",), clock=Seconds())
    assert beats.silent() == {"poll"}
    assert beats.ages == {"poll": None}
    beats.beat("poll")
    assert beats.silent() == frozenset()


def test_a_loop_that_beats_no_more_hangs() -> None:
    """After this many seconds, counted from its own last beat; the next beat ends it."""
    clock = Seconds()
    beats = Heartbeats(clock=clock)
    beats.beat("poll")
    clock.now += 20
    beats.beat("sink app")
    clock.now += 11
    assert beats.silent(30) == {"poll"}
    assert beats.ages == {"poll": 31, "sink app": 11}
    beats.beat("poll")
    assert beats.silent(30) == frozenset()


def test_a_loop_that_left_is_not_missed() -> None:
    """A normal end is no hang, nor is leaving twice."""
    beats = Heartbeats(("poll",), clock=Seconds())
    beats.leave("poll")
    beats.leave("poll")
    assert beats.silent() == frozenset()


@pytest.mark.anyio
async def test_repeating_beats_at_every_turn_and_leaves() -> None:
    """Also while the step fails, and when it is cancelled."""
    beats = Heartbeats()
    turns = 0

    async def step() -> bool:
        nonlocal turns
        turns += 1
        assert beats.silent() == frozenset()
        return turns == 3

    await repeat(step, name="loop", heartbeats=beats)
    assert beats.ages == {}
    with anyio.move_on_after(0.01):
        await repeat(anyio.sleep_forever, name="loop", heartbeats=beats)
    assert beats.ages == {}


@pytest.mark.anyio
async def test_a_paused_account_does_not_look_like_a_hang(store: Store) -> None:
    """The poll loop waits for the end of the pause, and beats all the while."""
    later = NOW + timedelta(hours=1)
    throttle = Throttle(
        max_concurrency=1, requests_per_second=1, probe_interval=3600, now=lambda: NOW
    )
    await throttle.admit()
    ticket = throttle.begin("messages")
    assert ticket is not None
    throttle.finish(ticket, Unauthorized("fetch", "401", status=401))
    assert throttle.account_pause is not None
    assert throttle.account_pause.until == later
    beats = _Counting()
    poll = _poll_loop(store, throttle, beats)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll.run)
        with anyio.fail_after(20):
            await beats.seen(3)
        poll.stop()
    assert beats.ages == {}


class _Counting(Heartbeats):
    """Counts beats, and wakes a waiter at a given number."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._changed = anyio.Event()

    def beat(self, loop: str) -> None:
        super().beat(loop)
        self._count += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def seen(self, number: int) -> None:
        """Wait for this many."""
        while self._count < number:
            await self._changed.wait()


def _poll_loop(store: Store, throttle: Throttle, beats: Heartbeats) -> PollLoop:
    configuration = Configuration(
        scope=HOME,
        policy=POLICY,
        credentials=partial(pytest.fail, "nobody probes during a pause"),
        sinks=[],
        retention=0,
        shutdown_grace=0,
        request_timeout=1,
    )
    caller = make_caller(
        client=None,  # type: ignore[arg-type] # nothing is asked during a pause
        throttle=throttle,
        store=store,
        credentials=configuration.credentials,
        refused=lambda _: None,
        now=lambda: NOW,
    )
    return PollLoop(
        store=store,
        caller=caller,
        throttle=throttle,
        configuration=configuration,
        now=lambda: NOW,
        signals=Signals(),
        heartbeats=beats,
    )


@pytest.mark.anyio
async def test_a_store_that_refuses_a_loop_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error when it begins, each further failure at debug, and one line when it is over."""
    monkeypatch.setattr(supervision, "_PAUSE", 0.0)
    turns = 0

    async def step() -> bool:
        nonlocal turns
        turns += 1
        if turns <= 100:
            raise StoreUnavailable("store.url: full")
        return True

    with capture_logs() as logs:
        await repeat(step, name="poll")
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("store.unavailable", "error"),
        *[("store.unavailable", "debug")] * 99,
        ("store.recovered", "info"),
    ]
    assert (logs[-1]["loop"], logs[-1]["failures"]) == ("poll", 100)
