"""Groups through a whole daemon: registered, counted, sealed, emitted to a sink, and reported."""

import json
from dataclasses import replace
from typing import Any

import pytest

from poller.engine.status import UNSEALED_FOR
from poller.store.groups import UnknownGroup
from poller.tracking.registration import Registration
from tests.engine.scripted import FickleStore, ScriptedSink, TickingClock, until
from tests.engine.scripted_api import QUICK, ScriptedApi
from tests.engine.test_daemon import Logs, Running, lines, running, until_idle
from tests.oracle import judge
from tests.store.scenes import op

__all__ = ["running"]

pytestmark = pytest.mark.anyio


def member(number: int, group: str = "autumn") -> Registration:
    """Return the registration of a member."""
    return Registration(id=op(number), kind="messages", group=group)


def arrived(sink: ScriptedSink) -> list[dict[str, Any]]:
    """Return what the sink was given."""
    return [json.loads(attempt.event.body) for attempt in sink.attempts]


def completed(sink: ScriptedSink) -> list[str]:
    """Name the groups whose end the sink was given."""
    return [one["subject"] for one in arrived(sink) if one["type"] == "group.completed"]


async def test_groups_end_once_in_a_sink(running: Running, logs: Logs) -> None:
    """One sealed before its first member, one in between, one after its last has ended."""
    sink = ScriptedSink()
    groups = {name: range(place, 12, 3) for place, name in enumerate(("early", "between", "late"))}
    async with running(ScriptedApi(ScriptedApi.completed), sink) as (daemon, _):
        await daemon.seal("early", 4)
        for number in range(12):
            name = next(name for name, own in groups.items() if number in own)
            await daemon.register([member(number, name)])
        await daemon.seal("between", None)
        await until_idle(daemon)
        await until(lambda: sorted(completed(sink)) == ["between", "early"])
        assert (await daemon.seal("late", None)).members.completed == 4
        await until(lambda: len(completed(sink)) == 3)
        with pytest.raises(UnknownGroup):
            await daemon.seal("never", None)
    ids = {name: [op(number) for number in own] for name, own in groups.items()}
    assert not judge(arrived(sink), groups=ids).problems
    assert [line["group"] for line in lines(logs, "group.sealed")] == ["between", "late"]
    ends = [line for line in lines(logs, "event.recorded") if line.get("group") == "late"]
    assert ends[-1]["final"] is True


async def test_progress_that_is_held_back_comes_by_itself(
    running: Running, store: FickleStore, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Housekeeping looks for it, and a daemon that ends when it is idle waits for it."""
    monkeypatch.setattr("poller.engine.housekeeping._TICK", 0.005)
    slow = replace(QUICK, progress_interval=60.0)
    monkeypatch.setattr("tests.engine.scripted_api.QUICK", slow)
    sink = ScriptedSink()
    async with running(ScriptedApi(ScriptedApi.completed), sink, until_idle=True) as (
        daemon,
        ended,
    ):
        await daemon.register([member(1)])
        await until_idle(daemon)
        daemon.registered_all()
        assert (await daemon.summary()).held_back == 1
        assert not ended.event.is_set()
        clock.advance(61)
        await ended.wait()
    # the clock ran past the lease of what was under way: it may come twice
    events = judge(arrived(sink), ended=False).events.values()
    progress = [one["data"]["operations"] for one in events if one["type"] == "group.progress"]
    assert [one["completed"] for one in progress] == [0, 1]
    assert not await store.leased()


async def test_a_group_that_waits_for_its_seal_is_reported(
    running: Running, clock: TickingClock
) -> None:
    """A day after its last member has ended, with the command that seals it."""
    async with running(ScriptedApi(ScriptedApi.completed), ScriptedSink()) as (daemon, _):
        await daemon.register([member(1)])
        await until_idle(daemon)
        assert await daemon.degraded() == []
        clock.advance(UNSEALED_FOR.total_seconds() + 60)
        [found] = await daemon.degraded()
        assert found.what == "group autumn"
        assert "poller group seal autumn" in found.hint
        await daemon.seal("autumn", None)
        assert await daemon.degraded() == []
