"""The daemon as a whole: both loops, what makes it end, and how it ends."""

import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import anyio
import pytest

from poller.comms.client import CommsClient
from poller.comms.throttle import Throttle
from poller.engine.configuration import SinkPlan
from poller.engine.daemon import Daemon, Stop
from poller.engine.meter import Meter
from poller.server.metrics import PrometheusMeter
from poller.sinks.base import Sink, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.pipe import PipeWriter
from poller.sinks.stdout import StdoutSink
from poller.store.watches import Lease
from poller.tracking.alert import AlertRule
from poller.tracking.delivery import Subscription
from poller.tracking.registration import Conflict
from tests.engine.scripted import (
    DELIVERED,
    FickleStore,
    ScriptedSink,
    TickingClock,
    failed,
    subject_of,
    until,
)
from tests.engine.scripted_api import QUICK, ScriptedApi, configuration, envelope
from tests.store.scenes import op, registration, seen

pytestmark = pytest.mark.anyio

Logs = list[MutableMapping[str, Any]]


@dataclass(kw_only=True)
class Ended:
    """Whether `run` has returned."""

    event: anyio.Event

    async def wait(self) -> None:
        """Wait until it has, but not for ever."""
        with anyio.fail_after(20):
            await self.event.wait()


class Running(Protocol):
    """Runs a daemon until the end of the block, or of itself."""

    def __call__(
        self, api: ScriptedApi, *sinks: Sink, until_idle: bool = False, grace: float = 2.0
    ) -> AbstractAsyncContextManager[tuple[Daemon, Ended]]:
        """Run."""


def plan(sink: Sink) -> SinkPlan:
    """Plan a sink that is there already."""
    return SinkPlan(subscription=Subscription(sink=sink.name), key=id(sink), make=lambda: sink)


@pytest.fixture
def running(
    store: FickleStore,
    clock: TickingClock,
    logs: object,  # noqa: ARG001 - kept from the terminal
) -> Running:
    """Return what runs daemons."""

    @asynccontextmanager
    async def run(
        api: ScriptedApi, *sinks: Sink, until_idle: bool = False, grace: float = 2.0
    ) -> AsyncIterator[tuple[Daemon, Ended]]:
        async with api.client(clock) as client, anyio.create_task_group() as tasks:
            daemon = Daemon(
                store=store,
                client=client,
                throttle=api.throttle(clock),
                configuration=configuration(*map(plan, sinks), grace=grace),
                now=clock,
                until_idle=until_idle,
                meter=Meter(PrometheusMeter()),
            )
            await daemon.open()
            ended = Ended(event=anyio.Event())

            async def live() -> None:
                await daemon.run()
                ended.event.set()

            tasks.start_soon(live)
            yield daemon, ended
            tasks.cancel_scope.cancel()

    return run


def lines(logs: Logs, event: str) -> Logs:
    """Return the log lines of one event."""
    return [line for line in logs if line["event"] == event]


async def test_until_idle_ends_when_everything_has_ended_and_is_delivered(
    running: Running, store: FickleStore
) -> None:
    """Not before the input has ended, not before the last delivery."""
    sink = ScriptedSink(gate=anyio.Event())
    async with running(ScriptedApi(ScriptedApi.completed), sink, until_idle=True) as (
        daemon,
        ended,
    ):
        await daemon.register([registration(op(1)), registration(op(2))])
        await until(lambda: sink.in_flight == 2)
        daemon.registered_all()
        with anyio.move_on_after(0.1) as patience:
            await ended.event.wait()
        assert patience.cancelled_caught
        sink.open_gate()
        await ended.wait()
        assert daemon.reason is Stop.IDLE
        assert (await daemon.summary()).is_clean
    assert sink.life[-1] == "close"
    assert not await store.leased()


async def test_a_registration_is_polled_and_emitted_at_once(running: Running) -> None:
    """From the registration to the sink without a tick between."""
    sink = ScriptedSink()
    async with running(ScriptedApi(ScriptedApi.completed), sink) as (daemon, _):
        begun = anyio.current_time()
        for number in range(10):
            await daemon.register([registration(op(number))])
            await until(lambda count=number + 1: len(sink.ids) == count)  # type: ignore[misc]
        # a tick is a second: ten of them cannot have been waited for
        assert anyio.current_time() - begun < 5


async def test_a_conflict_registers_nothing_of_all_or_none(running: Running) -> None:
    """Two kinds for one id: with `all_or_none` not even the good ones are registered."""
    async with running(ScriptedApi(ScriptedApi.completed), ScriptedSink()) as (daemon, _):
        await daemon.register([registration(op(1))])
        await until(lambda: daemon._caller.good_answers == 1)
        await until_idle(daemon)
        with pytest.raises(Conflict):
            await daemon.register(
                [registration(op(2)), registration(op(1), kind="emails")], all_or_none=True
            )
        assert (await daemon.summary()).watched == 0
        good, bad = await daemon.register([registration(op(2)), registration(op(1), kind="emails")])
        assert good.is_new
        assert bad.conflict is not None


