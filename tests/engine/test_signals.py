"""Signals: all who listen are woken, and nobody misses a change."""

import gc

import anyio
import pytest

from poller.engine.signals import ChangeNotifier, Signals, Wakeup

pytestmark = pytest.mark.anyio


async def test_all_who_wait_are_woken() -> None:
    """One change wakes every listener, those that come later not."""
    notifier = ChangeNotifier()
    woken: list[bool] = []

    async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        wakeup = notifier.listen()
        task_status.started()
        woken.append(await wakeup.wait(20))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            await tasks.start(listen)
        notifier.notify()
    assert woken == [True] * 3
    assert not await notifier.listen().wait(0)


async def test_a_change_before_the_wait_is_not_lost() -> None:
    """It ends the next wait at once, and only that one."""
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.wake()
    with anyio.fail_after(5):
        assert await wakeup.wait(60)
    assert not await wakeup.wait(0)


async def test_who_no_longer_listens_is_forgotten() -> None:
    """A stream that ended, or a dispatcher that was replaced, costs nothing."""
    notifier = ChangeNotifier()
    kept, left = notifier.listen(), notifier.listen()
    del left
    gc.collect()
    assert len(notifier._wakeups) == 1
    notifier.notify()
    assert await kept.wait(1)


async def test_recorded_events_concern_streams_sinks_and_the_idle_check() -> None:
    """The poll loop has nothing to do with them."""
    signals = Signals()
    concerned = [signals.events.listen(), signals.deliveries.listen(), signals.progress.listen()]
    polls = signals.polls.listen()
    signals.notify_recorded()
    for wakeup in concerned:
        assert await wakeup.wait(1)
    assert not await polls.wait(0)
