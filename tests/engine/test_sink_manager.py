"""All sinks of a daemon side by side, and the swap that leaves nothing half done."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio
import pytest

from poller.engine.configuration import SinkPlan
from poller.engine.dispatcher import Ended
from poller.engine.signals import Signals
from poller.engine.sink_manager import SinkManager
from poller.engine.supervision import Heartbeats
from poller.sinks.base import Sink, SinkHeld, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.file import FileSink
from poller.store.errors import StoreUnavailable
from poller.tracking.delivery import Subscription
from tests.engine.scripted import (
    FickleStore,
    ScriptedSink,
    TickingClock,
    failed,
    record_events,
    until,
)
from tests.store.scenes import declare

pytestmark = pytest.mark.anyio

MakeOutlets = Callable[..., SinkManager]


def plan(sink: Sink, *, key: str | None = None) -> SinkPlan:
    """Plan a sink that is there already."""
    return SinkPlan(
        subscription=Subscription(sink=sink.name), key=key or id(sink), make=lambda: sink
    )


def file_plan(name: str, path: Path) -> SinkPlan:
    """Plan a file, as the settings do: the same where name and path are."""
    return SinkPlan(
        subscription=Subscription(sink=name),
        key=str(path),
        make=lambda: FileSink(name=name, path=path),
    )


class Ending:
    """Remembers which dispatchers ended by themselves."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, Ended]] = []

    def __call__(self, sink: str, ended: Ended) -> None:
        """Take note."""
        self.ended.append((sink, ended))


@pytest.fixture
def ending() -> Ending:
    """Return what is reported about ends."""
    return Ending()


@pytest.fixture
async def outlets(
    store: FickleStore,
    clock: TickingClock,
    ending: Ending,
    logs: object,  # noqa: ARG001 - kept from the terminal
) -> AsyncIterator[SinkManager]:
    """Return outlets without sinks; what a test opens is closed afterwards."""
    outlets = SinkManager(
        store=store,
        owner="first",
        now=clock,
        declare=lambda plans: store.configure_sinks(
            declare(*(each.subscription for each in plans))
        ),
        signals=Signals(),
        closed=ending,
        heartbeats=Heartbeats(),
    )
    yield outlets
    await outlets.aclose()


async def begin(outlets: SinkManager, plans: Sequence[SinkPlan]) -> None:
    """Declare these sinks and start them, as a daemon does."""
    await outlets.declare(plans)
    await outlets.start(plans)


async def waiting(store: FickleStore, sink: str) -> int:
    """Count what still waits for a sink."""
    [report] = [report for report in await store.sinks() if report.name == sink]
    return report.waiting


async def nothing_waits(store: FickleStore, *sinks: str) -> None:
    """Wait until everything was delivered to these sinks."""
    with anyio.fail_after(10):
        while sum([await waiting(store, sink) for sink in sinks]):  # noqa: ASYNC110 - as in until
            await anyio.sleep(0.005)