async def test_stopping_records_answers_and_delivers_what_is_due(
    running: Running, store: FickleStore
) -> None:
    """No new polls; what was being asked is recorded, and its events still go out."""
    api, sink = ScriptedApi(ScriptedApi.completed), ScriptedSink()
    api.gate = anyio.Event()
    async with running(api, sink) as (daemon, ended):
        await daemon.register([registration(op(number)) for number in range(9)])
        await until(lambda: api.in_flight == 4)
        daemon.stop()
        daemon.stop(Stop.IDLE)
        api.open_gate()
        await ended.wait()
        assert daemon.reason is Stop.ASKED
        assert len(api.asked) == 4
        assert len(sink.ids) == 4
        summary = await daemon.summary()
        assert (summary.watched, summary.waiting) == (5, 0)
    assert not await store.leased()


async def test_what_is_cancelled_after_the_grace_is_due_at_the_next_start(
    running: Running, store: FickleStore, logs: Logs
) -> None:
    """An API and a sink that hang hold up the end for the grace, and nothing is lost."""
    api, hangs = ScriptedApi(ScriptedApi.completed), ScriptedSink(gate=anyio.Event())
    async with running(api, hangs, grace=0.2) as (daemon, ended):
        await daemon.register([registration(op(1))])
        await until(lambda: hangs.in_flight == 1)
        api.gate = anyio.Event()
        await daemon.register([registration(op(2))])
        await until(lambda: api.in_flight == 1)
        daemon.stop()
        await ended.wait()
    assert lines(logs, "daemon.grace_over")
    assert lines(logs, "daemon.stopped")
    assert not await store.leased()
    works = ScriptedSink()
    async with running(ScriptedApi(ScriptedApi.completed), works, until_idle=True) as (
        again,
        ended,
    ):
        again.registered_all()
        await ended.wait()
        assert again.reason is Stop.IDLE
    assert works.ids[0] == hangs.ids[0]
    assert {subject_of(one.event) for one in works.attempts} == {op(1), op(2)}


async def test_refused_credentials_end_only_what_was_to_end_by_itself(running: Running) -> None:
    """With `--until-idle` and no good answer yet: the end. After one it waits, as a daemon does."""
    api = ScriptedApi(lambda _: (401, envelope(20003)))
    async with running(api, ScriptedSink(), until_idle=True) as (daemon, ended):
        await daemon.register([registration(op(1))])
        await ended.wait()
        assert daemon.reason is Stop.REFUSED
    api.answers = ScriptedApi.completed
    async with running(api, ScriptedSink(), until_idle=True) as (daemon, ended):
        await daemon.register([registration(op(2))])
        await until(lambda: daemon._caller.good_answers >= 1)
        api.answers = lambda _: (401, envelope(20003))
        asked = len(api.asked)
        await daemon.register([registration(op(3))])
        await until(lambda: len(api.asked) > asked)
        with anyio.move_on_after(0.1) as patience:
            await ended.event.wait()
        assert patience.cancelled_caught


async def test_a_daemon_that_stays_outlives_refused_credentials(running: Running) -> None:
    """Without `--until-idle` it keeps trying."""
    api = ScriptedApi(lambda _: (401, envelope(20003)))
    async with running(api, ScriptedSink()) as (daemon, ended):
        await daemon.register([registration(op(1))])
        await until(lambda: len(api.asked) == 1)
        with anyio.move_on_after(0.1) as patience:
            await ended.event.wait()
        assert patience.cancelled_caught


async def test_the_only_sink_gone_is_the_end(running: Running, store: FickleStore) -> None:
    """A closed pipe and no other sink: it stops in order, the deliveries are kept."""
    closed = SinkOutcome(verdict=SinkVerdict.CLOSED, error="nobody reads it any more")
    pipe = ScriptedSink(answers=lambda _: closed)
    async with running(ScriptedApi(ScriptedApi.completed), pipe) as (daemon, ended):
        await daemon.register([registration(op(1))])
        await ended.wait()
        assert daemon.reason is Stop.NO_SINK
        assert (await daemon.summary()).stuck == 1
    assert not await store.leased()


async def test_an_idle_pipe_whose_reader_goes_is_the_end(running: Running) -> None:
    """`poller run ID | head -1` stops, although nothing more is written."""
    reading, writing = os.pipe()
    try:
        api, pipe = ScriptedApi(ScriptedApi.completed), StdoutSink(writer=PipeWriter(writing))
        async with running(api, pipe) as (daemon, ended):
            await daemon.register([registration(op(1))])
            assert await anyio.to_thread.run_sync(os.read, reading, 1 << 16)
            os.close(reading)
            await ended.wait()
            assert daemon.reason is Stop.NO_SINK
    finally:
        os.close(writing)


async def test_an_idle_pipe_beside_another_sink_is_not_the_end(running: Running) -> None:
    """The pipe gets nothing more; the other sink goes on."""
    pipe, other = ScriptedSink(name="pipe"), ScriptedSink(name="other")
    async with running(ScriptedApi(ScriptedApi.completed), pipe, other, until_idle=True) as (
        daemon,
        ended,
    ):
        pipe.is_closed = True
        await daemon.register([registration(op(1))])
        daemon.registered_all()
        await ended.wait()
        assert daemon.reason is Stop.IDLE
        assert (await daemon.summary()).stuck == 1
    assert (len(pipe.ids), len(other.ids)) == (0, 1)


