"""The bell: everybody hears it, and nobody misses a stroke."""

import anyio
import pytest

from poller.engine.bell import Bell

pytestmark = pytest.mark.anyio


async def test_all_who_wait_are_woken() -> None:
    """One ring wakes every listener."""
    bell = Bell()
    heard: list[int] = []

    async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        heard.append(await bell.wait(0, 20))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            await tasks.start(listen)
        bell.ring()
    assert heard == [1, 1, 1]


async def test_a_stroke_before_the_wait_is_not_lost() -> None:
    """Who remembers how many there were does not wait for one that has been."""
    bell = Bell()
    heard = bell.strokes
    bell.ring()
    with anyio.fail_after(5):
        assert await bell.wait(heard, 60) == 1


async def test_nobody_waits_longer_than_asked() -> None:
    """The count is then as it was."""
    assert await Bell().wait(0, 0) == 0