async def test_a_sink_that_is_down_delays_nobody(outlets: SinkManager, store: FickleStore) -> None:
    """One hangs, one fails, the third has everything at its own pace."""
    hangs = ScriptedSink(name="hangs", gate=anyio.Event())
    fails = ScriptedSink(name="fails", answers=lambda _: failed())
    works = ScriptedSink(name="works")
    await begin(outlets, [plan(hangs), plan(fails), plan(works)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        ids = await record_events(store, 5, 4, sinks=["hangs", "fails", "works"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "works")
        assert sorted(works.ids) == ids
        assert await waiting(store, "hangs") == await waiting(store, "fails") == 20
        hangs.open_gate()
        await nothing_waits(store, "hangs")
        assert all(own == sorted(own) for own in hangs.by_operation().values())
        tasks.cancel_scope.cancel()


async def test_open_starts_all_or_none(outlets: SinkManager) -> None:
    """Where one cannot be started, those before it are closed, and the setting is named."""
    first = ScriptedSink(name="first")
    bad = ScriptedSink(name="bad", refuses_to_start=SinkUnavailable("no such place", "make it"))
    with pytest.raises(SinkUnavailable, match=r"sinks\.bad: no such place; make it"):
        await begin(outlets, [plan(first), plan(bad)])
    assert first.life == ["start", "close"]


async def test_a_swap_keeps_what_is_equal_and_replaces_the_rest(
    outlets: SinkManager, store: FickleStore
) -> None:
    """Equal plans keep their sink, reopened; what goes is closed; what comes gets what follows."""
    kept, goes, comes = (ScriptedSink(name=name) for name in ("kept", "goes", "comes"))
    await begin(outlets, [plan(kept), plan(goes)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        await record_events(store, 2, 1, sinks=["kept", "goes"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "kept", "goes")
        await outlets.swap([plan(kept), plan(comes)])
        ids = await record_events(store, 2, 1, sinks=["kept", "comes"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "kept", "comes")
        tasks.cancel_scope.cancel()
    assert [one for one in kept.life if one != "recall"] == ["start", "reopen"]
    assert goes.life[-1] == "close"
    assert sorted(comes.ids) == ids


async def test_a_swap_that_cannot_start_changes_nothing(
    outlets: SinkManager, store: FickleStore
) -> None:
    """The old sinks go on, unopened and unclosed; what was started for the new ones is closed."""
    old, new = ScriptedSink(name="old"), ScriptedSink(name="new")
    bad = ScriptedSink(name="bad", refuses_to_start=SinkUnavailable("no such place", "make it"))
    await begin(outlets, [plan(old)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        with pytest.raises(SinkUnavailable):
            await outlets.swap([plan(new), plan(bad)])
        await record_events(store, 1, 1, sinks=["old"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "old")
        tasks.cancel_scope.cancel()
    assert new.life == ["start", "close"]
    assert {"reopen", "close"}.isdisjoint(old.life)
    assert [report.name for report in await store.sinks() if report.is_configured] == ["old"]


async def test_a_swap_that_the_store_refuses_changes_nothing(
    outlets: SinkManager, store: FickleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new sink is closed again, the old one goes on delivering."""
    old, new = ScriptedSink(name="old"), ScriptedSink(name="new")
    await begin(outlets, [plan(old)])

    async def refuse(_names: Sequence[str]) -> None:
        await anyio.lowlevel.checkpoint()
        raise StoreUnavailable("store.url: the disk is full; free some space")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        with monkeypatch.context() as patch:
            patch.setattr(store, "configure_sinks", refuse)
            with pytest.raises(StoreUnavailable):
                await outlets.swap([plan(new)])
        await record_events(store, 1, 1, sinks=["old"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "old")
        tasks.cancel_scope.cancel()
    assert new.life == ["start", "close"]
    assert "close" not in old.life


async def test_a_file_may_pass_from_one_sink_to_another(
    outlets: SinkManager, store: FickleStore, tmp_path: Path
) -> None:
    """A renamed sink, and two that change places: the file is free when its next owner comes."""
    one, two = tmp_path / "one.ndjson", tmp_path / "two.ndjson"
    await begin(outlets, [file_plan("a", one), file_plan("b", two)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        await outlets.swap([file_plan("a", two), file_plan("b", one)])
        await record_events(store, 2, 1, sinks=["a"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "a")
        assert len(two.read_text().splitlines()) == 2
        await outlets.swap([file_plan("renamed", two), file_plan("b", one)])
        await record_events(store, 3, 1, sinks=["renamed"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "renamed")
        assert len(two.read_text().splitlines()) == 5
        tasks.cancel_scope.cancel()


async def test_a_file_held_by_another_process_leaves_the_old_sinks(
    outlets: SinkManager, store: FickleStore, tmp_path: Path
) -> None:
    """A sink that was stopped to make room continues, as a new sink."""
    one, theirs = tmp_path / "one.ndjson", tmp_path / "theirs.ndjson"
    holder = FileSink(name="holder", path=theirs)
    await holder.start()
    await begin(outlets, [file_plan("a", one)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        with pytest.raises(SinkHeld, match=r"sinks\.a: "):
            await outlets.swap([file_plan("a", theirs)])
        await record_events(store, 2, 1, sinks=["a"])
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "a")
        assert len(one.read_text().splitlines()) == 2
        tasks.cancel_scope.cancel()
    await holder.aclose()


async def test_what_a_replaced_sink_was_doing_is_due_at_once(
    outlets: SinkManager, store: FickleStore
) -> None:
    """A sink of the same name and new settings need not wait for its predecessor's leases."""
    hangs = ScriptedSink(gate=anyio.Event())
    works = ScriptedSink()
    await begin(outlets, [plan(hangs)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        ids = await record_events(store, 3, 1, sinks=["app"])
        outlets.signals.deliveries.notify()
        await until(lambda: hangs.in_flight == 3)
        await outlets.swap([plan(works)])
        await nothing_waits(store, "app")
        assert sorted(works.ids) == ids
        tasks.cancel_scope.cancel()


async def test_what_waits_for_a_sink_that_went_waits_for_its_return(
    outlets: SinkManager, store: FickleStore, clock: TickingClock
) -> None:
    """It is reported, holds up nothing, and goes on if the name returns within three days."""
    slow, other = ScriptedSink(name="slow", answers=lambda _: failed()), ScriptedSink(name="other")
    await begin(outlets, [plan(slow), plan(other)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        await record_events(store, 2, 1, sinks=["slow"])
        outlets.signals.deliveries.notify()
        await until(lambda: len(slow.attempts) == 2)
        await outlets.swap([plan(other)])
        [gone] = [report for report in await store.sinks() if not report.is_configured]
        assert (gone.name, gone.waiting) == ("slow", 2)
        back = ScriptedSink(name="slow")
        clock.advance(days=2)
        await store.retention.prune(retention_seconds=3600)
        await outlets.swap([plan(other), plan(back)])
        await nothing_waits(store, "slow")
        assert len(back.ids) == 2
        tasks.cancel_scope.cancel()


async def test_a_closed_sink_is_named_and_taken_up_again_by_a_swap(
    outlets: SinkManager, store: FickleStore, ending: Ending
) -> None:
    """A closed pipe ends its dispatcher alone; SIGHUP lets it try again."""
    outcome = SinkOutcome(verdict=SinkVerdict.CLOSED, error="nobody reads it any more")
    pipe, other = ScriptedSink(name="pipe", answers=lambda _: outcome), ScriptedSink(name="other")
    await begin(outlets, [plan(pipe), plan(other)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        await record_events(store, 1, 1, sinks=["pipe", "other"])
        outlets.signals.deliveries.notify()
        await until(lambda: bool(ending.ended))
        assert ending.ended == [("pipe", Ended.CLOSED)]
        assert outlets.closed == {"pipe"}
        assert not outlets.all_closed
        pipe.answers = ScriptedSink().answers
        await outlets.swap([plan(pipe), plan(other)])
        clock_passes = store.now
        assert isinstance(clock_passes, TickingClock)
        clock_passes.advance(5)
        outlets.signals.deliveries.notify()
        await nothing_waits(store, "pipe", "other")
        assert outlets.closed == frozenset()
        tasks.cancel_scope.cancel()


async def test_draining_waits_for_every_sink(outlets: SinkManager, store: FickleStore) -> None:
    """`drain` returns when nothing is due and nothing under way anywhere."""
    quick, slow = ScriptedSink(name="quick"), ScriptedSink(name="slow", gate=anyio.Event())
    await begin(outlets, [plan(quick), plan(slow)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outlets.run)
        await record_events(store, 3, 2, sinks=["quick", "slow"])
        outlets.signals.deliveries.notify()
        await until(lambda: slow.in_flight == 3)
        with anyio.move_on_after(0.1) as patience:
            await outlets.drain()
        assert patience.cancelled_caught
        slow.open_gate()
        with anyio.fail_after(5):
            await outlets.drain()
        assert len(quick.ids) == len(slow.ids) == 6
        tasks.cancel_scope.cancel()