async def test_one_of_two_sinks_gone_is_not_the_end(running: Running) -> None:
    """The other goes on; what waits for the closed one does not keep `--until-idle` from ending."""
    closed = SinkOutcome(verdict=SinkVerdict.CLOSED, error="nobody reads it any more")
    pipe, other = ScriptedSink(name="pipe", answers=lambda _: closed), ScriptedSink(name="other")
    api = ScriptedApi(ScriptedApi.completed)
    async with running(api, pipe, other, until_idle=True) as (daemon, ended):
        await daemon.register([registration(op(1)), registration(op(2))])
        daemon.registered_all()
        await ended.wait()
        assert daemon.reason is Stop.IDLE
        summary = await daemon.summary()
        assert (summary.stuck, summary.is_clean) == (2, False)
        assert len(other.ids) == 2


async def test_a_reload_swaps_sinks_and_probes_what_was_refused(
    running: Running, logs: Logs
) -> None:
    """New sinks get what is recorded from then on; a paused account is probed at once."""
    api = ScriptedApi(lambda _: (401, envelope(20003)))
    old, new = ScriptedSink(name="old"), ScriptedSink(name="new")
    async with running(api, old) as (daemon, _):
        await daemon.register([registration(op(1))])
        await until(lambda: bool(lines(logs, "account.paused")))
        api.answers = ScriptedApi.completed
        await daemon.reload(configuration(plan(new)))
        await until(lambda: len(new.ids) == 1)
        assert old.life[-1] == "close"
        assert not old.ids


async def test_a_reload_uses_fresh_connections(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the API, and of sinks whose settings did not change: the hosts are looked up again."""
    renewed: list[CommsClient] = []

    async def renew(client: CommsClient) -> None:
        renewed.append(client)

    monkeypatch.setattr(CommsClient, "renew_connections", renew)
    sink = ScriptedSink()
    async with running(ScriptedApi(ScriptedApi.completed), sink) as (daemon, _):
        await daemon.reload(configuration(plan(sink)))
        assert len(renewed) == 1
        assert sink.life[-1] == "reopen"


async def test_a_reload_that_fails_changes_nothing(running: Running) -> None:
    """The old sinks stay, and what is recorded afterwards is theirs."""
    api, old = ScriptedApi(ScriptedApi.completed), ScriptedSink(name="old")
    bad = ScriptedSink(name="bad", refuses_to_start=SinkUnavailable("no such place", "make it"))
    async with running(api, old) as (daemon, _):
        with pytest.raises(SinkUnavailable):
            await daemon.reload(replace(configuration(plan(bad)), retention=1.0))
        await daemon.register([registration(op(1))])
        await until(lambda: len(old.ids) == 1)
        assert daemon._configuration.retention == 3600.0


async def test_it_waits_for_a_retry_before_it_is_idle(
    running: Running, clock: TickingClock, logs: Logs
) -> None:
    """A delivery that can go on keeps it alive."""
    sink = ScriptedSink(answers=lambda _: failed())
    async with running(ScriptedApi(ScriptedApi.completed), sink, until_idle=True) as (
        daemon,
        ended,
    ):
        await daemon.register([registration(op(1))])
        daemon.registered_all()
        await until(lambda: bool(lines(logs, "delivery.failed")))
        sink.answers = lambda _: DELIVERED
        clock.advance(2)
        await ended.wait()
        assert (await daemon.summary()).is_clean


async def until_idle(daemon: Daemon) -> None:
    """Wait until nothing is watched any more."""
    with anyio.fail_after(10):
        while (await daemon.summary()).watched:  # noqa: ASYNC110 - as in until
            await anyio.sleep(0.005)


async def test_what_stands_still_is_judged_unless_the_account_is_paused(
    running: Running,
    store: FickleStore,
    clock: TickingClock,
    logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It needs no answer of its own; in a pause nobody sees whether anything moves."""
    policy = replace(QUICK, alerts=(AlertRule(name="quiet", stalled=60),))
    sink = ScriptedSink()
    await store.register([registration(op(1))])
    for seconds in (0, 100):
        clock.advance(seconds=seconds)
        answer = seen(op(1), at=clock())
        await store.record([(op(1), answer)], kind="messages", policy=QUICK, lease_owner=None)
    await store.claim_due(kinds=["messages"], limit=1, lease=Lease(owner="x", seconds=1e6))
    async with running(ScriptedApi(ScriptedApi.completed), sink) as (daemon, _):
        daemon._configuration = replace(daemon._configuration, policy=policy)
        with monkeypatch.context() as paused:
            paused.setattr(Throttle, "account_pause", "a pause")
            await daemon._record_standstill()
        assert lines(logs, "alert.fired") == []
        await daemon._record_standstill()
        await until(lambda: len(sink.attempts) == 1)
    [fired] = lines(logs, "alert.fired")
    assert (fired["operation"], fired["alert"], fired["value"]) == (op(1), "quiet", 100)
